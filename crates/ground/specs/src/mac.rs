//! MAC addresses.
//!
//! Source: IEEE 802, 8.2 "Universal addresses", 8.4 "Local MAC addresses".

use core::fmt;
use core::str::FromStr;

/// A 48-bit MAC address, first byte sent first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct MacAddress(pub [u8; 6]);

/// Text that is no MAC address of the form `aa:bb:cc:dd:ee:ff`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadMac;

impl MacAddress {
    /// Every station.
    pub const BROADCAST: Self = Self([0xff; 6]);

    const GROUP: u8 = 1 << 0;
    const LOCAL: u8 = 1 << 1;

    /// A locally administered address of one station, from any 48 bits.
    pub const fn local(bits: [u8; 6]) -> Self {
        let [first, b, c, d, e, f] = bits;
        Self([first & !Self::GROUP | Self::LOCAL, b, c, d, e, f])
    }

    /// Whether it names a group of stations; broadcast is one.
    pub const fn is_group(self) -> bool {
        self.0[0] & Self::GROUP != 0
    }
}

impl FromStr for MacAddress {
    type Err = BadMac;

    fn from_str(text: &str) -> Result<Self, BadMac> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().ok_or(BadMac)?;
            if part.len() != 2 || !part.bytes().all(|c| c.is_ascii_hexdigit()) {
                return Err(BadMac);
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| BadMac)?;
        }
        if parts.next().is_some() { Err(BadMac) } else { Ok(Self(bytes)) }
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn text_goes_both_ways() {
        let mac: MacAddress = "52:54:00:Ab:cD:ff".parse().unwrap();
        assert_eq!(mac, MacAddress([0x52, 0x54, 0x00, 0xab, 0xcd, 0xff]));
        assert_eq!(mac.to_string(), "52:54:00:ab:cd:ff");
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "52:54:00:ab:cd",
            "52:54:00:ab:cd:ff:00",
            "52-54-00-ab-cd-ff",
            "5:54:00:ab:cd:ff",
            "+1:54:00:ab:cd:ff",
        ] {
            assert_eq!(text.parse::<MacAddress>(), Err(BadMac), "{text}");
        }
    }

    #[test]
    fn local_addresses_are_of_one_station() {
        let mac = MacAddress::local([0xff; 6]);
        assert_eq!(mac.0[0], 0xfe);
        assert!(!mac.is_group() && MacAddress::BROADCAST.is_group());
    }
}
