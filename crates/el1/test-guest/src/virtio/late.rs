//! `late-read`: the machine starts anew while a slow disk still has a read of before. RAM is as at power-on, and stays so.
//!
//! The disk: at least 2 MiB that are not zero, but for sector 0, which is written; it gives the second large read later
//! than a machine takes to start.

use super::queue::{self, NEXT, Queue, WRITE};
use super::transport::{BLOCK, Transport};
use crate::harness::{Outcome, Report};
use crate::{ensure, ensure_eq};
use alloc::format;
use alloc::string::String;
use el1::{Boot, println, smccc};

const IN: u32 = 0;
const OUT: u32 = 1;
const SECTOR: u32 = 512;
/// In sector 0: the machine has started anew.
const MARK: u64 = 0x6d61_726b_6564_2121;
/// A read of this size takes long, the first one aside.
const LARGE: u32 = 512 << 10;
/// Where the two go to, in spare RAM.
const PLACES: [usize; 2] = [0, 2 << 20];
/// A slow disk's answer, in turns of [`Queue::wait`].
const TURNS: usize = 20;

/// Resets once, and says what the reset left.
pub fn run(boot: &'static Boot, report: &mut Report) {
    report.test("late-read", || late_read(boot));
}

fn late_read(boot: &'static Boot) -> Outcome {
    // All of RAM is taken before the disk is asked for anything.
    is_zero(boot, "at the start")?;
    let transport =
        boot.devices("virtio,mmio").map(Transport::new).find(|transport| transport.device_id() == BLOCK);
    let Some(transport) = transport else { return Err("no disk".into()) };
    let mut queue = Queue::new(boot);
    ensure!(transport.start(&mut queue, 0, 0), "FEATURES_OK does not stick");
    let small = queue.data().base() + SECTOR as usize;
    ask(&mut queue, &transport, (IN, 0), (small, SECTOR));
    // On a disk that answers in its turn all that was asked before is done now.
    answer(&mut queue)?;
    if queue.data().read64(SECTOR as usize) == MARK {
        return is_zero(boot, "after the reset");
    }
    queue.data().write64(SECTOR as usize, MARK);
    ask(&mut queue, &transport, (OUT, 0), (small, SECTOR));
    answer(&mut queue)?;
    let [first, second] = PLACES.map(|place| boot.spare.part(place, LARGE as usize).base());
    ask(&mut queue, &transport, (IN, 8), (first, LARGE));
    answer(&mut queue)?;
    ensure!(boot.spare.read64(PLACES[0]) != 0, "the disk holds zeros");
    ask(&mut queue, &transport, (IN, 8), (second, LARGE));
    println!("RESET now");
    smccc::system_reset();
}

/// RAM that nobody of this machine has written, but for the queue's.
fn is_zero(boot: &'static Boot, when: &str) -> Outcome {
    for at in (0..boot.spare.bytes()).step_by(512).filter(|at| !queue::holds(*at)) {
        ensure_eq!(boot.spare.read64(at), 0, format!("RAM at {at:#x} of the spare part {when}"));
    }
    Ok(())
}

fn ask(queue: &mut Queue, transport: &Transport, (kind, sector): (u32, u64), (at, bytes): (usize, u32)) {
    let data = queue.data();
    data.write32(0, kind);
    data.write32(4, 0);
    data.write64(8, sector);
    data.write8(16, 0xff);
    let direction = if kind == OUT { 0 } else { WRITE };
    queue.describe(0, data.base() as u64, 16, NEXT, 1);
    queue.describe(1, at as u64, bytes, direction | NEXT, 2);
    queue.describe(2, data.base() as u64 + 16, 1, WRITE, 0);
    queue.offer(transport, 0);
}

fn answer(queue: &mut Queue) -> Result<(), String> {
    ensure!((0..TURNS).any(|_| queue.wait().is_some()), "no answer");
    ensure_eq!(queue.data().read8(16), 0, "the status");
    Ok(())
}
