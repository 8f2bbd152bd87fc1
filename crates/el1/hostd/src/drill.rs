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
//! | `hostd.bench` | what [`crate::bench`] says |
//! | `hostd.handshakes` | says what the computing of each handshake takes |
//! | `hostd.power=NAME` | turns the VM off, on, resets and pauses it, reads its console, lists the switch's ports |
//! | `hostd.restart` | … and has the host restart then |

use crate::argument;
use crate::bench;
use crate::executor::Task;
use crate::requests::Requests;
use crate::server::SERVED;
use crate::vmkernel::Vmkernel;
use abi::record::{HostUse, PortRecord, VmStatistics};
use abi::{Call, ExitReason, Request, RequestKind, Status, VmHandle, WorldGeneration};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use el1::{Boot, world};
use embassy_time::{Duration, Timer};

/// A generation that is to end lives so long before.
const LIFE: Duration = Duration::from_millis(50);
/// When the idle time begins and how long it is: a host without an address makes its keys and certificate after 5 s.
const SETTLED: Duration = Duration::from_secs(8);
const IDLE: Duration = Duration::from_secs(10);
/// Until a VM that is not there yet is looked for again.
const LOOK: Duration = Duration::from_millis(10);
/// Long enough for a VM that runs to say something.
const WHILE: Duration = Duration::from_millis(100);
/// Calls that one measurement makes.
const LOOPS: u64 = 16;
/// Half a slice of the scheduler's: none of the measurements takes so long by itself.
const TURN: u64 = 1_000_000;
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
        let restart = argument(boot, "hostd.restart").is_some();
        tasks.push(Box::pin(Power { name, restart, vmkernel, requests }.run()));
    }
    if argument(boot, "hostd.bench").is_some() {
        tasks.push(Box::pin(bench::run(vmkernel)));
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
    let (before, busy) = (exits(), bench::busy(vmkernel));
    Timer::after(IDLE).await;
    let exits = exits() - before;
    let busy = bench::busy(vmkernel).zip(busy).map(|(after, before)| after - before);
    vmkernel.log(format_args!("idle: {exits} exits in {} ms", IDLE.as_millis()));
    if let Some(busy) = busy {
        vmkernel.log(format_args!("idle: busy for {busy} ns"));
    }
}

/// Instructions (nanoseconds) of each call, its buffer as large as it may be.
fn measure(vmkernel: &Vmkernel) {
    let first = vmkernel.vms().first().copied();
    let timed = |loops: u64, call: &dyn Fn()| loop {
        let before = vmkernel.time().uptime;
        for _ in 0..loops {
            call();
        }
        let took = vmkernel.time().uptime - before;
        // A turn of another vCPU came in between.
        if took < TURN {
            break took;
        }
    };
    let tell = |name: &str, call: &dyn Fn()| {
        let once = timed(1, call);
        let each = timed(LOOPS, call) / LOOPS;
        vmkernel.log(format_args!("call {name}: first {once}, then {each}"));
    };
    tell("Version", &|| _ = vmkernel.version());
    tell("Heartbeat", &|| vmkernel.heartbeat());
    tell("Time", &|| _ = vmkernel.time());
    tell("Random", &|| _ = vmkernel.random());
    tell("ListVms", &|| vmkernel.bare(Call::ListVms, [0; 3]));
    tell("InspectHost", &|| vmkernel.bare(Call::InspectHost, [0; 3]));
    tell("ReadCrash", &|| vmkernel.bare(Call::ReadCrash, [0; 3]));
    tell("GetHostUse", &|| vmkernel.bare(Call::GetHostUse, [0; 3]));
    tell("ReadPresence", &|| vmkernel.bare(Call::ReadPresence, [0; 3]));
    tell("AcknowledgePresence", &|| vmkernel.bare(Call::AcknowledgePresence, [1, 0, 0]));
    tell("SetTime", &|| vmkernel.bare(Call::SetTime, [0; 3]));
    if let Some(vm) = first {
        tell("InspectVm", &|| vmkernel.bare(Call::InspectVm, [vm.to_raw(), 0, 0]));
        tell("ReadConsole", &|| vmkernel.bare(Call::ReadConsole, [vm.to_raw(), 0, 0]));
        tell("GetVmStatistics", &|| vmkernel.bare(Call::GetVmStatistics, [vm.to_raw(), 0, 0]));
        tell("WriteConsole", &|| vmkernel.bare(Call::WriteConsole, [vm.to_raw(), 1, 0]));
    }
    tell("Log", &|| vmkernel.log(format_args!("{:x<96}", "")));
    vmkernel.log(format_args!("measured"));
}

/// The steps of `hostd.power`.
struct Power {
    name: &'static str,
    restart: bool,
    vmkernel: &'static Vmkernel,
    requests: &'static Requests,
}

/// Each request, and how it is to end.
const STEPS: [(RequestKind, Status); 15] = [
    (RequestKind::Echo, Status::Ok),
    (RequestKind::PowerOn, Status::Conflict),
    (RequestKind::Reset, Status::Ok),
    (RequestKind::Resume, Status::Conflict),
    (RequestKind::Pause, Status::Ok),
    (RequestKind::Pause, Status::Conflict),
    (RequestKind::ShutDown, Status::Conflict),
    (RequestKind::Resume, Status::Ok),
    (RequestKind::Pause, Status::Ok),
    (RequestKind::Reset, Status::Ok),
    (RequestKind::Pause, Status::Ok),
    (RequestKind::PowerOff, Status::Ok),
    (RequestKind::PowerOff, Status::Conflict),
    (RequestKind::Reset, Status::Conflict),
    (RequestKind::PowerOn, Status::Ok),
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
            match (kind, status) {
                (RequestKind::Reset, Status::Ok) => {
                    assert_eq!(self.vmkernel.write_console(vm, 0, b"echo"), Ok(4));
                    Timer::after(WHILE).await;
                }
                (RequestKind::Pause, Status::Ok) => self.look_at_pause(vm).await,
                (RequestKind::Resume, Status::Ok) => {
                    let before = self.console_end(vm);
                    while self.console_end(vm) == before {
                        Timer::after(LOOK).await;
                    }
                }
                _ => {}
            }
        }
        self.look_at_console(vm);
        self.look_at_statistics(vm).await;
        self.list_ports().await;
        if self.restart {
            let kind = RequestKind::RestartHost;
            let request = management::port::Request { kind, target: 0, argument: 0, send: [&[]; 2] };
            let answer = self.requests.ask(request, &mut []).await;
            self.vmkernel.log(format_args!("{kind:?}: {answer:?}"));
        }
    }

    fn console_end(&self, vm: VmHandle) -> u64 {
        self.vmkernel.vm(vm).map_or(0, |vm| vm.console_end[0])
    }

    /// A paused VM says nothing.
    async fn look_at_pause(&self, vm: VmHandle) {
        assert_eq!(self.vmkernel.vm(vm).map(|vm| vm.power), Ok(abi::record::PAUSED));
        let before = self.console_end(vm);
        Timer::after(WHILE).await;
        assert_eq!(self.console_end(vm), before, "a paused VM said something");
    }

    /// What a VM did adds up.
    async fn look_at_statistics(&self, vm: VmHandle) {
        let mut bytes = [0; VmStatistics::BYTES];
        // The second answer has what the first asked for.
        for _ in 0..2 {
            self.vmkernel.call(Call::GetVmStatistics, &mut bytes, [vm.to_raw(), 0, 0]).expect("statistics");
            Timer::after(WHILE).await;
        }
        let told = VmStatistics::from_bytes(&bytes);
        let exit_time: u64 = told.exit_time.iter().sum();
        let total = told.at - told.started_at;
        // A line has 96 bytes.
        self.vmkernel.log(format_args!("exits: {:?}", told.exits));
        self.vmkernel.log(format_args!(
            "statistics: {} of {total} ns, {exit_time} in exits, {} ns ready",
            told.run_time, told.ready_time
        ));
        assert!(told.run_time > 0 && told.run_time <= total, "{told:?}");
        let mut bytes = [0; HostUse::BYTES];
        self.vmkernel.call(Call::GetHostUse, &mut bytes, [0; 3]).expect("host use");
        let told = HostUse::from_bytes(&bytes);
        assert!(told.idle_time <= told.at * told.pes && told.pes > 0, "{told:?}");
    }

    async fn list_ports(&self) {
        let kind = RequestKind::ListPorts;
        let mut bytes = alloc::vec![0; 16 * PortRecord::BYTES];
        let request = management::port::Request { kind, target: 0, argument: 0, send: [&[]; 2] };
        let received = self.requests.ask(request, &mut bytes).await.expect("ports");
        for record in bytes[..received.bytes].as_chunks().0.iter().map(PortRecord::from_bytes) {
            let group = core::str::from_utf8(abi::name::split(&record.group).0).unwrap_or("?");
            self.vmkernel.log(format_args!(
                "port {} of {}: kind {} {:?} card {} group {group:?}",
                record.port,
                received.value,
                record.kind,
                VmHandle::from_raw(record.vm),
                record.card
            ));
        }
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
