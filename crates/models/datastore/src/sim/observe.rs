//! Everything that a store holds, as the oracle writes it: by its maps (quick, for every cut) or by reading it.

use super::disk::SimDisk;
use super::oracle::{REFUSED, State};
use crate::store::Need;
use crate::tree::{CHUNK_BLOCKS, Mapping};
use crate::{Entry, Error, Op, Store, Target};
use std::rc::Rc;
use std::string::{String, ToString};
use std::vec::Vec;

/// Volumes of this prefix only take room; they are not observed.
pub const BALLAST: &str = "ballast";

/// How to look, and what to do about blocks that the store refuses to give.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Where each block is, and its bytes on the disk.
    Maps,
    /// By reading; a refusal is a finding.
    Reads,
    /// By reading; a refusal is noted in its place.
    Refusals,
}

fn targets(store: &Store<SimDisk>) -> Vec<(String, Target, u64)> {
    let named = |(id, entry): (u64, &Entry)| match entry {
        Entry::Volume { name, sectors, .. } if !name.starts_with(BALLAST) => {
            Some((std::format!("v/{name}"), Target::Volume(id), *sectors))
        }
        Entry::Snapshot { name, sectors, .. } => {
            Some((std::format!("s/{name}"), Target::Snapshot(id), *sectors))
        }
        Entry::Object { name, bytes, .. } => {
            Some((std::format!("o/{name}"), Target::Object(id), bytes / 512))
        }
        _ => None,
    };
    store.catalog().iter().filter_map(named).collect()
}

/// Looks at everything.
pub fn observe(store: &mut Store<SimDisk>, look: Look) -> Result<State, String> {
    let mut state = State::new();
    for (name, target, sectors) in targets(store) {
        let found = match look {
            Look::Maps => by_maps(store, target, sectors),
            _ => by_reads(store, target, sectors, look == Look::Refusals),
        };
        state.insert(name.clone(), Rc::new(found.map_err(|what| std::format!("{name}: {what}"))?));
    }
    Ok(state)
}

/// Asks until the metadata that it takes is in memory.
fn insist<T>(
    store: &mut Store<SimDisk>,
    mut ask: impl FnMut(&mut Store<SimDisk>) -> Result<T, Need>,
) -> Result<T, Error> {
    for _ in 0..100_000 {
        match ask(store) {
            Ok(answer) => return Ok(answer),
            Err(Need::Failed(error)) => return Err(error),
            Err(Need::Page(pointer)) => {
                store.fetch(pointer);
                store.poll();
            }
        }
    }
    Err(Error::Busy)
}

fn by_maps(store: &mut Store<SimDisk>, target: Target, sectors: u64) -> Result<Vec<u32>, String> {
    let (layer, _) = store.target_layer(target).map_err(|e| e.to_string())?;
    let mut found = Vec::with_capacity(sectors as usize);
    while (found.len() as u64) < sectors {
        let block = found.len() as u64 / 8;
        let rest = sectors - block * 8;
        if block.is_multiple_of(CHUNK_BLOCKS)
            && insist(store, |store| store.is_blank(layer, block)).map_err(|e| e.to_string())?
        {
            found.resize(found.len() + rest.min(CHUNK_BLOCKS * 8) as usize, 0);
            continue;
        }
        let mut maps = Vec::with_capacity(32);
        insist(store, |store| store.mappings(layer, block, rest.div_ceil(8) as usize, &mut maps))
            .map_err(|e| e.to_string())?;
        for (mapping, block) in maps.into_iter().zip(block..) {
            let count = (sectors - block * 8).min(8) as usize;
            sectors_of(store, mapping, block, count, &mut found)?;
        }
    }
    Ok(found)
}

fn sectors_of(
    store: &Store<SimDisk>,
    mapping: Mapping,
    block: u64,
    count: usize,
    found: &mut Vec<u32>,
) -> Result<(), String> {
    if !mapping.is_data() {
        found.resize(found.len() + count, 0);
        return Ok(());
    }
    let page = store.port.peek(mapping.block);
    if page.crc() != mapping.crc {
        return Err(std::format!("block {} of the store is corrupt", mapping.block));
    }
    for (at, tag) in (block * 8..).zip(&page.tags()[..count]) {
        let id = tag.and_then(|tag| tag.id_at(at));
        found.push(id.ok_or_else(|| std::format!("sector {at} is nobody's"))?);
    }
    Ok(())
}

fn by_reads(
    store: &mut Store<SimDisk>,
    target: Target,
    sectors: u64,
    refusals: bool,
) -> Result<Vec<u32>, String> {
    let mut found = Vec::new();
    while (found.len() as u64) < sectors {
        let sector = found.len() as u64;
        let count = (sectors - sector).min(32 * 8) as u32;
        match read_some(store, target, sector, count, &mut found)? {
            Ok(()) => {}
            Err(error) if !refusals => return Err(error.to_string()),
            // Which of the blocks it is.
            Err(_) => {
                for first in (sector..sector + u64::from(count)).step_by(8) {
                    let count = (sector + u64::from(count) - first).min(8) as u32;
                    if read_some(store, target, first, count, &mut found)?.is_err() {
                        found.resize(found.len() + count as usize, REFUSED);
                    }
                }
            }
        }
    }
    Ok(found)
}

/// One read, from the beginning of a block. The outer error is a finding; the inner one is the store's answer.
fn read_some(
    store: &mut Store<SimDisk>,
    target: Target,
    sector: u64,
    count: u32,
    found: &mut Vec<u32>,
) -> Result<Result<(), Error>, String> {
    let op = Op::Read { sector, sectors: count };
    for turn in 0.. {
        match store.submit(u64::MAX, target, op, &mut |_, _| {}) {
            Ok(()) => break,
            Err(Error::Busy) if turn < 100_000 => store.poll(),
            Err(error) => return Ok(Err(error)),
        };
    }
    for _ in 0..1_000_000 {
        store.poll();
        let Some(done) = store.completion() else { continue };
        assert_eq!(done.token, u64::MAX);
        if let Err(error) = done.result {
            return Ok(Err(error));
        }
        let tags = done.pages.iter().flat_map(|page| page.tags());
        for (at, tag) in (sector..sector + u64::from(count)).zip(tags) {
            let id = tag.and_then(|tag| tag.id_at(at));
            found.push(id.ok_or_else(|| std::format!("sector {at} is nobody's"))?);
        }
        store.recycle(done.pages);
        return Ok(Ok(()));
    }
    Err(String::from("a read hangs"))
}

#[cfg(test)]
mod tests {
    use super::{insist, targets};
    use crate::sim::run::Run;
    use std::vec::Vec;

    /// Whatever is in memory, in the tree, absorbed or blank.
    #[test]
    fn a_run_is_looked_up_as_its_blocks_are() {
        let (seeds, operations) = if cfg!(miri) { (1, 5) } else { (8, 150) };
        for seed in 0..seeds {
            let mut life = Run::new(seed, crate::sim::run::BLOCKS, None);
            for _ in 0..operations {
                life.operate(&mut |_| {});
                life.drain(&mut |_| {});
                for (name, target, sectors) in targets(&life.store) {
                    let store = &mut life.store;
                    let (layer, _) = store.target_layer(target).expect("there");
                    let mut maps = Vec::new();
                    while (maps.len() as u64) < sectors.div_ceil(8) {
                        let at = maps.len() as u64;
                        let left = (sectors.div_ceil(8) - at) as usize;
                        insist(store, |store| store.mappings(layer, at, left, &mut maps)).expect("readable");
                    }
                    assert_eq!(maps.len() as u64, sectors.div_ceil(8));
                    for (block, found) in (0..).zip(maps) {
                        let one = insist(store, |store| store.mapping(layer, block, 0)).expect("readable");
                        assert_eq!(found, one, "seed {seed}, block {block} of {name}");
                    }
                }
            }
        }
    }
}
