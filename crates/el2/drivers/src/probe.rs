//! Which driver takes a device: a table from the device tree's `compatible` (boards are data).
//!
//! Called by the vmkernel when it walks `board::Board::devices`.

/// A host driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Driver {
    /// `pl011`.
    Pl011,
    /// `mini_uart`.
    MiniUart,
    /// `virtio_mmio`: the slot says what device it holds (`Transport::device_id`).
    VirtioMmio,
    /// `sdhci` with the BCM2711's EMMC2.
    SdhciEmmc2,
    /// `sdhci` with the BCM2835's Arasan controller.
    SdhciArasan,
    /// The BCM2711's Ethernet.
    Genet,
    /// The VideoCore's mailbox.
    Mailbox,
    /// The BCM2835's power management and watchdog.
    PowerManagement,
    /// The BCM2711's random number generator.
    Rng200,
    /// The BCM2711's GPIO controller, for the ACT LED.
    Gpio,
    /// Arm's real-time clock.
    Pl031,
}

/// Compatible strings, from Linux's device tree bindings.
const TABLE: &[(&str, Driver)] = &[
    ("arm,pl011", Driver::Pl011),
    ("brcm,bcm2835-aux-uart", Driver::MiniUart),
    ("virtio,mmio", Driver::VirtioMmio),
    ("brcm,bcm2711-emmc2", Driver::SdhciEmmc2),
    ("brcm,bcm2835-mmc", Driver::SdhciArasan),
    ("brcm,bcm2835-sdhci", Driver::SdhciArasan),
    ("brcm,bcm2711-genet-v5", Driver::Genet),
    ("brcm,bcm2835-mbox", Driver::Mailbox),
    ("brcm,bcm2835-pm", Driver::PowerManagement),
    ("brcm,bcm2711-pm", Driver::PowerManagement),
    ("brcm,bcm2711-rng200", Driver::Rng200),
    ("brcm,bcm2711-gpio", Driver::Gpio),
    ("arm,pl031", Driver::Pl031),
];

/// The driver for a `compatible` string, if there is one.
pub fn driver_for(compatible: &str) -> Option<Driver> {
    TABLE.iter().find(|(name, _)| *name == compatible).map(|(_, driver)| *driver)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Board;

    #[test]
    fn the_boards_devices_find_their_drivers() {
        let virt = Board::from_device_tree(include_bytes!("../device-trees/virt-gicv3.dtb")).unwrap();
        let slots =
            virt.devices.iter().filter(|d| driver_for(&d.compatible) == Some(Driver::VirtioMmio)).count();
        assert_eq!(slots, 32);
        let pi = Board::from_device_tree(include_bytes!("../device-trees/pi4-like.dtb")).unwrap();
        assert!(pi.devices.iter().any(|device| driver_for(&device.compatible).is_some()));
        assert_eq!(driver_for("acme,frobnicator"), None);
    }
}
