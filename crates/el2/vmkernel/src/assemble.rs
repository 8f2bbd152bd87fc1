//! From a specification to the first instruction: plan → allocate → map → attach → start (rule `phases`).

use crate::bus::Region;
use crate::devices::{Connections, Devices};
use crate::disk::RamDisk;
use crate::home::HomeShared;
use crate::home::volume::VolumeDisk;
use crate::host::Host;
use crate::host_disk::{Backend, Owner, Window};
use crate::network::{Sink, SwitchPort};
use crate::signals::Signals;
use crate::vm::{Pause, Vm, Wanted, start_vcpu};
use crate::world::{Manifest, World};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chipset::Psci;
use chipset::psci::{Workaround, Workarounds};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use el2::ram::GuestRam;
use el2::tables::HostTables;
use machine::{BootSpec, DeviceKind, GicVersion, MachinePlan};
use ports::{Entropy, Span};
use specs::{IpaRange, VcpuIndex};
use spin::Mutex;
use stage2::{Attributes, Stage2, Vmid};
use vgic::{Version, Vgic};
use vswitch::Group;
use vswitch::switch::PortIndex;

/// How RAM is mapped.
pub const RAM: Attributes = Attributes::RAM;

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
    /// It is of the datastore: its record is an object, and so are the files that it names.
    pub stored: bool,
    /// It is a world: what it may do, and its image, which stands for a kernel.
    pub world: Option<(&'static Manifest, &'static [u8])>,
}

/// Makes a VM and starts it. `Err` says what stood in the way; nothing is left behind then.
pub fn assemble(host: &'static Host, source: Source) -> Result<Arc<Vm>, String> {
    let vm = prepare(host, source)?;
    begin(host, &vm)?;
    Ok(vm)
}

/// Makes a VM: plan, allocate, map, attach. What it boots is not loaded yet where it is of the datastore.
pub fn prepare(host: &'static Host, source: Source) -> Result<Arc<Vm>, String> {
    if source.world.is_none() {
        host.inventory.register(host, &source);
        if crate::host_power::is_ending(host) {
            return Err(String::from("the host is about to end"));
        }
    }
    let (document, plan) = plan(&source)?;
    let (ram, vmid, stage2) = allocate(host, &plan)?;
    let result = build(host, source, &document, plan, ram, (vmid, stage2));
    let vm = result.inspect_err(|_| host.release_vmid(vmid))?;
    host.vms.lock().push(vm.clone());
    Ok(vm)
}

/// Starts a VM that was prepared. After `Err` it is gone.
pub fn begin(host: &'static Host, vm: &Arc<Vm>) -> Result<(), String> {
    start(host, vm).inspect_err(|_| {
        *vm.stage2.lock() = None;
        host.inventory.ended(vm);
        host.vms.lock().retain(|other| other.id != vm.id);
        host.release_vmid(vm.vmid);
    })
}

/// The GIC that this host can show.
fn gic() -> GicVersion {
    if el2::gic::is_v3() { GicVersion::V3 } else { GicVersion::V2 }
}

fn plan(source: &Source) -> Result<(api::host::Vm, MachinePlan), String> {
    let document = source.document.clone().ok_or("no document")?;
    let boot = source.boot.clone().ok_or("nothing to boot")?;
    let mut spec = document.machine_spec(gic(), boot).ok_or("a size out of range")?;
    spec.world = source.world.is_some();
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
    map_virtual_interface(&mut stage2, &plan)?;
    let version = if el2::gic::is_v3() { Version::V3 } else { Version::V2 };
    let vgic = Vgic::new(version, plan.spec.vcpus).ok_or("1 to 8 vCPUs")?;
    let signals = Arc::new(Signals::new(host, vgic));
    let disks = disks(host, document, &source, &signals)?;
    let world = source.world.map(|(manifest, _)| World::new(host, manifest));
    let group = source.world.map_or(Group::default(), |(manifest, _)| manifest.network);
    let cards = cards(host, document, group)?;
    let ports: Vec<PortIndex> = cards.iter().map(|card| card.port).collect();
    let disconnect = |why: String| {
        for port in &ports {
            host.switch.disconnect(*port);
        }
        why
    };
    let ram = Arc::new(ram);
    let streams = host.console.streams_of(&document.name);
    let connections = Connections {
        host,
        plan: &plan,
        signals: &signals,
        ram: &ram,
        streams: streams.each_ref(),
        tray: world.as_ref().map(|world| &world.tray),
        firmware_bytes: match source.boot {
            Some(BootSpec::Firmware { bytes }) => bytes,
            _ => 0,
        },
        kept_by: source.stored.then(|| document.name.clone()),
    };
    let devices = Box::new(Devices::new(&connections, disks, cards).map_err(disconnect)?);
    load_flash(&source, &mut stage2, &devices).map_err(disconnect)?;
    for (net, port) in devices.nets.iter().zip(&ports) {
        host.switch.plug(*port, Sink::Card(net.clone()));
    }
    let code = plan.device(DeviceKind::FlashCode).map_or(IpaRange::default(), |device| device.range);
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
        streams,
        ports,
        source,
        world,
        told: Mutex::default(),
        live: AtomicU32::new(0),
        wanted: AtomicU8::new(Wanted::Running as u8),
        counter_offset: AtomicU64::new(0),
        pause: Pause::default(),
        drains: AtomicBool::new(false),
        started_at: AtomicU64::new(0),
        last_on: [const { AtomicU8::new(0) }; drivers::board::MAX_PES],
    }))
}

/// The disks of the document: images of the archive, host disks, partitions.
fn disks(
    host: &'static Host,
    document: &api::host::Vm,
    source: &Source,
    signals: &Arc<Signals>,
) -> Result<Vec<(Backend, String)>, String> {
    let mut disks = Vec::new();
    for (disk, index) in document.disks.iter().zip(0u8..) {
        let image = source.disks.get(usize::from(index)).copied().flatten();
        let owner = Owner::Guest(signals.clone(), index);
        let backend = match (&disk.host_disk, &disk.volume, &disk.iso) {
            (None, None, None) => Backend::Ram(RamDisk::new(image, disk.read_only)),
            (_, _, Some(name)) => Backend::Volume(VolumeDisk::open_cd(host, name, owner, &document.name)?),
            (_, Some(name), None) => {
                Backend::Volume(VolumeDisk::open(host, name, owner, &document.name, disk.read_only)?)
            }
            (Some(serial), None, None) => {
                let found = host.devices.get().and_then(|devices| devices.disk(serial));
                let found =
                    found.ok_or_else(|| format!("the host has no disk with serial number \"{serial}\""))?;
                let range = crate::host_disk::range(found, disk.partition)?;
                Backend::Host(Window::new(found.clone(), owner, range, disk.read_only))
            }
        };
        disks.push((backend, format!("{}-{index}", document.name)));
    }
    Ok(disks)
}

fn cards(host: &'static Host, document: &api::host::Vm, group: Group) -> Result<Vec<SwitchPort>, String> {
    let mut cards: Vec<SwitchPort> = Vec::new();
    for index in 0..document.nics.len() {
        let address = document.mac_address(index).ok_or("a network card without an address")?;
        match SwitchPort::connect(host, vswitch::MacAddress(address.0), group) {
            Ok(card) => cards.push(card),
            Err(why) => {
                for card in &cards {
                    host.switch.disconnect(card.port);
                }
                return Err(format!("network card {index} can't be connected: {why:?}"));
            }
        }
    }
    Ok(cards)
}

/// Firmware goes to bank 0, mapped to read and execute; bank 1 is mapped to read.
fn load_flash(source: &Source, stage2: &mut Stage2<HostTables>, devices: &Devices) -> Result<(), String> {
    let Some(firmware) = source.firmware else { return Ok(()) };
    let [code, variables] = &devices.banks;
    code.load_image(code.range().start(), firmware).map_err(|_| "the firmware does not fit flash bank 0")?;
    crate::devices::map_bank(stage2, code)?;
    crate::devices::map_bank(stage2, variables)
}

/// Maps the flash of a VM whose firmware came from the datastore.
pub fn map_flash(vm: &Vm) -> Result<(), String> {
    if let (Some(BootSpec::Firmware { .. }), Some(stage2)) = (&vm.source.boot, vm.stage2.lock().as_mut()) {
        let [code, variables] = &vm.devices.banks;
        crate::devices::map_bank(stage2, code)?;
        crate::devices::map_bank(stage2, variables)?;
    }
    Ok(())
}

/// What this host answers about workarounds: each exit clears the branch history where the PE needs it.
fn workarounds() -> Workarounds {
    let history =
        if el2::features::clears_branch_history() { Workaround::Needed } else { Workaround::NotSupported };
    Workarounds { branch_history: history, ..Workarounds::default() }
}

/// GICv2: the guest's CPU interface is the hardware's virtual one.
fn map_virtual_interface(stage2: &mut Stage2<HostTables>, plan: &MachinePlan) -> Result<(), String> {
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
    vm.begins(el2::regs::counter());
    let context = if vm.plan.kernel.is_some() { vm.plan.device_tree.start().0 } else { 0 };
    match &vm.world {
        // What it may ask for is of its generation.
        Some(world) => world.tray.set_generation(host.supervisor.generation()),
        None => host.inventory.started(vm),
    }
    Ok(start_vcpu(host, vm, VcpuIndex(0), vm.plan.entry, context)?)
}

fn load(host: &Host, vm: &Vm) -> Result<(), String> {
    let outside = |what: &str| format!("{what} does not fit its RAM");
    if let (Some(range), Some(kernel)) = (vm.plan.kernel, vm.source.kernel) {
        vm.ram.load_image(range.start(), kernel).map_err(|_| outside("the kernel"))?;
    }
    if let (Some(range), Some((_, image))) = (vm.plan.kernel, vm.source.world) {
        vm.ram.load_bytes(range.start(), image).map_err(|_| outside("the image"))?;
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
    vm.devices.reset(host, &vm.signals, &vm.streams[0]);
    vm.ram.clear();
    vm.signals.vgic.reset();
    vm.psci.reset();
    vm.wanted.store(Wanted::Running as u8, Ordering::SeqCst);
    if vm.source.stored {
        HomeShared::start(host, vm.source.clone(), Some(vm.clone()));
        return Ok(());
    }
    start(host, vm)
}
