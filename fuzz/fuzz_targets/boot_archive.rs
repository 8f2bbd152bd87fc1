//! Any bytes as a boot archive: what is taken can be listed and found, and lies in the archive.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(archive) = api::BootArchive::new(bytes) else { return };
    let mut total = 0;
    for file in archive.files() {
        assert!(archive.find(file.name).is_some());
        total += file.name.len() + file.bytes.len();
    }
    assert!(total <= bytes.len());
    archive.host_document();
});
