//! Guards: memory that devices read and write (rule `two-views`).

use crate::copy::copy;
use crate::{cache, ram};
use alloc::alloc::{Layout, alloc, dealloc};
use drivers::hardware::{DeviceAddress, Dma, DmaBuffer};
use ports::Span;
use specs::Pa;
use spin::Mutex;

const PAGE: usize = 4096;
const MAX_BUFFERS: usize = 64;
/// Tries to find memory below a device's limit: the heap may have leftovers of RAM above it.
const TRIES: usize = 16;

/// Buffers are never freed: a device may hold their address.
static BUFFERS: Mutex<([(u64, u64); MAX_BUFFERS], usize)> = Mutex::new(([(0, 0); MAX_BUFFERS], 0));

pub(crate) fn is_buffer(span: Span) -> bool {
    let buffers = BUFFERS.lock();
    let end = span.start.0.saturating_add(u64::from(span.bytes));
    buffers.0[..buffers.1].iter().any(|(from, to)| span.start.0 >= *from && end <= *to)
}

/// Host memory for drivers, below `limit`.
#[derive(Clone, Copy, Debug)]
pub struct HostDma {
    /// First address that the devices can't reach.
    pub limit: Pa,
    /// Device address of PA 0, wrapping.
    pub offset: u64,
}

/// One buffer.
#[derive(Debug)]
pub struct HostBuffer {
    start: u64,
    offset: u64,
    bytes: usize,
}

impl Dma for HostDma {
    type Buffer = HostBuffer;

    fn allocate(&self, bytes: usize) -> Option<HostBuffer> {
        let bytes = bytes.checked_next_multiple_of(PAGE)?;
        let layout = Layout::from_size_align(bytes.max(PAGE), PAGE).ok()?;
        let mut buffers = BUFFERS.lock();
        let (list, count) = &mut *buffers;
        let slot = list.get_mut(*count)?;
        let start = self.below_limit(layout)?;
        *slot = (start, start + bytes as u64);
        *count += 1;
        // SAFETY: the memory was just allotted, for nobody else; it is never freed.
        unsafe { cache::zero_to_poc(start as usize, bytes) };
        Some(HostBuffer { start, offset: self.offset, bytes })
    }

    fn span_to_device(&self, span: Span) -> Option<DeviceAddress> {
        self.reach(span)
    }

    fn span_for_device_write(&self, span: Span) -> Option<DeviceAddress> {
        self.reach(span)
    }

    fn span_from_device(&self, span: Span) {
        if ram::may_name(span) {
            cache::clean_and_invalidate_to_poc(span.start.0 as usize, span.bytes as usize);
        }
    }

    fn copy_span(&self, into: Span, from: Span) {
        ram::copy_between(into, from);
    }
}

impl HostDma {
    /// Memory that the device reaches, with anything in it. What it does not reach is kept until there is some, so that the heap gives
    /// something else.
    pub(crate) fn below_limit(&self, layout: Layout) -> Option<u64> {
        let mut above = [0_u64; TRIES];
        let mut found = None;
        for place in &mut above {
            // SAFETY: the layout has a size.
            let start = unsafe { alloc(layout) } as u64;
            if start == 0 {
                break;
            }
            if start + layout.size() as u64 <= self.limit.0 {
                found = Some(start);
                break;
            }
            *place = start;
        }
        for start in above.into_iter().filter(|start| *start != 0) {
            // SAFETY: allotted above with this layout, and used by nobody.
            unsafe { dealloc(start as *mut u8, layout) };
        }
        found
    }

    fn reach(&self, span: Span) -> Option<DeviceAddress> {
        let end = span.start.0.checked_add(u64::from(span.bytes))?;
        if end > self.limit.0 || !ram::may_name(span) {
            return None;
        }
        cache::clean_and_invalidate_to_poc(span.start.0 as usize, span.bytes as usize);
        Some(DeviceAddress(span.start.0.wrapping_add(self.offset)))
    }
}

impl HostBuffer {
    fn inside(&self, offset: usize, bytes: usize) -> usize {
        bytes.min(self.bytes.saturating_sub(offset))
    }
}

impl DmaBuffer for HostBuffer {
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn address(&self) -> DeviceAddress {
        DeviceAddress(self.start.wrapping_add(self.offset))
    }

    fn write(&mut self, offset: usize, from: &[u8]) {
        let bytes = self.inside(offset, from.len());
        let at = self.start as usize + offset;
        if let ([low, high], 2, true) = (from, bytes, at.is_multiple_of(2)) {
            // SAFETY: two bytes inside this buffer, which no Rust reference reaches, aligned.
            return unsafe { (at as *mut u16).write_volatile(u16::from_le_bytes([*low, *high])) };
        }
        // SAFETY: the target is inside this buffer, which no Rust reference reaches.
        unsafe { copy(at as *mut u8, from.as_ptr(), bytes) };
    }

    fn read(&self, offset: usize, into: &mut [u8]) {
        let bytes = self.inside(offset, into.len());
        let at = self.start as usize + offset;
        if into.len() == 2 && bytes == 2 && at.is_multiple_of(2) {
            // SAFETY: as in `write`.
            return into.copy_from_slice(&unsafe { (at as *const u16).read_volatile() }.to_le_bytes());
        }
        let (head, tail) = into.split_at_mut(bytes);
        // SAFETY: as in `write`.
        unsafe { copy(head.as_mut_ptr(), at as *const u8, bytes) };
        tail.fill(0);
    }

    fn to_device(&self, offset: usize, bytes: usize) {
        cache::clean_to_poc(self.start as usize + offset.min(self.bytes), self.inside(offset, bytes));
    }

    fn from_device(&self, offset: usize, bytes: usize) {
        cache::clean_and_invalidate_to_poc(
            self.start as usize + offset.min(self.bytes),
            self.inside(offset, bytes),
        );
    }

    fn span(&self, offset: usize, bytes: u32) -> Option<Span> {
        let inside = self.inside(offset, bytes as usize);
        (inside == bytes as usize).then(|| Span { start: Pa(self.start + offset as u64), bytes })
    }
}
