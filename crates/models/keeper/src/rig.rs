//! For tests and the fuzz target: a keeper, a store on a device in memory that forgets at a power cut what was not flushed, and a world around them.

use crate::{Ask, Environment, Keeper, TOKEN, Use, VmView};
use abi::record::NAME_BYTES;
use abi::request::OBJECT_NAME_BYTES;
use abi::{RequestKind, Status};
use datastore::{
    BlockPort, CheckOptions, Io, IoDone, IoFailed, IoOp, Options, PageBytes, Store, check, format, mount, run,
};
use std::boxed::Box;
use std::collections::{BTreeMap, VecDeque};
use std::string::String;
use std::vec::Vec;

const BLOCKS: u64 = 64 * 1024;

#[derive(Clone, Default)]
pub struct Disk {
    pages: BTreeMap<u32, PageBytes>,
    /// What pages had before they were written since the last flush.
    before: BTreeMap<u32, Option<PageBytes>>,
    done: VecDeque<(u64, Vec<PageBytes>, bool)>,
    /// So many writes fail, the next ones.
    pub fails: u32,
}

impl BlockPort for Disk {
    type Page = Box<PageBytes>;

    fn blocks(&self) -> u64 {
        BLOCKS
    }
    fn allocate(&mut self) -> Option<Self::Page> {
        Some(Box::new([0; 4096]))
    }
    fn submit(&mut self, mut io: Io<Self::Page>) -> Result<(), Io<Self::Page>> {
        for (page, block) in io.pages.iter_mut().zip(io.block..) {
            match io.op {
                IoOp::Read => **page = self.pages.get(&block).copied().unwrap_or([0; 4096]),
                _ => {
                    let before = self.pages.insert(block, **page);
                    self.before.entry(block).or_insert(before);
                }
            }
        }
        if io.op == IoOp::Flush {
            self.before.clear();
        }
        let failed = self.fails > 0 && io.op == IoOp::Write;
        self.fails -= u32::from(failed);
        self.done.push_back((io.token, io.pages.iter().map(|page| **page).collect(), failed));
        Ok(())
    }
    fn complete(&mut self) -> Option<IoDone<Self::Page>> {
        let (token, pages, failed) = self.done.pop_front()?;
        let pages = pages.into_iter().map(Box::new).collect();
        Some(IoDone { token, pages, result: if failed { Err(IoFailed) } else { Ok(()) } })
    }
}

#[derive(Default)]
pub struct World {
    pub uses: BTreeMap<String, Use>,
    pub vms: BTreeMap<u64, VmView>,
    /// Objects that are CDs of VMs that run.
    pub drives: Vec<String>,
    pub seeds: u8,
}

impl Environment for World {
    fn now(&self) -> (u64, u64) {
        (1_800_000_000, 77)
    }
    fn random(&mut self) -> Option<[u8; 16]> {
        self.seeds += 1;
        Some([self.seeds; 16])
    }
    fn volume_use(&self, name: &str) -> Use {
        self.uses.get(name).copied().unwrap_or(Use::Free)
    }
    fn is_in_drive(&self, object: &str) -> bool {
        self.drives.iter().any(|name| name == object)
    }
    fn vm(&self, handle: u64) -> Result<VmView, Status> {
        self.vms.get(&handle).cloned().ok_or(Status::NotFound)
    }
    fn serial(&self) -> [u8; NAME_BYTES] {
        [b's'; NAME_BYTES]
    }
}

pub struct Rig {
    pub keeper: Keeper,
    pub store: Option<Store<Disk>>,
    pub world: World,
}

/// An answer: status, value, payload.
pub type Got = (Status, u64, Vec<u8>);

impl Rig {
    pub fn without_store() -> Self {
        Self { keeper: Keeper::new(), store: None, world: World::default() }
    }

    pub fn with_store() -> Self {
        let mut rig = Self::without_store();
        rig.make_store();
        rig
    }

    pub fn make_store(&mut self) {
        let mut disk = Disk::default();
        run(format(&mut disk, [9; 16])).unwrap();
        self.mount(disk);
    }

    fn mount(&mut self, disk: Disk) {
        let options = Options { cache_pages: 128, io_pages: 128, ..Options::default() };
        self.store = Some(run(mount(disk, options)).map_err(|(_, error)| error).unwrap());
    }

    /// The power goes: what was not flushed is gone, and the keeper with it.
    pub fn cut(&mut self) {
        let mut disk = self.store.take().unwrap().into_port();
        for (block, before) in core::mem::take(&mut disk.before) {
            match before {
                Some(page) => disk.pages.insert(block, page),
                None => disk.pages.remove(&block),
            };
        }
        disk = Disk { pages: disk.pages, ..Disk::default() };
        let mut tell = |finding| panic!("{finding:?}");
        run(check(&mut disk, CheckOptions::default(), &mut tell)).unwrap();
        self.mount(disk);
        self.keeper = Keeper::new();
    }

    pub fn start(
        &mut self,
        id: u64,
        kind: RequestKind,
        target: u64,
        argument: u64,
        payload: &[u8],
        room: u32,
    ) {
        let ask = Ask { id, kind, generation: 3, target, argument, payload: payload.to_vec(), room };
        self.keeper.submit(ask);
    }

    /// Works until nothing moves any more.
    pub fn work(&mut self) {
        for _ in 0..10_000 {
            let mut moved = self.keeper.step(self.store.as_mut(), &mut self.world);
            if let Some(store) = &mut self.store {
                moved |= store.poll() == datastore::Progress::More;
                while let Some(completion) = store.completion() {
                    // Of a save that was abandoned, too.
                    assert!(completion.token & TOKEN != 0);
                    self.keeper.complete(&completion);
                    store.recycle(completion.pages);
                    moved = true;
                }
            }
            if !moved {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    pub fn ask(&mut self, kind: RequestKind, target: u64, argument: u64, payload: &[u8], room: u32) -> Got {
        self.start(1, kind, target, argument, payload, room);
        self.work();
        let done = self.keeper.finished().expect("an answer");
        assert!(self.keeper.is_idle());
        assert!(done.payload.len() <= room as usize);
        (Status::from_raw(done.answer.status).unwrap(), done.answer.value, done.payload)
    }

    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Status {
        self.ask(RequestKind::WriteObject, 0, 0, &named(name, bytes), 0).0
    }

    /// An object's bytes, in pieces of an odd size.
    pub fn read(&mut self, name: &str) -> Result<Vec<u8>, Status> {
        let mut all = Vec::new();
        loop {
            let (status, size, piece) =
                self.ask(RequestKind::ReadObject, 0, all.len() as u64, &named(name, b""), 777);
            if status != Status::Ok {
                return Err(status);
            }
            all.extend_from_slice(&piece);
            if all.len() as u64 == size {
                return Ok(all);
            }
            assert!(!piece.is_empty());
        }
    }
}

/// A name's field, and what follows it.
pub fn named(name: &str, rest: &[u8]) -> Vec<u8> {
    let mut payload = name.as_bytes().to_vec();
    payload.resize(OBJECT_NAME_BYTES, 0);
    payload.extend_from_slice(rest);
    payload
}

/// Bytes that tell where they belong.
pub fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0] ^ seed).collect()
}

/// What the fuzzer's bytes say: requests of all kinds, several at once; disks that fail; power cuts; and other bytes in the
/// volume of the audit chain. Every request has to be answered once, and the keeper to come to rest.
pub fn script(bytes: &[u8]) {
    let mut rig = Rig::with_store();
    let vm = VmView {
        name: "vm".into(),
        is_running: false,
        is_ending: false,
        volumes: std::vec!["0".into(), "1".into()],
    };
    rig.world.vms.insert(1, vm);
    let mut rest = bytes;
    let mut asked = 0_u64;
    while let Some((&[op, kind, name, target, argument, length], later)) = rest.split_first_chunk() {
        rest = later;
        match op % 16 {
            0 => rig.cut_and_forget(&mut asked),
            1 => rig.store.as_mut().unwrap().port().fails = u32::from(kind % 4),
            2 => rig.spoil_audit(u64::from(target), &bytes[..bytes.len().min(512)]),
            _ => {
                let kinds = RequestKind::ALL;
                let kind = kinds[usize::from(kind) % kinds.len()].0;
                let prefix = ["", "run:", "part:", "file:"][usize::from(name >> 6)];
                let name = std::format!("{prefix}{}", name % 4);
                let length = usize::from(length) * 17 % (kind.send_max() as usize + 1);
                let mut payload = named(&name, &named("file:9", bytes));
                payload.resize(length.max(usize::from(op >> 4) * 8).min(kind.send_max() as usize), 0);
                let argument = u64::from(argument) * [1, 100, 512, 4096][usize::from(op >> 4) % 4];
                let room = kind.receive_max().min(u32::from(op) * 512);
                asked += 1;
                rig.start(asked, kind, u64::from(target), argument, &payload, room);
            }
        }
        if op & 0x20 != 0 {
            rig.work();
        }
    }
    rig.work();
    rig.count_answers(asked);
}

impl Rig {
    fn count_answers(&mut self, asked: u64) {
        let mut answers: Vec<u64> =
            core::iter::from_fn(|| self.keeper.finished()).map(|done| done.id).collect();
        answers.sort_unstable();
        assert!(answers.iter().copied().eq(1..=asked), "{asked}: {answers:?}");
        assert!(self.keeper.is_idle());
    }

    fn cut_and_forget(&mut self, asked: &mut u64) {
        self.work();
        self.count_answers(*asked);
        *asked = 0;
        self.cut();
    }

    /// Writes to the audit chain's volume past the keeper, which then has to find its end again.
    fn spoil_audit(&mut self, sector: u64, bytes: &[u8]) {
        self.work();
        let store = self.store.as_mut().unwrap();
        let Some(volume) = store.catalog().volume(crate::audit::VOLUME) else { return };
        let op = datastore::Op::Write { sector: sector / 2 * 8192, sectors: 1, durable: false };
        let mut fill = |at: usize, into: &mut [u8]| {
            into.iter_mut().zip(at..).for_each(|(to, at)| *to = bytes.get(at).copied().unwrap_or(0));
        };
        if store.submit(0, datastore::Target::Volume(volume), op, &mut fill).is_ok() {
            while store.completion().is_none() {
                store.poll();
            }
        }
        self.keeper.audit.forget_place();
    }
}
