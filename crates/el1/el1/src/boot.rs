//! What the device tree says of this machine, and which RAM is whose.
//!
//! Called by: `head`, once, with the MMU off (no locks, no heap). Devicetree Specification 0.4; bindings of Linux.
//! The resource: RAM. Invariant: `image`, `device_tree`'s bytes, `heap` and `spare` do not overlap, and a device's
//! window never overlaps RAM: so no window aliases a Rust object.

use crate::window::Window;
use core::ops::Range;
use core::ptr::addr_of;
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::standard::NodeStandard;
use dtoolkit::{Node, Property, ToCellInt};

/// vCPUs that a program of ours can use.
pub const MAX_CPUS: usize = 8;
/// Heap and spare RAM start on a block of stage 2.
const BLOCK: usize = 2 << 20;

/// The interrupt controller that the device tree names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gic {
    /// GICv2: Distributor, CPU interface.
    V2 {
        /// GICD.
        distributor: Window,
        /// GICC.
        cpu_interface: Window,
    },
    /// GICv3: Distributor, Redistributors.
    V3 {
        /// GICD.
        distributor: Window,
        /// GICR of all vCPUs.
        redistributors: Window,
    },
}

/// This machine.
pub struct Boot {
    /// The tree itself.
    pub device_tree: Fdt<'static>,
    /// `/chosen/bootargs`, or empty.
    pub arguments: &'static str,
    /// RAM (the first range of `/memory`).
    pub ram: Range<usize>,
    /// The program, with its BSS and stacks.
    pub image: Range<usize>,
    /// RAM that nothing else uses.
    pub spare: Window,
    /// The interrupt controller.
    pub gic: Gic,
    pub(crate) heap: Range<usize>,
    pub(crate) uart: Option<Window>,
    cpus: [u64; MAX_CPUS],
    cpu_count: usize,
}

/// A device of the tree.
#[derive(Clone, Copy, Debug)]
pub struct Device {
    /// Its first range of registers.
    pub registers: Window,
    /// Its first interrupt.
    pub intid: Option<u32>,
}

/// Why there is no [`Boot`].
#[derive(Debug)]
pub enum BootError {
    /// x0 did not point at a device tree.
    Tree,
    /// No `/memory`, or none that holds the image.
    Memory,
    /// Neither GICv2 nor GICv3.
    Gic,
}

static BOOT: spin::Once<Boot> = spin::Once::new();

unsafe extern "C" {
    static __image_start: u8;
    static __image_end: u8;
}

unsafe extern "Rust" {
    // SAFETY: defined by `program!` with this type, and never written; two definitions do not link.
    safe static el1_heap_bytes: usize;
}

impl Boot {
    /// Affinities (MPIDR_EL1) of the vCPUs, in the device tree's order.
    pub fn cpus(&self) -> &[u64] {
        &self.cpus[..self.cpu_count]
    }

    /// Every device that is compatible with `compatible`, in the tree's order.
    pub fn devices(&'static self, compatible: &str) -> impl Iterator<Item = Device> {
        let ram = self.ram.clone();
        compatible_nodes(self.device_tree, compatible).filter_map(move |node| {
            Some(Device { registers: device(node, 0, &ram)?, intid: interrupt(node) })
        })
    }

    /// `bytes` bytes at `base`, or `None` where that touches RAM: for addresses that no device tree names.
    pub fn outside_ram(&self, base: usize, bytes: usize) -> Option<Window> {
        outside(&self.ram, base, bytes)
    }
}

/// Whether `address` lies in RAM (true while that is unknown).
pub(crate) fn in_ram(address: u64) -> bool {
    BOOT.get().is_none_or(|boot| boot.ram.contains(&(address as usize)))
}

pub(crate) fn publish(boot: Boot) -> &'static Boot {
    BOOT.call_once(|| boot)
}

/// This machine, after the program started.
pub fn get() -> Option<&'static Boot> {
    BOOT.get()
}

/// # Safety
/// `address` is the device tree's, readable, and its bytes do not change.
pub(crate) unsafe fn read(address: usize) -> Result<Boot, BootError> {
    if address == 0 || !address.is_multiple_of(8) {
        return Err(BootError::Tree);
    }
    // SAFETY: by this function's contract; `from_raw` checks magic, version and bounds.
    let tree = unsafe { Fdt::from_raw(address as *const u8) }.map_err(|_| BootError::Tree)?;
    let image = addr_of!(__image_start) as usize..addr_of!(__image_end) as usize;
    let ram = memory(tree).ok_or(BootError::Memory)?;
    if !ram.contains(&image.start) || image.end > ram.end {
        return Err(BootError::Memory);
    }
    let tree_bytes = address..address + tree.data().len();
    let (heap, spare) = layout(&ram, &image, &tree_bytes).ok_or(BootError::Memory)?;
    let (cpus, cpu_count) = cpu_list(tree);
    Ok(Boot {
        device_tree: tree,
        arguments: arguments(tree),
        gic: find_gic(tree, &ram).ok_or(BootError::Gic)?,
        uart: ["arm,pl011", "arm,sbsa-uart"]
            .into_iter()
            .find_map(|name| compatible_nodes(tree, name).find_map(|node| device(node, 0, &ram))),
        // SAFETY: `layout` keeps this range away from image, tree and heap, and it is handed out as a window only.
        spare: unsafe { Window::new(spare.start, spare.end - spare.start) },
        ram,
        image,
        heap,
        cpus,
        cpu_count,
    })
}

fn arguments(tree: Fdt<'static>) -> &'static str {
    let Some(chosen) = tree.find_node("/chosen") else { return "" };
    chosen.property("bootargs").and_then(|property| property.value_as::<&'static str>().ok()).unwrap_or("")
}

fn memory(tree: Fdt<'static>) -> Option<Range<usize>> {
    let node = tree.memory().ok()?;
    let first = node.reg().ok()??.next()?;
    let base: u64 = first.address().ok()?;
    let bytes: u64 = first.size().ok()?;
    Some(base as usize..base.checked_add(bytes)? as usize)
}

/// The largest gap between image and tree, split into heap and spare RAM.
fn layout(
    ram: &Range<usize>,
    image: &Range<usize>,
    tree: &Range<usize>,
) -> Option<(Range<usize>, Range<usize>)> {
    let (low, high) = if image.start < tree.start { (image, tree) } else { (tree, image) };
    let gaps = [ram.start..low.start, low.end..high.start, high.end..ram.end];
    let gap = gaps
        .into_iter()
        .map(|gap| gap.start.next_multiple_of(BLOCK)..gap.end & !(BLOCK - 1))
        .filter(|gap| gap.start < gap.end)
        .max_by_key(|gap| gap.end - gap.start)?;
    let split = gap.start + el1_heap_bytes;
    (split < gap.end).then_some((gap.start..split, split..gap.end))
}

fn cpu_list(tree: Fdt<'static>) -> ([u64; MAX_CPUS], usize) {
    let mut list = [0; MAX_CPUS];
    let mut count = 0;
    let Some(cpus) = tree.find_node("/cpus") else { return (list, 1) };
    for cpu in cpus.children() {
        let affinity = (cpu.name_without_address() == "cpu")
            .then(|| cpu.property("reg")?.as_prop_encoded_array([1]).ok()?.next()?[0].to_int::<u64>().ok())
            .flatten();
        if let (Some(affinity), true) = (affinity, count < MAX_CPUS) {
            list[count] = affinity;
            count += 1;
        }
    }
    (list, count.max(1))
}

fn find_gic(tree: Fdt<'static>, ram: &Range<usize>) -> Option<Gic> {
    let find = |name| compatible_nodes(tree, name).next();
    if let Some(node) = find("arm,gic-v3") {
        return Some(Gic::V3 { distributor: device(node, 0, ram)?, redistributors: device(node, 1, ram)? });
    }
    let node = find("arm,cortex-a15-gic").or_else(|| find("arm,gic-400"))?;
    Some(Gic::V2 { distributor: device(node, 0, ram)?, cpu_interface: device(node, 1, ram)? })
}

/// Nodes right below the root: the guest machine has no buses in between.
fn compatible_nodes(tree: Fdt<'static>, name: &str) -> impl Iterator<Item = FdtNode<'static>> {
    tree.root().children().filter(move |node| node.is_compatible(name))
}

fn device(node: FdtNode<'static>, index: usize, ram: &Range<usize>) -> Option<Window> {
    let reg = node.reg().ok()??.nth(index)?;
    let base: u64 = reg.address().ok()?;
    let bytes: u64 = reg.size().ok()?;
    outside(ram, base as usize, bytes as usize)
}

/// GIC binding: (0: SPI, 1: PPI), number, flags.
fn interrupt(node: FdtNode<'static>) -> Option<u32> {
    let property = node.property("interrupts")?;
    let [kind, number, _] = property.as_prop_encoded_array([1, 1, 1]).ok()?.next()?;
    let first = if kind.to_int::<u32>().ok()? == 0 { 32 } else { 16 };
    number.to_int::<u32>().ok()?.checked_add(first)
}

fn outside(ram: &Range<usize>, base: usize, bytes: usize) -> Option<Window> {
    let end = base.checked_add(bytes)?;
    // SAFETY: Rust objects of this program live in RAM only, and the range is outside RAM.
    (end <= ram.start || base >= ram.end).then(|| unsafe { Window::new(base, bytes) })
}
