//! Guards: vCPUs: who owns one, and which one the PE's hardware holds.
//!
//! A vCPU is a [`Parked`] box on the PE that runs it, a [`Loaded`] one while its registers are in the hardware, or an
//! [`Unbound`] box on its way to another PE. Each is the only owner, so no lock protects a vCPU.
//! Called by `vmkernel`; the vectors turn the frame pointer into a `Loaded` and back.

use crate::context::Context;
use crate::gic::{self, VirtualState};
use crate::pe::Pe;
use crate::regs::{instruction, read, write};
use crate::vectors;
use alloc::boxed::Box;
use core::marker::PhantomData;
use core::mem::offset_of;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

/// What runs above this frame: the vmkernel.
pub trait Kernel: Sized + 'static {
    /// State that all PEs share; made once.
    type Host: Sync + 'static;
    /// State of one PE.
    type Pe: 'static;
    /// State of one vCPU.
    type Vcpu: Send + 'static;

    /// Takes the machine over, on the boot PE, before any other PE runs.
    fn boot(machine: crate::boot::Machine) -> Self::Host;
    /// Makes the state of a PE, on that PE.
    fn start_pe(host: &'static Self::Host, pe: specs::PeId) -> Self::Pe;
    /// Every PE that came up is up: starts VMs. On the boot PE.
    fn start(host: &'static Self::Host, pe: &mut Pe<Self>);
    /// Waits until a vCPU is to run, with none loaded.
    fn wait(pe: &mut Pe<Self>) -> Loaded<Self>;
    /// A synchronous exception from a guest. What is returned runs next.
    fn synchronous(pe: &mut Pe<Self>, vcpu: Loaded<Self>, syndrome: u64) -> Loaded<Self>;
    /// A physical interrupt while a guest ran.
    fn interrupt(pe: &mut Pe<Self>, vcpu: Loaded<Self>) -> Loaded<Self>;
    /// An SError while a guest ran.
    fn system_error(pe: &mut Pe<Self>, vcpu: Loaded<Self>, syndrome: u64) -> Loaded<Self>;
    /// EL2 took an exception itself: shows the panic screen.
    fn fatal(frame: &vectors::FatalFrame, syndrome: u64, address: u64, elr: u64) -> !;
}

/// A vCPU. The first four fields are known to the vectors.
#[repr(C, align(64))]
pub struct Vcpu<K: Kernel> {
    x: [u64; 31],
    stack_top: u64,
    pe: *mut Pe<K>,
    history_loops: u32,
    fp_pe: u16,
    serial: u64,
    /// The vmkernel's part.
    pub state: K::Vcpu,
    context: Context,
    lists: VirtualState,
}

pub(crate) const HISTORY_LOOPS: usize = 264;

const _: () = {
    assert!(offset_of!(Vcpu<Layout>, stack_top) == vectors::STACK_TOP);
    assert!(offset_of!(Vcpu<Layout>, history_loops) == HISTORY_LOOPS);
};

/// How a vCPU starts.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// First instruction.
    pub entry: u64,
    /// x0.
    pub x0: u64,
    /// VMPIDR_EL2.
    pub mpidr: u64,
    /// VTTBR_EL2.
    pub vttbr: u64,
    /// CNTVOFF_EL2.
    pub counter_offset: u64,
}

// SAFETY: `pe` is dereferenced only by the vectors' entry, while the vCPU is loaded on that PE; an unbound vCPU has a
// null one.
unsafe impl<K: Kernel> Send for Vcpu<K> {}

static SERIAL: AtomicU64 = AtomicU64::new(1);

/// A vCPU on its way to a PE.
pub struct Unbound<K: Kernel>(Box<Vcpu<K>>);

impl<K: Kernel> Unbound<K> {
    /// A new vCPU.
    pub fn new(state: K::Vcpu, start: Start) -> Self {
        let mut vcpu = Box::new(Vcpu {
            x: [0; 31],
            stack_top: 0,
            pe: core::ptr::null_mut(),
            history_loops: 0,
            fp_pe: u16::MAX,
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            state,
            context: Context::new(start.entry, start.mpidr, start.vttbr, HCR, start.counter_offset),
            lists: VirtualState::new(),
        });
        vcpu.x[0] = start.x0;
        Self(vcpu)
    }

    /// Gives the vCPU to this PE.
    pub fn bind(mut self, pe: &mut Pe<K>) -> Parked<K> {
        self.0.pe = pe;
        self.0.stack_top = pe.stack_top;
        self.0.history_loops = pe.history_loops;
        Parked(self.0, PhantomData)
    }

    /// The vmkernel's part.
    pub fn state(&mut self) -> &mut K::Vcpu {
        &mut self.0.state
    }
}

/// A vCPU of this PE that is not in the hardware.
pub struct Parked<K: Kernel>(Box<Vcpu<K>>, PhantomData<*mut ()>);

/// The general registers of a vCPU that is not in the hardware.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    /// x0 to x30.
    pub x: [u64; 31],
    /// Where it goes on.
    pub pc: u64,
    /// As in SPSR_EL2.
    pub pstate: u64,
}

impl<K: Kernel> Parked<K> {
    /// Where it was when it left.
    pub fn position(&self) -> Position {
        let (pc, pstate) = self.0.context.position();
        Position { x: self.0.x, pc, pstate }
    }

    /// Frees the vCPU from this PE. Its FP/SIMD registers were saved when it was unloaded.
    pub fn unbind(self) -> Unbound<K> {
        let mut vcpu = self.0;
        vcpu.pe = core::ptr::null_mut();
        vcpu.fp_pe = u16::MAX;
        Unbound(vcpu)
    }

    /// When the virtual timer will fire, on the physical counter.
    pub fn timer_deadline(&self) -> Option<u64> {
        self.0.context.timer_deadline()
    }

    /// Puts the vCPU into the hardware of this PE.
    #[inline(always)]
    pub fn load(self, pe: &mut Pe<K>) -> Loaded<K> {
        let vcpu = Box::leak(self.0);
        debug_assert!(core::ptr::eq(vcpu.pe, pe), "a parked vCPU is of this PE");
        vcpu.context.load(pe.fp_owner == vcpu.serial && vcpu.fp_pe == pe.id().0);
        gic::load(&mut vcpu.lists);
        Loaded(NonNull::from(vcpu), PhantomData)
    }
}

impl<K: Kernel> Deref for Parked<K> {
    type Target = K::Vcpu;
    fn deref(&self) -> &K::Vcpu {
        &self.0.state
    }
}

impl<K: Kernel> DerefMut for Parked<K> {
    fn deref_mut(&mut self) -> &mut K::Vcpu {
        &mut self.0.state
    }
}

/// The vCPU whose registers are in this PE's hardware.
#[repr(transparent)]
pub struct Loaded<K: Kernel>(NonNull<Vcpu<K>>, PhantomData<*mut ()>);

impl<K: Kernel> Deref for Loaded<K> {
    type Target = K::Vcpu;
    #[inline(always)]
    fn deref(&self) -> &K::Vcpu {
        // SAFETY: `Loaded` is the only owner of the box that it leaked from.
        unsafe { &self.0.as_ref().state }
    }
}

impl<K: Kernel> DerefMut for Loaded<K> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut K::Vcpu {
        // SAFETY: as in `deref`.
        unsafe { &mut self.0.as_mut().state }
    }
}

impl<K: Kernel> Loaded<K> {
    #[inline(always)]
    fn vcpu(&mut self) -> &mut Vcpu<K> {
        // SAFETY: `Loaded` is the only owner of the box that it leaked from.
        unsafe { self.0.as_mut() }
    }

    /// Takes the vCPU out of the hardware.
    #[inline(always)]
    pub fn unload(mut self) -> Parked<K> {
        let vcpu = self.vcpu();
        vcpu.context.save();
        gic::save(&mut vcpu.lists);
        // SAFETY: the pointer came from `Box::leak` in `load`, and `self` is gone.
        Parked(unsafe { Box::from_raw(self.0.as_ptr()) }, PhantomData)
    }

    /// Gives the vCPU the FP/SIMD registers, which it was trapped for.
    pub fn take_fp(&mut self, pe: &mut Pe<K>) {
        let vcpu = self.vcpu();
        vcpu.fp_pe = pe.id().0;
        pe.fp_owner = vcpu.serial;
        vcpu.context.load_fp();
    }

    /// General register `n`; 31 reads as zero.
    #[inline(always)]
    pub fn x(&self, n: usize) -> u64 {
        // SAFETY: as in `deref`.
        unsafe { self.0.as_ref() }.x.get(n).copied().unwrap_or(0)
    }

    /// Sets general register `n`; 31 ignores it.
    #[inline(always)]
    pub fn set_x(&mut self, n: usize, value: u64) {
        if let Some(x) = self.vcpu().x.get_mut(n) {
            *x = value;
        }
    }

    /// Address of the instruction that trapped.
    #[inline(always)]
    pub fn elr(&self) -> u64 {
        read!("elr_el2")
    }

    /// Steps over the instruction that trapped.
    #[inline(always)]
    pub fn skip(&mut self) {
        write!("elr_el2", read!("elr_el2").wrapping_add(4));
    }

    /// Fault address of the exit.
    #[inline(always)]
    pub fn fault_ipa(&self) -> u64 {
        (read!("hpfar_el2") & 0xfff_ffff_fff0) << 8 | read!("far_el2") & 0xfff
    }

    /// IPA of a stage-2 permission fault, for which HPFAR_EL2 holds nothing (but on a stage-1 walk): the guest's own
    /// translation of the address is asked again. None where it has changed meanwhile: the access is to be tried again.
    ///
    /// Source: Arm ARM (DDI 0487), D24.2 HPFAR_EL2; AT S1E1R, PAR_EL1.
    #[cold]
    pub fn permission_fault_ipa(&self) -> Option<u64> {
        let par = read!("par_el1");
        instruction!("at s1e1r", read!("far_el2"));
        instruction!("isb");
        let translated = read!("par_el1");
        write!("par_el1", par);
        (translated & 1 == 0).then(|| translated & 0xf_ffff_ffff_f000 | read!("far_el2") & 0xfff)
    }

    /// Virtual address of the exit's fault.
    pub fn fault_va(&self) -> u64 {
        read!("far_el2")
    }

    /// PSTATE of the guest.
    pub fn spsr(&self) -> u64 {
        read!("spsr_el2")
    }

    /// Whether the guest's stage 1 is on.
    pub fn guest_mmu_is_on(&self) -> bool {
        read!("sctlr_el1") & 1 != 0
    }

    /// Traps WFI from now on, or no more.
    #[inline(always)]
    pub fn trap_wfi(&mut self, trap: bool) {
        let hcr = read!("hcr_el2");
        let wanted = if trap { hcr | HCR_TWI } else { hcr & !HCR_TWI };
        if wanted != hcr {
            write!("hcr_el2", wanted);
        }
    }

    /// Drops what this PE keeps of the guest's translations and instructions: another vCPU of its VM, which has the same
    /// VMID, ran here before, and a guest may use one ASID for different things on different PEs.
    ///
    /// Source: Arm ARM (DDI 0487), D8.16 "TLB maintenance"; ASIDs are of one PE where TTBR.CnP is 0.
    #[inline(always)]
    pub fn forget_translations(&mut self) {
        instruction!("tlbi vmalle1");
        instruction!("ic iallu");
        instruction!("dsb nsh");
        instruction!("isb");
    }

    /// Takes a synchronous exception to the guest's EL1.
    ///
    /// Source: Arm ARM (DDI 0487), D1.3.1 "Exception entry"; `AArch64.TakeException`.
    pub fn inject_exception(&mut self, syndrome: u64, address: u64) {
        let spsr = read!("spsr_el2");
        let vector = match spsr & 0b1_1111 {
            0b0_0100 => 0x000,
            0b0_0101 => 0x200,
            mode if mode & 0x10 != 0 => 0x600,
            _ => 0x400,
        };
        write!("esr_el1", syndrome);
        write!("far_el1", address);
        write!("elr_el1", read!("elr_el2"));
        write!("spsr_el1", spsr);
        write!("elr_el2", read!("vbar_el1").wrapping_add(vector));
        // EL1h, DAIF masked; PAN, UAO and the like follow SCTLR_EL1 where they exist, which A72 has not: kept.
        write!("spsr_el2", SPSR_EXCEPTION | spsr & SPSR_KEPT);
    }

    /// Restarts the vCPU as at reset.
    pub fn reset(&mut self, start: Start) {
        let vcpu = self.vcpu();
        vcpu.context = Context::new(start.entry, start.mpidr, start.vttbr, HCR, start.counter_offset);
        vcpu.x = [0; 31];
        vcpu.x[0] = start.x0;
        vcpu.context.load(false);
    }

    /// Whether the virtual timer of the loaded vCPU fires now: CNTV_CTL_EL0 ENABLE and ISTATUS, not IMASK.
    #[inline(always)]
    pub fn timer_is_due(&self) -> bool {
        read!("cntv_ctl_el0") & 7 == 5
    }
}

/// EL1h with DAIF masked.
const SPSR_EXCEPTION: u64 = 0x3c5;
/// Flags NZCV, and PAN, UAO, DIT, TCO where the PE has them.
const SPSR_KEPT: u64 = 0xf << 28 | 1 << 22 | 1 << 23 | 1 << 24 | 1 << 25;

/// HCR_EL2.TWI.
const HCR_TWI: u64 = 1 << 13;
/// HCR_EL2: VM, SWIO, PTW, FMO, IMO, AMO, FB, BSU inner, DC off, TWI off, TWE off, TID3, TSC, TIDCP, TACR, TSW, TTLB off,
/// RW, TLOR, TERR. API, APK, ATA, EnSCXT stay 0: trapped.
const HCR: u64 = 1
    | 1 << 1
    | 1 << 2
    | 1 << 3
    | 1 << 4
    | 1 << 5
    | 1 << 9
    | 1 << 10
    | 1 << 18
    | 1 << 19
    | 1 << 20
    | 1 << 21
    | 1 << 22
    | 1 << 31
    | 1 << 35
    | 1 << 36;

/// The vectors' way in: an exit from a guest, with ESR_EL2 or [`crate::pe::INTERRUPT`].
///
/// # Safety
/// Called by the vectors only, with the frame of the vCPU that ran.
#[inline(always)]
pub unsafe fn enter<K: Kernel>(
    frame: *mut Vcpu<K>,
    syndrome: u64,
    handler: impl FnOnce(&mut Pe<K>, Loaded<K>) -> Loaded<K>,
) -> *mut Vcpu<K> {
    // SAFETY: SP_EL2 held the pointer that `Loaded` gave when the guest was entered; `pe` is this PE's, which no other
    // reference reaches while its guest runs.
    let (pe, loaded) = unsafe { (&mut *(*frame).pe, Loaded(NonNull::new_unchecked(frame), PhantomData)) };
    pe.exits.record(syndrome, loaded.elr());
    handler(pe, loaded).0.as_ptr()
}

/// What the vectors restore from.
pub(crate) fn frame<K: Kernel>(vcpu: Loaded<K>) -> *mut Vcpu<K> {
    vcpu.0.as_ptr()
}

/// A kernel without state, to compute offsets with.
struct Layout;

impl Kernel for Layout {
    type Host = ();
    type Pe = ();
    type Vcpu = ();
    fn boot(_: crate::boot::Machine) {}
    fn start_pe(_: &'static (), _: specs::PeId) {}
    fn start(_: &'static (), _: &mut Pe<Self>) {}
    fn wait(_: &mut Pe<Self>) -> Loaded<Self> {
        unreachable!("computes offsets only")
    }
    fn synchronous(_: &mut Pe<Self>, vcpu: Loaded<Self>, _: u64) -> Loaded<Self> {
        vcpu
    }
    fn interrupt(_: &mut Pe<Self>, vcpu: Loaded<Self>) -> Loaded<Self> {
        vcpu
    }
    fn system_error(_: &mut Pe<Self>, vcpu: Loaded<Self>, _: u64) -> Loaded<Self> {
        vcpu
    }
    fn fatal(_: &vectors::FatalFrame, _: u64, _: u64, _: u64) -> ! {
        unreachable!("computes offsets only")
    }
}
