//! Other PEs post while the owner delivers: nothing is lost. Run under Miri too, whose memory is as weak as the
//! orderings allow.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use ports::Width;
use specs::gic::{gicd, gicr};
use specs::{Intid, VcpuIndex};

use super::{Fake, ME, ready, send};
use crate::fake::{Interface, InterfaceV2, InterfaceV3};
use crate::{Line, Version, Vgic};

const ROUNDS: u32 = if cfg!(miri) { 2 } else { 200 };
/// A post that is lost ends the test after so many looks.
const PATIENCE: u32 = if cfg!(miri) { 20_000 } else { 300_000 };

/// What the owner acknowledged, by INTID and source.
struct Seen([[AtomicU32; 8]; 64]);

impl Seen {
    fn new() -> Self {
        Self(std::array::from_fn(|_| std::array::from_fn(|_| AtomicU32::new(0))))
    }

    fn count(&self, intid: u32, source: u8) -> u32 {
        self.0[intid as usize][usize::from(source)].load(Ordering::Relaxed)
    }

    fn wait(&self, intid: u32, source: u8, more_than: u32) {
        for _ in 0..PATIENCE {
            if self.count(intid, source) > more_than {
                return;
            }
            thread::yield_now();
        }
        panic!("INTID {intid} from {source} was lost");
    }
}

/// The owner of vCPU 0: flushes when posted, and is the guest that takes everything at once.
fn own<L: Fake>(vgic: &Vgic, seen: &Seen, done: &AtomicBool) {
    let mut lrs = L::with(4);
    while !done.load(Ordering::Relaxed) {
        while vgic.posted(ME) {
            vgic.flush(ME, &mut lrs);
            take_all(lrs.guest(), seen);
            if lrs.guest().maintenance() {
                vgic.fold(ME, &mut lrs);
            }
            // A level that is high comes again and again: its device must get a chance to lower it.
            thread::yield_now();
        }
        thread::yield_now();
    }
}

/// The guest acknowledges and ends whatever is signalled.
fn take_all(guest: &mut Interface, seen: &Seen) {
    while let Some((intid, source)) = guest.acknowledge() {
        seen.0[intid as usize][usize::from(source)].fetch_add(1, Ordering::Relaxed);
        guest.end(intid);
    }
}

/// What runs beside the owner.
type Other<'a> = dyn Fn(&Vgic, &Seen) + Sync + 'a;

/// Runs `others` beside the owner.
fn beside<L: Fake>(version: Version, others: &[&Other]) -> Seen {
    let vgic = ready(version, 4);
    let (seen, done) = (Seen::new(), AtomicBool::new(false));
    thread::scope(|scope| {
        let owner = scope.spawn(|| own::<L>(&vgic, &seen, &done));
        let threads: std::vec::Vec<_> =
            others.iter().map(|other| scope.spawn(|| other(&vgic, &seen))).collect();
        let results: std::vec::Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        done.store(true, Ordering::Relaxed);
        owner.join().unwrap();
        assert!(results.iter().all(Result::is_ok));
    });
    seen
}

fn sgis(sgi: u32, from: u8, version: Version) -> impl Fn(&Vgic, &Seen) + Sync {
    move |vgic, seen| {
        let source = if version == Version::V2 { from } else { 0 };
        for round in 0..ROUNDS {
            send(vgic, VcpuIndex(from), ME, sgi);
            seen.wait(sgi, source, round);
        }
    }
}

/// Disables, sends and enables again from another vCPU: it must come however these meet the owner's flush.
fn gated(vgic: &Vgic, seen: &Seen) {
    let write = |register| vgic.gicr_write(VcpuIndex(3), gicr::FRAME_BYTES + register, Width::W32, 1 << 7);
    for round in 0..ROUNDS {
        write(gicd::ICENABLER);
        send(vgic, VcpuIndex(3), ME, 7);
        write(gicd::ISENABLER);
        seen.wait(7, 0, round);
    }
}

fn level(line: Line, intid: u32) -> impl Fn(&Vgic, &Seen) + Sync {
    move |vgic, seen| {
        for _ in 0..ROUNDS {
            let before = seen.count(intid, 0);
            vgic.set_line(line, true);
            seen.wait(intid, 0, before);
            vgic.set_line(line, false);
        }
    }
}

#[test]
fn v3_posts_are_not_lost() {
    let timer = level(Line::Private { intid: Intid(30), vcpu: ME }, 30);
    let device = level(Line::Shared(Intid(48)), 48);
    let seen = beside::<InterfaceV3>(
        Version::V3,
        &[&sgis(1, 1, Version::V3), &sgis(2, 2, Version::V3), &gated, &timer, &device],
    );
    assert_eq!([1, 2, 7].map(|sgi| seen.count(sgi, 0)), [ROUNDS; 3], "one each, none invented");
}

#[test]
fn v2_sources_are_not_lost() {
    let device = level(Line::Shared(Intid(48)), 48);
    let seen = beside::<InterfaceV2>(
        Version::V2,
        &[&sgis(1, 1, Version::V2), &sgis(1, 2, Version::V2), &sgis(1, 3, Version::V2), &device],
    );
    assert_eq!([1, 2, 3].map(|source| seen.count(1, source)), [ROUNDS; 3], "one each, none invented");
}
