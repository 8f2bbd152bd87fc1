//! hostd: the world that manages the host. It owns nothing that must outlive it: VMs, consoles and their rings are the
//! vmkernel's, and a new generation finds them as they are.
//!
//! | module | what |
//! |---|---|
//! | [`vmkernel`] | the calls, as functions |
//! | [`queue`], [`requests`] | the call queue: requests and their answers, as futures |
//! | [`executor`], [`interrupts`] | tasks, and what wakes them |
//! | [`worker`] | vCPU 1: long computations |
//! | [`transport`], [`card`], [`network`] | the network card, and TCP/IP over it |
//! | [`addresses`], [`name`], [`clock`] | its addresses, its name there, the time from there |
//! | [`port`], [`server`] | `management` on the target: what it asks of the world, and its connections |
//! | [`drill`], [`bench`] | what tests ask of it, by boot arguments that start with `hostd.` |
//!
//! It runs when an interrupt says that there is something to do, gives a sign of life, does it, and sleeps in WFI.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod addresses;
mod bench;
mod card;
mod clock;
mod drill;
mod executor;
mod interrupts;
mod name;
mod network;
mod port;
mod queue;
mod requests;
mod server;
mod transport;
mod vmkernel;
mod worker;

use abi::{ExitReason, Status, WorldGeneration};
use alloc::boxed::Box;
use card::Card;
use el1::Boot;
use embassy_time::{Duration, Timer};
use executor::Task;
use port::World;
use queue::Queue;
use requests::Requests;
use vmkernel::Vmkernel;

// 14 of the world's 24 MiB: the buffer for password hashes takes 8 of them.
el1::program!(main, interrupts::take, heap: 14 << 20);

/// How long until random numbers are asked for again.
const SEED_WAIT: Duration = Duration::from_secs(1);

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
    worker::start(boot);
    tell(&vmkernel, generation);
    let vmkernel: &'static Vmkernel = Box::leak(Box::new(vmkernel));
    executor::run(tasks(boot, vmkernel, generation), vmkernel::heartbeat);
}

/// What hostd does, all at once.
fn tasks(
    boot: &'static Boot,
    vmkernel: &'static Vmkernel,
    generation: WorldGeneration,
) -> alloc::vec::Vec<Task> {
    let queue = Queue::new(boot, generation).expect("a call queue");
    let requests: &'static Requests = Box::leak(Box::new(Requests::new(queue)));
    let world = World::new(vmkernel, requests);
    let mut tasks = drill::tasks(boot, vmkernel, requests, generation);
    tasks.push(Box::pin(requests.run()));
    match Card::new(boot) {
        Some(card) => tasks.push(Box::pin(serve(boot, vmkernel, world, card))),
        None => vmkernel.log(format_args!("there is no network card: no API")),
    }
    tasks
}

fn tell(vmkernel: &Vmkernel, generation: WorldGeneration) {
    vmkernel.log(format_args!("generation {} runs: {} VMs known", generation.0, vmkernel.vms().len()));
    if let Ok(crash) = vmkernel.crash() {
        let words = crash.words.get(..crash.words_bytes as usize).unwrap_or_default();
        let words = core::str::from_utf8(words).unwrap_or("?");
        vmkernel
            .log(format_args!("generation {} before it: reason {}: {words}", crash.generation, crash.reason));
    }
}

/// Brings the network up and answers there. Numbers that others must not guess begin with its first packet.
async fn serve(boot: &'static Boot, vmkernel: &'static Vmkernel, world: World, card: Card) {
    let seed = seed(vmkernel).await;
    network::run(boot, vmkernel, world, card, seed).await;
}

/// Random bits, once there are any.
async fn seed(vmkernel: &Vmkernel) -> u64 {
    let mut told = false;
    loop {
        match vmkernel.random() {
            Ok([a, b, c, d, e, f, g, h, ..]) => return u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            Err(Status::Unseeded) if !told => {
                told = true;
                vmkernel.log(format_args!("no random numbers yet, so no API: it waits for them"));
            }
            Err(_) => {}
        }
        Timer::after(SEED_WAIT).await;
    }
}

/// The value of a boot argument that starts with `key`.
fn argument(boot: &'static Boot, key: &str) -> Option<&'static str> {
    boot.arguments.split_ascii_whitespace().find_map(|word| word.strip_prefix(key))
}
