//! The Distributor's registers.
//!
//! Called by the exits for guest accesses to GICD. Standards: GICv2, IHI 0048B, 4.3 "Distributor register
//! descriptions"; GICv3, IHI 0069, 12.9 "The GIC Distributor register descriptions". One Security state; registers are
//! 32 bits wide, IROUTER 64 (or two halves), IPRIORITYR, ITARGETSR and the SGI pending registers also a byte. Whatever
//! else is read is zero, whatever else is written is lost.
//!
//! Concurrency: any PE. Constants and private interrupts take no lock, SPIs the VM's one.

use core::sync::atomic::Ordering;

use ports::Width;
use specs::VcpuIndex;
use specs::gic::gicd;

use crate::bits::{Spi, SpiBits, VcpuSet};
use crate::lr::Version;
use crate::private::{PRIORITY_MASK, index};
use crate::spi::{Spis, affinity, irouter, target_of_affinity, target_of_byte};
use crate::vgic::Vgic;

/// GICD_IIDR and GICR_IIDR: implementer Arm.
pub(crate) const IIDR: u32 = 0x43b;
/// GICD_IIDR of GICv2: a GIC-400.
const IIDR_V2: u32 = 0x0200_143b;
/// PIDR4–7, PIDR0–3, CIDR0–3 of GICv2: architecture revision 2.
const ID_V2: [u8; 12] = [0x04, 0, 0, 0, 0x90, 0xb4, 0x2b, 0, 0x0d, 0xf0, 0x05, 0xb1];
/// The same of GICv3's Distributor (and, in PIDR0, Redistributor): architecture revision 3.
pub(crate) const ID_V3: [u8; 12] = [0x44, 0, 0, 0, 0x92, 0xb4, 0x3b, 0, 0x0d, 0xf0, 0x05, 0xb1];

/// End of the registers that GICv2 has, and of GICv3's below IROUTER.
const BANKED_END: u64 = 0x1000;
const IROUTER_END: u64 = gicd::IROUTER + 8 * 160;

/// The word that a store of up to 32 bits stores.
#[inline]
fn low(value: u64) -> u32 {
    let [v0, v1, v2, v3, ..] = value.to_le_bytes();
    u32::from_le_bytes([v0, v1, v2, v3])
}

impl Vgic {
    /// A load from GICD of what never changes, and is read often; `None`: ask [`Self::gicd_read`].
    #[inline]
    pub fn gicd_read_constant(&self, offset: u64, width: Width) -> Option<u64> {
        (offset == gicd::TYPER && width == Width::W32).then_some(u64::from(self.typer))
    }

    /// A guest's load from GICD at `offset`.
    #[inline]
    pub fn gicd_read(&self, me: VcpuIndex, offset: u64, width: Width) -> u64 {
        self.read_distributor(me, offset, width)
    }

    /// A guest's store to GICD at `offset`. Returns the vCPUs that must look (kick those that run elsewhere).
    #[inline]
    pub fn gicd_write(&self, me: VcpuIndex, offset: u64, width: Width, value: u64) -> VcpuSet {
        match self.gicd_write_short(me, offset, width, value) {
            Some(concerned) => concerned,
            None => self.write_distributor(me, offset, width, value, low(value)),
        }
    }

    /// A store to GICD that is frequent and soon done, an SGI or of nothing; `None`, and nothing done: ask
    /// [`Self::gicd_write`].
    #[inline]
    pub fn gicd_write_short(&self, me: VcpuIndex, offset: u64, width: Width, value: u64) -> Option<VcpuSet> {
        if width == Width::W32 && self.version == Version::V2 && offset == gicd::SGIR {
            return Some(self.sgir_write(me, low(value)));
        }
        let is_nothing = (gicd::ISENABLER..gicd::IPRIORITYR).contains(&offset) && low(value) == 0;
        is_nothing.then_some(VcpuSet::NONE)
    }

    #[inline(never)]
    fn read_distributor(&self, me: VcpuIndex, offset: u64, width: Width) -> u64 {
        if offset & (width.bytes() - 1) != 0 || width == Width::W16 {
            return 0;
        }
        if offset >= gicd::IROUTER {
            return self.read_upper(offset, width);
        }
        if width == Width::W64 || offset >= BANKED_END {
            return 0;
        }
        if is_private(offset) {
            return if self.version == Version::V2 { self.read_banked(me, offset, width) } else { 0 };
        }
        match (offset, width) {
            (gicd::CTLR, Width::W32) => u64::from(self.read_ctlr()),
            (gicd::TYPER, Width::W32) => u64::from(self.typer),
            (gicd::IIDR, Width::W32) => u64::from(if self.version == Version::V2 { IIDR_V2 } else { IIDR }),
            (gicd::PIDR4_V2..BANKED_END, Width::W32) if self.version == Version::V2 => {
                id_register(&ID_V2, offset - gicd::PIDR4_V2)
            }
            _ => self.read_shared(offset, width),
        }
    }

    fn read_banked(&self, me: VcpuIndex, offset: u64, width: Width) -> u64 {
        if (gicd::ITARGETSR..gicd::ITARGETSR + 32).contains(&offset) {
            // An interrupt of one's own has oneself as its target; with one PE the register does not exist.
            let byte = if self.vcpus == 1 { 0 } else { u32::from(VcpuSet::one(me).0) };
            let word = byte * 0x0101_0101;
            return if width == Width::W8 { u64::from(byte) } else { u64::from(word) };
        }
        self.read_private(me, offset, width)
    }

    fn read_ctlr(&self) -> u32 {
        let enables = self.ctlr.load(Ordering::Relaxed);
        match self.version {
            Version::V2 => enables,
            Version::V3 => enables | gicd::CTLR_ARE | gicd::CTLR_DS,
        }
    }

    /// IROUTER and the identification registers of GICv3.
    fn read_upper(&self, offset: u64, width: Width) -> u64 {
        if self.version == Version::V2 || width == Width::W8 {
            return 0;
        }
        if (gicd::PIDR4_V3..0x1_0000).contains(&offset) && width == Width::W32 {
            return id_register(&ID_V3, offset - gicd::PIDR4_V3);
        }
        let Some(spi) = routed_spi(offset) else { return 0 };
        let router = irouter(self.spis.lock().route(spi));
        if width == Width::W64 { router } else { router >> ((offset & 4) * 8) & 0xffff_ffff }
    }

    fn read_shared(&self, offset: u64, width: Width) -> u64 {
        let spis = self.spis.lock();
        if width == Width::W8 {
            return u64::from(self.byte(&spis, offset));
        }
        let word = (offset & 0x7f) as usize >> 2;
        let value = match offset & !0x7f {
            _ if offset >= gicd::IPRIORITYR => return u64::from(self.read_wide(&spis, offset)),
            gicd::IGROUPR => below(word, |word| spis.group.word(word)),
            gicd::ISENABLER | gicd::ICENABLER => below(word, |word| spis.enable.word(word)),
            gicd::ISPENDR | gicd::ICPENDR => below(word, |word| spis.read_pending(word)),
            gicd::ISACTIVER | gicd::ICACTIVER => below(word, |word| spis.read_active(word)),
            _ => 0,
        };
        u64::from(value)
    }

    /// Registers with more than a bit per SPI.
    fn read_wide(&self, spis: &Spis, offset: u64) -> u32 {
        if (gicd::ICFGR..gicd::ICFGR + 0x100).contains(&offset) {
            let first = index(offset, gicd::ICFGR) as u64 * 16;
            let edges = (0..16).filter(|n| spi_at(first + n).is_some_and(|spi| spis.edge.contains(spi)));
            return edges.fold(0, |word, n| word | 2 << (n * 2));
        }
        let bytes = [0, 1, 2, 3].map(|lane| self.byte(spis, offset + lane));
        u32::from_le_bytes(bytes)
    }

    /// A byte of IPRIORITYR or ITARGETSR.
    fn byte(&self, spis: &Spis, offset: u64) -> u8 {
        if let Some(spi) = byte_spi(offset, gicd::IPRIORITYR) {
            return spis.priority(spi);
        }
        match byte_spi(offset, gicd::ITARGETSR) {
            Some(spi) if self.version == Version::V2 => {
                let [targets, ..] = spis.route(spi).0.to_le_bytes();
                targets
            }
            _ => 0,
        }
    }

    #[inline(never)]
    fn write_distributor(&self, me: VcpuIndex, offset: u64, width: Width, value: u64, low: u32) -> VcpuSet {
        if offset & (width.bytes() - 1) != 0 || width == Width::W16 {
            return VcpuSet::NONE;
        }
        if offset >= gicd::IROUTER {
            return self.write_router(offset, width, value);
        }
        if width == Width::W64 || offset >= BANKED_END {
            return VcpuSet::NONE;
        }
        if is_private(offset) {
            let banked = self.version == Version::V2;
            return if banked { self.write_private(me, offset, width, low) } else { VcpuSet::NONE };
        }
        if offset == gicd::CTLR {
            return if width == Width::W32 { self.write_ctlr(low) } else { VcpuSet::NONE };
        }
        self.write_shared(offset, width, low)
    }

    fn write_ctlr(&self, value: u32) -> VcpuSet {
        let enables = value & (gicd::CTLR_ENABLE_GRP0 | gicd::CTLR_ENABLE_GRP1);
        if self.ctlr.swap(enables, Ordering::Relaxed) == enables {
            return VcpuSet::NONE;
        }
        self.post_all(self.all())
    }

    fn write_router(&self, offset: u64, width: Width, value: u64) -> VcpuSet {
        let Some(spi) = routed_spi(offset).filter(|_| self.version == Version::V3) else {
            return VcpuSet::NONE;
        };
        let mut spis = self.spis.lock();
        let old = irouter(spis.route(spi));
        let new = match (width, offset & 4) {
            (Width::W64, _) => value,
            (Width::W32, 0) => old & !0xffff_ffff | value & 0xffff_ffff,
            (Width::W32, _) => old & 0xffff_ffff | value << 32,
            _ => return VcpuSet::NONE,
        };
        let route = affinity(new);
        if route == spis.route(spi) {
            return VcpuSet::NONE;
        }
        spis.put_route(spi, route, target_of_affinity(route.0, self.all()));
        let set = spis.concerned_by(spi, self.groups());
        self.post_all(set)
    }

    /// Registers of SPIs below IROUTER.
    fn write_shared(&self, offset: u64, width: Width, value: u32) -> VcpuSet {
        let mut spis = self.spis.lock();
        let set = if offset >= gicd::IPRIORITYR {
            self.write_wide(&mut spis, offset, width, value)
        } else if width == Width::W32 {
            let word = (offset & 0x7f) as usize >> 2;
            match word.checked_sub(1) {
                Some(word) => self.write_word(&mut spis, offset & !0x7f, word, value),
                None => VcpuSet::NONE,
            }
        } else {
            VcpuSet::NONE
        };
        self.post_all(set)
    }

    /// Registers with a bit per SPI.
    fn write_word(&self, spis: &mut Spis, register: u64, word: usize, bits: u32) -> VcpuSet {
        let replace = |field: &mut SpiBits, new: u32| {
            let old = field.word(word);
            field.put_word(word, new);
            old ^ new
        };
        let enabled = spis.enable.word(word);
        let changed = match register {
            gicd::IGROUPR => replace(&mut spis.group, bits),
            gicd::ISENABLER => replace(&mut spis.enable, enabled | bits),
            gicd::ICENABLER => replace(&mut spis.enable, enabled & !bits),
            gicd::ISPENDR | gicd::ICPENDR => {
                spis.put_pending(word, bits, register == gicd::ISPENDR);
                bits
            }
            gicd::ISACTIVER | gicd::ICACTIVER => {
                spis.put_active(word, bits, register == gicd::ISACTIVER);
                bits
            }
            _ => 0,
        };
        if changed == 0 {
            return VcpuSet::NONE;
        }
        spis.concerned(word, changed, self.groups())
    }

    /// Registers with more than a bit per SPI.
    fn write_wide(&self, spis: &mut Spis, offset: u64, width: Width, value: u32) -> VcpuSet {
        if (gicd::ICFGR..gicd::ICFGR + 0x100).contains(&offset) {
            return if width == Width::W32 { self.write_config(spis, offset, value) } else { VcpuSet::NONE };
        }
        let bytes = value.to_le_bytes();
        let lanes = if width == Width::W8 { 1 } else { 4 };
        let mut set = VcpuSet::NONE;
        for (lane, byte) in (0..lanes).zip(bytes) {
            set = set.union(self.write_byte(spis, offset + lane, byte));
        }
        set
    }

    fn write_config(&self, spis: &mut Spis, offset: u64, value: u32) -> VcpuSet {
        let first = index(offset, gicd::ICFGR) as u64 * 16;
        let mut set = VcpuSet::NONE;
        for n in 0..16 {
            let edge = value >> (n * 2 + 1) & 1 != 0;
            let Some(spi) = spi_at(first + n).filter(|spi| spis.edge.contains(*spi) != edge) else {
                continue;
            };
            spis.edge.put(spi, edge);
            set = set.union(spis.concerned_by(spi, self.groups()));
        }
        set
    }

    /// A byte of IPRIORITYR or ITARGETSR.
    fn write_byte(&self, spis: &mut Spis, offset: u64, byte: u8) -> VcpuSet {
        if let Some(spi) = byte_spi(offset, gicd::IPRIORITYR) {
            let priority = byte & PRIORITY_MASK;
            if spis.priority(spi) == priority {
                return VcpuSet::NONE;
            }
            spis.put_priority(spi, priority);
            return spis.concerned_by(spi, self.groups());
        }
        // With one PE there is no ITARGETSR: everything goes there.
        let Some(spi) = byte_spi(offset, gicd::ITARGETSR) else { return VcpuSet::NONE };
        if self.version == Version::V3 || self.vcpus == 1 {
            return VcpuSet::NONE;
        }
        let route = crate::spi::Route(u32::from(byte & self.all().0));
        if route == spis.route(spi) {
            return VcpuSet::NONE;
        }
        spis.put_route(spi, route, target_of_byte(route.0, self.all()));
        spis.concerned_by(spi, self.groups())
    }
}

/// The SPI of INTID `intid`, if there is one.
fn spi_at(intid: u64) -> Option<Spi> {
    Spi::of(u32::try_from(intid).ok()?)
}

/// The SPI that the byte at `offset` of a byte-per-INTID register beginning at `first` belongs to.
fn byte_spi(offset: u64, first: u64) -> Option<Spi> {
    spi_at(offset.checked_sub(first).filter(|intid| *intid < 1024)?)
}

/// The SPI of an IROUTER at `offset`.
fn routed_spi(offset: u64) -> Option<Spi> {
    let inside = (gicd::IROUTER..IROUTER_END).contains(&offset);
    if inside { spi_at((offset - gicd::IROUTER) >> 3) } else { None }
}

/// `read` of a word of SPIs, where word 0 of the register is the private interrupts.
fn below(word: usize, read: impl Fn(usize) -> u32) -> u32 {
    word.checked_sub(1).map_or(0, read)
}

/// One of the identification registers, `offset` from the first.
pub(crate) fn id_register(bytes: &[u8; 12], offset: u64) -> u64 {
    if offset & 3 != 0 {
        return 0;
    }
    bytes.get(index(offset, 0)).copied().map_or(0, u64::from)
}

/// Whether `offset` is a register of INTIDs 0–31, which GICv2 banks, or of SGIs.
fn is_private(offset: u64) -> bool {
    match offset {
        0x080..0x400 => offset & 0x7c == 0,
        0x400..0xc00 => offset & 0x3ff < 32,
        0xc00..0xd00 => offset < 0xc08,
        0xf00..0xf30 => true,
        _ => false,
    }
}
