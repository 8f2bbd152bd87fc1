//! What a host driver needs of the hardware: registers, and memory that a device reads or writes (rule `two-views`).
//!
//! `el2` implements these over real registers and DRAM; on a PC the fakes of the tests keep a cached and a DRAM view of the memory,
//! so that a forgotten transfer fails a test.

use ports::Span;

/// The registers of one device. Accesses are single, in program order, and never merged.
/// An offset outside the mapped registers reads as zero and ignores writes.
pub trait Registers {
    /// Loads 32 bits.
    fn read32(&self, offset: usize) -> u32;
    /// Stores 32 bits.
    fn write32(&self, offset: usize, value: u32);
    /// Loads 8 bits.
    fn read8(&self, offset: usize) -> u8;
    /// Stores 8 bits.
    fn write8(&self, offset: usize, value: u8);
    /// Loads the 32-bit register at `offset` again and again, little-endian, until `into` is full: a data port.
    fn read_port(&self, offset: usize, into: &mut [u8]) {
        for word in into.chunks_exact_mut(4) {
            word.copy_from_slice(&self.read32(offset).to_le_bytes());
        }
    }
    /// Stores to the 32-bit register at `offset` again and again, little-endian, all of `from`: a data port.
    fn write_port(&self, offset: usize, from: &[u8]) {
        for word in from.chunks_exact(4) {
            self.write32(offset, word.try_into().map_or(0, u32::from_le_bytes));
        }
    }
}

/// An address as the device sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceAddress(pub u64);

/// Host memory of a driver's own, contiguous and 4 KiB aligned: descriptors, rings, bounce buffers.
///
/// The PE's view and the device's view differ until a transfer: after writing call [`DmaBuffer::to_device`] before the
/// device is told; before reading what the device wrote call [`DmaBuffer::from_device`].
/// A copy of two bytes at an even offset is a single access: ring indices change while they are read.
#[allow(clippy::wrong_self_convention, reason = "named after the transfers of rule two-views")]
pub trait DmaBuffer {
    /// Length in bytes.
    fn bytes(&self) -> usize;
    /// Where the device finds it.
    fn address(&self) -> DeviceAddress;
    /// Copies into the buffer; what does not fit is left out.
    fn write(&mut self, offset: usize, from: &[u8]);
    /// Copies out of the buffer; what lies outside reads as zero.
    fn read(&self, offset: usize, into: &mut [u8]);
    /// Cleans a range to the point of coherency and orders it before a later register write.
    fn to_device(&self, offset: usize, bytes: usize);
    /// Discards the PE's copies of a range, ordered after an earlier register read.
    fn from_device(&self, offset: usize, bytes: usize);
    /// As a span, for [`ports::GuestMemory::copy_span`].
    fn span(&self, offset: usize, bytes: u32) -> Option<Span>;
}

/// Gives memory to drivers, and hands spans of guests' RAM to devices.
pub trait Dma {
    /// What it gives.
    type Buffer: DmaBuffer;
    /// `bytes` zeroed bytes that the device reaches, or `None` where there are none.
    fn allocate(&self, bytes: usize) -> Option<Self::Buffer>;
    /// Readies a span for a device that will read it; `None` where the device can't reach it, or it is no memory that
    /// spans may name (then bounce).
    fn span_to_device(&self, span: Span) -> Option<DeviceAddress>;
    /// Readies a span for a device that will write it (before the transfer).
    fn span_for_device_write(&self, span: Span) -> Option<DeviceAddress>;
    /// Ends a device's write to a span (after the transfer).
    fn span_from_device(&self, span: Span);
    /// Copies `min(from.bytes, into.bytes)` bytes between memory that spans may name: to and from a bounce buffer, when
    /// the submitter's `GuestMemory` is no longer at hand.
    fn copy_span(&self, into: Span, from: Span);
}
