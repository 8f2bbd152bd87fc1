//! The Pi's hardware random generator as a source of seeds, with health tests of our own.
//!
//! Called by `vmkernel` to feed its generator; calls the registers and never waits: a draw gives what is in the FIFO.
//! Nothing is given before 1,024 bytes passed the tests, nor ever again after the third failure.
//!
//! Source: Linux `drivers/char/hw_random/iproc-rng200.c`; NIST SP 800-90B, 4.4.1 "Repetition Count Test", 4.4.2 "Adaptive
//! Proportion Test", made stricter: every value is counted, not only a window's first. Half of each byte is claimed as
//! entropy: a word may come at most three times in a row, a byte at most 71 times in 512 (for a source of exactly half a
//! byte each, a value passes that about once in 2^30 windows; good bits never do).

use crate::hardware::Registers;

/// Control: bit 0 of 12:0 enables the generator.
pub const CTRL: usize = 0x00;
/// Soft reset of the generator.
pub const RNG_SOFT_RESET: usize = 0x04;
/// Soft reset of its bit source.
pub const RBG_SOFT_RESET: usize = 0x08;
/// Interrupt status, write 1 to clear.
pub const INT_STATUS: usize = 0x18;
/// The FIFO.
pub const FIFO_DATA: usize = 0x20;
/// Words in it, bits 7:0.
pub const FIFO_COUNT: usize = 0x24;
/// Control: the enabling field.
pub const ENABLE_FIELD: u32 = 0x1fff;
/// Interrupt status: the hardware's own tests failed.
pub const FAILED: u32 = 0x8000_0020;

/// Words of one draw.
const DRAW_WORDS: u32 = 16;
const STARTUP_BYTES: u32 = 1024;
const MAX_REPEATS: u32 = 3;
const WINDOW: u16 = 512;
const MAX_SAME: u8 = 71;
const MAX_FAILURES: u8 = 3;

/// What is wrong with the source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unhealthy {
    /// The hardware's own test failed; it was restarted.
    Hardware,
    /// A word came again and again; restarted.
    Repetition,
    /// A byte came too often; restarted.
    Proportion,
    /// It failed three times: it is not used any more.
    GivenUp,
}

/// How the source does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Health {
    /// Bytes that passed since the last restart.
    pub passed: u32,
    /// Failures in all.
    pub failures: u8,
}

/// The generator.
pub struct Rng200<R> {
    registers: R,
    health: Health,
    last: u32,
    repeats: u32,
    seen: u16,
    /// How often each value came in this window.
    counts: [u8; 256],
}

impl<R: Registers> Rng200<R> {
    /// A driver; restarts the generator.
    pub fn new(registers: R) -> Self {
        let mut rng =
            Self { registers, health: Health::default(), last: 0, repeats: 0, seen: 0, counts: [0; 256] };
        rng.restart();
        rng
    }

    /// How it does.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Puts what is there into `into`, whole words, and says how many bytes; 0 while there is nothing, or while the
    /// start-up test goes on.
    pub fn draw(&mut self, into: &mut [u8]) -> Result<usize, Unhealthy> {
        if self.health.failures >= MAX_FAILURES {
            return Err(Unhealthy::GivenUp);
        }
        if self.registers.read32(INT_STATUS) & FAILED != 0 {
            return Err(self.fail(Unhealthy::Hardware));
        }
        let there = (self.registers.read32(FIFO_COUNT) & 0xff).min(DRAW_WORDS);
        let mut given: usize = 0;
        for _ in 0..there {
            let room = into.get_mut(given..given.saturating_add(4));
            if room.is_none() && self.health.passed >= STARTUP_BYTES {
                break;
            }
            let word = self.registers.read32(FIFO_DATA);
            if let Err(failure) = self.test(word) {
                into.fill(0);
                return Err(self.fail(failure));
            }
            // The word that completes the start-up test still belongs to it.
            if let Some(room) = room
                && self.health.passed > STARTUP_BYTES
            {
                room.copy_from_slice(&word.to_le_bytes());
                given = given.saturating_add(4);
            }
        }
        Ok(given)
    }

    fn fail(&mut self, failure: Unhealthy) -> Unhealthy {
        self.health.failures = self.health.failures.saturating_add(1);
        self.restart();
        if self.health.failures >= MAX_FAILURES { Unhealthy::GivenUp } else { failure }
    }

    fn test(&mut self, word: u32) -> Result<(), Unhealthy> {
        self.repeats = if word == self.last { self.repeats.saturating_add(1) } else { 1 };
        self.last = word;
        if self.repeats > MAX_REPEATS {
            return Err(Unhealthy::Repetition);
        }
        for byte in word.to_le_bytes() {
            if self.seen == 0 {
                self.counts = [0; 256];
            }
            self.seen = self.seen.saturating_add(1) % WINDOW;
            if let Some(count) = self.counts.get_mut(usize::from(byte)) {
                *count = count.saturating_add(1);
                if *count > MAX_SAME {
                    return Err(Unhealthy::Proportion);
                }
            }
        }
        self.health.passed = self.health.passed.saturating_add(4);
        Ok(())
    }

    fn restart(&mut self) {
        (self.repeats, self.seen, self.health.passed) = (0, 0, 0);
        let control = self.registers.read32(CTRL) & !ENABLE_FIELD;
        self.registers.write32(CTRL, control);
        self.registers.write32(INT_STATUS, u32::MAX);
        self.registers.write32(RBG_SOFT_RESET, 1);
        self.registers.write32(RNG_SOFT_RESET, 1);
        self.registers.write32(RNG_SOFT_RESET, 0);
        self.registers.write32(RBG_SOFT_RESET, 0);
        self.registers.write32(CTRL, control | 1);
    }
}

/// Bytes that are given at a time: two seeds of the host's generator.
const GIVEN: usize = 64;
/// Looks while the start-up test and the first seed go on, in a second.
const LOOKS_PER_SECOND: u64 = 1000;
/// Seconds between two later seeds.
const AGAIN_SECONDS: u64 = 600;

/// Feeds the host's generator from the source: a seed at start, another every ten minutes.
pub struct Feeder<R> {
    source: Rng200<R>,
    ticks_per_second: u64,
    due: u64,
    given: usize,
    failure: Option<Unhealthy>,
}

impl<R: Registers> Feeder<R> {
    /// From a source.
    pub const fn new(source: Rng200<R>, ticks_per_second: u64) -> Self {
        Self { source, ticks_per_second, due: 0, given: 0, failure: None }
    }

    /// How the source does, and how it failed last.
    pub const fn health(&self) -> (Health, Option<Unhealthy>) {
        (self.source.health, self.failure)
    }

    /// Goes on; `give` takes healthy bytes. Returns when to call again, and a failure when there is a new one.
    pub fn poll(&mut self, now: u64, give: impl FnOnce(&[u8])) -> (u64, Option<Unhealthy>) {
        if now < self.due {
            return (self.due, None);
        }
        let mut bytes = [0; GIVEN];
        let drawn = self.source.draw(&mut bytes);
        let mut wait = self.ticks_per_second / LOOKS_PER_SECOND;
        match drawn {
            Ok(count) => {
                give(bytes.get(..count).unwrap_or(&[]));
                self.given = self.given.saturating_add(count);
                if self.given >= GIVEN {
                    (self.given, wait) = (0, self.ticks_per_second.saturating_mul(AGAIN_SECONDS));
                }
            }
            Err(Unhealthy::GivenUp) => wait = u64::MAX,
            Err(_) => {}
        }
        bytes.fill(0);
        self.due = now.saturating_add(wait.max(1));
        let failure = drawn.err().filter(|failure| self.failure != Some(*failure));
        self.failure = drawn.err().or(self.failure);
        (self.due, failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::rng200::{Rng200Model, Source};

    /// Draws until `turns` are over; bytes given, and the first failure.
    fn draw(model: &std::rc::Rc<Rng200Model>, turns: u32) -> (usize, Option<Unhealthy>) {
        let mut rng = Rng200::new(model.clone());
        let (mut given, mut failure) = (0, None);
        for _ in 0..turns {
            let mut bytes = [0; 64];
            match rng.draw(&mut bytes) {
                Ok(n) => given += n,
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        (given, failure)
    }

    #[test]
    fn good_bytes_are_given_after_the_start_up_test() {
        let model = Rng200Model::new(Source::Good);
        assert_eq!(draw(&model, 16), (0, None));
        let (given, failure) = draw(&Rng200Model::new(Source::Good), 100);
        assert_eq!((given, failure), (84 * 64, None));
    }

    #[test]
    fn bad_sources_give_nothing() {
        for (source, expected) in [
            (Source::Stuck, Unhealthy::Repetition),
            (Source::Biased, Unhealthy::Proportion),
            (Source::Failing, Unhealthy::Hardware),
        ] {
            let (given, failure) = draw(&Rng200Model::new(source), 400);
            assert_eq!((given, failure), (0, Some(expected)), "{source:?}");
        }
    }

    #[test]
    fn the_third_failure_is_the_last() {
        let model = Rng200Model::new(Source::Stuck);
        let mut rng = Rng200::new(model.clone());
        let mut bytes = [0; 64];
        let failures: std::vec::Vec<_> = (0..6).map(|_| rng.draw(&mut bytes)).collect();
        assert_eq!(failures[1], Err(Unhealthy::Repetition));
        assert_eq!(failures[5], Err(Unhealthy::GivenUp));
        assert_eq!(rng.health().failures, 3);
    }

    #[test]
    fn an_empty_fifo_gives_nothing_and_is_no_failure() {
        let model = Rng200Model::new(Source::Empty);
        assert_eq!(draw(&model, 50), (0, None));
    }

    /// Feeds for `seconds`; bytes given, polls, failures told.
    fn feed(source: Source, seconds: u64) -> (usize, u32, std::vec::Vec<Unhealthy>) {
        let mut feeder = Feeder::new(Rng200::new(Rng200Model::new(source)), 1_000_000);
        let (mut now, mut given, mut polls, mut failures) = (0, 0, 0, std::vec::Vec::new());
        while now < seconds * 1_000_000 {
            let (due, failure) = feeder.poll(now, |bytes| given += bytes.len());
            failures.extend(failure);
            (now, polls) = (due, polls + 1);
        }
        (given, polls, failures)
    }

    #[test]
    fn a_seed_comes_at_once_and_then_seldom() {
        let (given, polls, failures) = feed(Source::Good, 1300);
        assert_eq!((given, failures.len()), (3 * 64, 0), "at the start, after 10 and after 20 minutes");
        assert!(polls < 40, "{polls} polls");
    }

    #[test]
    fn a_bad_source_is_told_of_and_then_left_alone() {
        let (given, polls, failures) = feed(Source::Stuck, 1300);
        assert_eq!((given, &failures[..]), (0, &[Unhealthy::Repetition, Unhealthy::GivenUp][..]));
        assert!(polls < 40, "{polls} polls");
    }
}
