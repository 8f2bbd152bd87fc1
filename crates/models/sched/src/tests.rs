//! Fairness, wake-ups and moves, in a simulation of some PEs.

use crate::{BALANCE_MICROSECONDS, PeLoad, RunQueue, Share, VcpuSlot, Weight, Woken, balance};
use proptest::prelude::*;
use std::boxed::Box;
use std::collections::BTreeMap;
use std::vec::Vec;

const TICKS_PER_SECOND: u64 = 1_000_000;
const SLICE: u64 = crate::SLICE_MICROSECONDS;

/// PEs in lockstep, a slice at a time; every vCPU is a hog unless told otherwise.
struct Machine {
    queues: Vec<Box<RunQueue>>,
    last_arrival: Vec<u64>,
    shares: BTreeMap<u16, Share>,
    weights: BTreeMap<u16, u32>,
    served: BTreeMap<u16, u64>,
    now: u64,
}

impl Machine {
    fn new(pes: usize, weights: &[u32]) -> Self {
        let queues = (0..pes).map(|_| Box::new(RunQueue::new(TICKS_PER_SECOND))).collect();
        let mut machine = Self {
            queues,
            last_arrival: std::vec![0; pes],
            shares: BTreeMap::new(),
            weights: BTreeMap::new(),
            served: BTreeMap::new(),
            now: 0,
        };
        for (vcpu, weight) in (0u16..).zip(weights) {
            let mut share = Share::new(Weight::new(*weight));
            assert!(machine.queues[usize::from(vcpu) % pes].arrive(VcpuSlot(vcpu), &mut share));
            machine.shares.insert(vcpu, share);
            machine.weights.insert(vcpu, *weight);
            machine.served.insert(vcpu, 0);
        }
        machine
    }

    fn run_slice(&mut self) {
        for queue in &mut self.queues {
            let Some(VcpuSlot(vcpu)) = queue.pick() else { continue };
            let share = self.shares.get_mut(&vcpu).unwrap();
            queue.charge(share, SLICE);
            *self.served.get_mut(&vcpu).unwrap() += SLICE;
            assert!(queue.requeue(VcpuSlot(vcpu), share));
        }
        self.now += SLICE;
    }

    fn rebalance(&mut self) {
        let loads: Vec<PeLoad> = (self.queues.iter().zip(&self.last_arrival))
            .map(|(queue, last)| {
                let runnable = u16::try_from(queue.waiting()).unwrap();
                PeLoad { runnable, vcpus: runnable, siblings: 0, last_arrival: *last }
            })
            .collect();
        let Some(step) = balance(&loads) else { return };
        let (from, to) = (usize::from(step.from.0), usize::from(step.to.0));
        let slot = self.queues[from].eldest().unwrap();
        let share = self.shares.get_mut(&slot.0).unwrap();
        self.queues[from].depart(slot, share);
        assert!(self.queues[to].arrive(slot, share));
        self.last_arrival[to] = self.now;
    }

    /// Time served over weight, least and most, of hogs with equal PEs to run on.
    fn spread(&self) -> (u64, u64) {
        let scaled = self.served.iter().map(|(vcpu, served)| served * 1024 / u64::from(self.weights[vcpu]));
        let scaled: Vec<u64> = scaled.collect();
        (*scaled.iter().min().unwrap(), *scaled.iter().max().unwrap())
    }
}

#[test]
fn hogs_on_uneven_pes_get_equal_time() {
    let cases: &[(usize, usize)] =
        if cfg!(miri) { &[] } else { &[(2, 3), (2, 5), (4, 5), (4, 6), (4, 7), (3, 7)] };
    for (pes, hogs) in cases.iter().copied() {
        let mut machine = Machine::new(pes, &std::vec![1024; hogs]);
        for slice in 1..=5_000 {
            machine.run_slice();
            if slice % (BALANCE_MICROSECONDS / SLICE) == 0 {
                machine.rebalance();
            }
        }
        let (least, most) = machine.spread();
        let fair = 5_000 * SLICE * pes as u64 / hogs as u64;
        assert!(most - least < fair / 20, "{hogs} hogs on {pes} PEs: {least}–{most}, fair is {fair}");
        assert!(least > fair - fair / 20);
    }
}

#[test]
fn weights_divide_a_pe() {
    let mut machine = Machine::new(1, &[1024, 2048, 512]);
    (0..700).for_each(|_| machine.run_slice());
    let (least, most) = machine.spread();
    assert!(most - least <= 2 * SLICE, "{least}–{most}");
    assert!(machine.served[&1] > 3 * machine.served[&2]);
}

#[test]
fn a_waker_preempts_a_hog_but_not_another_waker() {
    let mut queue = RunQueue::new(TICKS_PER_SECOND);
    let (mut hog, mut sleeper) = (Share::new(Weight::DEFAULT), Share::new(Weight::DEFAULT));
    assert!(queue.arrive(VcpuSlot(1), &mut hog));
    assert_eq!(queue.pick(), Some(VcpuSlot(1)));
    assert_eq!(queue.waiting(), 0, "alone: no timer");
    queue.charge(&mut hog, 100 * SLICE);
    assert_eq!(queue.wake(VcpuSlot(2), &mut sleeper), Woken::Preempts);
    assert_eq!((queue.waiting(), queue.slice_ticks()), (1, SLICE));
    assert!(queue.requeue(VcpuSlot(1), &hog));
    assert_eq!(queue.pick(), Some(VcpuSlot(2)));
    let mut third = Share::new(Weight::DEFAULT);
    assert_eq!(queue.wake(VcpuSlot(3), &mut third), Woken::Waits);
}

/// One that wakes whenever the other begins: a switch and a wake-up take five ticks of each.
#[test]
fn who_wakes_at_once_again_and_again_leaves_the_other_its_turn() {
    let mut queue = RunQueue::new(TICKS_PER_SECOND);
    let (mut hog, mut napper) = (Share::new(Weight::DEFAULT), Share::new(Weight::DEFAULT));
    assert!(queue.arrive(VcpuSlot(1), &mut hog));
    assert_eq!(queue.pick(), Some(VcpuSlot(1)));
    queue.charge(&mut hog, 100 * SLICE);
    let (mut worked, mut naps) = (0, 0);
    while naps < 1000 {
        queue.charge(&mut hog, 5);
        match queue.wake(VcpuSlot(2), &mut napper) {
            Woken::Preempts => {}
            Woken::Soon(left) => {
                assert!(left <= crate::TURN_MICROSECONDS);
                queue.charge(&mut hog, left);
                worked += left;
            }
            other => panic!("{other:?}"),
        }
        assert!(queue.requeue(VcpuSlot(1), &hog));
        assert_eq!(queue.pick(), Some(VcpuSlot(2)));
        queue.charge(&mut napper, 5);
        queue.block();
        assert_eq!(queue.pick(), Some(VcpuSlot(1)));
        naps += 1;
    }
    assert!(worked >= 20 * naps, "{worked} ticks of work beside {naps} naps");
}

#[test]
fn sleep_is_no_hoard() {
    let mut queue = RunQueue::new(TICKS_PER_SECOND);
    let (mut hog, mut sleeper) = (Share::new(Weight::DEFAULT), Share::new(Weight::DEFAULT));
    assert!(queue.arrive(VcpuSlot(1), &mut hog));
    assert_eq!(queue.pick(), Some(VcpuSlot(1)));
    queue.charge(&mut hog, 1_000_000);
    assert_eq!(queue.wake(VcpuSlot(2), &mut sleeper), Woken::Preempts);
    assert!(queue.requeue(VcpuSlot(1), &hog));
    // After a million ticks of sleep it gets ahead by half a slice, then the two alternate.
    let mut served = [0u64; 3];
    for _ in 0..20 {
        let VcpuSlot(vcpu) = queue.pick().unwrap();
        let share = if vcpu == 1 { &mut hog } else { &mut sleeper };
        queue.charge(share, SLICE / 2);
        served[usize::from(vcpu)] += 1;
        assert!(queue.requeue(VcpuSlot(vcpu), share));
    }
    assert!(served[1] >= 9, "{served:?}");
}

#[test]
fn full_is_said_and_removed_are_gone() {
    let mut queue = RunQueue::new(TICKS_PER_SECOND);
    let mut share = Share::new(Weight::DEFAULT);
    assert!((0..256).all(|vcpu| queue.arrive(VcpuSlot(vcpu), &mut share)));
    assert_eq!(queue.wake(VcpuSlot(999), &mut share), Woken::Full);
    assert!(queue.remove(VcpuSlot(77)));
    assert!(!queue.remove(VcpuSlot(77)));
    let mut left: Vec<u16> = core::iter::from_fn(|| queue.pick()).map(|slot| slot.0).collect();
    left.sort_unstable();
    assert_eq!(left.len(), 255);
    assert!(!left.contains(&77));
    assert_eq!(queue.pick(), None);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 3 } else { 200 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// At every moment, hogs on one PE are within a slice of each other, each measured by its own clock.
    #[test]
    fn hogs_stay_within_a_slice(weights in prop::collection::vec(64u32..4096, 1..20)) {
        let mut machine = Machine::new(1, &weights);
        let longest = SLICE * 1024 / u64::from(*weights.iter().min().unwrap()) + SLICE;
        for _ in 0..if cfg!(miri) { 20 } else { 600 } {
            machine.run_slice();
            let (least, most) = machine.spread();
            prop_assert!(most - least <= longest, "{least}–{most}, allowed {longest}");
        }
    }

    /// Whatever the others do (block, wake, run short), a hog gets its part, and everyone who waits runs.
    #[test]
    fn nobody_starves(script in prop::collection::vec((0u16..8, 1u64..=SLICE, any::<bool>()), if cfg!(miri) { 20..40 } else { 400..800 })) {
        let mut queue = RunQueue::new(TICKS_PER_SECOND);
        let mut shares = [Share::new(Weight::DEFAULT); 9];
        let mut asleep = [false; 9];
        let mut served = [0u64; 9];
        let mut waited = [0u64; 9];
        for (vcpu, share) in (0u16..).zip(&mut shares) {
            prop_assert!(queue.arrive(VcpuSlot(vcpu), share));
        }
        for (waker, ticks, blocks) in script {
            let VcpuSlot(vcpu) = queue.pick().unwrap();
            let at = usize::from(vcpu);
            // vCPU 8 is the hog.
            let ticks = if at == 8 { SLICE } else { ticks };
            queue.charge(&mut shares[at], ticks);
            served[at] += ticks;
            waited.iter_mut().zip(asleep).filter(|(_, asleep)| !asleep).for_each(|(waited, _)| *waited += ticks);
            waited[at] = 0;
            if blocks && at != 8 {
                queue.block();
                asleep[at] = true;
                waited[at] = 0;
            } else {
                prop_assert!(queue.requeue(VcpuSlot(vcpu), &shares[at]));
            }
            let wakes = usize::from(waker);
            if asleep[wakes] {
                asleep[wakes] = false;
                prop_assert!(queue.wake(VcpuSlot(waker), &mut shares[wakes]) != Woken::Full);
            }
            // Eight others, each at most a slice and the bonus ahead.
            prop_assert!(waited.iter().all(|waited| *waited <= 8 * (2 * SLICE + SLICE / 2)), "{waited:?}");
        }
        let total: u64 = served.iter().sum();
        prop_assert!(served[8] + 3 * SLICE >= total / 9, "{served:?}");
    }

    /// The heap against a sorted list.
    #[test]
    fn picks_are_in_order(times in prop::collection::vec(0u64..100_000, 1..if cfg!(miri) { 30 } else { 200 }), gone in 0usize..200) {
        let mut queue = RunQueue::new(TICKS_PER_SECOND);
        let mut expected = Vec::new();
        for (vcpu, time) in (0u16..).zip(&times) {
            let mut share = Share::new(Weight::DEFAULT);
            share.vruntime = *time;
            prop_assert!(queue.arrive(VcpuSlot(vcpu), &mut share));
            expected.push((*time, vcpu));
        }
        let gone = expected.remove(gone % times.len()).1;
        prop_assert!(queue.remove(VcpuSlot(gone)));
        expected.sort_unstable();
        let picked = core::iter::from_fn(|| queue.pick()).map(|slot| times[usize::from(slot.0)]);
        prop_assert_eq!(picked.collect::<Vec<_>>(), expected.iter().map(|(time, _)| *time).collect::<Vec<_>>());
    }
}
