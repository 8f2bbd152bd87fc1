//! A store in memory for the fuzz targets: made images, changed by the fuzzer's bytes, mounted and used.

use super::disk::Page;
use crate::wire::{get_u32, put_u32};
use crate::{
    BlockPort, Change, CheckOptions, Entry, Error, Io, IoDone, IoFailed, IoOp, Op, Options, PageBytes, Store,
    Target, check, format, mount, run,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::string::String;
use std::vec::Vec;

/// Blocks of the fuzzer's store.
const BLOCKS: u64 = 4096 + 100;

/// A sparse device in memory that does what it is told. A *trusting* one gives every page the same checksum, so that
/// the fuzzer's changes are not all stopped at the door.
#[derive(Clone, Default)]
pub struct MemoryPort {
    pub pages: BTreeMap<u32, Page>,
    pub blocks: u64,
    pub trusting: bool,
    /// Blocks that can't be read.
    pub unreadable: BTreeSet<u32>,
    /// Blocks that can't be read so many times.
    pub flaky: BTreeMap<u32, u32>,
    pub fail_writes: bool,
    pub fail_flushes: bool,
    /// Nothing comes back from it.
    pub holds: bool,
    done: VecDeque<(u64, Vec<Page>, bool)>,
}

impl MemoryPort {
    pub fn new(blocks: u64) -> Self {
        Self { blocks, ..Self::default() }
    }

    /// An empty device for the fuzzer.
    pub fn blank(trusting: bool) -> Self {
        Self { trusting, ..Self::new(BLOCKS) }
    }

    fn falters(&mut self, blocks: std::ops::Range<u32>) -> bool {
        let left = self.flaky.range_mut(blocks).map(|(_, left)| left).find(|left| **left > 0);
        left.is_some_and(|left| {
            *left -= 1;
            true
        })
    }

    fn perform(&mut self, io: &mut Io<Page>) -> bool {
        let blocks = io.block..io.block + io.pages.len() as u32;
        assert!(u64::from(blocks.end) <= self.blocks, "I/O beyond the end: {}", io.block);
        match io.op {
            IoOp::Flush => return !self.fail_flushes,
            IoOp::Write if self.fail_writes => return false,
            IoOp::Read if self.unreadable.range(blocks.clone()).next().is_some() => return false,
            IoOp::Read if self.falters(blocks.clone()) => return false,
            IoOp::Read => {
                for (page, block) in io.pages.iter_mut().zip(blocks) {
                    *page = self.pages.get(&block).cloned().unwrap_or_else(|| Page::new([0; 4096]));
                }
            }
            IoOp::Write => self.pages.extend(blocks.zip(io.pages.iter().cloned())),
        }
        true
    }
}

impl BlockPort for MemoryPort {
    type Page = Page;

    fn blocks(&self) -> u64 {
        self.blocks
    }

    fn allocate(&mut self) -> Option<Page> {
        Some(Page::new([0xa5; 4096]))
    }

    fn submit(&mut self, mut io: Io<Page>) -> Result<(), Io<Page>> {
        let good = self.perform(&mut io);
        self.done.push_back((io.token, io.pages, good));
        Ok(())
    }

    fn complete(&mut self) -> Option<IoDone<Page>> {
        if self.holds {
            return None;
        }
        let (token, pages, good) = self.done.pop_front()?;
        Some(IoDone { token, pages, result: if good { Ok(()) } else { Err(IoFailed) } })
    }

    fn checksum(&self, page: &PageBytes) -> u32 {
        if self.trusting { 0 } else { crate::crc32c(page) }
    }

    fn is_sealed(&self, page: &Page) -> bool {
        page.is_sealed()
    }
}

/// A store with something of everything, and a log that is not empty.
pub fn populated(trusting: bool) -> MemoryPort {
    // Made once: a fuzzer asks for it very often.
    std::thread_local! {
        static MADE: [MemoryPort; 2] = [populate(false), populate(true)];
    }
    MADE.with(|made| made[usize::from(trusting)].clone())
}

fn populate(trusting: bool) -> MemoryPort {
    let mut port = MemoryPort::blank(trusting);
    run(format(&mut port, [7; 16])).expect("format");
    let mut store = run(mount(port, options())).ok().expect("mount");
    let script =
        [0, 0, 9, 0, 40, 3, 0, 90, 200, 2, 4, 0, 0, 1, 77, 8, 0, 2, 4, 250, 6, 0, 3, 2, 0, 1, 9, 9, 2];
    use_store(&mut store, &script);
    super::run::settle(&mut store);
    use_store(&mut store, &[0, 0, 1, 1, 0, 2, 3, 4, 2]);
    store.into_port()
}

fn options() -> Options {
    Options { cache_pages: 64, io_pages: 64, slots: 8, generation_weight: 600, ..Options::default() }
}

/// Changes pages as the bytes say: block, offset, length, bytes, and again. Blocks that carry their own checksum get
/// it right. Gives back what is left for operations.
pub fn mutate<'a>(port: &mut MemoryPort, bytes: &'a [u8]) -> &'a [u8] {
    let mut rest = bytes;
    while let Some((head, tail)) = rest.split_first_chunk::<5>() {
        let [block, high, offset, page, len] = *head;
        rest = tail;
        if len == 0 {
            break;
        }
        // The beginning and the first blocks behind the log are where it hurts.
        let block = u32::from(block) + [0, 1790, 2048, 2112][usize::from(high % 4)];
        let at = usize::from(offset) + usize::from(page % 16) * 256;
        let (patch, tail) = rest.split_at(usize::from(len).min(rest.len()));
        rest = tail;
        let bytes = port.pages.entry(block).or_insert_with(|| Page::new([0; 4096])).as_mut();
        bytes.iter_mut().skip(at).zip(patch).for_each(|(byte, new)| *byte = *new);
        if [*b"BrDs", *b"BrRt", *b"BrGt", *b"BrBm", *b"BrLg"].contains(&get_u32(bytes, 0).to_le_bytes()) {
            put_u32(bytes, 4, 0);
            let crc = crate::crc32c(bytes);
            put_u32(bytes, 4, crc);
        }
    }
    rest
}

/// Mounts the device and does what the bytes say; then the offline check looks at it. Nothing may panic or hang.
pub fn mount_and_use(port: MemoryPort, script: &[u8]) {
    let mut port = match run(mount(port, options())) {
        Ok(mut store) => {
            use_store(&mut store, script);
            store.into_port()
        }
        Err((port, _)) => port,
    };
    let _ = run(check(&mut port, CheckOptions { data: true, repair: true }, &mut |_| {}));
}

/// Polls until nothing is in flight.
fn drain(store: &mut Store<MemoryPort>) {
    for _ in 0..2_000_000 {
        store.poll();
        while let Some(done) = store.completion() {
            store.recycle(done.pages);
        }
        if store.in_flight() == 0 {
            return;
        }
    }
    panic!("a request hangs");
}

fn poll(store: &mut Store<MemoryPort>, times: usize) {
    for _ in 0..times {
        store.poll();
    }
}

fn pick(store: &Store<MemoryPort>, wanted: u8, which: u8) -> Option<Target> {
    let of_kind = |(id, entry): (u64, &Entry)| match (entry, wanted) {
        (Entry::Volume { .. }, 0) => Some(Target::Volume(id)),
        (Entry::Snapshot { .. }, 1) => Some(Target::Snapshot(id)),
        (Entry::Object { .. }, 2) => Some(Target::Object(id)),
        _ => None,
    };
    let all: Vec<Target> = store.catalog().iter().filter_map(of_kind).collect();
    all.get(usize::from(which) % all.len().max(1)).copied()
}

fn use_store(store: &mut Store<MemoryPort>, script: &[u8]) {
    let mut rest = script;
    while let Some((step, tail)) = rest.split_first_chunk::<4>() {
        rest = tail;
        // What can't be done is an answer, too.
        let _ = operate(store, *step);
        drain(store);
    }
    while store.event().is_some() {}
}

fn operate(store: &mut Store<MemoryPort>, [what, which, a, b]: [u8; 4]) -> Result<(), Error> {
    let name = String::from(char::from(b'a' + a % 8));
    let volume = pick(store, 0, which);
    let Some(volume) = volume else { return store.create_volume(&name, 8 * 700).map(drop) };
    let Target::Volume(id) = volume else { return Ok(()) };
    let any = pick(store, a % 3, which).unwrap_or(volume);
    let (sector, sectors) = (u64::from(a) * 23, u32::from(b) + 1);
    let submit = |store: &mut Store<MemoryPort>, target, op| {
        store.submit(1, target, op, &mut |offset, into| into.fill(offset as u8 ^ b))
    };
    match what % 14 {
        0 => submit(store, volume, Op::Write { sector, sectors, durable: b % 2 == 0 }),
        1 => submit(store, any, Op::Read { sector, sectors }),
        2 => submit(store, volume, Op::Flush),
        3 => store.snapshot(&[id], &name, 0, [b; 16]).map(drop),
        4 => store.clone_volume(any, &name).map(drop),
        5 => store.delete(&[any]),
        6 => submit(store, volume, Op::Discard { sector, sectors: u64::from(sectors) * 40 }),
        7 => submit(store, volume, Op::Resize { sectors: u64::from(b) * 64 }),
        8 => {
            store.request_checkpoint();
            poll(store, 500);
            Ok(())
        }
        9 => {
            let staging = store.begin_object()?;
            submit(store, staging, Op::Write { sector: 0, sectors, durable: false })?;
            drain(store);
            let transaction = store.begin();
            store.put_object(transaction, &name, staging, u64::from(sectors) * 512)?;
            store.commit_transaction(transaction)
        }
        10 => match pick(store, 1, which) {
            Some(Target::Snapshot(snapshot)) => store.revert(&[(id, Some(snapshot))]),
            _ => store.revert(&[(id, None)]),
        },
        11 => {
            store.scrub();
            poll(store, 2000);
            Ok(())
        }
        12 => match pick(store, 1, which) {
            Some(Target::Snapshot(snapshot)) => {
                store.changes(snapshot, None, u64::from(a), &mut Vec::<Change>::new()).map(drop)
            }
            _ => Ok(()),
        },
        _ => store.create_volume(&name, u64::from(b) * 64).map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::{MemoryPort, mount_and_use, mutate, populated};

    /// A log that is full for no reason but a root's numbers: found by `datastore_operations`.
    #[test]
    fn a_log_that_is_full_without_changes_is_begun_anew() {
        let bytes = [0x01, 0x88, 0x31, 0x00, 0x01, 0x88, 0x17, 0, 0, 0, 0, 0, 0x14, 0, 1];
        let mut port = populated(true);
        let script = mutate(&mut port, &bytes);
        mount_and_use(port, script);
    }

    #[test]
    fn made_images_mount_and_work() {
        for trusting in [false, true] {
            let mut port = populated(trusting);
            assert!(mutate(&mut port, &[]).is_empty());
            mount_and_use(port, &[1, 0, 0, 200, 4, 0, 1, 0, 5, 0, 1, 0, 8, 0, 0, 0]);
        }
        mount_and_use(MemoryPort::blank(true), &[]);
    }
}
