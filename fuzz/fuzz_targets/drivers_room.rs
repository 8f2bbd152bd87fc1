//! Any bytes as a disk on which room for a datastore is looked for and taken: of no partition that is there.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drivers::model::room::room(bytes));
