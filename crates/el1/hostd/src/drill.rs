//! What tests ask of hostd, by boot arguments of the host that start with `hostd.`; nothing without them. Who gives the
//! host its boot arguments owns it anyway (docs/threat-model.md).
//!
//! | argument | what |
//! |---|---|
//! | `hostd.kill=A,B,…` | generation n ends by the n-th of them, again from the first after the last: `panic`, `exit`, `memory`, `fault`, `hang` |
//! | `hostd.kills=N` | … up to generation N; without it each once |
//! | `hostd.idle` | says how often it left for EL2 in ten seconds without work |
//! | `hostd.measure` | says what each call takes; under QEMU's icount a nanosecond is an instruction |
//! | `hostd.power=NAME` | turns the VM off, on, resets it and reads its console |

use crate::interrupts::{self, milliseconds, wake_in};
use crate::queue::{Queue, Token};
use crate::vmkernel::Vmkernel;
use abi::{Call, ExitReason, RequestKind, Status, VmHandle, WorldGeneration};
use alloc::vec::Vec;
use el1::{Boot, world};

/// A generation that is to end lives so long before, in milliseconds.
const LIFE: u64 = 50;
/// When the idle time begins and how long it is, in milliseconds.
const SETTLED: u64 = 2_000;
const IDLE: u64 = 10_000;
/// Calls that one measurement makes.
const LOOPS: u64 = 16;
/// An address where a world has nothing.
const NOWHERE: usize = 0x3000_0000;

/// What is left to do.
pub struct Drill {
    boot: &'static Boot,
    generation: WorldGeneration,
    end: Option<&'static str>,
    idle: Option<Idle>,
    power: Option<Power>,
    measure: bool,
}

/// The idle time, as far as it has come.
struct Idle {
    exits: Option<u64>,
    told: bool,
}

fn argument(boot: &'static Boot, key: &str) -> Option<&'static str> {
    boot.arguments.split_ascii_whitespace().find_map(|word| word.strip_prefix(key))
}

impl Drill {
    /// What the arguments say for this generation.
    pub fn new(boot: &'static Boot, generation: WorldGeneration) -> Self {
        let ends: Vec<&str> =
            argument(boot, "hostd.kill=").map(|list| list.split(',').collect()).unwrap_or_default();
        let kills = argument(boot, "hostd.kills=").and_then(|n| n.parse().ok()).unwrap_or(ends.len());
        let turn = generation.0 as usize - 1;
        let end = if turn < kills && !ends.is_empty() { Some(ends[turn % ends.len()]) } else { None };
        Self {
            boot,
            generation,
            end,
            idle: argument(boot, "hostd.idle").map(|_| Idle { exits: None, told: false }),
            power: argument(boot, "hostd.power=").map(Power::new),
            measure: argument(boot, "hostd.measure").is_some(),
        }
    }

    /// Does what it is time for, and sets the timer for what comes.
    pub fn go_on(&mut self, vmkernel: &Vmkernel, queue: &mut Queue) {
        if core::mem::take(&mut self.measure) {
            measure(vmkernel);
        }
        if let Some(power) = &mut self.power {
            power.go_on(vmkernel, queue, self.generation);
        }
        if let Some(idle) = &mut self.idle {
            idle.go_on(vmkernel);
        }
        match self.end {
            Some(end) if milliseconds() >= LIFE => self.die(end),
            Some(_) => wake_in(LIFE - milliseconds()),
            None => {}
        }
    }

    fn die(&self, how: &str) {
        match how {
            "panic" => panic!("asked for by the boot argument hostd.kill"),
            "exit" => {
                world::exit(ExitReason::Wanted, format_args!("asked for by the boot argument hostd.kill"));
            }
            "memory" => exhaust(),
            "fault" => {
                let nowhere = self.boot.outside_ram(NOWHERE, 4).map(|window| window.read32(0));
                panic!("something is at {NOWHERE:#x}: {nowhere:?}");
            }
            "hang" => loop {
                core::hint::spin_loop();
            },
            other => panic!("hostd.kill={other}: no such end"),
        }
    }
}

/// Takes memory until there is none.
fn exhaust() -> ! {
    let mut all = Vec::new();
    loop {
        all.push(alloc::vec![1_u8; 1 << 16]);
    }
}

impl Idle {
    fn go_on(&mut self, vmkernel: &Vmkernel) {
        let now = milliseconds();
        // Counts are those of the last look, which each question asks for: so it asks twice.
        let exits = || {
            let _ = vmkernel.host();
            vmkernel.host().map_or(0, |host| host.world_exits)
        };
        match self.exits {
            None if now >= SETTLED => {
                self.exits = Some(exits());
                wake_in(IDLE);
            }
            None => wake_in(SETTLED - now),
            Some(before) if !self.told && now >= SETTLED + IDLE => {
                self.told = true;
                vmkernel.log(format_args!("idle: {} exits in {IDLE} ms", exits() - before));
            }
            Some(_) => {}
        }
    }
}

/// Instructions (nanoseconds) of each call, its buffer as large as it may be.
fn measure(vmkernel: &Vmkernel) {
    let first = vmkernel.vms().first().copied();
    let tell = |name: &str, call: &dyn Fn()| {
        let before = vmkernel.time().1;
        call();
        let once = vmkernel.time().1 - before;
        let before = vmkernel.time().1;
        for _ in 0..LOOPS {
            call();
        }
        let each = (vmkernel.time().1 - before) / LOOPS;
        vmkernel.log(format_args!("call {name}: first {once}, then {each}"));
    };
    tell("Version", &|| _ = vmkernel.version());
    tell("Heartbeat", &|| vmkernel.heartbeat());
    tell("Time", &|| _ = vmkernel.time());
    tell("Random", &|| _ = vmkernel.random());
    tell("ListVms", &|| vmkernel.bare(Call::ListVms, [0; 3]));
    tell("InspectHost", &|| vmkernel.bare(Call::InspectHost, [0; 3]));
    tell("ReadCrash", &|| vmkernel.bare(Call::ReadCrash, [0; 3]));
    if let Some(vm) = first {
        tell("InspectVm", &|| vmkernel.bare(Call::InspectVm, [vm.to_raw(), 0, 0]));
        tell("ReadConsole", &|| vmkernel.bare(Call::ReadConsole, [vm.to_raw(), 0, 0]));
        tell("WriteConsole", &|| vmkernel.bare(Call::WriteConsole, [vm.to_raw(), 1, 0]));
    }
    tell("Log", &|| vmkernel.log(format_args!("{:x<96}", "")));
    vmkernel.log(format_args!("measured"));
}

/// The steps of `hostd.power`.
struct Power {
    name: &'static str,
    step: usize,
    waits: Option<Token>,
}

/// Each request, and how it is to end.
const STEPS: [(RequestKind, Status); 8] = [
    (RequestKind::Echo, Status::Ok),
    (RequestKind::PowerOn, Status::Conflict),
    (RequestKind::Reset, Status::Ok),
    (RequestKind::PowerOff, Status::Ok),
    (RequestKind::PowerOff, Status::Conflict),
    (RequestKind::Reset, Status::Conflict),
    (RequestKind::PowerOn, Status::Ok),
    (RequestKind::PowerOff, Status::Ok),
];

impl Power {
    fn new(name: &'static str) -> Self {
        Self { name, step: 0, waits: None }
    }

    fn go_on(&mut self, vmkernel: &Vmkernel, queue: &mut Queue, generation: WorldGeneration) {
        let Some(vm) = self.find(vmkernel) else { return wake_in(10) };
        if let Some(token) = self.waits {
            let Some((done, status, value)) = queue.take() else { return };
            assert_eq!(done, token, "the answer of another request");
            let (kind, expected) = STEPS[self.step];
            let power = vmkernel.vm(vm).map(|vm| vm.power);
            vmkernel.log(format_args!("{kind:?}: {status:?} {value}, VM {power:?}"));
            assert_eq!(status, expected, "{kind:?}");
            if kind == RequestKind::Reset && status == Status::Ok {
                assert_eq!(vmkernel.write_console(vm, 0, b"echo"), Ok(4));
            }
            (self.step, self.waits) = (self.step + 1, None);
        }
        if let Some((kind, _)) = STEPS.get(self.step) {
            if self.step == 0 {
                self.ask_wrongly(vmkernel, queue, generation, vm);
            }
            self.waits = queue.submit(*kind, vm, 77);
            // An answer that is there already sent its interrupt while we were awake.
            interrupts::wake_in(1);
        } else if self.step == STEPS.len() {
            self.step += 1;
            self.look_at_console(vmkernel, vm);
        }
    }

    fn find(&self, vmkernel: &Vmkernel) -> Option<VmHandle> {
        let named = |vm: &VmHandle| {
            vmkernel.vm(*vm).is_ok_and(|record| {
                record.name.iter().take_while(|byte| **byte != 0).copied().eq(self.name.bytes())
            })
        };
        vmkernel.vms().into_iter().find(named)
    }

    /// Old handles, an old generation and a buffer that was never touched are refused.
    fn ask_wrongly(&self, vmkernel: &Vmkernel, queue: &mut Queue, generation: WorldGeneration, vm: VmHandle) {
        let stale = VmHandle { generation: vm.generation + 1, ..vm };
        let nowhere = VmHandle { place: 1000, ..vm };
        assert_eq!(vmkernel.vm(stale).err(), Some(Status::Stale));
        assert_eq!(vmkernel.vm(nowhere).err(), Some(Status::NotFound));
        let token = queue.submit_as(WorldGeneration(generation.0 + 1), RequestKind::Echo, vm, 0);
        let answer = queue.take();
        assert_eq!(answer.map(|(done, status, _)| (Some(done), status)), Some((token, Status::Stale)));
        assert_eq!(vmkernel.untouched(), Status::Invalid);
        vmkernel.log(format_args!("what is stale, unknown or not ours is refused"));
    }

    /// Reads the console's ring from its start, in pieces, and says what it found.
    fn look_at_console(&self, vmkernel: &Vmkernel, vm: VmHandle) {
        let (mut position, mut lines) = (0, 0);
        while let Ok((first, bytes, end)) = vmkernel.read_console(vm, 0, position) {
            assert!(first >= position && first + bytes.len() as u64 <= end, "positions out of order");
            lines += bytes.iter().filter(|byte| **byte == b'\n').count();
            position = first + bytes.len() as u64;
            if position == end {
                break;
            }
        }
        let starts = vmkernel.vm(vm).map(|vm| vm.starts);
        vmkernel.log(format_args!("console: {position} bytes, {lines} lines, {starts:?} starts"));
    }
}
