//! The GENET driver over a controller and a PHY that answer anything.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drivers::model::script::genet(bytes));
