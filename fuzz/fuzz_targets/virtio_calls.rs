//! A world's call queue under whatever a taken world does.
#![no_main]

libfuzzer_sys::fuzz_target!(|script: &[u8]| virtio::rig::script::calls(script));
