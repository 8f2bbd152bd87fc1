//! The whole vGIC against the reference: random sequences of what devices, guests and the host do, on 1, 2 and 4 list
//! registers. After each step every vCPU is signalled what the reference says, though only those were kicked that the
//! vGIC named; and what a guest reads of pending and active state is exact.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::vec;
use std::vec::Vec;

use super::reference::{Reference, TIMER};
use super::{Fake, Same};
use crate::fake::{InterfaceV2, InterfaceV3};
use crate::{Line, VcpuSet, Version, Vgic};
use ports::Width;
use specs::gic::{gicd, gicr};
use specs::{Intid, VcpuIndex};

const VCPUS: u8 = 2;
const INTIDS: [u32; 11] = [0, 1, 9, TIMER, 30, 32, 33, 63, 64, 65, 159];
const PRIORITIES: [u8; 4] = [0x20, 0x40, 0x80, 0xc0];

#[derive(Clone, Debug)]
enum Step {
    Line { which: usize, vcpu: u8, high: bool },
    Timer { vcpu: u8, high: bool },
    Send { from: u8, to: u8, sgi: u32 },
    Enable { which: usize, vcpu: u8, on: bool },
    Priority { which: usize, vcpu: u8, priority: u8 },
    Group { which: usize, vcpu: u8, group1: bool },
    Control { ctlr: u8 },
    Pend { which: usize, vcpu: u8, on: bool },
    Activate { which: usize, vcpu: u8, on: bool },
    Route { which: usize, target: u8 },
    Config { which: usize, edge: bool },
    Acknowledge { vcpu: u8 },
    End { vcpu: u8 },
    Deactivate { vcpu: u8, first: bool },
    Exit { vcpu: u8 },
    Switch { vcpu: u8 },
    Fold { vcpu: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    let vcpu = || 0..VCPUS;
    // One SPI comes often: some defects need several steps with the same interrupt.
    let from = |first: usize| prop_oneof![1 => Just(5), 2 => first..INTIDS.len()];
    let (which, device, spi) = (|| from(0), || from(4), || from(5));
    prop_oneof![
        6 => (device(), vcpu(), any::<bool>()).prop_map(|(which, vcpu, high)| Step::Line { which, vcpu, high }),
        3 => (vcpu(), any::<bool>()).prop_map(|(vcpu, high)| Step::Timer { vcpu, high }),
        5 => (vcpu(), vcpu(), 0_usize..3).prop_map(|(from, to, n)| Step::Send { from, to, sgi: INTIDS[n] }),
        2 => (which(), vcpu(), any::<bool>()).prop_map(|(which, vcpu, on)| Step::Enable { which, vcpu, on }),
        2 => (which(), vcpu(), 0..PRIORITIES.len())
            .prop_map(|(which, vcpu, n)| Step::Priority { which, vcpu, priority: PRIORITIES[n] }),
        1 => (which(), vcpu(), any::<bool>()).prop_map(|(which, vcpu, group1)| Step::Group { which, vcpu, group1 }),
        1 => (0_u8..4).prop_map(|ctlr| Step::Control { ctlr }),
        3 => (which(), vcpu(), any::<bool>()).prop_map(|(which, vcpu, on)| Step::Pend { which, vcpu, on }),
        2 => (which(), vcpu(), any::<bool>()).prop_map(|(which, vcpu, on)| Step::Activate { which, vcpu, on }),
        2 => (spi(), vcpu()).prop_map(|(which, target)| Step::Route { which, target }),
        1 => (spi(), any::<bool>()).prop_map(|(which, edge)| Step::Config { which, edge }),
        10 => vcpu().prop_map(|vcpu| Step::Acknowledge { vcpu }),
        8 => vcpu().prop_map(|vcpu| Step::End { vcpu }),
        8 => (vcpu(), any::<bool>()).prop_map(|(vcpu, first)| Step::Deactivate { vcpu, first }),
        1 => vcpu().prop_map(|vcpu| Step::Exit { vcpu }),
        2 => vcpu().prop_map(|vcpu| Step::Switch { vcpu }),
        1 => vcpu().prop_map(|vcpu| Step::Fold { vcpu }),
    ]
}

/// The vGIC, its vCPUs' interfaces and physical timers, and the reference beside them.
struct World<L> {
    vgic: Vgic,
    version: Version,
    lrs: Vec<L>,
    timers: Vec<bool>,
    /// The physical timer interrupt is active.
    physical: Vec<bool>,
    model: Reference,
    /// The guests end and deactivate apart (EOImode = 1); what they ended and did not deactivate yet.
    split: bool,
    ended: Vec<Vec<u32>>,
}

impl<L: Fake> World<L> {
    fn new(version: Version, count: usize, split: bool) -> Self {
        let mut one = L::with(count);
        one.guest().split = split;
        let mut world = Self {
            vgic: Vgic::new(version, VCPUS).unwrap(),
            version,
            lrs: (0..VCPUS).map(|_| one.with_same()).collect(),
            split,
            ended: vec![Vec::new(); usize::from(VCPUS)],
            timers: vec![false; usize::from(VCPUS)],
            physical: vec![false; usize::from(VCPUS)],
            model: Reference::new(version, VCPUS, &INTIDS),
        };
        // Steps begin from a machine that is switched on.
        world.apply(&Step::Control { ctlr: 3 });
        for which in 0..INTIDS.len() {
            for vcpu in 0..VCPUS {
                world.apply(&Step::Enable { which, vcpu, on: true });
                world.apply(&Step::Priority { which, vcpu, priority: 0x80 });
            }
            world.apply(&Step::Route { which, target: 0 });
        }
        world
    }

    fn write(&self, vcpu: u8, register: u64, intid: u32, width: Width, value: u64) -> VcpuSet {
        let offset = match width {
            Width::W32 => register + u64::from(intid / 32 * 4),
            _ => register + u64::from(intid),
        };
        match (self.version, intid < 32) {
            (Version::V3, true) => {
                let frame = u64::from(vcpu) * gicr::STRIDE + gicr::FRAME_BYTES;
                // From the other vCPU: any Redistributor is anyone's to write.
                self.vgic.gicr_write(VcpuIndex(1), frame + offset, width, value)
            }
            _ => self.vgic.gicd_write(VcpuIndex(vcpu), offset, width, value),
        }
    }

    fn write_bit(&self, vcpu: u8, set: u64, clear: u64, intid: u32, on: bool) -> VcpuSet {
        self.write(vcpu, if on { set } else { clear }, intid, Width::W32, 1 << (intid % 32))
    }

    fn read(&self, vcpu: u8, register: u64, intid: u32) -> bool {
        let offset = register + u64::from(intid / 32 * 4);
        let word = match (self.version, intid < 32) {
            (Version::V3, true) => {
                let frame = u64::from(vcpu) * gicr::STRIDE + gicr::FRAME_BYTES;
                self.vgic.gicr_read(VcpuIndex(vcpu), frame + offset, Width::W32)
            }
            _ => self.vgic.gicd_read(VcpuIndex(vcpu), offset, Width::W32),
        };
        word >> (intid % 32) & 1 != 0
    }

    fn apply(&mut self, step: &Step) {
        let kicked = self.configure(step).union(self.drive(step));
        self.guest(step);
        self.exits(kicked);
        self.settle();
    }

    /// What devices and hardware do.
    fn drive(&mut self, step: &Step) -> VcpuSet {
        match *step {
            Step::Line { which, vcpu, high } => {
                let intid = Intid(INTIDS[which]);
                self.model.drive(vcpu, intid.0, high);
                let vcpu = VcpuIndex(vcpu);
                let line = if intid.0 < 32 { Line::Private { intid, vcpu } } else { Line::Shared(intid) };
                self.vgic.set_line(line, high)
            }
            Step::Timer { vcpu, high } => {
                self.timers[usize::from(vcpu)] = high;
                VcpuSet::NONE
            }
            Step::Send { from, to, sgi } => {
                self.model.send(from, to, sgi);
                super::send(&self.vgic, VcpuIndex(from), VcpuIndex(to), sgi)
            }
            _ => VcpuSet::NONE,
        }
    }

    /// What guests write to the Distributor and Redistributors.
    fn configure(&mut self, step: &Step) -> VcpuSet {
        match *step {
            Step::Enable { which, vcpu, on } => {
                self.model.irq(vcpu, INTIDS[which]).enabled = on;
                self.write_bit(vcpu, gicd::ISENABLER, gicd::ICENABLER, INTIDS[which], on)
            }
            Step::Priority { which, vcpu, priority } => {
                // Of an active interrupt it may or may not count for its end.
                if self.model.irq(vcpu, INTIDS[which]).active {
                    return VcpuSet::NONE;
                }
                self.model.irq(vcpu, INTIDS[which]).priority = priority;
                self.write(vcpu, gicd::IPRIORITYR, INTIDS[which], Width::W8, u64::from(priority))
            }
            Step::Group { which, vcpu, group1 } => {
                self.model.irq(vcpu, INTIDS[which]).group1 = group1;
                self.write_group(vcpu, INTIDS[which], group1)
            }
            Step::Control { ctlr } => {
                self.model.ctlr = ctlr;
                self.vgic.gicd_write(VcpuIndex(0), gicd::CTLR, Width::W32, u64::from(ctlr))
            }
            Step::Pend { which, vcpu, on } => self.pend(vcpu, INTIDS[which], on),
            Step::Activate { which, vcpu, on } => self.activate(vcpu, INTIDS[which], on),
            Step::Route { which, target } if which >= 5 => self.route(INTIDS[which], target),
            Step::Config { which, edge } => self.config(INTIDS[which], edge),
            _ => VcpuSet::NONE,
        }
    }

    fn write_group(&self, vcpu: u8, intid: u32, group1: bool) -> VcpuSet {
        let offset = gicd::IGROUPR + u64::from(intid / 32 * 4);
        let old = match (self.version, intid < 32) {
            (Version::V3, true) => {
                let frame = u64::from(vcpu) * gicr::STRIDE + gicr::FRAME_BYTES;
                self.vgic.gicr_read(VcpuIndex(vcpu), frame + offset, Width::W32)
            }
            _ => self.vgic.gicd_read(VcpuIndex(vcpu), offset, Width::W32),
        };
        let bit = 1 << (intid % 32);
        let value = if group1 { old | bit } else { old & !bit };
        self.write(vcpu, gicd::IGROUPR, intid, Width::W32, value)
    }

    fn pend(&mut self, vcpu: u8, intid: u32, on: bool) -> VcpuSet {
        if !(self.version == Version::V2 && intid < 16) {
            let irq = self.model.irq(vcpu, intid);
            // Clearing what the line made pending samples the line anew.
            irq.physical &= on || !irq.latch || irq.physical_taken;
            irq.latch = on;
        }
        self.write_bit(vcpu, gicd::ISPENDR, gicd::ICPENDR, intid, on)
    }

    /// Only of what no guest is working on: a guest that deactivates what it did not end gets what it asked for.
    fn activate(&mut self, vcpu: u8, intid: u32, on: bool) -> VcpuSet {
        let running = self.model.running.iter().flatten().any(|(running, _)| *running == intid);
        if running || self.ended.iter().flatten().any(|ended| *ended == intid) {
            return VcpuSet::NONE;
        }
        self.model.irq(vcpu, intid).active = on;
        self.write_bit(vcpu, gicd::ISACTIVER, gicd::ICACTIVER, intid, on)
    }

    fn route(&mut self, intid: u32, target: u8) -> VcpuSet {
        // Who is active keeps its owner; where it may end is then another's concern.
        self.model.irq(0, intid).target = target;
        match self.version {
            Version::V2 => self.write(0, gicd::ITARGETSR, intid, Width::W8, 1 << target),
            Version::V3 => {
                let offset = gicd::IROUTER + 8 * u64::from(intid);
                self.vgic.gicd_write(VcpuIndex(0), offset, Width::W64, u64::from(target))
            }
        }
    }

    /// Only of what is idle: else the architecture leaves the pending state open.
    fn config(&mut self, intid: u32, edge: bool) -> VcpuSet {
        let irq = self.model.irq(0, intid);
        if irq.pending() || irq.active || irq.line {
            return VcpuSet::NONE;
        }
        irq.edge = edge;
        let offset = gicd::ICFGR + u64::from(intid / 16 * 4);
        let old = self.vgic.gicd_read(VcpuIndex(0), offset, Width::W32);
        let bit = 2 << (intid % 16 * 2);
        let value = if edge { old | bit } else { old & !bit };
        self.vgic.gicd_write(VcpuIndex(0), offset, Width::W32, value)
    }

    /// What guests do at their CPU interfaces, and the host of its own accord.
    fn guest(&mut self, step: &Step) {
        match *step {
            // With EOImode = 1 what is active never leaves the list registers: one must stay free of it.
            Step::Acknowledge { vcpu } if self.split && self.all_active_but_one(vcpu) => {}
            Step::Acknowledge { vcpu } => {
                let taken = self.lrs[usize::from(vcpu)].guest().acknowledge();
                assert_eq!(taken.is_some(), self.model.signalled(vcpu).is_some());
                if let Some((intid, source)) = taken {
                    self.model.acknowledge(vcpu, intid, source);
                }
            }
            Step::End { vcpu } => {
                if let Some(intid) = self.model.end(vcpu) {
                    self.lrs[usize::from(vcpu)].guest().end(intid);
                    if self.split {
                        self.ended[usize::from(vcpu)].push(intid);
                    } else {
                        self.model.deactivate(vcpu, intid);
                    }
                }
            }
            Step::Deactivate { vcpu, first } => self.deactivate(vcpu, first),
            Step::Exit { vcpu } => self.exits(VcpuSet::one(VcpuIndex(vcpu))),
            Step::Switch { vcpu } => {
                let lrs = &mut self.lrs[usize::from(vcpu)];
                let live = self.vgic.holds_hardware(VcpuIndex(vcpu), lrs);
                assert_eq!(live, self.model.irq(vcpu, TIMER).physical, "timer held");
                if !live {
                    lrs.guest().switch();
                }
            }
            Step::Fold { vcpu } => {
                let concerned = self.vgic.fold(VcpuIndex(vcpu), &mut self.lrs[usize::from(vcpu)]);
                self.compare_registers(vcpu);
                let live = self.vgic.live_hardware(VcpuIndex(vcpu));
                assert_eq!(live >> TIMER & 1 != 0, self.model.irq(vcpu, TIMER).physical, "live timer");
                self.exits(concerned.union(VcpuSet::one(VcpuIndex(vcpu))));
            }
            _ => {}
        }
    }

    fn all_active_but_one(&mut self, vcpu: u8) -> bool {
        let lrs = &mut self.lrs[usize::from(vcpu)];
        let active = lrs.guest().entries().iter().filter(|(_, entry)| entry.active).count();
        active + 1 >= lrs.count() as usize
    }

    fn deactivate(&mut self, vcpu: u8, first: bool) {
        let ended = &mut self.ended[usize::from(vcpu)];
        if !ended.is_empty() {
            let intid = ended.remove(if first { 0 } else { ended.len() - 1 });
            self.model.deactivate(vcpu, intid);
            self.lrs[usize::from(vcpu)].guest().deactivate_virtual(intid);
        }
    }

    /// Kicked vCPUs exit, flush and enter again.
    fn exits(&mut self, mut kicked: VcpuSet) {
        for _ in 0..8 {
            let Some(vcpu) = kicked.next() else { return };
            let lrs = &mut self.lrs[usize::from(vcpu.0)];
            if self.vgic.posted(vcpu) {
                kicked = kicked.union(self.vgic.flush(vcpu, lrs));
            }
        }
        panic!("vCPUs kick each other for ever");
    }

    /// Physical timers fire and maintenance interrupts are taken until nothing is left; then all must agree.
    fn settle(&mut self) {
        for _ in 0..8 {
            let mut quiet = true;
            for vcpu in 0..VCPUS {
                quiet &= !self.fire(vcpu) && !self.maintain(vcpu);
            }
            if quiet {
                (0..VCPUS).for_each(|vcpu| self.compare(vcpu));
                return;
            }
        }
        panic!("a storm of maintenance interrupts");
    }

    /// The host's own GIC: the timer fires while its line is high and it is not active.
    fn fire(&mut self, vcpu: u8) -> bool {
        let index = usize::from(vcpu);
        let guest = self.lrs[index].guest();
        let released = !guest.deactivated.is_empty();
        guest.deactivated.clear();
        self.physical[index] &= !released;
        if !self.timers[index] || self.physical[index] {
            return released;
        }
        self.physical[index] = true;
        self.model.fire(vcpu);
        let me = VcpuIndex(vcpu);
        // Half of them come while the guest runs, half while the vCPU is between two runs.
        let concerned = if vcpu == 0 {
            self.vgic.inject_hardware(me, Intid(TIMER), &mut self.lrs[index])
        } else {
            self.vgic.pend_hardware(me, Intid(TIMER));
            VcpuSet::one(me)
        };
        self.exits(concerned);
        true
    }

    fn maintain(&mut self, vcpu: u8) -> bool {
        let lrs = &mut self.lrs[usize::from(vcpu)];
        if !lrs.guest().maintenance() {
            return false;
        }
        let concerned = self.vgic.fold(VcpuIndex(vcpu), lrs);
        self.exits(concerned.union(VcpuSet::one(VcpuIndex(vcpu))));
        true
    }

    fn compare(&mut self, vcpu: u8) {
        let guest = self.lrs[usize::from(vcpu)].guest();
        assert_eq!(self.physical[usize::from(vcpu)], self.model.irq(vcpu, TIMER).physical, "physical timer");
        let got = guest.signalled().map(|(_, entry)| entry.priority);
        let entries = guest.entries();
        assert_eq!(got, self.model.signalled(vcpu), "vCPU {vcpu}: {:#?}\n{entries:#?}", self.model.busy());
        for (index, entry) in &entries {
            assert!(entries.iter().all(|(other, e)| other == index || e.intid != entry.intid), "twice");
        }
    }

    fn compare_registers(&mut self, vcpu: u8) {
        for intid in INTIDS {
            let irq = self.model.irq(vcpu, intid).clone();
            // What another vCPU has in its list registers is as old as its last exit.
            if intid < 32 || irq.target == vcpu && !irq.active {
                assert_eq!(self.read(vcpu, gicd::ISPENDR, intid), irq.pending(), "pending {intid}");
            }
            if intid < 32 {
                assert_eq!(self.read(vcpu, gicd::ISACTIVER, intid), irq.active, "active {intid}");
            }
        }
    }
}

/// List registers, and whether the guests split EOI.
fn shape() -> impl Strategy<Value = (usize, bool)> {
    prop_oneof![Just((1, false)), Just((2, false)), Just((4, false)), Just((4, true))]
}

fn run<L: Fake>(version: Version, (count, split): (usize, bool), steps: &[Step]) {
    let mut world = World::<L>::new(version, count, split);
    for step in steps {
        world.apply(step);
    }
}

const STEPS: usize = if cfg!(miri) { 20 } else { 150 };

/// PROPTEST_CASES asks for more, for a long run.
fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let cases = if cfg!(miri) { 1 } else { asked.unwrap_or(300) };
    // The same cases each time, so that a build says what its sources are; PROPTEST_CASES asks for others.
    let rng_seed = if asked.is_some() { RngSeed::Random } else { RngSeed::Fixed(20_261_123) };
    ProptestConfig { cases, failure_persistence: None, rng_seed, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn v2_is_the_reference(shape in shape(),
                           steps in prop::collection::vec(step(), 1..STEPS)) {
        run::<InterfaceV2>(Version::V2, shape, &steps);
    }

    #[test]
    fn v3_is_the_reference(shape in shape(),
                           steps in prop::collection::vec(step(), 1..STEPS)) {
        run::<InterfaceV3>(Version::V3, shape, &steps);
    }
}
