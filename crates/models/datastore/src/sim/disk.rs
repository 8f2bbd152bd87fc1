//! The disk: reorders requests in flight, keeps writes in a volatile cache until a flush, tears them at a power cut,
//! and fails what it is told to fail.

use super::Random;
use crate::{BlockPort, Io, IoDone, IoFailed, IoOp, PageBytes};
use std::boxed::Box;
use std::collections::HashMap;
use std::rc::Rc;
use std::vec::Vec;

type Block = Rc<PageBytes>;

/// What stable storage holds.
#[derive(Clone)]
pub struct Image {
    pub base: Rc<Vec<Option<Block>>>,
    pub changed: HashMap<u32, Block>,
}

impl Image {
    pub fn new(blocks: usize) -> Self {
        Self { base: Rc::new(std::vec![None; blocks]), changed: HashMap::new() }
    }

    pub fn get(&self, block: u32) -> PageBytes {
        let base = || self.base[block as usize].as_ref();
        self.changed.get(&block).or_else(base).map_or([0; 4096], |b| **b)
    }

    pub fn set(&mut self, block: u32, bytes: PageBytes) {
        self.changed.insert(block, Rc::new(bytes));
    }
}

/// A power cut: what stable storage has, and how much had been promised.
pub struct Cut {
    pub image: Image,
    pub seed: u64,
}

/// What goes wrong besides power.
#[derive(Clone, Copy, Default, Debug)]
pub struct Faults {
    /// One write in so many fails; 0 is none.
    pub write_errors: u64,
    /// One read in so many fails.
    pub read_errors: u64,
}

struct Volatile {
    block: u32,
    bytes: Block,
}

/// The disk.
pub struct SimDisk {
    media: Image,
    volatile: Vec<Volatile>,
    queue: Vec<Io<Box<PageBytes>>>,
    random: Random,
    pub faults: Faults,
    /// Take a cut at one in so many writes; 0 is never.
    pub cut_every: u64,
    pub cuts: Vec<Cut>,
    pub writes: u64,
    pub flushes: u64,
}

impl SimDisk {
    pub fn new(media: Image, seed: u64) -> Self {
        let (faults, random) = (Faults::default(), Random(seed));
        Self {
            media,
            volatile: Vec::new(),
            queue: Vec::new(),
            random,
            faults,
            cut_every: 0,
            cuts: Vec::new(),
            writes: 0,
            flushes: 0,
        }
    }

    /// What is on stable storage after everything that was acknowledged was written out.
    pub fn into_image(mut self) -> Image {
        self.write_out(usize::MAX);
        self.media
    }

    fn write_out(&mut self, count: usize) {
        let count = count.min(self.volatile.len());
        if count == 0 {
            return;
        }
        let base = Rc::make_mut(&mut self.media.base);
        for (block, bytes) in self.media.changed.drain() {
            base[block as usize] = Some(bytes);
        }
        for write in self.volatile.drain(..count) {
            base[write.block as usize] = Some(write.bytes);
        }
    }

    fn unstable(&self) -> impl Iterator<Item = (u32, PageBytes)> + '_ {
        let queued =
            self.queue.iter().filter(|io| io.op == IoOp::Write).flat_map(|io| {
                io.pages.iter().enumerate().map(move |(i, page)| (io.block + i as u32, **page))
            });
        self.volatile.iter().map(|w| (w.block, *w.bytes)).chain(queued)
    }

    /// Power is lost now: each write since the last flush is there, or not, or torn at 512 bytes.
    fn cut(&mut self) {
        let mut random = Random(self.random.next());
        let mode = random.below(5);
        let mut image = self.media.clone();
        for (block, bytes) in self.unstable() {
            let whole = match mode {
                0 => true,
                1 => false,
                _ => random.chance(2),
            };
            if whole {
                image.set(block, bytes);
            } else if mode >= 3 && random.chance(2) {
                let mut torn = image.get(block);
                for sector in 0..8 {
                    if random.chance(2) {
                        let range = sector * 512..sector * 512 + 512;
                        torn[range.clone()].copy_from_slice(&bytes[range]);
                    }
                }
                image.set(block, torn);
            }
        }
        self.cuts.push(Cut { image, seed: random.next() });
    }

    fn perform(&mut self, mut io: Io<Box<PageBytes>>) -> IoDone<Box<PageBytes>> {
        let mut result = Ok(());
        match io.op {
            IoOp::Flush => {
                self.flushes += 1;
                // What is still in flight is not covered.
                self.write_out(usize::MAX);
            }
            IoOp::Write if self.faults.write_errors > 0 && self.random.chance(self.faults.write_errors) => {
                result = Err(IoFailed);
            }
            IoOp::Read if self.faults.read_errors > 0 && self.random.chance(self.faults.read_errors) => {
                result = Err(IoFailed);
            }
            IoOp::Write => {
                for (i, page) in io.pages.iter().enumerate() {
                    self.volatile.push(Volatile { block: io.block + i as u32, bytes: Rc::new(**page) });
                }
            }
            IoOp::Read => {
                for (i, page) in io.pages.iter_mut().enumerate() {
                    let block = io.block + i as u32;
                    let newest = self.volatile.iter().rev().find(|w| w.block == block);
                    **page = newest.map_or_else(|| self.media.get(block), |w| *w.bytes);
                }
            }
        }
        IoDone { token: io.token, pages: io.pages, result }
    }
}

impl BlockPort for SimDisk {
    type Page = Box<PageBytes>;

    fn blocks(&self) -> u64 {
        self.media.base.len() as u64
    }

    fn allocate(&mut self) -> Option<Self::Page> {
        Some(Box::new([0; 4096]))
    }

    fn submit(&mut self, io: Io<Self::Page>) -> Result<(), Io<Self::Page>> {
        if self.queue.len() >= 32 {
            return Err(io);
        }
        for i in 0..io.pages.len() {
            assert!(
                ((io.block + i as u32) as usize) < self.media.base.len(),
                "I/O beyond the end: {}",
                io.block
            );
        }
        let write = io.op == IoOp::Write;
        self.queue.push(io);
        if write {
            self.writes += 1;
            if self.cut_every > 0 && self.random.chance(self.cut_every) {
                self.cut();
            }
        }
        Ok(())
    }

    #[cfg(feature = "sim")]
    fn checksum(&self, page: &PageBytes) -> u32 {
        crc32c::crc32c(page)
    }

    fn complete(&mut self) -> Option<IoDone<Self::Page>> {
        if self.queue.is_empty() {
            return None;
        }
        let at = self.random.below(self.queue.len() as u64) as usize;
        let io = self.queue.swap_remove(at);
        Some(self.perform(io))
    }
}
