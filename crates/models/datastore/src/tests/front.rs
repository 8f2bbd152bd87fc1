//! Requests of any size, several at a time, against bytes in memory.

use super::{fresh, volume};
use crate::sim::Random;
use crate::sim::rig::MemoryPort;
use crate::{Ask, Buffers, Error, Front, Store, Target, Wanted};
use std::vec::Vec;

const SECTORS: u64 = 1600 * 8;

struct Bytes(Vec<u8>);

impl Buffers for Bytes {
    fn fetch(&mut self, offset: u64, into: &mut [u8]) {
        into.copy_from_slice(&self.0[offset as usize..][..into.len()]);
    }

    fn deliver(&mut self, offset: u64, from: &[u8]) {
        assert!(from.len() <= 4096, "one page at a time");
        self.0[offset as usize..][..from.len()].copy_from_slice(from);
    }
}

fn drain(front: &mut Front<Bytes>, store: &mut Store<MemoryPort>) -> Vec<(Bytes, Result<(), Error>)> {
    let mut ended = Vec::new();
    for _ in 0..100_000 {
        front.step(store);
        store.poll();
        while let Some(completion) = store.completion() {
            assert!(front.take(store, completion).is_none(), "nobody else asks");
        }
        ended.extend(core::iter::from_fn(|| front.complete()));
        if front.in_flight() == 0 {
            return ended;
        }
    }
    panic!("a request hangs");
}

fn wanted(target: Target, ask: Ask, sector: u64, sectors: u64, bytes: Vec<u8>) -> Wanted<Bytes> {
    Wanted { target, ask, sector, sectors, buffers: Bytes(bytes) }
}

#[test]
fn requests_of_any_size_do_what_they_say() {
    let mut store = fresh(super::BLOCKS);
    let v = volume(&mut store, "v", SECTORS / 8);
    let mut front = Front::new(4);
    let mut model = std::vec![0_u8; SECTORS as usize * 512];
    let mut random = Random(20);
    for round in 0..120_u32 {
        // Four at a time, each in its own quarter.
        for quarter in 0..4 {
            let room = SECTORS / 4;
            let sector = random.below(room);
            let sectors = 1 + random.below((room - sector).min(2100));
            let start = quarter * room + sector;
            let bytes = sectors as usize * 512;
            let at = start as usize * 512;
            let mut data = std::vec![0; bytes];
            let ask = match random.below(10) {
                0..4 => Ask::Write,
                4..8 => Ask::Read,
                8 => Ask::Zero,
                _ => Ask::Discard,
            };
            match ask {
                Ask::Write => {
                    let mark = round as u8 ^ quarter as u8;
                    data.iter_mut().enumerate().for_each(|(i, byte)| *byte = (i / 512) as u8 ^ mark);
                    model[at..at + bytes].copy_from_slice(&data);
                }
                Ask::Zero => model[at..at + bytes].fill(0),
                Ask::Discard => {
                    let (from, to) = (start.div_ceil(8) * 4096, (start + sectors) / 8 * 4096);
                    if from < to {
                        model[from as usize..to as usize].fill(0);
                    }
                }
                _ => {}
            }
            assert!(front.submit(wanted(v, ask, start, sectors, data)).is_ok());
        }
        assert_eq!(front.room(), 0);
        let refused = front.submit(wanted(v, Ask::Read, 0, 1, std::vec![0; 512]));
        assert!(refused.is_err(), "a fifth comes back");
        let ended = drain(&mut front, &mut store);
        assert_eq!(ended.len(), 4);
        assert!(ended.iter().all(|(_, result)| result.is_ok()));
        // Reads are compared once the whole is read again, below; here what is the model's now.
        let whole = wanted(v, Ask::Read, 0, SECTORS, std::vec![7; model.len()]);
        assert!(front.submit(whole).is_ok());
        let [(read, Ok(()))] = &drain(&mut front, &mut store)[..] else { panic!("round {round}") };
        assert!(read.0 == model, "round {round}");
    }
}

#[test]
fn a_flush_and_a_failed_piece_end_once() {
    let mut store = fresh(super::BLOCKS);
    let v = volume(&mut store, "v", 100);
    let mut front = Front::new(4);
    assert!(front.submit(wanted(v, Ask::Flush, 0, 0, Vec::new())).is_ok());
    assert!(matches!(&drain(&mut front, &mut store)[..], [(_, Ok(()))]));
    // The second of its pieces lies beyond the end.
    assert!(front.submit(wanted(v, Ask::Write, 300, 600, std::vec![1; 600 * 512])).is_ok());
    let ended = drain(&mut front, &mut store);
    assert!(matches!(&ended[..], [(_, Err(Error::OutOfRange))]), "{} ends", ended.len());
    store.port().fail_flushes = true;
    assert!(front.submit(wanted(v, Ask::Flush, 0, 0, Vec::new())).is_ok());
    assert!(matches!(&drain(&mut front, &mut store)[..], [(_, Err(Error::ReadOnly(Some(_))))]));
}
