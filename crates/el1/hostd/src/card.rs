//! hostd's network card: virtio-net as a driver of `embassy-net`. Virtio 1.2, 5.1 "Network Device".
//!
//! Called by: [`crate::network`]'s stack, on vCPU 0. Calls: [`crate::transport`], [`crate::interrupts::CARD`].
//! No offload is agreed to, so every frame comes with its checksums complete and goes with the stack's. Each buffer is
//! one descriptor, at the place of its number; the pools are of fixed size, and a frame that finds none is dropped.

use crate::interrupts::CARD;
use crate::transport::{Rings, Transport};
use core::task::Context;
use el1::Boot;
use el1::window::Window;
use embassy_net::driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};
use specs::virtio::{device_id, feature, net};
use virtio::driver_queue::{Access, DriverQueue, Head, Segment};

/// Buffers of each direction.
const SIZE: u16 = 64;
const N: usize = SIZE as usize;
/// Header and the longest frame: 14 bytes of Ethernet, 1,500 of payload.
const FRAME: usize = 1514;
const BUFFER: usize = 2048;
/// Its place in spare RAM, behind the call queue's; both directions have rings and buffers.
const PLACE: usize = 0x18_0000;
const HALF: usize = 0x3_0000;
const RINGS: usize = 0x1_0000;

/// The card.
pub struct Card {
    transport: Transport,
    address: [u8; 6],
    receive: Half,
    transmit: Half,
}

/// One direction.
struct Half {
    transport: Transport,
    index: u32,
    queue: DriverQueue<Rings, N>,
    buffers: Window,
}

impl Half {
    fn new(transport: Transport, index: u16, memory: Window, event_index: bool) -> Option<Self> {
        (0..HALF).step_by(8).for_each(|at| memory.write64(at, 0));
        let queue = DriverQueue::new(Rings(memory.part(0, RINGS)), SIZE, event_index)?;
        transport.attach(index.into(), &queue);
        let buffers = memory.part(RINGS, N * BUFFER);
        Some(Self { transport, index: index.into(), queue, buffers })
    }

    fn buffer(&self, head: Head) -> Window {
        self.buffers.part(usize::from(head.0) * BUFFER, BUFFER)
    }

    /// Gives the device `bytes` of the next free buffer. There is one: the caller looked.
    fn submit(&mut self, bytes: usize, access: Access) {
        let Some(head) = self.queue.next_head() else { return };
        let address = self.buffer(head).base() as u64;
        let segment = Segment { address, bytes: bytes as u32, access };
        if self.queue.submit(&[segment]).is_ok() && self.queue.publish() {
            self.transport.notify(self.index);
        }
    }

    /// A buffer that the device has finished with, and the bytes that it wrote.
    fn pop(&mut self) -> Option<(Head, usize)> {
        let used = self.queue.pop_used().expect("the card breaks the rules of its queue")?;
        Some((used.head, used.written as usize))
    }
}

impl Card {
    /// The first card of the machine, ready.
    pub fn new(boot: &'static Boot) -> Option<Self> {
        let find =
            |device: el1::boot::Device| Some((Transport::new(device.registers, device_id::NET)?, device));
        let (transport, device) = boot.devices("virtio,mmio").find_map(find)?;
        let agreed = transport.negotiate(net::F_MAC | feature::EVENT_IDX);
        let event_index = agreed & feature::EVENT_IDX != 0;
        let memory = boot.spare.part(PLACE, 2 * HALF);
        let mut receive = Half::new(transport, net::RECEIVE, memory.part(0, HALF), event_index)?;
        let mut transmit = Half::new(transport, net::TRANSMIT, memory.part(HALF, HALF), event_index)?;
        CARD.enable(boot, device.intid?);
        transport.start();
        (0..SIZE).for_each(|_| receive.submit(net::HEADER_BYTES + FRAME, Access::Write));
        transmit.queue.disarm();
        let address = core::array::from_fn(|at| transport.config(net::config::MAC + at));
        Some(Self { transport, address, receive, transmit })
    }

    /// Its MAC address.
    pub fn address(&self) -> [u8; 6] {
        self.address
    }

    /// Whether there is a buffer to send with; if not, its interrupt is awaited.
    fn has_room(&mut self, context: &mut Context<'_>) -> bool {
        while self.transmit.pop().is_some() {}
        if self.transmit.queue.free_descriptors() > 0 {
            return true;
        }
        self.await_interrupt(context);
        if self.transmit.queue.arm() {
            while self.transmit.pop().is_some() {}
        }
        self.transmit.queue.free_descriptors() > 0
    }

    fn await_interrupt(&self, context: &mut Context<'_>) {
        CARD.register(context.waker());
        if CARD.take_raised() {
            self.transport.acknowledge();
        }
    }

    /// The next frame: its buffer and length.
    fn next_frame(&mut self, context: &mut Context<'_>) -> Option<(Head, usize)> {
        if let Some(found) = self.receive.pop() {
            return Some(found);
        }
        self.await_interrupt(context);
        // What came before the device was asked for an interrupt is there.
        if self.receive.queue.arm() { self.receive.pop() } else { None }
    }
}

/// A frame that came.
pub struct Received<'a> {
    half: &'a mut Half,
    head: Head,
    bytes: usize,
}

/// A buffer for a frame.
pub struct Room<'a>(&'a mut Half);

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, f: F) -> R {
        let mut frame = [0; FRAME];
        let bytes = self.bytes.saturating_sub(net::HEADER_BYTES).min(FRAME);
        let frame = &mut frame[..bytes];
        self.half.buffer(self.head).copy_to(net::HEADER_BYTES, frame);
        let result = f(frame);
        self.half.submit(net::HEADER_BYTES + FRAME, Access::Write);
        result
    }
}

impl TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, bytes: usize, f: F) -> R {
        let mut frame = [0; FRAME];
        let frame = &mut frame[..bytes];
        let result = f(frame);
        if let Some(head) = self.0.queue.next_head() {
            let buffer = self.0.buffer(head);
            buffer.fill(0, &[0; net::HEADER_BYTES]);
            buffer.fill(net::HEADER_BYTES, frame);
            self.0.submit(net::HEADER_BYTES + bytes, Access::Read);
        }
        result
    }
}

impl Driver for Card {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, context: &mut Context<'_>) -> Option<(Received<'_>, Room<'_>)> {
        // What is answered needs room: without it the frame waits.
        if !self.has_room(context) {
            return None;
        }
        let (head, bytes) = self.next_frame(context)?;
        Some((Received { half: &mut self.receive, head, bytes }, Room(&mut self.transmit)))
    }

    fn transmit(&mut self, context: &mut Context<'_>) -> Option<Room<'_>> {
        self.has_room(context).then_some(Room(&mut self.transmit))
    }

    /// Its cable is the switch.
    fn link_state(&mut self, _: &mut Context<'_>) -> LinkState {
        LinkState::Up
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = FRAME;
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet(self.address)
    }
}
