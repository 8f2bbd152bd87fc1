//! Windows: device registers, and RAM that no Rust object lives in, accessed by single loads and stores.
//!
//! The resource: addresses outside what the compiler knows about. Invariant: a [`Window`] lies outside the image, the
//! heap and the device tree, so that no access through it aliases a Rust object; `Boot` is the only maker of windows.
//! Accesses are assembly, so that each is one instruction with a valid syndrome (no writeback, never merged); copies of
//! RAM, which nobody traps, go by blocks.
//! Concurrency: a window may be copied and used by all vCPUs; each access by `read` or `write` is single-copy atomic.

use core::arch::asm;

/// Bytes that RAM is copied by, several in one turn of a loop.
const BLOCK: usize = 32;

/// A range of device registers or of spare RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    base: usize,
    bytes: usize,
}

/// One 32-bit register of a window, checked once, for loops that count instructions.
#[derive(Clone, Copy)]
pub struct Word(usize);

macro_rules! access {
    ($read:ident, $write:ident, $type:ty, $bytes:literal, $load:literal, $store:literal, $bits:literal) => {
        #[doc = concat!("Loads ", $bits, " bits. Panics where the offset is outside or not aligned.")]
        #[inline(always)]
        pub fn $read(&self, offset: usize) -> $type {
            let address = self.address(offset, $bytes);
            let value: $type;
            // SAFETY: `address` is inside the window, which aliases no Rust object (invariant of `Window`).
            unsafe { asm!($load, out(reg) value, in(reg) address, options(nostack)) };
            value
        }

        #[doc = concat!("Stores ", $bits, " bits. Panics where the offset is outside or not aligned.")]
        #[inline(always)]
        pub fn $write(&self, offset: usize, value: $type) {
            let address = self.address(offset, $bytes);
            // SAFETY: as above.
            unsafe { asm!($store, in(reg) value, in(reg) address, options(nostack)) };
        }
    };
}

/// Copies blocks, at least one: loads and stores nothing else.
macro_rules! copy_blocks {
    ($from:expr, $to:expr, $blocks:expr) => {
        asm!(
            "2:",
            "ldp {a}, {b}, [{from}], #16",
            "ldp {c}, {d}, [{from}], #16",
            "stp {a}, {b}, [{to}], #16",
            "stp {c}, {d}, [{to}], #16",
            "subs {left}, {left}, #1",
            "b.ne 2b",
            from = inout(reg) $from => _,
            to = inout(reg) $to => _,
            left = inout(reg) $blocks => _,
            a = out(reg) _,
            b = out(reg) _,
            c = out(reg) _,
            d = out(reg) _,
            options(nostack),
        )
    };
}

impl Window {
    /// # Safety
    /// The range holds no Rust object, now or later.
    pub(crate) const unsafe fn new(base: usize, bytes: usize) -> Self {
        Self { base, bytes }
    }

    /// First address.
    pub const fn base(&self) -> usize {
        self.base
    }

    /// Length in bytes.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The part of `bytes` bytes from `offset`. Panics where it does not fit.
    pub fn part(&self, offset: usize, bytes: usize) -> Self {
        assert!(offset <= self.bytes && bytes <= self.bytes - offset, "part outside its window");
        Self { base: self.base + offset, bytes }
    }

    access!(read8, write8, u8, 1, "ldrb {:w}, [{}]", "strb {:w}, [{}]", "8");
    access!(read16, write16, u16, 2, "ldrh {:w}, [{}]", "strh {:w}, [{}]", "16");
    access!(read32, write32, u32, 4, "ldr {:w}, [{}]", "str {:w}, [{}]", "32");
    access!(read64, write64, u64, 8, "ldr {}, [{}]", "str {}, [{}]", "64");

    /// Copies `from` to `offset` on; for RAM, whose pieces may be stored in any width. Panics where it does not fit.
    pub fn fill(&self, offset: usize, from: &[u8]) {
        let part = self.part(offset, from.len());
        let (head, words) = from.split_at(part.ragged());
        let (blocks, rest) = words.as_chunks::<BLOCK>();
        let (words, tail) = rest.as_chunks::<8>();
        head.iter().enumerate().for_each(|(at, byte)| part.write8(at, *byte));
        part.fill_blocks(head.len(), blocks);
        let at = head.len() + BLOCK * blocks.len();
        words.iter().zip((at..).step_by(8)).for_each(|(word, at)| {
            part.write64(at, u64::from_le_bytes(*word));
        });
        let at = at + 8 * words.len();
        tail.iter().zip(at..).for_each(|(byte, at)| part.write8(at, *byte));
    }

    /// Copies from `offset` on; for RAM, whose pieces may be loaded in any width. Panics where it does not fit.
    pub fn copy_to(&self, offset: usize, into: &mut [u8]) {
        let part = self.part(offset, into.len());
        let (head, words) = into.split_at_mut(part.ragged());
        let (blocks, rest) = words.as_chunks_mut::<BLOCK>();
        let (words, tail) = rest.as_chunks_mut::<8>();
        let start = head.len() + BLOCK * blocks.len();
        let at = start + 8 * words.len();
        tail.iter_mut().zip(at..).for_each(|(byte, at)| *byte = part.read8(at));
        part.copy_blocks_to(head.len(), blocks);
        words.iter_mut().zip((start..).step_by(8)).for_each(|(word, at)| {
            *word = part.read64(at).to_le_bytes();
        });
        head.iter_mut().enumerate().for_each(|(at, byte)| *byte = part.read8(at));
    }

    /// Stores whole blocks from `offset` on, a multiple of 8.
    fn fill_blocks(&self, offset: usize, blocks: &[[u8; BLOCK]]) {
        let part = self.part(offset, BLOCK * blocks.len());
        if blocks.is_empty() {
            return;
        }
        // SAFETY: loads `blocks`, which is borrowed, whole; stores as many bytes in `part`, which is inside the window and
        // aliases no Rust object (invariant of `Window`).
        unsafe { copy_blocks!(blocks.as_ptr(), part.base, blocks.len()) };
    }

    /// Loads whole blocks from `offset` on, a multiple of 8.
    fn copy_blocks_to(&self, offset: usize, blocks: &mut [[u8; BLOCK]]) {
        let part = self.part(offset, BLOCK * blocks.len());
        if blocks.is_empty() {
            return;
        }
        // SAFETY: stores `blocks`, which is borrowed for that, whole; loads as many bytes of `part`, as above.
        unsafe { copy_blocks!(part.base, blocks.as_mut_ptr(), blocks.len()) };
    }

    /// Bytes before the first word that is aligned.
    fn ragged(&self) -> usize {
        (self.base.next_multiple_of(8) - self.base).min(self.bytes)
    }

    /// The 32-bit register at `offset`. Panics where the offset is outside or not aligned.
    pub fn word(&self, offset: usize) -> Word {
        Word(self.address(offset, 4))
    }

    #[inline(always)]
    fn address(&self, offset: usize, bytes: usize) -> usize {
        let address = self.base + offset;
        assert!(offset + bytes <= self.bytes && address.is_multiple_of(bytes), "access outside a window");
        address
    }
}

impl Word {
    /// Loads it.
    #[inline(always)]
    pub fn read(self) -> u32 {
        let value: u32;
        // SAFETY: checked by `Window::word`; aliases no Rust object (invariant of `Window`).
        unsafe { asm!("ldr {:w}, [{}]", out(reg) value, in(reg) self.0, options(nostack)) };
        value
    }

    /// Stores it.
    #[inline(always)]
    pub fn write(self, value: u32) {
        // SAFETY: as above.
        unsafe { asm!("str {:w}, [{}]", in(reg) value, in(reg) self.0, options(nostack)) };
    }
}
