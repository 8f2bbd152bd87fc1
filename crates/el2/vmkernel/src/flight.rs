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

/// Counts of a VM, as its vCPUs told them last.
#[derive(Clone, Debug, Default)]
pub struct Told {
    now: [[u64; REASONS]; 8],
    gone: [u64; REASONS],
}

impl Told {
    /// A vCPU's counts of today.
    pub fn tell(&mut self, vcpu: usize, flight: &Flight) {
        if let Some(counts) = self.now.get_mut(vcpu) {
            *counts = flight.counts;
        }
    }

    /// A vCPU is gone: if it starts again, it counts from zero.
    pub fn close(&mut self, vcpu: usize, flight: &Flight) {
        self.tell(vcpu, &Flight::default());
        add(&mut self.gone, &flight.counts);
    }

    /// All vCPUs'.
    pub fn sum(&self) -> [u64; REASONS] {
        let mut sum = self.gone;
        self.now.iter().for_each(|counts| add(&mut sum, counts));
        sum
    }
}

fn add(sum: &mut [u64; REASONS], counts: &[u64; REASONS]) {
    sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum = sum.wrapping_add(*count));
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vm_has_the_exits_of_its_vcpus_and_of_those_that_left() {
        let (mut told, mut first, mut second) = (Told::default(), Flight::default(), Flight::default());
        (0..3).for_each(|_| first.count(Reason::Call));
        second.count(Reason::Wait);
        told.tell(0, &first);
        told.tell(1, &second);
        // What is told again counts once.
        told.tell(0, &first);
        assert_eq!(told.sum(), [3, 0, 0, 0, 1, 0, 0]);
        told.close(0, &first);
        assert_eq!(told.sum(), [3, 0, 0, 0, 1, 0, 0]);
        let mut again = Flight::default();
        again.count(Reason::Other);
        told.tell(0, &again);
        assert_eq!(told.sum(), [3, 0, 0, 0, 1, 0, 1]);
    }

    #[test]
    fn each_reason_has_its_name() {
        assert_eq!(NAMES[Reason::Call as usize], "call");
        assert_eq!(NAMES[Reason::Other as usize], "other");
    }
}
