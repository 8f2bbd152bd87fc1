//! The flight recorder: counts every exit of a vCPU by reason.
//!
//! One value per vCPU, written by its owner only: plain additions, a few instructions an exit.

/// Why a guest left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Reason {
    /// HVC and SMC.
    Call,
    /// A trapped system register.
    Register,
    /// A device access.
    Device,
    /// RAM not mapped yet.
    Memory,
    /// WFI or WFE.
    Wait,
    /// A physical interrupt.
    Interrupt,
    /// Everything else.
    Other,
}

/// How many reasons there are.
pub const REASONS: usize = 7;

/// Names of the reasons, in their order.
pub const NAMES: [&str; REASONS] = ["call", "register", "device", "memory", "wait", "interrupt", "other"];

/// Counts of one vCPU.
#[derive(Clone, Debug, Default)]
pub struct Flight {
    counts: [u64; REASONS],
}

impl Flight {
    /// Counts an exit.
    #[inline(always)]
    pub fn count(&mut self, reason: Reason) {
        if let Some(count) = self.counts.get_mut(reason as usize) {
            *count = count.wrapping_add(1);
        }
    }

    /// How often each reason came.
    pub fn counts(&self) -> &[u64; REASONS] {
        &self.counts
    }
}
