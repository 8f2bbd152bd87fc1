//! A file, a partition or a card as the datastore's block port. A small request is done when its completion is asked
//! for; large transfers, and a flush beside them, are done by threads meanwhile, as the owner works out checksums.

use datastore::{BLOCK_BYTES, BlockPort, Io, IoDone, IoFailed, IoOp, PageBytes};
use std::collections::VecDeque;
use std::fs::File;
use std::io::IoSliceMut;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Pages from which on a transfer is worth a word to another thread.
const LARGE: usize = 16;
const THREADS: usize = 2;

/// A page, and its checksum where a thread has worked it out while the bytes were in its cache.
pub struct Page {
    bytes: Box<PageBytes>,
    crc: Option<u32>,
}

impl Page {
    fn sum(&mut self) {
        self.crc = Some(crc_fast::crc32_iscsi(self.bytes.as_slice()));
    }
}

impl AsRef<PageBytes> for Page {
    fn as_ref(&self) -> &PageBytes {
        &self.bytes
    }
}

impl AsMut<PageBytes> for Page {
    fn as_mut(&mut self) -> &mut PageBytes {
        self.crc = None;
        &mut self.bytes
    }
}

/// A window of a file.
struct Window {
    file: File,
    start: u64,
    blocks: u64,
}

impl Window {
    /// Does a request; what is written goes through `buffer`.
    fn finish(&self, mut io: Io<Page>, buffer: &mut Vec<u8>) -> IoDone<Page> {
        let result = self.perform(&mut io, buffer);
        if let Err(error) = &result {
            eprintln!("bramblectl: {:?} of block {} failed: {error}", io.op, io.block);
        }
        IoDone { token: io.token, pages: io.pages, result: result.map_err(|_| IoFailed) }
    }

    fn perform(&self, io: &mut Io<Page>, buffer: &mut Vec<u8>) -> std::io::Result<()> {
        let at = self.start + u64::from(io.block) * BLOCK_BYTES as u64;
        if u64::from(io.block) + io.pages.len() as u64 > self.blocks {
            return Err(std::io::ErrorKind::InvalidInput.into());
        }
        match io.op {
            IoOp::Flush => self.file.sync_data(),
            IoOp::Read => {
                let mut parts: Vec<_> =
                    io.pages.iter_mut().map(|page| IoSliceMut::new(page.as_mut().as_mut_slice())).collect();
                let n = rustix::io::preadv(&self.file, &mut parts, at)?;
                // A signal or a file's end may cut a transfer short.
                each_behind(n, io.pages.len(), |i, offset| {
                    let page = io.pages.get_mut(i).map(|p| p.as_mut().as_mut_slice());
                    let rest = page.and_then(|p| p.get_mut(offset % BLOCK_BYTES..)).unwrap_or_default();
                    self.file.read_exact_at(rest, at + offset as u64)
                })
            }
            // From one piece the kernel copies a quarter faster than from pages, while it holds the file's lock.
            IoOp::Write => {
                buffer.clear();
                for page in &mut io.pages {
                    page.sum();
                    buffer.extend_from_slice(page.bytes.as_slice());
                }
                self.file.write_all_at(buffer, at)
            }
        }
    }
}

/// Calls with each page that a transfer of `n` bytes left, or began, and the offset where it has to go on.
fn each_behind(
    n: usize,
    pages: usize,
    mut go_on: impl FnMut(usize, usize) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut offset = n;
    while offset < pages * BLOCK_BYTES {
        go_on(offset / BLOCK_BYTES, offset)?;
        offset = (offset / BLOCK_BYTES + 1) * BLOCK_BYTES;
    }
    Ok(())
}

/// Threads that do what is large, in turn. They end with the port.
struct Hands {
    orders: [Sender<Io<Page>>; THREADS],
    turn: usize,
    done: Receiver<IoDone<Page>>,
    outstanding: usize,
}

impl Hands {
    fn new(window: &Arc<Window>) -> Self {
        let (tell, done) = channel();
        let orders = std::array::from_fn(|_| {
            let (orders, queue) = channel::<Io<Page>>();
            let (window, tell) = (window.clone(), tell.clone());
            std::thread::spawn(move || {
                let mut buffer = Vec::new();
                for io in queue {
                    let mut done = window.finish(io, &mut buffer);
                    done.pages.iter_mut().filter(|page| page.crc.is_none()).for_each(Page::sum);
                    if tell.send(done).is_err() {
                        break;
                    }
                }
            });
            orders
        });
        Self { orders, turn: 0, done, outstanding: 0 }
    }

    fn order(&mut self, io: Io<Page>) -> Result<(), Io<Page>> {
        self.turn = (self.turn + 1) % THREADS;
        self.orders[self.turn].send(io).map_err(|refused| refused.0)?;
        self.outstanding += 1;
        Ok(())
    }
}

/// A window of a file, as a port.
pub struct FilePort {
    window: Arc<Window>,
    queue: VecDeque<Io<Page>>,
    buffer: Vec<u8>,
    hands: Option<Hands>,
    /// Done, and not yet asked for.
    ready: Option<IoDone<Page>>,
}

impl FilePort {
    /// `bytes` bytes of `file` from `start` on.
    pub fn new(file: File, start: u64, bytes: u64) -> Self {
        let window = Window { file, start, blocks: bytes / BLOCK_BYTES as u64 };
        Self {
            window: Arc::new(window),
            queue: VecDeque::new(),
            buffer: Vec::new(),
            hands: None,
            ready: None,
        }
    }

    /// Where it begins in the file.
    pub fn start(&self) -> u64 {
        self.window.start
    }

    /// Sleeps until a request is done, if only threads can get on.
    pub fn wait(&mut self) {
        if self.queue.is_empty() && self.ready.is_none() {
            self.ready = self.finished(|done| done.recv().ok());
        }
    }

    fn finished(
        &mut self,
        next: impl Fn(&Receiver<IoDone<Page>>) -> Option<IoDone<Page>>,
    ) -> Option<IoDone<Page>> {
        let hands = self.hands.as_mut().filter(|hands| hands.outstanding > 0)?;
        let done = next(&hands.done)?;
        hands.outstanding -= 1;
        Some(done)
    }
}

impl BlockPort for FilePort {
    type Page = Page;

    fn blocks(&self) -> u64 {
        self.window.blocks
    }

    fn allocate(&mut self) -> Option<Page> {
        Some(Page { bytes: Box::new([0; BLOCK_BYTES]), crc: None })
    }

    fn submit(&mut self, io: Io<Page>) -> Result<(), Io<Page>> {
        let busy = self.hands.as_ref().is_some_and(|hands| hands.outstanding > 0);
        if io.pages.len() < LARGE && (io.op != IoOp::Flush || !busy) {
            self.queue.push_back(io);
            return Ok(());
        }
        let hands = self.hands.get_or_insert_with(|| Hands::new(&self.window));
        hands.order(io)
    }

    fn complete(&mut self) -> Option<IoDone<Page>> {
        if let Some(done) = self.ready.take().or_else(|| self.finished(|done| done.try_recv().ok())) {
            return Some(done);
        }
        self.queue.pop_front().map(|io| self.window.finish(io, &mut self.buffer))
    }

    fn checksum(&self, page: &PageBytes) -> u32 {
        crc_fast::crc32_iscsi(page)
    }

    fn page_checksum(&self, page: &Page) -> u32 {
        page.crc.unwrap_or_else(|| self.checksum(page.as_ref()))
    }
}
