//! Memory of a mounted store: 1 TiB with 100 volumes in 4 MiB plus the pages that the caller asks for.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::cast_possible_truncation)]

use datastore::{
    BlockPort, Error, Io, IoDone, IoOp, Op, Options, PageBytes, Progress, Store, Target, format, mount, run,
};
use peak_alloc::PeakAlloc;
use std::collections::{BTreeMap, VecDeque};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// A sparse device. (What it holds is no memory of the store's, and is taken off.)
#[derive(Default)]
struct Sparse {
    blocks: u64,
    pages: BTreeMap<u32, Box<PageBytes>>,
    done: VecDeque<IoDone<Box<PageBytes>>>,
}

impl BlockPort for Sparse {
    type Page = Box<PageBytes>;

    fn blocks(&self) -> u64 {
        self.blocks
    }

    fn allocate(&mut self) -> Option<Box<PageBytes>> {
        Some(Box::new([0; 4096]))
    }

    fn submit(&mut self, mut io: Io<Box<PageBytes>>) -> Result<(), Io<Box<PageBytes>>> {
        for (block, page) in (io.block..).zip(&mut io.pages) {
            match io.op {
                IoOp::Write => drop(self.pages.insert(block, page.clone())),
                _ => **page = self.pages.get(&block).map_or([0; 4096], |page| **page),
            }
        }
        self.done.push_back(IoDone { token: io.token, pages: io.pages, result: Ok(()) });
        Ok(())
    }

    fn complete(&mut self) -> Option<IoDone<Box<PageBytes>>> {
        self.done.pop_front()
    }
}

fn request(store: &mut Store<Sparse>, target: Target, op: Op) {
    while store.submit(0, target, op, &mut |_, into| into.fill(7)) == Err(Error::Busy) {
        store.poll();
    }
    loop {
        store.poll();
        if let Some(done) = store.completion() {
            done.result.expect("done");
            return store.recycle(done.pages);
        }
    }
}

fn settle(store: &mut Store<Sparse>) {
    while !store.is_settled() {
        store.request_checkpoint();
        while store.poll() == Progress::More {}
    }
}

#[test]
fn a_store_of_1_tib_with_100_volumes_takes_4_mib() {
    let mut port = Sparse { blocks: 1 << 28, ..Sparse::default() };
    run(format(&mut port, [1; 16])).expect("format");
    let options = Options { cache_pages: 64, io_pages: 64, ..Options::default() };
    let mut store = run(mount(port, options)).ok().expect("mount");
    let volumes: Vec<u64> = (0..100)
        .map(|n| {
            loop {
                match store.create_volume(&format!("volume-{n}"), 64 << 21) {
                    Ok(id) => break id,
                    Err(Error::Busy) => drop(store.poll()),
                    Err(error) => panic!("{error}"),
                }
            }
        })
        .collect();
    // Metadata all over each, and a log that mount has to go through.
    for n in 0..6000u64 {
        let target = Target::Volume(volumes[(n % 100) as usize]);
        let sector = n.wrapping_mul(0x9e37_79b9) % (64 << 18) * 8;
        request(&mut store, target, Op::Write { sector, sectors: 8, durable: false });
        if n == 3000 {
            settle(&mut store);
        }
    }
    request(&mut store, Target::Volume(volumes[0]), Op::Flush);
    let port = store.into_port();
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let store = run(mount(port, options)).ok().expect("mount again");
    let peak = HEAP.peak_usage() - before;
    let pages = (64 + 64) * 4096;
    println!("{} KiB at mount, of them {} KiB of pages", peak / 1024, pages / 1024);
    assert!(peak - pages <= 4 << 20, "{} KiB beside the pages", (peak - pages) / 1024);
    assert_eq!(store.catalog().len(), 200);
}
