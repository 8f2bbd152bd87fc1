//! A virtio block device under any course of accesses, memory changes and completions.
#![no_main]

libfuzzer_sys::fuzz_target!(|script: &[u8]| virtio::rig::script::block(script));
