//! What tests ask of hostd, by boot arguments of the host that start with `hostd.`; nothing without them. Who gives the
//! host its boot arguments owns it anyway (docs/threat-model.md).
//!
//! | argument | what |
//! |---|---|
//! | `hostd.kill=A,B,…` | generation n ends by the n-th of them, again from the first after the last: `panic`, `exit`, `memory`, `fault`, `hang` |
//! | `hostd.kills=N` | … up to generation N; without it each once |
//! | `hostd.after=N,M,…` | … once it has served N connections, not right after its start; the next one M, the last number for all that follow |
//! | `hostd.idle` | says how often it left for EL2 in ten seconds without work |
//! | `hostd.measure` | says what each call takes; under QEMU's icount a nanosecond is an instruction |
//! | `hostd.handshakes` | says what the computing of each handshake takes |
//! | `hostd.power=NAME` | turns the VM off, on, resets it and reads its console |

use crate::argument;
use crate::executor::Task;
use crate::requests::Requests;
use crate::server::SERVED;
use crate::vmkernel::Vmkernel;
use abi::{Call, ExitReason, Request, RequestKind, Status, VmHandle, WorldGeneration};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use el1::{Boot, world};
use embassy_time::{Duration, Timer};

/// A generation that is to end lives so long before.
const LIFE: Duration = Duration::from_millis(50);
/// When the idle time begins and how long it is.
const SETTLED: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_secs(10);
/// Until a VM that is not there yet is looked for again.
const LOOK: Duration = Duration::from_millis(10);
/// Calls that one measurement makes.
const LOOPS: u64 = 16;
/// An address where a world has nothing.
const NOWHERE: usize = 0x3000_0000;

/// What the arguments ask of this generation.
pub fn tasks(
    boot: &'static Boot,
    vmkernel: &'static Vmkernel,
    requests: &'static Requests,
    generation: WorldGeneration,
) -> Vec<Task> {
    let mut tasks: Vec<Task> = Vec::new();
    if argument(boot, "hostd.measure").is_some() {
        tasks.push(Box::pin(async { measure(vmkernel) }));
    }
    if let Some(name) = argument(boot, "hostd.power=") {
        tasks.push(Box::pin(Power { name, vmkernel, requests }.run()));
    }
    if argument(boot, "hostd.idle").is_some() {
        tasks.push(Box::pin(idle(vmkernel)));
    }
    if let Some(end) = end(boot, generation) {
        let after = after(boot, generation);
        tasks.push(Box::pin(async move {
            Timer::after(LIFE).await;
            while SERVED.load(Ordering::Relaxed) < after {
                Timer::after(LIFE).await;
            }
            die(boot, end);
        }));
    }
    tasks
}

/// How this generation is to end.
fn end(boot: &'static Boot, generation: WorldGeneration) -> Option<&'static str> {
    let ends: Vec<&str> = argument(boot, "hostd.kill=")?.split(',').collect();
    let kills = argument(boot, "hostd.kills=").and_then(|n| n.parse().ok()).unwrap_or(ends.len());
    let turn = generation.0 as usize - 1;
    (turn < kills).then(|| ends[turn % ends.len()])
}

/// How many connections this generation serves before.
fn after(boot: &'static Boot, generation: WorldGeneration) -> u32 {
    let numbers = argument(boot, "hostd.after=").unwrap_or_default().split(',');
    numbers.take(generation.0 as usize).last().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn die(boot: &'static Boot, how: &str) {
    match how {
        "panic" => panic!("asked for by the boot argument hostd.kill"),
        "exit" => {
            world::exit(ExitReason::Wanted, format_args!("asked for by the boot argument hostd.kill"));
        }
        "memory" => exhaust(),
        "fault" => {
            let nowhere = boot.outside_ram(NOWHERE, 4).map(|window| window.read32(0));
            panic!("something is at {NOWHERE:#x}: {nowhere:?}");
        }
        "hang" => loop {
            core::hint::spin_loop();
        },
        other => panic!("hostd.kill={other}: no such end"),
    }
}

/// Takes memory until there is none.
fn exhaust() -> ! {
    let mut all = Vec::new();
    loop {
        all.push(alloc::vec![1_u8; 1 << 16]);
    }
}

/// Counts how often an idle hostd leaves for EL2.
async fn idle(vmkernel: &Vmkernel) {
    // Counts are those of the last look, which each question asks for: so it asks twice.
    let exits = || {
        let _ = vmkernel.host();
        vmkernel.host().map_or(0, |host| host.world_exits)
    };
    Timer::after(SETTLED).await;
    let before = exits();
    Timer::after(IDLE).await;
    vmkernel.log(format_args!("idle: {} exits in {} ms", exits() - before, IDLE.as_millis()));
}

/// Instructions (nanoseconds) of each call, its buffer as large as it may be.
fn measure(vmkernel: &Vmkernel) {
    let first = vmkernel.vms().first().copied();
    let tell = |name: &str, call: &dyn Fn()| {
        let before = vmkernel.time().uptime;
        call();
        let once = vmkernel.time().uptime - before;
        let before = vmkernel.time().uptime;
        for _ in 0..LOOPS {
            call();
        }
        let each = (vmkernel.time().uptime - before) / LOOPS;
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
    vmkernel: &'static Vmkernel,
    requests: &'static Requests,
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
    async fn run(self) {
        let vm = loop {
            match self.find() {
                Some(vm) => break vm,
                None => Timer::after(LOOK).await,
            }
        };
        self.ask_wrongly(vm);
        for (kind, expected) in STEPS {
            let request =
                management::port::Request { kind, target: vm.to_raw(), argument: 77, send: [&[]; 2] };
            let (status, value) = match self.requests.ask(request, &mut []).await {
                Ok(received) => (Status::Ok, received.value),
                Err(refused) => (refused.status, refused.received.value),
            };
            let power = self.vmkernel.vm(vm).map(|vm| vm.power);
            self.vmkernel.log(format_args!("{kind:?}: {status:?} {value}, VM {power:?}"));
            assert_eq!(status, expected, "{kind:?}");
            if kind == RequestKind::Reset && status == Status::Ok {
                assert_eq!(self.vmkernel.write_console(vm, 0, b"echo"), Ok(4));
            }
        }
        self.look_at_console(vm);
    }

    fn find(&self) -> Option<VmHandle> {
        let named = |vm: &VmHandle| {
            self.vmkernel.vm(*vm).is_ok_and(|record| abi::name::split(&record.name).0 == self.name.as_bytes())
        };
        self.vmkernel.vms().into_iter().find(named)
    }

    /// Old handles and an old generation are refused.
    fn ask_wrongly(&self, vm: VmHandle) {
        let (vmkernel, mut queue) = (self.vmkernel, self.requests.queue().borrow_mut());
        let stale = VmHandle { generation: vm.generation + 1, ..vm };
        let nowhere = VmHandle { place: 1000, ..vm };
        assert_eq!(vmkernel.vm(stale).err(), Some(Status::Stale));
        assert_eq!(vmkernel.vm(nowhere).err(), Some(Status::NotFound));
        let ours = queue.request(RequestKind::Echo, 0, 0);
        let token = queue.send(Request { generation: ours.generation + 1, ..ours }, [&[]; 2], 0);
        let answer = queue.take();
        assert_eq!(answer.map(|reply| (Some(reply.token), reply.status)), Some((token, Status::Stale)));
        vmkernel.log(format_args!("what is stale or unknown is refused"));
    }

    /// Reads the console's ring from its start, in pieces, and says what it found.
    fn look_at_console(&self, vm: VmHandle) {
        let vmkernel = self.vmkernel;
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
