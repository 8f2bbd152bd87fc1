//! Guards: vCPUs: who owns one, and which one the PE's hardware holds.
//!
//! A vCPU is a [`Parked`] box on the PE that runs it, a [`Loaded`] one while its registers are in the hardware, or an
//! [`Unbound`] box on its way to another PE. Each is the only owner, so no lock protects a vCPU.
//! Called by `vmkernel`; the vectors turn the frame pointer into a `Loaded` and back.

mod trap;

use crate::context::Context;
use crate::gic::{self, Hardware, Interface, Lists};
use crate::kernel::{Kernel, Layout};
use crate::pe::Pe;
use crate::vectors;
use alloc::boxed::Box;
use core::marker::PhantomData;
use core::mem::offset_of;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

/// A vCPU. The first four fields are known to the vectors.
#[repr(C, align(64))]
pub struct Vcpu<K: Kernel> {
    x: [u64; 31],
    stack_top: u64,
    pe: *mut Pe<K>,
    history_loops: u32,
    fp_pe: u16,
    serial: u64,
    /// Near the start, where pairs of registers move by one instruction.
    interface: Interface,
    /// The vmkernel's part.
    pub state: K::Vcpu,
    context: Context,
    lists: Lists,
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
            interface: Interface::new(),
            lists: Lists::new(),
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

    /// How far its virtual counter is behind the physical one, from now on.
    pub fn set_counter_offset(&mut self, ticks: u64) {
        self.0.context.set_counter_offset(ticks);
    }

    /// Whether its WFI will trap.
    pub fn trap_wfi(&mut self, trap: bool) {
        self.0.context.trap_wfi(trap);
    }

    /// Puts the vCPU into the hardware of this PE, whose GIC is an `H`.
    #[inline(always)]
    pub fn load<H: Hardware>(self, pe: &mut Pe<K>) -> Loaded<K> {
        let vcpu = Box::leak(self.0);
        debug_assert!(core::ptr::eq(vcpu.pe, pe), "a parked vCPU is of this PE");
        vcpu.context.load(pe.fp_owner == vcpu.serial && vcpu.fp_pe == pe.id().0);
        vcpu.lists.load::<H>();
        H::load(&vcpu.interface);
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

    /// Takes the vCPU out of the hardware of this PE, whose GIC is an `H`.
    #[inline(always)]
    pub fn unload<H: Hardware>(mut self) -> Parked<K> {
        let vcpu = self.vcpu();
        vcpu.context.save();
        H::save(&mut vcpu.interface);
        vcpu.lists.save::<H>();
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
}

/// HCR_EL2: VM, SWIO, PTW, FMO, IMO, AMO, FB, BSU inner, DC off, TWI off, TWE off, TID3, TSC, TIDCP, TACR, TSW, TTLB off,
/// RW, TLOR, TERR. API, APK, ATA, EnSCXT stay 0: trapped.
pub(crate) const HCR: u64 = 1
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

/// No vCPU is loaded, and none may be for a while: from now on nothing in the hardware refers to the last one's VM, whose
/// tables may go, and its virtual interface asks for nothing.
pub fn leave_empty() {
    Context::leave_empty();
    gic::leave_empty();
}

/// The vectors' way in: an exit from a guest, with ESR_EL2 or [`crate::pe::INTERRUPT`]. Some go by `measured`, which is
/// another closure so that `handler` has one caller and becomes part of it.
///
/// # Safety
/// Called by the vectors only, with the frame of the vCPU that ran.
#[inline(always)]
pub unsafe fn enter<K: Kernel>(
    frame: *mut Vcpu<K>,
    syndrome: u64,
    handler: impl FnOnce(&mut Pe<K>, Loaded<K>) -> Loaded<K>,
    measured: impl FnOnce(&mut Pe<K>, Loaded<K>) -> Loaded<K>,
) -> *mut Vcpu<K> {
    // SAFETY: SP_EL2 held the pointer that `Loaded` gave when the guest was entered; `pe` is this PE's, which no other
    // reference reaches while its guest runs.
    let (pe, loaded) = unsafe { (&mut *(*frame).pe, Loaded(NonNull::new_unchecked(frame), PhantomData)) };
    if pe.exits.record(syndrome, loaded.elr()) {
        return measured(pe, loaded).0.as_ptr();
    }
    handler(pe, loaded).0.as_ptr()
}

/// What the vectors restore from.
pub(crate) fn frame<K: Kernel>(vcpu: Loaded<K>) -> *mut Vcpu<K> {
    vcpu.0.as_ptr()
}
