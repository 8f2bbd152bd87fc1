//! Ports, their sinks and counters; frames in, frames out.
//!
//! Called by: the sink of a vNIC's transmit half, and the uplink's receive path ([`Switch::forward`]); the vmkernel when
//! a VM starts and stops. Calls: the sinks of the ports.
//! Concurrency: any number of PEs forward at once, each holding the ports for reading while it delivers; connecting and
//! disconnecting waits for them, and lets no new ones in. A sink must not call the switch.

use crate::decide::{Decision, PORTS_MAX, Port, Refusal, Topology};
use crate::frame::{Header, MacAddress, untag};
use crate::group::{Group, VlanId};
use crate::seen::{self, Addresses, Seen};
use crate::table::Table;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use ports::{Delivered, Frame, FrameSink, Offload};
use spin::{Mutex, RwLock};

/// A port of the switch, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PortIndex(pub u8);

/// Why nothing was connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectError {
    /// All ports are taken.
    Full,
    /// Another vNIC of the VLAN has this address.
    DuplicateAddress(PortIndex),
    /// A group address, or none.
    BadAddress,
    /// There is an uplink already.
    SecondUplink,
    /// There is no such vNIC.
    NoPort,
}

/// What passed a port, seen from the switch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PortCounters {
    /// Frames that came in by it.
    pub frames_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Frames that its sink took.
    pub frames_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Frames that its sink did not take.
    pub undelivered: u64,
    /// Frames that came in with another address than the vNIC's.
    pub forged: u64,
    /// Frames that came in with a tag that is not allowed there.
    pub tagged: u64,
    /// Frames that came in and go nowhere for another reason: reserved addresses, reflections, too short.
    pub filtered: u64,
}

#[derive(Default)]
struct Counters {
    frames_in: AtomicU64,
    bytes_in: AtomicU64,
    frames_out: AtomicU64,
    bytes_out: AtomicU64,
    undelivered: AtomicU64,
    forged: AtomicU64,
    tagged: AtomicU64,
    filtered: AtomicU64,
}

struct Ports<S> {
    topology: Topology,
    sinks: Vec<Option<S>>,
}

/// The switch over sinks of one type; `&S` takes frames.
pub struct Switch<S> {
    ports: RwLock<Ports<S>>,
    table: Table,
    counters: Box<[Counters]>,
    seen: Mutex<Addresses>,
}

/// Runs in a frame that the switch takes a tag out of; one more than such a frame had.
const SPANS: usize = 65;

impl<S> Default for Switch<S> {
    fn default() -> Self {
        let ports = Ports { topology: Topology::default(), sinks: Vec::new() };
        let counters = (0..PORTS_MAX).map(|_| Counters::default()).collect();
        Self { ports: RwLock::new(ports), table: Table::default(), counters, seen: Mutex::default() }
    }
}

impl<S> Switch<S> {
    /// A switch without ports.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a port for a vNIC. Frames to it are dropped until [`Self::plug`].
    pub fn connect(&self, address: MacAddress, group: Group) -> Result<PortIndex, ConnectError> {
        if address.is_multicast() || address.to_bits() == 0 {
            return Err(ConnectError::BadAddress);
        }
        let mut ports = self.ports.upgradeable_read().upgrade();
        let topology = &mut ports.topology;
        if let Some(other) = topology.owner(group.vlan, address) {
            return Err(ConnectError::DuplicateAddress(other));
        }
        let port = topology.free().ok_or(ConnectError::Full)?;
        topology.set(port, Some(Port::Vnic { address, group }));
        Ok(port)
    }

    /// Takes a port for the uplink.
    pub fn connect_uplink(&self) -> Result<PortIndex, ConnectError> {
        let mut ports = self.ports.upgradeable_read().upgrade();
        let topology = &mut ports.topology;
        if topology.uplink().is_some() {
            return Err(ConnectError::SecondUplink);
        }
        let port = topology.free().ok_or(ConnectError::Full)?;
        topology.set(port, Some(Port::Uplink));
        Ok(port)
    }

    /// Gives a port its sink.
    pub fn plug(&self, port: PortIndex, sink: S) {
        let mut ports = self.ports.upgradeable_read().upgrade();
        let place = usize::from(port.0);
        if ports.sinks.len() <= place {
            ports.sinks.resize_with(place.saturating_add(1), || None);
        }
        if let Some(slot) = ports.sinks.get_mut(place) {
            *slot = Some(sink);
        }
    }

    /// Frees a port: once this returns its sink is called no more.
    pub fn disconnect(&self, port: PortIndex) -> Option<S> {
        let mut ports = self.ports.upgradeable_read().upgrade();
        ports.topology.set(port, None);
        self.table.forget(port);
        self.seen.lock().forget(port);
        if let Some(counters) = self.counters.get(usize::from(port.0)) {
            counters.clear();
        }
        ports.sinks.get_mut(usize::from(port.0)).and_then(Option::take)
    }

    /// Moves a vNIC to another group, or gives its group other settings.
    pub fn set_group(&self, port: PortIndex, group: Group) -> Result<(), ConnectError> {
        let mut ports = self.ports.upgradeable_read().upgrade();
        let Some(Port::Vnic { address, .. }) = ports.topology.port(port) else {
            return Err(ConnectError::NoPort);
        };
        match ports.topology.owner(group.vlan, address) {
            Some(other) if other != port => return Err(ConnectError::DuplicateAddress(other)),
            _ => {}
        }
        self.table.forget(port);
        ports.topology.set(port, Some(Port::Vnic { address, group }));
        Ok(())
    }

    /// What is at a port.
    pub fn port(&self, port: PortIndex) -> Option<Port> {
        self.ports.read().topology.port(port)
    }

    /// Addresses of IP that a vNIC was seen to use, the latest last.
    pub fn addresses(&self, port: PortIndex) -> Vec<Seen> {
        self.seen.lock().of(port)
    }

    /// What passed a port.
    pub fn counters(&self, port: PortIndex) -> PortCounters {
        self.counters.get(usize::from(port.0)).map(Counters::read).unwrap_or_default()
    }

    fn count(&self, port: PortIndex, which: impl Fn(&Counters) -> &AtomicU64, by: u64) {
        if let Some(counters) = self.counters.get(usize::from(port.0)) {
            which(counters).fetch_add(by, Ordering::Relaxed);
        }
    }

    fn count_refusal(&self, from: PortIndex, why: Refusal) {
        self.count(
            from,
            |counters| match why {
                Refusal::Forged => &counters.forged,
                Refusal::Tagged => &counters.tagged,
                Refusal::NoPort | Refusal::Reserved | Refusal::Reflected => &counters.filtered,
            },
            1,
        );
    }
}

impl<S> Switch<S>
where
    for<'a> &'a S: FrameSink,
{
    /// Takes a frame from a port and gives it to where it belongs. `now`: seconds since any moment in the past.
    ///
    /// `Yes`: some port took it, or it belongs nowhere; `NoBuffer`: it was dropped at every port that it belongs to;
    /// `Refused`: the port may not send such a frame.
    pub fn forward(&self, from: PortIndex, frame: &Frame<'_>, now: u32) -> Delivered {
        let Some(header) = Header::read(frame) else {
            self.count_refusal(from, Refusal::Reserved);
            return Delivered::Refused;
        };
        let ports = self.ports.read();
        let decision = match ports.topology.decide(&self.table, from, &header, now) {
            Ok(decision) => decision,
            Err(why) => {
                self.count_refusal(from, why);
                return Delivered::Refused;
            }
        };
        self.count(from, |counters| &counters.frames_in, 1);
        self.count(from, |counters| &counters.bytes_in, frame.bytes.into());
        if decision.learn {
            self.table.learn(decision.vlan, header.source, from, now);
        }
        if seen::may_tell(&header, frame.bytes)
            && ports.topology.uplink() != Some(from)
            && let Some(address) = seen::told(frame, header.source)
        {
            self.seen.lock().note(from, address, now);
        }
        if decision.to.is_empty() {
            return Delivered::Yes;
        }
        if header.tag.is_none() {
            return self.spread(&ports, &decision, frame);
        }
        let Some(data) = untag::<SPANS>(frame) else { return Delivered::Refused };
        let offload = Offload {
            header_bytes: frame.offload.header_bytes.saturating_sub(4),
            checksum_start: frame.offload.checksum_start.saturating_sub(4),
            ..frame.offload
        };
        let untagged =
            Frame { data: &data, bytes: frame.bytes.saturating_sub(4), offload, memory: frame.memory };
        self.spread(&ports, &decision, &untagged)
    }

    fn spread(&self, ports: &Ports<S>, decision: &Decision, frame: &Frame<'_>) -> Delivered {
        let mut outcome = Delivered::NoBuffer;
        for port in decision.to.iter() {
            let is_uplink = ports.topology.uplink() == Some(port);
            let vlan = if is_uplink { decision.vlan } else { VlanId::NONE };
            let offload = Offload { vlan: vlan.get(), ..frame.offload };
            let copy = Frame { data: frame.data, bytes: frame.bytes, offload, memory: frame.memory };
            let sink = ports.sinks.get(usize::from(port.0)).and_then(Option::as_ref);
            let delivered = sink.map_or(Delivered::Refused, |mut sink| sink.deliver(&copy));
            if delivered == Delivered::Yes {
                outcome = Delivered::Yes;
                self.count(port, |counters| &counters.frames_out, 1);
                self.count(port, |counters| &counters.bytes_out, frame.bytes.into());
            } else {
                self.count(port, |counters| &counters.undelivered, 1);
            }
        }
        outcome
    }
}

impl Counters {
    fn all(&self) -> [&AtomicU64; 8] {
        [
            &self.frames_in,
            &self.bytes_in,
            &self.frames_out,
            &self.bytes_out,
            &self.undelivered,
            &self.forged,
            &self.tagged,
            &self.filtered,
        ]
    }

    fn read(&self) -> PortCounters {
        let [frames_in, bytes_in, frames_out, bytes_out, undelivered, forged, tagged, filtered] =
            self.all().map(|counter| counter.load(Ordering::Relaxed));
        PortCounters { frames_in, bytes_in, frames_out, bytes_out, undelivered, forged, tagged, filtered }
    }

    fn clear(&self) {
        for counter in self.all() {
            counter.store(0, Ordering::Relaxed);
        }
    }
}
