//! A guest that accesses its GIC at random while devices and other vCPUs go on.
#![no_main]

libfuzzer_sys::fuzz_target!(|script: &[u8]| vgic::hostile::run(script));
