//! A reader written from docs/datastore-format.md, without a line of the datastore's code: it finds what the tool exports.

use super::{Folder, good, image};
use std::collections::BTreeMap;
use std::process::{Command, Stdio};

fn number<const N: usize>(from: &[u8], at: usize) -> u64 {
    from[at..at + N].iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte))
}

fn u16_at(from: &[u8], at: usize) -> u64 {
    number::<2>(from, at)
}

fn u32_at(from: &[u8], at: usize) -> u64 {
    number::<4>(from, at)
}

fn u64_at(from: &[u8], at: usize) -> u64 {
    number::<8>(from, at)
}

fn crc(bytes: &[u8]) -> u64 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { c >> 1 ^ 0x82f6_3b78 } else { c >> 1 })
    };
    u64::from(!bytes.iter().fold(u32::MAX, step))
}

/// {block, crc} of each block of a chunk.
type Map = Vec<(u64, u64)>;

#[derive(Default)]
struct Reader {
    bytes: Vec<u8>,
    uuid: Vec<u8>,
    log_blocks: u64,
    catalog: BTreeMap<u64, Vec<u8>>,
    maps: BTreeMap<(u64, u64), Map>,
    log_records: usize,
}

impl Reader {
    fn block(&self, n: u64) -> &[u8] {
        &self.bytes[n as usize * 4096..][..4096]
    }

    /// A block with its own checksum and this magic.
    fn sealed(&self, n: u64, magic: &[u8]) -> Option<&[u8]> {
        let block = self.block(n);
        let mut copy = block.to_vec();
        copy[4..8].fill(0);
        (block.starts_with(magic) && crc(&copy) == u32_at(block, 4)).then_some(block)
    }

    fn open(bytes: Vec<u8>) -> Self {
        let mut reader = Self { bytes, ..Self::default() };
        let superblock = reader.sealed(0, b"BrDs").or(reader.sealed(2047, b"BrDs")).unwrap();
        assert_eq!([8, 12, 56].map(|at| u32_at(superblock, at)), [1, 4096, 32512]);
        assert_eq!(u64_at(superblock, 16), 0, "no incompatible feature");
        (reader.uuid, reader.log_blocks) = (superblock[32..48].to_vec(), u32_at(superblock, 52));
        let roots = [1, 2046].into_iter().filter_map(|n| reader.sealed(n, b"BrRt"));
        let root = roots.max_by_key(|root| u64_at(root, 8)).unwrap().to_vec();
        assert_eq!(root[16..32], reader.uuid);
        if u32_at(&root, 32) != 0 {
            reader.node(u32_at(&root, 32), u32_at(&root, 40), u16_at(&root, 44));
        }
        reader.replay(u64_at(&root, 48), u64_at(&root, 56));
        reader
    }

    fn node(&mut self, block: u64, sum: u64, level: u64) {
        let node = self.block(block).to_vec();
        assert!(node.starts_with(b"BrNd") && crc(&node) == sum && u16_at(&node, 8) == level);
        for entry in node[32..].chunks_exact(28).take(u16_at(&node, 10) as usize) {
            let (key, below, sum) =
                ((u64_at(entry, 0), u64_at(entry, 8)), u32_at(entry, 16), u32_at(entry, 24));
            if level > 0 {
                self.node(below, sum, level - 1);
                continue;
            }
            let page = self.block(below);
            assert!(crc(page) == sum && (u64_at(page, 8), u64_at(page, 16)) == key);
            if key.0 == 0 {
                assert!(page.starts_with(b"BrRc"));
                let record = page[32..][..u16_at(page, 24) as usize].to_vec();
                self.catalog.insert(key.1, record);
            } else {
                assert!(page.starts_with(b"BrMp"));
                let entries = page[32..].chunks_exact(8).map(|e| (u32_at(e, 0), u32_at(e, 4))).collect();
                self.maps.insert(key, entries);
            }
        }
    }

    /// The log block that continues the chain.
    fn logged(&self, seq: u64, tag: u64) -> Option<&[u8]> {
        let block = self.sealed(2048 + seq % self.log_blocks, b"BrLg")?;
        let fits = u64_at(block, 8) == seq && u64_at(block, 24) == tag && block[40..56] == self.uuid;
        fits.then_some(block)
    }

    fn replay(&mut self, first: u64, tag: u64) {
        let (mut chain, mut durable, mut before) = (Vec::new(), 0, tag);
        while let Some(block) = self.logged(first + chain.len() as u64, before) {
            durable = durable.max(u64_at(block, 16));
            before = before.rotate_left(17).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u32_at(block, 4);
            chain.push(block.to_vec());
        }
        let mut transaction = Vec::new();
        for (seq, block) in (first..).zip(chain) {
            let records = split(&block[64..][..u16_at(&block, 32) as usize]);
            let there =
                |record: &Vec<u8>| record[0] != 1 || placed(record).all(|(n, sum)| crc(self.block(n)) == sum);
            if seq >= durable && !records.iter().all(there) {
                return;
            }
            transaction.extend(records);
            if u16_at(&block, 34) & 1 == 0 {
                transaction.drain(..).for_each(|record| self.apply(&record));
            }
        }
    }

    fn apply(&mut self, record: &[u8]) {
        self.log_records += 1;
        let (a, b) = (u64_at(record, 1), record.get(9..17).map_or(0, |b| u64_at(b, 0)));
        let nothing = || vec![(0, 0); 508];
        match record[0] {
            1 => {
                for (at, to) in (b..).zip(placed(record)) {
                    self.maps.entry((a, at / 508)).or_insert_with(nothing)[(at % 508) as usize] = to;
                }
            }
            2 => {
                for at in b..b + u16_at(record, 17) {
                    let map = self.maps.entry((a, at / 508)).or_insert_with(nothing);
                    map[(at % 508) as usize] = (u64::from(record[19]), 0);
                }
            }
            3 => drop(self.maps.insert((a, b), vec![(u64::from(record[17]), 0); 508])),
            4 => {
                let chunk = u64_at(record, 17);
                let parent = self.maps.remove(&(a, chunk)).unwrap_or_else(nothing);
                let child = self.maps.entry((b, chunk)).or_insert_with(nothing);
                child
                    .iter_mut()
                    .zip(parent)
                    .filter(|(own, _)| own.0 == 0)
                    .for_each(|(own, theirs)| *own = theirs);
            }
            5 => drop(self.catalog.insert(a, record[11..].to_vec())),
            _ => drop(self.catalog.remove(&a)),
        }
    }

    /// A volume's bytes.
    fn volume(&self, name: &str) -> Vec<u8> {
        let ours = |entry: &&Vec<u8>| entry[0] == 2 && entry[18..] == *name.as_bytes();
        let entry = self.catalog.values().find(ours).unwrap();
        let (sectors, head) = (u64_at(entry, 1), u64_at(entry, 9));
        let mut bytes = Vec::new();
        for block in 0..sectors / 8 {
            let (n, sum) = self.place(head, block);
            if n < 2 {
                bytes.extend_from_slice(&[0; 4096]);
            } else {
                assert_eq!(crc(self.block(n)), sum, "block {block}");
                bytes.extend_from_slice(self.block(n));
            }
        }
        bytes
    }

    fn place(&self, mut layer: u64, block: u64) -> (u64, u64) {
        while layer != 0 {
            if let Some(map) = self.maps.get(&(layer, block / 508))
                && map[(block % 508) as usize].0 != 0
            {
                return map[(block % 508) as usize];
            }
            let entry = &self.catalog[&layer];
            assert_eq!(entry[0], 1, "a layer");
            layer = u64_at(entry, 1);
        }
        (0, 0)
    }
}

/// The blocks that a record 1 names, with their checksums.
fn placed(record: &[u8]) -> impl Iterator<Item = (u64, u64)> + '_ {
    (u32_at(record, 17)..).zip(record[23..].chunks_exact(4).map(|sum| u32_at(sum, 0)))
}

fn split(mut rest: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    while let Some(kind) = rest.first() {
        let length = match kind {
            1 => 23 + 4 * u16_at(rest, 21) as usize,
            2 => 20,
            3 => 18,
            4 => 25,
            5 => 11 + u16_at(rest, 9) as usize,
            6 => 9,
            _ => panic!("a record of kind {kind}"),
        };
        let (record, behind) = rest.split_at(length);
        records.push(record.to_vec());
        rest = behind;
    }
    records
}

#[test]
fn the_format_document_is_enough_to_write_a_reader() {
    let folder = Folder::new("reader");
    let (store, source, out) = (folder.path("store"), folder.path("in"), folder.path("out"));
    good(&["create", &store, "--size", "64M"]);
    image(&source, 6 << 20, 5);
    good(&["import", &store, &source, "v", "--format", "raw"]);
    good(&["snapshot", &store, "v@s"]);
    good(&["measure", &store, "v", "write", "--step", "40960", "--count", "100"]);
    let equal = |reader: &Reader| {
        good(&["export", &store, "v", &out, "--format", "raw", "--force"]);
        assert!(
            reader.volume("v") == std::fs::read(&out).unwrap(),
            "what the reader found is not what was exported"
        );
    };
    let settled = Reader::open(std::fs::read(&store).unwrap());
    assert_eq!(settled.log_records, 0);
    equal(&settled);
    // A process that is killed leaves a log.
    for _ in 0..20 {
        let mut writer = Command::new(env!("CARGO_BIN_EXE_bramblectl"));
        writer.args(["datastore", "measure", &store, "v", "write", "--step", "12288", "--count", "10000000"]);
        let mut writer = writer.args(["--flush-every", "3"]).stdout(Stdio::null()).spawn().unwrap();
        let before = std::fs::read(&store).unwrap();
        while std::fs::read(&store).unwrap() == before {}
        writer.kill().unwrap();
        writer.wait().unwrap();
        let reader = Reader::open(std::fs::read(&store).unwrap());
        equal(&reader);
        if reader.log_records > 0 {
            return;
        }
    }
    panic!("twenty writers left no log");
}
