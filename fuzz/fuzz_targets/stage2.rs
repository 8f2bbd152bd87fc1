//! Stage-2 operations against the oracle and a TLB that forgets nothing by itself.
#![no_main]

libfuzzer_sys::fuzz_target!(|script: &[u8]| stage2::oracle::run(script));
