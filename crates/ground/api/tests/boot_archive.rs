//! The boot archive, against archives made here byte by byte.

#![allow(clippy::unwrap_used)]

use api::BootArchive;
use api::archive::ArchiveError;
use proptest::prelude::*;

const FILE: u32 = 0o100_644;

struct Cpio(Vec<u8>);

impl Cpio {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn entry(mut self, magic: &str, name: &str, mode: u32, links: u32, data: &[u8], check: u32) -> Self {
        let (bytes, name_bytes) = (data.len() as u64, name.len() as u64 + 1);
        let (mode, links, check) = (u64::from(mode), u64::from(links), u64::from(check));
        let fields = [1, mode, 0, 0, links, 0, bytes, 0, 0, 0, 0, name_bytes, check];
        self.0.extend(magic.bytes());
        for field in fields {
            self.0.extend(format!("{field:08x}").bytes());
        }
        self.0.extend(name.bytes().chain([0]));
        self.pad();
        self.0.extend(data);
        self.pad();
        self
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn file(self, name: &str, data: &[u8]) -> Self {
        self.entry("070701", name, FILE, 1, data, 0)
    }

    fn end(self) -> Vec<u8> {
        self.entry("070701", "TRAILER!!!", 0, 1, &[], 0).0
    }
}

fn names(bytes: &[u8]) -> Vec<String> {
    BootArchive::new(bytes).unwrap().files().map(|file| file.name.to_string()).collect()
}

fn refused(bytes: &[u8]) -> ArchiveError {
    BootArchive::new(bytes).unwrap_err()
}

#[test]
fn files_are_found_where_they_lie() {
    let bytes = Cpio::new()
        .entry("070701", ".", 0o040_755, 2, &[], 0)
        .file("./host.toml", b"[host]")
        .file("a/b", b"12345")
        .entry("070701", "link", 0o120_777, 1, b"a/b", 0)
        .file("empty", b"")
        .end();
    assert_eq!(names(&bytes), ["host.toml", "a/b", "empty"]);
    let archive = BootArchive::new(&bytes).unwrap();
    assert_eq!(archive.find("a/b"), Some(b"12345".as_slice()));
    assert_eq!(archive.find("/host.toml"), Some(b"[host]".as_slice()));
    assert_eq!(archive.find("link"), None);
    let found = archive.find("a/b").unwrap().as_ptr_range();
    assert!(bytes.as_ptr_range().contains(&found.start), "the contents are not copied");
}

#[test]
fn archives_follow_one_another_and_later_files_win() {
    let mut bytes = Cpio::new().file("a", b"1").file("b", b"2").end();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes.extend(Cpio::new().file("a", b"3").end());
    bytes.extend([0; 13]);
    assert_eq!(names(&bytes), ["a", "b", "a"]);
    assert_eq!(BootArchive::new(&bytes).unwrap().find("a"), Some(b"3".as_slice()));
}

#[test]
fn checksums_are_verified() {
    let good = Cpio::new().entry("070702", "a", FILE, 1, b"\x01\xff", 0x100).end();
    assert_eq!(names(&good), ["a"]);
    let bad = Cpio::new().file("z", b"").entry("070702", "a", FILE, 1, b"\x01\xff", 0x101).end();
    assert_eq!(refused(&bad), ArchiveError::BadChecksum { at: 112 });
}

#[test]
fn what_is_no_archive_is_refused_by_name() {
    assert_eq!(refused(&[]), ArchiveError::Empty);
    assert_eq!(refused(&[0; 64]), ArchiveError::Empty);
    assert_eq!(refused(&Cpio::new().end()), ArchiveError::Empty);
    assert_eq!(refused(b"\x1f\x8b\x08\x00"), ArchiveError::Compressed { with: "gzip" });
    assert_eq!(refused(b"\x28\xb5\x2f\xfd"), ArchiveError::Compressed { with: "zstd" });
    assert_eq!(refused(b"070707xxxxxx"), ArchiveError::OtherFormat);
    assert_eq!(refused(b"hello, world"), ArchiveError::NoHeader { at: 0 });
    let mut trailing = Cpio::new().file("a", b"1").end();
    let at = trailing.len();
    trailing.extend(b"junk");
    assert_eq!(refused(&trailing), ArchiveError::NoHeader { at });
    let links = Cpio::new().entry("070701", "a", FILE, 2, b"", 0).end();
    assert_eq!(refused(&links), ArchiveError::HardLink { at: 0 });
}

#[test]
fn a_damaged_header_is_refused() {
    let good = Cpio::new().file("name", b"data").end();
    for (offset, byte) in [(6, b'g'), (6 + 11 * 8, b'+'), (6 + 12 * 8 + 7, b' '), (110, 0xff), (114, b'x')] {
        let mut bad = good.clone();
        bad[offset] = byte;
        assert_eq!(refused(&bad), ArchiveError::BadHeader { at: 0 }, "byte {offset}");
    }
}

#[test]
fn every_cut_is_noticed() {
    let bytes = Cpio::new().file("a", b"12345").file("b", &[7; 300]).end();
    for length in (1..bytes.len()).rev().step_by(if cfg!(miri) { 131 } else { 1 }) {
        let cut = &bytes[..length];
        // The padding behind the trailer's name is the only part that nobody misses.
        let whole = length >= bytes.len() - 3;
        assert_eq!(BootArchive::new(cut).is_ok(), whole, "cut to {length} of {}", bytes.len());
    }
}

#[test]
fn the_document_is_read_with_its_files() {
    let toml = b"[[vm]]\nname=\"a\"\nvcpus=1\nmemory=\"2MiB\"\nboot.kernel=\"k\"\n";
    let with = Cpio::new().file("host.toml", toml).file("k", b"x").end();
    assert_eq!(BootArchive::new(&with).unwrap().host_document().document.vms.len(), 1);
    let without = Cpio::new().file("host.toml", toml).end();
    let parsed = BootArchive::new(&without).unwrap().host_document();
    assert_eq!((parsed.document.vms.len(), parsed.problems[0].line), (0, 5));
    let binary = Cpio::new().file("host.toml", b"\xff").end();
    assert_eq!(BootArchive::new(&binary).unwrap().host_document().problems.len(), 1);
    let none = Cpio::new().file("k", b"x").end();
    let parsed = BootArchive::new(&none).unwrap().host_document();
    let text = parsed.problems[0].to_string();
    assert_eq!(text, "host.toml: the boot archive has no host.toml; add one at its top");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 512 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_put_in_comes_out(files in proptest::collection::vec(("[a-z]{1,9}", proptest::collection::vec(any::<u8>(), 0..40)), 1..6)) {
        let cpio = files.iter().fold(Cpio::new(), |cpio, (name, data)| cpio.file(name, data));
        let bytes = cpio.end();
        let archive = BootArchive::new(&bytes).unwrap();
        let read: Vec<(String, Vec<u8>)> =
            archive.files().map(|file| (file.name.to_string(), file.bytes.to_vec())).collect();
        prop_assert_eq!(read, files);
    }

    #[test]
    fn damage_is_survived(at in 0_usize..600, byte in any::<u8>()) {
        let mut bytes = Cpio::new().file("host.toml", b"[host]").file("b", &[0; 50]).end();
        if let Some(damaged) = bytes.get_mut(at) {
            *damaged = byte;
        }
        if let Ok(archive) = BootArchive::new(&bytes) {
            prop_assert!(archive.files().count() <= 2);
        }
    }
}
