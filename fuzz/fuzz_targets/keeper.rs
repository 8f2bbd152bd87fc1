//! Requests of a world in any order, over a disk that fails and forgets: each is answered once.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keeper::rig::script(bytes));
