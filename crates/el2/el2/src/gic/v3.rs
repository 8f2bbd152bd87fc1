//! GICv3: Distributor, Redistributor, ICC and ICH system registers (IHI 0069, 12 "Programmers' Model").

mod start;

use super::{Acknowledged, Hardware, Interface};
use crate::mmio::{load32, store32};
use crate::regs::{instruction, read, write};
use core::sync::atomic::{AtomicU64, Ordering};

pub(super) use start::{start, start_pe};

static GICD: AtomicU64 = AtomicU64::new(0);
/// First address and end of each Redistributor region.
static GICR: [[AtomicU64; 2]; 2] = [const { [const { AtomicU64::new(0) }; 2] }; 2];

#[inline(always)]
fn gicd() -> u64 {
    GICD.load(Ordering::Relaxed)
}

fn set(at: u64, value: u32) {
    // SAFETY: callers pass addresses inside the frames that `super::start` mapped.
    unsafe { store32::<0>(at, value) };
}

fn get(at: u64) -> u32 {
    // SAFETY: as in `set`.
    unsafe { load32::<0>(at) }
}

/// The SGI frame of each PE's Redistributor, found once by its affinity.
struct SgiFrames([AtomicU64; drivers::board::MAX_PES]);
static SGI_FRAME: SgiFrames = SgiFrames([const { AtomicU64::new(0) }; drivers::board::MAX_PES]);

impl SgiFrames {
    fn with(&self, at: u64) {
        if let Some(slot) = self.0.get(usize::from(crate::pe::current().0)) {
            slot.store(at, Ordering::Relaxed);
        }
    }

    fn here(&self) -> u64 {
        self.0.get(usize::from(crate::pe::current().0)).map_or(0, |slot| slot.load(Ordering::Relaxed))
    }
}

#[inline(always)]
pub(super) fn acknowledge() -> u32 {
    read!("S3_0_C12_C12_0") as u32
}

#[inline(always)]
pub(super) fn drop_priority(intid: u32) {
    write!("S3_0_C12_C12_1", u64::from(intid));
}

#[inline(always)]
pub(super) fn deactivate(intid: u32) {
    write!("S3_0_C12_C11_1", u64::from(intid));
}

pub(super) fn send_sgi(intid: u32, target: u64) {
    write!("S3_0_C12_C11_5", target | u64::from(intid) << 24);
    instruction!("isb");
}

pub(super) fn enable_spi(intid: u32, target: u64) {
    let affinity = (target >> 48 & 0xff) << 32
        | (target >> 32 & 0xff) << 16
        | (target >> 16 & 0xff) << 8
        | (target >> 44 & 15) << 4
        | u64::from((target & 0xffff).trailing_zeros());
    let router = gicd() + 0x6000 + 8 * u64::from(intid);
    set(router, affinity as u32);
    set(router + 4, (affinity >> 32) as u32);
    set(gicd() + 0x100 + 4 * u64::from(intid / 32), 1 << (intid % 32));
}

pub(super) fn set_active(intid: u32, active: bool) {
    let frame = SGI_FRAME.here();
    set(frame + if active { 0x300 } else { 0x380 }, 1 << intid);
    if active {
        // As on GICv2: once it is read the store has arrived.
        let _ = get(frame + 0x300);
    }
}

/// Runs `$body` with `$n` replaced by the list register's number as a literal.
macro_rules! for_list {
    ($index:expr, $m:ident $(, $value:expr)?) => {
        match $index {
            0 => $m!("S3_4_C12_C12_0" $(, $value)?),
            1 => $m!("S3_4_C12_C12_1" $(, $value)?),
            2 => $m!("S3_4_C12_C12_2" $(, $value)?),
            3 => $m!("S3_4_C12_C12_3" $(, $value)?),
            4 => $m!("S3_4_C12_C12_4" $(, $value)?),
            5 => $m!("S3_4_C12_C12_5" $(, $value)?),
            6 => $m!("S3_4_C12_C12_6" $(, $value)?),
            7 => $m!("S3_4_C12_C12_7" $(, $value)?),
            8 => $m!("S3_4_C12_C13_0" $(, $value)?),
            9 => $m!("S3_4_C12_C13_1" $(, $value)?),
            10 => $m!("S3_4_C12_C13_2" $(, $value)?),
            11 => $m!("S3_4_C12_C13_3" $(, $value)?),
            12 => $m!("S3_4_C12_C13_4" $(, $value)?),
            13 => $m!("S3_4_C12_C13_5" $(, $value)?),
            14 => $m!("S3_4_C12_C13_6" $(, $value)?),
            _ => $m!("S3_4_C12_C13_7" $(, $value)?),
        }
    };
}

/// The list registers of this PE: ICH_LR<n>_EL2.
#[derive(Debug, Default)]
pub struct ListRegistersV3(());

impl Hardware for ListRegistersV3 {
    const IS_V3: bool = true;

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
        (read!("S3_4_C12_C11_1") & 31) as usize + 1
    }

    #[inline(always)]
    fn get(&self, index: usize) -> u64 {
        if index == 0 { read!("S3_4_C12_C12_0") } else { get_other(index) }
    }

    #[inline(always)]
    fn set(&mut self, index: usize, value: u64) {
        if index == 0 {
            write!("S3_4_C12_C12_0", value);
        } else {
            set_other(index, value);
        }
    }

    /// A list register that was written shows there after a context synchronization event, and on a PE that runs this
    /// several are written between two exits.
    #[inline(always)]
    fn empty(&self) -> u64 {
        instruction!("isb");
        read!("S3_4_C12_C11_5")
    }

    #[inline(always)]
    fn control(&self) -> u64 {
        read!("S3_4_C12_C11_0")
    }

    #[inline(always)]
    fn set_control(&mut self, value: u64) {
        write!("S3_4_C12_C11_0", value);
    }

    #[inline(always)]
    fn vmcr(&self) -> u64 {
        read!("S3_4_C12_C11_7")
    }

    #[inline(always)]
    fn save(to: &mut Interface) {
        (to.vmcr, to.control) = (read!("S3_4_C12_C11_7"), read!("S3_4_C12_C11_0"));
        to.active[0] = [read!("S3_4_C12_C8_0"), read!("S3_4_C12_C9_0")];
        if to.further != 0 {
            save_more(to);
        }
    }

    #[inline(always)]
    fn load(from: &Interface) {
        write!("S3_4_C12_C11_7", from.vmcr);
        write!("S3_4_C12_C8_0", from.active[0][0]);
        write!("S3_4_C12_C9_0", from.active[0][1]);
        if from.further != 0 {
            load_more(from);
        }
        write!("S3_4_C12_C11_0", from.control);
    }
}

/// Any but the first list register, which is the one in use most often.
#[inline(never)]
fn get_other(index: usize) -> u64 {
    for_list!(index, read)
}

#[inline(never)]
fn set_other(index: usize, value: u64) {
    for_list!(index, write, value);
}

/// How many registers of active priorities there are for each group beside the first: ICH_VTR_EL2.PREbits.
pub(super) fn further_active_priorities() -> u32 {
    let bits = (read!("S3_4_C12_C11_1") >> 26 & 7) + 1;
    (1 << bits.clamp(5, 7).wrapping_sub(5)) - 1
}

#[cold]
fn save_more(to: &mut Interface) {
    to.active[1] = [read!("S3_4_C12_C8_1"), read!("S3_4_C12_C9_1")];
    if to.further > 1 {
        to.active[2] = [read!("S3_4_C12_C8_2"), read!("S3_4_C12_C9_2")];
        to.active[3] = [read!("S3_4_C12_C8_3"), read!("S3_4_C12_C9_3")];
    }
}

#[cold]
fn load_more(from: &Interface) {
    write!("S3_4_C12_C8_1", from.active[1][0]);
    write!("S3_4_C12_C9_1", from.active[1][1]);
    if from.further > 1 {
        write!("S3_4_C12_C8_2", from.active[2][0]);
        write!("S3_4_C12_C8_3", from.active[3][0]);
        write!("S3_4_C12_C9_2", from.active[2][1]);
        write!("S3_4_C12_C9_3", from.active[3][1]);
    }
}
