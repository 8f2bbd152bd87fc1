//! Behaviour at the edges and at scale, on a device in memory that does what it is told.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod chains;
mod crowd;
mod edges;
mod front;
mod full;
mod hostile;
mod offers;
mod scale;

use crate::sim::rig::MemoryPort;
use crate::sim::run::settle;
use crate::{Error, Event, Op, Options, Store, Target, format, mount, run};
use std::vec::Vec;

const BLOCKS: u64 = 4096 + 256;

fn options() -> Options {
    Options { cache_pages: 64, io_pages: 300, slots: 4, generation_weight: 700, ..Options::default() }
}

fn fresh(blocks: u64) -> Store<MemoryPort> {
    let mut port = MemoryPort::new(blocks);
    run(format(&mut port, [3; 16])).expect("format");
    remount(port)
}

fn remount(port: MemoryPort) -> Store<MemoryPort> {
    run(mount(port, options())).ok().expect("mount")
}

/// One request, waited for; a read's bytes are given back.
fn request(store: &mut Store<MemoryPort>, target: Target, op: Op, byte: u8) -> Result<Vec<u8>, Error> {
    loop {
        match store.submit(1, target, op, &mut |_, into| into.fill(byte)) {
            Ok(()) => return finish(store),
            Err(Error::Busy) => drop(store.poll()),
            Err(error) => return Err(error),
        }
    }
}

fn finish(store: &mut Store<MemoryPort>) -> Result<Vec<u8>, Error> {
    for _ in 0..1_000_000 {
        store.poll();
        let Some(done) = store.completion() else { continue };
        let mut bytes = Vec::new();
        if done.result.is_ok() {
            done.for_each(|_, piece| bytes.extend_from_slice(piece));
        }
        store.recycle(done.pages);
        return done.result.map(|()| bytes);
    }
    panic!("a request hangs");
}

fn write(
    store: &mut Store<MemoryPort>,
    target: Target,
    block: u64,
    blocks: u32,
    byte: u8,
) -> Result<(), Error> {
    let op = Op::Write { sector: block * 8, sectors: blocks * 8, durable: false };
    request(store, target, op, byte).map(drop)
}

fn read(store: &mut Store<MemoryPort>, target: Target, block: u64) -> Result<u8, Error> {
    let bytes = request(store, target, Op::Read { sector: block * 8, sectors: 8 }, 0)?;
    assert!(bytes.iter().all(|b| *b == bytes[0]), "one block is of one write");
    Ok(bytes[0])
}

fn volume(store: &mut Store<MemoryPort>, name: &str, blocks: u64) -> Target {
    Target::Volume(store.create_volume(name, blocks * 8).expect("volume"))
}

fn snapshot(store: &mut Store<MemoryPort>, of: Target, name: &str) -> Target {
    let Target::Volume(id) = of else { panic!("a volume") };
    Target::Snapshot(store.snapshot(&[id], name, 0, [9; 16]).expect("snapshot"))
}

/// Where a block of a volume lies.
fn place(store: &mut Store<MemoryPort>, target: Target, block: u64) -> u32 {
    let (layer, _) = store.target_layer(target).expect("there");
    loop {
        match store.mapping(layer, block, 0) {
            Ok(mapping) => return mapping.block,
            Err(crate::store::Need::Page(pointer)) => drop(store.fetch(pointer)),
            Err(need) => panic!("{need:?}"),
        }
        store.poll();
    }
}

fn events(store: &mut Store<MemoryPort>) -> Vec<Event> {
    core::iter::from_fn(|| store.event()).collect()
}

fn flip(port: &mut MemoryPort, block: u32) {
    port.pages.get_mut(&block).expect("written").as_mut()[1000] ^= 4;
}
