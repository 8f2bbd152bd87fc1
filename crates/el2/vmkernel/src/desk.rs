//! Where the requests of a world's call queue are carried out.
//!
//! The queue's device puts a request into the tray's inbox under its own lock; [`carry_out`] takes it from there with no
//! lock held, and puts its answer into the outbox, from where the device gives it back. What takes its time (a VM that
//! stops) waits in the tray until [`crate::vm`] says that something happened. The tray outlives the generations of its
//! world: what one asked for is done to the end; the device drops the answer.

use crate::assemble;
use crate::home::HomeShared;
use crate::host::Host;
use crate::log;
use crate::vm::{self, Vm, Wanted};
use crate::world::Manifest;
use abi::{Answer, RequestKind, Status, VmHandle};
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use spin::Mutex;
use virtio::Progress;
use virtio::calls::{Asked, Desk, Done, Token};

/// The call queue of a world.
pub type Calls = virtio::VirtioMmio<virtio::Calls<Door>, Arc<el2::ram::GuestRam>, crate::signals::Wire>;

/// Requests on their way.
pub struct Tray {
    manifest: &'static Manifest,
    generation: AtomicU32,
    inbox: Mutex<VecDeque<Asked>>,
    waiting: Mutex<Vec<Begun>>,
    outbox: Mutex<VecDeque<Done>>,
    lines: Mutex<VecDeque<String>>,
}

/// Lines of a world's log that wait for the serial line.
const LINES: usize = 16;

/// A VM that is to stop or to start anew, and how often it had been started when it was asked to.
struct Begun {
    asked: Asked,
    starts: u64,
    failures: u64,
}

impl Tray {
    /// Empty.
    pub fn new(manifest: &'static Manifest) -> Self {
        Self {
            manifest,
            generation: AtomicU32::new(0),
            inbox: Mutex::default(),
            waiting: Mutex::default(),
            outbox: Mutex::default(),
            lines: Mutex::default(),
        }
    }

    /// A new generation of the world starts.
    pub fn set_generation(&self, generation: u32) {
        self.generation.store(generation, Ordering::Relaxed);
    }

    /// Takes a line for the host log, which [`work`] writes; false: there are too many already.
    pub fn put_line(&self, line: String) -> bool {
        let mut lines = self.lines.lock();
        if lines.len() == LINES {
            return false;
        }
        lines.push_back(line);
        true
    }

    /// Writes one line to the host log; whether there was one.
    pub fn log_one(&self, host: &Host) -> bool {
        let Some(line) = self.lines.lock().pop_front() else { return false };
        log!(host.console, "{}: {line}", self.manifest.name);
        true
    }

    fn has_work(&self) -> bool {
        !self.inbox.lock().is_empty() || !self.lines.lock().is_empty()
    }

    fn answer(&self, token: Token, status: Status) {
        self.outbox.lock().push_back(Done { token, answer: Answer::of(status), payload: Vec::new() });
    }
}

/// The tray from the side of the queue's device.
pub struct Door(pub Arc<Tray>);

impl Desk for Door {
    fn generation(&self) -> u32 {
        self.0.generation.load(Ordering::Relaxed)
    }

    fn allows(&self, kind: RequestKind) -> bool {
        self.0.manifest.requests.contains(&kind)
    }

    fn submit(&mut self, asked: Asked) {
        self.0.inbox.lock().push_back(asked);
    }

    fn complete(&mut self) -> Option<Done> {
        self.0.outbox.lock().pop_front()
    }
}

/// Goes on with the call queue of a world: what was asked, what is done, what can be told. Called with no lock held.
pub fn work(world: &Vm) -> Progress {
    let (Some(role), Some(calls)) = (&world.world, &world.devices.calls) else { return Progress::Done };
    if role.tray.log_one(role.host) {
        // A serial line is slow: one line at a time, and others get their turn in between.
        return Progress::More;
    }
    let asked = role.tray.inbox.lock().pop_front();
    if let Some(asked) = asked {
        carry_out(role.host, &role.tray, asked);
    }
    look_after_waiting(role.host, &role.tray);
    let progress = calls.poll();
    if role.tray.has_work() { Progress::More } else { progress }
}

/// Something happened to a VM: a request may be done.
pub fn vm_changed(host: &Host) {
    let worlds: Vec<_> = host.vms.lock().iter().filter(|vm| vm.world.is_some()).cloned().collect();
    for world in worlds {
        // What was asked since waits for the PE that took it.
        if let (Some(role), Some(calls)) = (&world.world, &world.devices.calls) {
            look_after_waiting(host, &role.tray);
            let _ = calls.poll();
        }
    }
}

/// The home's answer to a request that it was handed.
pub fn deliver(host: &Host, token: Token, answer: Answer, payload: Vec<u8>) {
    let world = host.vms.lock().iter().find(|vm| vm.world.is_some()).cloned();
    let Some(world) = world else { return };
    if let (Some(role), Some(calls)) = (&world.world, &world.devices.calls) {
        role.tray.outbox.lock().push_back(Done { token, answer, payload });
        let _ = calls.poll();
    }
}

/// Whether requests wait to be carried out.
pub fn has_work(world: &Vm) -> bool {
    world.world.as_ref().is_some_and(|role| role.tray.has_work())
}

fn carry_out(host: &'static Host, tray: &Tray, asked: Asked) {
    if crate::home::errands::takes(asked.kind) {
        return HomeShared::hand(host, asked);
    }
    if matches!(asked.kind, RequestKind::ListPorts | RequestKind::ListAddresses) {
        let (value, payload) = crate::topology::list(host, asked.kind, asked.request.argument, asked.room);
        let answer = Answer { status: Status::Ok as i64, value };
        return tray.outbox.lock().push_back(Done { token: asked.token, answer, payload });
    }
    match begin(host, &asked) {
        Ok(None) => tray.answer(asked.token, Status::Ok),
        Ok(Some((starts, failures))) => tray.waiting.lock().push(Begun { asked, starts, failures }),
        Err(status) => tray.answer(asked.token, status),
    }
}

/// `Some`: it will take its time; how often the VM had been started, and had failed to.
fn begin(host: &'static Host, asked: &Asked) -> Result<Option<(u64, u64)>, Status> {
    if let RequestKind::RestartHost | RequestKind::TurnHostOff = asked.kind {
        let (restart, polite) = (asked.kind == RequestKind::RestartHost, asked.request.argument == 1);
        return crate::host_power::begin(host, restart, polite).then_some(None).ok_or(Status::Busy);
    }
    let known = host.inventory.read(VmHandle::from_raw(asked.request.target), Clone::clone)?;
    let (name, before) = (known.name, (known.starts, known.failures));
    match (asked.kind, known.vm) {
        (RequestKind::Echo, _) => Ok(None),
        (RequestKind::PowerOn, None) if known.source.stored => {
            HomeShared::start(host, known.source, None);
            Ok(Some(before))
        }
        (RequestKind::PowerOn, None) => {
            let made = assemble::assemble(host, known.source);
            made.map(|_| None).map_err(|why| {
                log!(host.console, "{name}: not started: {why}");
                Status::Failed
            })
        }
        (RequestKind::PowerOff, Some(vm)) => {
            vm::stop(&vm, Wanted::Off);
            Ok(Some(before))
        }
        (RequestKind::Reset, Some(vm)) => {
            vm::stop(&vm, Wanted::Restart);
            Ok(Some(before))
        }
        (RequestKind::Pause, Some(vm)) if !vm.is_stopping() => {
            vm::pause(&vm).then_some(Some(before)).ok_or(Status::Conflict)
        }
        (RequestKind::Resume, Some(vm)) => vm::resume(&vm).then_some(None).ok_or(Status::Conflict),
        (RequestKind::ShutDown, Some(vm)) if !vm.is_paused() => {
            HomeShared::press(host, vm);
            Ok(None)
        }
        _ => Err(Status::Conflict),
    }
}

/// Answers what was waited for. Under the lock, so that of two PEs the later one sees what the earlier one left.
fn look_after_waiting(host: &Host, tray: &Tray) {
    tray.waiting.lock().retain(|begun| match outcome(host, begun) {
        Some(status) => {
            tray.answer(begun.asked.token, status);
            false
        }
        None => true,
    });
}

fn outcome(host: &Host, begun: &Begun) -> Option<Status> {
    let target = VmHandle::from_raw(begun.asked.request.target);
    let state = host
        .inventory
        .read(target, |known| (known.vm.clone(), known.starts, known.failures, known.name.clone()));
    let Ok((vm, starts, failures, name)) = state else { return Some(Status::Failed) };
    let is_off = vm.is_none();
    let is_new = starts > begun.starts;
    if failures > begun.failures && !is_new {
        return Some(Status::Failed);
    }
    match begun.asked.kind {
        // It went off, or started anew, before it stood still.
        RequestKind::Pause if is_off || is_new => Some(Status::Conflict),
        RequestKind::Pause => vm.is_some_and(|vm| vm.stands_still()).then_some(Status::Ok),
        RequestKind::PowerOff => (is_off && !host.home.is_unsaved(&name) || is_new).then_some(Status::Ok),
        // It went off instead: a stop that was asked for before, or it could not be started anew.
        RequestKind::Reset if is_off && !is_new => Some(Status::Failed),
        _ => is_new.then_some(Status::Ok),
    }
}
