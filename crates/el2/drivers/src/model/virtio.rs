//! A virtio-mmio slot with one of crate `virtio`'s devices in it: what guests get, driven by our own drivers.
//!
//! The device sees DRAM only ([`TwoViews`]), so a driver that forgets a transfer fails.

use super::memory::{BUS_OFFSET, TwoViews};
use crate::hardware::{DeviceAddress, Registers};
use ports::fake::FakeLine;
use ports::{BadAddress, GuestMemory, Span, Width};
use specs::{Ipa, IpaRange, Pa};
use std::rc::Rc;
use virtio::transport::{Device, Progress, VirtioMmio};

/// Memory as the device sees it: an "IPA" is a device address, and a span's PA too.
#[derive(Clone)]
pub struct DeviceView(pub Rc<TwoViews>);

impl DeviceView {
    fn check(&self, at: Ipa, bytes: usize) -> Result<DeviceAddress, BadAddress> {
        let start = at.0.checked_sub(BUS_OFFSET).ok_or(BadAddress(at))?;
        let end = start.checked_add(bytes as u64).ok_or(BadAddress(at))?;
        if end > self.0.reach as u64 { Err(BadAddress(at)) } else { Ok(DeviceAddress(at.0)) }
    }
}

impl GuestMemory for DeviceView {
    fn read(&self, at: Ipa, into: &mut [u8]) -> Result<(), BadAddress> {
        self.0.device_read(self.check(at, into.len())?, into);
        Ok(())
    }

    fn write(&self, at: Ipa, from: &[u8]) -> Result<(), BadAddress> {
        self.0.device_write(self.check(at, from.len())?, from);
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
        self.check(range.start(), range.bytes() as usize)?;
        Ok(Span { start: Pa(range.start().0), bytes: range.bytes() as u32 })
    }

    fn copy_span(&self, into: Span, from: Span) {
        let mut bytes = std::vec![0; into.bytes.min(from.bytes) as usize];
        self.read_span(from, &mut bytes);
        self.write_span(into, &bytes);
    }

    fn read_span(&self, from: Span, into: &mut [u8]) {
        let bytes = into.len().min(from.bytes as usize);
        self.0.device_read(DeviceAddress(from.start.0), &mut into[..bytes]);
    }

    fn write_span(&self, into: Span, from: &[u8]) {
        let bytes = from.len().min(into.bytes as usize);
        self.0.device_write(DeviceAddress(into.start.0), &from[..bytes]);
    }
}

/// The device in its slot.
pub type Slot<D> = VirtioMmio<D, DeviceView, Line>;

/// The slot's interrupt, shared with the test.
#[derive(Clone, Default)]
pub struct Line(pub Rc<FakeLine>);

impl ports::InterruptLine for Line {
    fn raise(&self) {
        self.0.raise();
    }

    fn lower(&self) {
        self.0.lower();
    }
}

/// The slot's registers: one handle in the driver, one in the test.
pub struct SlotRegisters<D>(pub Rc<Slot<D>>);

impl<D> Clone for SlotRegisters<D> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<D: Device<DeviceView, Line>> SlotRegisters<D> {
    pub fn new(device: D, memory: &Rc<TwoViews>, line: &Line) -> Self {
        Self(Rc::new(VirtioMmio::new(device, DeviceView(memory.clone()), line.clone())))
    }

    /// Lets the device go on until it has nothing to do.
    pub fn run(&self) {
        while self.0.poll() == Progress::More {}
    }
}

impl<D: Device<DeviceView, Line>> Registers for SlotRegisters<D> {
    fn read32(&self, offset: usize) -> u32 {
        self.0.read(offset as u64, Width::W32) as u32
    }

    fn write32(&self, offset: usize, value: u32) {
        if self.0.write(offset as u64, Width::W32, value.into()) == Progress::More {
            self.run();
        }
    }

    fn read8(&self, offset: usize) -> u8 {
        self.0.read(offset as u64, Width::W8) as u8
    }

    fn write8(&self, offset: usize, value: u8) {
        let _ = self.0.write(offset as u64, Width::W8, value.into());
    }
}
