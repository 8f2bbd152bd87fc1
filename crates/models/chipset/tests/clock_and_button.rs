//! PL031 and PL061 as Linux and EDK2 use them.

#![allow(clippy::cast_possible_truncation)]

use chipset::{Pl031, Pl061};
use ports::fake::{FakeClock, FakeLine};
use ports::{Clock, MmioDevice, Width};
use proptest::prelude::*;
use specs::{pl031, pl061};

/// A clock that tests set while the model has it.
struct Time<'a>(&'a FakeClock);

impl Clock for Time<'_> {
    fn now_ticks(&self) -> u64 {
        self.0.now_ticks()
    }

    fn ticks_per_second(&self) -> u64 {
        self.0.ticks_per_second()
    }

    fn unix_seconds(&self) -> u64 {
        self.0.unix_seconds()
    }
}

#[test]
fn the_clock_shows_the_hosts_time_until_it_is_set() {
    let (line, clock) = (FakeLine::default(), FakeClock::default());
    clock.unix_seconds.set(0x1_2345_6789);
    let mut rtc = Pl031::new(&line, Time(&clock));
    assert_eq!(rtc.read(pl031::DR, Width::W32), 0x2345_6789, "32 bits");
    assert_eq!(rtc.read(pl031::CR, Width::W32), 1, "Linux starts a clock that stands");
    rtc.write(pl031::LR, Width::W32, 1000);
    clock.unix_seconds.set(0x1_2345_6789 + 5);
    assert_eq!(rtc.read(pl031::DR, Width::W32), 1005);
    rtc.write(pl031::LR, Width::W32, 2000);
    assert_eq!(rtc.read(pl031::DR, Width::W32), 2000);
    assert_eq!(rtc.read(0xfe0, Width::W32), 0x31);
}

#[test]
fn an_alarm_rings_once() {
    let (line, clock) = (FakeLine::default(), FakeClock::default());
    clock.unix_seconds.set(1000);
    clock.ticks.set(50);
    let mut rtc = Pl031::new(&line, Time(&clock));
    rtc.write(pl031::MR, Width::W32, 1010);
    assert_eq!(rtc.deadline(), None, "masked");
    rtc.write(pl031::IMSC, Width::W32, 1);
    assert_eq!(rtc.deadline(), Some(10_000_000_050));
    clock.unix_seconds.set(1009);
    rtc.poll();
    assert!(!line.high.get());
    clock.unix_seconds.set(1012);
    assert_eq!(rtc.deadline(), Some(50), "the match came between the last look and the question");
    rtc.poll();
    assert!(line.high.get(), "a late look misses nothing");
    assert_eq!((rtc.read(pl031::MIS, Width::W32), rtc.deadline()), (1, None));
    rtc.write(pl031::ICR, Width::W32, 1);
    assert!(!line.high.get());
    clock.unix_seconds.set(1013);
    rtc.poll();
    assert_eq!((rtc.read(pl031::RIS, Width::W32), line.edges.get()), (0, 1));
}

#[test]
fn time_that_is_set_back_rings_nothing() {
    let (line, clock) = (FakeLine::default(), FakeClock::default());
    clock.unix_seconds.set(1000);
    let mut rtc = Pl031::new(&line, Time(&clock));
    rtc.write(pl031::IMSC, Width::W32, 1);
    rtc.write(pl031::MR, Width::W32, 2000);
    clock.unix_seconds.set(500);
    rtc.poll();
    assert!(!line.high.get());
    clock.unix_seconds.set(2000);
    rtc.poll();
    assert!(line.high.get());
}

#[test]
fn a_match_with_the_present_second_rings_at_once() {
    let (line, clock) = (FakeLine::default(), FakeClock::default());
    clock.unix_seconds.set(1000);
    let mut rtc = Pl031::new(&line, Time(&clock));
    rtc.write(pl031::IMSC, Width::W32, 1);
    rtc.write(pl031::MR, Width::W32, 1000);
    assert!(line.high.get());
}

/// Linux's gpio-keys: both edges of line 3.
#[test]
fn the_power_button_is_seen_as_two_edges() {
    let line = FakeLine::default();
    let mut gpio = Pl061::new(&line);
    gpio.write(pl061::IS, Width::W8, 0);
    gpio.write(pl061::IBE, Width::W8, 1 << 3);
    gpio.write(pl061::IE, Width::W8, 1 << 3);
    gpio.drive(3, true);
    assert!(line.high.get());
    assert_eq!((gpio.read(pl061::MIS, Width::W8), gpio.read(4 << 3, Width::W8)), (8, 8));
    gpio.write(pl061::IC, Width::W8, 8);
    assert!(!line.high.get());
    gpio.drive(3, true);
    assert!(!line.high.get(), "no edge");
    gpio.drive(3, false);
    assert!(line.high.get());
    assert_eq!(gpio.read(4 << 3, Width::W8), 0);
    gpio.drive(9, true);
    assert_eq!(gpio.read(0x3fc, Width::W8), 0, "no such line");
}

#[test]
fn data_is_masked_by_the_address() {
    let line = FakeLine::default();
    let mut gpio = Pl061::new(&line);
    gpio.write(pl061::DIR, Width::W8, 0x0f);
    gpio.write(4 * 0x15, Width::W8, 0xff);
    gpio.drive(6, true);
    assert_eq!(gpio.read(0x3fc, Width::W8), 0x45, "outputs as written, inputs as driven");
    assert_eq!(gpio.read(4 * 0x44, Width::W8), 0x44);
    assert_eq!(gpio.read(0xfe0, Width::W32), 0x61);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// A bit at a time, from the words of the manual.
    #[test]
    fn interrupts_are_those_of_a_bitwise_reference(
        steps in proptest::collection::vec((0_u64..0x10, any::<u8>(), any::<bool>()), 0..60),
    ) {
        let line = FakeLine::default();
        let mut gpio = Pl061::new(&line);
        let (mut edges, mut seen) = ([false; 8], [false; 8]);
        for (register, value, high) in steps {
            let register = match register {
                0..9 => pl061::DIR + 4 * register,
                9..12 => 0x3fc,
                _ => 0,
            };
            if register == 0 {
                gpio.drive(value % 8, high);
            } else {
                gpio.write(register, Width::W8, u64::from(value));
            }
            let mut get = |register| gpio.read(register, Width::W8) as u8;
            let [sense, both, event, enabled] = [pl061::IS, pl061::IBE, pl061::IEV, pl061::IE].map(&mut get);
            let (levels, raw) = (get(0x3fc), get(pl061::RIS));
            for bit in 0..8 {
                let is = |register: u8| register >> bit & 1 != 0;
                if register == pl061::IC && value >> bit & 1 != 0 {
                    edges[bit] = false;
                }
                let edge = is(levels) != seen[bit] && (is(both) || is(levels) == is(event)) && !is(sense);
                edges[bit] |= edge;
                seen[bit] = is(levels);
                let pending = if is(sense) { is(levels) == is(event) } else { edges[bit] };
                prop_assert_eq!(is(raw), pending, "bit {}", bit);
            }
            prop_assert_eq!(line.high.get(), raw & enabled != 0);
        }
    }
}
