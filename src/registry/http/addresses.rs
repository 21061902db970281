//! Where an address can be reached from, and who may send us where: a registry that anybody can run must not make this
//! program speak with what only the program's own network, node or Pod can reach.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use url::{Host, Url};

/// From where an address can be reached; the farther, the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::registry) enum Reach {
    /// From everywhere.
    Public,
    /// From within a network: RFC 1918, RFC 6598 (carriers), RFC 4193, and what the IANA registries of special-purpose
    /// addresses keep from the Internet besides.
    Private,
    /// From the same link: RFC 3927, and what cloud providers answer their machines at.
    LinkLocal,
    /// From this machine, or this Pod.
    Loopback,
    /// From nowhere: nobody has it, or many have.
    Nowhere,
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "public",
            Self::Private => "private",
            Self::LinkLocal => "link-local",
            Self::Loopback => "loopback",
            Self::Nowhere => "unusable",
        })
    }
}

impl Reach {
    /// Of an address.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => of_v4(address),
            IpAddr::V6(address) => of_v6(address),
        }
    }

    /// Of the host of a URL, as far as its text tells: of an address, and of the names of this very machine.
    pub fn of_text(url: &Url) -> Option<Self> {
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

fn of_v4(address: Ipv4Addr) -> Reach {
    #[cfg(test)]
    if let Some(reach) = staged(address) {
        return reach;
    }
    // Where Azure and Alibaba Cloud answer their machines, as all others do at 169.254.169.254.
    if matches!(address.octets(), [168, 63, 129, 16] | [100, 100, 100, 200]) {
        return Reach::LinkLocal;
    }
    let [first, second, third, _] = address.octets();
    match (first, second, third) {
        // Linux connects 0.0.0.0 with the machine itself.
        (0 | 127, ..) => Reach::Loopback,
        (169, 254, _) => Reach::LinkLocal,
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => Reach::Private,
        (100, 64..=127, _) | (192, 0, 0) | (198, 18..=19, _) => Reach::Private,
        (224..=239, ..) => Reach::Nowhere,
        // Reserved, and used within networks that have run out of others.
        (240..=255, ..) if !address.is_broadcast() => Reach::Private,
        (240..=255, ..) => Reach::Nowhere,
        _ => Reach::Public,
    }
}

fn of_v6(address: Ipv6Addr) -> Reach {
    let segments = address.segments();
    match segments {
        // `::` and `::1`
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Reach::Loopback,
        // An IPv4 address is written into it: mapped (RFC 4291) or compatible (there too), translated (RFC 6052, RFC
        // 8215), tunnelled (RFC 3056).
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, _, _, _, _, high, low]
        | [0x2002, high, low, ..] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            of_v4(Ipv4Addr::new(a, b, c, d))
        }
        // The second is where AWS answers its machines.
        [0xfe80..=0xfebf, ..] | [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] => Reach::LinkLocal,
        // Unique local, and site-local from before.
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => Reach::Private,
        [0xff00..=0xffff, ..] => Reach::Nowhere,
        _ => Reach::Public,
    }
}

/// Tests can listen on loopback alone: there, two of its addresses are taken for others.
#[cfg(test)]
fn staged(address: Ipv4Addr) -> Option<Reach> {
    match address.octets() {
        [127, 9, 9, 9] => Some(Reach::Public),
        [127, 8, 8, 8] => Some(Reach::Private),
        _ => None,
    }
}

/// How near an address may be that somebody sends us on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::registry) enum Limit {
    /// Whoever is on the Internet sends us to the Internet.
    Public,
    /// Whoever is in a private network, and who may by the user's word.
    Private,
    /// Whoever is on the same link.
    LinkLocal,
    /// Whoever is on this machine; and where the user, or an image's name, says where to go.
    Anywhere,
}

impl Limit {
    /// How near somebody at this address may send us. An unknown one counts as public.
    pub fn of(sender: Option<Reach>) -> Self {
        match sender {
            None | Some(Reach::Public | Reach::Nowhere) => Self::Public,
            Some(Reach::Private) => Self::Private,
            Some(Reach::LinkLocal) => Self::LinkLocal,
            Some(Reach::Loopback) => Self::Anywhere,
        }
    }

    /// Whether an address may be gone to.
    pub fn allows(self, reach: Reach) -> bool {
        match reach {
            Reach::Public => true,
            Reach::Private => self >= Self::Private,
            Reach::LinkLocal => self >= Self::LinkLocal,
            Reach::Loopback => self >= Self::Anywhere,
            Reach::Nowhere => false,
        }
    }
}

/// An address that was not gone to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) struct OffLimits {
    /// Which; none where the host's name says enough.
    pub address: Option<IpAddr>,
    /// From where it can be reached.
    pub reach: Reach,
}

impl fmt::Display for OffLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reach = self.reach;
        match self.address {
            Some(address) => write!(f, "the {reach} address {address}")?,
            None => write!(f, "a {reach} address")?,
        }
        f.write_str(match reach {
            Reach::Private => {
                ", which somebody on the Internet can't send us to: list the host in privateRedirects if it is right"
            }
            Reach::LinkLocal => ", which only somebody on the same link can send us to",
            Reach::Loopback => ", which only somebody on this machine can send us to",
            Reach::Public | Reach::Nowhere => ", where no server is",
        })
    }
}

impl std::error::Error for OffLimits {}

/// What of `addresses` may be gone to.
///
/// # Errors
/// One that may not, where that leaves none.
pub(in crate::registry) fn within(limit: Limit, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, OffLimits> {
    let (allowed, others): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| limit.allows(Reach::of(address.ip())));
    match others.first() {
        Some(other) if allowed.is_empty() => {
            Err(OffLimits { address: Some(other.ip().to_canonical()), reach: Reach::of(other.ip()) })
        }
        _ => Ok(allowed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_known() {
        for (address, reach) in [
            ("8.8.8.8", Reach::Public),
            ("172.15.255.255", Reach::Public),
            ("172.32.0.0", Reach::Public),
            ("100.63.255.255", Reach::Public),
            ("100.128.0.0", Reach::Public),
            ("198.17.0.1", Reach::Public),
            ("192.0.1.1", Reach::Public),
            ("223.255.255.255", Reach::Public),
            ("10.0.0.1", Reach::Private),
            ("172.16.0.1", Reach::Private),
            ("172.31.255.255", Reach::Private),
            ("192.168.1.1", Reach::Private),
            ("100.64.0.1", Reach::Private),
            ("100.127.255.255", Reach::Private),
            ("198.18.0.1", Reach::Private),
            ("192.0.0.8", Reach::Private),
            ("169.254.169.254", Reach::LinkLocal),
            ("127.0.0.1", Reach::Loopback),
            ("127.255.0.1", Reach::Loopback),
            ("0.0.0.0", Reach::Loopback),
            ("0.1.2.3", Reach::Loopback),
            ("224.0.0.1", Reach::Nowhere),
            ("239.255.255.255", Reach::Nowhere),
            ("240.0.0.1", Reach::Private),
            ("255.255.255.255", Reach::Nowhere),
            ("2606:4700::1111", Reach::Public),
            ("2002:808:808::1", Reach::Public),
            ("::ffff:8.8.8.8", Reach::Public),
            ("64:ff9b::8.8.8.8", Reach::Public),
            ("fd00:ec2::253", Reach::Private),
            ("fd00:ec2::254", Reach::LinkLocal),
            ("168.63.129.16", Reach::LinkLocal),
            ("100.100.100.200", Reach::LinkLocal),
            ("fc00::1", Reach::Private),
            ("fec0::1", Reach::Private),
            ("::ffff:10.0.0.1", Reach::Private),
            ("64:ff9b::10.0.0.1", Reach::Private),
            ("64:ff9b:1::192.168.0.1", Reach::Private),
            ("2002:a00:1::", Reach::Private),
            ("fe80::1", Reach::LinkLocal),
            ("febf::1", Reach::LinkLocal),
            ("::ffff:169.254.169.254", Reach::LinkLocal),
            ("::1", Reach::Loopback),
            ("::", Reach::Loopback),
            ("::ffff:127.0.0.1", Reach::Loopback),
            ("::127.0.0.1", Reach::Loopback),
            ("::ffff:0:127.0.0.1", Reach::Loopback),
            ("64:ff9b::127.0.0.1", Reach::Loopback),
            ("::ffff:0.0.0.0", Reach::Loopback),
            ("ff02::1", Reach::Nowhere),
            ("::ffff:224.0.0.1", Reach::Nowhere),
        ] {
            assert_eq!(Reach::of(address.parse().unwrap()), reach, "{address}");
        }
    }

    #[test]
    fn texts_tell_what_they_can() {
        for (url, reach) in [
            ("http://127.1/", Some(Reach::Loopback)),
            ("http://0x7f.0.0.1/", Some(Reach::Loopback)),
            ("http://2130706433/", Some(Reach::Loopback)),
            ("http://[::ffff:7f00:1]/", Some(Reach::Loopback)),
            ("http://LOCALHOST./", Some(Reach::Loopback)),
            ("http://a.localhost:80/", Some(Reach::Loopback)),
            ("http://169.254.169.254/latest", Some(Reach::LinkLocal)),
            ("https://localhost.example/", None),
            ("https://r.example/", None),
        ] {
            assert_eq!(Reach::of_text(&Url::parse(url).unwrap()), reach, "{url}");
        }
    }

    #[test]
    fn nobody_sends_us_nearer_than_he_is() {
        let all = [Reach::Public, Reach::Private, Reach::LinkLocal, Reach::Loopback, Reach::Nowhere];
        for (sender, allowed) in [(None, 1), (Some(all[0]), 1), (Some(all[1]), 2), (Some(all[2]), 3), (Some(all[3]), 4)]
        {
            let limit = Limit::of(sender);
            let seen: Vec<_> = all.into_iter().filter(|reach| limit.allows(*reach)).collect();
            assert_eq!(seen, all[..allowed], "{sender:?}");
        }
    }

    #[test]
    fn of_a_names_addresses_those_are_gone_to_that_may() {
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let both = addresses(&["10.0.0.1:0", "8.8.8.8:0"]);
        assert_eq!(within(Limit::Public, both.clone()), Ok(addresses(&["8.8.8.8:0"])));
        assert_eq!(within(Limit::Private, both.clone()), Ok(both));
        let error = within(Limit::Private, addresses(&["[::ffff:127.0.0.1]:0"])).unwrap_err().to_string();
        assert!(error.contains("loopback address 127.0.0.1"), "{error}");
        let error = within(Limit::Public, addresses(&["10.0.0.1:0"])).unwrap_err().to_string();
        assert!(error.contains("private address 10.0.0.1") && error.contains("privateRedirects"), "{error}");
    }
}
