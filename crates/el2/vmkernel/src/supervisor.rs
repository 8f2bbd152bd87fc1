//! Looks after hostd: starts it, finds it hanging, starts it anew when it has ended, and keeps how it ended.
//!
//! The policy is `sched::supervise`'s; here it meets the machine. Called by: [`crate::start`] (once), [`crate::vm`] (the
//! world's last vCPU is gone), [`crate::devices::ring`] (an alarm of the world: its PE's deadline), [`crate::calls`].
//! No guest waits for any of it: a restart is that of one VM, and its ports, consoles and memory are its own.
//! Concurrency: two leaf locks. The alarm lives on one PE, the *home*: where the world was started or last ended.

use crate::assemble;
use crate::host::Host;
use crate::vm::{Vm, Wanted};
use crate::world::{HOSTD, printable, source};
use crate::{Pe, log};
use abi::ExitReason;
use abi::record::{CrashRecord, HostRecord};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use core::sync::atomic::{AtomicU16, Ordering};
use sched::supervise::{Supervision, Verdict};
use specs::PeId;
use spin::Mutex;

/// So many ends are kept: for who asks why, and for support bundles.
const ENDS_KEPT: usize = 8;

/// hostd's keeper.
pub struct Supervisor {
    account: Mutex<Supervision>,
    /// How generations ended, the last first.
    ends: Mutex<Box<[Option<CrashRecord>]>>,
    home: AtomicU16,
}

impl Supervisor {
    /// Before the first generation.
    pub fn new() -> Self {
        Self {
            account: Mutex::new(Supervision::new(el2::regs::counter_hz())),
            ends: Mutex::new(vec![None; ENDS_KEPT].into_boxed_slice()),
            home: AtomicU16::new(0),
        }
    }

    /// The present generation.
    pub fn generation(&self) -> u32 {
        self.account.lock().generation()
    }

    /// How a generation ended; `later`: how many ended after it.
    pub fn crash(&self, later: u64) -> Option<CrashRecord> {
        *self.ends.lock().get(usize::try_from(later).ok()?)?
    }

    /// Keeps how a generation ended; the oldest one is forgotten.
    fn keep(&self, crash: CrashRecord) {
        let mut ends = self.ends.lock();
        ends.rotate_right(1);
        if let Some(first) = ends.first_mut() {
            *first = Some(crash);
        }
    }

    /// A vCPU of the world lives.
    pub fn heartbeat(&self, vcpu: u8) {
        self.account.lock().heartbeat(vcpu);
    }

    /// When this PE is to look at the world next, if that is its part.
    pub fn alarm(&self, pe: PeId) -> Option<u64> {
        (self.home.load(Ordering::Relaxed) == pe.0).then(|| self.account.lock().next_look())
    }
}

impl Default for Supervisor {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Supervisor").finish_non_exhaustive()
    }
}

/// Starts hostd for the first time.
pub fn start(host: &'static Host, pe: &mut Pe) {
    if host.world_image.is_empty() {
        log!(host.console, "hostd: not in this image");
        return;
    }
    if crate::start::has_argument(host, "bramble.hostd=off") {
        log!(host.console, "hostd: off, by the boot argument bramble.hostd=off");
        return;
    }
    let generation = host.supervisor.account.lock().start(el2::regs::counter());
    host.supervisor.home.store(pe.id().0, Ordering::Relaxed);
    match assemble::assemble(host, source(host, &HOSTD, host.world_image)) {
        Ok(world) => {
            let (vcpus, memory) = (world.plan.spec.vcpus, world.plan.ram.bytes() >> 20);
            log!(host.console, "hostd: {vcpus} vCPUs, {memory} MiB, generation {generation}");
            take_memory(&world);
            crate::devices::set_alarm(pe, &world);
        }
        Err(why) => log!(host.console, "hostd: not started: {why}"),
    }
}

/// Takes the world's memory, all of it, while no guest waits, and fills the pool of zeroed blocks for guests again: what it
/// touched later would come out of that pool.
fn take_memory(world: &Vm) {
    let blocks = world.plan.ram.bytes() / el2::memory::BLOCK_BYTES;
    for block in 0..blocks {
        let offset = block.saturating_mul(el2::memory::BLOCK_BYTES);
        let _ = world.plan.ram.start().checked_add(offset).and_then(|at| world.ram.touch(at));
    }
    while el2::memory::prepare_step() {}
}

/// An alarm of the world's: looks for a hang, or starts the next generation.
pub fn look(pe: &mut Pe, world: &Arc<Vm>) {
    let host = pe.state.host;
    let verdict = host.supervisor.account.lock().look(el2::regs::counter(), running(world));
    match verdict {
        Verdict::Fine => {}
        Verdict::Hangs(vcpu) => {
            if let Some(role) = &world.world {
                role.ends(ExitReason::Hang, vcpu, 0, b"no heartbeat");
            }
            crate::vm::stop(world, Wanted::Off);
        }
        Verdict::Start => restart(host, pe, world),
    }
}

/// vCPUs of the world that are on a PE at this moment.
fn running(world: &Vm) -> u8 {
    let signals = world.signals.vcpus.iter().zip(0_u32..);
    signals.fold(0, |mask, (vcpu, index)| mask | u8::from(vcpu.is_running()) << index)
}

fn restart(host: &'static Host, pe: &mut Pe, world: &Arc<Vm>) {
    let generation = host.supervisor.account.lock().start(el2::regs::counter());
    log!(host.console, "hostd: generation {generation} starts");
    if let Err(why) = assemble::restart(host, world) {
        log!(host.console, "hostd: generation {generation} can't start: {why}");
        host.supervisor.account.lock().end(el2::regs::counter());
    }
    crate::devices::set_alarm(pe, world);
}

/// The world's last vCPU is gone: keeps how it ended, and sets the alarm for the next generation.
pub fn ended(pe: &mut Pe, world: &Arc<Vm>) {
    let (host, Some(role)) = (pe.state.host, &world.world) else { return };
    let now = el2::regs::counter();
    let mut crash = role.take_ending();
    let until = {
        let mut account = host.supervisor.account.lock();
        crash.generation = account.generation();
        account.end(now)
    };
    crash.at = host.nanoseconds();
    // What it said before comes before how it ended.
    while role.tray.log_one(host) {}
    let millis = until.saturating_sub(now).saturating_mul(1000) / el2::regs::counter_hz();
    let words = crash.words.get(..crash.words_bytes as usize).unwrap_or_default();
    log!(
        host.console,
        "hostd: generation {} ended: {}, pc {:#x}, address {:#x}: {}; the next in {millis} ms",
        crash.generation,
        name(crash.reason),
        crash.pc,
        crash.address,
        printable(words)
    );
    host.supervisor.keep(crash);
    host.supervisor.home.store(pe.id().0, Ordering::Relaxed);
    crate::devices::set_alarm(pe, world);
}

fn name(reason: u32) -> &'static str {
    let reason = ExitReason::from_raw(reason);
    ExitReason::ALL.iter().find(|(each, _)| Some(*each) == reason).map_or("?", |(_, name)| *name)
}

/// What the world may know of itself and the host.
pub fn host_record(host: &Host, world: &Vm) -> HostRecord {
    let (generation, since) = {
        let account = host.supervisor.account.lock();
        (account.generation(), account.alive_since().unwrap_or(0))
    };
    HostRecord {
        generation,
        restarts: generation.saturating_sub(1),
        last_reason: host.supervisor.crash(0).map_or(0, |crash| crash.reason),
        pes: host.pes_up().into(),
        free_bytes: el2::memory::free().bytes,
        host_bytes: el2::boot::own_bytes(),
        world_bytes: world.plan.ram.bytes(),
        world_touched_bytes: world.ram.touched_bytes(),
        world_exits: world.exits().iter().sum(),
        started_at: host.nanoseconds_of(since),
    }
}
