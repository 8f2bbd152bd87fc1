//! The flash bank under any accesses: no panic, and erasing the whole bank always brings it back.
#![no_main]

use chipset::Flash;
use chipset::flash::Mapping;
use ports::fake::FakeMemory;
use ports::{MmioDevice, Width};
use specs::cfi::{BLOCK_BYTES, BLOCK_ERASE, CLEAR_STATUS, CONFIRM, READ_ARRAY, READ_STATUS};
use specs::{Ipa, IpaRange};

const BASE: Ipa = Ipa(0x0400_0000);

libfuzzer_sys::fuzz_target!(|script: &[u8]| {
    let range = IpaRange::new(BASE, BLOCK_BYTES).expect("a range");
    let mut flash = Flash::new(FakeMemory::new(BASE, 0x4_0000), range);
    let widths = [Width::W8, Width::W16, Width::W32, Width::W64];
    for step in script.chunks_exact(6) {
        let width = widths[usize::from(step[0] & 3)];
        let offset = u64::from(u32::from_le_bytes([step[1], step[2], step[3], 0])) & 0x7_ffff;
        let value = u64::from(u16::from_le_bytes([step[4], step[5]])) * 0x0001_0001;
        flash.write(offset, width, width.truncate(value));
        let read = flash.read(offset, width);
        assert_eq!(read, width.truncate(read));
    }
    flash.reset();
    for code in [BLOCK_ERASE, CONFIRM, READ_STATUS] {
        flash.write(0, Width::W8, u64::from(code));
    }
    assert_eq!(flash.read(0, Width::W8), 0x80);
    for code in [CLEAR_STATUS, READ_ARRAY] {
        flash.write(0, Width::W8, u64::from(code));
    }
    assert_eq!(flash.mapping(), Mapping::ReadOnly);
    assert!((0..BLOCK_BYTES).step_by(0x1000).all(|at| flash.read(at, Width::W64) == u64::MAX));
});
