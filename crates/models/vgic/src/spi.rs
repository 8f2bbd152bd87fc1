//! The VM's shared interrupts, INTIDs 32–159.
//!
//! Used by `distributor` and `owner`, under [`Vgic`](crate::Vgic)'s one lock. Standards: GICv2, IHI 0048B, 4.3.12
//! "ITARGETSRn"; GICv3, IHI 0069, 12.9.22 `GICD_IROUTER<n>`.
//!
//! Invariants: `resident` implies that `holder` is the vCPU whose list register has it; `evicted` likewise names the
//! vCPU that handles it. `routed[v]` has an SPI's bit for at most one `v`.

use specs::VcpuIndex;
use specs::gic::gicd;

use crate::bank::Groups;
use crate::bits::{Ones, SPI_WORDS, Spi, SpiBits, VcpuSet};
use crate::lr::Version;

/// Where an SPI goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Route(pub(crate) u32);

/// State of all SPIs.
pub(crate) struct Spis {
    pub(crate) enable: SpiBits,
    pub(crate) group: SpiBits,
    /// Edge-triggered (ICFGR).
    pub(crate) edge: SpiBits,
    pub(crate) line: SpiBits,
    /// Tokens that are in no list register.
    pub(crate) latch: SpiBits,
    pub(crate) active: SpiBits,
    pub(crate) resident: SpiBits,
    /// A token is in a list register, as last folded.
    pub(crate) held: SpiBits,
    pub(crate) evicted: SpiBits,
    /// Requests to the holder: take the token out of the list register; make active; make inactive.
    pub(crate) revoke: SpiBits,
    pub(crate) activate: SpiBits,
    pub(crate) deactivate: SpiBits,
    priority: [u8; 128],
    /// GICv2: the byte of ITARGETSR. GICv3: Aff3.Aff2.Aff1.Aff0 of IROUTER.
    route: [Route; 128],
    holder: [u8; 128],
    routed: [SpiBits; 8],
}

impl Spis {
    /// After reset. With one vCPU, or on GICv3 where affinity 0.0.0.0 is vCPU 0, everything goes to it.
    pub(crate) const fn new(version: Version, vcpus: u8) -> Self {
        let none = SpiBits::NONE;
        let first = if matches!(version, Version::V3) || vcpus == 1 { SpiBits::ALL } else { none };
        Self {
            enable: none,
            group: none,
            edge: none,
            line: none,
            latch: none,
            active: none,
            resident: none,
            held: none,
            evicted: none,
            revoke: none,
            activate: none,
            deactivate: none,
            priority: [0; 128],
            route: [Route(0); 128],
            holder: [0; 128],
            routed: [first, none, none, none, none, none, none, none],
        }
    }

    /// SPIs of a word that are pending outside the list registers.
    #[inline]
    pub(crate) fn pending(&self, word: usize) -> u32 {
        self.latch.word(word) | self.line.word(word) & !self.edge.word(word)
    }

    /// SPIs of a word that are enabled, in an enabled group.
    #[inline]
    pub(crate) fn eligible(&self, word: usize, groups: Groups) -> u32 {
        self.enable.word(word) & groups.allow(self.group.word(word))
    }

    /// SPIs of a word that are routed to `vcpu`.
    #[inline]
    pub(crate) fn routed(&self, vcpu: VcpuIndex, word: usize) -> u32 {
        self.routed.get(usize::from(vcpu.0)).map_or(0, |bits| bits.word(word))
    }

    /// The vCPU whose list register has it.
    #[inline]
    pub(crate) fn holder(&self, spi: Spi) -> VcpuIndex {
        VcpuIndex(self.holder.get(spi.index()).copied().unwrap_or(0))
    }

    /// Names the vCPU whose list register has it.
    #[inline]
    pub(crate) fn put_holder(&mut self, spi: Spi, vcpu: VcpuIndex) {
        if let Some(place) = self.holder.get_mut(spi.index()) {
            *place = vcpu.0;
        }
    }

    /// Its priority.
    #[inline]
    pub(crate) fn priority(&self, spi: Spi) -> u8 {
        self.priority.get(spi.index()).copied().unwrap_or(0)
    }

    /// Sets its priority.
    pub(crate) fn put_priority(&mut self, spi: Spi, priority: u8) {
        if let Some(place) = self.priority.get_mut(spi.index()) {
            *place = priority;
        }
    }

    /// Its route as the guest wrote it.
    pub(crate) fn route(&self, spi: Spi) -> Route {
        self.route.get(spi.index()).copied().unwrap_or_default()
    }

    /// Routes it as the guest wrote, to `target`.
    pub(crate) fn put_route(&mut self, spi: Spi, route: Route, target: Option<VcpuIndex>) {
        if let Some(place) = self.route.get_mut(spi.index()) {
            *place = route;
        }
        for (vcpu, routed) in self.routed.iter_mut().enumerate() {
            routed.put(spi, target.is_some_and(|target| usize::from(target.0) == vcpu));
        }
    }

    /// vCPUs that must look at the interrupts `bits` of a word: for each its holder, or the target if it can be
    /// delivered there.
    pub(crate) fn concerned(&self, word: usize, bits: u32, groups: Groups) -> VcpuSet {
        let resident = self.resident.word(word);
        let ready = self.pending(word) & self.eligible(word, groups) & !self.active.word(word) & !resident;
        let mut set = VcpuSet::NONE;
        for spi in Ones(bits & resident).filter_map(|bit| Spi::at(word, bit)) {
            set = set.union(VcpuSet::one(self.holder(spi)));
        }
        for vcpu in VcpuSet(0xff) {
            if bits & ready & self.routed(vcpu, word) != 0 {
                set = set.union(VcpuSet::one(vcpu));
            }
        }
        set
    }

    /// [`Self::concerned`] of one SPI.
    #[inline]
    pub(crate) fn concerned_by(&self, spi: Spi, groups: Groups) -> VcpuSet {
        if self.resident.contains(spi) {
            return VcpuSet::one(self.holder(spi));
        }
        self.concerned(spi.word(), spi.mask(), groups)
    }

    /// Drives a line; says whether its pending state may have changed.
    #[inline]
    pub(crate) fn drive(&mut self, spi: Spi, high: bool) -> bool {
        if self.line.contains(spi) == high {
            return false;
        }
        self.line.put(spi, high);
        if high && self.edge.contains(spi) {
            self.latch.put(spi, true);
        }
        high || !self.edge.contains(spi)
    }

    /// Makes SPIs of a word active or inactive (ISACTIVER, ICACTIVER).
    pub(crate) fn put_active(&mut self, word: usize, bits: u32, active: bool) {
        let resident = bits & self.resident.word(word);
        let (set, clear) = if active { (resident, 0) } else { (0, resident) };
        self.activate.put_word(word, self.activate.word(word) & !resident | set);
        self.deactivate.put_word(word, self.deactivate.word(word) & !resident | clear);
        let others = bits & !resident;
        let now = self.active.word(word);
        self.active.put_word(word, if active { now | others } else { now & !others });
        if !active {
            self.evicted.put_word(word, self.evicted.word(word) & !others);
        }
    }

    /// `spi` left its list register: what was asked of the holder is done here.
    pub(crate) fn settle_requests(&mut self, spi: Spi) {
        if self.activate.contains(spi) {
            self.active.put(spi, true);
        }
        self.revoke.put(spi, false);
        self.activate.put(spi, false);
        self.deactivate.put(spi, false);
    }

    /// Sets or clears the pending state of SPIs of a word (ISPENDR, ICPENDR).
    pub(crate) fn put_pending(&mut self, word: usize, bits: u32, pending: bool) {
        let latch = self.latch.word(word);
        if pending {
            self.latch.put_word(word, latch | bits);
        } else {
            self.latch.put_word(word, latch & !bits);
            let revoke = self.revoke.word(word) | bits & self.resident.word(word);
            self.revoke.put_word(word, revoke);
        }
    }

    /// ISPENDR.
    pub(crate) fn read_pending(&self, word: usize) -> u32 {
        self.pending(word) | self.held.word(word) & !self.revoke.word(word)
    }

    /// ISACTIVER.
    pub(crate) fn read_active(&self, word: usize) -> u32 {
        (self.active.word(word) | self.activate.word(word)) & !self.deactivate.word(word)
    }
}

/// The vCPU that an ITARGETSR byte means: of several targets the first, which the 1-N model allows.
pub(crate) fn target_of_byte(byte: u32, vcpus: VcpuSet) -> Option<VcpuIndex> {
    let [low, ..] = byte.to_le_bytes();
    VcpuSet(low).intersection(vcpus).next()
}

/// The vCPU that an IROUTER affinity means: vCPU n has affinity 0.0.0.n.
pub(crate) fn target_of_affinity(affinity: u32, vcpus: VcpuSet) -> Option<VcpuIndex> {
    let vcpu = VcpuIndex(u8::try_from(affinity).ok().filter(|aff0| *aff0 < 8)?);
    vcpus.contains(vcpu).then_some(vcpu)
}

/// IROUTER from a packed affinity.
pub(crate) fn irouter(route: Route) -> u64 {
    u64::from(route.0 & 0x00ff_ffff) | u64::from(route.0 >> 24) << 32
}

/// A packed affinity from IROUTER. "1 of N" is not supported (GICD_TYPER.No1N): the bit reads as zero.
pub(crate) fn affinity(irouter: u64) -> Route {
    let irouter = irouter & !gicd::IROUTER_IRM;
    let [aff0, aff1, aff2, _, aff3, ..] = irouter.to_le_bytes();
    Route(u32::from_le_bytes([aff0, aff1, aff2, aff3]))
}

const _: () = assert!(SPI_WORDS * 32 == 128);
