//! From the smallest to the largest store.

use super::{fresh, read, remount, settle, volume, write};
use crate::{CheckOptions, MAX_SECTORS, check, run};

const MIB: u64 = 256;

#[test]
fn stores_from_64_mib_to_16_tib_work() {
    for mib in [64, 65, 1000, 1 << 20, 16 << 20] {
        let mut store = fresh(mib * MIB);
        let v = volume(&mut store, "v", MAX_SECTORS / 8);
        // All over the largest volume there may be.
        let blocks = [0, 507, 508, 1_000_000, MAX_SECTORS / 8 - 1];
        for (byte, block) in (1..).zip(blocks) {
            write(&mut store, v, block, 1, byte).unwrap();
        }
        settle(&mut store);
        let mut store = remount(store.into_port());
        for (byte, block) in (1..).zip(blocks) {
            assert_eq!(read(&mut store, v, block), Ok(byte), "{mib} MiB");
        }
        let usage = store.usage();
        assert!(usage.available > mib * MIB * 85 / 100, "{mib} MiB: {usage:?}");
        if mib <= 1000 {
            let mut port = store.into_port();
            let options = CheckOptions { data: true, repair: false };
            run(check(&mut port, options, &mut |finding| panic!("{mib} MiB: {finding:?}"))).unwrap();
        }
    }
}
