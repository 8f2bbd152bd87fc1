//! A device tree with any bytes of it changed, and cut anywhere: refused or read, in bounded time.
#![no_main]

const TREE: &[u8] = include_bytes!("../../crates/el2/drivers/device-trees/virt-gicv3.dtb");

libfuzzer_sys::fuzz_target!(|changes: &[u8]| {
    let mut tree = TREE.to_vec();
    for change in changes.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % tree.len();
        tree[at] = change[2];
    }
    if let [low, high] = changes.chunks_exact(3).remainder() {
        tree.truncate(usize::from(u16::from_le_bytes([*low, *high])));
    }
    // Refusing is fine; so is a board that makes no sense.
    let _ = drivers::board::Board::from_device_tree(&tree);
});
