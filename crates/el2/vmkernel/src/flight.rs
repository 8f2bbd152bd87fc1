//! The flight recorder: counts every exit of a vCPU by reason, measures some of them, and has the time that it ran and waited.
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

/// Of a VM, as its vCPUs told it last.
#[derive(Clone, Debug, Default)]
pub struct Told {
    now: [Flight; 8],
    gone: Flight,
}

impl Told {
    /// A vCPU's of today.
    pub fn tell(&mut self, vcpu: usize, flight: &Flight) {
        if let Some(now) = self.now.get_mut(vcpu) {
            *now = flight.clone();
        }
    }

    /// A vCPU is gone: if it starts again, it counts from zero.
    pub fn close(&mut self, vcpu: usize, flight: &Flight) {
        self.tell(vcpu, &Flight::default());
        self.gone.add(flight);
    }

    /// All vCPUs'.
    pub fn sum(&self) -> Flight {
        let mut sum = self.gone.clone();
        self.now.iter().for_each(|flight| sum.add(flight));
        sum
    }
}

fn add(sum: &mut [u64; REASONS], more: &[u64; REASONS]) {
    sum.iter_mut().zip(more).for_each(|(sum, more)| *sum = sum.wrapping_add(*more));
}

/// Exits of one vCPU, and where its time goes, in ticks of the counter.
#[derive(Clone, Debug, Default)]
pub struct Flight {
    counts: [u64; REASONS],
    /// What the exits took, by the same reasons; from those that were measured.
    times: [u64; REASONS],
    /// It had a PE.
    pub ran: u64,
    /// It wanted one, and another vCPU had it.
    pub waited: u64,
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

    /// What the exits of each reason took.
    pub fn times(&self) -> &[u64; REASONS] {
        &self.times
    }

    /// The exit since `before` took so long, together with those that it stands for. Nothing where it was none of this
    /// vCPU's: another life of it, or two.
    pub fn measured(&mut self, before: &[u64; REASONS], ticks: u64) {
        let counted = self.counts.iter().zip(before).map(|(now, before)| now.wrapping_sub(*before));
        let mut reason = None;
        for (index, count) in counted.enumerate() {
            match count {
                0 => {}
                1 if reason.is_none() => reason = Some(index),
                _ => return,
            }
        }
        if let Some(time) = reason.and_then(|index| self.times.get_mut(index)) {
            *time = time.wrapping_add(ticks);
        }
    }

    fn add(&mut self, other: &Self) {
        add(&mut self.counts, &other.counts);
        add(&mut self.times, &other.times);
        self.ran = self.ran.wrapping_add(other.ran);
        self.waited = self.waited.wrapping_add(other.waited);
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
        assert_eq!(told.sum().counts, [3, 0, 0, 0, 1, 0, 0]);
        told.close(0, &first);
        assert_eq!(told.sum().counts, [3, 0, 0, 0, 1, 0, 0]);
        let mut again = Flight::default();
        again.count(Reason::Other);
        told.tell(0, &again);
        assert_eq!(told.sum().counts, [3, 0, 0, 0, 1, 0, 1]);
    }

    #[test]
    fn a_measured_exit_stands_for_those_that_were_not() {
        let mut flight = Flight::default();
        flight.count(Reason::Device);
        let before = *flight.counts();
        flight.count(Reason::Call);
        flight.measured(&before, 10);
        assert_eq!(flight.times[Reason::Call as usize], 10);
        assert_eq!(flight.times.iter().sum::<u64>(), 10);
        // What belongs to no single exit belongs to none.
        flight.measured(&before.map(|count| count + 1), 10);
        let now = *flight.counts();
        flight.measured(&now, 10);
        flight.count(Reason::Wait);
        flight.measured(&before, 10);
        assert_eq!(flight.times.iter().sum::<u64>(), 10);
        (flight.ran, flight.waited) = (7, 3);
        let mut told = Told::default();
        told.tell(0, &flight);
        told.close(1, &flight);
        let sum = told.sum();
        assert_eq!((sum.ran, sum.waited), (14, 6));
        assert_eq!(sum.times[Reason::Call as usize], 20);
    }

    #[test]
    fn each_reason_has_its_name() {
        assert_eq!(NAMES[Reason::Call as usize], "call");
        assert_eq!(NAMES[Reason::Other as usize], "other");
    }
}
