//! The flash bank, driven as EDK2 and U-Boot drive it, against an array of bytes.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::cast_possible_truncation)]

use chipset::flash::Mapping;
use chipset::{Flash, Rom};
use ports::fake::FakeMemory;
use ports::{GuestMemory, MmioDevice, Width};
use proptest::prelude::*;
use specs::cfi::{self, BLOCK_BYTES};
use specs::{Ipa, IpaRange};

const BASE: Ipa = Ipa(0x0400_0000);
const BYTES: u64 = 2 * BLOCK_BYTES;

fn bank() -> Flash<FakeMemory> {
    Flash::new(FakeMemory::new(BASE, BYTES as usize), IpaRange::new(BASE, BYTES).unwrap())
}

/// EDK2's NorFlashDxe: 32-bit accesses, every command for both chips.
struct Edk2<'a>(&'a mut Flash<FakeMemory>);

impl Edk2<'_> {
    fn command(&mut self, offset: u64, code: u8) {
        self.write(offset, u32::from(code) * 0x0001_0001);
    }

    fn write(&mut self, offset: u64, value: u32) {
        self.0.write(offset, Width::W32, u64::from(value));
    }

    fn read(&mut self, offset: u64) -> u32 {
        self.0.read(offset, Width::W32) as u32
    }

    fn wait(&mut self) {
        self.command(0, cfi::READ_STATUS);
        assert_eq!(self.read(0), 0x0080_0080, "ready, and no error");
    }

    fn erase(&mut self, offset: u64) {
        self.command(offset, cfi::BLOCK_ERASE);
        self.command(offset, cfi::CONFIRM);
        self.wait();
        self.command(0, cfi::READ_ARRAY);
    }

    fn write_buffer(&mut self, offset: u64, words: &[u32]) {
        self.command(offset, cfi::BUFFERED_PROGRAM);
        assert_eq!(self.read(offset) & 0x0080_0080, 0x0080_0080, "the buffer is free");
        self.write(offset, (words.len() as u32 - 1) * 0x0001_0001);
        for (word, at) in words.iter().zip((offset..).step_by(4)) {
            self.write(at, *word);
        }
        self.command(offset, cfi::CONFIRM);
        self.wait();
        self.command(0, cfi::CLEAR_STATUS);
        self.command(0, cfi::READ_ARRAY);
    }

    fn write_word(&mut self, offset: u64, word: u32) {
        self.command(offset, cfi::PROGRAM);
        self.write(offset, word);
        self.wait();
        self.command(0, cfi::READ_ARRAY);
    }
}

/// U-Boot's cfi_flash: one x16 chip as far as it knows, 16-bit accesses, commands at word addresses times four.
struct UBoot<'a>(&'a mut Flash<FakeMemory>);

impl UBoot<'_> {
    fn write(&mut self, offset: u64, value: u16) {
        self.0.write(offset, Width::W16, u64::from(value));
    }

    fn query(&mut self, word: u64) -> u8 {
        self.0.read(4 * word, Width::W8) as u8
    }

    fn is_chip_at(&mut self, shift: u64) -> bool {
        self.write(0, u16::from(cfi::READ_ARRAY_AMD));
        self.write(0, u16::from(cfi::READ_ARRAY));
        self.write(0x55 << shift, u16::from(cfi::READ_QUERY));
        let [q, r, y] = [0x10, 0x11, 0x12].map(|word| self.0.read(word << shift, Width::W16));
        (q, r, y) == (u64::from(b'Q'), u64::from(b'R'), u64::from(b'Y'))
    }

    fn erase(&mut self, offset: u64) {
        self.write(offset, u16::from(cfi::CLEAR_STATUS));
        self.write(offset, u16::from(cfi::BLOCK_ERASE));
        self.write(offset, u16::from(cfi::CONFIRM));
        assert_eq!(self.0.read(offset, Width::W16), 0x80);
        self.write(offset, u16::from(cfi::READ_ARRAY));
    }

    fn write_buffer(&mut self, block: u64, offset: u64, words: &[u16]) {
        self.write(block, u16::from(cfi::CLEAR_STATUS));
        self.write(block, u16::from(cfi::BUFFERED_PROGRAM));
        assert_eq!(self.0.read(block, Width::W16), 0x80);
        self.write(block, words.len() as u16 - 1);
        for (word, at) in words.iter().zip((offset..).step_by(2)) {
            self.write(at, *word);
        }
        self.write(block, u16::from(cfi::CONFIRM));
        assert_eq!(self.0.read(block, Width::W16), 0x80);
        self.write(block, u16::from(cfi::READ_ARRAY));
    }
}

#[test]
fn identity_is_read_in_both_widths() {
    let mut flash = bank();
    Edk2(&mut flash).command(0x40_0008 % BYTES, cfi::READ_ID);
    assert_eq!(flash.mapping(), Mapping::Trapped);
    assert_eq!([0, 4, 8].map(|offset| flash.read(offset, Width::W32)), [0x89_0089, 0x18_0018, 0]);
    assert_eq!(
        (flash.read(0, Width::W8), flash.read(2, Width::W16), flash.read(4, Width::W16)),
        (0x89, 0x89, 0x18)
    );
    Edk2(&mut flash).command(0, cfi::READ_ARRAY);
    assert_eq!((flash.mapping(), flash.read(0, Width::W64)), (Mapping::ReadOnly, 0));
}

#[test]
fn u_boot_finds_one_x16_chip() {
    let mut flash = bank();
    let mut driver = UBoot(&mut flash);
    assert!(!driver.is_chip_at(0) && !driver.is_chip_at(1) && driver.is_chip_at(2));
    let query: Vec<u8> = (0x27..0x31).map(|word| driver.query(word)).collect();
    // 2^25 bytes, x8/x16, a buffer of 2^11 bytes, one region of 256 blocks of 0x200 * 256 bytes.
    assert_eq!(query, [0x19, 0x02, 0x00, 0x0b, 0x00, 0x01, 0xff, 0x00, 0x00, 0x02]);
    assert_eq!(driver.query(u64::MAX / 8), 0);
}

/// U-Boot reads its variables with its MMU off: they are in DRAM whenever the bank can be read.
#[test]
fn what_is_written_is_seen_past_the_caches() {
    let memory = FakeMemory::new(BASE, BYTES as usize);
    let mut flash = Flash::new(&memory, IpaRange::new(BASE, BYTES).unwrap());
    let sequences: [&[(u64, u64)]; 3] = [
        &[(0, 0x20_0020), (0, 0xd0_00d0)],
        &[(64, 0x40_0040), (64, 0x1234_5678)],
        &[(128, 0xe8_00e8), (128, 0x1_0001), (128, 1), (132, 2), (128, 0xd0_00d0)],
    ];
    for (offset, value) in sequences.into_iter().flatten() {
        flash.write(*offset, Width::W32, *value);
    }
    flash.write(0, Width::W32, 0xff_00ff);
    assert_eq!([64, 128, 132].map(|at| flash.read(at, Width::W32)), [0x1234_5678, 1, 2]);
    assert_eq!(memory.cached_bytes.get(), 0, "bytes that a guest with its MMU off may not see");
}

#[test]
fn a_mode_changes_the_mapping() {
    let mut flash = bank();
    let codes = [
        (cfi::READ_STATUS, Mapping::Trapped),
        (cfi::CLEAR_STATUS, Mapping::Trapped),
        (cfi::READ_ARRAY, Mapping::ReadOnly),
        (cfi::CLEAR_STATUS, Mapping::ReadOnly),
        (cfi::READ_ID, Mapping::Trapped),
        (cfi::READ_ARRAY_AMD, Mapping::ReadOnly),
        (cfi::READ_QUERY, Mapping::Trapped),
        (0x00, Mapping::ReadOnly),
        (cfi::BLOCK_ERASE, Mapping::Trapped),
        (cfi::READ_ARRAY, Mapping::ReadOnly),
    ];
    for (code, mapping) in codes {
        flash.write(0, Width::W8, u64::from(code));
        assert_eq!(flash.mapping(), mapping, "{code:#x}");
    }
    flash.write(0, Width::W8, u64::from(cfi::BUFFERED_PROGRAM));
    flash.reset();
    assert_eq!(flash.mapping(), Mapping::ReadOnly);
}

#[test]
fn an_erase_sets_its_block_only() {
    let mut flash = bank();
    Edk2(&mut flash).erase(BLOCK_BYTES + 0x1234);
    let edges = [BLOCK_BYTES - 4, BLOCK_BYTES, BYTES - 4];
    assert_eq!(edges.map(|offset| flash.read(offset, Width::W32)), [0, 0xffff_ffff, 0xffff_ffff]);
}

#[test]
fn programming_clears_bits_only() {
    let mut flash = bank();
    let mut driver = Edk2(&mut flash);
    driver.erase(0);
    driver.write_word(8, 0xffff_0f0f);
    driver.write_word(8, 0x00ff_ffff);
    assert_eq!(driver.read(8), 0x00ff_0f0f);
    driver.write_buffer(4, &[1, 0xf000_000f, 3]);
    assert_eq!([0, 4, 8, 12].map(|at| driver.read(at)), [0xffff_ffff, 1, 0x0000_000f, 3]);
}

#[test]
fn a_sequence_that_is_not_confirmed_changes_nothing() {
    let mut flash = bank();
    let mut driver = Edk2(&mut flash);
    driver.erase(0);
    driver.command(0, cfi::BLOCK_ERASE);
    driver.command(0, cfi::READ_STATUS);
    assert_eq!(driver.read(0), 0x00b0_00b0, "a wrong sequence");
    driver.command(0, cfi::CLEAR_STATUS);
    assert_eq!(driver.read(0), 0x0080_0080);
    driver.command(0, cfi::BUFFERED_PROGRAM);
    driver.write(0, 0);
    driver.write(0, 0x1234_5678);
    driver.command(0, cfi::READ_ARRAY);
    assert_eq!((driver.0.mapping(), driver.read(0)), (Mapping::ReadOnly, 0xffff_ffff));
}

#[test]
fn a_buffer_has_limits() {
    let mut flash = bank();
    let mut driver = Edk2(&mut flash);
    driver.command(0, cfi::BUFFERED_PROGRAM);
    driver.write(0, 1024);
    assert_eq!(driver.read(0), 0x00b0_00b0, "too many words");
    driver.command(0, cfi::CLEAR_STATUS);
    for second in [0, 0x1100] {
        driver.command(0, cfi::BUFFERED_PROGRAM);
        driver.write(0, 1);
        driver.write(0x100, 7);
        driver.write(second, 7);
        assert_eq!(driver.read(0), 0x00b0_00b0, "a word at {second:#x}");
        driver.command(0, cfi::CLEAR_STATUS);
    }
    let last = BYTES - 2;
    driver.command(last, cfi::PROGRAM);
    driver.write(last, 0);
    assert_eq!(driver.read(0), 0x0090_0090, "a word that ends outside");
}

#[test]
fn a_store_that_fails_is_seen_in_the_status() {
    let mut flash = Flash::new(FakeMemory::new(BASE, 0x1000), IpaRange::new(BASE, BYTES).unwrap());
    let mut driver = Edk2(&mut flash);
    driver.command(0, cfi::BLOCK_ERASE);
    driver.command(0, cfi::CONFIRM);
    assert_eq!(driver.read(0), 0x00a0_00a0);
    assert_eq!(driver.0.read(0x1_0000, Width::W32), 0x00a0_00a0);
}

#[test]
fn the_rom_swallows_what_edk2_stores_there() {
    let memory = FakeMemory::new(Ipa(0), 0x2_0000);
    memory.write(Ipa(0x1_CB20), &[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    let mut rom = Rom::new(memory, IpaRange::new(Ipa(0), 0x2_0000).unwrap());
    rom.write(0x1_CB20, Width::W64, 0x1_7384);
    assert_eq!(rom.read(0x1_CB20, Width::W64), 0x0807_0605_0403_0201);
    assert_eq!((rom.read(0x1_CB23, Width::W16), rom.read(0x1_ffff, Width::W16)), (0x0504, 0));
}

#[derive(Clone, Debug)]
enum Operation {
    EraseByEdk2(u64),
    EraseByUBoot(u64),
    Word(u64, u32),
    Words(u64, Vec<u32>),
    Halfwords(u64, Vec<u16>),
}

fn operation() -> impl Strategy<Value = Operation> {
    let offset = (0..BYTES / 4).prop_map(|word| 4 * word);
    let near = (0..256_u64).prop_map(|word| 4 * word);
    let offset = prop_oneof![offset, near];
    let words = proptest::collection::vec(any::<u32>(), 1..33);
    let halfwords = proptest::collection::vec(any::<u16>(), 1..if cfg!(miri) { 40 } else { 1025 });
    prop_oneof![
        offset.clone().prop_map(Operation::EraseByEdk2),
        offset.clone().prop_map(Operation::EraseByUBoot),
        (offset.clone(), any::<u32>()).prop_map(|(offset, word)| Operation::Word(offset, word)),
        (offset.clone(), words).prop_map(|(offset, words)| Operation::Words(offset.min(BYTES - 128), words)),
        (offset, halfwords).prop_map(|(offset, words)| Operation::Halfwords(offset.min(BYTES - 2048), words)),
    ]
}

fn clear_bits(oracle: &mut [u8], offset: u64, bytes: impl IntoIterator<Item = u8>) {
    for (old, new) in oracle.iter_mut().skip(offset as usize).zip(bytes) {
        *old &= new;
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 32 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn both_drivers_see_an_array_of_bytes(operations in proptest::collection::vec(operation(), 1..if cfg!(miri) { 3 } else { 24 })) {
        let mut flash = bank();
        let mut oracle = vec![0_u8; BYTES as usize];
        for operation in operations {
            match operation {
                Operation::EraseByEdk2(offset) | Operation::EraseByUBoot(offset) => {
                    if matches!(operation, Operation::EraseByEdk2(_)) {
                        Edk2(&mut flash).erase(offset);
                    } else {
                        UBoot(&mut flash).erase(offset);
                    }
                    let block = (offset - offset % BLOCK_BYTES) as usize;
                    oracle[block..][..BLOCK_BYTES as usize].fill(0xff);
                }
                Operation::Word(offset, word) => {
                    Edk2(&mut flash).write_word(offset, word);
                    clear_bits(&mut oracle, offset, word.to_le_bytes());
                }
                Operation::Words(offset, words) => {
                    Edk2(&mut flash).write_buffer(offset, &words);
                    clear_bits(&mut oracle, offset, words.iter().flat_map(|word| word.to_le_bytes()));
                }
                Operation::Halfwords(offset, words) => {
                    UBoot(&mut flash).write_buffer(offset - offset % 0x2_0000, offset, &words);
                    clear_bits(&mut oracle, offset, words.iter().flat_map(|word| word.to_le_bytes()));
                }
            }
            prop_assert_eq!(flash.mapping(), Mapping::ReadOnly);
        }
        let step = if cfg!(miri) { 509 } else { 1 };
        for (index, bytes) in oracle.chunks(8).enumerate().step_by(step) {
            let expected = u64::from_le_bytes(bytes.try_into().unwrap());
            prop_assert_eq!(flash.read(8 * index as u64, Width::W64), expected, "word {:#x}", index);
        }
    }

    /// Whatever is stored wherever: no load panics, and the mapping agrees with what a load gives.
    #[test]
    fn nonsense_is_survived(stores in proptest::collection::vec((any::<u64>(), 0_usize..4, any::<u64>()), 0..if cfg!(miri) { 8 } else { 64 })) {
        let mut flash = bank();
        let widths = [Width::W8, Width::W16, Width::W32, Width::W64];
        let codes = [0x10, 0x20, 0x40, 0x50, 0x60, 0x70, 0x90, 0x98, 0xd0, 0xe8, 0xff, 0, 1];
        for (offset, width, value) in stores {
            let offset = if value % 5 == 0 { offset } else { offset % BYTES };
            let value = if value % 3 == 0 { value } else { codes[value as usize % codes.len()] };
            flash.write(offset, widths[width], widths[width].truncate(value));
            let read = flash.read(offset, widths[width]);
            prop_assert_eq!(read, widths[width].truncate(read));
        }
    }
}

#[test]
fn changed_pages_are_told_once() {
    let mut flash = bank();
    assert!(!flash.has_changed() && flash.take_changed(8).is_none());
    let mut driver = Edk2(&mut flash);
    driver.write_word(0x2ffe, 0);
    driver.write_buffer(0x5000, &[1, 2, 3]);
    driver.write_word(0x5100, 0);
    // The first lies across a page's end.
    assert!(flash.has_changed());
    let told: Vec<_> = std::iter::from_fn(|| flash.take_changed(8)).collect();
    assert_eq!(told, [(2, 2), (5, 1)]);
    assert!(!flash.has_changed());
    flash.put_back(2, 2);
    Edk2(&mut flash).erase(BLOCK_BYTES + 0x1234);
    let pages = (BLOCK_BYTES / 4096) as u32;
    let told: Vec<_> = std::iter::from_fn(|| flash.take_changed(pages - 1)).collect();
    assert_eq!(told, [(2, 2), (pages, pages - 1), (2 * pages - 1, 1)]);
    flash.write(0x8000, Width::W8, u64::from(cfi::BLOCK_ERASE));
    flash.write(0x8000, Width::W8, u64::from(cfi::READ_ARRAY));
    assert!(!flash.has_changed());
}
