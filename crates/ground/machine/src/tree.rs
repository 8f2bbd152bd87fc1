//! `MachinePlan → device tree`: what the guest reads to find its devices. Called once per VM start.
//!
//! Source: Devicetree Specification 0.4, 2.3 "Standard Properties", 3 "Device Node Requirements", 5 "Flattened
//! Devicetree (DTB) Format"; bindings: arm,gic, arm,gic-v3, arm,psci, arm,armv8-timer, pl011, pl031, pl061, gpio-keys,
//! cfi-flash, virtio,mmio. Node names and values follow QEMU's `virt` board, whose tree guests are tested with.

use crate::layout;
use crate::{DeviceKind, DevicePlan, GicVersion, MachinePlan};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use specs::{Intid, IpaRange};
use vm_fdt::FdtWriter;

/// The interrupt controller's phandle, QEMU's value.
const GIC_PHANDLE: u32 = 0x8003;
const CLOCK_PHANDLE: u32 = 0x8000;
const GPIO_PHANDLE: u32 = 0x8005;

/// First cell of an `interrupts` property.
const GIC_SPI: u32 = 0;
const GIC_PPI: u32 = 1;
/// Third cell.
const EDGE_RISING: u32 = 1;
const LEVEL_HIGH: u32 = 4;

/// PL011 and its siblings are clocked so; the guest's baud rate divisors come to nothing.
const APB_HZ: u32 = 24_000_000;
/// Linux's KEY_POWER.
const KEY_POWER: u32 = 116;
/// Linux's COMMAND_LINE_SIZE on arm64, less the terminating zero.
const MAX_BOOTARGS: usize = 2047;

/// What changes from start to start: node `/chosen`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Chosen<'a> {
    /// The kernel's command line.
    pub bootargs: Option<&'a str>,
    /// Fresh random bytes for the guest's generator; `None` while the host's is unseeded.
    pub rng_seed: Option<[u8; 32]>,
    /// Fresh random bits for the guest kernel's address layout.
    pub kaslr_seed: Option<u64>,
}

/// Why a device tree can't be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TreeError {
    /// The command line is longer than Linux reads, or has a zero byte.
    Bootargs,
    /// The tree outgrew its place. No plan does that.
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The writer refused a node: a bug here.
    Writer,
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bootargs => {
                write!(f, "the command line must have at most {MAX_BOOTARGS} bytes, none of them zero")
            }
            Self::TooLarge { bytes } => write!(f, "the device tree has {bytes} bytes, more than its place"),
            Self::Writer => write!(f, "the device tree's writer refused a node"),
        }
    }
}

impl core::error::Error for TreeError {}

impl From<vm_fdt::Error> for TreeError {
    fn from(_: vm_fdt::Error) -> Self {
        Self::Writer
    }
}

type Written = Result<(), TreeError>;

impl MachinePlan {
    /// The flattened device tree; at most as long as [`MachinePlan::device_tree`].
    pub fn build_device_tree(&self, chosen: &Chosen<'_>) -> Result<Vec<u8>, TreeError> {
        if chosen.bootargs.is_some_and(|args| args.len() > MAX_BOOTARGS || args.contains('\0')) {
            return Err(TreeError::Bootargs);
        }
        let mut tree = Tree { fdt: FdtWriter::new()?, plan: self };
        tree.root(chosen)?;
        let bytes = tree.fdt.finish()?;
        if bytes.len() as u64 > self.device_tree.bytes() {
            return Err(TreeError::TooLarge { bytes: bytes.len() });
        }
        Ok(bytes)
    }
}

struct Tree<'a> {
    fdt: FdtWriter,
    plan: &'a MachinePlan,
}

impl Tree<'_> {
    /// A node with what `body` writes into it.
    fn node(&mut self, name: &str, body: impl FnOnce(&mut Self) -> Written) -> Written {
        let node = self.fdt.begin_node(name)?;
        body(self)?;
        Ok(self.fdt.end_node(node)?)
    }

    fn strings(&mut self, name: &str, values: &[&str]) -> Written {
        let values = values.iter().map(|value| String::from(*value)).collect();
        Ok(self.fdt.property_string_list(name, values)?)
    }

    fn reg(&mut self, ranges: &[IpaRange]) -> Written {
        let cells: Vec<u64> = ranges.iter().flat_map(|range| [range.start().0, range.bytes()]).collect();
        Ok(self.fdt.property_array_u64("reg", &cells)?)
    }

    fn interrupt(&mut self, intid: Option<Intid>, trigger: u32) -> Written {
        let Some(spi) = intid.and_then(|intid| intid.0.checked_sub(Intid::FIRST_SPI.0)) else {
            return Ok(());
        };
        Ok(self.fdt.property_array_u32("interrupts", &[GIC_SPI, spi, trigger])?)
    }

    fn root(&mut self, chosen: &Chosen<'_>) -> Written {
        self.node("", |t| {
            t.fdt.property_u32("interrupt-parent", GIC_PHANDLE)?;
            t.fdt.property_null("dma-coherent")?;
            t.fdt.property_string("model", "linux,dummy-virt")?;
            t.fdt.property_u32("#size-cells", 2)?;
            t.fdt.property_u32("#address-cells", 2)?;
            t.fdt.property_string("compatible", "linux,dummy-virt")?;
            t.chosen(chosen)?;
            t.memory()?;
            t.psci()?;
            t.cpus()?;
            t.timer()?;
            t.clock()?;
            t.flash()?;
            t.interrupt_controller()?;
            for device in &t.plan.devices {
                t.device(device)?;
            }
            t.power_button()
        })
    }

    fn chosen(&mut self, chosen: &Chosen<'_>) -> Written {
        self.node("chosen", |t| {
            if let Some(bootargs) = chosen.bootargs {
                t.fdt.property_string("bootargs", bootargs)?;
            }
            t.fdt.property_string("stdout-path", &format!("/pl011@{:x}", layout::UART.0))?;
            if let Some(initrd) = t.plan.initrd {
                t.fdt.property_u64("linux,initrd-start", initrd.start().0)?;
                t.fdt.property_u64("linux,initrd-end", initrd.end().0)?;
            }
            if let Some(seed) = chosen.rng_seed {
                t.fdt.property("rng-seed", &seed)?;
            }
            if let Some(seed) = chosen.kaslr_seed {
                t.fdt.property_u64("kaslr-seed", seed)?;
            }
            Ok(())
        })?;
        self.node("aliases", |t| {
            Ok(t.fdt.property_string("serial0", &format!("/pl011@{:x}", layout::UART.0))?)
        })
    }

    fn memory(&mut self) -> Written {
        let ram = self.plan.ram;
        self.node(&format!("memory@{:x}", ram.start().0), |t| {
            t.fdt.property_string("device_type", "memory")?;
            t.reg(&[ram])
        })
    }

    fn psci(&mut self) -> Written {
        self.node("psci", |t| {
            t.strings("compatible", &["arm,psci-1.0", "arm,psci-0.2"])?;
            Ok(t.fdt.property_string("method", "hvc")?)
        })
    }

    fn cpus(&mut self) -> Written {
        self.node("cpus", |t| {
            t.fdt.property_u32("#address-cells", 1)?;
            t.fdt.property_u32("#size-cells", 0)?;
            for index in 0..t.plan.spec.vcpus {
                t.node(&format!("cpu@{index:x}"), |t| {
                    t.fdt.property_string("device_type", "cpu")?;
                    t.fdt.property_string("compatible", "arm,armv8")?;
                    t.fdt.property_u32("reg", u32::from(index))?;
                    Ok(t.fdt.property_string("enable-method", "psci")?)
                })?;
            }
            Ok(())
        })
    }

    fn timer(&mut self) -> Written {
        // GICv2's binding wants the mask of the PEs that a PPI reaches beside its trigger.
        let mask = match self.plan.spec.gic {
            GicVersion::V2 => ((1_u32 << self.plan.spec.vcpus.min(layout::MAX_VCPUS)) - 1) << 8,
            GicVersion::V3 => 0,
        };
        let timers = [
            layout::SECURE_TIMER_INTID,
            layout::PHYSICAL_TIMER_INTID,
            layout::VIRTUAL_TIMER_INTID,
            layout::HYPERVISOR_TIMER_INTID,
        ];
        let ppi = |intid: Intid| [GIC_PPI, intid.0.saturating_sub(Intid::ppi(0).0), mask | LEVEL_HIGH];
        let cells: Vec<u32> = timers.into_iter().flat_map(ppi).collect();
        self.node("timer", |t| {
            t.strings("compatible", &["arm,armv8-timer", "arm,armv7-timer"])?;
            t.fdt.property_null("always-on")?;
            Ok(t.fdt.property_array_u32("interrupts", &cells)?)
        })
    }

    fn clock(&mut self) -> Written {
        self.node("apb-pclk", |t| {
            t.fdt.property_string("compatible", "fixed-clock")?;
            t.fdt.property_u32("#clock-cells", 0)?;
            t.fdt.property_u32("clock-frequency", APB_HZ)?;
            t.fdt.property_string("clock-output-names", "clk24mhz")?;
            Ok(t.fdt.property_phandle(CLOCK_PHANDLE)?)
        })
    }

    /// Both banks are one node of two 16-bit chips side by side.
    fn flash(&mut self) -> Written {
        let banks = [DeviceKind::FlashCode, DeviceKind::FlashVariables];
        let banks: Vec<IpaRange> =
            banks.into_iter().filter_map(|kind| self.plan.device(kind)).map(|device| device.range).collect();
        let Some(first) = banks.first() else { return Ok(()) };
        self.node(&format!("flash@{:x}", first.start().0), |t| {
            t.fdt.property_string("compatible", "cfi-flash")?;
            t.reg(&banks)?;
            Ok(t.fdt.property_u32("bank-width", 4)?)
        })
    }

    fn interrupt_controller(&mut self) -> Written {
        let (compatible, second) = match self.plan.spec.gic {
            GicVersion::V2 => ("arm,cortex-a15-gic", DeviceKind::Gicc),
            GicVersion::V3 => ("arm,gic-v3", DeviceKind::Gicr),
        };
        let parts = [DeviceKind::Gicd, second];
        let parts: Vec<IpaRange> =
            parts.into_iter().filter_map(|kind| self.plan.device(kind)).map(|device| device.range).collect();
        self.node(&format!("intc@{:x}", layout::GICD.0), |t| {
            t.fdt.property_string("compatible", compatible)?;
            t.fdt.property_null("interrupt-controller")?;
            t.fdt.property_u32("#interrupt-cells", 3)?;
            t.fdt.property_u32("#address-cells", 2)?;
            t.fdt.property_u32("#size-cells", 2)?;
            t.fdt.property_null("ranges")?;
            if second == DeviceKind::Gicr {
                t.fdt.property_u32("#redistributor-regions", 1)?;
            }
            t.reg(&parts)?;
            Ok(t.fdt.property_phandle(GIC_PHANDLE)?)
        })
    }

    fn device(&mut self, device: &DevicePlan) -> Written {
        match device.kind {
            // Flash and GIC are nodes of several regions each, written above.
            DeviceKind::FlashCode | DeviceKind::FlashVariables => Ok(()),
            DeviceKind::Gicd | DeviceKind::Gicc | DeviceKind::Gicr => Ok(()),
            DeviceKind::Uart => self.primecell("pl011", device, &["uartclk", "apb_pclk"]),
            DeviceKind::Rtc => self.primecell("pl031", device, &["apb_pclk"]),
            DeviceKind::Gpio => self.primecell("pl061", device, &["apb_pclk"]),
            DeviceKind::Block(_) | DeviceKind::Net(_) | DeviceKind::Console | DeviceKind::Entropy => {
                self.virtio(device, "virtio_mmio", "virtio,mmio")
            }
            DeviceKind::Calls => self.virtio(device, "calls", abi::request::COMPATIBLE),
        }
    }

    fn primecell(&mut self, part: &str, device: &DevicePlan, clocks: &[&str]) -> Written {
        self.node(&format!("{part}@{:x}", device.range.start().0), |t| {
            t.strings("compatible", &[&format!("arm,{part}"), "arm,primecell"])?;
            t.reg(&[device.range])?;
            t.interrupt(device.intid, LEVEL_HIGH)?;
            t.strings("clock-names", clocks)?;
            t.fdt.property_array_u32("clocks", &alloc::vec![CLOCK_PHANDLE; clocks.len()])?;
            if device.kind == DeviceKind::Gpio {
                t.fdt.property_null("gpio-controller")?;
                t.fdt.property_u32("#gpio-cells", 2)?;
                t.fdt.property_phandle(GPIO_PHANDLE)?;
            }
            Ok(())
        })
    }

    fn virtio(&mut self, device: &DevicePlan, name: &str, compatible: &str) -> Written {
        self.node(&format!("{name}@{:x}", device.range.start().0), |t| {
            t.fdt.property_string("compatible", compatible)?;
            t.reg(&[device.range])?;
            t.interrupt(device.intid, EDGE_RISING)?;
            Ok(t.fdt.property_null("dma-coherent")?)
        })
    }

    fn power_button(&mut self) -> Written {
        self.node("gpio-keys", |t| {
            t.fdt.property_string("compatible", "gpio-keys")?;
            t.node("poweroff", |t| {
                t.fdt.property_string("label", "GPIO Key Poweroff")?;
                t.fdt.property_u32("linux,code", KEY_POWER)?;
                let gpio = [GPIO_PHANDLE, u32::from(layout::POWER_BUTTON_LINE), 0];
                Ok(t.fdt.property_array_u32("gpios", &gpio)?)
            })
        })
    }
}
