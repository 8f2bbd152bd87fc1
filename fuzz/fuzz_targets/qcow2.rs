//! Any bytes as a qcow2 image: read or refused.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut image = management::qcow2::MAGIC.to_vec();
    image.extend_from_slice(bytes);
    let _ = management::qcow2::read_all(&image, 1 << 20);
});
