//! Limits and placement of the guest machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use machine::{BootSpec, DeviceKind, GicVersion, MachinePlan, MachineSpec, PlanError};
use proptest::prelude::*;
use specs::{Intid, Ipa};

const MIB: u64 = 1 << 20;

fn spec() -> MachineSpec {
    MachineSpec {
        gic: GicVersion::V3,
        vcpus: 1,
        ram_bytes: 64 * MIB,
        boot: BootSpec::Kernel { text_offset: 0, image_bytes: MIB, initrd_bytes: 0 },
        disks: 0,
        nics: 0,
        world: false,
    }
}

fn kernel(text_offset: u64, image_bytes: u64, initrd_bytes: u64) -> MachineSpec {
    MachineSpec { boot: BootSpec::Kernel { text_offset, image_bytes, initrd_bytes }, ..spec() }
}

#[test]
fn each_limit_has_its_error() {
    let refused = |spec: MachineSpec| spec.plan().unwrap_err();
    assert_eq!(refused(MachineSpec { vcpus: 0, ..spec() }), PlanError::Vcpus { asked: 0 });
    assert_eq!(refused(MachineSpec { vcpus: 9, ..spec() }), PlanError::Vcpus { asked: 9 });
    assert_eq!(refused(MachineSpec { ram_bytes: 0, ..spec() }), PlanError::RamUnit { bytes: 0 });
    assert_eq!(refused(MachineSpec { ram_bytes: 3 * MIB, ..spec() }), PlanError::RamUnit { bytes: 3 * MIB });
    let bytes = 256 << 30;
    assert_eq!(refused(MachineSpec { ram_bytes: bytes, ..spec() }), PlanError::TooMuchRam { bytes });
    assert_eq!(refused(MachineSpec { disks: 17, ..spec() }), PlanError::TooManyDisks { asked: 17 });
    assert_eq!(refused(MachineSpec { nics: 15, ..spec() }), PlanError::TooManyNics { asked: 15 });
    assert_eq!(refused(kernel(0, 0, 0)), PlanError::NothingToBoot);
    assert_eq!(refused(kernel(0x800, 1, 0)), PlanError::TextOffset { text_offset: 0x800 });
    let boot = BootSpec::Firmware { bytes: 64 * MIB + 1 };
    assert_eq!(refused(MachineSpec { boot, ..spec() }), PlanError::FirmwareTooLarge { bytes: 64 * MIB + 1 });
}

#[test]
fn what_does_not_fit_names_what_it_needs() {
    let needed = |spec: MachineSpec| match spec.plan() {
        Err(PlanError::TooLittleRam { bytes, needed }) if bytes == 64 * MIB => needed,
        other => panic!("{other:?}"),
    };
    assert!(kernel(0, 62 * MIB, 0).plan().is_ok());
    assert_eq!(needed(kernel(0, 62 * MIB + 1, 0)), 64 * MIB + 1);
    assert_eq!(needed(kernel(0, 61 * MIB, MIB + 1)), 64 * MIB + 1);
    assert_eq!(needed(kernel(u64::MAX - 0xfff, 1, 0)), u64::MAX);
    assert_eq!(needed(kernel(0, u64::MAX, 0)), u64::MAX);
    assert_eq!(needed(kernel(0, MIB, u64::MAX)), u64::MAX);
    let text = kernel(0, 63 * MIB, 0).plan().unwrap_err().to_string();
    assert_eq!(text, "64 MiB of RAM: device tree, kernel and initrd alone need 66 MiB");
}

#[test]
fn a_kernel_lies_where_qemu_puts_it() {
    let entry = |text_offset| kernel(text_offset, MIB, 0).plan().unwrap().entry;
    assert_eq!(entry(0), Ipa(0x4020_0000));
    assert_eq!(entry(0x8_0000), Ipa(0x4008_0000));
    let plan = kernel(0, MIB + 1, 5).plan().unwrap();
    assert_eq!(plan.initrd.unwrap().start(), Ipa(0x4031_0000));
    assert_eq!(plan.initrd.unwrap().bytes(), 5);
}

#[test]
fn sizes_come_from_the_image_header() {
    let mut image = vec![0; 100];
    let raw = BootSpec::Kernel { text_offset: 0x8_0000, image_bytes: 100, initrd_bytes: 7 };
    assert_eq!(BootSpec::kernel(&image, 7), raw);
    image[0x38..0x3c].copy_from_slice(b"ARM\x64");
    assert_eq!(BootSpec::kernel(&image, 7), raw);
    image[0x12] = 1;
    let larger = BootSpec::Kernel { text_offset: 0, image_bytes: 0x1_0000, initrd_bytes: 0 };
    assert_eq!(BootSpec::kernel(&image, 0), larger);
    image[0x12] = 0;
    image[0x10] = 1;
    let file_is_longer = BootSpec::Kernel { text_offset: 0, image_bytes: 100, initrd_bytes: 0 };
    assert_eq!(BootSpec::kernel(&image, 0), file_is_longer);
}

/// The table of design §4, written a second time.
#[test]
fn addresses_and_intids_are_the_table_of_the_design() {
    let spec =
        MachineSpec { boot: BootSpec::Firmware { bytes: 2 * MIB }, vcpus: 8, disks: 2, nics: 2, ..spec() };
    let table = |plan: &MachinePlan| -> Vec<(DeviceKind, u64, u64, Option<u32>)> {
        let row = |d: &machine::DevicePlan| {
            (d.kind, d.range.start().0, d.range.bytes(), d.intid.map(|intid| intid.0))
        };
        plan.devices.iter().map(row).collect()
    };
    let golden = [
        (DeviceKind::FlashCode, 0, 64 * MIB, None),
        (DeviceKind::FlashVariables, 0x0400_0000, 64 * MIB, None),
        (DeviceKind::Gicd, 0x0800_0000, 0x1_0000, None),
        (DeviceKind::Gicr, 0x080A_0000, 8 * 0x2_0000, None),
        (DeviceKind::Uart, 0x0900_0000, 0x1000, Some(33)),
        (DeviceKind::Rtc, 0x0901_0000, 0x1000, Some(34)),
        (DeviceKind::Gpio, 0x0903_0000, 0x1000, Some(39)),
        (DeviceKind::Block(0), 0x0A00_0000, 0x200, Some(48)),
        (DeviceKind::Block(1), 0x0A00_0200, 0x200, Some(49)),
        (DeviceKind::Net(0), 0x0A00_2000, 0x200, Some(64)),
        (DeviceKind::Net(1), 0x0A00_2200, 0x200, Some(65)),
        (DeviceKind::Console, 0x0A00_3C00, 0x200, Some(78)),
        (DeviceKind::Entropy, 0x0A00_3E00, 0x200, Some(79)),
    ];
    let plan = spec.plan().unwrap();
    assert_eq!(table(&plan), golden);
    assert_eq!((plan.entry, plan.ram.start()), (Ipa(0), Ipa(0x4000_0000)));
    assert_eq!(machine::layout::VIRTUAL_TIMER_INTID, Intid(27));
    assert_eq!(machine::layout::PHYSICAL_TIMER_INTID, Intid(30));
    let v2 = MachineSpec { gic: GicVersion::V2, ..spec }.plan().unwrap();
    assert_eq!(v2.device(DeviceKind::Gicc).unwrap().range.start(), Ipa(0x0801_0000));
    assert_eq!(v2.device(DeviceKind::Gicr), None);
}

fn any_spec() -> impl Strategy<Value = MachineSpec> {
    let sizes = prop_oneof![0_u64..0x1000_0000, any::<u64>()];
    let boot = prop_oneof![
        (prop_oneof![Just(0), Just(0x8_0000), any::<u64>()], sizes.clone(), sizes.clone()).prop_map(
            |(text_offset, image_bytes, initrd_bytes)| BootSpec::Kernel {
                text_offset: text_offset & !0xfff,
                image_bytes,
                initrd_bytes
            }
        ),
        sizes.prop_map(|bytes| BootSpec::Firmware { bytes }),
    ];
    let gic = prop_oneof![Just(GicVersion::V2), Just(GicVersion::V3)];
    (gic, 0_u8..10, 0_u64..0x400, boot, 0_u8..20, 0_u8..20).prop_map(
        |(gic, vcpus, ram, boot, disks, nics)| MachineSpec {
            gic,
            vcpus,
            ram_bytes: ram * 2 * MIB,
            boot,
            disks,
            nics,
            world: false,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 512 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn nothing_overlaps_and_all_lies_in_ram(spec in any_spec()) {
        let Ok(plan) = spec.plan() else { return Ok(()) };
        let sorted = plan.devices.is_sorted_by(|a, b| a.range.end() <= b.range.start());
        prop_assert!(sorted, "{:?}", plan.devices);
        prop_assert!(plan.devices.iter().all(|device| !device.range.overlaps(plan.ram)));
        let mut loaded = vec![plan.device_tree];
        loaded.extend(plan.kernel);
        loaded.extend(plan.initrd);
        prop_assert!(loaded.is_sorted_by(|a, b| a.end() <= b.start()), "{loaded:?}");
        prop_assert!(loaded.iter().all(|range| plan.ram.contains(*range)));
        prop_assert!(plan.build_device_tree(&machine::Chosen::default()).is_ok());
    }

    #[test]
    fn one_device_more_moves_no_other(spec in any_spec()) {
        let larger = MachineSpec {
            disks: spec.disks.saturating_add(1),
            nics: spec.nics.saturating_add(1),
            ..spec.clone()
        };
        let (Ok(plan), Ok(larger)) = (spec.plan(), larger.plan()) else { return Ok(()) };
        for device in &plan.devices {
            prop_assert_eq!(larger.device(device.kind), Some(*device));
        }
    }
}
