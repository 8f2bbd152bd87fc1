//! The network card: a transmit half and a receive half.
//!
//! Called by: the transport (what the guest sends); another card's transmit half or an uplink, through
//! [`VirtioMmio::deliver`] (what the guest receives). Calls: a `ports::FrameSink`, the way to the switch.
//! Source: virtio 1.2, 5.1 "Network Device".
//! Concurrency, lock order: transmit half → switch → receive halves, one at a time → interrupt line. Delivering takes
//! no transmit half, so two guests that send to each other from two PEs can't wait for each other.
//! A frame is copied once, from the sender's RAM to the receiver's. Checksums and segmentation that the sender left to
//! be done travel along; for a receiver that did not agree to them they are done here ([`finish`]).

pub mod finish;
mod receive;
#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "small numbers of a test")]
mod tests;
#[cfg(test)]
mod threads;
mod transmit;

use crate::link::Link;
use crate::queue::Queue;
use crate::transport::{CONFIG_BYTES, Device, Progress, VirtioMmio};
use core::sync::atomic::{AtomicBool, Ordering};
use ports::{Delivered, Frame, FrameSink, GuestMemory, InterruptLine};
use receive::Receive;
use specs::virtio::{device_id, net};
use spin::Mutex;
use transmit::Transmit;

pub use receive::ReceiveCounters;
pub use transmit::TransmitCounters;

/// The most descriptors in a queue: enough receive buffers for a few unsegmented TCP frames.
pub(crate) const QUEUE_SIZE: u16 = 256;

/// Runs of host memory in one frame or buffer. Linux sends at most 19 segments; each may cross a border of a 2 MiB
/// block; a legal chain of 64 KiB in pieces of 1 KiB fits, too.
pub(crate) const SPANS: usize = 64;

/// The longest frame that is left unsegmented: an IP packet of 64 KiB behind an Ethernet header with a VLAN tag.
pub const FRAME_BYTES_MAX: u32 = 65_535 + 18;

/// The shortest frame: an Ethernet header.
pub const FRAME_BYTES_MIN: u32 = 14;

/// A virtio network card whose frames go to a sink.
pub struct Net<S> {
    mac: [u8; 6],
    mtu: u16,
    link_up: AtomicBool,
    transmit: Mutex<Transmit<S>>,
    receive: Mutex<Receive>,
}

impl<S: FrameSink> Net<S> {
    /// A card with this MAC address and MTU, its link up. What the guest sends goes to `sink`.
    pub fn new(mac: [u8; 6], mtu: u16, sink: S) -> Self {
        Self {
            mac,
            mtu,
            link_up: AtomicBool::new(true),
            transmit: Mutex::new(Transmit::new(mtu, sink)),
            receive: Mutex::new(Receive::new()),
        }
    }

    /// Whether the link is up.
    pub fn is_link_up(&self) -> bool {
        self.link_up.load(Ordering::Relaxed)
    }

    /// What was sent so far.
    pub fn transmit_counters(&self) -> TransmitCounters {
        self.transmit.lock().counters()
    }

    /// What was received so far.
    pub fn receive_counters(&self) -> ReceiveCounters {
        self.receive.lock().counters()
    }
}

impl<S: FrameSink, M: GuestMemory, L: InterruptLine> VirtioMmio<Net<S>, M, L> {
    /// Gives the guest a frame. Takes only the receive half.
    pub fn deliver(&self, frame: &Frame<'_>) -> Delivered {
        if !self.device().is_link_up() {
            return Delivered::Refused;
        }
        self.device().receive.lock().deliver(self.link(), frame)
    }

    /// Plugs the cable in or out, and tells the guest.
    pub fn set_link_up(&self, up: bool) {
        if self.device().link_up.swap(up, Ordering::Relaxed) != up {
            self.announce_config_change();
        }
    }
}

impl<S: FrameSink, M: GuestMemory, L: InterruptLine> FrameSink for &VirtioMmio<Net<S>, M, L> {
    fn deliver(&mut self, frame: &Frame<'_>) -> Delivered {
        VirtioMmio::deliver(self, frame)
    }
}

impl<S: FrameSink, M: GuestMemory, L: InterruptLine> Device<M, L> for Net<S> {
    const ID: u32 = device_id::NET;
    const QUEUES: usize = 2;
    const QUEUE_SIZE_MAX: u16 = QUEUE_SIZE;

    fn features(&self) -> u64 {
        let sending = net::F_CSUM | net::F_HOST_TSO4 | net::F_HOST_TSO6;
        let receiving = net::F_GUEST_CSUM | net::F_GUEST_TSO4 | net::F_GUEST_TSO6 | net::F_MRG_RXBUF;
        sending | receiving | net::F_MAC | net::F_MTU | net::F_STATUS
    }

    fn config(&self, into: &mut [u8; CONFIG_BYTES]) {
        let status = if self.is_link_up() { net::S_LINK_UP } else { 0 };
        let mut put = |at: usize, from: &[u8]| {
            for (into, from) in into.iter_mut().skip(at).zip(from) {
                *into = *from;
            }
        };
        put(net::config::MAC, &self.mac);
        put(net::config::STATUS, &status.to_le_bytes());
        put(net::config::MTU, &self.mtu.to_le_bytes());
    }

    fn attach(&self, index: usize, queue: Queue, features: u64) {
        if index == usize::from(net::TRANSMIT) {
            self.transmit.lock().attach(queue, features);
        } else {
            self.receive.lock().attach(queue, features);
        }
    }

    fn detach(&self, index: usize) {
        if index == usize::from(net::TRANSMIT) {
            self.transmit.lock().detach();
        } else {
            self.receive.lock().detach();
        }
    }

    fn notify(&self, link: &Link<M, L>, index: usize) -> Progress {
        // New receive buffers need no work: a frame that found none was dropped.
        if index == usize::from(net::TRANSMIT) { self.poll(link) } else { Progress::Done }
    }

    fn poll(&self, link: &Link<M, L>) -> Progress {
        self.transmit.lock().work(link, self.is_link_up())
    }
}
