//! The SDHCI driver over a controller and a card that answer anything.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drivers::model::script::sdhci(bytes));
