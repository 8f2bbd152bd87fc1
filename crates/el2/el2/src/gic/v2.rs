//! GICv2: Distributor, CPU interface, virtual interface control (IHI 0048, 4 and 5).

use super::{Acknowledged, Hardware, Interface, LOWEST, priorities};
use crate::mmio::{load32, store32};
use core::sync::atomic::{AtomicU64, Ordering};
use drivers::board::PaRange;
use specs::Pa;

static GICD: AtomicU64 = AtomicU64::new(0);
static GICC: AtomicU64 = AtomicU64::new(0);
static GICH: AtomicU64 = AtomicU64::new(0);
static GICV: AtomicU64 = AtomicU64::new(0);

const HCR: u64 = 0x00;
const VTR: u64 = 0x04;
const VMCR: u64 = 0x08;
const ELRSR0: u64 = 0x30;
const APR: u64 = 0xf0;
const LR0: u64 = 0x100;

/// Where a frame is. A path that accesses several of its registers loads its address once.
#[derive(Clone, Copy)]
struct Frame(u64);

impl Frame {
    #[inline(always)]
    fn of(frame: &AtomicU64) -> Self {
        Self(frame.load(Ordering::Relaxed))
    }

    /// Stores to the register `OFFSET + further`.
    #[inline(always)]
    fn set<const OFFSET: u64>(self, further: u64, value: u32) {
        // SAFETY: the frame was mapped by `super::start`; offsets are inside its first 4 KiB (GICC_DIR: 8 KiB).
        unsafe { store32::<OFFSET>(self.0.wrapping_add(further), value) };
    }

    #[inline(always)]
    fn get<const OFFSET: u64>(self, further: u64) -> u32 {
        // SAFETY: as in `set`.
        unsafe { load32::<OFFSET>(self.0.wrapping_add(further)) }
    }
}

#[inline(always)]
fn set<const OFFSET: u64>(frame: &AtomicU64, further: u64, value: u32) {
    Frame::of(frame).set::<OFFSET>(further, value);
}

#[inline(always)]
fn get<const OFFSET: u64>(frame: &AtomicU64, further: u64) -> u32 {
    Frame::of(frame).get::<OFFSET>(further)
}

pub(super) fn start(gicd: Pa, gicc: Pa, gich: Pa, gicv: PaRange) {
    for (frame, at) in [(&GICD, gicd), (&GICC, gicc), (&GICH, gich), (&GICV, gicv.start)] {
        frame.store(at.0, Ordering::Relaxed);
    }
    let lines = u64::from(get::<4>(&GICD, 0) & 31) + 1;
    set::<0>(&GICD, 0, 0);
    for word in 1..lines {
        set::<0x180>(&GICD, 4 * word, !0);
        set::<0x380>(&GICD, 4 * word, !0);
        for byte in 0..8 {
            set::<0x400>(&GICD, 32 * word + 4 * byte, priorities((32 * word + 4 * byte) as u32));
        }
    }
    set::<0>(&GICD, 0, 1);
}

pub(super) fn start_pe() -> u64 {
    set::<0x180>(&GICD, 0, !0);
    set::<0x380>(&GICD, 0, !0);
    for word in 0..8 {
        set::<0x400>(&GICD, 4 * word, priorities(4 * word as u32));
    }
    set::<0x100>(&GICD, 0, 1 | 1 << 25 | 1 << 26 | 1 << 27);
    for word in 0..4 {
        // GICC_APR: no priority is active, whatever firmware left: it would hide all that are less urgent.
        set::<0xd0>(&GICC, 4 * word, 0);
    }
    set::<4>(&GICC, 0, u32::from(LOWEST));
    set::<0>(&GICC, 0, 1 | 1 << 9); // enable, EOImode
    set::<HCR>(&GICH, 0, 1);
    // GICD_ITARGETSR0 reads as this PE's own mask in each byte.
    u64::from(get::<0x800>(&GICD, 0) & 0xff)
}

/// INTID, and for an SGI who sent it: the same value ends it.
#[inline(always)]
pub(super) fn acknowledge() -> u32 {
    get::<0xc>(&GICC, 0)
}

#[inline(always)]
pub(super) fn drop_priority(iar: u32) {
    set::<0x10>(&GICC, 0, iar);
}

#[inline(always)]
pub(super) fn deactivate(iar: u32) {
    set::<0x1000>(&GICC, 0, iar);
}

pub(super) fn send_sgi(intid: u32, target: u64) {
    set::<0xf00>(&GICD, 0, (target as u32 & 0xff) << 16 | intid);
}

pub(super) fn enable_spi(intid: u32, target: u64) {
    // Byte registers, written as the word that holds them.
    let word = u64::from(intid & !3);
    let shift = 8 * (intid & 3);
    set::<0x800>(&GICD, word, get::<0x800>(&GICD, word) & !(0xff << shift) | (target as u32 & 0xff) << shift);
    set::<0x100>(&GICD, 4 * u64::from(intid / 32), 1 << (intid % 32));
}

pub(super) fn set_active(intid: u32, active: bool) {
    set::<0x300>(&GICD, if active { 0 } else { 0x80 }, 1 << intid);
    if active {
        // Once it is read the store has arrived: the guest that is entered next takes no interrupt that is active.
        let _ = get::<0x300>(&GICD, 0);
    }
}

pub(super) fn virtual_interface() -> Pa {
    Pa(GICV.load(Ordering::Relaxed))
}

/// The list registers of this PE: GICH_LR<n>.
#[derive(Debug, Default)]
pub struct ListRegistersV2(());

impl Hardware for ListRegistersV2 {
    const IS_V3: bool = false;

    #[inline(always)]
    fn here() -> Self {
        Self(())
    }

    #[inline(always)]
    fn acknowledge() -> Acknowledged {
        Acknowledged(acknowledge())
    }

    #[inline(always)]
    fn drop_priority(interrupt: Acknowledged) {
        drop_priority(interrupt.0);
    }

    #[inline(always)]
    fn deactivate(interrupt: Acknowledged) {
        deactivate(interrupt.0);
    }

    #[inline(always)]
    fn count(&self) -> usize {
        (get::<VTR>(&GICH, 0) & 63) as usize + 1
    }

    #[inline(always)]
    fn get(&self, index: usize) -> u64 {
        u64::from(get::<LR0>(&GICH, 4 * (index as u64 & 63)))
    }

    #[inline(always)]
    fn set(&mut self, index: usize, value: u64) {
        set::<LR0>(&GICH, 4 * (index as u64 & 63), value as u32);
    }

    /// The first 32: the vGIC uses 16 at most.
    #[inline(always)]
    fn empty(&self) -> u64 {
        u64::from(get::<ELRSR0>(&GICH, 0))
    }

    #[inline(always)]
    fn control(&self) -> u64 {
        u64::from(get::<HCR>(&GICH, 0))
    }

    #[inline(always)]
    fn set_control(&mut self, value: u64) {
        set::<HCR>(&GICH, 0, value as u32);
    }

    #[inline(always)]
    fn vmcr(&self) -> u64 {
        u64::from(get::<VMCR>(&GICH, 0))
    }

    #[inline(always)]
    fn save(to: &mut Interface) {
        let gich = Frame::of(&GICH);
        to.vmcr = u64::from(gich.get::<VMCR>(0));
        to.control = u64::from(gich.get::<HCR>(0));
        to.active[0][0] = u64::from(gich.get::<APR>(0));
    }

    #[inline(always)]
    fn load(from: &Interface) {
        let gich = Frame::of(&GICH);
        gich.set::<VMCR>(0, from.vmcr as u32);
        gich.set::<APR>(0, from.active[0][0] as u32);
        gich.set::<HCR>(0, from.control as u32);
    }
}
