//! The mailbox driver over a firmware that answers anything.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drivers::model::script::mailbox(bytes));
