//! The guest's device tree for each example machine, against the files in `golden/` (rule `golden`).
//!
//! The tree is read back by an independent reader, which prints it as source. After a wanted change run
//! `BLESS=1 cargo test -p machine --test golden` and look at the difference; `dtc` reads the files too.
//!
//! Not under Miri, which would spend its time in the reader; `plan` writes trees too.

#![cfg(not(miri))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use dtoolkit::fdt::Fdt;
use dtoolkit::{Node, Property};
use machine::{BootSpec, Chosen, GicVersion, MachineSpec, TreeError};
use std::path::Path;

const KERNEL: BootSpec =
    BootSpec::Kernel { text_offset: 0, image_bytes: 0x1f0_0000, initrd_bytes: 0x123_4567 };

const ONE_VCPU: MachineSpec = MachineSpec {
    gic: GicVersion::V3,
    vcpus: 1,
    ram_bytes: 1 << 30,
    boot: KERNEL,
    disks: 0,
    nics: 0,
    world: false,
};

fn tree(spec: &MachineSpec, chosen: &Chosen<'_>) -> Vec<u8> {
    spec.plan().unwrap().build_device_tree(chosen).unwrap()
}

fn compare(name: &str, spec: &MachineSpec, chosen: &Chosen<'_>) {
    let bytes = tree(spec, chosen);
    let text = format!("{}\n", Fdt::new(&bytes).expect("a tree that the reader takes"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert!(text == golden, "{name} differs from the tree of today:\n{text}");
}

#[test]
fn gicv3_kernel() {
    let spec = MachineSpec {
        gic: GicVersion::V3,
        vcpus: 2,
        ram_bytes: 512 << 20,
        boot: KERNEL,
        disks: 1,
        nics: 1,
        world: false,
    };
    let chosen = Chosen {
        bootargs: Some("console=ttyAMA0 root=/dev/vda"),
        rng_seed: Some(*b"0123456789abcdef0123456789abcdef"),
        kaslr_seed: Some(0x0123_4567_89ab_cdef),
    };
    compare("gicv3-kernel.dts", &spec, &chosen);
}

/// hostd's: a call queue, which no guest has.
#[test]
fn gicv3_world() {
    let spec = MachineSpec {
        gic: GicVersion::V3,
        vcpus: 2,
        ram_bytes: 24 << 20,
        boot: BootSpec::Kernel { text_offset: 0, image_bytes: 0x10_0000, initrd_bytes: 0 },
        disks: 0,
        nics: 1,
        world: true,
    };
    compare("gicv3-world.dts", &spec, &Chosen::default());
}

#[test]
fn gicv2_firmware() {
    let spec = MachineSpec {
        gic: GicVersion::V2,
        vcpus: 4,
        ram_bytes: 2 << 30,
        boot: BootSpec::Firmware { bytes: 2 << 20 },
        disks: 2,
        nics: 0,
        world: false,
    };
    compare("gicv2-firmware.dts", &spec, &Chosen::default());
}

#[test]
fn gicv2_smallest() {
    let boot = BootSpec::Kernel { text_offset: 0x8_0000, image_bytes: 1, initrd_bytes: 0 };
    let spec = MachineSpec {
        gic: GicVersion::V2,
        vcpus: 1,
        ram_bytes: 2 << 20,
        boot,
        disks: 0,
        nics: 0,
        world: false,
    };
    compare("gicv2-smallest.dts", &spec, &Chosen { bootargs: Some(""), ..Chosen::default() });
}

#[test]
fn the_largest_machine_fits_the_place() {
    let spec = MachineSpec {
        gic: GicVersion::V2,
        vcpus: 8,
        ram_bytes: machine::layout::MAX_RAM_BYTES,
        boot: KERNEL,
        disks: machine::layout::MAX_DISKS,
        nics: machine::layout::MAX_NICS,
        world: false,
    };
    let longest = "x".repeat(2047);
    let chosen = Chosen { bootargs: Some(&longest), rng_seed: Some([0xff; 32]), kaslr_seed: Some(1) };
    let bytes = tree(&spec, &chosen);
    let fdt = Fdt::new(&bytes).unwrap();
    let slots = fdt.root().children().filter(|node| node.name().starts_with("virtio_mmio@")).count();
    assert_eq!(slots, 32);
}

#[test]
fn a_command_line_that_linux_cannot_read_is_refused() {
    let plan = ONE_VCPU.plan().unwrap();
    for bad in ["a\0b", &"x".repeat(2048)] {
        let chosen = Chosen { bootargs: Some(bad), ..Chosen::default() };
        assert_eq!(plan.build_device_tree(&chosen), Err(TreeError::Bootargs));
    }
}

#[test]
fn a_command_line_arrives_unchanged() {
    let bytes = tree(&ONE_VCPU, &Chosen { bootargs: Some("a=\"b c\" ü"), ..Chosen::default() });
    let chosen = Fdt::new(&bytes).unwrap().find_node("/chosen").unwrap();
    assert_eq!(chosen.property("bootargs").unwrap().value(), "a=\"b c\" ü\0".as_bytes());
}
