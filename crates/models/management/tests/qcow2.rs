//! qcow2 images made by `qemu-img` of every kind, and damaged ones.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use management::qcow2::{Refused, read_all};
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::process::Command;

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn qemu_img(arguments: &[&str]) {
    let done = Command::new("qemu-img").args(arguments).output().expect("qemu-img, of Debian's qemu-utils");
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A disk with data, text that packs well, holes, and an end within a cluster.
fn disk() -> Vec<u8> {
    let mut disk = vec![0; (5 << 20) + 512];
    let mut state = 1_u32;
    for byte in &mut disk[70_000..200_000] {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = state.to_be_bytes()[0];
    }
    disk[1 << 20..(1 << 20) + 300_000]
        .iter_mut()
        .zip(b"a thin volume ".iter().cycle())
        .for_each(|(to, from)| *to = *from);
    let end = disk.len();
    disk[end - 5..].copy_from_slice(b"the e");
    disk
}

/// The disk as a qcow2 image made with these options.
fn image(name: &str, options: &[&str]) -> Vec<u8> {
    let folder = folder(name);
    let (raw, qcow2) = (folder.join("raw"), folder.join("qcow2"));
    std::fs::write(&raw, disk()).unwrap();
    let files = [raw.to_str().unwrap(), qcow2.to_str().unwrap()];
    qemu_img(&[&["convert", "-f", "raw", "-O", "qcow2"], options, &files[..]].concat());
    std::fs::read(qcow2).unwrap()
}

#[test]
fn every_kind_of_image_is_the_disk_that_it_was_made_of() {
    let kinds: [&[&str]; 8] = [
        &[],
        &["-o", "compat=0.10"],
        &["-c"],
        &["-c", "-o", "cluster_size=512"],
        &["-c", "-o", "cluster_size=256k"],
        &["-o", "cluster_size=512"],
        &["-o", "cluster_size=2M"],
        &["-o", "preallocation=metadata,lazy_refcounts=on"],
    ];
    for (n, options) in kinds.iter().enumerate() {
        let read = read_all(&image(&format!("kind-{n}"), options), u64::MAX).unwrap();
        assert!(read == disk(), "{options:?}");
    }
}

#[test]
fn what_can_not_be_read_alone_is_refused_with_what_to_do() {
    let folder = folder("refused");
    let path = |name: &str| folder.join(name).to_str().unwrap().to_string();
    image("refused", &[]);
    qemu_img(&["create", "-f", "qcow2", "-F", "qcow2", "-b", "qcow2", &path("over")]);
    qemu_img(&[
        "create",
        "-f",
        "qcow2",
        "-o",
        &format!("data_file={}", path("data")),
        &path("external"),
        "1M",
    ]);
    qemu_img(&["convert", "-c", "-O", "qcow2", "-o", "compression_type=zstd", &path("raw"), &path("zstd")]);
    qemu_img(&["convert", "-O", "qcow2", "-o", "extended_l2=on", &path("raw"), &path("extended")]);
    qemu_img(&["convert", "-c", "-O", "qcow2", "-o", "cluster_size=1M", &path("raw"), &path("large")]);
    for name in ["over", "external", "zstd", "extended", "large"] {
        let refused = read_all(&std::fs::read(path(name)).unwrap(), u64::MAX);
        assert!(
            matches!(refused, Err(Refused::Kind(text)) if text.contains("qemu-img convert")),
            "{name}: {refused:?}"
        );
    }
    assert!(matches!(read_all(&disk(), 0), Err(Refused::Kind(_))));
    assert!(matches!(read_all(b"QFI\xfb", 0), Err(Refused::Kind(_))));
}

#[test]
fn an_image_that_was_cut_off_is_damaged() {
    let whole = image("cut", &["-c"]);
    for bytes in [104, 4096, 65_536 * 3, whole.len() / 2] {
        let read = read_all(&whole[..bytes], u64::MAX);
        assert!(matches!(read, Err(Refused::Damaged(_))), "{bytes}: {:?}", read.map(|disk| disk.len()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn any_change_is_read_or_refused(at in 0_usize..300_000, with in any::<[u8; 8]>(), packed in any::<bool>()) {
        static IMAGES: std::sync::LazyLock<[Vec<u8>; 2]> =
            std::sync::LazyLock::new(|| [image("change-plain", &[]), image("change-packed", &["-c"])]);
        let mut image = IMAGES[usize::from(packed)].clone();
        // Half of the changes hit the header.
        let at = if at % 2 == 0 { at / 2 % 112 } else { at % image.len() };
        image.iter_mut().skip(at).zip(with).for_each(|(to, from)| *to = from);
        let _ = read_all(&image, 16 << 20);
    }
}
