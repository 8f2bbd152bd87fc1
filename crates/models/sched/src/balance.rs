//! Which PE a vCPU lives on: pure functions over a snapshot of the PEs.
//!
//! Called by the vmkernel: [`place`] when a vCPU is made, [`balance`] every [`crate::BALANCE_MICROSECONDS`] and when a PE
//! finds nothing to run. The crowded PE carries a move out: it requeues what it runs, takes [`crate::RunQueue::eldest`],
//! calls `depart`, and posts the vCPU to the other PE, which calls `arrive`.
//!
//! Where the vCPUs can't be spread evenly, the surplus goes round: among equally crowded PEs the one whose last arrival is
//! oldest gives, among equally empty ones it takes, and it gives its eldest. So over time every vCPU is alone as often as
//! every other, though no account is kept across PEs.

use crate::CAPACITY;
use specs::PeId;

/// What is known of a PE.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PeLoad {
    /// vCPUs that run or wait there.
    pub runnable: u16,
    /// vCPUs that live there, blocked ones too.
    pub vcpus: u16,
    /// Those among them that belong to the VM in question ([`place`] only).
    pub siblings: u16,
    /// When a vCPU last came, in ticks.
    pub last_arrival: u64,
}

/// A vCPU's move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Move {
    /// The PE that gives.
    pub from: PeId,
    /// The PE that takes.
    pub to: PeId,
}

fn numbered(loads: &[PeLoad]) -> impl Iterator<Item = (PeId, &PeLoad)> {
    (0u16..).map(PeId).zip(loads)
}

fn has_place(load: &PeLoad) -> bool {
    usize::from(load.vcpus) < CAPACITY
}

/// The PE for a new vCPU: one without siblings of its VM before others, then the one with the fewest vCPUs. `None` when
/// every PE is full.
pub fn place(loads: &[PeLoad]) -> Option<PeId> {
    let free = numbered(loads).filter(|(_, load)| has_place(load));
    free.min_by_key(|(_, load)| (load.siblings, load.vcpus, load.runnable)).map(|(pe, _)| pe)
}

/// The move that evens out the PEs, if one does: from a PE with at least two that could run, to one with fewer. A
/// difference of one moves too; that is the going round.
pub fn balance(loads: &[PeLoad]) -> Option<Move> {
    let free = numbered(loads).filter(|(_, load)| has_place(load));
    let (to, least) = free.min_by_key(|(_, load)| (load.runnable, load.last_arrival))?;
    let crowded = numbered(loads).filter(|(_, load)| load.runnable >= 2 && load.runnable > least.runnable);
    let (from, _) = crowded.max_by_key(|(_, load)| (load.runnable, u64::MAX - load.last_arrival))?;
    Some(Move { from, to })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(runnable: u16, siblings: u16, last_arrival: u64) -> PeLoad {
        PeLoad { runnable, vcpus: runnable, siblings, last_arrival }
    }

    #[test]
    fn new_vcpus_avoid_siblings_then_load() {
        assert_eq!(place(&[load(3, 0, 0), load(0, 1, 0), load(2, 0, 0)]), Some(PeId(2)));
        assert_eq!(place(&[load(3, 1, 0), load(1, 1, 0)]), Some(PeId(1)));
        assert_eq!(place(&[load(256, 0, 0), load(1, 7, 0)]), Some(PeId(1)));
        assert_eq!(place(&[load(256, 0, 0)]), None);
        assert_eq!(place(&[]), None);
    }

    #[test]
    fn even_loads_stay() {
        assert_eq!(balance(&[load(1, 0, 0), load(1, 0, 0)]), None);
        assert_eq!(balance(&[load(2, 0, 0), load(2, 0, 0)]), None);
        // Alone beside an idle PE: moving would only cool its caches.
        assert_eq!(balance(&[load(1, 0, 0), load(0, 0, 0)]), None);
        assert_eq!(balance(&[]), None);
    }

    #[test]
    fn the_surplus_goes_round() {
        let loads = [load(2, 0, 9), load(1, 0, 7), load(1, 0, 3)];
        assert_eq!(balance(&loads), Some(Move { from: PeId(0), to: PeId(2) }));
        let loads = [load(2, 0, 9), load(2, 0, 7), load(1, 0, 3)];
        assert_eq!(balance(&loads), Some(Move { from: PeId(1), to: PeId(2) }));
    }
}
