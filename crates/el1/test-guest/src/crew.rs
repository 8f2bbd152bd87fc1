//! The other vCPUs of this guest: put to work, and sent off again, so that many tests share one boot.
//!
//! Called by: behaviours with more than one vCPU. Calls: `el1::cpus`. Concurrency: one flag per vCPU, set by vCPU 0;
//! a job looks at [`dismissed`] whenever an interrupt woke it.

use crate::harness::spin_until;
use alloc::format;
use alloc::string::String;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::{Acquire, Release};
use el1::boot::{Boot, MAX_CPUS};
use el1::cpus;
use el1::gic::{self, SgiTarget};
use el1::registers::unmask_interrupts;
use el1::smccc::{self, function};
use spin::mutex::SpinMutex;

/// AFFINITY_INFO: off.
pub const OFF: i64 = 1;
/// The SGI that wakes a vCPU to see that it is dismissed.
pub const DISMISS: u32 = 0;

/// Long enough for any vCPU to get its turn on a PE (microseconds).
const PATIENCE: u64 = 5_000_000;

static UP: [AtomicBool; MAX_CPUS] = [const { AtomicBool::new(false) }; MAX_CPUS];
type Job = fn();

static JOBS: [SpinMutex<Option<Job>>; MAX_CPUS] = [const { SpinMutex::new(None) }; MAX_CPUS];
static DISMISSED: [AtomicBool; MAX_CPUS] = [const { AtomicBool::new(false) }; MAX_CPUS];

/// Starts vCPU `cpu` in `job`, with its GIC interface ready and interrupts let in, and waits until it is up.
pub fn employ(boot: &'static Boot, cpu: usize, job: Job) -> Result<(), String> {
    if cpu >= boot.cpus().len() {
        return Err(format!("this machine has no vCPU {cpu}"));
    }
    if !is_off(boot, cpu) {
        // Left over from a test that failed.
        dismiss(boot, cpu)?;
    }
    UP[cpu].store(false, Release);
    DISMISSED[cpu].store(false, Release);
    JOBS[cpu].lock().replace(job);
    match cpus::start(boot, cpu, begin, 0) {
        0 if spin_until(PATIENCE, || UP[cpu].load(Acquire)) => Ok(()),
        0 => Err(format!("vCPU {cpu} did not come up")),
        error => Err(format!("CPU_ON of vCPU {cpu}: {error}")),
    }
}

/// Ends the job of vCPU `cpu` and waits until PSCI says that it is off.
pub fn dismiss(boot: &'static Boot, cpu: usize) -> Result<(), String> {
    DISMISSED[cpu].store(true, Release);
    gic::send(DISMISS, SgiTarget::Mask(1 << cpu), &boot.gic);
    if spin_until(PATIENCE, || is_off(boot, cpu)) { Ok(()) } else { Err(format!("vCPU {cpu} stays on")) }
}

/// Whether this vCPU's job is over.
#[inline(always)]
pub fn dismissed() -> bool {
    DISMISSED[cpus::index()].load(Acquire)
}

/// Whether PSCI says that vCPU `cpu` is off.
pub fn is_off(boot: &Boot, cpu: usize) -> bool {
    smccc::status(function::AFFINITY_INFO, [boot.cpus()[cpu], 0, 0]) == OFF
}

/// The first code of ours on another vCPU.
fn begin(_: usize) {
    let Some(boot) = el1::boot::get() else { return };
    let cpu = cpus::index();
    boot.gic.start_cpu(cpu);
    let job = JOBS[cpu].lock().take();
    unmask_interrupts();
    UP[cpu].store(true, Release);
    if let Some(job) = job {
        job();
    }
}
