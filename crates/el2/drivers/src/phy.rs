//! An Ethernet PHY on MDIO: identity, reset, what it offers, and the link that results.
//!
//! Called by [`crate::genet`], which moves one MDIO operation at a time; calls nothing and waits for nothing. The Pi's
//! BCM54213PE gets its RGMII delays (the board's `phy-mode` is rgmii-rxid: the PHY delays RXC, the MAC TXC); others are
//! driven by the standard registers alone. Energy Efficient Ethernet is not offered: its wake-up costs latency.
//!
//! Source: IEEE 802.3-2018, 22.2.4 "Management functions", 28B.3 "Priority resolution", 40.5.1; Linux
//! `drivers/net/phy/broadcom.c` and `include/linux/brcmphy.h` for the delays.

use core::fmt;

/// An operation on a PHY's register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Read it.
    Read(u8),
    /// Write it.
    Write(u8, u16),
}

/// Speed of a link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Speed {
    /// 10 Mbit/s.
    Ten,
    /// 100 Mbit/s.
    Hundred,
    /// 1000 Mbit/s.
    Thousand,
}

/// A link that is up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// Its speed.
    pub speed: Speed,
    /// Both directions at once.
    pub full_duplex: bool,
    /// We may send PAUSE frames.
    pub send_pause: bool,
    /// We obey PAUSE frames.
    pub obey_pause: bool,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let speed = match self.speed {
            Speed::Ten => 10,
            Speed::Hundred => 100,
            Speed::Thousand => 1000,
        };
        let duplex = if self.full_duplex { "full" } else { "half" };
        let pause = match (self.send_pause, self.obey_pause) {
            (true, true) => "both ways",
            (true, false) => "sent",
            (false, true) => "obeyed",
            (false, false) => "none",
        };
        write!(f, "{speed} Mbit/s {duplex} duplex, flow control {pause}")
    }
}

/// Basic mode control.
pub const BMCR: u8 = 0;
/// Basic mode status.
pub const BMSR: u8 = 1;
/// Identifier, high half.
pub const ID_HIGH: u8 = 2;
/// Identifier, low half.
pub const ID_LOW: u8 = 3;
/// What we offer.
pub const ADVERTISE: u8 = 4;
/// What the partner offers.
pub const PARTNER: u8 = 5;
/// What we offer at 1000 Mbit/s.
pub const CONTROL_1000: u8 = 9;
/// What the partner offers at 1000 Mbit/s.
pub const STATUS_1000: u8 = 10;
/// MMD access control.
pub const MMD_CONTROL: u8 = 13;
/// MMD access data.
pub const MMD_DATA: u8 = 14;
/// Broadcom: auxiliary control shadow.
pub const AUXILIARY: u8 = 0x18;
/// Broadcom: shadow registers.
pub const SHADOW: u8 = 0x1c;

const RESET: u16 = 1 << 15;
const NEGOTIATE: u16 = 1 << 12 | 1 << 9;
const LINK: u16 = 1 << 2;
const NEGOTIATED: u16 = 1 << 5;
/// 10 and 100 in both duplexes, PAUSE and asymmetric PAUSE, IEEE 802.3.
const OFFER: u16 = 0x0de1;
const OFFER_1000: u16 = 0x0300;
const BROADCOM: u32 = 0x600d_8400;
/// Auxiliary shadow 7, "miscellaneous": select for reading, write enable, RGMII RXC skew.
const MISC_SELECT: u16 = 0x7007;
const MISC_WRITE: u16 = 0x8007;
const MISC_RXC_SKEW: u16 = 0x0100;
/// Shadow 3, "clock control": select, write, GTXCLK delay.
const CLOCK_SELECT: u16 = 3 << 10;
const CLOCK_WRITE: u16 = 1 << 15 | 3 << 10;
const CLOCK_GTX_DELAY: u16 = 1 << 9;

/// How often the link is looked at (the board wires no PHY interrupt), and a PHY that fails is tried again.
const LOOK_MS: u64 = 1000;
const RETRY_MS: u64 = 5000;
const MAX_RESET_LOOKS: u8 = 50;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    IdHigh,
    IdLow,
    Reset,
    ResetDone,
    MiscSelect,
    MiscRead,
    MiscWrite(u16),
    ClockSelect,
    ClockRead,
    ClockWrite(u16),
    EeeDevice,
    EeeRegister,
    EeeData,
    EeeOff,
    Offer,
    Offer1000,
    Restart,
    /// BMSR latches a lost link: the first read clears that.
    Latched,
    Status,
    Partner,
    Partner1000(u16),
}

/// What the PHY is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Phy {
    step: Step,
    not_before: u64,
    tries: u8,
    ticks_per_second: u64,
    /// OUI, model and revision; 0 while unknown.
    pub id: u32,
    /// The link, when it is up.
    pub link: Option<Link>,
    /// Times that the link went up or down.
    pub changes: u32,
    /// No PHY answers, or it does not come out of reset.
    pub missing: bool,
}

impl Phy {
    /// Not yet asked.
    pub fn new(ticks_per_second: u64) -> Self {
        Self {
            step: Step::IdHigh,
            not_before: 0,
            tries: 0,
            ticks_per_second,
            id: 0,
            link: None,
            changes: 0,
            missing: false,
        }
    }

    /// The operation that is next, if its time has come.
    pub fn next(&self, now: u64) -> Option<Operation> {
        use Operation::{Read, Write};
        if now < self.not_before {
            return None;
        }
        Some(match self.step {
            Step::IdHigh => Read(ID_HIGH),
            Step::IdLow => Read(ID_LOW),
            Step::Reset => Write(BMCR, RESET),
            Step::ResetDone => Read(BMCR),
            Step::MiscSelect => Write(AUXILIARY, MISC_SELECT),
            Step::MiscRead => Read(AUXILIARY),
            Step::MiscWrite(value) => Write(AUXILIARY, value),
            Step::ClockSelect => Write(SHADOW, CLOCK_SELECT),
            Step::ClockRead => Read(SHADOW),
            Step::ClockWrite(value) => Write(SHADOW, value),
            // MMD 7.60, EEE advertisement (802.3, 45.2.7.13): nothing.
            Step::EeeDevice => Write(MMD_CONTROL, 7),
            Step::EeeRegister => Write(MMD_DATA, 60),
            Step::EeeData => Write(MMD_CONTROL, 0x4007),
            Step::EeeOff => Write(MMD_DATA, 0),
            Step::Offer => Write(ADVERTISE, OFFER),
            Step::Offer1000 => Write(CONTROL_1000, OFFER_1000),
            Step::Restart => Write(BMCR, NEGOTIATE),
            Step::Latched | Step::Status => Read(BMSR),
            Step::Partner => Read(PARTNER),
            Step::Partner1000(_) => Read(STATUS_1000),
        })
    }

    /// When [`Self::next`] has something.
    pub fn due(&self) -> u64 {
        self.not_before
    }

    /// The operation ended: with what was read (anything after a write), or not at all.
    pub fn done(&mut self, value: Option<u16>, now: u64) {
        let Some(value) = value else { return self.fail(now) };
        self.step = match self.step {
            Step::IdHigh => {
                self.id = u32::from(value) << 16;
                Step::IdLow
            }
            Step::IdLow => {
                self.id |= u32::from(value);
                if self.id == 0 || self.id == u32::MAX {
                    return self.fail(now);
                }
                Step::Reset
            }
            Step::Reset => {
                self.wait(now, 10);
                self.tries = 0;
                Step::ResetDone
            }
            Step::ResetDone if value & RESET != 0 => {
                self.tries = self.tries.saturating_add(1);
                if self.tries > MAX_RESET_LOOKS {
                    return self.fail(now);
                }
                self.wait(now, 10);
                Step::ResetDone
            }
            Step::ResetDone if self.id & 0xffff_ff00 == BROADCOM => Step::MiscSelect,
            Step::ResetDone => Step::EeeDevice,
            Step::MiscSelect => Step::MiscRead,
            Step::MiscRead => Step::MiscWrite(value | MISC_WRITE | MISC_RXC_SKEW),
            Step::MiscWrite(_) => Step::ClockSelect,
            Step::ClockSelect => Step::ClockRead,
            Step::ClockRead => Step::ClockWrite(CLOCK_WRITE | value & 0x3ff & !CLOCK_GTX_DELAY),
            Step::ClockWrite(_) => Step::EeeDevice,
            Step::EeeDevice => Step::EeeRegister,
            Step::EeeRegister => Step::EeeData,
            Step::EeeData => Step::EeeOff,
            Step::EeeOff => Step::Offer,
            Step::Offer => Step::Offer1000,
            Step::Offer1000 => Step::Restart,
            Step::Restart => {
                self.missing = false;
                Step::Latched
            }
            Step::Latched => {
                // A link that was lost since the last look is down, even if it is up again: it negotiated anew.
                if value & LINK == 0 {
                    self.set(None);
                }
                Step::Status
            }
            Step::Status if value & (LINK | NEGOTIATED) == LINK | NEGOTIATED => {
                if self.link.is_some() {
                    self.look_later(now)
                } else {
                    Step::Partner
                }
            }
            Step::Status => {
                self.set(None);
                self.look_later(now)
            }
            Step::Partner => Step::Partner1000(value),
            Step::Partner1000(partner) => {
                self.set(resolve(partner, value));
                self.look_later(now)
            }
        };
    }

    fn look_later(&mut self, now: u64) -> Step {
        self.wait(now, LOOK_MS);
        Step::Latched
    }

    fn wait(&mut self, now: u64, milliseconds: u64) {
        let ticks = milliseconds.saturating_mul(self.ticks_per_second) / 1000;
        self.not_before = now.saturating_add(ticks);
    }

    fn fail(&mut self, now: u64) {
        self.set(None);
        self.id = 0;
        self.missing = true;
        self.step = Step::IdHigh;
        self.wait(now, RETRY_MS);
    }

    fn set(&mut self, link: Option<Link>) {
        if self.link != link {
            self.changes = self.changes.saturating_add(1);
            self.link = link;
        }
    }
}

/// The best that both offer.
fn resolve(partner: u16, partner_1000: u16) -> Option<Link> {
    let both = OFFER & partner;
    let (speed, full_duplex) = if partner_1000 & 1 << 11 != 0 {
        (Speed::Thousand, true)
    } else if partner_1000 & 1 << 10 != 0 {
        (Speed::Thousand, false)
    } else if both & 1 << 8 != 0 {
        (Speed::Hundred, true)
    } else if both & 1 << 7 != 0 {
        (Speed::Hundred, false)
    } else if both & 1 << 6 != 0 {
        (Speed::Ten, true)
    } else if both & 1 << 5 != 0 {
        (Speed::Ten, false)
    } else {
        return None;
    };
    // 802.3, table 28B-3, for us offering both; PAUSE is for full duplex only.
    let (pause, asymmetric) = (partner & 1 << 10 != 0, partner & 1 << 11 != 0);
    let send_pause = full_duplex && pause;
    let obey_pause = full_duplex && (pause || asymmetric);
    Some(Link { speed, full_duplex, send_pause, obey_pause })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::phy::PhyModel;
    use proptest::prelude::*;

    fn run(phy: &mut Phy, model: &PhyModel, milliseconds: u64) {
        for now in 0..milliseconds {
            while let Some(operation) = phy.next(now) {
                let value = model.run(operation);
                phy.done(value, now);
            }
        }
    }

    #[test]
    fn a_gigabit_link_comes_up_with_delays_set_and_eee_off() {
        let model = PhyModel::new();
        let mut phy = Phy::new(1000);
        run(&mut phy, &model, 100);
        let link = Link { speed: Speed::Thousand, full_duplex: true, send_pause: true, obey_pause: true };
        assert_eq!((phy.link, phy.id, phy.changes), (Some(link), 0x600d_84a2, 1));
        assert!(model.rxc_skew.get() && !model.gtx_delay.get());
        assert_eq!(model.eee.get(), 0);
    }

    #[test]
    fn what_both_offer_is_taken() {
        let pause =
            |send_pause, obey_pause, speed, full_duplex| Link { speed, full_duplex, send_pause, obey_pause };
        let table = [
            (0x01e1, 0, pause(false, false, Speed::Hundred, true)),
            (0x0481, 0, pause(false, false, Speed::Hundred, false)),
            (0x0c41, 0, pause(true, true, Speed::Ten, true)),
            (0x0821, 0, pause(false, false, Speed::Ten, false)),
            (0x09e1, 0x0800, pause(false, true, Speed::Thousand, true)),
        ];
        for (partner, partner_1000, link) in table {
            let model = PhyModel::new();
            model.partner.set(partner);
            model.partner_1000.set(partner_1000);
            let mut phy = Phy::new(1000);
            run(&mut phy, &model, 100);
            assert_eq!(phy.link, Some(link), "{partner:#x}");
        }
    }

    #[test]
    fn a_flapping_link_is_seen_even_between_two_looks() {
        let model = PhyModel::new();
        let mut phy = Phy::new(1000);
        run(&mut phy, &model, 100);
        model.flap();
        phy.not_before = 0;
        run(&mut phy, &model, 100);
        assert!(phy.link.is_some());
        assert_eq!(phy.changes, 3);
        model.cable.set(false);
        phy.not_before = 0;
        run(&mut phy, &model, 100);
        assert_eq!((phy.link, phy.changes), (None, 4));
    }

    #[test]
    fn a_missing_phy_is_tried_again() {
        let model = PhyModel::new();
        model.absent.set(true);
        let mut phy = Phy::new(1000);
        run(&mut phy, &model, 100);
        assert!(phy.missing);
        model.absent.set(false);
        run(&mut phy, &model, 6000);
        assert!(!phy.missing && phy.link.is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 100 }))]

        #[test]
        fn any_answers_are_survived(values in prop::collection::vec(any::<Option<u16>>(), 0..60)) {
            let mut phy = Phy::new(1000);
            let mut now = 0;
            for value in values {
                now = phy.due().max(now);
                prop_assert!(phy.next(now).is_some());
                phy.done(value, now);
            }
        }
    }
}
