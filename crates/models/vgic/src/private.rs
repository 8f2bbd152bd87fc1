//! Registers of the private interrupts: GICv2's banked ones in GICD, GICv3's in the `SGI_base` frame; same offsets.
//!
//! Called by `distributor` and `redistributor`. Standards: GICv2, IHI 0048B, 4.3; GICv3, IHI 0069, 12.11.
//!
//! Concurrency: no lock. What changes pending or active state is a request to the vCPU's owner; GICv3 lets any vCPU
//! write any Redistributor.

use ports::Width;
use specs::VcpuIndex;
use specs::gic::gicd;

use crate::bank::{Bank, RECONCILE, SGIS};
use crate::bits::{Ones, VcpuSet};
use crate::lr::{Entry, Version};
use crate::vgic::Vgic;

/// ICFGR0: SGIs are edge-triggered.
const ICFGR0: u32 = 0xaaaa_aaaa;

/// Priority bits that exist: the five that any list register keeps.
pub(crate) const PRIORITY_MASK: u8 = 0xf8;

impl Vgic {
    /// A load from `vcpu`'s private registers; `offset` is aligned to `width`, one or four bytes.
    pub(crate) fn read_private(&self, vcpu: VcpuIndex, offset: u64, width: Width) -> u64 {
        let bank = self.bank(vcpu);
        let word = self.read_private_word(bank, offset & !3);
        if width == Width::W8 {
            let byte_wide = matches!(offset, 0x400..0x420 | 0xf10..0xf30);
            return if byte_wide { u64::from(word >> ((offset & 3) * 8) & 0xff) } else { 0 };
        }
        u64::from(word)
    }

    fn read_private_word(&self, bank: &Bank, offset: u64) -> u32 {
        match offset {
            gicd::IGROUPR => bank.group.get(),
            gicd::ISENABLER | gicd::ICENABLER => bank.enable.get(),
            gicd::ISPENDR | gicd::ICPENDR => self.pending_state(bank),
            gicd::ISACTIVER | gicd::ICACTIVER => {
                (bank.active.get() | bank.set_active.get()) & !bank.clear_active.get()
            }
            0x400..0x420 => {
                u32::from_le_bytes([0, 1, 2, 3].map(|lane| bank.priority(intid_of(offset) + lane)))
            }
            gicd::ICFGR => ICFGR0,
            0xf10..0xf20 if self.version == Version::V2 => source_state(bank, index(offset, gicd::CPENDSGIR)),
            0xf20..0xf30 if self.version == Version::V2 => source_state(bank, index(offset, gicd::SPENDSGIR)),
            _ => 0,
        }
    }

    /// ISPENDR0.
    fn pending_state(&self, bank: &Bank) -> u32 {
        let [p0, p1, p2, p3, ..] = bank.peek_inbox().to_le_bytes();
        let posted = u32::from_le_bytes([p0, p1, p2, p3]);
        let mut state =
            (bank.latch.get() | bank.held.get()) & !bank.clear_pending.get() | posted | bank.line.get();
        if self.version == Version::V2 {
            state &= !SGIS;
            for sgi in 0..16 {
                let sources = source_state(bank, (sgi >> 2) as usize) >> ((sgi & 3) * 8) & 0xff;
                state |= u32::from(sources != 0) << sgi;
            }
        }
        state
    }

    /// A store to `vcpu`'s private registers; `offset` is aligned to `width`, one or four bytes.
    pub(crate) fn write_private(&self, vcpu: VcpuIndex, offset: u64, width: Width, value: u32) -> VcpuSet {
        let bank = self.bank(vcpu);
        let shift = (offset & 3) * 8;
        let lanes = if width == Width::W8 { 0xff << shift } else { u32::MAX };
        let bits = value << shift & lanes;
        let aligned = offset & !3;
        let changed = match aligned {
            0x400..0x420 => write_priorities(bank, offset, width, value),
            0xf10..0xf30 if self.version == Version::V2 => self.write_sources(bank, aligned, bits),
            _ if width == Width::W32 => self.write_private_word(bank, aligned, bits),
            _ => 0,
        };
        if changed == 0 {
            return VcpuSet::NONE;
        }
        bank.post(RECONCILE);
        VcpuSet::one(vcpu)
    }

    fn write_private_word(&self, bank: &Bank, offset: u64, bits: u32) -> u32 {
        match offset {
            gicd::IGROUPR => bank.group.replace(u32::MAX, bits),
            gicd::ISENABLER => bank.enable.add(bits),
            gicd::ICENABLER => bank.enable.remove(bits),
            gicd::ISPENDR => self.set_pending(bank, bits),
            gicd::ICPENDR => self.clear_pending(bank, bits),
            gicd::ISACTIVER => {
                bank.clear_active.remove(bits);
                bank.set_active.request(bits);
                bits
            }
            gicd::ICACTIVER => {
                bank.set_active.remove(bits);
                bank.clear_active.request(bits);
                bits
            }
            _ => 0,
        }
    }

    /// On GICv2 the SGIs' pending bits are read-only here.
    fn pendable(&self, bits: u32) -> u32 {
        if self.version == Version::V2 { bits & !SGIS } else { bits }
    }

    fn set_pending(&self, bank: &Bank, bits: u32) -> u32 {
        let bits = self.pendable(bits);
        bank.post(u64::from(bits));
        bits
    }

    fn clear_pending(&self, bank: &Bank, bits: u32) -> u32 {
        let bits = self.pendable(bits);
        bank.unpost(bits);
        bank.clear_pending.request(bits);
        bits
    }

    /// CPENDSGIR and SPENDSGIR: one word of four SGIs.
    fn write_sources(&self, bank: &Bank, offset: u64, bits: u32) -> u32 {
        let present = u32::from(self.all().0);
        let bits = bits & (present * 0x0101_0101);
        if offset < gicd::SPENDSGIR {
            let word = index(offset, gicd::CPENDSGIR);
            bank.source_word(word).remove(bits);
            bank.clear_source_word(word).request(bits);
            return bits;
        }
        let word = index(offset, gicd::SPENDSGIR);
        bank.source_word(word).request(bits);
        let first = u32::try_from(offset - gicd::SPENDSGIR).unwrap_or(0) & 0xc;
        let mut pending = 0_u32;
        for lane in Ones(0xf).filter(|lane| bits >> (lane * 8) & 0xff != 0) {
            pending |= 1 << (first + lane);
        }
        bank.post(u64::from(pending));
        bits
    }
}

/// One or four bytes of IPRIORITYR; says (by anything but zero) whether one changed.
fn write_priorities(bank: &Bank, offset: u64, width: Width, value: u32) -> u32 {
    let lanes = if width == Width::W8 { 1 } else { 4 };
    let bytes = (0_u32..lanes).zip(value.to_le_bytes());
    bytes.fold(0, |changed, (lane, byte)| {
        changed | u32::from(bank.put_priority(intid_of(offset) + lane, byte & PRIORITY_MASK))
    })
}

/// The INTID of the byte at `offset` of IPRIORITYR.
fn intid_of(offset: u64) -> u32 {
    u32::try_from(offset.saturating_sub(gicd::IPRIORITYR) & 31).unwrap_or(0)
}

/// CPENDSGIR and SPENDSGIR of four SGIs: what is outside the list registers, and what is pending in one.
fn source_state(bank: &Bank, word: usize) -> u32 {
    let mut state = bank.source_word(word).get();
    let cleared = bank.clear_source_word(word).get();
    for slot in Ones(bank.used.get()) {
        let (intid, source) = (bank.slot_intid(slot), Entry::decode(Version::V2, bank.slot(slot)).source());
        if intid < 16 && (intid >> 2) as usize == word && bank.held.get() & 1 << intid != 0 {
            state |= crate::bank::source_mask(intid, source) & !cleared;
        }
    }
    state
}

/// The word at `offset` of the registers that begin at `first`.
#[inline]
pub(crate) fn index(offset: u64, first: u64) -> usize {
    usize::try_from(offset.saturating_sub(first) >> 2).unwrap_or(0)
}
