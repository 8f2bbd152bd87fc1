//! A virtio network card under any course of accesses, memory changes and frames.
#![no_main]

libfuzzer_sys::fuzz_target!(|script: &[u8]| virtio::rig::script::network(script));
