//! From a specification to the first instruction: plan → allocate → map → attach → start (rule `phases`).

use crate::bus::Region;
use crate::disk::RamDisk;
use crate::host::Host;
use crate::signals::{Signals, Wire};
use crate::vm::{Devices, Vm, Wanted, start_vcpu};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chipset::psci::{Workaround, Workarounds};
use chipset::{Pl011, Psci};
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use el2::ram::GuestRam;
use el2::tables::HostTables;
use machine::{BootSpec, DeviceKind, GicVersion, MachinePlan};
use ports::{Entropy, Span};
use specs::{Intid, IpaRange, VcpuIndex};
use spin::Mutex;
use stage2::{Attributes, Stage2, Vmid};
use vgic::{Version, Vgic};

/// How RAM is mapped.
pub const RAM: Attributes = Attributes::RAM;

/// A virtio-blk device.
pub type Block = virtio::VirtioMmio<virtio::Block<RamDisk>, Arc<GuestRam>, Wire>;

/// What a VM boots from, by its files in the archive.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The document's entry.
    pub document: Option<api::host::Vm>,
    /// How it boots.
    pub boot: Option<BootSpec>,
    /// The kernel or code.
    pub kernel: Option<Span>,
    /// The initrd.
    pub initrd: Option<Span>,
    /// The firmware.
    pub firmware: Option<Span>,
    /// Images of the disks, in order.
    pub disks: Vec<Option<Span>>,
}

/// Makes a VM and starts it. `Err` says what stood in the way; nothing is left behind then.
pub fn assemble(host: &'static Host, source: Source) -> Result<Arc<Vm>, String> {
    let (document, plan) = plan(&source)?;
    let (ram, vmid, stage2) = allocate(host, &plan)?;
    let result = build(host, source, &document, plan, ram, (vmid, stage2));
    let vm = result.inspect_err(|_| host.release_vmid(vmid))?;
    host.vms.lock().push(vm.clone());
    start(host, &vm).inspect_err(|_| {
        *vm.stage2.lock() = None;
        host.vms.lock().retain(|other| other.id != vm.id);
        host.release_vmid(vmid);
    })?;
    Ok(vm)
}

/// The GIC that this host can show.
fn gic() -> GicVersion {
    if el2::gic::is_v3() { GicVersion::V3 } else { GicVersion::V2 }
}

fn plan(source: &Source) -> Result<(api::host::Vm, MachinePlan), String> {
    let document = source.document.clone().ok_or("no document")?;
    let boot = source.boot.clone().ok_or("nothing to boot")?;
    let spec = document.machine_spec(gic(), boot).ok_or("a size out of range")?;
    let plan = spec.plan().map_err(|error| format!("{error}"))?;
    Ok((document, plan))
}

fn allocate(host: &Host, plan: &MachinePlan) -> Result<(GuestRam, Vmid, Stage2<HostTables>), String> {
    let ram = GuestRam::reserve(plan.ram).map_err(|free| {
        let mib = |bytes: u64| bytes >> 20;
        format!(
            "it wants {} MiB of RAM and {} MiB are free: lower its memory, or stop another VM",
            mib(plan.ram.bytes()),
            mib(free.bytes)
        )
    })?;
    let vmid = host.take_vmid().ok_or("255 VMs run already")?;
    let stage2 = Stage2::new(HostTables::new(vmid)).map_err(|error| {
        host.release_vmid(vmid);
        format!("no translation tables: {error:?}")
    })?;
    Ok((ram, vmid, stage2))
}

/// Maps what is mapped from the start, and attaches the devices.
fn build(
    host: &'static Host,
    source: Source,
    document: &api::host::Vm,
    plan: MachinePlan,
    ram: GuestRam,
    (vmid, mut stage2): (Vmid, Stage2<HostTables>),
) -> Result<Arc<Vm>, String> {
    map(&mut stage2, &plan)?;
    let version = if el2::gic::is_v3() { Version::V3 } else { Version::V2 };
    let vgic = Vgic::new(version, plan.spec.vcpus).ok_or("1 to 8 vCPUs")?;
    let signals = Arc::new(Signals::new(host, vgic));
    let ram = Arc::new(ram);
    let stream = host.console.add_stream(&document.name);
    let wire = |intid: Option<Intid>| Wire { signals: signals.clone(), intid: intid.unwrap_or_default() };
    let uart = plan.device(DeviceKind::Uart).and_then(|device| device.intid);
    let blocks = source.disks.iter().zip(0u8..).map(|(image, index)| {
        let intid = plan.device(DeviceKind::Block(index)).and_then(|device| device.intid);
        let read_only = document.disks.get(usize::from(index)).is_some_and(|disk| disk.read_only);
        let serial = format!("{}-{index}", document.name);
        let disk = RamDisk::new(*image, read_only);
        virtio::VirtioMmio::new(virtio::Block::new(disk, &serial), ram.clone(), wire(intid))
    });
    let blocks = blocks.collect();
    let devices = Devices { uart: Mutex::new(Pl011::new(wire(uart), stream.clone())), blocks };
    let no_code = IpaRange::default();
    let code = plan.device(DeviceKind::FlashCode).map_or(no_code, |device| device.range);
    Ok(Arc::new(Vm {
        id: host.next_vm_id(),
        name: document.name.clone(),
        vttbr: stage2.vttbr(vmid),
        vmid,
        psci: Psci::new(plan.spec.vcpus, [plan.ram, code], workarounds()),
        regions: regions(&plan),
        plan,
        ram,
        stage2: Mutex::new(Some(stage2)),
        signals,
        devices,
        stream,
        source,
        live: AtomicU32::new(0),
        wanted: AtomicU8::new(Wanted::Running as u8),
        counter_offset: AtomicU64::new(0),
    }))
}

/// What this host answers about workarounds: each exit clears the branch history where the PE needs it.
fn workarounds() -> Workarounds {
    let history =
        if el2::features::clears_branch_history() { Workaround::Needed } else { Workaround::NotSupported };
    Workarounds { branch_history: history, ..Workarounds::default() }
}

fn map(stage2: &mut Stage2<HostTables>, plan: &MachinePlan) -> Result<(), String> {
    if let (Some(gicc), Some(gicv)) = (plan.device(DeviceKind::Gicc), el2::gic::virtual_interface()) {
        stage2
            .map(gicc.range.start(), gicv, gicc.range.bytes(), Attributes::DEVICE)
            .map_err(|error| format!("the virtual CPU interface can't be mapped: {error:?}"))?;
    }
    Ok(())
}

fn regions(plan: &MachinePlan) -> Vec<Region> {
    let device = |device: &machine::DevicePlan| Region {
        start: device.range.start().0,
        bytes: device.range.bytes(),
        device: device.kind,
    };
    plan.devices.iter().filter(|device| device.kind != DeviceKind::Gicc).map(device).collect()
}

/// Loads what it boots from, and starts vCPU 0.
fn start(host: &'static Host, vm: &Arc<Vm>) -> Result<(), String> {
    load(host, vm)?;
    // Virtual time starts at 0.
    vm.counter_offset.store(el2::regs::counter(), Ordering::Relaxed);
    let context = if vm.plan.kernel.is_some() { vm.plan.device_tree.start().0 } else { 0 };
    start_vcpu(host, vm, VcpuIndex(0), vm.plan.entry, context);
    Ok(())
}

fn load(host: &Host, vm: &Vm) -> Result<(), String> {
    let outside = |what: &str| format!("{what} does not fit its RAM");
    if let (Some(range), Some(kernel)) = (vm.plan.kernel, vm.source.kernel) {
        vm.ram.load_image(range.start(), kernel).map_err(|_| outside("the kernel"))?;
    }
    if let (Some(range), Some(initrd)) = (vm.plan.initrd, vm.source.initrd) {
        vm.ram.load_image(range.start(), initrd).map_err(|_| outside("the initrd"))?;
    }
    let mut seed = [0; 32];
    let seeded = host.random.fill(&mut seed).is_ok();
    let boot = vm.source.document.as_ref().map(|document| &document.boot);
    let chosen = machine::Chosen {
        bootargs: boot.and_then(|boot| boot.command_line.as_deref()),
        rng_seed: seeded.then_some(seed),
        kaslr_seed: None,
    };
    let tree = vm.plan.build_device_tree(&chosen).map_err(|error| format!("{error}"))?;
    vm.ram.load_bytes(vm.plan.device_tree.start(), &tree).map_err(|_| outside("the device tree"))
}

/// Starts a VM anew whose vCPUs are all gone: RAM reads as zero but for what is loaded, devices are as at power-on.
pub fn restart(host: &'static Host, vm: &Arc<Vm>) -> Result<(), String> {
    if let Some(stage2) = vm.stage2.lock().as_mut() {
        stage2.unmap(vm.plan.ram).map_err(|error| format!("{error:?}"))?;
    }
    for block in &vm.devices.blocks {
        block.reset();
    }
    vm.ram.clear();
    vm.signals.vgic.reset();
    vm.psci.reset();
    *vm.devices.uart.lock() = Pl011::new(uart_wire(vm), vm.stream.clone());
    vm.wanted.store(Wanted::Running as u8, Ordering::SeqCst);
    start(host, vm)
}

fn uart_wire(vm: &Vm) -> Wire {
    let intid = vm.plan.device(DeviceKind::Uart).and_then(|device| device.intid);
    Wire { signals: vm.signals.clone(), intid: intid.unwrap_or_default() }
}
