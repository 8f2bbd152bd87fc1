//! A guest's RAM as the models see it (rules `copy-once`, `two-views`).
//!
//! No reference into guest RAM exists: a model copies in, validates the copy and uses the copy. Bulk data moves by
//! [`Span`]s, which name host memory without giving access to it.

use alloc::sync::Arc;
use specs::{Ipa, IpaRange, Pa};

/// An access outside the guest's RAM, or misaligned for an atomic access. A guest fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadAddress(pub Ipa);

/// A run of contiguous host memory, resolved from a guest's range, or the host's own (a datastore's page).
///
/// It is a name, not a right: whoever dereferences one (`el2`, a fake) checks first that it lies in memory that spans
/// may name, so that a forged span can reach no memory of EL2's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// First byte.
    pub start: Pa,
    /// Length in bytes.
    pub bytes: u32,
}

/// A guest's RAM. One value per VM; may be used from several PEs at once.
pub trait GuestMemory {
    /// Copies from the guest's RAM.
    fn read(&self, at: Ipa, into: &mut [u8]) -> Result<(), BadAddress>;

    /// Copies to the guest's RAM.
    fn write(&self, at: Ipa, from: &[u8]) -> Result<(), BadAddress>;

    /// As [`GuestMemory::write`], and who reads past the caches sees it, too: a guest whose MMU is off.
    fn write_through(&self, at: Ipa, from: &[u8]) -> Result<(), BadAddress> {
        self.write(at, from)
    }

    /// Loads a ring index, 2-byte aligned, with acquire ordering.
    fn load_acquire(&self, at: Ipa) -> Result<u16, BadAddress>;

    /// Stores a ring index, 2-byte aligned, with release ordering.
    fn store_release(&self, at: Ipa, value: u16) -> Result<(), BadAddress>;

    /// Orders every earlier access before every later one: between publishing a used index and reading the event
    /// index (virtio 1.2, 2.7.10 "Available Buffer Notification Suppression").
    fn full_fence(&self);

    /// The longest contiguous run of host memory at the start of `range`, at least one byte, at most the range.
    ///
    /// RAM that was never touched is allotted. The run stays valid as long as the VM has its RAM: a VM is destroyed
    /// only after its last request in flight.
    fn resolve(&self, range: IpaRange) -> Result<Span, BadAddress>;

    /// Copies from host memory into memory that `at` names, `min(from.bytes, into.bytes)` bytes.
    /// This is the one copy of a frame between guests, and how an image in RAM answers a read.
    fn copy_span(&self, into: Span, from: Span);

    /// Copies the first bytes of a span into `into` (up to the shorter of both).
    fn read_span(&self, from: Span, into: &mut [u8]);

    /// Copies `from` to the first bytes of a span (up to the shorter of both).
    fn write_span(&self, into: Span, from: &[u8]);
}

/// A VM's devices share its RAM by reference or by `Arc`.
macro_rules! forward {
    ($($pointer:ty),*) => {$(
        impl<T: GuestMemory + ?Sized> GuestMemory for $pointer {
            #[inline]
            fn read(&self, at: Ipa, into: &mut [u8]) -> Result<(), BadAddress> {
                (**self).read(at, into)
            }

            #[inline]
            fn write(&self, at: Ipa, from: &[u8]) -> Result<(), BadAddress> {
                (**self).write(at, from)
            }

            #[inline]
            fn write_through(&self, at: Ipa, from: &[u8]) -> Result<(), BadAddress> {
                (**self).write_through(at, from)
            }

            #[inline]
            fn load_acquire(&self, at: Ipa) -> Result<u16, BadAddress> {
                (**self).load_acquire(at)
            }

            #[inline]
            fn store_release(&self, at: Ipa, value: u16) -> Result<(), BadAddress> {
                (**self).store_release(at, value)
            }

            #[inline]
            fn full_fence(&self) {
                (**self).full_fence();
            }

            #[inline]
            fn resolve(&self, range: IpaRange) -> Result<Span, BadAddress> {
                (**self).resolve(range)
            }

            #[inline]
            fn copy_span(&self, into: Span, from: Span) {
                (**self).copy_span(into, from);
            }

            #[inline]
            fn read_span(&self, from: Span, into: &mut [u8]) {
                (**self).read_span(from, into);
            }

            #[inline]
            fn write_span(&self, into: Span, from: &[u8]) {
                (**self).write_span(into, from);
            }
        }
    )*};
}

forward!(&T, Arc<T>);
