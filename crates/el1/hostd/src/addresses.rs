//! The host's addresses: those of its settings, by DHCP, by a router's announcements, or fixed; who wants to know waits
//! here.
//!
//! | boot argument | what |
//! |---|---|
//! | `hostd.address=A.B.C.D/N[,GATEWAY]` | this IPv4 address where none is set by the API; without it DHCP |
//! | `hostd.ntp=SERVER` | this NTP server where none is set by the API |
//!
//! Called by: [`crate::network`]. Calls: `embassy-net`, `management::{settings, slaac}`. The stack tells one task of its
//! changes; that is [`Addresses::watch`], and the others hear it from there.

use crate::argument;
use crate::vmkernel::Vmkernel;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use api::rest::{HostNetwork, HostSettings, Ipv4Method, Ipv6Method};
use core::cell::RefCell;
use core::future::{Future, poll_fn};
use core::net::IpAddr;
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;
use el1::Boot;
use embassy_futures::select::{Either, select};
use embassy_net::raw::{IpProtocol, IpVersion, PacketMetadata, RawSocket};
use embassy_net::{ConfigV4, ConfigV6, Ipv4Cidr, Ipv6Cidr, Stack, StaticConfigV4, StaticConfigV6};
use management::bell::Bell;
use management::port::Platform;
use management::settings::{self, Settings};
use management::slaac::{self, Slaac};

/// Packets to hear routers by, and their bytes.
const PACKETS: usize = 4;
const BYTES: usize = 4096;
/// Longer than anything that wakes it.
const FOREVER: Duration = Duration::from_secs(24 * 3600);

/// An address with the length of its prefix.
pub type Prefixed = (IpAddr, u8);

/// The addresses of a stack.
pub struct Addresses {
    stack: Stack<'static>,
    mac: [u8; 6],
    now: RefCell<(Option<StaticConfigV4>, Option<StaticConfigV6>)>,
    changed: Bell,
}

impl Addresses {
    /// Of this stack and card.
    pub fn new(stack: Stack<'static>, mac: [u8; 6]) -> Self {
        Self { stack, mac, now: RefCell::default(), changed: Bell::default() }
    }

    /// All that there are; the link-local one, which there always is, is the last.
    pub fn all(&self) -> Vec<Prefixed> {
        let (ipv4, ipv6) = &*self.now.borrow();
        let ipv4 =
            ipv4.iter().map(|config| (IpAddr::V4(config.address.address()), config.address.prefix_len()));
        let ipv6 =
            ipv6.iter().map(|config| (IpAddr::V6(config.address.address()), config.address.prefix_len()));
        ipv4.chain(ipv6).chain([(slaac::link_local(self.mac).into(), 64)]).collect()
    }

    /// Is done when there are others than these.
    pub async fn differ_from(&self, seen: &[Prefixed]) {
        loop {
            let heard = self.changed.rings();
            if self.all() != seen {
                return;
            }
            self.changed.after(heard).await;
        }
    }

    /// Tells everyone of the stack's changes, for ever.
    pub async fn watch(&self, settings: &Settings) {
        loop {
            self.publish(settings);
            poll_fn(|context| {
                if self.read() != *self.now.borrow() {
                    return Poll::Ready(());
                }
                // Either of them wakes this task at the next change.
                if pin!(self.stack.wait_config_down()).poll(context).is_ready() {
                    let _ = pin!(self.stack.wait_config_up()).poll(context);
                }
                Poll::Pending
            })
            .await;
            *self.now.borrow_mut() = self.read();
            self.changed.ring();
        }
    }

    fn read(&self) -> (Option<StaticConfigV4>, Option<StaticConfigV6>) {
        (self.stack.config_v4(), self.stack.config_v6())
    }

    fn publish(&self, settings: &Settings) {
        let (ipv4, ipv6) = &*self.now.borrow();
        let shown = HostNetwork {
            mac: self.mac.map(|byte| format!("{byte:02x}")).join(":"),
            addresses: self.all().iter().map(|(address, bits)| format!("{address}/{bits}")).collect(),
            gateways: [
                ipv4.as_ref().and_then(|config| config.gateway.map(IpAddr::V4)),
                ipv6.as_ref().and_then(|config| config.gateway.map(IpAddr::V6)),
            ]
            .iter()
            .flatten()
            .map(ToString::to_string)
            .collect(),
            dns: ipv4
                .iter()
                .flat_map(|config| config.dns_servers.iter().map(ToString::to_string))
                .chain(ipv6.iter().flat_map(|config| config.dns_servers.iter().map(ToString::to_string)))
                .collect(),
            ..settings.network.borrow().clone()
        };
        *settings.network.borrow_mut() = shown;
    }

    /// Gives the stack the addresses of the settings, for ever.
    pub async fn follow(&self, settings: &Settings, platform: &impl Platform) {
        let mut before: Option<HostSettings> = None;
        loop {
            let current = settings.differ_from(before.as_ref()).await;
            // What is kept was checked; what is damaged is like nothing.
            let fixed = settings::addresses(&current).unwrap_or_default();
            let is_other = |old: &HostSettings| (&old.ipv4, &old.dns) != (&current.ipv4, &current.dns);
            if before.as_ref().is_none_or(is_other) {
                self.stack.set_config_v4(ipv4(&current, &fixed));
            }
            if current.ipv6.method == Ipv6Method::Auto {
                let announced = self.listen(platform, &fixed);
                let _ = select(announced, settings.differ_from(Some(&current))).await;
            } else {
                let address = fixed.ipv6.map(|(address, bits)| (address, bits, fixed.gateway6));
                self.stack.set_config_v6(ipv6(address, &fixed));
                settings.differ_from(Some(&current)).await;
            }
            before = Some(current);
        }
    }

    /// Takes the addresses that routers announce, for ever.
    async fn listen(&self, platform: &impl Platform, fixed: &settings::Addresses) {
        let mut slaac = Slaac::new(self.mac);
        let (mut heard, mut said) = ([PacketMetadata::EMPTY; PACKETS], [PacketMetadata::EMPTY; 1]);
        let (mut incoming, mut outgoing) = (vec![0; BYTES], [0; 64]);
        let (version, protocol) = (Some(IpVersion::Ipv6), Some(IpProtocol::Icmpv6));
        let socket = RawSocket::new(
            self.stack,
            version,
            protocol,
            &mut heard,
            &mut incoming,
            &mut said,
            &mut outgoing,
        );
        let mut packet = vec![0; BYTES];
        let mut given = None;
        self.stack.set_config_v6(ConfigV6::None);
        loop {
            let now = platform.now();
            if let Some(solicitation) = slaac.ask(now) {
                socket.send(&solicitation).await;
            }
            let address = slaac.address(now);
            if address != given {
                let with_bits = address.map(|(address, router)| (address, 64, router));
                self.stack.set_config_v6(ipv6(with_bits, fixed));
                given = address;
            }
            let wait = slaac.due(now).map_or(FOREVER, |due| due.saturating_sub(now));
            if let Either::First(Ok(bytes)) = select(socket.recv(&mut packet), platform.sleep(wait)).await {
                slaac.hear(&packet[..bytes.min(BYTES)], platform.now());
            }
        }
    }
}

fn ipv4(settings: &HostSettings, fixed: &settings::Addresses) -> ConfigV4 {
    match (settings.ipv4.method, fixed.ipv4) {
        (Ipv4Method::Dhcp, _) => ConfigV4::Dhcp(Default::default()),
        (Ipv4Method::Static, Some((address, bits))) => ConfigV4::Static(StaticConfigV4 {
            address: Ipv4Cidr::new(address, bits),
            gateway: fixed.gateway4,
            dns_servers: fixed.dns.iter().filter_map(only_v4).take(3).collect(),
        }),
        _ => ConfigV4::None,
    }
}

fn only_v4(address: &IpAddr) -> Option<core::net::Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    }
}

fn ipv6(
    address: Option<(core::net::Ipv6Addr, u8, Option<core::net::Ipv6Addr>)>,
    fixed: &settings::Addresses,
) -> ConfigV6 {
    let Some((address, bits, gateway)) = address else { return ConfigV6::None };
    let only_v6 = |address: &IpAddr| match address {
        IpAddr::V6(address) => Some(*address),
        IpAddr::V4(_) => None,
    };
    let dns_servers = fixed.dns.iter().filter_map(only_v6).take(3).collect();
    ConfigV6::Static(StaticConfigV6 { address: Ipv6Cidr::new(address, bits), gateway, dns_servers })
}

/// What a host starts with that has no settings of its own, by its boot arguments.
pub fn defaults(boot: &'static Boot, vmkernel: &Vmkernel) -> HostSettings {
    let mut defaults = settings::defaults();
    if let Some(text) = argument(boot, "hostd.address=") {
        let (address, gateway) = match text.split_once(',') {
            Some((address, gateway)) => (address, Some(String::from(gateway))),
            None => (text, None),
        };
        defaults.ipv4.method = Ipv4Method::Static;
        defaults.ipv4.address = Some(String::from(address));
        defaults.ipv4.gateway = gateway;
    }
    defaults.ntp.extend(argument(boot, "hostd.ntp=").map(String::from));
    match settings::check(&defaults) {
        Ok(()) => defaults,
        Err(problem) => {
            let (detail, remedy) = (&problem.details().detail, &problem.details().remedy);
            vmkernel.log(format_args!("boot arguments of hostd: {detail}; {remedy}"));
            settings::defaults()
        }
    }
}
