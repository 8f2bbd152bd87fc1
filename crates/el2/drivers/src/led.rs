//! The ACT LED of a Pi 4 as a sign of life: boot stages, running, trouble, panic.
//!
//! Called by `vmkernel`'s boot stages, its loop and the panic path; calls the GPIO registers. [`Led::poll`] never waits
//! and works in a panic loop too. docs/pi/README.md tells people what each pattern means.
//! Source: BCM2711 ARM Peripherals, 5.2 "GPIO Register View"; Linux `bcm2711-rpi-4-b.dts` (`leds`: GPIO 42, active high).

use crate::board::LedNode;
use crate::hardware::Registers;

/// GPFSEL0; ten lines of 3 bits in each.
pub const FUNCTION_SELECT: usize = 0x00;
/// GPSET0.
pub const SET: usize = 0x1c;
/// GPCLR0.
pub const CLEAR: usize = 0x28;

/// What the LED says. A pattern is a bit per 125 ms, the lowest first, and its length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sign {
    /// Off.
    Off,
    /// A boot stage, 1 to 4: so many blinks, a pause.
    Stage(u8),
    /// All is well: one short flash every two seconds.
    Running,
    /// Running, but something on the host needs a look: two flashes every two seconds.
    Trouble,
    /// Panic: SOS in Morse, again and again.
    Panic,
}

impl Sign {
    const fn pattern(self) -> (u64, u32) {
        match self {
            Self::Off => drawn("................"),
            Self::Stage(0 | 1) => drawn("##......................"),
            Self::Stage(2) => drawn("##..##.................."),
            Self::Stage(3) => drawn("##..##..##.............."),
            Self::Stage(_) => drawn("##..##..##..##.........."),
            Self::Running => drawn("#..............."),
            Self::Trouble => drawn("#..#............"),
            Self::Panic => drawn("#.#.#...###.###.###...#.#.#............."),
        }
    }
}

/// A drawing as bits, its first character the lowest.
const fn drawn(drawing: &str) -> (u64, u32) {
    let mut rest = drawing.as_bytes();
    let (mut bits, mut length) = (0, 0);
    while let [first, tail @ ..] = rest {
        bits |= ((*first == b'#') as u64) << length;
        length += 1;
        rest = tail;
    }
    (bits, length)
}

/// The LED.
pub struct Led<R> {
    registers: R,
    node: LedNode,
    step_ticks: u64,
    sign: Sign,
    since: Option<u64>,
    lit: bool,
}

impl<R: Registers> Led<R> {
    /// On a GPIO line; makes it an output, dark.
    pub fn new(registers: R, node: LedNode, ticks_per_second: u64) -> Self {
        let mut led = Self {
            registers,
            node: LedNode { line: node.line.min(57), ..node },
            step_ticks: (ticks_per_second / 8).max(1),
            sign: Sign::Off,
            since: None,
            lit: true,
        };
        let offset = FUNCTION_SELECT.saturating_add(led.bank(10).saturating_mul(4));
        let shift = led.node.line % 10 * 3;
        let others = led.registers.read32(offset) & !(7 << shift);
        led.registers.write32(offset, others | 1 << shift);
        led.light(false);
        led
    }

    fn bank(&self, lines: u32) -> usize {
        usize::try_from(self.node.line / lines).unwrap_or(0)
    }

    /// Changes what it says; the pattern begins anew with the next poll.
    pub fn show(&mut self, sign: Sign) {
        if sign != self.sign {
            self.sign = sign;
            self.since = None;
        }
    }

    /// Goes on; returns when it changes next.
    pub fn poll(&mut self, now: u64) -> u64 {
        let since = *self.since.get_or_insert(now);
        let step = now.saturating_sub(since) / self.step_ticks;
        let (pattern, length) = self.sign.pattern();
        let bit = |step: u64| pattern >> (step % u64::from(length)) & 1 != 0;
        let lit = bit(step);
        if lit != self.lit {
            self.light(lit);
        }
        let rest = (1..=u64::from(length)).find(|ahead| bit(step.wrapping_add(*ahead)) != lit);
        since.saturating_add(
            step.saturating_add(rest.unwrap_or(length.into())).saturating_mul(self.step_ticks),
        )
    }

    fn light(&mut self, lit: bool) {
        self.lit = lit;
        let base = if lit != self.node.active_low { SET } else { CLEAR };
        let offset = base.saturating_add(self.bank(32).saturating_mul(4));
        self.registers.write32(offset, 1 << (self.node.line % 32));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;
    use std::string::String;

    #[derive(Default)]
    struct Gpio {
        select: RefCell<[u32; 6]>,
        lit: Cell<bool>,
    }

    impl Registers for Rc<Gpio> {
        fn read32(&self, offset: usize) -> u32 {
            self.select.borrow()[offset / 4]
        }
        fn write32(&self, offset: usize, value: u32) {
            match offset {
                0x00..0x18 => self.select.borrow_mut()[offset / 4] = value,
                0x20 if value == 1 << 10 => self.lit.set(true),
                0x2c if value == 1 << 10 => self.lit.set(false),
                _ => panic!("a write of {value:#x} at {offset:#x}"),
            }
        }
        fn read8(&self, _offset: usize) -> u8 {
            panic!()
        }
        fn write8(&self, _offset: usize, _value: u8) {
            panic!()
        }
    }

    /// The pattern by steps of 1,000 ticks, polled only when the driver wants it; and how often that was.
    fn watch(sign: Sign, steps: u64, active_low: bool) -> (String, u32) {
        let gpio = Rc::new(Gpio::default());
        gpio.select.borrow_mut()[4] = u32::MAX;
        let mut led = Led::new(gpio.clone(), LedNode { line: 42, active_low }, 8000);
        assert_eq!(gpio.select.borrow()[4], !(6 << 6));
        led.show(sign);
        let (mut due, mut polls) = (77, 0);
        let step = |step| {
            if due <= 77 + step * 1000 {
                due = led.poll(77 + step * 1000);
                polls += 1;
            }
            if gpio.lit.get() != active_low { '#' } else { '.' }
        };
        ((0..steps).map(step).collect(), polls)
    }

    fn seen(sign: Sign, steps: u64) -> String {
        watch(sign, steps, false).0
    }

    #[test]
    fn an_active_low_line_is_turned_and_polls_are_few() {
        let running = watch(Sign::Running, 32, true);
        assert_eq!(running, watch(Sign::Running, 32, false));
        assert_eq!(running, (String::from("#...............#..............."), 4));
    }

    #[test]
    fn patterns_are_what_the_guide_says() {
        assert_eq!(seen(Sign::Stage(2), 24), "##..##..................");
        assert_eq!(seen(Sign::Running, 20), "#...............#...");
        assert_eq!(seen(Sign::Trouble, 16), "#..#............");
        assert_eq!(seen(Sign::Panic, 40), "#.#.#...###.###.###...#.#.#.............");
        assert_eq!(seen(Sign::Stage(9), 16), seen(Sign::Stage(4), 16));
    }
}
