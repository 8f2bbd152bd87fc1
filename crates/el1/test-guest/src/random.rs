//! A guest at its worst: random instructions at EL0 and EL1 on random registers, many of them addresses of devices,
//! RAM and nothing; a fixed number, from a seed.
//!
//! `bramble.seed=N`, `bramble.count=N`. Each program is a few words in spare RAM, run by `el1::sandbox` until its
//! first exception; a timer ends what does not end. It passes when the count is reached: what is tested is everybody
//! else. With a second vCPU that one runs the programs, and vCPU 0 ends the guest should they wedge it.

use crate::harness::{Outcome, Report, spin_until, ticks};
use crate::{crew, interrupts, number};
use alloc::vec::Vec;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use el1::boot::{Boot, Gic};
use el1::gic::{self, offset};
use el1::registers::*;
use el1::sandbox::{self, End, Level, Registers};
use el1::smccc::function;
use el1::{console, cpus, println};

const COUNT: u64 = 4000;
const SEED: u64 = 1;
/// A program that runs longer is ended (microseconds).
const LIMIT: u64 = 300;
/// No program for so long: the vCPU is wedged (microseconds).
const PATIENCE: u64 = 10_000_000;
/// Where the programs are: spare RAM that no other test uses.
const ARENA: usize = 24 << 20;
const ARENA_BYTES: usize = 2 << 20;

static DONE: AtomicU64 = AtomicU64::new(0);
/// How programs ended: planned, undefined, aborts, other exceptions, interrupts, refused.
static ENDS: [AtomicU64; 6] = [const { AtomicU64::new(0) }; 6];
const ENDS_NAMES: [&str; 6] = ["ended", "undefined", "aborts", "others", "interrupts", "refused"];

/// All of it.
pub fn run(boot: &'static Boot, report: &mut Report) {
    report.test("random", || supervise(boot));
}

fn supervise(boot: &'static Boot) -> Outcome {
    let count = number(boot, "bramble.count=").unwrap_or(COUNT);
    DONE.store(0, Release);
    if boot.cpus().len() > 1 {
        crew::employ(boot, 1, programs)?;
        loop {
            let done = DONE.load(Acquire);
            if done >= count {
                break;
            }
            if !spin_until(PATIENCE, || DONE.load(Acquire) != done) {
                quiet(boot);
                println!("RANDOM vCPU 1 is wedged by program {done}");
                break;
            }
        }
    } else {
        programs();
    }
    quiet(boot);
    println!("RANDOM programs={}", DONE.load(Acquire));
    for (name, ends) in ENDS_NAMES.iter().zip(&ENDS) {
        println!("RANDOM {name}={}", ends.load(Relaxed));
    }
    Ok(())
}

fn programs() {
    let Some(boot) = el1::boot::get() else { return };
    let mut random = Random(number(boot, "bramble.seed=").unwrap_or(SEED));
    let places = places(boot);
    for done in 1..=number(boot, "bramble.count=").unwrap_or(COUNT) {
        one(boot, &mut random, &places);
        DONE.store(done, Release);
    }
}

fn one(boot: &'static Boot, random: &mut Random, places: &[u64]) {
    let words: Vec<u32> = (0..1 + random.below(4)).map(|_| random.instruction()).collect();
    let mut registers = Registers { x: [0; 31], sp: random.value(places) };
    registers.x.iter_mut().for_each(|x| *x = random.value(places));
    let level = if random.below(3) == 0 { Level::El0 } else { Level::El1 };
    let arena = boot.spare.part(ARENA, ARENA_BYTES);
    let place = random.below(ARENA_BYTES as u64 / 64 - 1) as usize * 64;
    ready(boot);
    let end = sandbox::run(boot, arena, place, &words, level, &registers);
    recover(boot);
    let kind = match end {
        Some(End::Synchronous(exception)) if sandbox::is_end(&exception) => 0,
        Some(End::Synchronous(exception)) => match exception.class() {
            0 => 1,
            0x20 | 0x21 | 0x24 | 0x25 => 2,
            _ => 3,
        },
        Some(End::Interrupt) => 4,
        Some(End::Other) => 3,
        None => 5,
    };
    ENDS[kind].fetch_add(1, Relaxed);
}

/// The timer that ends a loop, whatever the last program did to the GIC.
fn ready(boot: &Boot) {
    mask_interrupts();
    boot.gic.start_cpu(cpus::index());
    boot.gic.start_distributor();
    cntv_cval_el0::write(now() + ticks(LIMIT));
    cntv_ctl_el0::write(1);
    isb();
}

/// Timers off; what the program acknowledged is no longer active, what it made pending is not either.
fn recover(boot: &'static Boot) {
    cntv_ctl_el0::write(2);
    cntp_ctl_el0::write(2);
    isb();
    let cpu = cpus::index();
    let private = boot.gic.private(cpu);
    private.write32(offset::ICPENDR, 0xffff_0000);
    while gic::running_priority() != 0xff {
        gic::drop_priorities();
        private.write32(offset::ICACTIVER, u32::MAX);
    }
    if let Gic::V3 { .. } = boot.gic {
        icc_bpr1_el1::write(0);
    }
    interrupts::set_hook(None);
}

/// Devices as the console and other tests want them.
fn quiet(boot: &'static Boot) {
    if let Some(uart) = console::registers() {
        uart.write32(0x38, 0);
        uart.write32(0x2c, 0x70);
        uart.write32(0x30, 0x301);
    }
    for device in boot.devices("virtio,mmio") {
        device.registers.write32(0x70, 0);
    }
    let distributor = boot.gic.distributor();
    for word in 1..8 {
        distributor.write32(offset::ICENABLER + 4 * word, u32::MAX);
        distributor.write32(offset::ICPENDR + 4 * word, u32::MAX);
        distributor.write32(offset::ICACTIVER + 4 * word, u32::MAX);
    }
    boot.gic.start_cpu(cpus::index());
    boot.gic.start_distributor();
    println!();
}

/// Addresses worth touching: devices, the ends of RAM, holes, flash, PCIe windows.
fn places(boot: &'static Boot) -> Vec<u64> {
    let mut places = Vec::new();
    let gic = match boot.gic {
        Gic::V2 { distributor, cpu_interface } => [distributor, cpu_interface],
        Gic::V3 { distributor, redistributors } => [distributor, redistributors],
    };
    for name in ["arm,pl011", "arm,pl031", "arm,pl061", "virtio,mmio"] {
        places.extend(boot.devices(name).map(|device| device.registers.base() as u64));
    }
    for window in gic {
        places.extend((0..4).map(|n| (window.base() + n * 0x1_0000) as u64));
    }
    places.extend([0, 0x0400_0000, 0x0800_0000, 0x0b00_0000, 0x1000_0000, 0x3eff_0000, 0x3f00_0000]);
    places.extend([0x40_1000_0000, 0x7f_ffff_f000, 1 << 40, 1 << 47]);
    places.extend([boot.spare.base() as u64, boot.ram.start as u64, boot.ram.end as u64 - 4096]);
    places.push(boot.ram.end as u64);
    places
}

/// xorshift64*: enough for this.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }

    /// A register's value.
    fn value(&mut self, places: &[u64]) -> u64 {
        let place = self.below(places.len() as u64) as usize;
        match self.below(8) {
            0 => self.next(),
            1 => self.below(256),
            2 => u64::from(u32::MAX) & self.next(),
            3 => {
                let known = [function::PSCI_VERSION, function::AFFINITY_INFO, function::PSCI_FEATURES];
                u64::from(known[self.below(3) as usize])
            }
            4 => places[place].wrapping_add(self.below(0x1_0000)),
            _ => places[place].wrapping_add(self.below(0x400) * 4),
        }
    }

    /// An instruction: mostly of a form that exists, sometimes any word at all.
    fn instruction(&mut self) -> u32 {
        let word = self.next() as u32;
        match self.below(8) {
            0 => word,
            1 => (word & !0x0200_0000) | 0x0800_0000,
            _ => {
                let (fixed, free) = FORMS[self.below(FORMS.len() as u64) as usize];
                fixed | (word & free)
            }
        }
    }
}

/// Forms of instructions that reach the hypervisor or change state: fixed bits, free bits (Arm ARM C4.1).
const FORMS: &[(u32, u32)] = &[
    (0x3900_0000, 0xc0c0_03ff), // LDR, STR and the like, unsigned offset 0: with a syndrome
    (0x3900_0000, 0xc0c0_ffff), // the same, small offsets
    (0x3d00_0000, 0xc0c0_03ff), // SIMD&FP LDR, STR
    (0x3800_0000, 0xc0df_ffff), // unscaled, pre- and post-indexed: without a syndrome
    (0x3820_6800, 0xc0df_03ff), // register offset
    (0x2900_0000, 0xc0c0_7fff), // LDP, STP
    (0x0800_7c00, 0xc0df_83ff), // exclusive, acquire and release
    (0x3820_0000, 0xc0df_73ff), // atomic memory operations
    (0x0c00_7000, 0x4040_0fff), // SIMD structures
    (0x1800_0000, 0xc003_ffe0), // literal
    (0xd530_0000, 0x0007_ffff), // MRS
    (0xd510_0000, 0x0007_ffff), // MSR
    (0xd518_0000, 0x0000_ffff), // MSR, op1 = 0
    (0xd538_0000, 0x0000_ffff), // MRS, op1 = 0
    (0xd53b_0000, 0x0000_ffff), // MRS, op1 = 3
    (0xd538_0000, 0x0000_07ff), // MRS of ID registers
    (0xd508_7000, 0x0003_0fff), // IC, DC, AT
    (0xd508_8000, 0x0000_1fff), // TLBI
    (0xd50b_7020, 0x0000_0fc0), // DC by address
    (0xd503_201f, 0x0000_0fe0), // hints: WFE, WFI, SEV, …
    (0xd503_301f, 0x0000_0fe0), // barriers
    (0xd400_0001, 0x001f_ffe0), // SVC
    (0xd400_0002, 0x0000_0000), // HVC #0
    (0xd400_0002, 0x001f_ffe0), // HVC
    (0xd400_0003, 0x0000_0000), // SMC #0
    (0xd69f_03e0, 0x0000_0000), // ERET
    (0xd61f_0000, 0x0000_03e0), // BR
    (0x1400_0000, 0x0000_000f), // B forward
    (0x5400_0000, 0x0000_01ef), // B.cond
    (0x1e20_0800, 0x00df_73ff), // FP arithmetic
    (0x0e20_0400, 0x60df_fbff), // SIMD
    (0x8b00_0000, 0x60df_03ff), // ADD, SUB: new values
];
