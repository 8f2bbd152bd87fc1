//! Path lengths of the Pi's drivers at EL2: the shipped drivers over `el2`'s own DMA, behind them devices that answer at
//! once. Booted by `./bramble bench pi` in QEMU's `virt` with one counted instruction to a tick; prints
//! `BENCH name n=… ns/op=…` lines and powers off. No part of the image that users get.
#![no_std]
#![no_main]

extern crate alloc;

mod devices;
mod network;
mod storage;

use core::fmt::Write;
use el2::boot::Machine;
use el2::kernel::Kernel;
use el2::screen::Screen;
use el2::vectors::FatalFrame;
use specs::PeId;

/// What `el2` runs.
struct Bench;

type Pe = el2::pe::Pe<Bench>;
type Loaded = el2::vcpu::Loaded<Bench>;

impl Kernel for Bench {
    type Host = ();
    type Pe = ();
    type Vcpu = ();

    fn boot(machine: Machine, _: &[u8]) {
        let uart = machine.board.uart.and_then(|uart| el2::DeviceRegisters::map(uart.registers));
        assert!(uart.is_some() && el2::gic::start(machine.board.gic).is_ok(), "no console or no GIC");
    }

    fn start_pe(_host: &'static (), _pe: PeId) {}

    fn start(_host: &'static (), _pe: &mut Pe) {
        let mut screen = Screen::take();
        storage::measure(&mut screen);
        network::measure(&mut screen);
        let _ = writeln!(screen, "TESTS DONE");
        el2::boot::psci_system(false);
    }

    fn wait(_pe: &mut Pe) -> Loaded {
        el2::screen::halt()
    }

    fn synchronous(_pe: &mut Pe, vcpu: Loaded, _syndrome: u64) -> Loaded {
        vcpu
    }

    fn interrupt(_pe: &mut Pe, vcpu: Loaded) -> Loaded {
        vcpu
    }

    fn system_error(_pe: &mut Pe, vcpu: Loaded, _syndrome: u64) -> Loaded {
        vcpu
    }

    fn fatal(_frame: &FatalFrame, syndrome: u64, address: u64, elr: u64) -> ! {
        let _ = writeln!(Screen::take(), "exception: ESR {syndrome:#x} FAR {address:#x} ELR {elr:#x}");
        el2::screen::halt()
    }
}

el2::image!(Bench);

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let _ = writeln!(Screen::take(), "{info}");
    el2::screen::halt()
}

/// Instructions of one call of `run`, after some to warm up, by the counter.
fn cost(mut run: impl FnMut(u64)) -> ratio::Ratio {
    const CALLS: u64 = 512;
    for n in 0..16 {
        run(n);
    }
    let begun = el2::regs::counter();
    for n in 16..16 + CALLS {
        run(n);
    }
    ratio::Ratio { ticks: el2::regs::counter().saturating_sub(begun), calls: CALLS }
}

/// A quotient with one decimal: EL2 has no floating point.
mod ratio {
    use core::fmt;

    /// Ticks of some calls.
    #[derive(Clone, Copy)]
    pub struct Ratio {
        pub ticks: u64,
        pub calls: u64,
    }

    impl Ratio {
        /// Without what `other` costs, of as many calls.
        pub fn beyond(self, other: Self) -> Self {
            Self { ticks: self.ticks.saturating_sub(other.ticks), calls: self.calls }
        }
    }

    impl fmt::Display for Ratio {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let tenths = self.ticks.saturating_mul(10) / self.calls.max(1);
            write!(f, "n={} ns/op={}.{}", self.calls, tenths / 10, tenths % 10)
        }
    }
}

/// Prints a row.
fn row(screen: &mut Screen, name: &str, cost: ratio::Ratio) {
    let _ = writeln!(screen, "BENCH {name} {cost}");
}
