//! A VM: its parts, and how it stops, restarts and goes away.
//!
//! Stopping is a request: every vCPU sees it at its next exit and is freed by its own PE; the last one to go finishes
//! the stop. So no PE ever waits for another.

use crate::assemble;
use crate::bus::Region;
use crate::console::Stream;
use crate::devices::BoxedDevices;
use crate::flight::{Flight, REASONS, Told};
use crate::host::Host;
use crate::pe::Mail;
use crate::signals::{Home, Signals};
use crate::vcpu::VcpuState;
use crate::world::World;
use crate::{Parked, Pe, Unbound};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chipset::{Psci, SetWay, Timer};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use el2::ram::GuestRam;
use el2::tables::HostTables;
use el2::vcpu::Start;
use machine::MachinePlan;
use sched::{Share, Weight};
use specs::{Ipa, PeId, VcpuIndex, VmId};
use spin::Mutex;
use stage2::{Stage2, Vmid};
use vswitch::switch::PortIndex;

/// What a stop is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Wanted {
    /// It runs.
    Running = 0,
    /// Its end.
    Off = 1,
    /// To start anew.
    Restart = 2,
}

/// Whether a VM is paused.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    wanted: AtomicBool,
    /// vCPUs that get no turn.
    aside: AtomicU32,
    /// When the last of them got its last.
    since: AtomicU64,
}

/// A VM.
pub struct Vm {
    /// Its id.
    pub id: VmId,
    /// Its name.
    pub name: String,
    /// Where everything is.
    pub plan: MachinePlan,
    /// Its RAM.
    pub ram: Arc<GuestRam>,
    /// Its translation tables; none once it is gone.
    pub stage2: Mutex<Option<Stage2<HostTables>>>,
    /// VTTBR_EL2 of its vCPUs.
    pub vttbr: u64,
    /// Its name in the TLBs.
    pub vmid: Vmid,
    /// Its interrupts.
    pub signals: Arc<Signals>,
    /// Its power state.
    pub psci: Psci,
    /// Where its devices are.
    pub regions: Vec<Region>,
    /// Its devices.
    pub devices: BoxedDevices,
    /// Its consoles: PL011 and virtio.
    pub streams: [Arc<Stream>; 2],
    /// Its ports of the switch.
    pub ports: Vec<PortIndex>,
    /// What it boots from.
    pub source: assemble::Source,
    /// Its role, if it is a world.
    pub world: Option<World>,
    /// Exits of its vCPUs, as they told them last.
    pub told: Mutex<Told>,
    pub(crate) live: AtomicU32,
    pub(crate) wanted: AtomicU8,
    pub(crate) counter_offset: AtomicU64,
    pub(crate) pause: Pause,
    /// Its vCPUs are gone, and its disks may still read and write its RAM.
    pub(crate) drains: AtomicBool,
    /// When it was powered on, by the physical counter.
    pub(crate) started_at: AtomicU64,
    /// Which vCPU each PE loaded last; 0: none, else one more than its index.
    pub(crate) last_on: [AtomicU8; drivers::board::MAX_PES],
}

impl core::fmt::Debug for Vm {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Vm").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Vm {
    /// A vCPU is loaded on a PE; whether the one before it there was another. The two share a VMID, and each takes the
    /// PE's TLB and instruction cache for its own.
    #[inline(always)]
    pub fn runs_another_on(&self, pe: PeId, vcpu: VcpuIndex) -> bool {
        let Some(last) = self.last_on.get(usize::from(pe.0)) else { return true };
        let (before, now) = (last.load(Ordering::Relaxed), vcpu.0.wrapping_add(1));
        last.store(now, Ordering::Relaxed);
        before != now && before != 0
    }

    /// Whether its vCPUs are to leave.
    #[inline]
    pub fn is_stopping(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) != Wanted::Running as u8
    }

    /// What it is about to do.
    pub fn wanted(&self) -> Wanted {
        match self.wanted.load(Ordering::SeqCst) {
            0 => Wanted::Running,
            1 => Wanted::Off,
            _ => Wanted::Restart,
        }
    }

    /// Exits by reason, as its vCPUs told them last: each tells at its PE's next look.
    pub fn exits(&self) -> [u64; REASONS] {
        *self.flight().counts()
    }

    /// What its vCPUs did, as they told it last.
    pub fn flight(&self) -> Flight {
        self.told.lock().sum()
    }

    /// Whether its vCPUs are to get no turn.
    #[inline]
    pub fn is_paused(&self) -> bool {
        self.pause.wanted.load(Ordering::Relaxed)
    }

    /// Whether it is paused, and no vCPU of it has a PE.
    pub fn stands_still(&self) -> bool {
        self.is_paused() && self.pause.aside.load(Ordering::SeqCst) >= self.live.load(Ordering::SeqCst)
    }

    /// One more vCPU gets no turn; whether it was the last.
    pub fn is_set_aside(&self, now: u64) -> bool {
        self.pause.since.fetch_max(now, Ordering::SeqCst);
        self.pause.aside.fetch_add(1, Ordering::SeqCst);
        self.stands_still()
    }

    /// A vCPU gets its turns again.
    pub fn comes_back(&self) {
        self.pause.aside.fetch_sub(1, Ordering::SeqCst);
    }

    /// How far its virtual counter is behind the physical one.
    pub fn counter_offset(&self) -> u64 {
        self.counter_offset.load(Ordering::SeqCst)
    }

    /// It is powered on, or starts anew: its virtual time starts at 0.
    pub fn begins(&self, now: u64) {
        self.counter_offset.store(now, Ordering::Relaxed);
        let _ = self.started_at.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        self.pause.wanted.store(false, Ordering::SeqCst);
        self.pause.aside.store(0, Ordering::SeqCst);
    }

    /// A byte typed into its PL011; what the guest's UART has no room for is held.
    pub fn type_to_uart(&self, byte: u8) {
        let mut uart = self.devices.uart.lock();
        self.streams[0].offer(Some(byte), |byte| uart.receive(byte));
    }
}

/// Asks a VM to stop. The first reason stands.
pub fn stop(vm: &Vm, wanted: Wanted) {
    let running = Wanted::Running as u8;
    if vm.wanted.compare_exchange(running, wanted as u8, Ordering::SeqCst, Ordering::Relaxed).is_err() {
        return;
    }
    vm.signals.look_all();
}

/// Has a VM's vCPUs get no turn any more; false where it is paused already.
pub fn pause(vm: &Vm) -> bool {
    if vm.pause.wanted.swap(true, Ordering::SeqCst) {
        return false;
    }
    vm.signals.look_all();
    true
}

/// A paused VM goes on; false where it does not stand still. Its virtual time goes on where it stopped.
pub fn resume(vm: &Vm) -> bool {
    if !vm.stands_still() {
        return false;
    }
    let gone = el2::regs::counter().saturating_sub(vm.pause.since.load(Ordering::SeqCst));
    vm.counter_offset.fetch_add(gone, Ordering::SeqCst);
    vm.pause.wanted.store(false, Ordering::SeqCst);
    vm.signals.look_all();
    true
}

/// Stops a VM that can't go on, and says why.
pub fn stop_for(vm: &Vm, why: &str) {
    vm.streams[0].host_line(&alloc::format!("the host stopped this VM: {why}"));
    if let Some(world) = &vm.world {
        world.ends(abi::ExitReason::Host, 0, 0, why.as_bytes());
    }
    stop(vm, Wanted::Off);
}

/// A vCPU starts: CPU_ON, or the VM's first.
pub fn start_vcpu(
    host: &'static Host,
    vm: &Arc<Vm>,
    index: VcpuIndex,
    entry: Ipa,
    context: u64,
) -> Result<(), &'static str> {
    let start = Start {
        entry: entry.0,
        x0: context,
        mpidr: 1 << 31 | u64::from(index.0),
        vttbr: vm.vttbr,
        counter_offset: vm.counter_offset.load(Ordering::Relaxed),
    };
    let state = VcpuState {
        signals: vm.signals.clone(),
        index,
        home: Home::default(),
        wfi_traps_from: if vm.world.is_some() { 0 } else { 2 },
        hint: Region::NONE,
        ids: &host.ids,
        flight: crate::flight::Flight::default(),
        vm: vm.clone(),
        physical_timer: Timer::default(),
        physical_line: false,
        set_way: SetWay::default(),
        timer_is_active: false,
    };
    let to = crate::pe::place(host, vm).ok_or("every PE has as many vCPUs as it can have")?;
    vm.live.fetch_add(1, Ordering::SeqCst);
    let share = Share::new(Weight::DEFAULT);
    crate::pe::send(host, to, Mail { vcpu: Unbound::new(state, start), share, moved: false });
    Ok(())
}

/// A vCPU left for good, on its PE. The last one of a VM that stops finishes the stop.
pub fn vcpu_is_gone(pe: &mut Pe, parked: Parked) {
    let vm = parked.vm.clone();
    let index = parked.index;
    vm.told.lock().close(usize::from(index.0), &parked.flight);
    if let Some(world) = &vm.world {
        world.note_position(&parked);
    }
    drop(parked);
    let last = vm.live.fetch_sub(1, Ordering::SeqCst) == 1;
    vm.psci.stopped(index);
    if !last && vm.is_paused() {
        // It was perhaps the last one that was waited for.
        crate::desk::vm_changed(pe.state.host);
    }
    if last && vm.is_stopping() {
        if vm.world.is_some() { crate::supervisor::ended(pe, &vm) } else { drain(pe.state.host, vm) }
    }
}

/// No vCPU is left. What a disk of the host was asked for it still does, in RAM that is the VM's: the stop waits for that.
fn drain(host: &'static Host, vm: Arc<Vm>) {
    vm.devices.quiesce();
    vm.drains.store(true, Ordering::SeqCst);
    if !vm.devices.are_quiet() {
        crate::log!(host.console, "{}: waits for what its disks still read and write", vm.name);
    }
    drained(host, vm);
}

/// A disk has done something: finishes a stop that waited for the last of it.
pub fn drained(host: &'static Host, vm: Arc<Vm>) {
    if vm.devices.are_quiet() && vm.drains.swap(false, Ordering::SeqCst) {
        finish(host, vm);
    }
}

/// A VM that was to start, of which no vCPU runs, goes away.
pub fn give_up(host: &'static Host, vm: Arc<Vm>) {
    vm.wanted.store(Wanted::Off as u8, Ordering::SeqCst);
    finish(host, vm);
}

fn finish(host: &'static Host, vm: Arc<Vm>) {
    if vm.wanted.load(Ordering::SeqCst) == Wanted::Restart as u8 && !crate::host_power::is_ending(host) {
        crate::log!(host.console, "{}: restarts", vm.name);
        match assemble::restart(host, &vm) {
            Ok(()) => return crate::desk::vm_changed(host),
            Err(error) => crate::log!(host.console, "{}: can't restart: {error}", vm.name),
        }
    }
    // The tables go before the RAM that they map; the RAM goes with the last reference to the VM.
    *vm.stage2.lock() = None;
    vm.devices.forget_requests();
    // The switch holds the cards, and the cards the way to the switch.
    for port in &vm.ports {
        host.switch.disconnect(*port);
    }
    host.inventory.ended(&vm);
    host.vms.lock().retain(|other| other.id != vm.id);
    host.release_vmid(vm.vmid);
    vm.devices.variables.vm_is_off();
    crate::log!(host.console, "{}: off", vm.name);
    drop(vm);
    crate::desk::vm_changed(host);
    crate::start::end_of_vms(host);
}
