//! Bad input gets a clear message, and the rest goes on.

use anyhow::{Context, Result, ensure};
use std::fs;
use system::scene::{ANSWER, BOOT, Scene, on};
use system::{Board, Machine, console, tree};

/// Each with its line, the field, what is wrong and what to do; the good one starts.
#[test]
fn bad_vms_are_named_and_the_good_one_starts() -> Result<()> {
    let mut scene = on(Board::VirtGicv3, "bad-document").test_guest("good", 1, "hello")?;
    // 64 MiB of code for a machine of 32 MiB.
    let large = scene.file("large.bin")?;
    fs::File::create(&large)?.set_len(64 << 20)?;
    scene.archive.file("large", &large)?;
    scene.archive = scene.archive.raw_document(
        "[host]\nconsole = \"merged\"\n\
         [[vm]]\nname = \"bad\"\nvcpus = 9\nmemory = \"64 MiB\"\nboot.kernel = \"test-guest\"\n\
         [[vm]]\nname = \"good\"\nvcpus = 1\nmemory = \"64 MiB\"\nboot.kernel = \"test-guest\"\n\
         boot.command_line = \"bramble.test=hello\"\n\
         [[vm]]\nname = \"missing\"\nvcpus = 1\nmemory = \"64 MiB\"\nboot.kernel = \"vmlinuz\"\n\
         [[vm]]\nname = \"good\"\nvcpus = 1\nmemory = \"64 MiB\"\nboot.kernel = \"test-guest\"\n\
         [[vm]]\nname = \"broken\nvcpus = 1\n\
         [[vm]]\nname = \"small\"\nvcpus = 1\nmemory = \"32 MiB\"\nboot.kernel = \"large\"\n\
         [[vm]]\nname = \"big\"\nvcpus = 1\nmemory = \"64 GiB\"\nboot.kernel = \"test-guest\"\n\
         [[vm]]\nname = \"diskless\"\nvcpus = 1\nmemory = \"64 MiB\"\nboot.kernel = \"test-guest\"\n\
         disk = [{ host_disk = \"nowhere\" }]\n",
    );
    let mut machine = scene.start()?;
    machine.expect("good| TEST hello ok", BOOT)?;
    machine.expect("host: all VMs are off", ANSWER)?;
    let said = machine.text();
    for expected in [
        "host.toml:5: vm[bad].vcpus: a VM can't have 9 vCPUs; give a number from 1 to 8",
        "host.toml:18: vm[missing].boot.kernel: there is no file \"vmlinuz\"",
        "host.toml:20: vm[good].name: line 9 has a VM of this name already",
        "host.toml:25: this is not TOML",
        "small: not started: 32 MiB of RAM: device tree, kernel and initrd alone need",
        "big: not started: it wants 65536 MiB of RAM and ",
        "MiB are free: lower its memory, or stop another VM",
        "diskless: not started: the host has no disk with serial number \"nowhere\"",
    ] {
        ensure!(said.contains(expected), "not said: {expected}\n{said}");
    }
    fs::remove_file(large)?;
    Ok(())
}

/// An archive that `damage` has changed, and what is said of it. No VM starts, and the host stays.
fn bad_archive(name: &str, damage: impl Fn(Vec<u8>) -> Vec<u8>, expected: &str) -> Result<()> {
    let mut scene = on(Board::VirtGicv3, name).test_guest("lost", 1, "hello")?;
    let file = scene.file("damaged")?;
    scene.archive.write(&file)?;
    fs::write(&file, damage(fs::read(&file)?))?;
    scene.config.archive = Some(file);
    let mut machine = Machine::start(&scene.config)?;
    machine.expect(expected, BOOT)?;
    console::select(&mut machine, "host log")
}

#[test]
fn a_truncated_archive_is_named() -> Result<()> {
    let half = |bytes: Vec<u8>| bytes[..bytes.len() / 2].to_vec();
    bad_archive("truncated", half, "the boot archive ends within what starts at byte")
}

#[test]
fn a_hostile_archive_is_named() -> Result<()> {
    // A name of 4 GiB in the header of the first file.
    let long_name = |mut bytes: Vec<u8>| {
        bytes[94..102].copy_from_slice(b"ffffffff");
        bytes
    };
    bad_archive("hostile", long_name, "the boot archive ")
}

/// A Pi's tree with the same number of bytes changed everywhere.
fn pi_with(name: &str, from: &[u8], to: &[u8]) -> Result<Scene> {
    let mut scene = on(Board::Raspi4b, name).test_guest("none", 1, "hello")?;
    let mut tree = fs::read(scene.config.tree.as_deref().context("a Pi has a tree")?)?;
    let places: Vec<usize> =
        (0..tree.len() - from.len()).filter(|at| tree[*at..].starts_with(from)).collect();
    ensure!(!places.is_empty() && from.len() == to.len(), "the tree has no {from:?}");
    for at in places {
        tree[at..at + to.len()].copy_from_slice(to);
    }
    let changed = scene.file("tree.dtb")?;
    fs::write(&changed, tree)?;
    scene.config.tree = Some(changed);
    Ok(scene)
}

#[test]
fn a_board_with_an_unknown_interrupt_controller_is_explained() -> Result<()> {
    let mut machine = pi_with("unknown", b"arm,gic-400", b"xyz,xic-999")?.start()?;
    machine.expect("no GIC: the device tree names no GICv2 or GICv3", BOOT)?;
    Ok(())
}

#[test]
fn a_tree_without_pes_is_explained() -> Result<()> {
    let mut machine = pi_with("no-pe", b"device_type\0", b"device_typo\0")?.start()?;
    machine.expect("can't start: the device tree names no PE", BOOT)?;
    Ok(())
}

#[test]
fn pes_that_nothing_starts_are_explained() -> Result<()> {
    let mut machine = pi_with("idle-pes", b"spin-table\0", b"spun-table\0")?.start()?;
    machine.expect("1 of 4 PEs run", BOOT)?;
    machine.expect("PEs that stay off: 3: the device tree names no way to start them", ANSWER)?;
    machine.expect("TEST hello ok", BOOT)?;
    Ok(())
}

#[test]
fn no_tree_at_all_is_explained() -> Result<()> {
    let mut scene = on(Board::Raspi4b, "no-tree").test_guest("none", 1, "hello")?;
    scene.config.tree = None;
    let mut machine = scene.start()?;
    machine.expect("can't start: x0 holds no valid device tree: on raspi4b give -dtb FILE", BOOT)?;
    Ok(())
}

#[test]
fn entry_at_el1_is_explained() -> Result<()> {
    let mut scene = on(Board::VirtGicv3, "el1").test_guest("none", 1, "hello")?;
    scene.config.virtualization = false;
    let mut machine = scene.start()?;
    machine.expect("virtualization=on", BOOT)?;
    Ok(())
}

#[test]
fn entry_at_el3_is_explained() -> Result<()> {
    let mut config = on(Board::Raspi4b, "el3").config;
    (config.at_reset, config.tree) = (Some(0x8_0000), None);
    config.append.clear();
    let mut machine = Machine::start(&config)?;
    machine.expect("can't start: entered at EL3, not EL2", BOOT)?;
    Ok(())
}

#[test]
fn too_little_memory_is_explained() -> Result<()> {
    let mut config = on(Board::VirtGicv3, "little").config;
    config.extra.extend(["-m", "12M"].map(Into::into));
    let mut machine = Machine::start(&config)?;
    machine.expect("can't start: less than 8 MiB of RAM are free", BOOT)?;
    Ok(())
}

/// The tree says where the archive is, and there is no RAM.
#[test]
fn an_archive_outside_ram_is_explained() -> Result<()> {
    let mut config = on(Board::Raspi4b, "nowhere").config;
    let mut blob = fs::read(config.tree.as_deref().context("a Pi has a tree")?)?;
    for (name, at) in [("linux,initrd-start", 0xf800_0000_u32), ("linux,initrd-end", 0xf810_0000)] {
        blob = tree::with_chosen(&blob, name, &at.to_be_bytes())?;
    }
    let changed = config.log.with_extension("dtb");
    fs::write(&changed, blob)?;
    config.tree = Some(changed);
    let mut machine = Machine::start(&config)?;
    machine.expect("the boot archive is said to be 0x100000 bytes at 0xf8000000, which is no RAM", BOOT)?;
    Ok(())
}
