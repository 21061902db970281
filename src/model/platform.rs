//! Platforms of images.

use std::{fmt, str::FromStr};

/// An operating system and an architecture as the OCI image specification names them (`linux/amd64`, `linux/arm/v7`);
/// in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// A text that is not a platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write a platform as amd64, linux/amd64 or linux/arm/v7")]
pub struct PlatformError;

impl Platform {
    /// The platform with these names; none if one is invalid. An empty variant counts as none.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Option<Self> {
        let name = |text: &str| is_name(text).then(|| text.to_ascii_lowercase());
        let variant = variant.filter(|variant| !variant.is_empty());
        let variant = variant.map(|variant| name(variant).ok_or(PlatformError)).transpose().ok()?;
        Some(Self { os: name(os)?, architecture: name(architecture)?, variant })
    }

    /// Whether `other` matches this platform; without a variant every variant matches.
    pub fn covers(&self, other: &Self) -> bool {
        let same = self.os == other.os && self.architecture == other.architecture;
        same && (self.variant.is_none() || self.full_variant() == other.full_variant())
    }

    /// The variant, or the default one of its architecture.
    fn full_variant(&self) -> Option<&str> {
        match (self.architecture.as_str(), self.variant.as_deref()) {
            ("amd64", None) => Some("v1"),
            ("arm", None) => Some("v7"),
            ("arm64", None) => Some("v8"),
            (_, variant) => variant,
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// `architecture`, `os/architecture` or `os/architecture/variant`, in any case; the default system is `linux`.
impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let parts: Vec<&str> = text.trim().split('/').map(str::trim).collect();
        let platform = match *parts.as_slice() {
            [architecture] => Self::new("linux", architecture, None),
            [os, architecture] => Self::new(os, architecture, None),
            [os, architecture, variant] if !variant.is_empty() => Self::new(os, architecture, Some(variant)),
            _ => None,
        };
        platform.ok_or(PlatformError)
    }
}

/// `os/architecture[/variant]`
impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn parses_three_forms() {
        for (text, full) in [
            ("amd64", "linux/amd64"),
            (" Linux/ARM64 ", "linux/arm64"),
            ("linux/arm/v7", "linux/arm/v7"),
            ("windows/amd64", "windows/amd64"),
        ] {
            assert_eq!(platform(text).to_string(), full, "{text}");
        }
        for text in ["", "/", "linux/", "/amd64", "linux/arm/", "linux/arm/v7/x", "linux amd64", "linux/*"] {
            assert_eq!(text.parse::<Platform>(), Err(PlatformError), "{text}");
        }
    }

    #[test]
    fn a_platform_covers_its_variants() {
        for (requested, there, covers) in [
            ("linux/amd64", "linux/amd64", true),
            ("linux/amd64", "windows/amd64", false),
            ("linux/amd64", "linux/arm64", false),
            ("linux/arm", "linux/arm/v6", true),
            ("linux/arm/v7", "linux/arm/v6", false),
            ("linux/arm/v7", "linux/arm", true),
            ("linux/arm64/v8", "linux/arm64", true),
            ("linux/arm64", "linux/arm64/v8", true),
            ("linux/amd64/v3", "linux/amd64", false),
        ] {
            assert_eq!(platform(requested).covers(&platform(there)), covers, "{requested} {there}");
        }
    }
}
