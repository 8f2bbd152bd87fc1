//! What is flushed is there: a guest writes blocks at random places in turns, until QEMU is killed; then every block that it
//! said it had flushed is looked for.

use crate::Machine;
use crate::scene::{ANSWER, BOOT, shell};
use anyhow::{Result, ensure};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of a block.
const BLOCK: usize = 4096;
/// Turns that a guest has flushed before it is killed.
const TURNS: u32 = 6;

/// The last turn in which each block was flushed.
pub type Turns = BTreeMap<u64, u32>;

/// What the guest writes: turns of eight blocks at random places, all in flight at once; each turn is flushed and then
/// said. A block says which one it is, and of which turn, in every line.
pub fn write(machine: &mut Machine, blocks: u64, first: u32) -> Result<()> {
    let one = "one() { yes \"block $1 turn $2\" | head -c 4096 | dd of=/dev/vda bs=4096 seek=$1 conv=notrunc,fsync 2>/dev/null; }";
    shell(machine, one)?;
    let turn = format!(
        "turn() {{ said=; for n in 1 2 3 4 5 6 7 8; do at=$(( (RANDOM * 32768 + RANDOM) % {blocks} )); \
         said=\"$said $at\"; one $at $1 & done; wait; echo \"flushed $1:$said.\"; }}"
    );
    shell(machine, &turn)?;
    machine.send(&format!("t={first}; while true; do turn $t; t=$((t + 1)); done\r"))?;
    machine.expect(&format!("flushed {}:", first + TURNS - 1), BOOT)?;
    machine.expect(".", ANSWER)?;
    Ok(())
}

/// The last flushed turn of every block, by what the guest said.
pub fn flushed(text: &str) -> Turns {
    let mut turns = Turns::new();
    for part in text.split("flushed ").skip(1) {
        let Some((turn, rest)) = part.split_once(':') else { continue };
        let (Ok(turn), Some((blocks, _))) = (turn.parse::<u32>(), rest.split_once('.')) else { continue };
        turns.extend(
            blocks.split_whitespace().filter_map(|block| block.parse().ok()).map(|block| (block, turn)),
        );
    }
    turns
}

fn contents(block: u64, turn: u32) -> Vec<u8> {
    let line = format!("block {block} turn {turn}\n");
    line.bytes().cycle().take(BLOCK).collect()
}

/// Every flushed block is on the disk that begins at byte `start` of a file, whole. Those that a later turn, cut off by the kill, wrote again may have its
/// contents, sector by sector.
pub fn verify(disk: &Path, start: u64, turns: &Turns, last: u32) -> Result<()> {
    ensure!(turns.len() > 20, "only {} blocks were flushed", turns.len());
    let file = File::open(disk)?;
    for (block, turn) in turns {
        let bytes = block_of(&file, start, *block)?;
        let may: Vec<Vec<u8>> = (*turn..=last).map(|turn| contents(*block, turn)).collect();
        for (n, sector) in bytes.chunks(512).enumerate() {
            let fits = may.iter().any(|whole| whole[n * 512..][..512] == *sector);
            let found = String::from_utf8_lossy(&sector[..40]);
            ensure!(fits, "block {block}, flushed in turn {turn}, has in sector {n}: {found:?}");
        }
    }
    Ok(())
}

fn block_of(file: &File, start: u64, block: u64) -> Result<Vec<u8>> {
    let mut bytes = vec![0; BLOCK];
    file.read_exact_at(&mut bytes, start + block * BLOCK as u64)?;
    Ok(bytes)
}

/// What a later boot reads is what is there: blocks of the turn that was cut off are left out.
pub fn forget_doubtful(disk: &Path, start: u64, turns: &mut Turns) -> Result<()> {
    let file = File::open(disk)?;
    turns.retain(|block, turn| {
        block_of(&file, start, *block).is_ok_and(|bytes| bytes == contents(*block, *turn))
    });
    Ok(())
}

/// The guest reads some of the blocks.
pub fn ask(machine: &mut Machine, turns: &Turns) -> Result<()> {
    for (block, turn) in turns.iter().take(8) {
        let read = format!("dd if=/dev/vda bs=4096 skip={block} count=1 2>/dev/null | head -n 1");
        let said = shell(machine, &read)?;
        ensure!(said.contains(&format!("block {block} turn {turn}")), "after the kill: {said}");
    }
    Ok(())
}
