//! The switch's rules under any course of ports and frames.
#![no_main]

libfuzzer_sys::fuzz_target!(|script: &[u8]| vswitch::script::run(script));
