//! Guards: the registers of the guest that trapped, which its vCPU's owner reads and changes.

use super::Loaded;
use crate::kernel::Kernel;
use crate::regs::{instruction, read, write};

impl<K: Kernel> Loaded<K> {
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

    /// Steps over the instruction that trapped, which is one of A64.
    #[inline(always)]
    pub fn skip(&mut self) {
        write!("elr_el2", read!("elr_el2").wrapping_add(4));
    }

    /// Steps over the instruction that trapped, which may be one of A32 or T32.
    #[inline(always)]
    pub fn skip_any(&mut self) {
        // SPSR_EL2.M[4]
        if read!("spsr_el2") & 1 << 4 == 0 { self.skip() } else { self.skip_aarch32() }
    }

    /// Steps over the instruction that trapped, which is one of A32 or T32.
    #[cold]
    fn skip_aarch32(&mut self) {
        let (bytes, spsr) = crate::pstate::behind(read!("esr_el2"), read!("spsr_el2"));
        write!("elr_el2", read!("elr_el2").wrapping_add(bytes));
        write!("spsr_el2", spsr);
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
    pub fn trap_wfi(&mut self, trap: bool) {
        write!("hcr_el2", self.vcpu().context.trap_wfi(trap));
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
        write!("spsr_el2", crate::pstate::at_exception(spsr, read!("sctlr_el1")));
    }

    /// Whether the virtual timer of the loaded vCPU fires now: CNTV_CTL_EL0 ENABLE and ISTATUS, not IMASK.
    #[inline(always)]
    pub fn timer_is_due(&self) -> bool {
        read!("cntv_ctl_el0") & 7 == 5
    }
}
