//! Any bytes as a datastore: on an empty device, or over a good one; with checksums that hold, or that stop nothing.
#![no_main]

use datastore::sim::rig::{MemoryPort, mount_and_use, mutate, populated};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((flags, bytes)) = bytes.split_first() else { return };
    let trusting = flags & 1 == 1;
    let mut port = if flags & 2 == 0 { populated(trusting) } else { MemoryPort::blank(trusting) };
    mutate(&mut port, bytes);
    mount_and_use(port, &[]);
});
