//! Any bytes as a disk: no partition outside it, no two that overlap.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drivers::model::script::partition(bytes));
