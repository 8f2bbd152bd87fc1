//! The two rings of a GENET and their buffers: 256 of 2 KiB each, allotted once; a frame's data moves by one copy.
//!
//! Called by the driver; calls the registers. Indices are free-running 16-bit numbers; those that the device moves are
//! checked before use. In flight = ours − the device's (transmit), waiting = the device's − ours (receive).
//! A buffer begins with the device's status block of 64 bytes; received frames follow after two bytes of alignment.

use super::registers as reg;
use super::{FRAMES_PER_INTERRUPT, Genet, INTERRUPT_TIMEOUT, Phase, Statistics};
use crate::hardware::{Dma, DmaBuffer, Registers};
use ports::{Delivered, Frame, FrameSink, GuestMemory, Offload, Span};
use virtio::net::finish::{Piece, finish};

const BUFFER_BYTES: usize = 2048;
const ENTRIES: u32 = reg::DESCRIPTORS;
const ENTRIES_USIZE: usize = 256;
/// Frames on the wire, without FCS.
const MIN_FRAME: u32 = 60;
const MAX_FRAME: u32 = 1518;
/// Where a received frame begins.
const RECEIVED_AT: usize = reg::STATUS_BYTES + 2;
/// virtio 1.2, 5.1.6: VIRTIO_NET_HDR_F_NEEDS_CSUM and F_DATA_VALID.
const NEEDS_CHECKSUM: u8 = 1;
const DATA_VALID: u8 = 2;
/// IEEE 802.1Q tag protocol identifier.
const TAG: [u8; 2] = [0x81, 0x00];

pub(super) struct Rings<D: Dma> {
    transmit: D::Buffer,
    receive: D::Buffer,
    /// Transmit: our producer index, and the device's consumer index as last seen.
    produced: u32,
    consumed: u32,
    /// Receive: our consumer index; the device's discard counter as last seen.
    taken: u32,
    discards: u32,
}

impl<D: Dma> Rings<D> {
    pub(super) fn new(dma: &D) -> Option<Self> {
        let transmit = dma.allocate(ENTRIES_USIZE.saturating_mul(BUFFER_BYTES))?;
        let receive = dma.allocate(ENTRIES_USIZE.saturating_mul(BUFFER_BYTES))?;
        Some(Self { transmit, receive, produced: 0, consumed: 0, taken: 0, discards: 0 })
    }

    /// Describes all buffers and starts both DMAs. The device's indices can't be set: ours follow them.
    pub(super) fn set_up(&mut self, registers: &impl Registers) {
        self.consumed = registers.read32(ring(reg::TDMA, reg::RING_DEVICE_INDEX)) & 0xffff;
        self.produced = self.consumed;
        let word = registers.read32(ring(reg::RDMA, reg::RING_DEVICE_INDEX));
        (self.taken, self.discards) = (word & 0xffff, word >> 16);
        // No line of a buffer that the device writes may be dirty.
        self.receive.to_device(0, self.receive.bytes());
        for base in [reg::RDMA, reg::TDMA] {
            let buffer = if base == reg::RDMA { &self.receive } else { &self.transmit };
            describe(registers, base, buffer.address().0);
            let ours = if base == reg::RDMA { self.taken } else { self.produced };
            registers.write32(base.saturating_add(reg::DMA + reg::DMA_SCB_BURST_SIZE), 8);
            registers.write32(ring(base, reg::RING_START), 0);
            // Pointers follow the indices, in words of descriptor memory.
            let pointer = (ours % ENTRIES).saturating_mul(3);
            registers.write32(ring(base, reg::RING_DEVICE_POINTER), pointer);
            registers.write32(ring(base, reg::RING_OUR_POINTER), pointer);
            registers.write32(ring(base, reg::RING_END), ENTRIES.saturating_mul(3).saturating_sub(1));
            registers.write32(ring(base, reg::RING_OUR_INDEX), ours);
            let size = ENTRIES << 16 | u32::try_from(BUFFER_BYTES).unwrap_or(0);
            registers.write32(ring(base, reg::RING_SIZE), size);
            let (threshold, flow) =
                if base == reg::RDMA { (FRAMES_PER_INTERRUPT, 5 << 16 | ENTRIES >> 4) } else { (1, 0) };
            registers.write32(ring(base, reg::RING_DONE_THRESHOLD), threshold);
            registers.write32(ring(base, reg::RING_FLOW), flow);
            registers.write32(base.saturating_add(reg::DMA + reg::DMA_RING_CFG), 1 << 16);
        }
        registers.write32(reg::RDMA + reg::DMA + reg::DMA_RING16_TIMEOUT, INTERRUPT_TIMEOUT);
        registers.write32(reg::TDMA + reg::DMA + reg::DMA_CTRL, reg::DMA_ENABLE);
        registers.write32(reg::RDMA + reg::DMA + reg::DMA_CTRL, reg::DMA_ENABLE);
    }

    pub(super) fn consumer(&self) -> u32 {
        self.consumed
    }

    pub(super) fn is_sending(&self) -> bool {
        self.in_flight() != 0
    }

    fn in_flight(&self) -> u32 {
        self.produced.wrapping_sub(self.consumed) & 0xffff
    }

    /// Reads where the device is; `false` when that makes no sense.
    pub(super) fn refresh(&mut self, registers: &impl Registers, statistics: &mut Statistics) -> bool {
        let consumed = registers.read32(ring(reg::TDMA, reg::RING_DEVICE_INDEX)) & 0xffff;
        let sane = self.produced.wrapping_sub(consumed) & 0xffff <= ENTRIES;
        if sane {
            self.consumed = consumed;
        }
        let word = registers.read32(ring(reg::RDMA, reg::RING_DEVICE_INDEX));
        let lost = (word >> 16).wrapping_sub(self.discards) & 0xffff;
        self.discards = word >> 16;
        statistics.overruns = statistics.overruns.saturating_add(lost.into());
        sane && (word & 0xffff).wrapping_sub(self.taken) & 0xffff <= ENTRIES
    }

    /// Room for one more frame.
    fn has_room(&mut self, registers: &impl Registers) -> bool {
        if self.in_flight() < ENTRIES {
            return true;
        }
        let consumed = registers.read32(ring(reg::TDMA, reg::RING_DEVICE_INDEX)) & 0xffff;
        if self.produced.wrapping_sub(consumed) & 0xffff <= ENTRIES {
            self.consumed = consumed;
        }
        self.in_flight() < ENTRIES
    }

    /// Copies a frame into the next buffer; its length on the wire, and its checksum information.
    fn fill(&mut self, frame: &Frame<'_>) -> Option<(u32, u32)> {
        let at = slot(self.produced).saturating_add(reg::STATUS_BYTES);
        let tag: u32 = if frame.offload.vlan == 0 { 0 } else { 4 };
        if tag == 0 {
            copy(frame, 0, frame.bytes, &self.transmit, at)?;
        } else {
            let [high, low] = frame.offload.vlan.to_be_bytes();
            copy(frame, 0, 12, &self.transmit, at)?;
            self.transmit.write(at.saturating_add(12), &[TAG[0], TAG[1], high & 0xf, low]);
            copy(frame, 12, frame.bytes.saturating_sub(12), &self.transmit, at.saturating_add(16))?;
        }
        let length = frame.bytes.saturating_add(tag);
        let checksum = checksum_information(&frame.offload, tag, length)?;
        Some((self.close(length, checksum)?, checksum))
    }

    /// Copies a finished piece of a frame into the next buffer.
    fn fill_piece(&mut self, frame: &Frame<'_>, piece: &Piece<'_>) -> Option<(u32, u32)> {
        let at = slot(self.produced).saturating_add(reg::STATUS_BYTES);
        self.transmit.write(at, piece.lead);
        copy(frame, piece.from, piece.bytes, &self.transmit, at.saturating_add(piece.lead.len()))?;
        Some((self.close(piece.frame_bytes(), 0)?, 0))
    }

    /// Pads the frame in the next buffer, writes its status block and hands both to the device; its length.
    fn close(&mut self, length: u32, checksum: u32) -> Option<u32> {
        let start = slot(self.produced);
        let end = start.saturating_add(reg::STATUS_BYTES).saturating_add(usize::try_from(length).ok()?);
        let zeros = [0; MIN_FRAME as usize];
        let padding = zeros.get(..usize::try_from(MIN_FRAME.saturating_sub(length)).ok()?)?;
        self.transmit.write(end, padding);
        self.transmit.write(start.saturating_add(reg::STATUS_TX_CHECKSUM), &checksum.to_le_bytes());
        self.transmit.to_device(start, end.saturating_sub(start).saturating_add(padding.len()));
        Some(length.max(MIN_FRAME))
    }
}

/// The status block's word for what a sender left to be done; `None` when it makes no sense.
fn checksum_information(offload: &Offload, tag: u32, length: u32) -> Option<u32> {
    if offload.flags & NEEDS_CHECKSUM == 0 {
        return Some(0);
    }
    let start = u32::from(offload.checksum_start).saturating_add(tag);
    let field = start.saturating_add(offload.checksum_offset.into());
    if start < 14 || field.saturating_add(2) > length {
        return None;
    }
    // A checksum 6 bytes into its header is UDP's, where a sum of 0 is sent as 0xffff.
    let udp = if offload.checksum_offset == 6 { reg::TX_CHECKSUM_UDP } else { 0 };
    Some(reg::TX_CHECKSUM_VALID | start << 16 | udp | field)
}

/// Copies `bytes` bytes of a frame from `from` on to `into` at `at`.
fn copy(frame: &Frame<'_>, from: u32, bytes: u32, into: &impl DmaBuffer, at: usize) -> Option<()> {
    let (mut skip, mut left, mut at) = (from, bytes, at);
    for span in frame.data {
        if left == 0 {
            break;
        }
        let run = span.bytes.saturating_sub(skip).min(left);
        if run > 0 {
            let start = span.start.checked_add(skip.into())?;
            frame.memory.copy_span(into.span(at, run)?, Span { start, bytes: run });
            at = at.saturating_add(usize::try_from(run).ok()?);
            left = left.saturating_sub(run);
        }
        skip = skip.saturating_sub(span.bytes);
    }
    (left == 0).then_some(())
}

fn ring(base: usize, offset: usize) -> usize {
    base.saturating_add(reg::RING_16).saturating_add(offset)
}

fn slot(index: u32) -> usize {
    usize::try_from(index % ENTRIES).unwrap_or(0).saturating_mul(BUFFER_BYTES)
}

fn descriptor(base: usize, index: u32) -> usize {
    let index = usize::try_from(index % ENTRIES).unwrap_or(0);
    base.saturating_add(index.saturating_mul(reg::DESCRIPTOR_BYTES))
}

fn describe(registers: &impl Registers, base: usize, buffers: u64) {
    for index in 0..ENTRIES {
        let at = descriptor(base, index);
        let address = buffers.saturating_add(u64::from(index).saturating_mul(2048));
        let low = u32::try_from(address & 0xffff_ffff).unwrap_or(0);
        registers.write32(at.saturating_add(4), low);
        registers.write32(at.saturating_add(8), u32::try_from(address >> 32).unwrap_or(0));
        if base == reg::RDMA {
            let length = u32::try_from(BUFFER_BYTES).unwrap_or(0) << reg::LENGTH_SHIFT;
            registers.write32(at, length | reg::OWN);
        }
    }
}

impl<R: Registers, D: Dma> FrameSink for Genet<R, D> {
    /// Checksums and tags are left to the hardware and to the copy; a long TCP frame is cut by software, and is cut off
    /// where the ring is full: TCP sends the rest again.
    fn deliver(&mut self, frame: &Frame<'_>) -> Delivered {
        let outcome = if self.phase != Phase::Running || self.link.is_none() {
            Delivered::Refused
        } else if frame.offload.gso_type != 0 {
            self.cut(frame)
        } else {
            self.send(frame.bytes, |rings| rings.fill(frame))
        };
        let counter = match outcome {
            Delivered::Yes => return outcome,
            Delivered::NoBuffer => &mut self.statistics.no_room,
            Delivered::Refused => &mut self.statistics.refused,
        };
        *counter = counter.saturating_add(1);
        outcome
    }
}

impl<R: Registers, D: Dma> Genet<R, D> {
    fn cut(&mut self, frame: &Frame<'_>) -> Delivered {
        let mut outcome = Delivered::Refused;
        let finished = finish(frame, |piece| {
            outcome = self.send(piece.frame_bytes(), |rings| rings.fill_piece(frame, piece));
            outcome == Delivered::Yes
        });
        if finished.is_ok() { outcome } else { Delivered::Refused }
    }

    /// Sends one frame of `bytes` bytes that `fill` copies into the next buffer.
    fn send(&mut self, bytes: u32, fill: impl FnOnce(&mut Rings<D>) -> Option<(u32, u32)>) -> Delivered {
        if !(14..=MAX_FRAME).contains(&bytes) {
            return Delivered::Refused;
        }
        if !self.rings.has_room(&self.registers) {
            return Delivered::NoBuffer;
        }
        let Some((length, checksum)) = fill(&mut self.rings) else { return Delivered::Refused };
        let sum = if checksum == 0 { 0 } else { reg::TX_CHECKSUM };
        let status =
            u32::try_from(reg::STATUS_BYTES).unwrap_or(0).saturating_add(length) << reg::LENGTH_SHIFT;
        let word = status | reg::SOP | reg::EOP | reg::TX_PLAIN | sum;
        self.registers.write32(descriptor(reg::TDMA, self.rings.produced), word);
        self.rings.produced = self.rings.produced.wrapping_add(1) & 0xffff;
        self.registers.write32(ring(reg::TDMA, reg::RING_OUR_INDEX), self.rings.produced);
        self.statistics.sent = self.statistics.sent.saturating_add(1);
        self.statistics.sent_bytes = self.statistics.sent_bytes.saturating_add(length.into());
        Delivered::Yes
    }

    /// Shows at most `budget` received frames to `show` and gives their buffers back to the device; `true` when there are
    /// more. `memory` is what the frames' spans are reached by.
    pub fn receive(
        &mut self,
        memory: &dyn GuestMemory,
        budget: usize,
        mut show: impl FnMut(&Frame<'_>),
    ) -> bool {
        if self.phase != Phase::Running {
            return false;
        }
        let word = self.registers.read32(ring(reg::RDMA, reg::RING_DEVICE_INDEX));
        let waiting = (word & 0xffff).wrapping_sub(self.rings.taken) & 0xffff;
        if waiting == 0 || waiting > ENTRIES {
            return false;
        }
        let frames = waiting.min(u32::try_from(budget).unwrap_or(u32::MAX));
        for _ in 0..frames {
            self.show_one(memory, &mut show);
            self.rings.taken = self.rings.taken.wrapping_add(1) & 0xffff;
        }
        self.registers.write32(ring(reg::RDMA, reg::RING_OUR_INDEX), self.rings.taken);
        waiting > frames
    }

    fn show_one(&mut self, memory: &dyn GuestMemory, show: &mut impl FnMut(&Frame<'_>)) {
        let start = slot(self.rings.taken);
        let receive = &self.rings.receive;
        // The status block repeats the descriptor's word: memory is nearer than the device's.
        receive.from_device(start, reg::STATUS_BYTES);
        let mut raw = [0; 4];
        receive.read(start, &mut raw);
        let word = u32::from_le_bytes(raw);
        let whole = word & (reg::SOP | reg::EOP) == reg::SOP | reg::EOP && word & reg::RX_ERRORS == 0;
        let length = usize::try_from(word >> reg::LENGTH_SHIFT & 0xfff).unwrap_or(0);
        let bytes = length.checked_sub(RECEIVED_AT).filter(|bytes| *bytes >= 14);
        let room = BUFFER_BYTES.saturating_sub(RECEIVED_AT);
        let frame = bytes.filter(|bytes| whole && *bytes <= room).and_then(|bytes| {
            receive.from_device(start.saturating_add(reg::STATUS_BYTES), bytes.saturating_add(2));
            receive.span(start.saturating_add(RECEIVED_AT), u32::try_from(bytes).ok()?)
        });
        let Some(span) = frame else {
            self.statistics.damaged = self.statistics.damaged.saturating_add(1);
            return;
        };
        self.statistics.received = self.statistics.received.saturating_add(1);
        self.statistics.received_bytes = self.statistics.received_bytes.saturating_add(span.bytes.into());
        let flags = if word & reg::RX_CHECKED != 0 { DATA_VALID } else { 0 };
        let offload = Offload { flags, ..Offload::default() };
        show(&Frame { data: &[span], bytes: span.bytes, offload, memory });
    }
}
