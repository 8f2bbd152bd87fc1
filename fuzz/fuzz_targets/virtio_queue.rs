//! Either side of a virtqueue whose memory holds anything.
#![no_main]

libfuzzer_sys::fuzz_target!(|script: &[u8]| virtio::rig::script::queue(script));
