//! Whether settings can be: what is refused names its field.

use crate::identity::Names;
use crate::problem::Problem;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use api::rest::{HostSettings, Ipv4Method, Ipv6Method};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

/// Most DNS servers, and most NTP servers.
const DNS_MAX: usize = 3;
const NTP_MAX: usize = 4;

/// Addresses as they were checked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Addresses {
    /// A static one with the length of its prefix.
    pub ipv4: Option<(Ipv4Addr, u8)>,
    /// Of IPv4.
    pub gateway4: Option<Ipv4Addr>,
    /// A static one with the length of its prefix.
    pub ipv6: Option<(Ipv6Addr, u8)>,
    /// Of IPv6.
    pub gateway6: Option<Ipv6Addr>,
    /// DNS servers.
    pub dns: Vec<IpAddr>,
}

/// Refuses what can't be.
pub fn check(settings: &HostSettings) -> Result<(), Problem> {
    addresses(settings)?;
    if Names::new(&settings.name, &[]).is_none() {
        let remedy = "give 1 to 63 of a-z, 0-9 and -, neither first nor last a -";
        return Err(bad("name", "this is no host name", remedy));
    }
    if settings.ntp.len() > NTP_MAX {
        return Err(bad("ntp", "there are more than 4 servers", "give at most 4"));
    }
    for (at, server) in settings.ntp.iter().enumerate() {
        if server.parse::<IpAddr>().is_err() && !is_domain(server) {
            let remedy = "give an address, or a name such as ntp.example.net";
            return Err(bad(&format!("ntp[{at}]"), "this is neither an address nor a name", remedy));
        }
    }
    Ok(())
}

/// The addresses of settings.
pub fn addresses(settings: &HostSettings) -> Result<Addresses, Problem> {
    let mut all = Addresses::default();
    let ipv4 = &settings.ipv4;
    let is_static = ipv4.method == Ipv4Method::Static;
    let fields = [("ipv4.address", &ipv4.address), ("ipv4.gateway", &ipv4.gateway)];
    if let Some((address, gateway)) = given(fields, is_static)? {
        let (address, bits) = prefixed(address, 32, "ipv4.address", "10.0.0.2/24")?;
        is_host_v4(address, bits)?;
        all.ipv4 = Some((address, bits));
        all.gateway4 = gateway.map(|text| gateway_v4(text, address, bits)).transpose()?;
    }
    let ipv6 = &settings.ipv6;
    let is_static = ipv6.method == Ipv6Method::Static;
    let fields = [("ipv6.address", &ipv6.address), ("ipv6.gateway", &ipv6.gateway)];
    if let Some((address, gateway)) = given(fields, is_static)? {
        let (address, bits) = prefixed(address, 128, "ipv6.address", "fd00::2/64")?;
        if is_nobodys_v6(address) || address.is_unicast_link_local() {
            let remedy = "give one of your network; the link-local one is there without it";
            return Err(bad("ipv6.address", "this can't be the host's address", remedy));
        }
        all.ipv6 = Some((address, bits));
        all.gateway6 = gateway.map(|text| gateway_v6(text, address, bits)).transpose()?;
    }
    if settings.dns.len() > DNS_MAX {
        return Err(bad("dns", "there are more than 3 servers", "give at most 3"));
    }
    for (at, server) in settings.dns.iter().enumerate() {
        let server = server.parse().map_err(|_| {
            let remedy = "give the server's address, such as 10.0.0.53";
            bad(&format!("dns[{at}]"), "this is no address", remedy)
        })?;
        if matches!(server, IpAddr::V4(_)) && all.ipv4.is_none() {
            let what =
                "a DNS server by IPv4 goes with a static IPv4 address: with DHCP its server tells them";
            return Err(bad(&format!("dns[{at}]"), what, "leave it out, or give a static address"));
        }
        all.dns.push(server);
    }
    Ok(all)
}

/// The two texts of a static address; without one nothing may be given.
fn given<'a>(
    [address, gateway]: [(&str, &'a Option<String>); 2],
    is_static: bool,
) -> Result<Option<(&'a str, Option<&'a str>)>, Problem> {
    match (is_static, address, gateway) {
        (true, (_, Some(address)), (_, gateway)) => Ok(Some((address, gateway.as_deref()))),
        (true, (field, None), _) => {
            Err(bad(field, "a static address has to be given", "give it with the length of its prefix"))
        }
        (false, (field, Some(_)), _) | (false, _, (field, Some(_))) => Err(bad(
            field,
            "this goes with the method static only",
            "leave it out, or give the method static",
        )),
        (false, _, _) => Ok(None),
    }
}

fn prefixed<A: FromStr>(text: &str, most: u8, field: &str, example: &str) -> Result<(A, u8), Problem> {
    let parsed = text.split_once('/').and_then(|(address, bits)| {
        let bits = bits.parse().ok().filter(|bits| (1..=most).contains(bits))?;
        Some((address.parse().ok()?, bits))
    });
    parsed.ok_or_else(|| {
        bad(field, "this is no address with the length of its prefix", format!("write it as in {example}"))
    })
}

fn mask(bits: u8) -> u32 {
    u32::MAX.checked_shl(32_u32.saturating_sub(bits.into())).unwrap_or(0)
}

fn mask6(bits: u8) -> u128 {
    u128::MAX.checked_shl(128_u32.saturating_sub(bits.into())).unwrap_or(0)
}

fn is_host_v4(address: Ipv4Addr, bits: u8) -> Result<(), Problem> {
    let rest = address.to_bits() & !mask(bits);
    // RFC 3021: a network of two has no address of its own.
    let is_network = bits < 31 && (rest == 0 || rest == !mask(bits));
    if is_network || is_nobodys_v4(address) {
        let remedy = "give the address of one host";
        return Err(bad("ipv4.address", "this is no address that a host can have", remedy));
    }
    Ok(())
}

fn is_nobodys_v4(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first == 0 || first == 127 || first >= 224
}

fn is_nobodys_v6(address: Ipv6Addr) -> bool {
    address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.to_ipv4_mapped().is_some()
}

fn gateway_v4(text: &str, address: Ipv4Addr, bits: u8) -> Result<Ipv4Addr, Problem> {
    let gateway: Ipv4Addr = text.parse().map_err(|_| no_gateway("ipv4.gateway", "10.0.0.1"))?;
    let is_near = (gateway.to_bits() ^ address.to_bits()) & mask(bits) == 0;
    if is_near && gateway != address && !is_nobodys_v4(gateway) {
        Ok(gateway)
    } else {
        Err(far("ipv4.gateway"))
    }
}

fn gateway_v6(text: &str, address: Ipv6Addr, bits: u8) -> Result<Ipv6Addr, Problem> {
    let gateway: Ipv6Addr = text.parse().map_err(|_| no_gateway("ipv6.gateway", "fe80::1"))?;
    let is_near = (gateway.to_bits() ^ address.to_bits()) & mask6(bits) == 0;
    let is_near = is_near || gateway.is_unicast_link_local();
    if is_near && gateway != address && !is_nobodys_v6(gateway) {
        Ok(gateway)
    } else {
        Err(far("ipv6.gateway"))
    }
}

fn no_gateway(field: &str, example: &str) -> Problem {
    bad(field, "this is no address", format!("write it as in {example}"))
}

fn far(field: &str) -> Problem {
    bad(field, "the host can't reach this one directly", "give another host of the address's own network")
}

/// RFC 1123, 2.1.
fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // Four numbers are a mistyped address.
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.len() <= 253 && !is_number && text.split('.').all(is_label)
}

fn bad(field: &str, detail: &str, remedy: impl Into<String>) -> Problem {
    Problem::new(422, "bad-settings", detail, remedy.into()).of_field(field)
}

#[cfg(test)]
mod tests {
    use super::super::defaults;
    use super::*;
    use alloc::vec;

    fn field(change: impl FnOnce(&mut HostSettings)) -> Option<String> {
        let mut settings = defaults();
        change(&mut settings);
        check(&settings).err().and_then(|problem| problem.details().field.clone())
    }

    fn v4(address: &str, gateway: Option<&str>) -> Option<String> {
        field(|settings| {
            settings.ipv4.method = Ipv4Method::Static;
            settings.ipv4.address = Some(address.into());
            settings.ipv4.gateway = gateway.map(Into::into);
        })
    }

    fn v6(address: &str, gateway: Option<&str>) -> Option<String> {
        field(|settings| {
            settings.ipv6.method = Ipv6Method::Static;
            settings.ipv6.address = Some(address.into());
            settings.ipv6.gateway = gateway.map(Into::into);
        })
    }

    #[test]
    fn what_can_be_is_taken() {
        assert_eq!(check(&defaults()), Ok(()));
        assert_eq!(v4("10.0.0.2/24", Some("10.0.0.1")), None);
        assert_eq!(v4("192.0.2.0/31", Some("192.0.2.1")), None);
        assert_eq!(v4("192.0.2.7/32", None), None);
        assert_eq!(v6("fd00::2/64", Some("fe80::1")), None);
        assert_eq!(v6("2001:db8::2/64", Some("2001:db8::1")), None);
        assert_eq!(
            field(|s| s.ntp = vec!["ntp.example.net".into(), "192.0.2.1".into(), "fd00::1".into()]),
            None
        );
    }

    #[test]
    fn what_can_not_be_names_its_field() {
        for address in
            ["10.0.0.2", "10.0.0.2/33", "10.0.0.2/0", "10.0.0.0/24", "10.0.0.255/24", "x/24", "127.0.0.1/8"]
        {
            assert_eq!(v4(address, None).as_deref(), Some("ipv4.address"), "{address}");
        }
        for gateway in ["10.0.1.1", "10.0.0.2", "", "fe80::1"] {
            assert_eq!(v4("10.0.0.2/24", Some(gateway)).as_deref(), Some("ipv4.gateway"), "{gateway}");
        }
        for address in ["fe80::2/64", "::1/128", "ff02::1/64", "::/64", "fd00::2", "::ffff:10.0.0.1/96"] {
            assert_eq!(v6(address, None).as_deref(), Some("ipv6.address"), "{address}");
        }
        assert_eq!(v6("fd00::2/64", Some("fd01::1")).as_deref(), Some("ipv6.gateway"));
        let both = field(|settings| settings.ipv4.address = Some("10.0.0.2/24".into()));
        assert_eq!(both.as_deref(), Some("ipv4.address"));
        let none = field(|settings| settings.ipv6.method = Ipv6Method::Static);
        assert_eq!(none.as_deref(), Some("ipv6.address"));
        assert_eq!(field(|s| s.name = "Up".into()).as_deref(), Some("name"));
        assert_eq!(field(|s| s.dns = vec!["fd00::53".into(), "dns".into()]).as_deref(), Some("dns[1]"));
        assert_eq!(field(|s| s.dns = vec!["10.0.0.53".into()]).as_deref(), Some("dns[0]"), "with DHCP");
        assert_eq!(field(|s| s.dns = vec!["fd00::53".into(); 4]).as_deref(), Some("dns"));
        for server in ["", "-a", "a..b", "10.0.0", "a b"] {
            assert_eq!(field(|s| s.ntp = vec![server.into()]).as_deref(), Some("ntp[0]"), "{server}");
        }
    }
}
