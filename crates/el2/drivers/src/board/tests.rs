//! Trees of real boards, and damaged ones.

use super::*;

fn read(name: &str) -> std::vec::Vec<u8> {
    let path = std::format!("{}/device-trees/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).expect("a device tree of the tests")
}

#[test]
fn the_pi_4_is_read_through_its_bus_windows() {
    let board = Board::from_device_tree(&read("pi4-like.dtb")).unwrap();
    assert_eq!(board.pes.len(), 4);
    assert_eq!(board.pes[2].start, Some(StartMethod::SpinTable(Pa(0xe8))));
    let Some(GicNode::V2 { gicd, gicv, .. }) = board.gic else { panic!("GIC {:?}", board.gic) };
    assert_eq!((gicd.start, gicv.start), (Pa(0xff84_1000), Pa(0xff84_6000)));
    let uart = board.uart.unwrap();
    assert_eq!(
        (uart.kind, uart.registers.start, uart.intid),
        (UartKind::MiniUart, Pa(0xfe21_5040), Some(125))
    );
    let emmc2 = board.devices.iter().find(|device| device.compatible == "brcm,bcm2711-emmc2").unwrap();
    assert_eq!((emmc2.registers.start, emmc2.intid), (Pa(0xfe34_0000), Some(158)));
    assert_eq!(emmc2.dma, DmaWindow { offset: 0xc000_0000, limit: Pa(0x4000_0000) });
    let serial = board.devices.iter().find(|device| device.compatible == "arm,pl011").unwrap();
    assert_eq!(serial.dma, DmaWindow::ALL);
    assert!(!board.psci_by_smc);
    let genet = board.devices.iter().find(|device| device.compatible == "brcm,bcm2711-genet-v5").unwrap();
    assert_eq!((genet.registers.start, genet.intid), (Pa(0xfd58_0000), Some(189)));
    let ethernet = EthernetNode { mac: Some([0xdc, 0xa6, 0x32, 1, 2, 3]), phy_address: Some(1) };
    let act_led = Some(LedNode { line: 42, active_low: false });
    assert_eq!(board.wiring, Wiring { act_led, ethernet });
}

#[test]
fn virt_with_gicv3_is_read() {
    let blob = read("virt-gicv3.dtb");
    let board = Board::from_device_tree(&blob).unwrap();
    assert_eq!(board.memory[..], [PaRange { start: Pa(0x4000_0000), bytes: 0x4000_0000 }]);
    assert_eq!(board.pes[1], PeNode { mpidr: 1, start: Some(StartMethod::Psci) });
    let gicd = PaRange { start: Pa(0x0800_0000), bytes: 0x1_0000 };
    let gicr = PaRange { start: Pa(0x080a_0000), bytes: 0xf6_0000 };
    assert_eq!(board.gic, Some(GicNode::V3 { gicd, gicr: [Some(gicr), None] }));
    assert_eq!(board.uart.unwrap().intid, Some(33));
    assert!(board.psci_by_smc);
    assert_eq!(board.seed_in(&blob).len(), 32);
    let virtio = board.devices.iter().filter(|device| device.compatible == "virtio,mmio").count();
    assert_eq!(virtio, 32);
}

#[test]
fn damaged_trees_are_refused_or_read_but_never_panic() {
    let good = read("virt-gicv3.dtb");
    assert_eq!(Board::from_device_tree(&[]).unwrap_err(), BoardError::NoDeviceTree);
    assert_eq!(Board::from_device_tree(&good[..40]).unwrap_err(), BoardError::NoDeviceTree);
    for at in (0..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[at] ^= 0xff;
        let _ = Board::from_device_tree(&bad);
    }
}

/// A tree in which the Pi's firmware reserves memory in each of the ways there are: made by `dtc` from the source beside it.
#[test]
fn reserved_memory_is_nobodys_and_what_is_no_map_is_not_mapped() {
    let blob = read("reserved.dtb");
    let board = Board::from_device_tree(&blob).unwrap();
    let range = |start, bytes| PaRange { start: Pa(start), bytes };
    let reserved = [
        range(0, 0x1000),
        range(0x1000_0000, 0x10_0000),
        range(0x2000_0000, 0x1000),
        range(0x2000_2800, 0x1000),
    ];
    assert_eq!(board.reserved[..], reserved);
    assert_eq!(board.unmapped[..], reserved[2..]);
    let hole = [range(0, 0x2000_0000), range(0x2000_1000, 0x1000), range(0x2000_4000, 0x1fff_c000)];
    assert_eq!(board.mappable()[..], hole);
    let free = [
        range(0x1000, 0xfff_f000),
        range(0x1010_0000, 0xfef_0000),
        range(0x2000_1000, 0x1000),
        range(0x2000_4000, 0x1fff_c000),
    ];
    assert_eq!(board.free(&[range(0x1fff_0000, 0x1_0000)])[..], free);
}

#[test]
fn a_seed_is_read_in_place_and_erased() {
    let mut blob = read("virt-gicv3.dtb");
    let board = Board::from_device_tree(&blob).unwrap();
    let seed = board.seed_in(&blob).to_vec();
    assert_eq!(seed.len(), 32);
    board.erase_seed(&mut blob);
    assert_eq!(board.seed_in(&blob), [0; 32]);
    assert!(!blob.windows(32).any(|bytes| bytes == seed), "the seed is still in the tree");
    // It is a tree all the same.
    assert_eq!(Board::from_device_tree(&blob).unwrap().memory, board.memory);
}

/// Firmware may name RAM twice, or more than the PE reaches: two guests must not get the same, nor one what is not there.
#[test]
fn ram_that_is_named_twice_or_out_of_reach_is_ram_once_or_not() {
    let range = |start, bytes| PaRange { start: Pa(start), bytes };
    let mut board = Board::default();
    for ram in [
        range(0x4000_0000, 0x4000_0000),
        range(0x4000_0000, 0x4000_0000),
        range(0x3000_0000, 0x6000_0000),
        range(0xfff_f000_0000, 0x1_0000_0000),
        range(0x8000_0000_0000_0000, 0x7fff_0000_0000_0000),
    ] {
        board.memory.push(ram).unwrap();
    }
    board.limit_memory(Pa(1 << 44));
    let once = [
        range(0x4000_0000, 0x4000_0000),
        range(0x3000_0000, 0x1000_0000),
        range(0x8000_0000, 0x1000_0000),
        range(0xfff_f000_0000, 0x1000_0000),
    ];
    assert_eq!(board.mappable()[..], once);
    assert_eq!(board.free(&[])[..], once);
}
