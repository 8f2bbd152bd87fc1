//! The card against the network device of crate `virtio`, over memory with two views.

use super::*;
use crate::model::memory::{FakeDma, TwoViews, span};
use crate::model::virtio::{DeviceView, Line, SlotRegisters};
use std::cell::RefCell;
use std::rc::Rc;
use std::vec::Vec;
use virtio::Net;

const DATA: usize = 0x20_0000;
const MEMORY: usize = 0x24_0000;

/// What the wire saw.
#[derive(Clone, Default)]
struct Wire(Rc<RefCell<Vec<Vec<u8>>>>);

fn bytes_of(frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for span in frame.data {
        let mut part = std::vec![0; span.bytes as usize];
        frame.memory.read_span(*span, &mut part);
        bytes.extend(part);
    }
    bytes
}

impl FrameSink for Wire {
    fn deliver(&mut self, frame: &Frame<'_>) -> Delivered {
        self.0.borrow_mut().push(bytes_of(frame));
        Delivered::Yes
    }
}

struct Rig {
    memory: Rc<TwoViews>,
    dma: FakeDma,
    device: SlotRegisters<Net<Wire>>,
    wire: Wire,
    line: Line,
    card: VirtioNet<SlotRegisters<Net<Wire>>, FakeDma>,
}

fn rig() -> Rig {
    let memory = TwoViews::new(MEMORY, MEMORY);
    let dma = FakeDma(memory.clone());
    let (wire, line) = (Wire::default(), Line::default());
    let device = SlotRegisters::new(Net::new([2, 0, 0, 0, 0, 7], 1500, wire.clone()), &memory, &line);
    let card = VirtioNet::new(device.clone(), &dma).unwrap();
    Rig { memory, dma, device, wire, line, card }
}

impl Rig {
    fn send(&mut self, bytes: &[u8], runs: usize, offload: Offload) -> Delivered {
        self.dma.write_span(span(DATA, bytes.len()), bytes);
        let part = bytes.len().div_ceil(runs);
        let data: Vec<Span> =
            (0..bytes.len()).step_by(part).map(|at| span(DATA + at, part.min(bytes.len() - at))).collect();
        let frame = Frame { data: &data, bytes: bytes.len() as u32, offload, memory: &self.dma };
        let delivered = self.card.deliver(&frame);
        self.device.run();
        delivered
    }

    /// A frame comes in from the wire.
    fn arrive(&self, bytes: &[u8]) -> Delivered {
        let at = MEMORY - 0x1000;
        let address = at as u64 + crate::model::memory::BUS_OFFSET;
        self.memory.device_write(crate::hardware::DeviceAddress(address), bytes);
        let view = DeviceView(self.memory.clone());
        let data = [Span { start: Pa(address), bytes: bytes.len() as u32 }];
        let frame =
            Frame { data: &data, bytes: bytes.len() as u32, offload: Offload::default(), memory: &view };
        self.device.0.deliver(&frame)
    }
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect()
}

#[test]
fn frames_go_out_whole() {
    let mut rig = rig();
    assert_eq!(rig.card.mac(), [2, 0, 0, 0, 0, 7]);
    for round in 0..300 {
        let frame = pattern(60 + round * 4);
        assert_eq!(rig.send(&frame, 1 + round % 3, Offload::default()), Delivered::Yes);
        assert_eq!(rig.wire.0.borrow_mut().pop().unwrap(), frame);
    }
    assert_eq!(rig.card.counters().sent, 300);
    assert_eq!((rig.memory.stray.get(), rig.memory.lost.get()), (0, 0));
    assert_eq!(rig.send(&pattern(1519), 1, Offload::default()), Delivered::Refused);
}

#[test]
fn frames_come_in_whole_and_each_raises_the_interrupt() {
    let mut rig = rig();
    for round in 0..300 {
        rig.card.acknowledge();
        assert!(!rig.card.receive(&rig.dma, 8, |_| panic!("no frame came")));
        assert!(!rig.line.0.high.get());
        let frame = pattern(60 + round * 4);
        assert_eq!(rig.arrive(&frame), Delivered::Yes);
        assert!(rig.line.0.high.get(), "round {round}");
        rig.card.acknowledge();
        let mut seen = Vec::new();
        assert!(!rig.card.receive(&rig.dma, 8, |frame| seen.push(bytes_of(frame))));
        assert_eq!(seen, [frame]);
    }
    assert_eq!(rig.card.counters().received, 300);
    assert_eq!((rig.memory.stray.get(), rig.memory.lost.get()), (0, 0));
}

#[test]
fn a_budget_leaves_the_rest() {
    let mut rig = rig();
    (0..5).for_each(|n| assert_eq!(rig.arrive(&pattern(60 + n)), Delivered::Yes));
    let mut lengths = Vec::new();
    assert!(rig.card.receive(&rig.dma, 3, |frame| lengths.push(frame.bytes)));
    assert_eq!(lengths, [60, 61, 62]);
    assert!(!rig.card.receive(&rig.dma, 3, |frame| lengths.push(frame.bytes)));
    assert_eq!(lengths, [60, 61, 62, 63, 64]);
}

#[test]
fn a_missing_checksum_is_completed() {
    let mut rig = rig();
    let mut frame = pattern(100);
    frame[14] = 0x45;
    frame[50..52].fill(0);
    let offload = Offload {
        flags: net::HDR_F_NEEDS_CSUM,
        checksum_start: 34,
        checksum_offset: 16,
        ..Offload::default()
    };
    assert_eq!(rig.send(&frame, 2, offload), Delivered::Yes);
    let sent = rig.wire.0.borrow_mut().pop().unwrap();
    // Over the summed part the ones' complement sum must be all ones.
    let sum: u32 = sent[34..].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    assert_eq!(sent[52..], frame[52..]);
}

#[test]
fn the_link_follows_the_cable() {
    let mut rig = rig();
    rig.device.0.set_link_up(false);
    rig.card.acknowledge();
    assert!(!rig.card.is_link_up());
    assert_eq!(rig.send(&pattern(60), 1, Offload::default()), Delivered::Refused);
    rig.device.0.set_link_up(true);
    rig.card.acknowledge();
    assert_eq!(rig.send(&pattern(60), 1, Offload::default()), Delivered::Yes);
}

#[test]
fn a_device_that_lies_takes_the_link_down() {
    let mut rig = rig();
    // The used index of the receive queue jumps; its ring lies at the start of the driver's memory.
    let size = rig.card.incoming.queue.size();
    let used = rig.card.incoming.queue.device_address() + 2;
    assert!(size > 0);
    rig.memory.device_write(crate::hardware::DeviceAddress(used), &0x4000_u16.to_le_bytes());
    assert!(!rig.card.receive(&rig.dma, 8, |_| panic!("no frame came")));
    assert!(!rig.card.is_link_up());
    assert_eq!(rig.send(&pattern(60), 1, Offload::default()), Delivered::Refused);
}
