//! The self-test: asks every device that was found, and prints one page (`drivers::selftest`).
//!
//! Started by the boot argument `bramble.selftest` (`bramble.selftest=write` also writes, in a partition of ours that
//! nobody uses) and by `t` in the console's menu; polled by [`crate::host_devices`]. One thing at a time, nothing waits;
//! what has not answered in ten seconds is said so.

use crate::host::Host;
use crate::host_devices::{DMA, HostDevices};
use crate::host_disk::{HostDisk, Owner, Window};
use crate::log;
use crate::network::Sink;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use drivers::board::MAX_PES;
use drivers::hardware::{Dma, DmaBuffer};
use drivers::partition::OURS;
use drivers::selftest::dhcp::{self, DISCOVER_BYTES};
use drivers::selftest::disk::{BUFFER_BYTES, DiskCheck, DiskVerdict};
use drivers::selftest::{CardFacts, DiskFacts, Facts, MemoryFacts, NetworkFacts, PeFacts, report};
use el2::dma::HostBuffer;
use el2::mmu::{Protection, ProtectionCheck};
use el2::ram::HostMemory;
use ports::{Delivered, Frame, Offload};
use specs::PeId;
use spin::Mutex;
use vswitch::switch::PortIndex;
use vswitch::{Group, MacAddress};

/// All of it, in seconds; the DHCP server's time; how often it is asked in a second.
const SECONDS: u64 = 10;
const DHCP_SECONDS: u64 = 4;
/// Looks for a PE's answer in one go: about 10,000 instructions.
const PE_LOOKS: u32 = 2000;
/// Bytes of a frame that are looked at.
const LOOKED_AT: usize = 600;

/// Asks PEs what time it is.
pub struct RollCall {
    asked: AtomicBool,
    /// By PE: 1 asks, 0 is none; else its count.
    counts: Box<[AtomicU64]>,
    hertz: Box<[AtomicU64]>,
}

impl Default for RollCall {
    fn default() -> Self {
        let zeros = || (0..MAX_PES).map(|_| AtomicU64::new(0)).collect();
        Self { asked: AtomicBool::new(false), counts: zeros(), hertz: zeros() }
    }
}

impl RollCall {
    /// Called by every PE when it looks for what others want.
    pub fn answer(&self, pe: PeId) {
        if !self.asked.load(Ordering::Acquire) {
            return;
        }
        let index = usize::from(pe.0);
        if let (Some(count), Some(hertz)) = (self.counts.get(index), self.hertz.get(index))
            && count.load(Ordering::Acquire) == 1
        {
            hertz.store(el2::regs::counter_hz(), Ordering::Relaxed);
            count.store(el2::regs::counter(), Ordering::Release);
        }
    }

    /// Asks one PE; what its answer is measured against is returned.
    fn ask(&self, host: &Host, pe: PeId) -> u64 {
        if let Some(count) = self.counts.get(usize::from(pe.0)) {
            count.store(1, Ordering::Release);
        }
        self.asked.store(true, Ordering::Release);
        let before = el2::regs::counter();
        host.pe(pe).look();
        el2::gic::kick(pe);
        before
    }

    /// Looks for the answer of a PE that was asked at `before`, for a moment: the sooner it is seen, the more it says.
    fn take(&self, pe: PeId, before: u64) -> Option<PeFacts> {
        let index = usize::from(pe.0);
        let (count, hertz) = (self.counts.get(index)?, self.hertz.get(index)?);
        let told = (0..PE_LOOKS).map(|_| count.load(Ordering::Acquire)).find(|told| *told > 1)?;
        let after = el2::regs::counter();
        let apart = before.saturating_sub(told).max(told.saturating_sub(after));
        Some(PeFacts { up: true, hertz: hertz.load(Ordering::Relaxed), apart })
    }
}

/// The self-test's port of the switch.
pub struct Probe {
    mac: [u8; 6],
    id: u32,
    offered: Mutex<Option<[u8; 4]>>,
}

impl Probe {
    /// A frame for it.
    pub fn deliver(&self, frame: &Frame<'_>) -> Delivered {
        let mut bytes = [0; LOOKED_AT];
        let mut filled = 0;
        for span in frame.data {
            let room = bytes.get_mut(filled..).unwrap_or(&mut []);
            let part = room.len().min(usize::try_from(span.bytes).unwrap_or(0));
            frame.memory.read_span(*span, room.get_mut(..part).unwrap_or(&mut []));
            filled = filled.saturating_add(part);
        }
        if let Some(address) = dhcp::offer(bytes.get(..filled).unwrap_or(&[]), self.mac, self.id) {
            *self.offered.lock() = Some(address);
        }
        Delivered::Yes
    }
}

/// Memory of every self-test: what devices were told is never given back.
struct Buffers {
    disk: HostBuffer,
    frame: HostBuffer,
}

/// A disk that is looked at.
struct Disk {
    disk: Arc<HostDisk>,
    read: Option<DiskVerdict>,
    write: Option<DiskVerdict>,
}

/// The self-test.
#[derive(Default)]
pub struct SelfTest {
    buffers: Option<Buffers>,
    run: Option<Run>,
}

/// One that is under way.
struct Run {
    writes: bool,
    until: u64,
    /// EL2's own tables are looked through, and what was found.
    memory: (ProtectionCheck, Option<Protection>),
    pes: Vec<PeFacts>,
    /// When the next PE was asked.
    pe_asked: Option<u64>,
    disks: Vec<Disk>,
    /// The first disk that is not done, and whether its write is meant.
    place: (usize, bool),
    check: Option<(DiskCheck, Window)>,
    network: Network,
}

/// The question to a DHCP server.
enum Network {
    NotAsked,
    Asked { probe: Arc<Probe>, port: PortIndex, again: u64, until: u64 },
    Over(Option<Option<[u8; 4]>>),
}

/// Begins; one that is under way goes on.
pub fn start(host: &'static Host, devices: &HostDevices, writes: bool) {
    let mut place = devices.self_test.lock();
    if place.run.is_some() {
        return;
    }
    if place.buffers.is_none() {
        let disk = DMA.allocate(usize::try_from(BUFFER_BYTES).unwrap_or(0));
        place.buffers = disk.zip(DMA.allocate(4096)).map(|(disk, frame)| Buffers { disk, frame });
    }
    if place.buffers.is_none() {
        return log!(host.console, "self-test: no memory for it");
    }
    log!(host.console, "self-test: takes up to {SECONDS} s");
    place.run = Some(Run {
        writes,
        until: el2::regs::counter().saturating_add(el2::regs::counter_hz().saturating_mul(SECONDS)),
        memory: (ProtectionCheck::default(), None),
        pes: Vec::new(),
        pe_asked: None,
        disks: Vec::new(),
        place: (0, false),
        check: None,
        network: Network::NotAsked,
    });
}

/// Goes on; when to call again, while it is under way.
pub fn poll(host: &'static Host, devices: &HostDevices) -> Option<u64> {
    let mut place = devices.self_test.lock();
    let SelfTest { buffers: Some(buffers), run: Some(run) } = &mut *place else { return None };
    let now = el2::regs::counter();
    let late = now >= run.until;
    let memory_done = run.check_memory();
    let pes_done = run.ask_pes(host, late);
    let disks_done = (devices.are_settled() || late) && run.check_disks(devices, buffers, late);
    let network_done = run.ask_network(host, devices, buffers, now);
    if memory_done && pes_done && disks_done && (network_done || late) {
        run.finish(host, devices);
        place.run = None;
        return None;
    }
    Some(now.saturating_add(el2::regs::counter_hz() / 1000))
}

impl Run {
    /// A part of the tables; `true` when all were seen.
    fn check_memory(&mut self) -> bool {
        let (check, found) = &mut self.memory;
        if found.is_none() {
            *found = check.poll();
        }
        found.is_some()
    }

    /// One PE after the other; `true` when all were asked.
    fn ask_pes(&mut self, host: &Host, late: bool) -> bool {
        let index = self.pes.len();
        let Some(pe) = u16::try_from(index).ok().filter(|_| index < host.board.pes.len()) else {
            return true;
        };
        let absent = PeFacts { up: false, hertz: 0, apart: 0 };
        let facts = match pe {
            0 => PeFacts { up: true, hertz: el2::regs::counter_hz(), apart: 0 },
            pe if pe < host.pes_up() && !late => {
                let before = *self.pe_asked.get_or_insert_with(|| host.roll_call.ask(host, PeId(pe)));
                let Some(facts) = host.roll_call.take(PeId(pe), before) else { return false };
                facts
            }
            _ => absent,
        };
        self.pe_asked = None;
        self.pes.push(facts);
        false
    }

    /// One disk after the other; `true` when all are done.
    fn check_disks(&mut self, devices: &HostDevices, buffers: &Buffers, late: bool) -> bool {
        if self.disks.is_empty() {
            let all = devices.disks.iter().cloned();
            self.disks = all.map(|disk| Disk { disk, read: None, write: None }).collect();
        }
        while let Some(disk) = self.disks.get_mut(self.place.0) {
            let writes = self.place.1;
            if self.check.is_none() {
                let Some(span) = buffers.disk.span(0, BUFFER_BYTES) else { return true };
                let window = if writes { disk.ours() } else { disk.whole() };
                self.check = window.map(|window| (DiskCheck::new(span, writes), window));
            }
            let verdict = match &mut self.check {
                Some((check, window)) => match check.poll(window, &HostMemory) {
                    Some(verdict) => Some(verdict),
                    None if late => Some(DiskVerdict::Late),
                    None => return false,
                },
                None if writes => Some(DiskVerdict::NotOurs),
                None => None,
            };
            self.check = None;
            *(if writes { &mut disk.write } else { &mut disk.read }) = verdict;
            let again = self.writes && !writes && verdict.is_some();
            self.place = if again { (self.place.0, true) } else { (self.place.0.saturating_add(1), false) };
        }
        true
    }

    /// Asks for an address, once a second; `true` when there is one, or time is over.
    fn ask_network(
        &mut self,
        host: &'static Host,
        devices: &HostDevices,
        buffers: &mut Buffers,
        now: u64,
    ) -> bool {
        let second = el2::regs::counter_hz();
        match &mut self.network {
            Network::Over(_) => return true,
            Network::NotAsked => {
                let Some(uplink) = &devices.uplink else {
                    self.network = Network::Over(None);
                    return true;
                };
                let mac = uplink.driver.lock().mac();
                let id = u32::try_from(now & 0xffff_ffff).unwrap_or(0);
                let Ok(port) = host.switch.connect(MacAddress(mac), Group::default()) else {
                    self.network = Network::Over(None);
                    return true;
                };
                let probe = Arc::new(Probe { mac, id, offered: Mutex::new(None) });
                host.switch.plug(port, Sink::Probe(probe.clone()));
                let until = now.saturating_add(second.saturating_mul(DHCP_SECONDS));
                self.network = Network::Asked { probe, port, again: now, until };
            }
            Network::Asked { probe, port, again, until } => {
                let offered = *probe.offered.lock();
                if offered.is_some() || now >= *until {
                    host.switch.disconnect(*port);
                    self.network = Network::Over(Some(offered));
                    return true;
                }
                if now >= *again {
                    *again = now.saturating_add(second);
                    buffers.frame.write(0, &dhcp::discover(probe.mac, probe.id));
                    let bytes = u32::try_from(DISCOVER_BYTES).unwrap_or(0);
                    if let Some(span) = buffers.frame.span(0, bytes) {
                        let data = [span];
                        let frame =
                            Frame { data: &data, bytes, offload: Offload::default(), memory: &HostMemory };
                        host.switch.forward(*port, &frame, host.uptime_seconds());
                    }
                }
            }
        }
        false
    }

    /// Prints the page.
    fn finish(&mut self, host: &'static Host, devices: &HostDevices) {
        if let Network::Asked { port, .. } = self.network {
            host.switch.disconnect(port);
            self.network = Network::Over(Some(None));
        }
        let address = if let Network::Over(address) = self.network { address } else { None };
        let uplink = devices.uplink.as_ref().map(|uplink| uplink.driver.lock().facts());
        let cards: Vec<CardFacts<'_>> = self
            .disks
            .iter()
            .filter_map(|disk| {
                Some(CardFacts { read: disk.read, write: disk.write, ..disk.disk.card_facts()? })
            })
            .collect();
        let named = self.disks.iter().filter(|disk| !disk.disk.is_removable());
        let disks: Vec<DiskFacts<'_>> = named
            .map(|disk| DiskFacts {
                name: disk.disk.identity().map_or("does not answer", |identity| &identity.serial),
                sectors: disk.disk.sectors(),
                read: disk.read,
                write: disk.write,
            })
            .collect();
        let services = devices.services.lock();
        let facts = Facts {
            version: env!("CARGO_PKG_VERSION"),
            model: &host.board.model,
            firmware: services.firmware.as_ref().map(|firmware| firmware.facts()),
            cards: &cards,
            disks: &disks,
            network: uplink.map(|uplink| NetworkFacts { uplink, address }),
            entropy: services.entropy.as_ref().map(|entropy| entropy.health()),
            seeded: host.random.is_seeded(),
            memory: self.memory.1.map(|found| MemoryFacts {
                code_bytes: found.code_bytes,
                writable_code_bytes: found.writable_code_bytes,
                stack_bytes: found.stack_bytes,
                mapped_guard_bytes: found.mapped_guard_bytes,
                holds: found.holds(host.pes_up().into()),
            }),
            pes: &self.pes,
            longest_task: devices.longest_task(),
            longest_step: host.home.longest_step(),
        };
        let mut page = String::new();
        // A string takes everything.
        let _ = report(&facts, &mut page);
        drop(services);
        host.console.page(&page);
    }
}

impl Disk {
    /// All of it, to read.
    fn whole(&self) -> Option<Window> {
        self.disk.identity()?;
        Some(Window::new(self.disk.clone(), Owner::Host, (0, self.disk.sectors()), true))
    }

    /// A partition of ours, to write, when nobody uses the disk.
    fn ours(&self) -> Option<Window> {
        let partitions = &self.disk.identity()?.table.partitions;
        let ours = partitions.iter().find(|partition| partition.kind == OURS)?;
        let range = (ours.first.0, ours.sectors);
        (!self.disk.is_used()).then(|| Window::new(self.disk.clone(), Owner::Host, range, false))
    }
}
