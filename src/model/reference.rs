//! Image references, parsed as container runtimes do (grammar: github.com/distribution/reference, `reference.go`).

use std::{borrow::Cow, fmt, str::FromStr};

use super::{
    Digest, DigestError,
    cut::{cut, is_cut},
    registry_host::DOCKER_HUB,
};

/// RFC 1035, section 2.3.4, without the final dot.
const LONGEST_HOST: usize = 253;
const LONGEST_REPOSITORY: usize = 255;
const LONGEST_TAG: usize = 128;
/// `:65535`
const LONGEST_PORT: usize = 6;
/// `@sha512:` and its digits.
const LONGEST_DIGEST: usize = 136;

/// The most bytes that a valid reference can have.
pub const LONGEST_REFERENCE: usize =
    LONGEST_HOST + LONGEST_PORT + 1 + LONGEST_REPOSITORY + 1 + LONGEST_TAG + LONGEST_DIGEST;

/// `text` for storing and showing: unchanged, or where it is too long for a reference its beginning and its length,
/// which is not a valid reference either.
pub fn cut_image(text: &str) -> Cow<'_, str> {
    cut(text, LONGEST_REFERENCE)
}

/// A fully qualified image reference: registry, repository, and a tag or a digest or both.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// A text that container runtimes reject as an image reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid image reference {image:?}: {fault}")]
pub struct ReferenceError {
    image: String,
    fault: Fault,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Fault {
    #[error("it is longer than {LONGEST_REFERENCE} bytes")]
    Long,
    #[error("it starts with a scheme; remove {0:?}")]
    Scheme(String),
    #[error("{0:?} is not a host name with an optional port")]
    Registry(String),
    #[error("the host name is longer than {LONGEST_HOST} characters")]
    LongHost,
    #[error("the repository is missing")]
    NoRepository,
    #[error(
        "{0:?} is not a valid path component of a repository: use lower-case letters and digits, separated by '.', '_', '__' or dashes"
    )]
    Repository(String),
    #[error("the repository is longer than {LONGEST_REPOSITORY} characters")]
    LongRepository,
    #[error(
        "{0:?} is not a valid tag: use at most {LONGEST_TAG} letters, digits, '_', '.' and '-', not starting with '.' or '-'"
    )]
    Tag(String),
    #[error("it has two digests")]
    TwoDigests,
    #[error(transparent)]
    Digest(DigestError),
}

impl Reference {
    /// The registry's host and optional port as written; `docker.io` for Docker Hub.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository's path, with `library/` where Docker Hub implies it.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag: `latest` if neither tag nor digest was written, none if only a digest was.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was written.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Checks that `repository` is a valid repository path.
    ///
    /// # Errors
    /// With the part that is invalid.
    pub fn check_repository(repository: &str) -> Result<(), ReferenceError> {
        check_repository(repository)
            .map_err(|fault| ReferenceError { image: cut_image(repository).into_owned(), fault })
    }

    /// The same repository, by digest alone.
    pub fn at(&self, digest: Digest) -> Self {
        Self { registry: self.registry.clone(), repository: self.repository.clone(), tag: None, digest: Some(digest) }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        read(text).map_err(|fault| ReferenceError { image: cut_image(text).into_owned(), fault })
    }
}

fn read(text: &str) -> Result<Reference, Fault> {
    if text.len() > LONGEST_REFERENCE || is_cut(text) {
        return Err(Fault::Long);
    }
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(Fault::Scheme(format!("{scheme}://")));
    }
    let (name, digest) = match text.split_once('@') {
        Some((_, digest)) if digest.contains('@') => return Err(Fault::TwoDigests),
        Some((name, digest)) => (name, Some(digest.parse().map_err(Fault::Digest)?)),
        None => (text, None),
    };
    let (registry, path) = match name.split_once('/') {
        Some((first, rest)) if is_host(first) => (registry(first)?, rest),
        _ => (DOCKER_HUB.to_owned(), name),
    };
    let (path, tag) = match path.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(checked_tag(tag)?)),
        _ => (path, None),
    };
    let repository = if registry == DOCKER_HUB && !path.is_empty() && !path.contains('/') {
        format!("library/{path}")
    } else {
        path.to_owned()
    };
    check_repository(&repository)?;
    let tag = match (tag, &digest) {
        (None, None) => Some("latest".to_owned()),
        (tag, _) => tag,
    };
    Ok(Reference { registry, repository, tag, digest })
}

/// Runtimes take the first component for a host if it contains a dot or a colon, or is `localhost`.
fn is_host(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost"
}

fn registry(written: &str) -> Result<String, Fault> {
    let lower = written.to_ascii_lowercase();
    if lower == DOCKER_HUB || lower == "index.docker.io" {
        return Ok(DOCKER_HUB.to_owned());
    }
    let fault = || Fault::Registry(written.to_owned());
    let (host, port) = match written.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or_else(fault)?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| fault())?;
            (None, if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or_else(fault)?) })
        }
        None => match written.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(written), None),
        },
    };
    if host.is_some_and(|host| host.len() > LONGEST_HOST) {
        return Err(Fault::LongHost);
    }
    let host_is_good = host.is_none_or(|host| host.split('.').all(is_host_part));
    let port_is_good = port.is_none_or(|port| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok());
    if host_is_good && port_is_good { Ok(written.to_owned()) } else { Err(fault()) }
}

fn is_host_part(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with('-')
        && !part.ends_with('-')
        && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn check_repository(repository: &str) -> Result<(), Fault> {
    if repository.is_empty() {
        return Err(Fault::NoRepository);
    }
    if repository.len() > LONGEST_REPOSITORY {
        return Err(Fault::LongRepository);
    }
    match repository.split('/').find(|part| !is_repository_part(part)) {
        Some(part) => Err(Fault::Repository(part.to_owned())),
        None => Ok(()),
    }
}

fn is_repository_part(part: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends_are_words = bytes.first().copied().is_some_and(is_word) && bytes.last().copied().is_some_and(is_word);
    ends_are_words
        && part
            .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            .all(|gap| matches!(gap, "" | "." | "_" | "__") || gap.bytes().all(|byte| byte == b'-'))
}

fn checked_tag(tag: &str) -> Result<String, Fault> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let well_formed = tag.len() <= LONGEST_TAG
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'));
    if well_formed { Ok(tag.to_owned()) } else { Err(Fault::Tag(tag.to_owned())) }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_qualified() {
        let a = "0a".repeat(32);
        for (written, read) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("user/app:1", "docker.io/user/app:1"),
            ("myregistry/app:1", "docker.io/myregistry/app:1"),
            ("docker.io/nginx:1", "docker.io/library/nginx:1"),
            ("index.docker.io/library/nginx:1", "docker.io/library/nginx:1"),
            ("registry-1.docker.io/library/nginx:1", "registry-1.docker.io/library/nginx:1"),
            ("localhost:5000/app", "localhost:5000/app:latest"),
            ("localhost/app:1", "localhost/app:1"),
            ("QUAY.io/team/app:1", "QUAY.io/team/app:1"),
            ("a:1", "docker.io/library/a:1"),
            ("quay.io/a:1", "quay.io/a:1"),
            ("[::1]:5000/app:1", "[::1]:5000/app:1"),
            ("host.example:443/a/b__c/d--e:T_1.2-x", "host.example:443/a/b__c/d--e:T_1.2-x"),
            (&format!("app:1.2@sha256:{a}"), &format!("docker.io/library/app:1.2@sha256:{a}")),
            (&format!("q.io/app@sha256:{a}"), &format!("q.io/app@sha256:{a}")),
            (&format!("app@sha512:{a}{a}"), &format!("docker.io/library/app@sha512:{a}{a}")),
        ] {
            assert_eq!(written.parse::<Reference>().map(|r| r.to_string()).as_deref(), Ok(read), "{written}");
        }
    }

    #[test]
    fn rejects_invalid_references() {
        let a = "0a".repeat(32);
        for written in [
            "",
            " ",
            "Nginx",
            "nginx latest",
            "name:",
            "name:1:2",
            "host.io:port/app",
            "host.io:70000/app",
            "https://quay.io/app",
            "quay.io//app",
            "/app",
            "app/",
            "quay.io/",
            "-app",
            ".app",
            "app:-1",
            "app:.1",
            "a..b",
            "a___b",
            "a/_b",
            "host-.io/app",
            "[::1/app",
            &format!("app:{}", "t".repeat(129)),
            &format!("q.io/{}", "t".repeat(256)),
            &format!("{}.io/app", "h".repeat(251)),
            &format!("app@sha256:{}", "0A".repeat(32)),
            "app@sha256:12",
            &format!("app@sha256:{a}@sha256:{a}"),
            &format!("@sha256:{a}"),
        ] {
            assert!(written.parse::<Reference>().is_err(), "{written:?}");
        }
    }

    #[test]
    fn accepts_the_longest_reference_and_abbreviates_longer_ones_in_errors() {
        let host = format!("{}.io", "h".repeat(LONGEST_HOST - 3));
        let path = "p".repeat(LONGEST_REPOSITORY);
        let longest = format!("{host}:65535/{path}:{}@sha512:{}", "t".repeat(LONGEST_TAG), "0a".repeat(64));
        assert_eq!(longest.len(), LONGEST_REFERENCE);
        assert_eq!(longest.parse::<Reference>().unwrap().to_string(), longest);

        let huge = "a".repeat(1 << 20);
        let shown = format!("{}… (1048576 bytes)", "a".repeat(100));
        let expected = format!("invalid image reference {shown:?}: it is longer than {LONGEST_REFERENCE} bytes");
        for text in [huge.as_str(), &cut_image(&huge)] {
            assert_eq!(text.parse::<Reference>().unwrap_err().to_string(), expected);
        }
        let error = Reference::check_repository(&huge).unwrap_err().to_string();
        assert!(error.len() < 300 && error.contains("(1048576 bytes)"), "{error}");
    }

    #[test]
    fn an_error_names_the_image_and_the_fault() {
        let error = "quay.io/Team/app".parse::<Reference>().unwrap_err().to_string();
        assert!(error.contains("quay.io/Team/app") && error.contains("\"Team\""), "{error}");
    }
}
