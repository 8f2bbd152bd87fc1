//! Host memory with two views: what the PE sees through its cache, and DRAM, which devices see (rule `two-views`).
//!
//! A write by the PE stays in its cache until a transfer to the device; what a device writes stays unseen by the PE until
//! a transfer from the device. A device's write to a line that is dirty in the cache is lost when that line is evicted:
//! the model evicts at once and counts it in [`TwoViews::lost`].
//!
//! Device addresses are physical ones plus [`BUS_OFFSET`], as on the Pi's legacy bus, so that a driver which mixes the
//! two fails. Devices reach `reach` bytes; spans above must be bounced.

use crate::hardware::{DeviceAddress, Dma, DmaBuffer};
use ports::{BadAddress, GuestMemory, Span};
use specs::{Ipa, IpaRange, Pa};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::vec::Vec;

/// Device address of PA 0 (bcm2711.dtsi, `dma-ranges`).
pub const BUS_OFFSET: u64 = 0xc000_0000;
const LINE: usize = 64;

pub struct TwoViews {
    cached: RefCell<Vec<u8>>,
    dram: RefCell<Vec<u8>>,
    dirty: RefCell<Vec<bool>>,
    /// First byte not yet given to a buffer.
    free: Cell<usize>,
    /// Bytes from PA 0 on that devices reach.
    pub reach: usize,
    /// Device writes that a dirty line overwrote.
    pub lost: Cell<u32>,
    /// Device accesses outside memory.
    pub stray: Cell<u32>,
}

impl TwoViews {
    /// `bytes` of memory, of which devices reach the first `reach`. Buffers are given from the start, tests use the end.
    pub fn new(bytes: usize, reach: usize) -> Rc<Self> {
        Rc::new(Self {
            cached: RefCell::new(std::vec![0; bytes]),
            dram: RefCell::new(std::vec![0; bytes]),
            dirty: RefCell::new(std::vec![false; bytes.div_ceil(LINE)]),
            free: Cell::new(0),
            reach,
            lost: Cell::new(0),
            stray: Cell::new(0),
        })
    }

    fn lines(at: usize, bytes: usize) -> core::ops::Range<usize> {
        at / LINE..(at + bytes).div_ceil(LINE)
    }

    fn line_bytes(&self, line: usize) -> core::ops::Range<usize> {
        line * LINE..((line + 1) * LINE).min(self.cached.borrow().len())
    }

    pub fn pe_write(&self, at: usize, from: &[u8]) {
        self.cached.borrow_mut()[at..at + from.len()].copy_from_slice(from);
        for line in Self::lines(at, from.len()) {
            self.dirty.borrow_mut()[line] = true;
        }
    }

    pub fn pe_read(&self, at: usize, into: &mut [u8]) {
        into.copy_from_slice(&self.cached.borrow()[at..at + into.len()]);
    }

    /// DC CVAC.
    pub fn clean(&self, at: usize, bytes: usize) {
        for line in Self::lines(at, bytes) {
            if core::mem::take(&mut self.dirty.borrow_mut()[line]) {
                let range = self.line_bytes(line);
                self.dram.borrow_mut()[range.clone()].copy_from_slice(&self.cached.borrow()[range]);
            }
        }
    }

    /// DC IVAC: what was dirty is gone.
    pub fn invalidate(&self, at: usize, bytes: usize) {
        for line in Self::lines(at, bytes) {
            self.dirty.borrow_mut()[line] = false;
            let range = self.line_bytes(line);
            self.cached.borrow_mut()[range.clone()].copy_from_slice(&self.dram.borrow()[range]);
        }
    }

    fn to_pa(&self, at: DeviceAddress, bytes: usize) -> Option<usize> {
        let at = usize::try_from(at.0.checked_sub(BUS_OFFSET)?).ok()?;
        (at.checked_add(bytes)? <= self.reach).then_some(at)
    }

    pub fn device_read(&self, at: DeviceAddress, into: &mut [u8]) {
        match self.to_pa(at, into.len()) {
            Some(at) => into.copy_from_slice(&self.dram.borrow()[at..at + into.len()]),
            None => self.stray.set(self.stray.get() + 1),
        }
    }

    pub fn device_write(&self, at: DeviceAddress, from: &[u8]) {
        let Some(at) = self.to_pa(at, from.len()) else {
            return self.stray.set(self.stray.get() + 1);
        };
        self.dram.borrow_mut()[at..at + from.len()].copy_from_slice(from);
        if Self::lines(at, from.len()).any(|line| self.dirty.borrow()[line]) {
            self.lost.set(self.lost.get() + 1);
            self.clean(at, from.len());
        }
    }
}

/// A span of the fake's memory.
pub fn span(at: usize, bytes: usize) -> Span {
    Span { start: Pa(at as u64), bytes: bytes as u32 }
}

fn place(span: Span) -> (usize, usize) {
    (span.start.0 as usize, span.bytes as usize)
}

/// The memory as drivers get it.
#[derive(Clone)]
pub struct FakeDma(pub Rc<TwoViews>);

pub struct FakeBuffer {
    memory: Rc<TwoViews>,
    at: usize,
    bytes: usize,
}

impl FakeBuffer {
    fn clip(&self, offset: usize, bytes: usize) -> (usize, usize) {
        let offset = offset.min(self.bytes);
        (self.at + offset, bytes.min(self.bytes - offset))
    }
}

impl DmaBuffer for FakeBuffer {
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn address(&self) -> DeviceAddress {
        DeviceAddress(self.at as u64 + BUS_OFFSET)
    }

    fn write(&mut self, offset: usize, from: &[u8]) {
        let (at, bytes) = self.clip(offset, from.len());
        self.memory.pe_write(at, &from[..bytes]);
    }

    fn read(&self, offset: usize, into: &mut [u8]) {
        let (at, bytes) = self.clip(offset, into.len());
        into.fill(0);
        self.memory.pe_read(at, &mut into[..bytes]);
    }

    fn to_device(&self, offset: usize, bytes: usize) {
        let (at, bytes) = self.clip(offset, bytes);
        self.memory.clean(at, bytes);
    }

    fn from_device(&self, offset: usize, bytes: usize) {
        let (at, bytes) = self.clip(offset, bytes);
        self.memory.invalidate(at, bytes);
    }

    fn span(&self, offset: usize, bytes: u32) -> Option<Span> {
        let (at, fits) = self.clip(offset, bytes as usize);
        (fits == bytes as usize).then(|| span(at, fits))
    }
}

impl Dma for FakeDma {
    type Buffer = FakeBuffer;

    fn allocate(&self, bytes: usize) -> Option<FakeBuffer> {
        let at = self.0.free.get();
        let end = at + bytes.next_multiple_of(4096);
        if end > self.0.reach {
            return None;
        }
        self.0.free.set(end);
        Some(FakeBuffer { memory: self.0.clone(), at, bytes })
    }

    fn span_to_device(&self, span: Span) -> Option<DeviceAddress> {
        let (at, bytes) = place(span);
        if at + bytes > self.0.reach {
            return None;
        }
        self.0.clean(at, bytes);
        Some(DeviceAddress(at as u64 + BUS_OFFSET))
    }

    fn span_for_device_write(&self, span: Span) -> Option<DeviceAddress> {
        self.span_to_device(span)
    }

    fn span_from_device(&self, span: Span) {
        let (at, bytes) = place(span);
        self.0.invalidate(at, bytes);
    }

    fn copy_span(&self, into: Span, from: Span) {
        let mut bytes = std::vec![0; into.bytes.min(from.bytes) as usize];
        self.0.pe_read(place(from).0, &mut bytes);
        self.0.pe_write(place(into).0, &bytes);
    }
}

/// The same memory as a submitter sees it; IPA is PA.
impl GuestMemory for FakeDma {
    fn read(&self, at: Ipa, into: &mut [u8]) -> Result<(), BadAddress> {
        self.0.pe_read(at.0 as usize, into);
        Ok(())
    }

    fn write(&self, at: Ipa, from: &[u8]) -> Result<(), BadAddress> {
        self.0.pe_write(at.0 as usize, from);
        Ok(())
    }

    fn load_acquire(&self, at: Ipa) -> Result<u16, BadAddress> {
        let mut raw = [0; 2];
        self.read(at, &mut raw)?;
        Ok(u16::from_le_bytes(raw))
    }

    fn store_release(&self, at: Ipa, value: u16) -> Result<(), BadAddress> {
        self.write(at, &value.to_le_bytes())
    }

    fn full_fence(&self) {}

    fn resolve(&self, range: IpaRange) -> Result<Span, BadAddress> {
        Ok(span(range.start().0 as usize, range.bytes() as usize))
    }

    fn copy_span(&self, into: Span, from: Span) {
        Dma::copy_span(self, into, from);
    }

    fn read_span(&self, from: Span, into: &mut [u8]) {
        let bytes = into.len().min(from.bytes as usize);
        self.0.pe_read(place(from).0, &mut into[..bytes]);
    }

    fn write_span(&self, into: Span, from: &[u8]) {
        let bytes = from.len().min(into.bytes as usize);
        self.0.pe_write(place(into).0, &from[..bytes]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forgotten_transfer_is_seen() {
        let memory = TwoViews::new(0x10000, 0x8000);
        let dma = FakeDma(memory.clone());
        let mut buffer = dma.allocate(4096).unwrap();
        let mut seen = [0; 4];
        buffer.write(0, b"abcd");
        memory.device_read(buffer.address(), &mut seen);
        assert_eq!(&seen, &[0; 4]);
        buffer.to_device(0, 4);
        memory.device_read(buffer.address(), &mut seen);
        assert_eq!(&seen, b"abcd");
        memory.device_write(buffer.address(), b"wxyz");
        buffer.read(0, &mut seen);
        assert_eq!(&seen, b"abcd");
        buffer.from_device(0, 4);
        buffer.read(0, &mut seen);
        assert_eq!((&seen, memory.lost.get()), (b"wxyz", 0));
        buffer.write(8, b"dirty");
        memory.device_write(buffer.address(), b"1234");
        buffer.from_device(0, 4);
        buffer.read(0, &mut seen);
        assert_eq!((&seen, memory.lost.get()), (b"wxyz", 1));
    }

    #[test]
    fn what_a_device_does_not_reach_is_refused() {
        let dma = FakeDma(TwoViews::new(0x10000, 0x8000));
        assert!(dma.span_to_device(span(0x7000, 0x1000)).is_some());
        assert!(dma.span_to_device(span(0x7000, 0x1001)).is_none());
    }
}
