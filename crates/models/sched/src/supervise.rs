//! Policy of a world's supervisor: when it hangs, and when it runs again after it ended.
//!
//! Called by: `vmkernel::supervisor`, which tells what happened and does what this says. Calls nothing. Time is ticks.
//! Invariants: a generation has one end; a restart comes no earlier than [`FIRST_DELAY_MILLIS`] and no later than
//! [`LAST_DELAY_MILLIS`] after it; silence counts a vCPU's own running time only.

/// How long a vCPU of a world may run without a sign of life. hostd's longest stretch of work is a password hash, below
/// half a second on a Pi; ten times that is no work any more. Its own running time counts: a machine that gives it no
/// time, or a debugger that stops everything, is no hang.
pub const HANG_SECONDS: u32 = 5;

/// How often the vCPUs are looked at. A look finds a vCPU running or not, and counts a running one as having run since
/// the look before: what spins is found by [`HANG_SECONDS`] looks. One look a second is the one tick of an idle host.
pub const LOOK_MILLIS: u64 = 1_000;

/// A world that ends once is back before a person notices. Not zero: one that ends in its first instructions would
/// otherwise take a PE for itself.
pub const FIRST_DELAY_MILLIS: u64 = 10;

/// The delay doubles with each end in a row up to here: with its start (below 100 ms on a Pi) the world is back within
/// a second whatever happens, and one that can't live takes less than a tenth of a PE.
pub const LAST_DELAY_MILLIS: u64 = 800;

/// A generation that lived so long ends the row. Longer than the hang's time, so that hanging again and again is a row.
pub const HEALTHY_SECONDS: u64 = 30;

/// vCPUs of a world at most.
const VCPUS: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Not started yet, or being started.
    Down,
    /// It runs.
    Alive { since: u64 },
    /// It ended, and starts again then.
    Waiting { until: u64 },
}

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Nothing.
    Fine,
    /// This vCPU gives no sign of life: end the world.
    Hangs(u8),
    /// It is time: start the next generation.
    Start,
}

/// One world's account.
#[derive(Clone, Debug)]
pub struct Supervision {
    hz: u64,
    state: State,
    generation: u32,
    row: u32,
    beat: [bool; VCPUS],
    silent: [u32; VCPUS],
    next_look: u64,
}

impl Supervision {
    /// For a world that was never started, with `hz` ticks in a second.
    pub const fn new(hz: u64) -> Self {
        Self {
            hz,
            state: State::Down,
            generation: 0,
            row: 0,
            beat: [false; VCPUS],
            silent: [0; VCPUS],
            next_look: 0,
        }
    }

    /// The present generation, or the last one; 0 before the first.
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// When the present generation started, while it lives.
    pub const fn alive_since(&self) -> Option<u64> {
        match self.state {
            State::Alive { since } => Some(since),
            _ => None,
        }
    }

    /// A new generation starts now; its number. It is down while it does not live.
    pub const fn start(&mut self, now: u64) -> u32 {
        self.generation = self.generation.saturating_add(1);
        self.state = State::Alive { since: now };
        self.beat = [false; VCPUS];
        self.silent = [0; VCPUS];
        self.next_look = now.saturating_add(self.ticks(LOOK_MILLIS));
        self.generation
    }

    /// The generation has ended, all of it; when the next is to start. Once each generation: a second end changes
    /// nothing.
    pub fn end(&mut self, now: u64) -> u64 {
        let since = match self.state {
            State::Waiting { until } => return until,
            State::Alive { since } => since,
            State::Down => now,
        };
        if now.saturating_sub(since) >= self.hz.saturating_mul(HEALTHY_SECONDS) {
            self.row = 0;
        }
        let millis = FIRST_DELAY_MILLIS.saturating_mul(1 << self.row.min(16)).min(LAST_DELAY_MILLIS);
        self.row = self.row.saturating_add(1);
        let until = now.saturating_add(self.ticks(millis));
        self.state = State::Waiting { until };
        until
    }

    /// A sign of life of a vCPU.
    pub fn heartbeat(&mut self, vcpu: u8) {
        if let Some(beat) = self.beat.get_mut(usize::from(vcpu)) {
            *beat = true;
        }
    }

    /// Looks; bit n of `running`: vCPU n is on a PE at this moment.
    pub fn look(&mut self, now: u64, running: u8) -> Verdict {
        match self.state {
            State::Waiting { until } if now >= until => {
                self.state = State::Down;
                Verdict::Start
            }
            State::Alive { .. } if now >= self.next_look => {
                self.next_look = now.saturating_add(self.ticks(LOOK_MILLIS));
                self.count_silence(running)
            }
            _ => Verdict::Fine,
        }
    }

    fn count_silence(&mut self, running: u8) -> Verdict {
        let mut verdict = Verdict::Fine;
        for ((silent, beat), vcpu) in self.silent.iter_mut().zip(&mut self.beat).zip(0_u8..) {
            if core::mem::take(beat) {
                *silent = 0;
            } else if running >> vcpu & 1 != 0 {
                *silent = silent.saturating_add(1);
            }
            if *silent >= HANG_SECONDS && verdict == Verdict::Fine {
                verdict = Verdict::Hangs(vcpu);
            }
        }
        verdict
    }

    /// When to look next.
    pub const fn next_look(&self) -> u64 {
        match self.state {
            State::Down => u64::MAX,
            State::Alive { .. } => self.next_look,
            State::Waiting { until } => until,
        }
    }

    const fn ticks(&self, millis: u64) -> u64 {
        self.hz.saturating_mul(millis) / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HZ: u64 = 1_000;

    #[test]
    fn the_delay_doubles_up_to_the_last_and_a_healthy_life_ends_the_row() {
        let mut world = Supervision::new(HZ);
        let mut now = 0;
        for expected in [10, 20, 40, 80, 160, 320, 640, 800, 800] {
            world.start(now);
            assert_eq!(world.end(now), now + expected);
            assert_eq!(world.look(now + expected - 1, 0), Verdict::Fine);
            now += expected;
            assert_eq!(world.look(now, 0), Verdict::Start);
            assert_eq!(world.look(now, 0), Verdict::Fine, "one start for one end");
        }
        assert_eq!(world.start(now), 10);
        now += HEALTHY_SECONDS * HZ;
        assert_eq!(world.end(now), now + FIRST_DELAY_MILLIS);
        assert_eq!(world.end(now + 5), now + FIRST_DELAY_MILLIS, "a second end changes nothing");
    }

    #[test]
    fn what_spins_in_silence_hangs_after_five_looks_and_sleep_is_no_hang() {
        let mut world = Supervision::new(HZ);
        world.start(0);
        for second in 1..HANG_SECONDS {
            assert_eq!(world.look(u64::from(second) * HZ, 0b10), Verdict::Fine);
            // Asleep for an hour in between: nothing counts.
            assert_eq!(world.look(u64::from(second) * HZ, 0), Verdict::Fine);
        }
        assert_eq!(world.look(3_600_000, 0), Verdict::Fine);
        assert_eq!(world.look(3_601_000, 0b10), Verdict::Hangs(1));
        world.start(4_000_000);
        world.heartbeat(1);
        assert_eq!(world.look(4_001_000, 0b11), Verdict::Fine, "another generation starts with no silence");
    }

    #[derive(Clone, Debug)]
    enum Event {
        Wait(u64),
        Beat(u8),
        End,
        Look(u8),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (0..3_000_u64).prop_map(Event::Wait),
            (0..4_u8).prop_map(Event::Beat),
            Just(Event::End),
            any::<u8>().prop_map(Event::Look),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 10 } else { 500 }, failure_persistence: None, ..ProptestConfig::default()
        })]

        /// Against a model of seconds that were counted by hand: the world is up, or comes up within the last delay;
        /// it is ended for a hang exactly where a vCPU was seen running at five looks without a beat between.
        #[test]
        fn a_world_is_up_or_comes_up_soon(events in prop::collection::vec(event(), 1..200)) {
            let mut world = Supervision::new(HZ);
            let mut now = 0;
            let mut generation = world.start(now);
            let (mut beats, mut seconds) = ([false; 8], [0; 8]);
            let mut ended: Option<u64> = None;
            let mut looked = 0;
            for event in events {
                match event {
                    Event::Wait(ticks) => now += ticks,
                    Event::Beat(vcpu) => {
                        world.heartbeat(vcpu);
                        beats[usize::from(vcpu)] = true;
                    }
                    Event::End => {
                        let until = world.end(now);
                        ended = ended.or(Some(until));
                        prop_assert_eq!(ended, Some(until));
                        prop_assert!(until <= now + LAST_DELAY_MILLIS || until <= now);
                    }
                    Event::Look(running) => match world.look(now, running) {
                        Verdict::Start => {
                            prop_assert!(ended.is_some_and(|until| now >= until));
                            let next = world.start(now);
                            prop_assert_eq!(next, generation + 1);
                            (generation, ended, looked) = (next, None, now);
                            (beats, seconds) = ([false; 8], [0; 8]);
                        }
                        verdict if ended.is_none() && now >= looked + LOOK_MILLIS => {
                            looked = now;
                            for vcpu in 0..8 {
                                if core::mem::take(&mut beats[vcpu]) {
                                    seconds[vcpu] = 0;
                                } else if running >> vcpu & 1 != 0 {
                                    seconds[vcpu] += 1;
                                }
                            }
                            let hung = seconds.iter().position(|seconds| *seconds >= HANG_SECONDS);
                            let expected = hung.map_or(Verdict::Fine, |v| Verdict::Hangs(u8::try_from(v).unwrap()));
                            prop_assert_eq!(verdict, expected);
                            if hung.is_some() {
                                ended = Some(world.end(now));
                            }
                        }
                        verdict => prop_assert_eq!(verdict, Verdict::Fine),
                    },
                }
                let next = world.next_look();
                prop_assert!(next <= now.max(looked) + LOOK_MILLIS.max(LAST_DELAY_MILLIS));
            }
        }
    }
}
