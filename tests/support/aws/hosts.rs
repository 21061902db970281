//! Host names of AWS.

/// What a host name belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// The API of a service in any region.
    Api,
    /// Account and region of a registry.
    Registry(String, String),
    /// The storage of blobs.
    Layers,
    /// The public gallery.
    Public,
}

const REGIONS: [&str; 6] = ["cn-north-1", "eu-central-1", "eu-west-1", "us-east-1", "us-gov-west-1", "us-west-2"];

/// The public gallery.
pub const PUBLIC: &str = "public.ecr.aws";
/// The blob storage of the public gallery.
pub const PUBLIC_LAYERS: &str = "d5l0dvt14r5h8.cloudfront.net";
/// Instead of an account: the public gallery.
pub const PUBLIC_ACCOUNT: &str = "public";

impl Host {
    /// Parses a host name; none for unknown ones.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            PUBLIC => return Some(Self::Public),
            PUBLIC_LAYERS => return Some(Self::Layers),
            "sts.amazonaws.com" | "api.ecr-public.us-east-1.amazonaws.com" => return Some(Self::Api),
            _ => {}
        }
        let classic = name.strip_suffix(".amazonaws.com").or(name.strip_suffix(".amazonaws.com.cn"));
        let dual = [".api.aws", ".on.aws", ".on.amazonwebservices.com.cn", ".api.amazonwebservices.com.cn"];
        let rest = classic.or_else(|| dual.iter().find_map(|suffix| name.strip_suffix(suffix)))?;
        let (service, region) = rest.rsplit_once('.')?;
        if !REGIONS.contains(&region) {
            return None;
        }
        if service.ends_with("starport-layer-bucket.s3") {
            return Some(Self::Layers);
        }
        if let "api.ecr" | "api.ecr-fips" | "ecr" | "ecr-fips" | "sts" | "sts-fips" = service {
            return Some(Self::Api);
        }
        let (account, kind) = service.split_once('.')?;
        let expected: &[&str] =
            if classic.is_some() { &["dkr.ecr", "dkr.ecr-fips"] } else { &["dkr-ecr", "dkr-ecr-fips"] };
        expected.contains(&kind).then(|| Self::Registry(account.to_owned(), region.to_owned()))
    }
}

/// The usual host name of a registry.
pub fn registry(account: &str, region: &str) -> String {
    match (account, region) {
        (PUBLIC_ACCOUNT, _) => PUBLIC.to_owned(),
        (_, "cn-north-1") => format!("{account}.dkr.ecr.{region}.amazonaws.com.cn"),
        _ => format!("{account}.dkr.ecr.{region}.amazonaws.com"),
    }
}

/// The host name of a registry's blob storage.
pub fn layers(account: &str, region: &str) -> String {
    match account {
        PUBLIC_ACCOUNT => PUBLIC_LAYERS.to_owned(),
        _ => format!("prod-{region}-starport-layer-bucket.s3.{region}.amazonaws.com"),
    }
}

#[test]
fn parses_host_names() {
    let registry = |account: &str, region: &str| Some(Host::Registry(account.to_owned(), region.to_owned()));
    for (name, host) in [
        ("123456789012.dkr.ecr.eu-central-1.amazonaws.com", registry("123456789012", "eu-central-1")),
        ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", registry("123456789012", "us-gov-west-1")),
        ("123456789012.dkr-ecr.us-east-1.on.aws", registry("123456789012", "us-east-1")),
        ("123456789012.dkr-ecr-fips.us-east-1.on.aws", registry("123456789012", "us-east-1")),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", registry("123456789012", "cn-north-1")),
        ("123456789012.dkr.ecr.eu-cental-1.amazonaws.com", None),
        ("123456789012.dkr-ecr.us-east-1.amazonaws.com", None),
        ("api.ecr.eu-central-1.amazonaws.com", Some(Host::Api)),
        ("ecr.us-east-1.api.aws", Some(Host::Api)),
        ("api.ecr-fips.us-east-1.amazonaws.com", Some(Host::Api)),
        ("ecr-fips.us-east-1.api.aws", Some(Host::Api)),
        ("sts.eu-central-1.amazonaws.com", Some(Host::Api)),
        ("api.ecr-public.us-east-1.amazonaws.com", Some(Host::Api)),
        ("public.ecr.aws", Some(Host::Public)),
        ("prod-us-east-1-starport-layer-bucket.s3.us-east-1.amazonaws.com", Some(Host::Layers)),
        ("example.com", None),
    ] {
        assert_eq!(Host::parse(name), host, "{name}");
    }
    assert_eq!(Host::parse(&layers("1", "eu-west-1")), Some(Host::Layers));
}
