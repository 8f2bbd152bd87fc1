//! GICv3: Distributor, Redistributor, ICC and ICH system registers (IHI 0069, 12 "Programmers' Model").

mod start;

use super::{Acknowledged, Hardware};
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
    read!("S3_0_C12_C12_0") as u32 & 0xff_ffff
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

const LISTS: usize = 16;

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
    fn peek() -> Acknowledged {
        Acknowledged(read!("S3_0_C12_C12_2") as u32 & 0xff_ffff)
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

/// A vCPU's virtual interface while it is not loaded.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    vmcr: u64,
    active0: [u64; 4],
    active1: [u64; 4],
    control: u64,
    /// The list registers that exist.
    all: u32,
    /// There are more than five bits of priority: more than one register of active ones for each group.
    has_more: bool,
    used: u32,
    lists: [u64; LISTS],
}

impl Default for Saved {
    fn default() -> Self {
        let vtr = read!("S3_4_C12_C11_1");
        let (all, has_more) = ((2 << (vtr & 15)) - 1, vtr >> 26 & 7 > 4);
        Self {
            vmcr: 0,
            active0: [0; 4],
            active1: [0; 4],
            control: 1,
            all,
            has_more,
            used: 0,
            lists: [0; LISTS],
        }
    }
}

impl Saved {
    #[inline(always)]
    pub(super) fn save(&mut self) {
        let mut here = ListRegistersV3::here();
        self.vmcr = here.vmcr();
        self.control = here.control();
        self.active0[0] = read!("S3_4_C12_C8_0");
        self.active1[0] = read!("S3_4_C12_C9_0");
        if self.has_more {
            self.save_more();
        }
        self.used = !(here.empty() as u32) & self.all;
        let mut used = self.used;
        while used != 0 {
            let index = used.trailing_zeros() as usize & (LISTS - 1);
            used &= used - 1;
            self.lists[index] = here.get(index);
            here.set(index, 0);
        }
    }

    #[inline(always)]
    pub(super) fn load(&mut self) {
        let mut here = ListRegistersV3::here();
        write!("S3_4_C12_C11_7", self.vmcr);
        write!("S3_4_C12_C8_0", self.active0[0]);
        write!("S3_4_C12_C9_0", self.active1[0]);
        if self.has_more {
            self.load_more();
        }
        let mut used = self.used;
        while used != 0 {
            let index = used.trailing_zeros() as usize & (LISTS - 1);
            used &= used - 1;
            here.set(index, self.lists[index]);
        }
        here.set_control(self.control);
    }

    /// More than 5 preemption bits: more active-priority registers.
    #[cold]
    fn save_more(&mut self) {
        self.active0[1] = read!("S3_4_C12_C8_1");
        self.active1[1] = read!("S3_4_C12_C9_1");
        if read!("S3_4_C12_C11_1") >> 26 & 7 > 5 {
            self.active0[2] = read!("S3_4_C12_C8_2");
            self.active0[3] = read!("S3_4_C12_C8_3");
            self.active1[2] = read!("S3_4_C12_C9_2");
            self.active1[3] = read!("S3_4_C12_C9_3");
        }
    }

    #[cold]
    fn load_more(&self) {
        write!("S3_4_C12_C8_1", self.active0[1]);
        write!("S3_4_C12_C9_1", self.active1[1]);
        if read!("S3_4_C12_C11_1") >> 26 & 7 > 5 {
            write!("S3_4_C12_C8_2", self.active0[2]);
            write!("S3_4_C12_C8_3", self.active0[3]);
            write!("S3_4_C12_C9_2", self.active1[2]);
            write!("S3_4_C12_C9_3", self.active1[3]);
        }
    }
}
