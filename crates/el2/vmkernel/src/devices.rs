//! The devices of a VM: made from the plan, reset together, reached by kind.
//!
//! Called by [`crate::bus`] (a guest's access), [`crate::start`] (input, completions). Each device is its own lock;
//! lock order: registers → transmit half → switch → receive halves → interrupt lines.

use crate::desk::{self, Calls, Door, Tray};
use crate::home::variables::Variables;
use crate::home::volume::Client;
use crate::host::Host;
use crate::host_disk::{self, Backend};
use crate::network::{NetCard, SwitchPort};
use crate::signals::{Signals, Wire};
use crate::vm::Vm;
use crate::{Pe, console::Stream, pe};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use alloc::{boxed::Box, format};
use chipset::Pl011;
use chipset::flash::{KEPT_BYTES, Mapping, Rom};
use chipset::pl031::Pl031;
use chipset::pl061::Pl061;
use el2::ram::GuestRam;
use machine::{DeviceKind, MachinePlan};
use ports::{Clock, Entropy, MmioDevice, Unseeded, Width};
use specs::{Ipa, IpaRange};
use spin::Mutex;
use stage2::Attributes;
use virtio::{Progress, VirtioMmio};

/// A virtio-blk device.
pub type Block = VirtioMmio<virtio::Block<Backend>, Arc<GuestRam>, Wire>;
type Console = VirtioMmio<virtio::Console<Arc<Stream>>, Arc<GuestRam>, Wire>;
type EntropySource = VirtioMmio<virtio::EntropySource<HostEntropy>, Arc<GuestRam>, Wire>;

/// The line of PL061 that the power button pulls, as in the plan's device tree.
const POWER_BUTTON_LINE: u8 = machine::layout::POWER_BUTTON_LINE;
/// RAM for the variables that firmware keeps: one block; the rest of bank 1 reads as zero and takes no writes.
const _: () = assert!(KEPT_BYTES == el2::memory::BLOCK_BYTES);

/// The host's generator, for guests.
#[derive(Clone, Copy)]
pub struct HostEntropy(pub &'static Host);

impl Entropy for HostEntropy {
    fn fill(&self, into: &mut [u8]) -> Result<(), Unseeded> {
        self.0.random.fill(into)
    }
}

/// The host's time, for guests.
#[derive(Clone, Copy)]
pub struct HostClock(pub &'static Host);

impl Clock for HostClock {
    /// When the second began that [`Clock::unix_seconds`] names, so that an alarm comes at its second's start.
    fn now_ticks(&self) -> u64 {
        self.0.second_started_at()
    }

    fn ticks_per_second(&self) -> u64 {
        el2::regs::counter_hz()
    }

    fn unix_seconds(&self) -> u64 {
        self.0.unix_seconds()
    }
}

/// All of them.
pub struct Devices {
    /// PL011.
    pub uart: Mutex<Pl011<Wire, Arc<Stream>>>,
    /// virtio-console.
    pub console: Console,
    rtc: Mutex<Pl031<Wire, HostClock>>,
    gpio: Mutex<Pl061<Wire>>,
    /// virtio-blk, by disk number.
    pub blocks: Vec<Block>,
    /// Its volumes' requests on their way to the datastore.
    volumes: Vec<Arc<Client>>,
    /// Its host disks' users.
    windows: Vec<Arc<host_disk::Client>>,
    /// virtio-net, by card number.
    pub nets: Vec<Arc<NetCard>>,
    entropy: EntropySource,
    /// A world's call queue.
    pub calls: Option<Calls>,
    code: Mutex<Rom<Arc<GuestRam>>>,
    /// What its firmware keeps.
    pub variables: Arc<Variables>,
    /// Contents of the two flash banks.
    pub banks: [Arc<GuestRam>; 2],
}

/// What a VM's devices are connected to.
pub struct Connections<'a> {
    /// The host.
    pub host: &'static Host,
    /// Where everything is.
    pub plan: &'a MachinePlan,
    /// The VM's interrupts.
    pub signals: &'a Arc<Signals>,
    /// The VM's RAM.
    pub ram: &'a Arc<GuestRam>,
    /// The streams of PL011 and virtio-console.
    pub streams: [&'a Arc<Stream>; 2],
    /// Bytes of firmware.
    pub firmware_bytes: u64,
    /// The name that its variables are kept by.
    pub kept_by: Option<String>,
    /// A world's requests.
    pub tray: Option<&'a Arc<Tray>>,
}

impl Connections<'_> {
    fn wire(&self, kind: DeviceKind) -> Wire {
        let intid = self.plan.device(kind).and_then(|device| device.intid);
        Wire { signals: self.signals.clone(), intid: intid.unwrap_or_default() }
    }

    fn bank(&self, kind: DeviceKind, bytes: u64) -> Result<Arc<GuestRam>, String> {
        let range = self.plan.device(kind).map_or(IpaRange::default(), |device| device.range);
        let ram = GuestRam::reserve_part(range, bytes)
            .map_err(|free| format!("no memory for its flash: {} MiB are free", free.bytes >> 20))?;
        Ok(Arc::new(ram))
    }
}

impl Devices {
    /// All devices as at power-on.
    pub fn new(
        to: &Connections<'_>,
        disks: Vec<(Backend, String)>,
        cards: Vec<SwitchPort>,
    ) -> Result<Self, String> {
        let variable_bytes = if to.firmware_bytes == 0 { 0 } else { KEPT_BYTES };
        let code = to.bank(DeviceKind::FlashCode, to.firmware_bytes)?;
        let variables = to.bank(DeviceKind::FlashVariables, variable_bytes)?;
        let volume = |(disk, _): &(Backend, String)| match disk {
            Backend::Volume(volume) => Some(volume.client().clone()),
            _ => None,
        };
        let volumes = disks.iter().filter_map(volume).collect();
        let window = |(disk, _): &(Backend, String)| match disk {
            Backend::Host(window) => Some(window.client().clone()),
            _ => None,
        };
        let windows = disks.iter().filter_map(window).collect();
        let blocks = disks.into_iter().zip(0u8..).map(|((backend, serial), index)| {
            let device = virtio::Block::new(backend, &serial);
            VirtioMmio::new(device, to.ram.clone(), to.wire(DeviceKind::Block(index)))
        });
        let nets = cards.into_iter().zip(0u8..).map(|(port, index)| {
            let device = virtio::Net::new(port.address.0, 1500, port);
            Arc::new(VirtioMmio::new(device, to.ram.clone(), to.wire(DeviceKind::Net(index))))
        });
        let [stream, virtio_stream] = to.streams;
        Ok(Self {
            uart: Mutex::new(Pl011::new(to.wire(DeviceKind::Uart), stream.clone())),
            console: VirtioMmio::new(
                virtio::Console::new(virtio_stream.clone()),
                to.ram.clone(),
                to.wire(DeviceKind::Console),
            ),
            rtc: Mutex::new(Pl031::new(to.wire(DeviceKind::Rtc), HostClock(to.host))),
            gpio: Mutex::new(Pl061::new(to.wire(DeviceKind::Gpio))),
            blocks: blocks.collect(),
            volumes,
            windows,
            nets: nets.collect(),
            entropy: VirtioMmio::new(
                virtio::EntropySource::new(HostEntropy(to.host)),
                to.ram.clone(),
                to.wire(DeviceKind::Entropy),
            ),
            calls: to.tray.map(|tray| {
                let device = virtio::Calls::new(Door(tray.clone()));
                VirtioMmio::new(device, to.ram.clone(), to.wire(DeviceKind::Calls))
            }),
            code: Mutex::new(Rom::new(code.clone(), code.range())),
            variables: Arc::new(Variables::new(to.host, to.kept_by.clone(), variables.clone())),
            banks: [code, variables],
        })
    }

    /// As at power-on; flash keeps its contents, requests in flight are forgotten.
    pub fn reset(&self, host: &'static Host, signals: &Arc<Signals>, stream: &Arc<Stream>) {
        let wire = |intid| Wire { signals: signals.clone(), intid };
        self.forget_requests();
        for block in &self.blocks {
            block.reset();
        }
        for net in &self.nets {
            net.reset();
        }
        self.console.reset();
        self.entropy.reset();
        if let Some(calls) = &self.calls {
            calls.reset();
        }
        self.variables.flash.lock().reset();
        *self.uart.lock() = Pl011::new(wire(machine::layout::UART_INTID), stream.clone());
        *self.rtc.lock() = Pl031::new(wire(machine::layout::RTC_INTID), HostClock(host));
        *self.gpio.lock() = Pl061::new(wire(machine::layout::GPIO_INTID));
    }

    /// The guest's RAM is about to be another's: no byte of a request under way is copied any more.
    pub fn forget_requests(&self) {
        self.volumes.iter().for_each(|volume| volume.forget());
    }

    /// No request of the guest's is begun any more.
    pub fn quiesce(&self) {
        self.blocks.iter().for_each(VirtioMmio::reset);
    }

    /// Whether no disk of the host reads or writes the guest's RAM. It stays so after [`Self::quiesce`].
    pub fn are_quiet(&self) -> bool {
        self.windows.iter().all(|window| window.is_quiet())
    }

    /// Holds the power button down, or lets it go.
    pub fn hold_power_button(&self, down: bool) {
        self.gpio.lock().drive(POWER_BUTTON_LINE, down);
    }
}

/// A guest's load.
#[inline(never)]
pub fn read(vm: &Vm, device: DeviceKind, offset: u64, width: Width) -> u64 {
    let devices = &vm.devices;
    match device {
        DeviceKind::Block(n) => {
            devices.blocks.get(usize::from(n)).map_or(0, |block| block.read(offset, width))
        }
        DeviceKind::Net(n) => devices.nets.get(usize::from(n)).map_or(0, |net| net.read(offset, width)),
        DeviceKind::Console => devices.console.read(offset, width),
        DeviceKind::Entropy => devices.entropy.read(offset, width),
        DeviceKind::Calls => devices.calls.as_ref().map_or(0, |calls| calls.read(offset, width)),
        DeviceKind::Rtc => devices.rtc.lock().read(offset, width),
        DeviceKind::Gpio => devices.gpio.lock().read(offset, width),
        DeviceKind::FlashCode => devices.code.lock().read(offset, width),
        DeviceKind::FlashVariables => devices.variables.flash.lock().read(offset, width),
        DeviceKind::Uart => devices.uart.lock().read(offset, width),
        DeviceKind::Gicd | DeviceKind::Gicc | DeviceKind::Gicr => 0,
    }
}

/// A guest's store.
#[inline(never)]
pub fn write(pe: &mut Pe, vm: &Arc<Vm>, device: DeviceKind, offset: u64, width: Width, value: u64) {
    let devices = &vm.devices;
    let progress = match device {
        DeviceKind::Block(n) => devices
            .blocks
            .get(usize::from(n))
            .map_or(Progress::Done, |block| block.write(offset, width, value)),
        DeviceKind::Net(n) => {
            devices.nets.get(usize::from(n)).map_or(Progress::Done, |net| net.write(offset, width, value))
        }
        DeviceKind::Console => devices.console.write(offset, width, value),
        DeviceKind::Entropy => devices.entropy.write(offset, width, value),
        DeviceKind::Calls => match devices.calls.as_ref().map(|calls| calls.write(offset, width, value)) {
            // What was asked for is carried out later, with no lock held.
            Some(Progress::Done) if desk::has_work(vm) => Progress::More,
            progress => progress.unwrap_or(Progress::Done),
        },
        DeviceKind::Rtc => {
            devices.rtc.lock().write(offset, width, value);
            set_alarm(pe, vm);
            Progress::Done
        }
        _ => {
            write_simple(vm, device, offset, width, value);
            Progress::Done
        }
    };
    pe::poll_later(pe, vm, device, progress);
}

fn write_simple(vm: &Vm, device: DeviceKind, offset: u64, width: Width, value: u64) {
    let devices = &vm.devices;
    match device {
        DeviceKind::Gpio => devices.gpio.lock().write(offset, width, value),
        DeviceKind::FlashCode => devices.code.lock().write(offset, width, value),
        DeviceKind::FlashVariables => write_flash(vm, offset, width, value),
        DeviceKind::Uart => devices.uart.lock().write(offset, width, value),
        _ => {}
    }
}

/// Has the PE look at the VM's clock when it matters next; and at a world, as its supervisor wishes.
pub fn set_alarm(pe: &mut Pe, vm: &Arc<Vm>) {
    let clock = vm.devices.rtc.lock().deadline();
    let supervisor = &pe.state.host.supervisor;
    let look = vm.world.as_ref().and_then(|_| supervisor.alarm(pe.id()));
    pe.state.alarms.set(vm, clock.into_iter().chain(look).min());
    pe.state.look_soon();
}

/// The VM's clock has reached an alarm, or it is time to look at a world.
pub fn ring(pe: &mut Pe, vm: &Arc<Vm>) {
    if vm.world.is_some() {
        crate::supervisor::look(pe, vm);
    }
    vm.devices.rtc.lock().poll();
    set_alarm(pe, vm);
}

/// A store to the variables' bank: in array mode the guest has it mapped to read, in any other mode every access traps.
fn write_flash(vm: &Vm, offset: u64, width: Width, value: u64) {
    let remap = |mapping| {
        let mut stage2 = vm.stage2.lock();
        let (Some(stage2), bank) = (stage2.as_mut(), &vm.devices.banks[1]) else { return Ok(()) };
        match mapping {
            Mapping::ReadOnly => map_bank(stage2, bank),
            Mapping::Trapped => unmap_bank(stage2, bank),
        }
    };
    if let Err(why) = vm.devices.variables.write((offset, width, value), remap) {
        crate::vm::stop_for(vm, &why);
    }
}

fn held(bank: &GuestRam) -> Option<(Ipa, specs::Pa)> {
    bank.touch(bank.range().start())
}

/// Maps the blocks of a flash bank that hold something, to read and execute.
pub fn map_bank(stage2: &mut stage2::Stage2<el2::tables::HostTables>, bank: &GuestRam) -> Result<(), String> {
    let mut at = bank.range().start();
    while let Some((block, pa)) = bank.touch(at) {
        stage2
            .map(block, pa, el2::memory::BLOCK_BYTES, Attributes::ROM)
            .map_err(|error| format!("its flash can't be mapped: {error:?}"))?;
        let Some(next) = block.checked_add(el2::memory::BLOCK_BYTES) else { break };
        at = next;
    }
    Ok(())
}

fn unmap_bank(stage2: &mut stage2::Stage2<el2::tables::HostTables>, bank: &GuestRam) -> Result<(), String> {
    if held(bank).is_some() {
        stage2.unmap(bank.range()).map_err(|error| format!("its flash can't be unmapped: {error:?}"))?;
    }
    Ok(())
}

/// Goes on with a device that had more to do than one call may take.
pub fn poll(vm: &Vm, device: DeviceKind) -> Progress {
    let devices = &vm.devices;
    match device {
        DeviceKind::Block(n) => devices.blocks.get(usize::from(n)).map_or(Progress::Done, Block::poll),
        DeviceKind::Net(n) => devices.nets.get(usize::from(n)).map_or(Progress::Done, |net| net.poll()),
        DeviceKind::Console => devices.console.poll(),
        DeviceKind::Entropy => devices.entropy.poll(),
        DeviceKind::Calls => desk::work(vm),
        _ => Progress::Done,
    }
}

/// Keeps the type's size out of its users' stacks.
pub type BoxedDevices = Box<Devices>;
