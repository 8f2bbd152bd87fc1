//! The flash banks: bank 0, a ROM with the firmware, and bank 1, a NOR flash for its variables.
//!
//! Called by the vmkernel on a stage-2 fault in a bank; calls the bank's contents by the port `GuestMemory`, whose
//! addresses are the bank's own IPAs. Source: `specs::cfi`. Two x16 chips side by side take every command twice
//! (0x0020_0020), and are driven in step: like QEMU's, this bank is one state machine that looks at the low byte, so
//! that U-Boot, which finds it by 16-bit accesses and takes it for one chip, writes it all the same.
//!
//! The vmkernel maps the bank read-only while [`Flash::mapping`] says so, for firmware copies from it with instructions
//! that give no syndrome, and unmaps it in every other mode, where a load reads status. Stores always trap. Contents are
//! written here behind the guest's back, through the caches: it reads them with its MMU off, too.
//!
//! What changes in the bank's first [`KEPT_BYTES`] is told page by page, for who keeps them ([`Flash::take_changed`]).
//!
//! Invariants: a command sequence that is left half-way changes nothing; programming clears bits only, erasing sets a
//! whole block; every operation ends at once, so that the status is always ready.

use ports::{GuestMemory, MmioDevice, Width};
use specs::cfi;
use specs::{Ipa, IpaRange};

/// The bank's first bytes, whose changes are told.
pub const KEPT_BYTES: u64 = 2 << 20;
/// Bytes of a page.
const PAGE_BYTES: u64 = 4096;
const PAGES: u32 = 512;
const _: () = assert!(PAGES as u64 * PAGE_BYTES == KEPT_BYTES);

/// Bytes that one buffered program can span: words of at most 32 bits, both chips together.
const BUFFER_BYTES: usize = 4 * cfi::BUFFER_WORDS as usize;
/// What erasing writes at a time.
const ERASED: [u8; 512] = [0xff; 512];

/// What a load from a bank meets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mapping {
    /// The contents: map them read-only.
    ReadOnly,
    /// Registers: unmap the bank.
    Trapped,
}

/// What a load answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Array,
    Status,
    Id,
    Query,
}

/// What the next store means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    Command,
    Program,
    EraseConfirm,
    LockConfirm,
    BufferCount,
    BufferData { words_left: u16 },
    BufferConfirm,
}

/// Bank 1.
pub struct Flash<M> {
    contents: M,
    range: IpaRange,
    mode: Mode,
    next: Next,
    status: u8,
    buffer: Buffer,
    changed: Changed,
}

/// Pages that changed, a bit each.
struct Changed([u64; PAGES as usize / 64]);

impl Changed {
    fn has(&self, page: u32) -> bool {
        self.0.get(page as usize / 64).is_some_and(|word| word >> (page % 64) & 1 != 0)
    }

    fn set(&mut self, page: u32, changed: bool) {
        if let Some(word) = self.0.get_mut(page as usize / 64) {
            *word = *word & !(1 << (page % 64)) | u64::from(changed) << (page % 64);
        }
    }

    /// All pages of which some of these bytes are.
    fn touch(&mut self, offset: u64, bytes: u64) {
        let end = offset.saturating_add(bytes).div_ceil(PAGE_BYTES).min(PAGES.into());
        (offset / PAGE_BYTES..end).for_each(|page| self.set(u32::try_from(page).unwrap_or(PAGES), true));
    }
}

/// The data of a buffered program until it is confirmed.
struct Buffer {
    bytes: [u8; BUFFER_BYTES],
    /// Offset in the bank of the first byte.
    start: u64,
    len: usize,
}

impl<M: GuestMemory> Flash<M> {
    /// A bank after reset, in array mode. `contents` has all of `range`; a new bank's bytes are the vmkernel's choice
    /// (EDK2 formats zeros as well as ones).
    pub fn new(contents: M, range: IpaRange) -> Self {
        Self {
            contents,
            range,
            mode: Mode::Array,
            next: Next::Command,
            status: cfi::STATUS_READY,
            buffer: Buffer { bytes: [0xff; BUFFER_BYTES], start: 0, len: 0 },
            changed: Changed([0; _]),
        }
    }

    /// Whether a page changed that was not taken since.
    pub fn has_changed(&self) -> bool {
        self.changed.0.iter().any(|word| *word != 0)
    }

    /// Takes the first run of pages of 4 KiB that changed, at most `most`: the first, and how many.
    pub fn take_changed(&mut self, most: u32) -> Option<(u32, u32)> {
        let first = (0..PAGES).find(|page| self.changed.has(*page))?;
        let pages = (first..PAGES).take(most as usize).take_while(|page| self.changed.has(*page));
        let count = u32::try_from(pages.count()).unwrap_or(0);
        (first..first.saturating_add(count)).for_each(|page| self.changed.set(page, false));
        Some((first, count))
    }

    /// Pages that were taken count as changed again.
    pub fn put_back(&mut self, first: u32, count: u32) {
        (first..first.saturating_add(count)).for_each(|page| self.changed.set(page, true));
    }

    /// The VM starts anew: the contents stay.
    pub fn reset(&mut self) {
        self.mode = Mode::Array;
        self.next = Next::Command;
        self.status = cfi::STATUS_READY;
    }

    /// How the bank is to be mapped now. To be asked after each store.
    pub fn mapping(&self) -> Mapping {
        if self.mode == Mode::Array { Mapping::ReadOnly } else { Mapping::Trapped }
    }

    fn store(&mut self, offset: u64, width: Width, value: u64) {
        let [code, high, ..] = value.to_le_bytes();
        match self.next {
            Next::Command => self.command(code),
            Next::Program => {
                let bytes = value.to_le_bytes();
                self.program(offset, bytes.get(..width as usize).unwrap_or_default());
                self.next = Next::Command;
            }
            Next::EraseConfirm => self.confirm(code, |flash| flash.erase(offset)),
            Next::LockConfirm => self.next = Next::Command,
            Next::BufferCount => self.start_buffer(u16::from_le_bytes([code, high])),
            Next::BufferData { words_left } => self.fill_buffer(offset, width, value, words_left),
            Next::BufferConfirm => self.confirm(code, Self::program_buffer),
        }
    }

    fn command(&mut self, code: u8) {
        (self.mode, self.next) = match code {
            cfi::PROGRAM | cfi::PROGRAM_ALTERNATE => (Mode::Status, Next::Program),
            cfi::BLOCK_ERASE => (Mode::Status, Next::EraseConfirm),
            cfi::LOCK_SETUP => (Mode::Status, Next::LockConfirm),
            cfi::BUFFERED_PROGRAM => (Mode::Status, Next::BufferCount),
            cfi::READ_STATUS => (Mode::Status, Next::Command),
            cfi::READ_ID => (Mode::Id, Next::Command),
            cfi::READ_QUERY => (Mode::Query, Next::Command),
            cfi::CLEAR_STATUS => {
                self.status = cfi::STATUS_READY;
                (self.mode, Next::Command)
            }
            // READ_ARRAY, its AMD twin, and what nobody knows.
            _ => (Mode::Array, Next::Command),
        };
    }

    /// The second store of a sequence: does `operation` if it confirms.
    fn confirm(&mut self, code: u8, operation: impl FnOnce(&mut Self)) {
        self.next = Next::Command;
        match code {
            cfi::CONFIRM => operation(self),
            cfi::READ_ARRAY => self.mode = Mode::Array,
            _ => self.status |= cfi::STATUS_WRONG_SEQUENCE,
        }
    }

    fn start_buffer(&mut self, last: u16) {
        if last < cfi::BUFFER_WORDS {
            self.buffer.len = 0;
            self.next = Next::BufferData { words_left: last + 1 };
        } else {
            self.status |= cfi::STATUS_WRONG_SEQUENCE;
            self.next = Next::Command;
        }
    }

    fn fill_buffer(&mut self, offset: u64, width: Width, value: u64, words_left: u16) {
        if self.buffer.put(offset, width, value).is_none() {
            self.status |= cfi::STATUS_WRONG_SEQUENCE;
            self.next = Next::Command;
            return;
        }
        let words_left = words_left.saturating_sub(1);
        self.next = if words_left == 0 { Next::BufferConfirm } else { Next::BufferData { words_left } };
    }

    fn program_buffer(&mut self) {
        let buffer = &mut self.buffer;
        let Some(bytes) = buffer.bytes.get(..buffer.len) else { return };
        self.changed.touch(buffer.start, bytes.len() as u64);
        let done = and_into(&self.contents, self.range, buffer.start, bytes);
        if done.is_none() {
            self.status |= cfi::STATUS_PROGRAM_FAILED;
        }
    }

    fn program(&mut self, offset: u64, bytes: &[u8]) {
        self.changed.touch(offset, bytes.len() as u64);
        if and_into(&self.contents, self.range, offset, bytes).is_none() {
            self.status |= cfi::STATUS_PROGRAM_FAILED;
        }
    }

    fn erase(&mut self, offset: u64) {
        let block = offset & !(cfi::BLOCK_BYTES - 1);
        self.changed.touch(block, cfi::BLOCK_BYTES);
        for at in (block..block.saturating_add(cfi::BLOCK_BYTES)).step_by(ERASED.len()) {
            let written =
                address(self.range, at, ERASED.len()).map(|at| self.contents.write_through(at, &ERASED));
            if !matches!(written, Some(Ok(()))) {
                self.status |= cfi::STATUS_ERASE_FAILED;
                return;
            }
        }
    }

    /// The 32-bit word that holds `offset`, as both chips drive it.
    fn word(&self, offset: u64) -> u32 {
        let word = offset >> 2;
        let byte = match (self.mode, word & 0xff) {
            (Mode::Status, _) => self.status,
            (Mode::Id, 0) => cfi::MANUFACTURER,
            (Mode::Id, 1) => cfi::DEVICE,
            // The block's lock, and what the chip does not have.
            (Mode::Id, _) => 0,
            (Mode::Query, _) => query(word),
            (Mode::Array, _) => return 0,
        };
        u32::from(byte) * 0x0001_0001
    }
}

fn query(word: u64) -> u8 {
    let index = word.checked_sub(cfi::QUERY_FIRST).and_then(|index| usize::try_from(index).ok());
    index.and_then(|index| cfi::QUERY.get(index)).copied().unwrap_or(0)
}

/// Where `bytes` bytes at `offset` of a bank are; `None` where they are not all in it.
fn address(bank: IpaRange, offset: u64, bytes: usize) -> Option<Ipa> {
    let wanted = IpaRange::new(bank.start().checked_add(offset)?, bytes as u64)?;
    bank.contains(wanted).then_some(wanted.start())
}

/// Clears the bits that are 0 in `bytes`.
fn and_into(contents: &impl GuestMemory, bank: IpaRange, offset: u64, bytes: &[u8]) -> Option<()> {
    for (index, chunk) in bytes.chunks(64).enumerate() {
        let mut old = [0; 64];
        let old = old.get_mut(..chunk.len())?;
        let at = address(bank, offset.checked_add(64 * index as u64)?, chunk.len())?;
        contents.read(at, old).ok()?;
        old.iter_mut().zip(chunk).for_each(|(old, new)| *old &= new);
        contents.write_through(at, old).ok()?;
    }
    Some(())
}

impl Buffer {
    /// Takes a word; the first one decides where the buffer starts. `None` where it lies before that, or too far behind.
    fn put(&mut self, offset: u64, width: Width, value: u64) -> Option<()> {
        if self.len == 0 {
            self.start = offset;
            self.bytes = [0xff; BUFFER_BYTES];
        }
        let at = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let bytes = value.to_le_bytes();
        let bytes = bytes.get(..width as usize)?;
        let end = at.checked_add(bytes.len())?;
        self.bytes.get_mut(at..end)?.copy_from_slice(bytes);
        self.len = self.len.max(end);
        Some(())
    }
}

impl<M: GuestMemory> MmioDevice for Flash<M> {
    fn read(&mut self, offset: u64, width: Width) -> u64 {
        if self.mode == Mode::Array {
            return read_contents(&self.contents, self.range, offset, width);
        }
        let words = u64::from(self.word(offset)) | u64::from(self.word(offset.saturating_add(4))) << 32;
        width.truncate(words >> (8 * (offset & 3)))
    }

    fn write(&mut self, offset: u64, width: Width, value: u64) {
        if width == Width::W64 {
            // The bus is 32 bits wide.
            self.store(offset, Width::W32, value & 0xffff_ffff);
            self.store(offset.saturating_add(4), Width::W32, value >> 32);
        } else {
            self.store(offset, width, value);
        }
    }
}

fn read_contents(contents: &impl GuestMemory, bank: IpaRange, offset: u64, width: Width) -> u64 {
    let mut bytes = [0; 8];
    let read = address(bank, offset, width as usize)
        .zip(bytes.get_mut(..width as usize))
        .map(|(at, bytes)| contents.read(at, bytes));
    if matches!(read, Some(Ok(()))) { u64::from_le_bytes(bytes) } else { 0 }
}

/// Bank 0. Always mapped read-only, so that only stores and loads behind the firmware's end trap; EDK2 stores a variable
/// of its own there, and U-Boot probes it for a flash, and both go on when nothing comes of it.
pub struct Rom<M> {
    contents: M,
    range: IpaRange,
}

impl<M: GuestMemory> Rom<M> {
    /// The bank at `range`.
    pub fn new(contents: M, range: IpaRange) -> Self {
        Self { contents, range }
    }
}

impl<M: GuestMemory> MmioDevice for Rom<M> {
    fn read(&mut self, offset: u64, width: Width) -> u64 {
        read_contents(&self.contents, self.range, offset, width)
    }

    fn write(&mut self, _offset: u64, _width: Width, _value: u64) {}
}
