//! Which network an address belongs to, and where redirects may lead: a registry that anybody can run must not make
//! this program connect to the program's own network, node or Pod.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use url::{Host, Url};

/// The network from which an address is reachable, widest first. `IpAddr`'s own classification is unstable, and does
/// not cover cloud metadata services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::registry) enum AddressScope {
    Public,
    /// RFC 1918, RFC 6598 (carrier-grade NAT), RFC 4193, and the other non-global ranges of the IANA special-purpose
    /// address registries.
    Private,
    /// RFC 3927, and the metadata services of cloud providers.
    LinkLocal,
    /// This machine or Pod.
    Loopback,
    /// Multicast and broadcast.
    Unusable,
}

impl fmt::Display for AddressScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "public",
            Self::Private => "private",
            Self::LinkLocal => "link-local",
            Self::Loopback => "loopback",
            Self::Unusable => "unusable",
        })
    }
}

impl AddressScope {
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => of_v4(address),
            IpAddr::V6(address) => of_v6(address),
        }
    }

    /// The scope of a URL's host without resolving it: known for IP addresses and for the names of this machine.
    pub fn of_url(url: &Url) -> Option<Self> {
        match url.host()? {
            Host::Ipv4(address) => Some(of_v4(address)),
            Host::Ipv6(address) => Some(of_v6(address)),
            Host::Domain(name) => {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                (name == "localhost" || name.ends_with(".localhost")).then_some(Self::Loopback)
            }
        }
    }
}

fn of_v4(address: Ipv4Addr) -> AddressScope {
    #[cfg(test)]
    if let Some(scope) = simulated_scope(address) {
        return scope;
    }
    // The metadata services of Azure and Alibaba Cloud; the others use 169.254.169.254.
    if matches!(address.octets(), [168, 63, 129, 16] | [100, 100, 100, 200]) {
        return AddressScope::LinkLocal;
    }
    let [first, second, third, _] = address.octets();
    match (first, second, third) {
        // Linux connects to the machine itself at 0.0.0.0.
        (0 | 127, ..) => AddressScope::Loopback,
        (169, 254, _) => AddressScope::LinkLocal,
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => AddressScope::Private,
        (100, 64..=127, _) | (192, 0, 0) | (198, 18..=19, _) => AddressScope::Private,
        (224..=239, ..) => AddressScope::Unusable,
        // Reserved, but used by networks that have run out of private addresses.
        (240..=255, ..) if !address.is_broadcast() => AddressScope::Private,
        (240..=255, ..) => AddressScope::Unusable,
        _ => AddressScope::Public,
    }
}

fn of_v6(address: Ipv6Addr) -> AddressScope {
    let segments = address.segments();
    match segments {
        // `::` and `::1`
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => AddressScope::Loopback,
        // These contain an IPv4 address: mapped and compatible (RFC 4291), translated (RFC 6052, RFC 8215), 6to4
        // (RFC 3056).
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, _, _, _, _, high, low]
        | [0x2002, high, low, ..] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            of_v4(Ipv4Addr::new(a, b, c, d))
        }
        // The second is the metadata service of AWS.
        [0xfe80..=0xfebf, ..] | [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] => AddressScope::LinkLocal,
        // Unique local, and the deprecated site-local.
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => AddressScope::Private,
        [0xff00..=0xffff, ..] => AddressScope::Unusable,
        _ => AddressScope::Public,
    }
}

/// Tests can listen on loopback only, so two loopback addresses stand for a public and a private one.
#[cfg(test)]
fn simulated_scope(address: Ipv4Addr) -> Option<AddressScope> {
    match address.octets() {
        [127, 9, 9, 9] => Some(AddressScope::Public),
        [127, 8, 8, 8] => Some(AddressScope::Private),
        _ => None,
    }
}

/// The addresses to which a server may redirect or refer: at most its own network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::registry) enum RedirectScope {
    /// A public server: public addresses only.
    Public,
    /// A server in a private network, or a host listed in `privateRedirects`: private addresses too.
    Private,
    /// A link-local server: link-local addresses too.
    LinkLocal,
    /// A server on this machine, or a URL from the configuration or an image reference.
    Any,
}

impl RedirectScope {
    /// The scope of a server with this address; an unknown address counts as public.
    pub fn of_server(server: Option<AddressScope>) -> Self {
        match server {
            None | Some(AddressScope::Public | AddressScope::Unusable) => Self::Public,
            Some(AddressScope::Private) => Self::Private,
            Some(AddressScope::LinkLocal) => Self::LinkLocal,
            Some(AddressScope::Loopback) => Self::Any,
        }
    }

    pub fn allows(self, address: AddressScope) -> bool {
        match address {
            AddressScope::Public => true,
            AddressScope::Private => self >= Self::Private,
            AddressScope::LinkLocal => self >= Self::LinkLocal,
            AddressScope::Loopback => self >= Self::Any,
            AddressScope::Unusable => false,
        }
    }
}

/// An address outside of the allowed scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) struct ForbiddenAddress {
    /// None if the host's name alone tells the scope.
    pub address: Option<IpAddr>,
    pub scope: AddressScope,
}

impl fmt::Display for ForbiddenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scope = self.scope;
        match self.address {
            Some(address) => write!(f, "the {scope} address {address}")?,
            None => write!(f, "a {scope} address")?,
        }
        f.write_str(match scope {
            AddressScope::Private => {
                ", to which a server on the Internet must not redirect: add the host to privateRedirects to allow it"
            }
            AddressScope::LinkLocal => ", to which only a server on the same link may redirect",
            AddressScope::Loopback => ", to which only a server on this machine may redirect",
            AddressScope::Public | AddressScope::Unusable => ", which no server can have",
        })
    }
}

impl std::error::Error for ForbiddenAddress {}

/// The addresses that are in the scope.
///
/// # Errors
/// One that is not, if that leaves none.
pub(in crate::registry) fn allowed_addresses(
    scope: RedirectScope,
    addresses: Vec<SocketAddr>,
) -> Result<Vec<SocketAddr>, ForbiddenAddress> {
    let (allowed, forbidden): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| scope.allows(AddressScope::of(address.ip())));
    match forbidden.first() {
        Some(first) if allowed.is_empty() => {
            Err(ForbiddenAddress { address: Some(first.ip().to_canonical()), scope: AddressScope::of(first.ip()) })
        }
        _ => Ok(allowed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classifies_addresses() {
        for (address, scope) in [
            ("8.8.8.8", AddressScope::Public),
            ("172.15.255.255", AddressScope::Public),
            ("172.32.0.0", AddressScope::Public),
            ("100.63.255.255", AddressScope::Public),
            ("100.128.0.0", AddressScope::Public),
            ("198.17.0.1", AddressScope::Public),
            ("192.0.1.1", AddressScope::Public),
            ("223.255.255.255", AddressScope::Public),
            ("10.0.0.1", AddressScope::Private),
            ("172.16.0.1", AddressScope::Private),
            ("172.31.255.255", AddressScope::Private),
            ("192.168.1.1", AddressScope::Private),
            ("100.64.0.1", AddressScope::Private),
            ("100.127.255.255", AddressScope::Private),
            ("198.18.0.1", AddressScope::Private),
            ("192.0.0.8", AddressScope::Private),
            ("169.254.169.254", AddressScope::LinkLocal),
            ("127.0.0.1", AddressScope::Loopback),
            ("127.255.0.1", AddressScope::Loopback),
            ("0.0.0.0", AddressScope::Loopback),
            ("0.1.2.3", AddressScope::Loopback),
            ("224.0.0.1", AddressScope::Unusable),
            ("239.255.255.255", AddressScope::Unusable),
            ("240.0.0.1", AddressScope::Private),
            ("255.255.255.255", AddressScope::Unusable),
            ("2606:4700::1111", AddressScope::Public),
            ("2002:808:808::1", AddressScope::Public),
            ("::ffff:8.8.8.8", AddressScope::Public),
            ("64:ff9b::8.8.8.8", AddressScope::Public),
            ("fd00:ec2::253", AddressScope::Private),
            ("fd00:ec2::254", AddressScope::LinkLocal),
            ("168.63.129.16", AddressScope::LinkLocal),
            ("100.100.100.200", AddressScope::LinkLocal),
            ("fc00::1", AddressScope::Private),
            ("fec0::1", AddressScope::Private),
            ("::ffff:10.0.0.1", AddressScope::Private),
            ("64:ff9b::10.0.0.1", AddressScope::Private),
            ("64:ff9b:1::192.168.0.1", AddressScope::Private),
            ("2002:a00:1::", AddressScope::Private),
            ("fe80::1", AddressScope::LinkLocal),
            ("febf::1", AddressScope::LinkLocal),
            ("::ffff:169.254.169.254", AddressScope::LinkLocal),
            ("::1", AddressScope::Loopback),
            ("::", AddressScope::Loopback),
            ("::ffff:127.0.0.1", AddressScope::Loopback),
            ("::127.0.0.1", AddressScope::Loopback),
            ("::ffff:0:127.0.0.1", AddressScope::Loopback),
            ("64:ff9b::127.0.0.1", AddressScope::Loopback),
            ("::ffff:0.0.0.0", AddressScope::Loopback),
            ("ff02::1", AddressScope::Unusable),
            ("::ffff:224.0.0.1", AddressScope::Unusable),
        ] {
            assert_eq!(AddressScope::of(address.parse().unwrap()), scope, "{address}");
        }
    }

    #[test]
    fn classifies_hosts_without_resolving_them() {
        for (url, scope) in [
            ("http://127.1/", Some(AddressScope::Loopback)),
            ("http://0x7f.0.0.1/", Some(AddressScope::Loopback)),
            ("http://2130706433/", Some(AddressScope::Loopback)),
            ("http://[::ffff:7f00:1]/", Some(AddressScope::Loopback)),
            ("http://LOCALHOST./", Some(AddressScope::Loopback)),
            ("http://a.localhost:80/", Some(AddressScope::Loopback)),
            ("http://169.254.169.254/latest", Some(AddressScope::LinkLocal)),
            ("https://localhost.example/", None),
            ("https://r.example/", None),
        ] {
            assert_eq!(AddressScope::of_url(&Url::parse(url).unwrap()), scope, "{url}");
        }
    }

    #[test]
    fn redirects_stay_within_the_network_of_the_server() {
        let all = [
            AddressScope::Public,
            AddressScope::Private,
            AddressScope::LinkLocal,
            AddressScope::Loopback,
            AddressScope::Unusable,
        ];
        for (server, allowed) in [(None, 1), (Some(all[0]), 1), (Some(all[1]), 2), (Some(all[2]), 3), (Some(all[3]), 4)]
        {
            let allowed_scope = RedirectScope::of_server(server);
            let seen: Vec<_> = all.into_iter().filter(|scope| allowed_scope.allows(*scope)).collect();
            assert_eq!(seen, all[..allowed], "{server:?}");
        }
    }

    #[test]
    fn keeps_the_allowed_addresses_of_a_name() {
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let both = addresses(&["10.0.0.1:0", "8.8.8.8:0"]);
        assert_eq!(allowed_addresses(RedirectScope::Public, both.clone()), Ok(addresses(&["8.8.8.8:0"])));
        assert_eq!(allowed_addresses(RedirectScope::Private, both.clone()), Ok(both));
        let error =
            allowed_addresses(RedirectScope::Private, addresses(&["[::ffff:127.0.0.1]:0"])).unwrap_err().to_string();
        assert!(error.contains("loopback address 127.0.0.1"), "{error}");
        let error = allowed_addresses(RedirectScope::Public, addresses(&["10.0.0.1:0"])).unwrap_err().to_string();
        assert!(error.contains("private address 10.0.0.1") && error.contains("privateRedirects"), "{error}");
    }
}
