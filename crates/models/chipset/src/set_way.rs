//! One vCPU's cache operations by set and way: which of them stand for all of its RAM.
//!
//! Firmware cleans its caches by a loop of DC ISW, CSW or CISW over every set and way (Arm ARM, DDI 0487, D7.5.9). What lies
//! in the caches of the PE of the moment says nothing about a guest's RAM; so the first operation of a loop cleans all of
//! it, and the others nothing. Two loops may follow each other with nothing in between that the host sees: the second
//! begins where the first did, with the same instruction and operand, or at another place.
//!
//! Called by the vmkernel's exits. All of RAM takes long: it is done in parts, and the guest executes the same instruction
//! again, and takes its interrupts, until the last is done.

/// Where a vCPU is in its loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SetWay {
    /// Address and operand of the loop's first operation; none before the first loop.
    first: Option<(u64, u64)>,
    /// Where cleaning goes on; `None`: it is done.
    next: Option<u64>,
}

impl SetWay {
    /// The operation at `address` with `operand`; whether it is done. `clean` cleans a part of RAM from an offset on and
    /// says where to go on, or `None` at the end.
    pub fn step(&mut self, address: u64, operand: u64, clean: impl FnOnce(u64) -> Option<u64>) -> bool {
        let is_inside = self.first.is_some_and(|first| first.0 == address && first.1 != operand);
        if is_inside && self.next.is_none() {
            return true;
        }
        let goes_on = self.first == Some((address, operand));
        let from = self.next.filter(|_| goes_on).unwrap_or(0);
        self.first = Some((address, operand));
        self.next = clean(from);
        self.next.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RAM of three parts: how often each was cleaned.
    #[derive(Default)]
    struct Ram([u32; 3]);

    impl Ram {
        /// An operation is executed until it is done.
        fn execute(&mut self, state: &mut SetWay, address: u64, operand: u64) {
            let clean = |ram: &mut Self, at: u64| {
                ram.0[usize::try_from(at).unwrap()] += 1;
                (at < 2).then_some(at + 1)
            };
            while !state.step(address, operand, |at| clean(self, at)) {}
        }

        fn execute_loop(&mut self, state: &mut SetWay, address: u64) {
            // Way by way from the last one on, as most firmware does.
            for operand in (0..16).rev() {
                self.execute(state, address, operand << 6);
            }
        }
    }

    #[test]
    fn a_loop_cleans_all_of_ram_once() {
        let (mut ram, mut state) = (Ram::default(), SetWay::default());
        ram.execute_loop(&mut state, 0x4000_1000);
        assert_eq!(ram.0, [1; 3]);
    }

    #[test]
    fn so_does_the_next_one_whoever_runs_it() {
        let (mut ram, mut state) = (Ram::default(), SetWay::default());
        for address in [0x4000_1000, 0x4000_1000, 0x4000_2000, 0x4000_1000] {
            ram.execute_loop(&mut state, address);
        }
        assert_eq!(ram.0, [4; 3]);
    }

    #[test]
    fn a_single_operation_again_and_again_cleans_each_time() {
        let (mut ram, mut state) = (Ram::default(), SetWay::default());
        for _ in 0..5 {
            ram.execute(&mut state, 0, 0);
        }
        assert_eq!(ram.0, [5; 3]);
    }

    /// An interrupt comes between two parts, and its handler has a loop of its own.
    #[test]
    fn one_that_is_interrupted_by_another_begins_anew() {
        let (mut ram, mut state) = (Ram::default(), SetWay::default());
        assert!(!state.step(0x1000, 64, |at| Some(at + 1)));
        ram.execute_loop(&mut state, 0x2000);
        ram.execute(&mut state, 0x1000, 64);
        assert_eq!(ram.0, [2; 3]);
    }
}
