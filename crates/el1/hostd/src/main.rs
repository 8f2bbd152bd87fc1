//! hostd: the world that manages the host. It owns nothing that must outlive it: VMs, consoles and their rings are the
//! vmkernel's, and a new generation finds them as they are.
//!
//! | module | what |
//! |---|---|
//! | [`vmkernel`] | the calls, as functions |
//! | [`queue`] | the call queue: requests and their answers |
//! | [`interrupts`] | what wakes it |
//! | [`drill`] | what tests ask of it, by boot arguments that start with `hostd.` |
//!
//! It runs when an interrupt says that there is something to do, gives a sign of life, does it, and sleeps in WFI.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod drill;
mod interrupts;
mod queue;
mod vmkernel;

use abi::ExitReason;
use el1::{Boot, cpus};
use queue::Queue;
use vmkernel::Vmkernel;

el1::program!(main, interrupts::take);

fn main(boot: &'static Boot) {
    let Some(vmkernel) = Vmkernel::new(boot) else {
        el1::println!("hostd: this is no world of Bramble's");
        return;
    };
    interrupts::start(boot);
    let generation = match vmkernel.version() {
        (abi::VERSION, generation) => generation,
        (other, _) => {
            let words = format_args!("the vmkernel speaks version {other}, this hostd {}", abi::VERSION);
            el1::world::exit(ExitReason::Wanted, words);
            return;
        }
    };
    let mut queue = Queue::new(boot, generation).expect("a call queue");
    cpus::start(boot, 1, second, 0);
    vmkernel.log(format_args!("generation {} runs: {} VMs known", generation.0, vmkernel.vms().len()));
    if let Ok(crash) = vmkernel.crash() {
        let words = crash.words.get(..crash.words_bytes as usize).unwrap_or_default();
        let words = core::str::from_utf8(words).unwrap_or("?");
        vmkernel
            .log(format_args!("generation {} before it: reason {}: {words}", crash.generation, crash.reason));
    }
    let mut drill = drill::Drill::new(boot, generation);
    loop {
        vmkernel.heartbeat();
        drill.go_on(&vmkernel, &mut queue);
        interrupts::sleep();
    }
}

/// The second vCPU: nothing yet for it to do. It sleeps until it is sent something.
fn second(_: usize) {
    let Some(boot) = el1::boot::get() else { return };
    interrupts::start_cpu(boot, 1);
    loop {
        vmkernel::heartbeat();
        interrupts::sleep();
    }
}
