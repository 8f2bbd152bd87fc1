//! What the machine is, read from its device tree: memory, PEs, GIC, timer, console. Boards are data.
//!
//! Called by `vmkernel` at boot with the MMU off: no heap, no atomics, fixed capacities.
//! Source: Devicetree Specification 0.4; Linux's bindings `arm/cpus.yaml`, `interrupt-controller/arm,gic*.yaml`.

mod ranges;
#[cfg(test)]
mod tests;
mod wiring;

use core::fmt;
use core::ops::Range;
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};
use heapless::{String, Vec};
pub use ranges::{PaRange, Ranges};
use specs::Pa;
pub use wiring::{EthernetNode, LedNode, Wiring};

/// PEs that a board may have.
pub const MAX_PES: usize = 128;
const MAX_RANGES: usize = 16;
/// Reservations that a tree may have.
const MAX_RESERVED: usize = 48;
const MAX_DEPTH: usize = 8;

/// How a PE is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartMethod {
    /// PSCI CPU_ON.
    Psci,
    /// Write the entry address to this word and send an event (Linux `booting.rst`, "spin-table").
    SpinTable(Pa),
}

/// One PE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeNode {
    /// Affinity fields of MPIDR_EL1.
    pub mpidr: u64,
    /// How it is started; none says how for a PE that can't be.
    pub start: Option<StartMethod>,
}

/// The GIC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GicNode {
    /// GICv2 with virtualization extensions.
    V2 {
        /// Distributor.
        gicd: PaRange,
        /// CPU interface.
        gicc: PaRange,
        /// Virtual interface control.
        gich: PaRange,
        /// Virtual CPU interface, mapped to guests.
        gicv: PaRange,
    },
    /// GICv3.
    V3 {
        /// Distributor.
        gicd: PaRange,
        /// The Redistributor regions.
        gicr: [Option<PaRange>; 2],
    },
}

/// What kind of UART the console is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UartKind {
    /// Arm PL011.
    Pl011,
    /// The BCM2835's mini UART.
    MiniUart,
}

/// The console.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UartNode {
    /// What it is.
    pub kind: UartKind,
    /// Its registers.
    pub registers: PaRange,
    /// Its interrupt.
    pub intid: Option<u32>,
}

/// What a device sees of memory (Devicetree Specification 0.4, 2.3.9 "dma-ranges").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DmaWindow {
    /// Device address of PA 0, wrapping.
    pub offset: u64,
    /// First physical address that it does not reach.
    pub limit: Pa,
}

impl DmaWindow {
    /// Everything, one to one.
    pub const ALL: Self = Self { offset: 0, limit: Pa(u64::MAX) };
}

/// Any other device that a host driver may take.
#[derive(Clone, Debug)]
pub struct DeviceNode {
    /// The most specific of its compatible strings that has a driver.
    pub compatible: String<40>,
    /// Its registers.
    pub registers: PaRange,
    /// Its interrupt.
    pub intid: Option<u32>,
    /// What it sees of memory.
    pub dma: DmaWindow,
}

/// A whole board.
#[derive(Clone, Debug, Default)]
pub struct Board {
    /// `model` of the root, or its first `compatible`.
    pub model: String<64>,
    /// RAM.
    pub memory: Vec<PaRange, MAX_RANGES>,
    /// What of it is spoken for: memory reservations and `/reserved-memory`.
    pub reserved: Vec<PaRange, MAX_RESERVED>,
    /// What of that may not even be mapped: the firmware's own, `no-map`.
    pub unmapped: Vec<PaRange, MAX_RESERVED>,
    /// PEs, the boot PE among them.
    pub pes: Vec<PeNode, MAX_PES>,
    /// The GIC, if one is known.
    pub gic: Option<GicNode>,
    /// PSCI is called by SMC (by HVC it can't be, at EL2).
    pub psci_by_smc: bool,
    /// The console.
    pub uart: Option<UartNode>,
    /// The boot archive.
    pub initrd: Option<PaRange>,
    /// `/chosen/bootargs`.
    pub boot_arguments: String<256>,
    /// Where in the tree `/chosen/rng-seed` lies: its bytes are not copied, so that they can be erased.
    pub seed: Option<Range<usize>>,
    /// What hangs on what.
    pub wiring: Wiring,
    /// Devices that have a driver, in the order of the tree.
    pub devices: Vec<DeviceNode, 96>,
}

/// Why a device tree is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BoardError {
    /// Not a device tree, or a damaged one.
    NoDeviceTree,
    /// No usable `/memory`.
    NoMemory,
    /// No PE in `/cpus`.
    NoPe,
    /// More reserved memory than is kept track of: some of it would be taken for free.
    TooManyReservations,
}

impl fmt::Display for BoardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoDeviceTree => {
                "x0 holds no valid device tree: pass one (QEMU: -dtb FILE, or leave -dtb out on virt)"
            }
            Self::NoMemory => "the device tree names no memory: it needs a /memory node with reg",
            Self::NoPe => "the device tree names no PE: it needs /cpus with cpu nodes",
            Self::TooManyReservations => "the device tree reserves more than 48 ranges of memory",
        })
    }
}

impl Board {
    /// Reads a device tree. Devices that it half describes are left out; the rest works.
    pub fn from_device_tree(blob: &[u8]) -> Result<Self, BoardError> {
        let mut board = Self::default();
        board.read(blob)?;
        Ok(board)
    }

    /// As [`Board::from_device_tree`], into a board that is still empty: at boot there is no heap and little stack.
    pub fn read(&mut self, blob: &[u8]) -> Result<(), BoardError> {
        let tree = Fdt::new(blob).map_err(|_| BoardError::NoDeviceTree)?;
        let root = tree.root();
        if let Some(model) = text(root, "model").or_else(|| text(root, "compatible")) {
            let _ = self.model.push_str(model);
        }
        for reservation in tree.memory_reservations() {
            let range = PaRange { start: Pa(reservation.address()), bytes: reservation.size() };
            self.reserved.push(range).map_err(|_| BoardError::TooManyReservations)?;
        }
        let stdout = stdout_path(root);
        let console = stdout.as_deref().unwrap_or("");
        self.read_reserved_memory(root)?;
        self.walk(root, Bus::root(root), "", console, 0);
        self.read_chosen(root, blob);
        self.wiring = Wiring::read(root);
        if self.memory.is_empty() {
            return Err(BoardError::NoMemory);
        }
        if self.pes.is_empty() {
            return Err(BoardError::NoPe);
        }
        Ok(())
    }

    fn walk(&mut self, node: FdtNode<'_>, bus: Bus, path: &str, console: &str, depth: usize) {
        if depth > MAX_DEPTH {
            return;
        }
        for child in node.children() {
            if !is_okay(child) {
                continue;
            }
            let mut child_path: String<128> = String::new();
            let _ = child_path.push_str(path);
            let _ = child_path.push('/');
            let _ = child_path.push_str(child.name());
            self.take(child, &bus, &child_path, console);
            self.walk(child, bus.below(child), &child_path, console, depth.saturating_add(1));
        }
    }

    fn take(&mut self, node: FdtNode<'_>, bus: &Bus, path: &str, console: &str) {
        match text(node, "device_type") {
            Some("memory") => {
                for index in 0..MAX_RANGES {
                    let Some(range) = bus.reg(node, index) else { break };
                    if range.bytes > 0 {
                        let _ = self.memory.push(range);
                    }
                }
            }
            Some("cpu") => self.take_pe(node, bus),
            _ => {}
        }
        for compatible in strings(node, "compatible") {
            self.take_compatible(node, bus, compatible, path == console);
        }
        let driven = strings(node, "compatible").find(|name| crate::probe::driver_for(name).is_some());
        if let (Some(name), Some(registers)) = (driven, bus.reg(node, 0))
            && let Ok(compatible) = String::try_from(name)
        {
            let _ = self.devices.push(DeviceNode { compatible, registers, intid: intid(node), dma: bus.dma });
        }
    }

    fn take_compatible(&mut self, node: FdtNode<'_>, bus: &Bus, compatible: &str, is_console: bool) {
        match compatible {
            "arm,gic-v3" => {
                if let (Some(gicd), Some(gicr)) = (bus.reg(node, 0), bus.reg(node, 1)) {
                    // How many entries are regions; what follows them is GICC, GICH and GICV.
                    let two = number(node, "#redistributor-regions").is_some_and(|regions| regions >= 2);
                    let second = if two { bus.reg(node, 2) } else { None };
                    self.gic = Some(GicNode::V3 { gicd, gicr: [Some(gicr), second] });
                }
            }
            "arm,gic-400" | "arm,cortex-a15-gic" => {
                if let (Some(gicd), Some(gicc), Some(gich), Some(gicv)) =
                    (bus.reg(node, 0), bus.reg(node, 1), bus.reg(node, 2), bus.reg(node, 3))
                {
                    self.gic = Some(GicNode::V2 { gicd, gicc, gich, gicv });
                }
            }
            "arm,psci-0.2" | "arm,psci-1.0" => self.psci_by_smc = text(node, "method") == Some("smc"),
            "arm,pl011" => self.take_uart(node, bus, UartKind::Pl011, is_console),
            "brcm,bcm2835-aux-uart" => self.take_uart(node, bus, UartKind::MiniUart, is_console),
            _ => {}
        }
    }

    /// The UART of `stdout-path`, or else the first one.
    fn take_uart(&mut self, node: FdtNode<'_>, bus: &Bus, kind: UartKind, is_console: bool) {
        if let Some(registers) = bus.reg(node, 0)
            && (is_console || self.uart.is_none())
        {
            self.uart = Some(UartNode { kind, registers, intid: intid(node) });
        }
    }

    fn take_pe(&mut self, node: FdtNode<'_>, bus: &Bus) {
        let Some(mpidr) = cells(node, "reg", 0, bus.address_cells) else { return };
        let start = match text(node, "enable-method") {
            Some("psci") => Some(StartMethod::Psci),
            Some("spin-table") => number(node, "cpu-release-addr").map(|at| StartMethod::SpinTable(Pa(at))),
            _ => None,
        };
        let _ = self.pes.push(PeNode { mpidr, start });
    }

    /// Devicetree Specification 0.4, 3.5 "/reserved-memory Node and Subnodes".
    fn read_reserved_memory(&mut self, root: FdtNode<'_>) -> Result<(), BoardError> {
        let Some(parent) = root.child("reserved-memory") else { return Ok(()) };
        let bus = Bus::root(root).below(parent);
        for node in parent.children().filter(|node| is_okay(*node)) {
            for index in 0..MAX_RANGES {
                let Some(range) = bus.reg(node, index) else { break };
                self.reserved.push(range).map_err(|_| BoardError::TooManyReservations)?;
                if node.property("no-map").is_some() {
                    self.unmapped.push(range).map_err(|_| BoardError::TooManyReservations)?;
                }
            }
        }
        Ok(())
    }

    fn read_chosen(&mut self, root: FdtNode<'_>, blob: &[u8]) {
        let Some(chosen) = root.child("chosen") else { return };
        if let Some(arguments) = text(chosen, "bootargs") {
            let _ = self.boot_arguments.push_str(arguments);
        }
        if let Some(seed) = chosen.property("rng-seed") {
            let bytes = seed.value();
            let start = (bytes.as_ptr() as usize).wrapping_sub(blob.as_ptr() as usize);
            self.seed = Some(start..start.wrapping_add(bytes.len()));
        }
        if let (Some(start), Some(end)) =
            (number(chosen, "linux,initrd-start"), number(chosen, "linux,initrd-end"))
            && let Some(bytes) = end.checked_sub(start).filter(|bytes| *bytes > 0)
        {
            self.initrd = Some(PaRange { start: Pa(start), bytes });
        }
    }
}

/// How addresses of a node's children become physical addresses.
#[derive(Clone)]
struct Bus {
    address_cells: usize,
    size_cells: usize,
    /// (child address, physical address, bytes); none means one to one.
    windows: Option<Vec<(u64, u64, u64), 4>>,
    /// What its devices see of memory.
    dma: DmaWindow,
}

impl Bus {
    fn root(root: FdtNode<'_>) -> Self {
        let (address_cells, size_cells) = own_cells(root);
        Self { address_cells, size_cells, windows: None, dma: DmaWindow::ALL }
    }

    fn below(&self, node: FdtNode<'_>) -> Self {
        let (address_cells, size_cells) = own_cells(node);
        let entry = address_cells.saturating_add(self.address_cells).saturating_add(size_cells);
        let dma = self.dma_below(node, address_cells, size_cells);
        let has_ranges = node.property("ranges").is_some_and(|ranges| !ranges.value().is_empty());
        if !has_ranges {
            return Self { address_cells, size_cells, windows: self.windows.clone(), dma };
        }
        let mut windows = Vec::new();
        for index in 0..4 {
            let at = entry.saturating_mul(index);
            let parent_at = at.saturating_add(address_cells);
            let (Some(child), Some(parent), Some(bytes)) = (
                cells(node, "ranges", at, address_cells),
                cells(node, "ranges", parent_at, self.address_cells),
                cells(node, "ranges", parent_at.saturating_add(self.address_cells), size_cells),
            ) else {
                break;
            };
            let Some(physical) = self.translate(parent) else { continue };
            let _ = windows.push((child, physical, bytes));
        }
        Self { address_cells, size_cells, windows: Some(windows), dma }
    }

    /// The window of the first `dma-ranges` entry that begins at PA 0; a bus without one sees what its parent sees.
    fn dma_below(&self, node: FdtNode<'_>, address_cells: usize, size_cells: usize) -> DmaWindow {
        let parent_at = address_cells;
        let bytes_at = parent_at.saturating_add(self.address_cells);
        let (Some(child), Some(parent), Some(bytes)) = (
            cells(node, "dma-ranges", 0, address_cells),
            cells(node, "dma-ranges", parent_at, self.address_cells),
            cells(node, "dma-ranges", bytes_at, size_cells),
        ) else {
            return self.dma;
        };
        // In the parent's addresses, PA 0 is at its own offset.
        let offset = child.wrapping_sub(parent).wrapping_add(self.dma.offset);
        let end = parent.wrapping_sub(self.dma.offset).saturating_add(bytes);
        DmaWindow { offset, limit: Pa(end.min(self.dma.limit.0)) }
    }

    fn translate(&self, address: u64) -> Option<u64> {
        let Some(windows) = &self.windows else { return Some(address) };
        windows.iter().find_map(|(child, physical, bytes)| {
            let offset = address.checked_sub(*child).filter(|offset| offset < bytes)?;
            physical.checked_add(offset)
        })
    }

    fn reg(&self, node: FdtNode<'_>, index: usize) -> Option<PaRange> {
        let entry = self.address_cells.saturating_add(self.size_cells);
        let at = entry.saturating_mul(index);
        let address = cells(node, "reg", at, self.address_cells)?;
        let bytes = cells(node, "reg", at.saturating_add(self.address_cells), self.size_cells)?;
        let start = self.translate(address)?;
        start.checked_add(bytes)?;
        Some(PaRange { start: Pa(start), bytes })
    }
}

fn is_okay(node: FdtNode<'_>) -> bool {
    text(node, "status").is_none_or(|status| status == "okay" || status == "ok")
}

fn own_cells(node: FdtNode<'_>) -> (usize, usize) {
    let count = |name, default| {
        cells(node, name, 0, 1).map_or(default, |n| usize::try_from(n.min(4)).unwrap_or(default))
    };
    (count("#address-cells", 2), count("#size-cells", 1))
}

/// `count` cells of a property from cell `at` on; more than two keep the low 64 bits.
fn cells(node: FdtNode<'_>, name: &str, at: usize, count: usize) -> Option<u64> {
    let property = node.property(name)?;
    let from = at.checked_mul(4)?;
    let bytes = property.value().get(from..from.checked_add(count.checked_mul(4)?)?)?;
    Some(bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

/// A number of one or two cells.
fn number(node: FdtNode<'_>, name: &str) -> Option<u64> {
    let count = node.property(name)?.value().len() / 4;
    cells(node, name, 0, count.min(2))
}

/// The first string of a property.
fn text<'a>(node: FdtNode<'a>, name: &str) -> Option<&'a str> {
    strings(node, name).next()
}

/// The strings of a property.
fn strings<'a>(node: FdtNode<'a>, name: &str) -> impl Iterator<Item = &'a str> {
    let value = node.properties().find(|property| property.name() == name);
    let bytes: &'a [u8] = value.map_or(&[], |property| property.value_as::<&'a [u8]>().unwrap_or(&[]));
    bytes
        .split(|byte| *byte == 0)
        .filter(|part| !part.is_empty())
        .filter_map(|part| str::from_utf8(part).ok())
}

/// The INTID of a three-cell GIC interrupt specifier: (type, number, flags).
fn intid(node: FdtNode<'_>) -> Option<u32> {
    let kind = cells(node, "interrupts", 0, 1)?;
    let number = cells(node, "interrupts", 1, 1)?;
    let first = match kind {
        0 => 32,
        1 => 16,
        _ => return None,
    };
    u32::try_from(number.checked_add(first)?).ok().filter(|id| *id < 1020)
}

/// The path that `/chosen/stdout-path` names, aliases resolved, options after `:` cut.
fn stdout_path(root: FdtNode<'_>) -> Option<String<128>> {
    let chosen = root.child("chosen")?;
    let stdout = text(chosen, "stdout-path")?;
    let name = stdout.split(':').next()?;
    let path = if name.starts_with('/') { name } else { text(root.child("aliases")?, name)? };
    String::try_from(path).ok()
}
