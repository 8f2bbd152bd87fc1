//! The ACT LED of a Pi 4 as a sign of life: boot stages, running, trouble, panic.
//!
//! Called by `vmkernel`'s boot stages, its loop and the panic path; calls the GPIO registers. [`Led::poll`] never waits
//! and works in a panic loop too. docs/pi/README.md tells people what each pattern means.
//! Source: BCM2711 ARM Peripherals, 5.2 "GPIO Register View"; Linux `bcm2711-rpi-4-b.dts` (`leds`: GPIO 42, active high).

use crate::hardware::Registers;

/// GPFSEL0; ten lines of 3 bits in each.
pub const FUNCTION_SELECT: usize = 0x00;
/// GPSET0.
pub const SET: usize = 0x1c;
/// GPCLR0.
pub const CLEAR: usize = 0x28;
/// The ACT LED's line on every BCM2711 board.
pub const ACT: u32 = 42;

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
    line: u32,
    step_ticks: u64,
    sign: Sign,
    since: Option<u64>,
    lit: bool,
}

impl<R: Registers> Led<R> {
    /// On GPIO `line`, active high; makes it an output, dark.
    pub fn new(registers: R, line: u32, ticks_per_second: u64) -> Self {
        let mut led = Self {
            registers,
            line: line.min(57),
            step_ticks: (ticks_per_second / 8).max(1),
            sign: Sign::Off,
            since: None,
            lit: true,
        };
        let offset = FUNCTION_SELECT.saturating_add(led.bank(10).saturating_mul(4));
        let shift = led.line % 10 * 3;
        let others = led.registers.read32(offset) & !(7 << shift);
        led.registers.write32(offset, others | 1 << shift);
        led.light(false);
        led
    }

    fn bank(&self, lines: u32) -> usize {
        usize::try_from(self.line / lines).unwrap_or(0)
    }

    /// Changes what it says; the pattern begins anew with the next poll.
    pub fn show(&mut self, sign: Sign) {
        if sign != self.sign {
            self.sign = sign;
            self.since = None;
        }
    }

    /// Goes on; returns when to call again.
    pub fn poll(&mut self, now: u64) -> u64 {
        let since = *self.since.get_or_insert(now);
        let step = now.saturating_sub(since) / self.step_ticks;
        let (pattern, length) = self.sign.pattern();
        let bit = u32::try_from(step % u64::from(length)).unwrap_or(0);
        let lit = pattern >> bit & 1 != 0;
        if lit != self.lit {
            self.light(lit);
        }
        since.saturating_add(step.saturating_add(1).saturating_mul(self.step_ticks))
    }

    fn light(&mut self, lit: bool) {
        self.lit = lit;
        let base = if lit { SET } else { CLEAR };
        let offset = base.saturating_add(self.bank(32).saturating_mul(4));
        self.registers.write32(offset, 1 << (self.line % 32));
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

    fn seen(sign: Sign, steps: u64) -> String {
        let gpio = Rc::new(Gpio::default());
        gpio.select.borrow_mut()[4] = u32::MAX;
        let mut led = Led::new(gpio.clone(), ACT, 8000);
        assert_eq!(gpio.select.borrow()[4], !(6 << 6));
        led.show(sign);
        let mut now = 77;
        (0..steps)
            .map(|_| {
                now = led.poll(now);
                if gpio.lit.get() { '#' } else { '.' }
            })
            .collect()
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
