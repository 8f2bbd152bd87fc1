//! What a card says about itself: CID, CSD, SCR, SD Status, switch status, card status.
//!
//! Called by `bring_up` and `requests`; calls nothing. Every byte here comes from a card that may be broken or forged.
//! Source: SD Physical Layer Simplified Specification 6.00, 4.9 "Responses", 4.10 "Two Status Information of SD Memory
//! Card", 5 "Card Registers", 4.3.10 "Switch Function Command".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use core::fmt;

/// What a card said that no card may say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nonsense {
    /// CSD_STRUCTURE is neither 0 nor 1 (SDUC and MMC are not driven).
    CsdStructure(u8),
    /// A capacity of zero.
    NoCapacity,
    /// READ_BL_LEN outside 9–11.
    BlockLength(u8),
    /// SCR_STRUCTURE is not 0.
    ScrStructure(u8),
    /// CMD8 echoed another pattern or voltage.
    InterfaceCondition(u32),
    /// Published a relative address of zero.
    RelativeAddress,
}

impl fmt::Display for Nonsense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CsdStructure(n) => {
                write!(f, "its CSD has structure {n}, only SDSC (0) and SDHC/SDXC (1) are driven")
            }
            Self::NoCapacity => f.write_str("its CSD gives a capacity of zero"),
            Self::BlockLength(n) => write!(f, "its CSD gives blocks of 2^{n} bytes, 9 to 11 are allowed"),
            Self::ScrStructure(n) => write!(f, "its SCR has structure {n}, only 0 is known"),
            Self::InterfaceCondition(n) => write!(f, "it echoed {n:#x} to CMD8, not its voltage and pattern"),
            Self::RelativeAddress => f.write_str("it published the relative address 0"),
        }
    }
}

/// Bits `high..=low` of a 128-bit register.
const fn bits(raw: u128, high: u32, low: u32) -> u32 {
    let width = high.wrapping_sub(low).wrapping_add(1);
    let mask = if width >= 32 { u32::MAX } else { (1u32 << width).wrapping_sub(1) };
    ((raw >> low) & 0xffff_ffff) as u32 & mask
}

#[expect(clippy::cast_possible_truncation, reason = "bits() was masked to the field's width")]
const fn byte(raw: u128, high: u32, low: u32) -> u8 {
    bits(raw, high, low) as u8
}

/// Card identification register (5.2 "CID register"): tells one card from another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cid(pub u128);

impl Cid {
    /// MID: who made it.
    pub const fn manufacturer(self) -> u8 {
        byte(self.0, 127, 120)
    }

    /// OID: for whom, two characters.
    pub const fn oem(self) -> [u8; 2] {
        [byte(self.0, 119, 112), byte(self.0, 111, 104)]
    }

    /// PNM: product name, five characters.
    pub const fn product(self) -> [u8; 5] {
        [
            byte(self.0, 103, 96),
            byte(self.0, 95, 88),
            byte(self.0, 87, 80),
            byte(self.0, 79, 72),
            byte(self.0, 71, 64),
        ]
    }

    /// PRV: revision, two BCD digits.
    pub const fn revision(self) -> u8 {
        byte(self.0, 63, 56)
    }

    /// PSN: serial number.
    pub const fn serial(self) -> u32 {
        bits(self.0, 55, 24)
    }

    /// MDT: year and month of manufacture.
    pub const fn made(self) -> (u16, u8) {
        (2000u16.wrapping_add(byte(self.0, 19, 12) as u16), byte(self.0, 11, 8))
    }
}

impl fmt::Display for Cid {
    /// `SC16G rev 8.0 serial 1234abcd made 2019-05 by 03/SD`; what is not printable shows as `.`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |b: u8| if b.is_ascii_graphic() { char::from(b) } else { '.' };
        for b in self.product() {
            write!(f, "{}", shown(b))?;
        }
        let revision = self.revision();
        let (year, month) = self.made();
        let [a, b] = self.oem();
        write!(
            f,
            " rev {}.{} serial {:08x} made {year}-{month:02} by {:02x}/{}{}",
            revision >> 4,
            revision & 15,
            self.serial(),
            self.manufacturer(),
            shown(a),
            shown(b)
        )
    }
}

/// What the driver needs of the card-specific data register (5.3 "CSD Register").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Csd {
    /// Capacity in sectors of 512 bytes.
    pub sectors: u64,
    /// Command class 5, erase, is there.
    pub can_erase: bool,
    /// PERM_WRITE_PROTECT or TMP_WRITE_PROTECT.
    pub write_protected: bool,
}

impl Csd {
    /// Reads the register, bit 127 first.
    pub fn parse(raw: u128) -> Result<Self, Nonsense> {
        let sectors = match byte(raw, 127, 126) {
            0 => Self::sectors_v1(raw)?,
            1 => u64::from(bits(raw, 69, 48)).saturating_add(1).saturating_mul(1024),
            other => return Err(Nonsense::CsdStructure(other)),
        };
        if sectors == 0 {
            return Err(Nonsense::NoCapacity);
        }
        let classes = bits(raw, 95, 84);
        Ok(Self { sectors, can_erase: classes & (1 << 5) != 0, write_protected: bits(raw, 13, 12) != 0 })
    }

    /// 5.3.2: BLOCKNR = (C_SIZE + 1) × 2^(C_SIZE_MULT + 2), of 2^READ_BL_LEN bytes.
    fn sectors_v1(raw: u128) -> Result<u64, Nonsense> {
        let block_length = byte(raw, 83, 80);
        let shift = block_length
            .checked_sub(9)
            .filter(|shift| *shift <= 2)
            .ok_or(Nonsense::BlockLength(block_length))?;
        let blocks = u64::from(bits(raw, 73, 62)).saturating_add(1);
        let multiplier = bits(raw, 49, 47).saturating_add(2);
        Ok(blocks << multiplier << shift)
    }
}

/// SD configuration register (5.6 "SCR register").
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Scr {
    /// The physical layer version it keeps, as major and minor.
    pub version: (u8, u8),
    /// Erased bits read as one.
    pub erased_is_one: bool,
    /// A 4-bit bus is there.
    pub four_bit: bool,
    /// CMD23, SET_BLOCK_COUNT, is there.
    pub set_block_count: bool,
}

impl Scr {
    /// Reads the register, most significant byte first.
    pub fn parse(raw: [u8; 8]) -> Result<Self, Nonsense> {
        let raw = u128::from(u64::from_be_bytes(raw));
        let structure = byte(raw, 63, 60);
        if structure != 0 {
            return Err(Nonsense::ScrStructure(structure));
        }
        let version = match (byte(raw, 59, 56), byte(raw, 47, 47), byte(raw, 42, 42), byte(raw, 41, 38)) {
            (2, 1, _, x) if x > 0 => (x.saturating_add(4), 0),
            (2, 1, 1, _) => (4, 0),
            (2, 1, _, _) => (3, 0),
            (2, _, _, _) => (2, 0),
            (1, _, _, _) => (1, 10),
            _ => (1, 0),
        };
        Ok(Self {
            version,
            erased_is_one: bits(raw, 55, 55) != 0,
            four_bit: bits(raw, 51, 48) & 4 != 0,
            set_block_count: bits(raw, 33, 32) & 2 != 0,
        })
    }
}

/// What the driver needs of the SD Status (4.10.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SdStatus {
    /// SPEED_CLASS as printed on the card: 0, 2, 4, 6, 10.
    pub speed_class: u8,
    /// CMD38 takes the discard argument.
    pub discard: bool,
}

impl SdStatus {
    /// Reads the 64 bytes of ACMD13.
    pub fn parse(raw: &[u8; 64]) -> Self {
        let speed_class = match raw.get(8) {
            Some(1) => 2,
            Some(2) => 4,
            Some(3) => 6,
            Some(4) => 10,
            _ => 0,
        };
        // Bit 313 of 512, the most significant first.
        Self { speed_class, discard: raw.get(24).is_some_and(|b| b & 2 != 0) }
    }
}

/// How fast the bus is driven (SD 6.00, 3.9 "Bus Speed Mode").
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum BusSpeed {
    /// 25 MHz, 3.3 V or SDR12.
    #[default]
    Default,
    /// 50 MHz at 3.3 V, or SDR25 at 1.8 V.
    High,
    /// 100 MHz at 1.8 V.
    Sdr50,
    /// 50 MHz, both edges, at 1.8 V.
    Ddr50,
    /// 208 MHz at 1.8 V.
    Sdr104,
}

impl BusSpeed {
    /// The function number of CMD6's group 1, and of UHS Mode Select.
    pub const fn function(self) -> u8 {
        match self {
            Self::Default => 0,
            Self::High => 1,
            Self::Sdr50 => 2,
            Self::Sdr104 => 3,
            Self::Ddr50 => 4,
        }
    }

    /// Highest clock.
    pub const fn hertz(self) -> u32 {
        match self {
            Self::Default => 25_000_000,
            Self::High | Self::Ddr50 => 50_000_000,
            Self::Sdr50 => 100_000_000,
            Self::Sdr104 => 208_000_000,
        }
    }
}

/// CMD6's answer (4.3.10.4 "Switch Function Status").
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SwitchStatus {
    /// Functions of group 1 that are there, one bit each.
    pub supported: u8,
    /// Function of group 1 that is, or would be, in force; 15 is an error.
    pub selected: u8,
}

impl SwitchStatus {
    /// Reads the 64 bytes.
    pub fn parse(raw: &[u8; 64]) -> Self {
        Self {
            supported: raw.get(13).copied().unwrap_or(0),
            selected: raw.get(16).copied().unwrap_or(0xf) & 0xf,
        }
    }

    /// Whether group 1 offers a speed.
    pub const fn offers(self, speed: BusSpeed) -> bool {
        self.supported & (1 << speed.function()) != 0
    }
}

/// R1: card status (4.10.1 "Card Status").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CardStatus(pub u32);

impl CardStatus {
    /// Every bit of type E or EX: OUT_OF_RANGE … ERROR, CSD_OVERWRITE, WP_ERASE_SKIP, AKE_SEQ_ERROR.
    const ERRORS: u32 = 0xfdf9_8008;
    const STATE_TRANSFER: u32 = 4;

    /// The error bits.
    pub const fn errors(self) -> u32 {
        self.0 & Self::ERRORS
    }

    /// WP_VIOLATION.
    pub const fn write_protect_violation(self) -> bool {
        self.0 & (1 << 26) != 0
    }

    /// In the transfer state and ready for data.
    pub const fn is_ready(self) -> bool {
        self.state() == Self::STATE_TRANSFER && self.0 & (1 << 8) != 0
    }

    /// CURRENT_STATE.
    pub const fn state(self) -> u32 {
        self.0 >> 9 & 15
    }
}

/// A card that answered all questions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Card {
    /// Who it is.
    pub cid: Cid,
    /// Its relative address, in bits 31:16 of arguments.
    pub relative_address: u16,
    /// Addresses count sectors (SDHC, SDXC), not bytes.
    pub addresses_sectors: bool,
    /// Its size and abilities.
    pub csd: Csd,
    /// Its configuration.
    pub scr: Scr,
    /// Its status register.
    pub status: SdStatus,
    /// Bus width in bits: 1 or 4.
    pub bus_width: u8,
    /// How fast the bus is driven.
    pub speed: BusSpeed,
    /// Signalling at 1.8 V.
    pub low_voltage: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    /// A SanDisk card of 16 GB, as published in many boot logs.
    const CID_SANDISK: u128 = 0x0353_4453_4331_3647_807d_4a3e_d800_f55d;
    const CSD_16G: u128 = 0x400e_0032_5b59_0000_7695_7f80_0a40_4013;

    #[test]
    fn a_real_identity_is_read() {
        let cid = Cid(CID_SANDISK);
        assert_eq!(cid.manufacturer(), 3);
        assert_eq!(&cid.product(), b"SC16G");
        assert_eq!(cid.to_string(), "SC16G rev 8.0 serial 7d4a3ed8 made 2015-05 by 03/SD");
    }

    #[test]
    fn csd_version_2_gives_the_capacity() {
        let csd = Csd::parse(CSD_16G).unwrap();
        assert_eq!(csd.sectors, (0x7695 + 1) * 1024);
        assert!(csd.can_erase && !csd.write_protected);
        assert!(Csd::parse(CSD_16G | 1 << 12).unwrap().write_protected);
    }

    #[test]
    fn csd_version_1_gives_the_capacity() {
        // C_SIZE 3919, C_SIZE_MULT 7, READ_BL_LEN 9: a card of about 1 GB.
        let raw = 9u128 << 80 | 3919u128 << 62 | 7u128 << 47;
        assert_eq!(Csd::parse(raw).unwrap().sectors, 3920 << 9);
        // READ_BL_LEN 10 doubles it.
        let raw = 10u128 << 80 | 3919u128 << 62 | 7u128 << 47;
        assert_eq!(Csd::parse(raw).unwrap().sectors, 3920 << 10);
        assert_eq!(Csd::parse(3919u128 << 62), Err(Nonsense::BlockLength(0)));
        assert_eq!(Csd::parse(2u128 << 126), Err(Nonsense::CsdStructure(2)));
    }

    #[test]
    fn scr_tells_version_and_commands() {
        let scr = Scr::parse([0x02, 0x35, 0x80, 0x43, 0, 0, 0, 0]).unwrap();
        assert_eq!(scr, Scr { version: (5, 0), erased_is_one: false, four_bit: true, set_block_count: true });
        assert_eq!(Scr::parse([0x10, 0, 0, 0, 0, 0, 0, 0]), Err(Nonsense::ScrStructure(1)));
    }

    #[test]
    fn card_status_errors_and_states() {
        let ready = CardStatus(4 << 9 | 1 << 8);
        assert!(ready.is_ready() && ready.errors() == 0);
        assert!(!CardStatus(7 << 9 | 1 << 8).is_ready());
        assert!(CardStatus(1 << 26).write_protect_violation());
        assert_ne!(CardStatus(1 << 31).errors(), 0);
    }

    proptest! {
        #[test]
        fn no_register_panics(raw: u128, scr: [u8; 8], bytes in prop::array::uniform32(any::<u8>())) {
            let mut status = [0; 64];
            status[..32].copy_from_slice(&bytes);
            prop_assert!(Csd::parse(raw).is_err() || Csd::parse(raw).unwrap().sectors > 0);
            let _ = (Cid(raw).to_string(), Scr::parse(scr), SdStatus::parse(&status), SwitchStatus::parse(&status));
        }
    }
}
