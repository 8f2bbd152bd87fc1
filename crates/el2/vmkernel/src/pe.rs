//! The loop of one PE: which vCPU runs, when it changes, when the PE sleeps.
//!
//! Called by exits and by the frame; a vCPU is touched by its own PE only. Others ask by [`PeShared`] and an SGI.
//! Waiting happens with the last vCPU still loaded: when it wakes nothing needs to be moved.

use crate::alarms::Alarms;
use crate::host::Host;
use crate::lists;
use crate::signals::{RunState, Signals};
use crate::vcpu::VcpuState;
use crate::vm::Vm;
use crate::{Loaded, Parked, Pe, Unbound};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use el2::gic::{self, HYP_TIMER, KICK, MAINTENANCE, VIRTUAL_TIMER};
use machine::DeviceKind;
use specs::{PeId, VcpuIndex};
use spin::Mutex;
use virtio::Progress;

/// vCPUs that a PE may hold.
const SLOTS: usize = 256;
/// How long a vCPU runs while others wait, in parts of a second: 2 ms, a tenth of what a person notices in a console.
const SLICES_PER_SECOND: u64 = 500;

/// What other PEs may touch.
#[derive(Debug, Default)]
pub struct PeShared {
    /// Not zero: look at the rest.
    attention: AtomicU32,
    woken: [AtomicU64; SLOTS / 64],
    mail: Mutex<Vec<Mail>>,
    load: AtomicU32,
}

struct Mail(Unbound);

impl core::fmt::Debug for Mail {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Mail")
    }
}

impl PeShared {
    /// The vCPU in `slot` is ready.
    pub fn wake(&self, slot: u16) {
        if let Some(word) = self.woken.get(usize::from(slot / 64)) {
            word.fetch_or(1 << (slot % 64), Ordering::Release);
        }
        self.attention.store(1, Ordering::SeqCst);
    }

    /// Something about its vCPUs changed: it looks at all of them.
    pub fn look(&self) {
        self.attention.store(1, Ordering::SeqCst);
    }

    /// vCPUs that live on this PE.
    pub fn load(&self) -> u32 {
        self.load.load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn needs_attention(&self) -> bool {
        self.attention.load(Ordering::Relaxed) != 0
    }
}

/// Gives a vCPU to a PE, where it runs as soon as it is its turn.
pub fn send(host: &Host, to: PeId, vcpu: Unbound) {
    let shared = host.pe(to);
    shared.load.fetch_add(1, Ordering::Relaxed);
    shared.mail.lock().push(Mail(vcpu));
    shared.look();
    if to != el2::pe::current() {
        gic::kick(to);
    }
}

/// A place for a vCPU of this PE.
struct Slot {
    signals: Arc<Signals>,
    index: VcpuIndex,
    /// None while it is loaded.
    parked: Option<Parked>,
    /// When a timer of a blocked vCPU fires; u64::MAX: never.
    wake_at: u64,
}

/// The vmkernel's part of a PE.
pub struct PeState {
    /// The host.
    pub host: &'static Host,
    shared: &'static PeShared,
    slots: Vec<Option<Slot>>,
    ready: VecDeque<u16>,
    residents: u32,
    slice_end: u64,
    armed: u64,
    later: VecDeque<(Arc<Vm>, DeviceKind)>,
    /// Alarms of guests' clocks.
    pub alarms: Alarms,
    is_first: bool,
}

impl PeState {
    /// For a PE that just came up.
    pub fn new(host: &'static Host, pe: PeId) -> Self {
        host.count_pe();
        Self {
            host,
            shared: host.pe(pe),
            slots: Vec::new(),
            ready: VecDeque::with_capacity(SLOTS),
            residents: 0,
            slice_end: u64::MAX,
            armed: u64::MAX,
            later: VecDeque::new(),
            alarms: Alarms::default(),
            is_first: pe == PeId(0),
        }
    }

    /// Looks at everything, deadlines included, at the end of this exit.
    pub fn look_soon(&self) {
        self.shared.look();
    }

    fn slot(&mut self, slot: u16) -> Option<&mut Slot> {
        self.slots.get_mut(usize::from(slot))?.as_mut()
    }

    fn make_ready(&mut self, slot: u16) {
        if self.ready.is_empty() {
            self.slice_end = el2::regs::counter().saturating_add(el2::regs::counter_hz() / SLICES_PER_SECOND);
        }
        self.ready.push_back(slot);
    }

    /// Programs the EL2 timer for the next thing that happens by time.
    fn arm(&mut self, running: Option<&VcpuState>) {
        let mut next = if self.ready.is_empty() { u64::MAX } else { self.slice_end };
        next = next.min(self.alarms.next());
        for slot in self.slots.iter().flatten() {
            next = next.min(slot.wake_at);
        }
        if let Some(vcpu) = running {
            next = next.min(vcpu.physical_timer.deadline(el2::regs::counter()).unwrap_or(u64::MAX));
        }
        // The host's devices are one PE's: the first one's.
        if self.is_first
            && let Some(devices) = self.host.devices.get()
        {
            next = next.min(devices.look_at());
        }
        if next != self.armed {
            self.armed = next;
            if next == u64::MAX {
                el2::timer::clear_deadline();
            } else {
                el2::timer::set_deadline(next);
            }
        }
    }

    fn admit(&mut self, slot: u16, signals: Arc<Signals>, index: VcpuIndex, parked: Parked) {
        let place = Some(Slot { signals, index, parked: Some(parked), wake_at: u64::MAX });
        match self.slots.get_mut(usize::from(slot)) {
            Some(free) => *free = place,
            None => self.slots.push(place),
        }
        self.residents = self.residents.saturating_add(1);
        self.make_ready(slot);
    }

    fn free_slot(&self) -> u16 {
        let free = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        u16::try_from(free).unwrap_or(u16::MAX)
    }

    /// Forgets a vCPU that is gone.
    fn vacate(&mut self, slot: u16) {
        if let Some(place) = self.slots.get_mut(usize::from(slot)) {
            *place = None;
        }
        self.ready.retain(|ready| *ready != slot);
        self.residents = self.residents.saturating_sub(1);
        self.shared.load.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The end of every exit: looks for work that others posted. Two loads when there is none.
#[inline(always)]
pub fn leave(pe: &mut Pe, vcpu: Loaded) -> Loaded {
    if vcpu.signals.vgic.posted(vcpu.index) || pe.state.shared.needs_attention() {
        return look(pe, vcpu);
    }
    vcpu
}

#[inline(never)]
fn look(pe: &mut Pe, vcpu: Loaded) -> Loaded {
    if vcpu.signals.vgic.posted(vcpu.index) {
        let others = lists::flush(&vcpu.signals.vgic, vcpu.index);
        vcpu.signals.wake(others);
    }
    if pe.state.shared.needs_attention() { attend(pe, vcpu) } else { vcpu }
}

/// Takes what others asked for, and goes on with the loaded vCPU unless its VM stops.
#[cold]
fn attend(pe: &mut Pe, mut vcpu: Loaded) -> Loaded {
    take_requests(pe);
    if vcpu.vm.is_stopping() {
        return retire(pe, vcpu);
    }
    vcpu.trap_wfi(pe.state.residents > 1);
    pe.state.arm(Some(&vcpu));
    vcpu
}

/// Mail, wake-ups, and parked vCPUs whose VM stops.
fn take_requests(pe: &mut Pe) {
    let shared = pe.state.shared;
    if shared.attention.swap(0, Ordering::SeqCst) == 0 {
        return;
    }
    let mail = core::mem::take(&mut *shared.mail.lock());
    for Mail(mut unbound) in mail {
        let slot = pe.state.free_slot();
        let state = unbound.state();
        state.slot = slot;
        let (signals, index) = (state.signals.clone(), state.index);
        if let Some(vcpu) = signals.vcpus.get(usize::from(index.0)) {
            vcpu.settle(pe.id(), slot);
            vcpu.set_run(RunState::Ready);
        }
        state.vm.psci.entered(index);
        let parked = unbound.bind(pe);
        pe.state.admit(slot, signals, index, parked);
    }
    for (word, first) in shared.woken.iter().zip((0u16..).step_by(64)) {
        let mut woken = word.swap(0, Ordering::Acquire);
        while woken != 0 {
            let slot = first.saturating_add(u16::try_from(woken.trailing_zeros()).unwrap_or(0));
            woken &= woken.wrapping_sub(1);
            if let Some(place) = pe.state.slot(slot) {
                place.wake_at = u64::MAX;
                pe.state.make_ready(slot);
            }
        }
    }
    for _ in 0..pe.state.later.len() {
        if let Some((vm, device)) = pe.state.later.pop_front() {
            let progress = crate::devices::poll(&vm, device);
            poll_later(pe, &vm, device, progress);
        }
    }
    retire_parked(pe);
}

/// A device had more to do than one call may take: it goes on at the PE's next look.
pub fn poll_later(pe: &mut Pe, vm: &Arc<Vm>, device: DeviceKind, progress: Progress) {
    if progress == Progress::More {
        pe.state.later.push_back((vm.clone(), device));
        pe.state.shared.look();
    }
}

/// Parked vCPUs of VMs that stop are freed.
fn retire_parked(pe: &mut Pe) {
    for slot in 0..u16::try_from(pe.state.slots.len()).unwrap_or(0) {
        let stops = |place: &mut Slot| place.parked.take_if(|parked| parked.vm.is_stopping());
        if let Some(parked) = pe.state.slot(slot).and_then(stops) {
            pe.state.vacate(slot);
            crate::vm::vcpu_is_gone(pe, parked);
        }
    }
}

/// The loaded vCPU leaves for good: CPU_OFF, or its VM stops.
pub fn retire(pe: &mut Pe, vcpu: Loaded) -> Loaded {
    let (slot, index, signals) = (vcpu.slot, vcpu.index, vcpu.signals.clone());
    signals.wake(lists::fold(&signals.vgic, index));
    hand_over_timer(&signals, index, false);
    lists::reset_vcpu(&signals.vgic, index);
    if let Some(vcpu) = signals.vcpus.get(usize::from(index.0)) {
        vcpu.set_run(RunState::Running);
    }
    let parked = vcpu.unload();
    pe.state.vacate(slot);
    crate::vm::vcpu_is_gone(pe, parked);
    next(pe, None)
}

/// The loaded vCPU waits for an interrupt.
pub fn block(pe: &mut Pe, vcpu: Loaded) -> Loaded {
    let (index, slot) = (vcpu.index, vcpu.slot);
    let vgic = &vcpu.signals.vgic;
    if vgic.posted(index) {
        vcpu.signals.wake(lists::flush(vgic, index));
    }
    if lists::deliverable(vgic, index) || vcpu.vm.is_stopping() {
        return leave(pe, vcpu);
    }
    let Some(signals) = vcpu.signals.vcpus.get(usize::from(index.0)) else { return vcpu };
    signals.set_run(RunState::Blocked);
    if vgic.posted(index) {
        signals.set_run(RunState::Running);
        return look(pe, vcpu);
    }
    let timers = [vcpu.timer_deadline(), vcpu.physical_timer.deadline(el2::regs::counter())];
    if let Some(place) = pe.state.slot(slot) {
        place.wake_at = timers.into_iter().flatten().min().unwrap_or(u64::MAX);
    }
    next(pe, Some(vcpu))
}

/// Gives the PE to another vCPU, if one is ready.
pub fn yield_to_others(pe: &mut Pe, vcpu: Loaded) -> Loaded {
    if pe.state.ready.is_empty() {
        pe.state.arm(Some(&vcpu));
        return leave(pe, vcpu);
    }
    if let Some(signals) = vcpu.signals.vcpus.get(usize::from(vcpu.index.0)) {
        signals.set_run(RunState::Ready);
    }
    let slot = vcpu.slot;
    pe.state.ready.push_back(slot);
    next(pe, Some(vcpu))
}

/// Chooses what runs next, and sleeps while nothing can. `current` is loaded: ready (and queued) or blocked.
pub fn next(pe: &mut Pe, mut current: Option<Loaded>) -> Loaded {
    loop {
        if pe.state.shared.needs_attention() {
            take_requests(pe);
        }
        if let Some(vcpu) = current.take_if(|vcpu| vcpu.vm.is_stopping()) {
            return retire(pe, vcpu);
        }
        if let Some(slot) = pe.state.ready.pop_front() {
            if let Some(vcpu) = run(pe, &mut current, slot) {
                return vcpu;
            }
            continue;
        }
        if !el2::memory::prepare_step() {
            pe.state.arm(current.as_deref());
            if !pe.state.shared.needs_attention() {
                pe.sleep();
            }
        }
        take_interrupts(pe, current.as_ref());
    }
}

/// Runs the vCPU in `slot`.
#[inline]
fn run(pe: &mut Pe, current: &mut Option<Loaded>, slot: u16) -> Option<Loaded> {
    if current.as_ref().is_some_and(|vcpu| vcpu.slot == slot) {
        let vcpu = current.take()?;
        set_running(&vcpu.signals, vcpu.index);
        return Some(enter(pe, vcpu));
    }
    let parked = pe.state.slot(slot)?.parked.take()?;
    if let Some(vcpu) = current.take() {
        park(pe, vcpu);
    }
    let (signals, index) = (parked.signals.clone(), parked.index);
    set_running(&signals, index);
    let loaded = parked.load(pe);
    hand_over_timer(&signals, index, true);
    Some(enter(pe, loaded))
}

fn set_running(signals: &Signals, index: VcpuIndex) {
    if let Some(vcpu) = signals.vcpus.get(usize::from(index.0)) {
        vcpu.set_run(RunState::Running);
    }
}

/// The last steps before a vCPU that was not running runs.
#[inline]
fn enter(pe: &mut Pe, mut vcpu: Loaded) -> Loaded {
    let slot = vcpu.slot;
    if let Some(place) = pe.state.slot(slot) {
        place.wake_at = u64::MAX;
    }
    vcpu.trap_wfi(pe.state.residents > 1);
    crate::exit::update_physical_timer(&mut vcpu);
    if !pe.state.ready.is_empty() {
        pe.state.slice_end = el2::regs::counter().saturating_add(el2::regs::counter_hz() / SLICES_PER_SECOND);
    }
    pe.state.arm(Some(&vcpu));
    leave(pe, vcpu)
}

/// Takes the loaded vCPU out of the hardware.
#[inline]
fn park(pe: &mut Pe, vcpu: Loaded) {
    let (slot, index) = (vcpu.slot, vcpu.index);
    vcpu.signals.wake(lists::fold(&vcpu.signals.vgic, index));
    hand_over_timer(&vcpu.signals, index, false);
    let parked = vcpu.unload();
    if let Some(place) = pe.state.slot(slot) {
        place.parked = Some(parked);
    }
}

/// The physical active state of the virtual timer's interrupt goes with the vCPU that has it in a list register.
#[inline]
fn hand_over_timer(signals: &Signals, index: VcpuIndex, active: bool) {
    if signals.vgic.live_hardware(index) & (1 << VIRTUAL_TIMER.0) != 0 {
        gic::set_timer_active(active);
    }
}

/// Physical interrupts while no guest runs. `current` is loaded but blocked.
fn take_interrupts(pe: &mut Pe, current: Option<&Loaded>) {
    loop {
        let interrupt = gic::acknowledge();
        let Some(intid) = interrupt.intid() else { break };
        gic::drop_priority(interrupt);
        match intid {
            VIRTUAL_TIMER if current.is_some() => {
                if let Some(vcpu) = current {
                    vcpu.signals.vgic.pend_hardware(vcpu.index, VIRTUAL_TIMER);
                    ready_if_blocked(pe, &vcpu.signals, vcpu.index, vcpu.slot);
                }
                continue;
            }
            HYP_TIMER => fire_deadlines(pe),
            MAINTENANCE => {
                if let Some(vcpu) = current {
                    vcpu.signals.wake(lists::fold(&vcpu.signals.vgic, vcpu.index));
                }
            }
            KICK => {}
            spi => crate::start::device_interrupt(pe, spi),
        }
        gic::deactivate(interrupt);
    }
    if let Some(vcpu) = current
        && vcpu.signals.vgic.posted(vcpu.index)
    {
        ready_if_blocked(pe, &vcpu.signals, vcpu.index, vcpu.slot);
    }
}

fn ready_if_blocked(pe: &mut Pe, signals: &Signals, index: VcpuIndex, slot: u16) {
    if signals.vcpus.get(usize::from(index.0)).is_some_and(|vcpu| vcpu.take_blocked()) {
        pe.state.make_ready(slot);
    }
}

/// Wakes every blocked vCPU whose timer fired. When it is loaded, its virtual timer fires in hardware.
pub fn fire_deadlines(pe: &mut Pe) {
    pe.state.armed = u64::MAX;
    el2::timer::clear_deadline();
    let now = el2::regs::counter();
    while let Some(vm) = pe.state.alarms.take_due(now) {
        crate::devices::ring(pe, &vm);
    }
    let host = pe.state.host;
    if pe.state.is_first
        && let Some(devices) = host.devices.get().filter(|devices| devices.look_at() <= now)
    {
        devices.look(pe);
    }
    for slot in 0..u16::try_from(pe.state.slots.len()).unwrap_or(0) {
        let Some(place) = pe.state.slot(slot) else { continue };
        if place.wake_at <= now {
            place.wake_at = u64::MAX;
            let (signals, index) = (place.signals.clone(), place.index);
            ready_if_blocked(pe, &signals, index, slot);
        }
    }
}

/// Whether the slice of the vCPU that runs is over while others wait.
pub fn slice_is_over(pe: &Pe) -> bool {
    !pe.state.ready.is_empty() && el2::regs::counter() >= pe.state.slice_end
}

/// After the PE's deadline: the next vCPU's turn, or the same goes on.
pub fn yield_if(pe: &mut Pe, vcpu: Loaded, yields: bool) -> Loaded {
    if yields {
        return yield_to_others(pe, vcpu);
    }
    pe.state.arm(Some(&vcpu));
    leave(pe, vcpu)
}

/// A timer of the loaded vCPU changed: the PE's deadline may have, too.
pub fn rearm(pe: &mut Pe, vcpu: &Loaded) {
    pe.state.arm(Some(vcpu));
}
