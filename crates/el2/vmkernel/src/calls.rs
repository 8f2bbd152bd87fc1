//! The calls of a world by HVC: `abi::call`'s table, carried out. Bounded, and nothing here waits.
//!
//! Called by: [`crate::exit`] for a function of the vendor's range. Each call checks the manifest, then its buffer, then
//! its arguments. No call reads or maps a guest's RAM; a buffer is the caller's own, in RAM that it has touched, so that
//! no call takes memory.

use crate::home::HomeShared;
use crate::host::nanoseconds;
use crate::pe::{self, leave};
use crate::vm::{Vm, Wanted};
use crate::world::{World, printable};
use crate::{Loaded, Pe, supervisor};
use abi::record::{HostUse, VmRecord, VmStatistics, WORDS_BYTES};
use abi::{Call, ExitReason, Status, VmHandle};
use core::sync::atomic::Ordering;
use machine::DeviceKind;
use ports::{Entropy, GuestMemory};
use specs::Ipa;
use virtio::Progress;

/// What a call gives: x1 to x3.
type Values = Result<[u64; 3], Status>;

const NOTHING: [u64; 3] = [0; 3];

/// A call of the vendor's range.
#[inline(never)]
pub fn call(pe: &mut Pe, mut vcpu: Loaded) -> Loaded {
    let vm = vcpu.vm.clone();
    let values = match allowed(&vm, vcpu.x(0)) {
        Ok((world, Call::Log)) => {
            let taken = carry_out(&vm, world, Call::Log, &vcpu);
            // The serial line is written to later, on this PE.
            pe::poll_later(pe, &vm, DeviceKind::Calls, Progress::More);
            taken
        }
        Ok((world, call)) => carry_out(&vm, world, call, &vcpu),
        Err(status) => Err(status),
    };
    let (status, values) = match values {
        Ok(values) => (Status::Ok, values),
        Err(status) => (status, NOTHING),
    };
    vcpu.set_x(0, (status as i64).cast_unsigned());
    for (register, value) in (1..).zip(values) {
        vcpu.set_x(register, value);
    }
    leave(pe, vcpu)
}

fn allowed(vm: &Vm, function: u64) -> Result<(&World, Call), Status> {
    let world = vm.world.as_ref().ok_or(Status::NotSupported)?;
    let call = u32::try_from(function & 0xffff_ffff).ok().and_then(Call::from_function_id);
    let call = call.ok_or(Status::NotSupported)?;
    if world.manifest.calls.contains(&call) { Ok((world, call)) } else { Err(Status::Denied) }
}

/// The caller's buffer of a call.
struct Buffer<'a> {
    vm: &'a Vm,
    at: Ipa,
    bytes: usize,
}

impl<'a> Buffer<'a> {
    fn new(vm: &'a Vm, call: Call, at: u64, bytes: u64) -> Result<Self, Status> {
        if bytes > call.buffer_max() || (bytes != 0 && !vm.ram.holds(Ipa(at), bytes)) {
            return Err(Status::Invalid);
        }
        Ok(Self { vm, at: Ipa(at), bytes: usize::try_from(bytes).map_err(|_| Status::Invalid)? })
    }

    fn read<'b>(&self, into: &'b mut [u8]) -> Result<&'b [u8], Status> {
        let into = into.get_mut(..self.bytes).ok_or(Status::Invalid)?;
        self.vm.ram.read(self.at, into).map_err(|_| Status::Invalid)?;
        Ok(into)
    }

    /// Writes a struct: the buffer must have room for all of it.
    fn write(&self, from: &[u8]) -> Values {
        if from.len() > self.bytes {
            return Err(Status::Invalid);
        }
        self.vm.ram.write(self.at, from).map_err(|_| Status::Invalid)?;
        Ok(NOTHING)
    }
}

fn carry_out(vm: &Vm, world: &World, call: Call, vcpu: &Loaded) -> Values {
    let host = world.host;
    let buffer = Buffer::new(vm, call, vcpu.x(1), vcpu.x(2))?;
    let [first, second, third] = [vcpu.x(3), vcpu.x(4), vcpu.x(5)];
    match call {
        Call::Version => Ok([abi::VERSION.into(), host.supervisor.generation().into(), 0]),
        Call::Heartbeat => {
            host.supervisor.heartbeat(vcpu.index.0);
            Ok(NOTHING)
        }
        Call::Log => {
            let mut line = [0; 96];
            let line = printable(buffer.read(&mut line)?);
            if world.tray.put_line(line) { Ok(NOTHING) } else { Err(Status::Busy) }
        }
        Call::Exit => exit(vm, world, vcpu, &buffer, first),
        Call::Random => {
            let mut bytes = [0; 32];
            let wanted = bytes.get_mut(..buffer.bytes).ok_or(Status::Invalid)?;
            host.random.fill(wanted).map_err(|_| Status::Unseeded)?;
            buffer.write(wanted)
        }
        Call::Time => Ok([host.unix_seconds(), host.nanoseconds(), host.clock.is_right().into()]),
        Call::ListVms => list(world, &buffer, first),
        Call::InspectVm => inspect(world, &buffer, VmHandle::from_raw(first)),
        Call::ReadConsole => read_console(world, &buffer, first, second, third),
        Call::WriteConsole => write_console(world, &buffer, VmHandle::from_raw(first), second),
        Call::InspectHost => {
            vm.signals.look_all();
            buffer.write(&supervisor::host_record(host, vm).to_bytes())
        }
        Call::ReadCrash => {
            let crash = host.supervisor.crash(first).ok_or(Status::NotFound)?;
            buffer.write(&crash.to_bytes())
        }
        Call::GetVmStatistics => statistics(world, &buffer, VmHandle::from_raw(first)),
        Call::GetHostUse => {
            let uplink = host.devices.get().and_then(|devices| devices.uplink.as_ref());
            let uplink = uplink.map(|uplink| host.switch.counters(uplink.port)).unwrap_or_default();
            let record = HostUse {
                at: host.nanoseconds(),
                idle_time: host.idle_nanoseconds(),
                pes: host.pes_up().into(),
                uplink_in: uplink.bytes_in,
                uplink_out: uplink.bytes_out,
                unix_seconds: host.unix_seconds(),
                reserved: [0; 2],
            };
            buffer.write(&record.to_bytes())
        }
        Call::ReadPresence => Ok(match host.presence.read() {
            Some(notice) => [notice.number, notice.source, notice.at],
            None => NOTHING,
        }),
        Call::AcknowledgePresence => {
            host.presence.acknowledge(first).then_some(NOTHING).ok_or(Status::NotFound)
        }
        Call::SetTime => {
            // A time to come has not been measured.
            let is_past = second <= host.nanoseconds();
            let is_set = is_past && host.clock.set(first, second);
            // The datastore is to keep it.
            HomeShared::wake(host);
            is_set.then_some(NOTHING).ok_or(Status::Invalid)
        }
    }
}

/// The world wants to end; its vCPUs leave at their next exits, this one now.
fn exit(vm: &Vm, world: &World, vcpu: &Loaded, buffer: &Buffer<'_>, reason: u64) -> Values {
    let mut words = [0; WORDS_BYTES];
    let words = buffer.read(&mut words)?;
    let reason = u32::try_from(reason).ok().and_then(ExitReason::from_raw);
    let own = [ExitReason::Wanted, ExitReason::Panic, ExitReason::Memory];
    let reason = reason.filter(|reason| own.contains(reason)).ok_or(Status::Invalid)?;
    world.ends(reason, vcpu.index.0, 0, words);
    crate::vm::stop(vm, Wanted::Off);
    Ok(NOTHING)
}

fn list(world: &World, buffer: &Buffer<'_>, first: u64) -> Values {
    let inventory = &world.host.inventory;
    let first = usize::try_from(first).map_err(|_| Status::Invalid)?;
    let mut bytes = [0; 256];
    let mut given = 0_u64;
    let (places, _) = bytes.as_chunks_mut::<8>();
    for (place, index) in places.iter_mut().take(buffer.bytes / 8).zip(first..) {
        let Some(handle) = inventory.handle(index) else { break };
        *place = handle.to_raw().to_le_bytes();
        given = given.saturating_add(1);
    }
    buffer.write(bytes.get(..buffer.bytes.min(256) / 8 * 8).unwrap_or_default())?;
    Ok([given, inventory.count() as u64, 0])
}

fn inspect(world: &World, buffer: &Buffer<'_>, handle: VmHandle) -> Values {
    let (mut record, vm) = world.host.inventory.read(handle, |known| {
        let name = abi::name::field(&known.name);
        let record = VmRecord {
            handle: handle.to_raw(),
            name,
            power: known.power(),
            vcpus: 0,
            ram_bytes: 0,
            touched_bytes: 0,
            starts: known.starts,
            exits: [0; abi::record::EXIT_REASONS],
            console_end: known.streams.each_ref().map(|stream| stream.end()),
            reserved: [0; 2],
        };
        (record, known.vm.clone())
    })?;
    if let Some(vm) = vm {
        record.vcpus = vm.plan.spec.vcpus.into();
        record.ram_bytes = vm.plan.ram.bytes();
        record.touched_bytes = vm.ram.touched_bytes();
        record.exits = vm.exits();
        vm.signals.look_all();
    }
    buffer.write(&record.to_bytes())
}

/// Where a VM's time goes, as its vCPUs told it last.
fn statistics(world: &World, buffer: &Buffer<'_>, handle: VmHandle) -> Values {
    let vm = world.host.inventory.read(handle, |known| known.vm.clone())?.ok_or(Status::Conflict)?;
    let flight = vm.flight();
    let disks = vm.devices.blocks.iter().map(|block| block.device().counters());
    let sectors = disks.fold((0_u64, 0_u64), |(read, written), disk| {
        (read.wrapping_add(disk.sectors_read), written.wrapping_add(disk.sectors_written))
    });
    let record = VmStatistics {
        at: world.host.nanoseconds(),
        started_at: world.host.nanoseconds_of(vm.started_at.load(Ordering::Relaxed)),
        exits: *flight.counts(),
        exit_time: flight.times().map(nanoseconds),
        run_time: nanoseconds(flight.ran),
        ready_time: nanoseconds(flight.waited),
        disk_read: sectors.0.saturating_mul(512),
        disk_written: sectors.1.saturating_mul(512),
        reserved: [0; 4],
    };
    vm.signals.look_all();
    buffer.write(&record.to_bytes())
}

fn read_console(world: &World, buffer: &Buffer<'_>, handle: u64, which: u64, from: u64) -> Values {
    let which = usize::try_from(which).map_err(|_| Status::Invalid)?;
    let stream = match (handle, which) {
        (0, 0) => world.host.console.host_log(),
        (0, _) => None,
        _ => {
            let handle = VmHandle::from_raw(handle);
            world.host.inventory.read(handle, |known| known.streams.get(which).cloned())?
        }
    };
    let stream = stream.ok_or(Status::Invalid)?;
    let mut bytes = [0; 1024];
    let wanted = bytes.get_mut(..buffer.bytes).ok_or(Status::Invalid)?;
    let (first, count, end) = stream.read(from, wanted);
    buffer.write(wanted.get(..count).unwrap_or_default())?;
    Ok([first, count as u64, end])
}

fn write_console(world: &World, buffer: &Buffer<'_>, handle: VmHandle, which: u64) -> Values {
    let vm = world.host.inventory.read(handle, |known| known.vm.clone())?.ok_or(Status::Conflict)?;
    let mut bytes = [0; 16];
    let typed = buffer.read(&mut bytes)?;
    match which {
        0 => {
            typed.iter().for_each(|byte| vm.type_to_uart(*byte));
            Ok([typed.len() as u64, 0, 0])
        }
        1 => Ok([vm.devices.console.input(typed) as u64, 0, 0]),
        _ => Err(Status::Invalid),
    }
}
