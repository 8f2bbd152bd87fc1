//! The host's start: reads the boot archive, starts its VMs; and its end. Host devices' interrupts come here, too.

use crate::assemble::{Source, assemble};
use crate::console::Wish;
use crate::home::HomeShared;
use crate::host::Host;
use crate::host_devices::HostDevices;
use crate::signals::Signals;
use crate::{Pe, log};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use api::archive::BootArchive;
use api::host::Vm as VmDocument;
use drivers::board::{PeNode, StartMethod};
use machine::BootSpec;
use specs::Intid;

/// What the archive says, by places in it.
struct Contents {
    host: api::host::Host,
    problems: Vec<String>,
    vms: Vec<Files>,
}

/// The files of a VM: (offset, bytes).
struct Files {
    document: VmDocument,
    boot: Option<BootSpec>,
    kernel: Option<(u64, u64)>,
    initrd: Option<(u64, u64)>,
    firmware: Option<(u64, u64)>,
    disks: Vec<Option<(u64, u64)>>,
}

/// Starts the VMs of the boot archive.
pub fn start_host(host: &'static Host, pe: &mut Pe) {
    let console = &host.console;
    log!(
        console,
        "{} of {} PEs run, GICv{}",
        host.pes_up(),
        host.board.pes.len(),
        2 + u8::from(el2::gic::is_v3())
    );
    tell_absent(host);
    log!(console, "{}", memory());
    while el2::memory::prepare_step() {}
    let devices = host.devices.call_once(|| crate::host_devices::start(host));
    devices.listen(pe);
    // The first look is the loop's; here it lets disks that answer at once be found before the first VM.
    devices.look(pe);
    if has_argument(host, "bramble.selftest") || has_argument(host, "bramble.selftest=write") {
        crate::self_test::start(host, devices, has_argument(host, "bramble.selftest=write"));
    }
    if !host.random.is_seeded() {
        log!(
            console,
            "random generator: no seed from device tree or devices: guests get no entropy from the host"
        );
    }
    crate::supervisor::start(host, pe);
    let contents = host.archive.and_then(|archive| el2::ram::read_archive(archive, read));
    match (contents, host.board.initrd) {
        (Some(contents), _) => start_vms(host, devices, contents),
        (None, Some(named)) => log!(
            console,
            "no VM starts: the boot archive is said to be {:#x} bytes at {}, which is no RAM: correct linux,initrd-start \
             and linux,initrd-end in the device tree",
            named.bytes,
            named.start
        ),
        (None, None) => log!(
            console,
            "no boot archive: no VM starts; give one as initrd (QEMU -initrd FILE, on a Pi initramfs)"
        ),
    }
    // Whether there is a datastore is found out by its home.
    HomeShared::wake(host);
    console.listen(pe.id());
    take_console_input(pe);
    devices.look_soon(pe);
    crate::drill::at_start(host);
}

/// Says why PEs of the tree do not run.
fn tell_absent(host: &Host) {
    let board = host.board;
    let absent = board.pes.len().saturating_sub(host.pes_up().into());
    if absent == 0 {
        return;
    }
    let can_start = |pe: &&PeNode| match pe.start {
        Some(StartMethod::Psci) => board.psci_by_smc,
        Some(StartMethod::SpinTable(_)) => true,
        None => false,
    };
    // One of them runs already, however the others are started.
    let why = if board.pes.iter().filter(can_start).count() < board.pes.len() {
        "the device tree names no way to start them: enable-method is to be spin-table, or psci with method smc"
    } else {
        "they were started and did not come"
    };
    log!(host.console, "PEs that stay off: {absent}: {why}");
}

/// Starts the VMs of the document, those whose disks are not there yet later.
fn start_vms(host: &'static Host, devices: &HostDevices, contents: Contents) {
    let console = &host.console;
    console.set_mode(contents.host.console);
    if contents.host.reset_admin {
        show_presence(host, abi::call::PRESENCE_DOCUMENT);
    }
    for problem in &contents.problems {
        log!(console, "{problem}");
    }
    for files in &contents.vms {
        console.streams_of(&files.document.name);
    }
    let mut vms: Vec<Source> = contents.vms.into_iter().map(Files::source).collect();
    vms.sort_by_key(|vm| vm.document.as_ref().map(|document| document.start_order));
    let starts = |vm: &Source| vm.document.as_ref().is_some_and(|document| document.autostart);
    let (vms, others): (Vec<_>, Vec<_>) = vms.into_iter().partition(starts);
    others.iter().for_each(|vm| host.inventory.register(host, vm));
    *host.waiting.lock() = Waiting { vms, ..Waiting::default() };
    start_waiting(host, devices);
}

/// VMs that are to start once their disks are there.
#[derive(Default)]
pub struct Waiting {
    vms: Vec<Source>,
    /// Some of them are being started.
    starting: bool,
    /// A person was told that a card is missing.
    told: bool,
    /// Nobody is waited for any more, but for such a card.
    over: bool,
    /// When the VM before started.
    last: u64,
    /// The next one's delay is over then; `None`: none has one.
    due: Option<u64>,
}

/// When a VM's delay after the one before it is over.
pub fn next_start(host: &Host) -> Option<u64> {
    host.waiting.lock().due
}

/// Whether no VM waits, but for a card that a person may put in some day.
pub fn is_waiting_over(host: &Host) -> bool {
    let waiting = host.waiting.lock();
    waiting.over && !waiting.starting
}

/// Starts the VMs whose disks are known. Once the search for disks has come to an end, the others are told of.
pub fn start_waiting(host: &'static Host, devices: &HostDevices) {
    let settled = devices.are_settled() && host.home.is_settled();
    let removable = devices.disks.iter().any(|disk| disk.is_removable());
    let mut waiting = host.waiting.lock();
    let (vms, told, was_over) = (core::mem::take(&mut waiting.vms), waiting.told, waiting.over);
    let mut last = waiting.last;
    waiting.starting = true;
    // Making a VM takes its time: others may look meanwhile.
    drop(waiting);
    let (mut rest, mut due) = (Vec::new(), None);
    for source in vms {
        if due.is_some() {
            // One after the other, in their order.
            rest.push(source);
            continue;
        }
        let missing = missing_disk(host, devices, &source);
        match missing {
            Some(serial) if settled && removable => {
                if !told {
                    tell_vm(
                        host,
                        &source,
                        &format!("waits for disk \"{serial}\": put its card in, or correct host.toml"),
                    );
                }
                rest.push(source);
            }
            Some(_) if !settled => rest.push(source),
            _ => match delayed(&source, last) {
                Some(at) => {
                    due = Some(at);
                    rest.push(source);
                }
                None => {
                    start_vm(host, source);
                    last = el2::regs::counter();
                }
            },
        }
    }
    let mut waiting = host.waiting.lock();
    // A card that a person may put in some day is not waited for.
    let over = settled && due.is_none() && !host.home.is_starting();
    *waiting = Waiting { vms: rest, starting: false, told: told || settled, over, last, due };
    drop(waiting);
    // The others may have ended meanwhile.
    if over && !was_over && host.had_vms() {
        end_of_vms(host);
    }
}

/// When a VM may start, if that is not now.
fn delayed(source: &Source, last: u64) -> Option<u64> {
    let delay = source.document.as_ref().map_or(0, |vm| vm.start_delay);
    let at = last.saturating_add(u64::from(delay).saturating_mul(el2::regs::counter_hz()));
    (delay != 0 && last != 0 && el2::regs::counter() < at).then_some(at)
}

/// The first disk that a VM names and that is not known: a disk of the host, or a volume while none is known.
fn missing_disk(host: &Host, devices: &HostDevices, source: &Source) -> Option<String> {
    let disks = source.document.iter().flat_map(|document| &document.disks);
    let mut named = disks.clone().filter_map(|disk| disk.host_disk.as_ref());
    let missing = named.find(|serial| devices.disk(serial).is_none()).cloned();
    let mut volumes = disks
        .filter_map(|disk| disk.volume.as_ref().or(disk.iso.as_ref()))
        .filter(|_| !host.home.is_settled());
    missing.or_else(|| volumes.next().cloned())
}

/// Says something about a VM that does not run, in the log and in its own console: a person looks at one of them.
fn tell_vm(host: &Host, source: &Source, text: &str) {
    let Some(document) = &source.document else { return };
    log!(host.console, "{}: {text}", document.name);
    let [stream, _] = host.console.streams_of(&document.name);
    stream.host_line(text);
}

fn start_vm(host: &'static Host, source: Source) {
    match assemble(host, source.clone()) {
        Ok(vm) => {
            let (name, memory) = (&vm.name, vm.plan.ram.bytes() >> 20);
            log!(host.console, "{name}: {} vCPUs, {memory} MiB", vm.plan.spec.vcpus);
        }
        Err(why) => tell_vm(host, &source, &format!("not started: {why}")),
    }
}

/// Reads the archive: the document, and where its files are.
fn read(bytes: &[u8]) -> Contents {
    let archive = match BootArchive::new(bytes) {
        Ok(archive) => archive,
        Err(error) => {
            let problems = alloc::vec![error.to_string()];
            return Contents { host: api::host::Host::default(), problems, vms: Vec::new() };
        }
    };
    let parsed = archive.host_document();
    let place = |file: &[u8]| {
        let offset = (file.as_ptr() as u64).wrapping_sub(bytes.as_ptr() as u64);
        (offset, file.len() as u64)
    };
    let find = |name: &Option<String>| name.as_ref().and_then(|name| archive.find(name));
    let vms = parsed.document.vms.into_iter().map(|document| {
        let kernel = find(&document.boot.kernel);
        let initrd = find(&document.boot.initrd);
        let firmware = find(&document.boot.firmware);
        let boot = kernel
            .map(|kernel| BootSpec::kernel(kernel, initrd.map_or(0, |file| file.len() as u64)))
            .or(firmware.map(|file| BootSpec::Firmware { bytes: file.len() as u64 }));
        let disks = document.disks.iter().map(|disk| find(&disk.image).map(place)).collect();
        Files {
            boot,
            kernel: kernel.map(place),
            initrd: initrd.map(place),
            firmware: firmware.map(place),
            disks,
            document,
        }
    });
    Contents {
        host: parsed.document.host,
        problems: parsed.problems.iter().map(ToString::to_string).collect(),
        vms: vms.collect(),
    }
}

impl Files {
    /// Places become spans, once the archive is closed for references.
    fn source(self) -> Source {
        let span = |place: Option<(u64, u64)>| {
            place.and_then(|(offset, bytes)| el2::ram::archive_span(offset, bytes))
        };
        Source {
            boot: self.boot,
            kernel: span(self.kernel),
            initrd: span(self.initrd),
            firmware: span(self.firmware),
            disks: self.disks.into_iter().map(span).collect(),
            document: Some(self.document),
            stored: false,
            world: None,
        }
    }
}

/// A disk of a VM has finished requests.
pub fn disk_has_news(pe: &mut Pe, signals: &Arc<Signals>, index: u8) {
    let vms = pe.state.host.vms.lock();
    let vm = vms.iter().find(|vm| Arc::ptr_eq(&vm.signals, signals)).cloned();
    drop(vms);
    if let Some(vm) = vm {
        let device = machine::DeviceKind::Block(index);
        let progress = crate::devices::poll(&vm, device);
        crate::pe::poll_later(pe, &vm, device, progress);
        crate::vm::drained(pe.state.host, vm);
    }
}

/// The generator has its seed: guests that wait for random bytes get them.
pub fn entropy_came(pe: &mut Pe) {
    let vms = pe.state.host.vms.lock().clone();
    for vm in vms {
        let progress = crate::devices::poll(&vm, machine::DeviceKind::Entropy);
        crate::pe::poll_later(pe, &vm, machine::DeviceKind::Entropy, progress);
    }
}

/// An interrupt of a host device.
pub fn device_interrupt(pe: &mut Pe, intid: Intid) {
    let host = pe.state.host;
    if host.devices.get().is_some_and(|devices| devices.take_interrupt(pe, intid)) {
        return;
    }
    if host.console.is_interrupt(intid) {
        take_console_input(pe);
    }
}

/// Brings what was typed to the guest whose stream is selected; a key of the menu starts the self-test.
fn take_console_input(pe: &mut Pe) {
    let host = pe.state.host;
    host.console.take_input(|stream, byte| {
        let vms = host.vms.lock();
        for vm in vms.iter() {
            if vm.streams[0].number() == stream {
                vm.type_to_uart(byte);
            } else if vm.streams[1].number() == stream {
                vm.devices.console.input(&[byte]);
            }
        }
    });
    while let Some(wish) = host.console.take_wish() {
        match (wish, host.devices.get()) {
            (Wish::SelfTest, Some(devices)) => {
                crate::self_test::start(host, devices, false);
                devices.look_soon(pe);
            }
            (Wish::SelfTest, None) => {}
            (Wish::Datastore, _) => HomeShared::wish(host),
            (Wish::Presence, _) => show_presence(host, abi::call::PRESENCE_KEY),
        }
    }
}

/// Somebody showed that he is at the machine: the log and the audit chain say so, and hostd hears of it.
pub fn show_presence(host: &Host, source: u64) {
    let notice = host.presence.raise(source, host.nanoseconds());
    let how = if source == abi::call::PRESENCE_KEY { "console-key" } else { "host.toml" };
    log!(host.console, "presence {}: {how} asks for a new administrator's password", notice.number);
    HomeShared::note(host, "presence", how);
}

/// Whether the host was given this boot argument.
pub fn has_argument(host: &Host, wanted: &str) -> bool {
    host.board.boot_arguments.split(' ').any(|argument| argument == wanted)
}

/// How the RAM is shared out now.
fn memory() -> String {
    let (guests, own) = (el2::memory::free().bytes >> 20, el2::boot::own_bytes() >> 10);
    format!("{guests} MiB for guests, {own} KiB for the host")
}

/// A VM is off, or what it kept is saved: perhaps it was the last.
pub fn end_of_vms(host: &Host) {
    if host.is_without_guests() && is_waiting_over(host) && !host.home.is_any_unsaved() {
        all_vms_are_off(host);
    }
}

/// The last VM is off.
fn all_vms_are_off(host: &Host) {
    log!(host.console, "host: all VMs are off; {}", memory());
    crate::drill::at_end(host);
    if has_argument(host, "bramble.exit")
        && !crate::host_power::is_ending(host)
        && let Some(devices) = host.devices.get()
    {
        devices.services.lock().end(false);
    }
}
