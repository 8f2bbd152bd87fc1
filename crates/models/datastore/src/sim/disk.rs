//! The disk: completes requests in flight in any order, keeps writes in a volatile cache until a flush, tears them at
//! 512 bytes at a power cut, fails what it is told to fail, and loses or misdirects one write when it is told to.

use super::Random;
use crate::{BlockPort, Io, IoDone, IoFailed, IoOp, PageBytes};
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::vec::Vec;

/// One block's contents; what is derived from them is worked out once.
#[derive(Clone)]
pub struct Block {
    bytes: PageBytes,
    crc: OnceCell<u32>,
    tags: OnceCell<[Option<super::oracle::Tag>; 8]>,
}

/// A page: contents shared until they change, so that reading and writing copy nothing.
#[derive(Clone)]
pub struct Page(Rc<Block>);

impl Page {
    pub fn new(bytes: PageBytes) -> Self {
        Self(Rc::new(Block { bytes, crc: OnceCell::new(), tags: OnceCell::new() }))
    }

    pub fn crc(&self) -> u32 {
        *self.0.crc.get_or_init(|| checksum(&self.0.bytes))
    }

    /// It carries the right checksum of its own.
    pub fn is_sealed(&self) -> bool {
        crate::format::is_sealed(self.as_ref(), self.crc())
    }

    /// The write that each sector came from.
    pub fn tags(&self) -> &[Option<super::oracle::Tag>; 8] {
        self.0.tags.get_or_init(|| {
            let mut sectors = self.0.bytes.chunks_exact(512);
            core::array::from_fn(|_| sectors.next().and_then(super::oracle::recognize))
        })
    }
}

impl AsRef<PageBytes> for Page {
    fn as_ref(&self) -> &PageBytes {
        &self.0.bytes
    }
}

impl AsMut<PageBytes> for Page {
    fn as_mut(&mut self) -> &mut PageBytes {
        let block = Rc::make_mut(&mut self.0);
        (block.crc, block.tags) = (OnceCell::new(), OnceCell::new());
        &mut block.bytes
    }
}

fn checksum(page: &PageBytes) -> u32 {
    #[cfg(feature = "sim")]
    return crc_fast::crc32_iscsi(page);
    #[cfg(not(feature = "sim"))]
    crate::crc32c(page)
}

/// What stable storage holds.
#[derive(Clone)]
pub struct Image {
    /// One page of zeroes for all that have them.
    zeroes: Page,
    /// And one that is what memory held before.
    garbage: Page,
    base: Rc<Vec<Page>>,
    changed: BTreeMap<u32, Page>,
}

impl Image {
    pub fn new(blocks: usize) -> Self {
        let zeroes = Page::new([0; 4096]);
        let base = Rc::new(std::vec![zeroes.clone(); blocks]);
        Self { base, zeroes, garbage: Page::new([0xa5; 4096]), changed: BTreeMap::new() }
    }

    pub fn blocks(&self) -> u32 {
        self.base.len() as u32
    }

    pub fn get(&self, block: u32) -> &Page {
        self.changed.get(&block).unwrap_or_else(|| &self.base[block as usize])
    }

    pub fn set(&mut self, block: u32, page: Page) {
        self.changed.insert(block, page);
    }

    /// Adds blocks of zeroes at the end.
    pub fn extend(&mut self, blocks: usize) {
        let len = self.base.len() + blocks;
        Rc::make_mut(&mut self.base).resize(len, self.zeroes.clone());
    }
}

/// A power cut: what stable storage has.
pub struct Cut {
    pub image: Image,
    pub seed: u64,
    /// A write had gone astray by then: the blocks that did not hold what was last written to them.
    pub astray: Option<Vec<u32>>,
}

/// A write that the disk acknowledges and does not perform.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Astray {
    /// It is gone.
    Lost,
    /// It lands elsewhere.
    Misdirected,
}

/// What goes wrong besides power.
#[derive(Clone, Copy, Default, Debug)]
pub struct Faults {
    /// One write in so many fails, whether performed or not; 0 is none.
    pub write_errors: u64,
    /// One read in so many fails.
    pub read_errors: u64,
    /// One flush in so many fails, and what it was to save may be gone.
    pub flush_errors: u64,
    /// The write of this number (counted in blocks) goes astray.
    pub astray: Option<(u64, Astray)>,
}

impl Faults {
    /// Requests may fail.
    pub fn has_errors(&self) -> bool {
        self.write_errors + self.read_errors + self.flush_errors > 0
    }
}

/// The disk.
pub struct SimDisk {
    media: Image,
    /// Completed and not flushed, oldest first.
    volatile: Vec<(u32, Page)>,
    queue: Vec<Io<Page>>,
    random: Random,
    pub faults: Faults,
    /// Take a cut at one in so many writes; 0 is never.
    pub cut_every: u64,
    pub cuts: Vec<Cut>,
    pub writes: u64,
    pub flushes: u64,
    /// Blocks that do not hold what was last written to them.
    wrong: Vec<u32>,
}

impl SimDisk {
    pub fn new(media: Image, seed: u64) -> Self {
        Self {
            media,
            volatile: Vec::new(),
            queue: Vec::new(),
            random: Random(seed),
            faults: Faults::default(),
            cut_every: 0,
            cuts: Vec::new(),
            writes: 0,
            flushes: 0,
            wrong: Vec::new(),
        }
    }

    /// What is on stable storage after everything that was acknowledged was written out.
    pub fn into_image(mut self) -> Image {
        self.write_out();
        self.media
    }

    /// A write went astray.
    pub fn is_astray(&self) -> bool {
        self.faults.astray.is_some_and(|(number, _)| self.writes >= number)
    }

    /// A block as a read would find it.
    pub fn peek(&self, block: u32) -> &Page {
        let newest = self.volatile.iter().rev().find(|(at, _)| *at == block);
        newest.map_or_else(|| self.media.get(block), |(_, page)| page)
    }

    fn write_out(&mut self) {
        if self.volatile.is_empty() {
            return;
        }
        let base = Rc::make_mut(&mut self.media.base);
        let changed = core::mem::take(&mut self.media.changed);
        for (block, page) in changed.into_iter().chain(self.volatile.drain(..)) {
            base[block as usize] = page;
        }
    }

    fn unstable(&self) -> impl Iterator<Item = (u32, &Page)> + '_ {
        let queued = self
            .queue
            .iter()
            .filter(|io| io.op == IoOp::Write)
            .flat_map(|io| io.pages.iter().enumerate().map(move |(i, page)| (io.block + i as u32, page)));
        self.volatile.iter().map(|(block, page)| (*block, page)).chain(queued)
    }

    /// Power is lost now: each write since the last flush is there, or not, or torn at 512 bytes.
    fn cut(&mut self) {
        let mut random = Random(self.random.next());
        let mode = random.below(5);
        let mut image = self.media.clone();
        for (block, page) in self.unstable() {
            let whole = match mode {
                0 => true,
                1 => false,
                _ => random.chance(2),
            };
            if whole {
                image.set(block, page.clone());
            } else if mode >= 3 && random.chance(2) {
                let mut torn = image.get(block).clone();
                for sector in (0..8).filter(|_| random.chance(2)) {
                    let range = sector * 512..sector * 512 + 512;
                    torn.as_mut()[range.clone()].copy_from_slice(&page.as_ref()[range]);
                }
                image.set(block, torn);
            }
        }
        let astray = self.is_astray().then(|| self.wrong.clone());
        self.cuts.push(Cut { image, seed: random.next(), astray });
    }

    /// Puts a block into the cache, or elsewhere, or nowhere.
    fn put(&mut self, block: u32, page: Page) {
        self.writes += 1;
        self.wrong.retain(|at| *at != block);
        match self.faults.astray {
            Some((number, how)) if number == self.writes => {
                self.wrong.push(block);
                if how == Astray::Misdirected {
                    let victim = self.random.below(u64::from(self.media.blocks())) as u32;
                    self.wrong.push(victim);
                    self.volatile.push((victim, page));
                }
            }
            _ => self.volatile.push((block, page)),
        }
    }

    fn perform(&mut self, mut io: Io<Page>) -> IoDone<Page> {
        let rate = match io.op {
            IoOp::Flush => self.faults.flush_errors,
            IoOp::Write => self.faults.write_errors,
            IoOp::Read => self.faults.read_errors,
        };
        let fails = rate > 0 && self.random.chance(rate);
        match io.op {
            IoOp::Flush if fails => {
                // The worst disk: it drops what it could not write, and the next flush succeeds.
                let random = &mut self.random;
                self.volatile.retain(|_| random.chance(2));
            }
            // What is still in flight is not covered.
            IoOp::Flush => {
                self.flushes += 1;
                self.write_out();
            }
            IoOp::Write => {
                for (i, page) in io.pages.iter().enumerate() {
                    if !fails || self.random.chance(2) {
                        self.put(io.block + i as u32, page.clone());
                    }
                }
            }
            IoOp::Read if fails => {}
            IoOp::Read => {
                for (i, page) in io.pages.iter_mut().enumerate() {
                    *page = self.peek(io.block + i as u32).clone();
                }
            }
        }
        let result = if fails { Err(IoFailed) } else { Ok(()) };
        IoDone { token: io.token, pages: io.pages, result }
    }
}

impl BlockPort for SimDisk {
    type Page = Page;

    fn blocks(&self) -> u64 {
        u64::from(self.media.blocks())
    }

    fn allocate(&mut self) -> Option<Page> {
        Some(self.media.garbage.clone())
    }

    fn submit(&mut self, io: Io<Page>) -> Result<(), Io<Page>> {
        if self.queue.len() >= 32 {
            return Err(io);
        }
        let end = u64::from(io.block) + io.pages.len() as u64;
        assert!(end <= self.blocks(), "I/O beyond the end: {}", io.block);
        let write = io.op == IoOp::Write;
        self.queue.push(io);
        if write && self.cut_every > 0 && self.random.chance(self.cut_every) {
            self.cut();
        }
        Ok(())
    }

    fn checksum(&self, page: &PageBytes) -> u32 {
        checksum(page)
    }

    fn page_checksum(&self, page: &Page) -> u32 {
        page.crc()
    }

    fn zero(&self, page: &mut Page) {
        *page = self.media.zeroes.clone();
    }

    fn complete(&mut self) -> Option<IoDone<Page>> {
        // It takes its time, so that what should have waited for it is caught.
        if self.queue.is_empty() || self.random.chance(3) {
            return None;
        }
        let at = self.random.below(self.queue.len() as u64) as usize;
        let io = self.queue.swap_remove(at);
        Some(self.perform(io))
    }
}

#[cfg(test)]
mod tests {
    use super::{Astray, Faults, Image, Page, SimDisk};
    use crate::{BlockPort, Io, IoOp};

    /// Within one turn of the store a write may go astray and power be lost behind it: the cut has to know.
    #[test]
    fn a_cut_knows_what_went_astray_before_it() {
        let mut disk = SimDisk::new(Image::new(64), 1);
        disk.cut_every = 1;
        disk.faults = Faults { astray: Some((1, Astray::Lost)), ..Faults::default() };
        for block in [7, 8] {
            let pages = [Page::new([1; 4096])].into();
            assert!(disk.submit(Io { token: 0, op: IoOp::Write, block, pages }).is_ok());
            while disk.complete().is_none() {}
        }
        let astray: std::vec::Vec<_> = disk.cuts.iter().map(|cut| cut.astray.clone()).collect();
        assert_eq!(astray, [None, Some([7].into())]);
    }
}
