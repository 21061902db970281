//! Amazon ECR: host names of private registries, and settings of new repositories.

use std::{collections::BTreeMap, fmt, str::FromStr};

/// A private registry of Amazon ECR: one per account and region. Displayed as its host name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EcrRegistry {
    /// Twelve digits.
    pub account: String,
    /// Such as `eu-central-1`.
    pub region: String,
    /// Uses the endpoint with FIPS 140 cryptography.
    pub fips: bool,
    /// Uses the endpoint that supports IPv6.
    pub dual_stack: bool,
}

/// The host name suffixes of a partition: the usual one, and that of dual-stack endpoints, if it has any.
struct Partition {
    regions: &'static str,
    suffix: &'static str,
    dual_stack: Option<&'static str>,
}

/// By prefix of the region; the last one matches all others. From Amazon's endpoint rules.
const PARTITIONS: [Partition; 7] = [
    Partition { regions: "cn-", suffix: "amazonaws.com.cn", dual_stack: Some("on.amazonwebservices.com.cn") },
    Partition { regions: "eusc-", suffix: "amazonaws.eu", dual_stack: Some("on.amazonwebservices.eu") },
    Partition { regions: "us-iso-", suffix: "c2s.ic.gov", dual_stack: None },
    Partition { regions: "us-isob-", suffix: "sc2s.sgov.gov", dual_stack: None },
    Partition { regions: "us-isof-", suffix: "csp.hci.ic.gov", dual_stack: None },
    Partition { regions: "eu-isoe-", suffix: "cloud.adc-e.uk", dual_stack: None },
    Partition { regions: "", suffix: "amazonaws.com", dual_stack: Some("on.aws") },
];

impl EcrRegistry {
    /// Whether its partition has this kind of endpoint.
    pub fn exists(&self) -> bool {
        !self.dual_stack || self.partition().is_some_and(|partition| partition.dual_stack.is_some())
    }

    fn partition(&self) -> Option<&'static Partition> {
        PARTITIONS.iter().find(|partition| self.region.starts_with(partition.regions))
    }
}

impl fmt::Display for EcrRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let partition = self.partition();
        let suffix = partition.map_or("amazonaws.com", |partition| partition.suffix);
        let fips = if self.fips { "-fips" } else { "" };
        match partition.and_then(|partition| partition.dual_stack).filter(|_| self.dual_stack) {
            Some(suffix) => write!(f, "{}.dkr-ecr{fips}.{}.{suffix}", self.account, self.region),
            None => write!(f, "{}.dkr.ecr{fips}.{}.{suffix}", self.account, self.region),
        }
    }
}

/// The host is not a private registry of Amazon ECR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotEcr;

impl FromStr for EcrRegistry {
    type Err = NotEcr;

    fn from_str(host: &str) -> Result<Self, NotEcr> {
        let host = host.to_ascii_lowercase();
        let (account, rest) = host.split_once(".dkr").ok_or(NotEcr)?;
        let endpoints =
            [(".ecr.", false, false), (".ecr-fips.", true, false), ("-ecr.", false, true), ("-ecr-fips.", true, true)];
        let found = endpoints.into_iter().find_map(|(begin, fips, dual_stack)| {
            let (region, _) = rest.strip_prefix(begin)?.split_once('.')?;
            Some(Self { account: account.to_owned(), region: region.to_owned(), fips, dual_stack })
        });
        let has_region = found.as_ref().is_some_and(|found| !found.region.is_empty());
        let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        // Rejects a suffix of another partition.
        found.filter(|found| is_account && has_region && found.to_string() == host).ok_or(NotEcr)
    }
}

/// The settings of repositories that this program creates; existing ones are not changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRepositories {
    /// A lifecycle policy as JSON, checked for its structure.
    pub lifecycle_policy: Option<String>,
    /// A repository policy as valid JSON: who else may pull.
    pub repository_policy: Option<String>,
    /// Tags of the repository.
    pub tags: BTreeMap<String, String>,
    /// Whether images are scanned when they are pushed.
    pub scan_on_push: bool,
    /// The ARN, id or alias of the KMS key that encrypts layers; none for ECR's own.
    pub kms_key: Option<String>,
    /// Whether tags may be moved; none for the account's default.
    pub tag_mutability: Option<TagMutability>,
}

/// Whether tags may be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagMutability {
    /// They may, except those that match a pattern.
    Mutable {
        /// Patterns with `*` for any text.
        except: Vec<String>,
    },
    /// They may not, except those that match a pattern.
    Immutable {
        /// Patterns with `*` for any text.
        except: Vec<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_writes_host_names_of_every_partition() {
        for (host, region, fips, dual_stack) in [
            ("123456789012.dkr.ecr.eu-central-1.amazonaws.com", "eu-central-1", false, false),
            ("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com", "us-east-1", true, false),
            ("123456789012.dkr-ecr.eu-central-1.on.aws", "eu-central-1", false, true),
            ("123456789012.dkr-ecr-fips.us-west-2.on.aws", "us-west-2", true, true),
            ("123456789012.dkr.ecr.us-gov-west-1.amazonaws.com", "us-gov-west-1", false, false),
            ("123456789012.dkr-ecr-fips.us-gov-east-1.on.aws", "us-gov-east-1", true, true),
            ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1", false, false),
            ("123456789012.dkr-ecr.cn-northwest-1.on.amazonwebservices.com.cn", "cn-northwest-1", false, true),
            ("123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1", false, false),
            ("123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov", "us-iso-east-1", false, false),
            ("123456789012.dkr.ecr.us-isob-east-1.sc2s.sgov.gov", "us-isob-east-1", false, false),
        ] {
            let registry: EcrRegistry = host.parse().unwrap();
            let account = "123456789012".to_owned();
            assert_eq!(registry, EcrRegistry { account, region: region.to_owned(), fips, dual_stack });
            assert!(registry.exists());
            assert_eq!(registry.to_string(), host);
        }
        assert!("123456789012.DKR.ecr.eu-central-1.amazonaws.com".parse::<EcrRegistry>().is_ok());
    }

    #[test]
    fn rejects_other_hosts() {
        for host in [
            "docker.io",
            "public.ecr.aws",
            "12345678901.dkr.ecr.eu-central-1.amazonaws.com",
            "12345678901x.dkr.ecr.eu-central-1.amazonaws.com",
            "123456789012.dkr.ecr.eu-central-1.amazonaws.com.evil.example",
            "123456789012.dkr.ecr.eu-central-1.evil.example",
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com",
            "123456789012.dkr.ecr.eu-central-1.amazonaws.com:443",
            "123456789012.dkr-ecr.us-iso-east-1.on.aws",
            "123456789012.dkr.ecr..amazonaws.com",
            "evil.example/123456789012.dkr.ecr.eu-central-1.amazonaws.com",
        ] {
            assert_eq!(host.parse::<EcrRegistry>(), Err(NotEcr), "{host}");
        }
    }

    #[test]
    fn isolated_partitions_have_no_dual_stack() {
        let (account, region) = ("123456789012".to_owned(), "us-iso-east-1".to_owned());
        assert!(!EcrRegistry { account, region, fips: false, dual_stack: true }.exists());
    }
}
