//! vCPUs over all PEs: where a new one goes, and when one moves.
//!
//! Called by `vm::start_vcpu`, and by [`super`] at the end of a slice for which others waited. Policy: `sched::place` and
//! `sched::balance` over a snapshot of the PEs' loads; the crowded PE gives.

use super::PeState;
use super::shared::{Mail, send};
use super::switch::park;
use crate::host::Host;
use crate::vm::Vm;
use crate::{Loaded, Pe};
use drivers::board::MAX_PES;
use sched::{BALANCE_MICROSECONDS, PeLoad, VcpuSlot};
use specs::PeId;

/// The loads of all PEs that run.
fn loads(host: &Host) -> ([PeLoad; MAX_PES], usize) {
    let mut loads = [PeLoad::default(); MAX_PES];
    let count = usize::from(host.pes_up()).clamp(1, MAX_PES);
    for (load, pe) in loads.iter_mut().zip(0u16..).take(count) {
        *load = host.pe(PeId(pe)).load();
    }
    (loads, count)
}

/// A place for a new vCPU of `vm`, reserved; none where every PE is full.
pub fn place(host: &Host, vm: &Vm) -> Option<PeId> {
    loop {
        let (mut loads, count) = loads(host);
        for home in vm.signals.vcpus.iter().filter_map(crate::signals::VcpuSignals::home) {
            if let Some(load) = loads.get_mut(usize::from(home.0)) {
                load.siblings = load.siblings.saturating_add(1);
            }
        }
        let to = sched::place(loads.get(..count)?)?;
        // A place that was free has room for one.
        if host.pe(to).reserve_if(loads.get(usize::from(to.0))?.vcpus) {
            return Some(to);
        }
    }
}

/// The PE that one of ours goes to, where a place is reserved: an idle one at once, else in turn.
fn receiver(pe: PeId, state: &mut PeState, now: u64) -> Option<PeId> {
    if state.host.pes_up() < 2 {
        return None;
    }
    state.shared.publish(state.slots.queue.waiting());
    let (loads, count) = loads(state.host);
    let wanted = sched::balance(loads.get(..count)?)?;
    let is_idle = loads.get(usize::from(wanted.to.0)).is_some_and(|load| load.runnable == 0);
    if wanted.from != pe || !is_idle && now < state.next_balance {
        return None;
    }
    state.next_balance = after(now);
    state.host.pe(wanted.to).reserve().then_some(wanted.to)
}

/// When the next move may be.
pub(super) fn after(now: u64) -> u64 {
    now.saturating_add(el2::regs::counter_hz() / 1_000_000 * BALANCE_MICROSECONDS)
}

/// A slice is over and others wait: one vCPU moves if that evens out the PEs. `current` is loaded, and waits like them;
/// it comes back unless it is the one.
#[cold]
#[inline(never)]
pub(super) fn even_out(pe: &mut Pe, current: Loaded, now: u64) -> Option<Loaded> {
    let Some(to) = receiver(pe.id(), &mut pe.state, now) else { return Some(current) };
    let Some(VcpuSlot(eldest)) = pe.state.slots.queue.eldest() else { return Some(current) };
    let mut current = Some(current);
    if let Some(loaded) = current.take_if(|current| current.home.slot() == eldest) {
        park(pe, loaded);
    }
    if let Some((parked, share)) = pe.state.slots.depart(eldest) {
        pe.state.shared.release();
        super::guests_changed(&mut pe.state, current.as_mut());
        send(pe.state.host, to, Mail { vcpu: parked.unbind(), share, moved: true });
    } else {
        pe.state.host.pe(to).release();
    }
    current
}
