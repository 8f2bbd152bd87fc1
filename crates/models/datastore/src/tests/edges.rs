//! What the store does when the device fails, rots, is full, or is not ours.

use super::{
    BLOCKS, events, finish, flip, fresh, options, place, read, remount, request, settle, volume, write,
};
use crate::format::{ROOT_BLOCKS, SUPER_BLOCKS, seal};
use crate::sim::rig::MemoryPort;
use crate::wire::{get_u64, put_u32, put_u64};
use crate::{
    CheckOptions, Error, Event, Finding, MountError, Op, Options, Progress, ReadOnly, Target, check, format,
    mount, run,
};
use std::string::ToString;
use std::vec::Vec;

#[test]
fn a_failed_read_names_its_block_and_the_rest_goes_on() {
    let mut store = fresh(BLOCKS);
    let v = volume(&mut store, "v", 100);
    write(&mut store, v, 0, 20, 1).unwrap();
    let block = place(&mut store, v, 7);
    store.port().unreadable.insert(block);
    assert_eq!(read(&mut store, v, 7), Err(Error::Io { block }));
    assert_eq!(read(&mut store, v, 8), Ok(1));
    write(&mut store, v, 7, 1, 2).unwrap();
    assert_eq!(read(&mut store, v, 7), Ok(2), "a new block took its place");
}

#[test]
fn a_corrupt_block_says_what_was_expected_and_found() {
    let mut store = fresh(BLOCKS);
    let v = volume(&mut store, "v", 100);
    write(&mut store, v, 0, 20, 1).unwrap();
    let block = place(&mut store, v, 7);
    let expected = crate::crc32c(&[1; 4096]);
    flip(store.port(), block);
    let found = crate::crc32c(store.port().pages[&block].as_ref());
    assert_eq!(read(&mut store, v, 7), Err(Error::Corrupt { block, expected, found }));
    let text = Error::Corrupt { block, expected, found }.to_string();
    assert_eq!(
        text,
        std::format!("block {block} is corrupt: checksum {found:08x}, written was {expected:08x}")
    );
    assert_eq!(read(&mut store, v, 6), Ok(1));
    // Part of a block can't be written over a corrupt one: the other part would be lost without a word.
    let part = Op::Write { sector: 7 * 8, sectors: 1, durable: false };
    assert_eq!(request(&mut store, v, part, 5), Err(Error::Corrupt { block, expected, found }));
}

#[test]
fn repeated_write_errors_make_it_read_only_with_a_reason() {
    let mut store = fresh(BLOCKS);
    let v = volume(&mut store, "v", 100);
    write(&mut store, v, 0, 1, 1).unwrap();
    settle(&mut store);
    store.port().fail_writes = true;
    let mut first = None;
    for n in 0..40 {
        let Err(error) = write(&mut store, v, n, 1, 2) else { panic!("a write on a device that fails") };
        first.get_or_insert(error);
    }
    assert!(matches!(first, Some(Error::Io { block }) if block > 0), "{first:?}");
    assert_eq!(store.read_only(), Some(ReadOnly::WritesFailed));
    assert_eq!(write(&mut store, v, 0, 1, 2), Err(Error::ReadOnly(Some(ReadOnly::WritesFailed))));
    assert!(events(&mut store).contains(&Event::BecameReadOnly(ReadOnly::WritesFailed)));
    assert_eq!(read(&mut store, v, 0), Ok(1), "reads go on, and see what was there");
    assert_eq!(store.create_volume("w", 8), Err(Error::ReadOnly(Some(ReadOnly::WritesFailed))));
}

#[test]
fn a_failed_flush_is_no_promise() {
    let mut store = fresh(BLOCKS);
    let v = volume(&mut store, "v", 100);
    write(&mut store, v, 0, 1, 1).unwrap();
    store.port().fail_flushes = true;
    let failed = Err(Error::ReadOnly(Some(ReadOnly::FlushFailed)));
    assert_eq!(request(&mut store, v, Op::Flush, 0), failed);
    // A second flush may well succeed below, with what was to be saved gone.
    store.port().fail_flushes = false;
    assert_eq!(request(&mut store, v, Op::Flush, 0), failed);
}

#[test]
fn a_corrupt_root_falls_back_to_the_older_one_and_says_so() {
    let mut store = fresh(BLOCKS);
    let v = volume(&mut store, "v", 100);
    write(&mut store, v, 0, 1, 1).unwrap();
    settle(&mut store);
    write(&mut store, v, 0, 1, 2).unwrap();
    settle(&mut store);
    let mut port = store.into_port();
    let generation = |port: &MemoryPort, at: u32| get_u64(port.pages[&at].as_ref(), 8);
    let [a, b] = ROOT_BLOCKS;
    let newest = if generation(&port, a) > generation(&port, b) { a } else { b };
    let older = generation(&port, newest) - 1;
    flip(&mut port, newest);
    let mut store = remount(port);
    assert!(events(&mut store).contains(&Event::OlderRoot { generation: older }));
    assert_eq!(read(&mut store, v, 0), Ok(2), "the log leads to the same state");
}

#[test]
fn what_is_not_ours_is_refused_in_words() {
    let refuse = |change: &dyn Fn(&mut [u8; 4096])| {
        let mut port = fresh(BLOCKS).into_port();
        for at in SUPER_BLOCKS {
            let page = port.pages.get_mut(&at).unwrap().as_mut();
            change(page);
            seal(page);
        }
        run(mount(port, options())).err().map(|(_, error)| (error, error.to_string())).unwrap()
    };
    let (error, text) = refuse(&|page| put_u32(page, 8, 2));
    assert_eq!(error, MountError::Newer(2));
    assert_eq!(text, "the datastore has format version 2; this program knows version 1");
    let (error, text) = refuse(&|page| put_u64(page, 16, 8));
    assert_eq!(error, MountError::Features(8));
    assert_eq!(text, "the datastore uses features unknown to this program (0x8)");
    let mut port = fresh(BLOCKS).into_port();
    let page = port.pages.get_mut(&SUPER_BLOCKS[0]).unwrap().as_mut();
    put_u64(page, 24, 1);
    seal(page);
    assert_eq!(remount(port).read_only(), Some(ReadOnly::NewerFeatures), "may be read");
    let (error, text) = refuse(&|page| put_u32(page, 0, 7));
    assert_eq!(error, MountError::Foreign);
    assert_eq!(text, "this is not a Bramble datastore");
    let blank = run(mount(MemoryPort::new(BLOCKS), options())).err().map(|(_, error)| error);
    assert_eq!(blank, Some(MountError::Foreign));
    let mut short = fresh(BLOCKS).into_port();
    short.blocks = 4096;
    let short = run(mount(short, options())).err().map(|(_, error)| error);
    assert_eq!(short, Some(MountError::Truncated { needed: BLOCKS, found: 4096 }));
}

#[test]
fn a_full_store_reads_deletes_and_has_room_again() {
    let mut store = fresh(BLOCKS);
    let at_first = store.usage().available;
    let v = volume(&mut store, "v", 8192);
    let written = (0..8192).step_by(64).take_while(|at| write(&mut store, v, *at, 64, 1).is_ok()).count();
    assert!(written > 40, "{written}");
    assert_eq!(write(&mut store, v, 8000, 64, 1), Err(Error::NoSpace));
    assert_eq!(read(&mut store, v, 0), Ok(1));
    let discard = Op::Discard { sector: 0, sectors: 64 * 8 };
    request(&mut store, v, discard, 0).unwrap();
    settle(&mut store);
    write(&mut store, v, 0, 32, 2).expect("what was discarded is free");
    store.delete(&[v]).expect("deleting works when full");
    settle(&mut store);
    settle(&mut store);
    assert_eq!(store.usage().available + store.usage().freed, at_first, "all of it came back");
}

#[test]
fn a_full_pool_of_slots_is_back_pressure() {
    let mut store = fresh(BLOCKS);
    let v = volume(&mut store, "v", 100);
    let op = Op::Write { sector: 0, sectors: 8, durable: false };
    for _ in 0..4 {
        store.submit(1, v, op, &mut |_, into| into.fill(1)).unwrap();
    }
    let mut asked = 0;
    assert_eq!(store.submit(1, v, op, &mut |_, _| asked += 1), Err(Error::Busy));
    assert_eq!(asked, 0, "the bytes are not asked for");
    assert_eq!(store.in_flight(), 4);
    finish(&mut store).unwrap();
    store.submit(1, v, op, &mut |_, into| into.fill(1)).unwrap();
}

#[test]
fn what_the_device_has_not_answered_is_no_progress() {
    let mut store = fresh(BLOCKS);
    let v = volume(&mut store, "v", 600);
    write(&mut store, v, 0, 60, 1).unwrap();
    settle(&mut store);
    // Only the log has this; the checkpoint wants room in a group that was used before.
    write(&mut store, v, 60, 60, 1).unwrap();
    request(&mut store, v, Op::Flush, 0).unwrap();
    let port = store.into_port();
    for polls in 0..100 {
        let mut store = remount(port.clone());
        store.request_checkpoint();
        for _ in 0..polls {
            store.poll();
        }
        store.port().holds = true;
        let waits = (0..1000).any(|_| store.poll() == Progress::Waiting);
        assert!(waits, "after {polls} polls: whoever goes on until it waits hears no interrupt meanwhile");
        store.port().holds = false;
        assert_eq!(read(&mut store, v, 100), Ok(1));
    }
}

#[test]
fn scrub_reports_and_restores_from_copies() {
    let mut store = fresh(BLOCKS);
    let v = volume(&mut store, "v", 600);
    write(&mut store, v, 0, 60, 1).unwrap();
    settle(&mut store);
    let (root, data) = (store.root.tree, place(&mut store, v, 5));
    flip(store.port(), root.copy);
    flip(store.port(), SUPER_BLOCKS[1]);
    flip(store.port(), data);
    store.scrub();
    while store.scrubbed().1 {
        store.poll();
    }
    let report = store.scrubbed().0;
    assert_eq!((report.corrupt, report.repaired), (3, 2), "{report:?}");
    assert!(report.blocks > 60, "{report:?}");
    let bad: Vec<u32> = events(&mut store)
        .into_iter()
        .filter_map(|event| match event {
            Event::Corrupt(Error::Corrupt { block, .. }) => Some(block),
            _ => None,
        })
        .collect();
    assert_eq!(bad, [SUPER_BLOCKS[1], root.copy, data]);
    let pages = &store.port().pages;
    assert_eq!(pages[&root.block].crc(), pages[&root.copy].crc(), "the copy is whole again");
}

#[test]
fn a_damaged_map_page_is_read_from_its_copy() {
    let mut store = fresh(BLOCKS);
    let v = volume(&mut store, "v", 600);
    write(&mut store, v, 0, 60, 1).unwrap();
    settle(&mut store);
    let Target::Volume(_) = v else { panic!() };
    let (layer, _) = store.target_layer(v).unwrap();
    let pointer = loop {
        if let Ok(found) = store.tree_get(crate::tree::Key { owner: layer, index: 0 }) {
            break found.unwrap();
        }
        store.poll();
    };
    let mut port = store.into_port();
    flip(&mut port, pointer.block);
    let mut store = remount(port);
    assert_eq!(read(&mut store, v, 5), Ok(1));
    assert!(events(&mut store).contains(&Event::MetadataCopy { block: pointer.block }));
}

/// Blocks that the last checkpoint freed still belong to the older root; the bitmap before the newest says which.
#[test]
fn a_bitmap_that_is_read_at_the_second_try_spares_the_older_root() {
    let mut store = fresh(BLOCKS);
    let v = volume(&mut store, "v", 100);
    for byte in 1..3 {
        write(&mut store, v, 0, 50, byte).unwrap();
        settle(&mut store);
    }
    let made = store.into_port();
    for bitmap in 2..5 {
        let mut port = made.clone();
        port.flaky.insert(bitmap, 1);
        let mut store = remount(port);
        write(&mut store, v, 40, 60, 3).unwrap();
        request(&mut store, v, Op::Flush, 0).unwrap();
        assert_eq!(events(&mut store), []);
        let mut port = store.into_port();
        let generation = |at: u32| get_u64(port.pages[&at].as_ref(), 8);
        let newest = ROOT_BLOCKS.into_iter().max_by_key(|at| generation(*at)).unwrap();
        flip(&mut port, newest);
        let mut store = remount(port);
        assert!(matches!(events(&mut store)[..], [Event::OlderRoot { .. }]));
        assert_eq!((read(&mut store, v, 0), read(&mut store, v, 89)), (Ok(2), Ok(3)), "bitmap {bitmap}");
    }
}

/// What the tree and the bitmaps say is enough to write a lost block of the space map again, to the byte.
#[test]
fn a_lost_space_map_is_rebuilt() {
    let mut store = fresh(BLOCKS + 64_000);
    let v = volume(&mut store, "v", 40_000);
    for block in (0..34_000).step_by(200) {
        write(&mut store, v, block, 200, 1).unwrap();
    }
    settle(&mut store);
    write(&mut store, v, 50, 200, 2).unwrap();
    settle(&mut store);
    let (root, geometry) = (store.root.clone(), store.space.geometry);
    let lost = [
        geometry.table_block(0, root.tables[0].1),
        geometry.bitmap_block(0, u32::from(store.space.groups[0].slot)),
        geometry.bitmap_block(1, u32::from(store.space.groups[1].slot)),
    ];
    let made = store.into_port();
    let look = |port: &mut MemoryPort, repair: bool| {
        let mut findings = Vec::new();
        let options = CheckOptions { data: true, repair };
        let summary = run(check(port, options, &mut |finding| findings.push(finding))).unwrap();
        (findings, summary.repaired)
    };
    let expected = [Finding::GroupTable(0), Finding::Bitmap(0), Finding::Bitmap(1)];
    for (block, finding) in lost.into_iter().zip(expected) {
        let mut port = made.clone();
        flip(&mut port, block);
        assert_eq!(look(&mut port, false), (Vec::from([finding]), 0));
        assert_eq!(look(&mut port, true), (Vec::from([finding]), 1));
        assert_eq!(port.pages[&block].as_ref(), made.pages[&block].as_ref());
        assert_eq!(look(&mut port, false), (Vec::new(), 0));
    }
    // Where the tree has a hole, what the lost block said is not known.
    let mut port = made.clone();
    flip(&mut port, lost[1]);
    flip(&mut port, root.tree.block);
    flip(&mut port, root.tree.copy);
    let (findings, repaired) = look(&mut port, true);
    assert!(findings.contains(&Finding::Node(root.tree.block)) && findings.contains(&Finding::Bitmap(0)));
    assert_eq!(repaired, 0);
}

#[test]
fn requests_that_wait_for_a_checkpoint_leave_it_its_pages() {
    let mut port = MemoryPort::new(2 * BLOCKS);
    run(format(&mut port, [3; 16])).unwrap();
    let options = Options { cache_pages: 512, slots: 16, generation_weight: 200, ..options() };
    let mut store = run(mount(port, options)).ok().unwrap();
    let v = volume(&mut store, "v", 200 * 508);
    // A generation that is full, with 200 map pages for the cache,
    for block in (0..200 * 508).step_by(508) {
        write(&mut store, v, block, 1, 1).unwrap();
    }
    // another one that is full before the first is written,
    let op = |n: u64| Op::Write { sector: n * 128 * 8, sectors: 128 * 8, durable: false };
    for n in 0..2 {
        store.submit(1, v, op(n), &mut |_, into| into.fill(2)).unwrap();
    }
    (0..30).for_each(|_| _ = store.poll());
    // and as many requests as are let in, which have to wait.
    let let_in =
        (0..16).take_while(|n| store.submit(1, v, op(*n), &mut |_, into| into.fill(3)).is_ok()).count();
    for _ in 0..2 + let_in {
        finish(&mut store).unwrap();
    }
    assert!(let_in > 0);
    assert_eq!((read(&mut store, v, 0), read(&mut store, v, 508)), (Ok(3), Ok(1)));
}
