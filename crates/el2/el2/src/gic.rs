//! Guards: the physical GIC and the virtual interface's hardware (list registers).
//!
//! GICv2 (GIC-400) and GICv3; which one is found in the device tree, once. EOImode is 1: EL2 drops the priority, and
//! who handles the interrupt deactivates it: the guest for its own timer (HW bit), EL2 for all others.
//! Source: IHI 0048 "GICv2", IHI 0069 "GICv3 and GICv4".

mod v2;
mod v3;

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use drivers::board::{GicNode, MAX_PES, PaRange};
use specs::{Intid, Pa, PeId};

pub use v2::ListRegistersV2;
pub use v3::ListRegistersV3;

/// The SGI by which one PE asks another to look at its work.
pub const KICK: Intid = Intid(0);
/// PPI of the maintenance interrupt (BSA, table of PPIs).
pub const MAINTENANCE: Intid = Intid(25);
/// PPI of the EL2 physical timer.
pub const HYP_TIMER: Intid = Intid(26);
/// PPI of the virtual timer.
pub const VIRTUAL_TIMER: Intid = Intid(27);

/// PMR: every priority below it comes.
const LOWEST: u8 = 0xff;

/// How urgent an interrupt is, the lower the more. The EL2 timer is less so than all others: work that always has more to
/// do sets a deadline that is over at once, and of two interrupts that are as urgent the one with the lower INTID comes,
/// so that no device's would. The upper four bits are those that every GIC has, in each Security state's view.
const fn priority(intid: u32) -> u8 {
    if intid == HYP_TIMER.0 { 0xa0 } else { 0x80 }
}

const _: () = {
    let [others, timer, lowest] = [priority(KICK.0), priority(HYP_TIMER.0), LOWEST];
    assert!(others & 0xf0 < timer & 0xf0 && timer & 0xf0 < lowest & 0xf0);
};

/// The word of GICD_IPRIORITYR or GICR_IPRIORITYR that begins with `first`.
const fn priorities(first: u32) -> u32 {
    u32::from_le_bytes([priority(first), priority(first + 1), priority(first + 2), priority(first + 3)])
}

static IS_V3: AtomicBool = AtomicBool::new(false);
/// How each PE is addressed by an SGI: its affinity (v3) or its mask (v2).
static TARGETS: [AtomicU64; MAX_PES] = [const { AtomicU64::new(0) }; MAX_PES];

/// Whether the GIC is a GICv3.
#[inline(always)]
pub fn is_v3() -> bool {
    IS_V3.load(Ordering::Relaxed)
}

/// One version of the hardware, for paths that choose it once: acknowledging, and this PE's list registers.
pub trait Hardware {
    /// Which version.
    const IS_V3: bool;

    /// The registers of the PE that runs this.
    fn here() -> Self;
    /// Acknowledges the next pending interrupt, which is active then.
    fn acknowledge() -> Acknowledged;
    /// Drops the running priority: others may come.
    fn drop_priority(interrupt: Acknowledged);
    /// Ends an interrupt that EL2 handled.
    fn deactivate(interrupt: Acknowledged);
    /// How many list registers there are.
    fn count(&self) -> usize;
    /// Reads one.
    fn get(&self, index: usize) -> u64;
    /// Writes one.
    fn set(&mut self, index: usize, value: u64);
    /// A bit for each list register that holds no interrupt, as they were set last: GICH_ELRSR, ICH_ELRSR_EL2.
    fn empty(&self) -> u64;
    /// GICH_HCR, ICH_HCR_EL2.
    fn control(&self) -> u64;
    /// Sets it.
    fn set_control(&mut self, value: u64);
    /// GICH_VMCR, ICH_VMCR_EL2.
    fn vmcr(&self) -> u64;
    /// What a switch keeps beside the list registers.
    fn save(to: &mut Interface);
    /// Puts it back.
    fn load(from: &Interface);
}

/// List registers that the vGIC uses at most.
const LISTS: usize = 16;

/// A vCPU's virtual interface while it is not loaded, but for its list registers.
#[derive(Clone, Debug, Default)]
pub struct Interface {
    /// GICH_VMCR, ICH_VMCR_EL2.
    vmcr: u64,
    /// GICH_HCR, ICH_HCR_EL2.
    control: u64,
    /// GICH_APR; ICH_AP0R<n>_EL2 and ICH_AP1R<n>_EL2 for each n.
    active: [[u64; 2]; 4],
    /// Of each group, registers of active priorities beside the first: 1 or 3 on a GICv3 with more than five bits of
    /// priority.
    further: u32,
}

impl Interface {
    /// Of a vCPU that has not run yet.
    pub(crate) fn new() -> Self {
        let further = if is_v3() { v3::further_active_priorities() } else { 0 };
        Self { control: 1, further, ..Self::default() }
    }
}

/// The list registers of a vCPU that is not loaded.
#[derive(Clone, Debug)]
pub(crate) struct Lists {
    /// Those that exist and are used by the vGIC.
    all: u32,
    used: u32,
    values: [u64; LISTS],
}

impl Lists {
    pub(crate) fn new() -> Self {
        let count = if is_v3() { ListRegistersV3::here().count() } else { ListRegistersV2::here().count() };
        Self { all: (2 << (count - 1).min(LISTS - 1)) - 1, used: 0, values: [0; LISTS] }
    }

    /// They are empty then: another vCPU's are loaded next, or [`leave_empty`] is called.
    #[inline(always)]
    pub(crate) fn save<H: Hardware>(&mut self) {
        let mut here = H::here();
        self.used = !(here.empty() as u32) & self.all;
        if self.used != 0 {
            self.save_used(&mut here);
        }
    }

    #[inline(never)]
    fn save_used(&mut self, here: &mut impl Hardware) {
        for index in self.in_use() {
            self.values[index] = here.get(index);
            here.set(index, 0);
        }
    }

    #[inline(always)]
    pub(crate) fn load<H: Hardware>(&self) {
        if self.used != 0 {
            self.load_used(&mut H::here());
        }
    }

    #[inline(never)]
    fn load_used(&self, here: &mut impl Hardware) {
        for index in self.in_use() {
            here.set(index, self.values[index]);
        }
    }

    /// The indices of the list registers in use.
    fn in_use(&self) -> impl Iterator<Item = usize> + use<> {
        let mut left = self.used;
        core::iter::from_fn(move || {
            let index = left.trailing_zeros() as usize;
            left &= left.wrapping_sub(1);
            (index < LISTS).then_some(index)
        })
    }
}

/// No vCPU's virtual interface is loaded: this PE's does nothing.
pub(crate) fn leave_empty() {
    if is_v3() { ListRegistersV3::here().set_control(0) } else { ListRegistersV2::here().set_control(0) }
}

/// Sets the Distributor up; on the boot PE. `Err` names what is missing.
pub fn start(node: Option<GicNode>) -> Result<(), &'static str> {
    match node {
        Some(GicNode::V2 { gicd, gicc, gich, gicv }) => {
            for range in [gicd, gicc, gich] {
                map(range)?;
            }
            v2::start(gicd.start, gicc.start, gich.start, gicv);
        }
        Some(GicNode::V3 { gicd, gicr }) => {
            map(gicd)?;
            for region in gicr.into_iter().flatten() {
                map(region)?;
            }
            v3::start(gicd.start, gicr);
            IS_V3.store(true, Ordering::Relaxed);
        }
        None => return Err("the device tree names no GICv2 or GICv3"),
    }
    Ok(())
}

fn map(range: PaRange) -> Result<(), &'static str> {
    if crate::mmu::map_device(range) { Ok(()) } else { Err("a GIC frame wraps the address space") }
}

/// Sets this PE's interface up.
pub(crate) fn start_pe(pe: PeId) {
    let target = if is_v3() { v3::start_pe() } else { v2::start_pe() };
    if let Some(slot) = TARGETS.get(usize::from(pe.0)) {
        slot.store(target, Ordering::Release);
    }
}

/// An acknowledged interrupt, to be ended. On GICv2 it names the PE that sent an SGI, too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct Acknowledged(u32);

impl Acknowledged {
    /// Whether it is this PPI or SPI.
    #[inline(always)]
    pub fn is(self, intid: Intid) -> bool {
        self.0 == intid.0
    }

    /// Its INTID, or none if nothing was pending.
    #[inline(always)]
    pub fn intid(self) -> Option<Intid> {
        let intid = self.0 & if is_v3() { 0xff_ffff } else { 0x3ff };
        if (1020..8192).contains(&intid) { None } else { Some(Intid(intid)) }
    }
}

/// Acknowledges the next pending interrupt, which is active then.
#[inline(always)]
pub fn acknowledge() -> Acknowledged {
    Acknowledged(if is_v3() { v3::acknowledge() } else { v2::acknowledge() })
}

/// Drops the running priority: others may come.
#[inline(always)]
pub fn drop_priority(interrupt: Acknowledged) {
    if is_v3() { v3::drop_priority(interrupt.0) } else { v2::drop_priority(interrupt.0) }
}

/// What was acknowledged is no longer pending for who sends it again, and what its sender wrote before is read from now on:
/// comes between the acknowledgement of a [`KICK`] and a look at what it was for.
///
/// Source: IHI 0069, 4.1.1: the effect of a read of ICC_IAR1_EL1 is sure to be visible after a DSB only; on GICv2 the load
/// of GICC_IAR is none that later loads of normal memory wait for (Arm ARM, B2.3 "Ordering").
#[inline(always)]
pub fn settle() {
    crate::regs::instruction!("dsb sy");
}

/// Ends an interrupt that EL2 handled.
#[inline(always)]
pub fn deactivate(interrupt: Acknowledged) {
    if is_v3() { v3::deactivate(interrupt.0) } else { v2::deactivate(interrupt.0) }
}

/// Sends [`KICK`] to a PE, after all stores before.
pub fn kick(pe: PeId) {
    let Some(target) = TARGETS.get(usize::from(pe.0)) else { return };
    let target = target.load(Ordering::Acquire);
    crate::regs::dsb_ishst();
    if is_v3() { v3::send_sgi(KICK.0, target) } else { v2::send_sgi(KICK.0, target) }
}

/// Routes an SPI of a host device to this PE and enables it.
pub fn enable_spi(intid: Intid, pe: PeId) {
    let target = TARGETS.get(usize::from(pe.0)).map_or(0, |target| target.load(Ordering::Acquire));
    if intid.is_private() || intid.0 >= 1020 {
        return;
    }
    if is_v3() { v3::enable_spi(intid.0, target) } else { v2::enable_spi(intid.0, target) }
}

/// Sets or clears the physical active state of the virtual timer's PPI on this PE: it goes with the vCPU whose list
/// register is live (HW bit), or the next vCPU's timer would never fire.
pub fn set_timer_active(active: bool) {
    if is_v3() { v3::set_active(VIRTUAL_TIMER.0, active) } else { v2::set_active(VIRTUAL_TIMER.0, active) }
}

/// Where the hardware's virtual CPU interface is, on GICv2: guests have it mapped.
pub fn virtual_interface() -> Option<Pa> {
    (!is_v3()).then(v2::virtual_interface)
}

/// Ends a PPI of this PE that was acknowledged, and whose priority was dropped, before.
#[inline(always)]
pub fn deactivate_private(intid: Intid) {
    if intid.is_private() {
        deactivate(Acknowledged(intid.0));
    }
}
