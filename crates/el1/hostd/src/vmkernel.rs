//! The calls to the vmkernel as functions. One buffer, a page of spare RAM, carries what is larger than registers.

use abi::record::{CrashRecord, HostRecord, VmRecord};
use abi::{Call, Status, VmHandle, WorldGeneration};
use alloc::vec::Vec;
use core::fmt::{self, Write};
use el1::window::Window;
use el1::{Boot, world};
use spin::mutex::SpinMutex;

/// The buffer's place in spare RAM, and its size: the most that any call takes.
const PLACE: usize = 0;
const BYTES: usize = 4096;

/// How often a line is offered to a log that is busy; then it is dropped.
const LOG_TRIES: u32 = 100;

/// The time, as the host has it.
#[derive(Clone, Copy)]
pub struct Time {
    /// Since 1970.
    pub unix_seconds: u64,
    /// Nanoseconds since the host started.
    pub uptime: u64,
    /// Whether the first is right.
    pub is_known: bool,
}

/// The way to the vmkernel.
pub struct Vmkernel(SpinMutex<Window>);

/// A sign of life of this vCPU.
pub fn heartbeat() {
    let _ = world::call(Call::Heartbeat, None, [0; 3]);
}

impl Vmkernel {
    /// For a world; `None` where this program runs in any other machine.
    pub fn new(boot: &'static Boot) -> Option<Self> {
        let page = boot.spare.part(PLACE, BYTES);
        // Memory that was never touched is no buffer.
        page.write64(0, 0);
        world::is_one().then_some(Self(SpinMutex::new(page)))
    }

    /// The contract's version and our generation.
    pub fn version(&self) -> (u32, WorldGeneration) {
        let [version, generation, _] = world::call(Call::Version, None, [0; 3]).unwrap_or_default();
        (version as u32, WorldGeneration(generation as u32))
    }

    /// A sign of life of this vCPU.
    pub fn heartbeat(&self) {
        heartbeat();
    }

    /// A line for the host log; what does not fit is cut.
    pub fn log(&self, text: fmt::Arguments<'_>) {
        let buffer = self.0.lock();
        let limit = Call::Log.buffer_max() as usize;
        let mut line = Line { page: *buffer, at: 0, limit };
        // Writing it does not fail.
        let _ = line.write_fmt(text);
        // While it is busy the vmkernel writes at each of our calls: a few more and there is room.
        for _ in 0..LOG_TRIES {
            if world::call(Call::Log, Some(buffer.part(0, line.at)), [0; 3]) != Err(Status::Busy) {
                return;
            }
        }
    }

    /// The time.
    pub fn time(&self) -> Time {
        let [unix_seconds, uptime, known] = world::call(Call::Time, None, [0; 3]).unwrap_or_default();
        Time { unix_seconds, uptime, is_known: known == 1 }
    }

    /// Any call: `buffer` goes in and comes back.
    pub fn call(&self, call: Call, buffer: &mut [u8], arguments: [u64; 3]) -> Result<[u64; 3], Status> {
        if buffer.is_empty() {
            return world::call(call, None, arguments);
        }
        if buffer.len() as u64 > call.buffer_max() {
            return Err(Status::Invalid);
        }
        let page = self.0.lock();
        let part = page.part(0, buffer.len());
        part.fill(0, buffer);
        let values = world::call(call, Some(part), arguments)?;
        part.copy_to(0, buffer);
        Ok(values)
    }

    /// Random bytes.
    pub fn random(&self) -> Result<[u8; 32], Status> {
        self.fetch(Call::Random, [0; 3])
    }

    /// Every VM that is known.
    pub fn vms(&self) -> Vec<VmHandle> {
        let mut all = Vec::new();
        let most = Call::ListVms.buffer_max() as usize;
        loop {
            let buffer = self.0.lock();
            let part = buffer.part(0, most);
            let Ok([given, total, _]) = world::call(Call::ListVms, Some(part), [all.len() as u64, 0, 0])
            else {
                return all;
            };
            all.extend((0..given as usize).map(|n| VmHandle::from_raw(part.read64(n * 8))));
            if given == 0 || all.len() as u64 >= total {
                return all;
            }
        }
    }

    /// One VM.
    pub fn vm(&self, handle: VmHandle) -> Result<VmRecord, Status> {
        let bytes = self.fetch(Call::InspectVm, [handle.to_raw(), 0, 0])?;
        Ok(VmRecord::from_bytes(&bytes))
    }

    /// The host and ourselves.
    pub fn host(&self) -> Result<HostRecord, Status> {
        Ok(HostRecord::from_bytes(&self.fetch(Call::InspectHost, [0; 3])?))
    }

    /// How the generation before ended.
    pub fn crash(&self) -> Result<CrashRecord, Status> {
        Ok(CrashRecord::from_bytes(&self.fetch(Call::ReadCrash, [0; 3])?))
    }

    /// What a console said from `position` on: the position of the first byte, the bytes, the end's position.
    pub fn read_console(
        &self,
        vm: VmHandle,
        stream: u64,
        position: u64,
    ) -> Result<(u64, Vec<u8>, u64), Status> {
        let buffer = self.0.lock();
        let part = buffer.part(0, Call::ReadConsole.buffer_max() as usize);
        let [first, count, end] =
            world::call(Call::ReadConsole, Some(part), [vm.to_raw(), stream, position])?;
        Ok((first, (0..count as usize).map(|n| part.read8(n)).collect(), end))
    }

    /// Types into a console; how many bytes it took.
    pub fn write_console(&self, vm: VmHandle, stream: u64, text: &[u8]) -> Result<usize, Status> {
        let buffer = self.0.lock();
        let text = &text[..text.len().min(Call::WriteConsole.buffer_max() as usize)];
        text.iter().enumerate().for_each(|(at, byte)| buffer.write8(at, *byte));
        let part = buffer.part(0, text.len());
        Ok(world::call(Call::WriteConsole, Some(part), [vm.to_raw(), stream, 0])?[0] as usize)
    }

    /// A call with its whole buffer, for measuring.
    pub fn bare(&self, call: Call, arguments: [u64; 3]) {
        let part = self.0.lock().part(0, call.buffer_max() as usize);
        let _ = world::call(call, Some(part), arguments);
    }

    fn fetch<const N: usize>(&self, call: Call, arguments: [u64; 3]) -> Result<[u8; N], Status> {
        let buffer = self.0.lock();
        let part = buffer.part(0, N);
        world::call(call, Some(part), arguments)?;
        Ok(core::array::from_fn(|at| part.read8(at)))
    }
}

/// A line being written to the buffer.
struct Line {
    page: Window,
    at: usize,
    limit: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes().take(self.limit - self.at) {
            self.page.write8(self.at, byte);
            self.at += 1;
        }
        Ok(())
    }
}
