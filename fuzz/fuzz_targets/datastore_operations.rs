//! A changed datastore in use: whatever its pages say, requests end and nothing panics.
#![no_main]

use datastore::sim::rig::{mount_and_use, mutate, populated};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut port = populated(true);
    let script = mutate(&mut port, bytes);
    mount_and_use(port, script);
});
