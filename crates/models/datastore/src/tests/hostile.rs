//! Images that someone made to do harm: a mount ends, and takes no more memory than it was given.

use super::{BLOCKS, fresh, options, read, remount, request, settle, volume, write};
use crate::format::MAGIC_MAP;
use crate::log::{LogWriter, Record};
use crate::overlay::Base;
use crate::sim::disk::Page;
use crate::sim::rig::MemoryPort;
use crate::tree::{Mapping, map_entry, set_map_entry};
use crate::wire::get_u32;
use crate::{Error, MountError, Op, Options, ReadOnly, format, mount, run};
use std::vec::Vec;

/// A store whose log goes on with these transactions, as if they had been promised.
fn with_log(blocks: u64, transactions: impl IntoIterator<Item = Vec<Record>>) -> MemoryPort {
    let mut store = fresh(blocks);
    let v = volume(&mut store, "v", 100);
    write(&mut store, v, 0, 1, 1).unwrap();
    settle(&mut store);
    let geometry = store.space.geometry;
    let (uuid, seq, tag) = (store.uuid(), store.log.next_seq, store.log.tag);
    let mut port = store.into_port();
    let mut log = LogWriter::new(uuid, seq, tag);
    log.durable = seq;
    let mut put = |log: &mut LogWriter| {
        while let Some(sealed) = log.take() {
            port.pages.insert(geometry.log_block(sealed.seq), Page::new(*sealed.page));
            log.recycle(sealed.page);
        }
    };
    for records in transactions {
        if log.next_seq - seq > u64::from(geometry.log_blocks) - 4 {
            break;
        }
        let encode = |record: &Record| {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            bytes
        };
        log.append(&records.iter().map(encode).collect::<Vec<_>>(), &|page| crate::crc32c(page));
        put(&mut log);
    }
    log.durable = log.next_seq + 1;
    log.seal(false, &|page| crate::crc32c(page));
    put(&mut log);
    port
}

#[test]
fn a_page_that_absorbs_itself_does_not_double() {
    let absorb = |parent, child| std::vec![Record::Absorb { parent, child, chunk: 0 }];
    let port = with_log(BLOCKS, (0..60).map(|_| absorb(1, 1)));
    let mut store = remount(port);
    settle(&mut store);
}

#[test]
fn layers_that_absorb_each_other_end_in_a_refusal() {
    let absorb = |parent, child| std::vec![Record::Absorb { parent, child, chunk: 0 }];
    let rounds = (0..400).flat_map(|_| (10..40).map(|n| absorb(n, n + 1)));
    let refused = run(mount(with_log(BLOCKS, rounds), options())).err().map(|(_, error)| error);
    assert_eq!(refused, Some(MountError::Log));
}

#[test]
fn a_log_of_more_changes_than_there_is_memory_for_is_refused_in_words() {
    let clear = |n| Record::Clear { layer: 1, chunk: n, base: Base::Zero };
    let many = (0..).map(|n| std::vec![clear(n)]);
    let port = with_log(60_000, many.take(20_000));
    let with = |log_bytes| Options { log_bytes, ..options() };
    let refused = run(mount(port.clone(), with(1 << 20))).err().map(|(_, error)| error);
    assert_eq!(refused, Some(MountError::Log));
    let mut store = run(mount(port, with(1 << 30))).ok().expect("a PC has the memory");
    settle(&mut store);
    assert_eq!(store.read_only(), None);
    let mut store = run(mount(store.into_port(), with(1 << 20))).ok().unwrap();
    let v = crate::Target::Volume(store.catalog().volume("v").unwrap());
    assert_eq!(read(&mut store, v, 99), Ok(0));
}

/// The rules of `room` let no such log come to be; an image may have one all the same.
#[test]
fn a_log_that_the_store_has_no_room_for_is_read_and_not_written() {
    let clear = |n| Record::Clear { layer: 1, chunk: n, base: Base::Zero };
    let port = with_log(20_000, (1..).map(|n| std::vec![clear(n)]).take(15_000));
    let mut store = run(mount(port, Options { log_bytes: 1 << 30, ..options() })).ok().unwrap();
    settle(&mut store);
    assert_eq!(store.read_only(), Some(ReadOnly::NoRoom));
    let v = crate::Target::Volume(store.catalog().volume("v").unwrap());
    assert_eq!(
        (read(&mut store, v, 0), write(&mut store, v, 0, 1, 2)),
        (Ok(1), Err(Error::ReadOnly(Some(ReadOnly::NoRoom))))
    );
}

/// The checksums of such a map hold: whoever made it made them, too.
#[test]
fn a_map_that_names_blocks_behind_the_devices_end_is_a_map_that_cannot_be_read() {
    let mut port = MemoryPort::new(BLOCKS);
    port.trusting = true;
    run(format(&mut port, [7; 16])).unwrap();
    let mut store = run(mount(port, options())).ok().unwrap();
    let v = volume(&mut store, "v", 100);
    write(&mut store, v, 0, 2, 1).unwrap();
    store.request_checkpoint();
    settle(&mut store);
    let mut port = store.into_port();
    for page in port.pages.values_mut() {
        let page = page.as_mut();
        if get_u32(page, 0) == MAGIC_MAP {
            for (entry, block) in [(0, BLOCKS as u32 - 1), (1, BLOCKS as u32)] {
                set_map_entry(page, entry, Mapping { block, ..map_entry(page, entry) });
            }
        }
    }
    let mut store = run(mount(port, options())).ok().unwrap();
    let (sector, sectors, durable) = (9, 1, false);
    let edge = request(&mut store, v, Op::Write { sector, sectors, durable }, 2);
    let both = request(&mut store, v, Op::Read { sector: 0, sectors: 16 }, 0);
    assert_eq!(
        (edge.err(), both.err()),
        (Some(Error::Io { block: BLOCKS as u32 }), Some(Error::Io { block: BLOCKS as u32 - 1 }))
    );
    store.scrub();
    settle(&mut store);
    assert!(store.scrubbed().0.corrupt > 0);
    assert_eq!((store.scrubbed().1, store.read_only()), (false, None));
    // Nobody has them any more: they have no bit in the space map.
    write(&mut store, v, 0, 2, 3).unwrap();
    store.request_checkpoint();
    settle(&mut store);
    let root = store.root.generation;
    assert_eq!((read(&mut store, v, 1), store.checkpoint.is_none()), (Ok(3), true));
    assert!(root > 1 && store.read_only().is_none());
}
