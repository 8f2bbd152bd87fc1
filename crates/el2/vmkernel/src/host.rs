//! What all PEs share. Made once at boot, handed down by reference: there are no globals in this crate.

use crate::clock::WallClock;
use crate::console::Console;
use crate::home::HomeShared;
use crate::host_devices::HostDevices;
use crate::host_power::Ending;
use crate::inventory::Inventory;
use crate::network::Switch;
use crate::pe::PeShared;
use crate::presence::Presence;
use crate::random::Random;
use crate::self_test::RollCall;
use crate::start::Waiting;
use crate::supervisor::Supervisor;
use crate::vm::Vm;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use drivers::board::{Board, MAX_PES, PaRange};
use drivers::hardware::Registers;
use el2::boot::Machine;
use specs::{PeId, VmId};
use spin::{Mutex, Once};
use stage2::Vmid;

/// The host.
pub struct Host {
    /// The machine.
    pub board: &'static Board,
    /// The boot archive.
    pub archive: Option<PaRange>,
    /// The serial line.
    pub console: Console,
    /// The random generator.
    pub random: Random,
    /// ID registers that guests see.
    pub ids: [u64; 64],
    /// VMs that exist, worlds among them.
    pub vms: Mutex<Vec<Arc<Vm>>>,
    /// VMs that are known, worlds not among them.
    pub inventory: Inventory,
    /// Who looks after hostd.
    pub supervisor: Supervisor,
    /// hostd's image.
    pub world_image: &'static [u8],
    pes: Box<[PeShared]>,
    no_pe: PeShared,
    up: AtomicU16,
    entered: AtomicU16,
    next_vm: AtomicU32,
    vmids: Mutex<[u64; 4]>,
    /// The switch.
    pub switch: Switch,
    /// Its own devices, once they are found.
    pub devices: Once<HostDevices>,
    /// The datastore, as every PE sees it.
    pub home: HomeShared,
    /// VMs that wait for their disks.
    pub waiting: Mutex<Waiting>,
    /// PEs say what time it is when they are asked.
    pub roll_call: RollCall,
    started_at: u64,
    /// The wall clock.
    pub clock: WallClock,
    /// It is about to restart, or to turn itself off.
    pub ending: Mutex<Option<Ending>>,
    /// Somebody showed that he is at the machine.
    pub presence: Presence,
}

impl Host {
    /// Takes the machine over.
    pub fn new(machine: Machine, seed: &[u8]) -> Self {
        let board = machine.board;
        let console = Console::new(board.uart, machine.entered_at);
        crate::log!(console, "bramble {} on {}", env!("CARGO_PKG_VERSION"), board.model);
        if let Err(what) = el2::gic::start(board.gic) {
            crate::log!(console, "no GIC: {what}; guests can't run");
            el2::screen::halt();
        }
        let random = Random::new();
        random.absorb(seed, seed.len());
        for _ in 0..4 {
            if let Some(word) = el2::features::random() {
                random.absorb(&word.to_le_bytes(), 8);
            }
        }
        random.absorb(&el2::regs::counter().to_le_bytes(), 0);
        let ids = crate::identification::filter(&el2::features::identification(), el2::gic::is_v3());
        Self {
            board,
            archive: machine.archive,
            console,
            random,
            ids,
            vms: Mutex::new(Vec::new()),
            inventory: Inventory::default(),
            supervisor: Supervisor::new(),
            world_image: machine.world,
            pes: (0..MAX_PES).map(|_| PeShared::default()).collect(),
            no_pe: PeShared::default(),
            up: AtomicU16::new(0),
            entered: AtomicU16::new(0),
            next_vm: AtomicU32::new(1),
            // VMID 0 is the host's own, before the first guest.
            vmids: Mutex::new([1, 0, 0, 0]),
            switch: Switch::new(),
            devices: Once::new(),
            home: HomeShared::new(),
            waiting: Mutex::new(Waiting::default()),
            roll_call: RollCall::default(),
            started_at: machine.entered_at,
            clock: WallClock::new(board_clock(board)),
            ending: Mutex::new(None),
            presence: Presence::default(),
        }
    }

    /// What others may touch of a PE.
    #[inline]
    pub fn pe(&self, pe: PeId) -> &PeShared {
        // Ids are given by `el2`, below MAX_PES: the other never comes.
        self.pes.get(usize::from(pe.0)).unwrap_or(&self.no_pe)
    }

    /// Nanoseconds from when the image was entered until a count of the physical counter.
    pub fn nanoseconds_of(&self, counter: u64) -> u64 {
        nanoseconds(counter.saturating_sub(self.started_at))
    }

    /// All PEs' sleep so far, in nanoseconds.
    pub fn idle_nanoseconds(&self) -> u64 {
        let now = el2::regs::counter();
        self.pes.iter().take(self.pes_up().into()).map(|pe| nanoseconds(pe.slept(now))).sum()
    }

    /// Nanoseconds since the image was entered.
    pub fn nanoseconds(&self) -> u64 {
        self.nanoseconds_of(el2::regs::counter())
    }

    /// Whether no guest runs; worlds do not count.
    pub fn is_without_guests(&self) -> bool {
        !self.vms.lock().iter().any(|vm| vm.world.is_none())
    }

    /// Whole seconds since the image was entered.
    pub fn uptime_seconds(&self) -> u32 {
        let ticks = el2::regs::counter().saturating_sub(self.started_at);
        u32::try_from(ticks / el2::regs::counter_hz()).unwrap_or(u32::MAX)
    }

    /// The physical counter when the present second of the wall clock began.
    pub fn second_started_at(&self) -> u64 {
        let now = el2::regs::counter();
        let gone = self.clock.at(self.nanoseconds_of(now)) % 1_000_000_000;
        let ticks = u128::from(gone) * u128::from(el2::regs::counter_hz()) / 1_000_000_000;
        now.saturating_sub(u64::try_from(ticks).unwrap_or(0))
    }

    /// Seconds since 1970, as far as the host knows.
    pub fn unix_seconds(&self) -> u64 {
        self.clock.at(self.nanoseconds()) / 1_000_000_000
    }

    /// One more PE runs.
    pub fn count_pe(&self) {
        self.up.fetch_add(1, Ordering::Relaxed);
    }

    /// One more PE enters a guest for the first time.
    pub fn count_entry(&self) {
        if self.entered.fetch_add(1, Ordering::Relaxed).saturating_add(1) == self.pes_up() {
            crate::log!(self.console, "every PE has entered a guest: {}", self.pes_up());
        }
    }

    /// PEs that run.
    pub fn pes_up(&self) -> u16 {
        self.up.load(Ordering::Relaxed)
    }

    /// An id for a new VM.
    pub fn next_vm_id(&self) -> VmId {
        VmId(self.next_vm.fetch_add(1, Ordering::Relaxed))
    }

    /// Whether there ever was a VM.
    pub fn had_vms(&self) -> bool {
        self.inventory.count() != 0
    }

    /// A name in the TLBs for a new VM: 255 at a time.
    pub fn take_vmid(&self) -> Option<Vmid> {
        let mut words = self.vmids.lock();
        let (index, word) = words.iter_mut().enumerate().find(|(_, word)| **word != u64::MAX)?;
        let bit = word.trailing_ones();
        *word |= 1 << bit;
        u16::try_from(index * 64).ok()?.checked_add(u16::try_from(bit).ok()?).map(Vmid)
    }

    /// Gives a name in the TLBs back; its entries are gone.
    pub fn release_vmid(&self, vmid: Vmid) {
        if let Some(word) = self.vmids.lock().get_mut(usize::from(vmid.0 / 64)) {
            *word &= !(1 << (vmid.0 % 64));
        }
    }
}

/// Ticks of the counter as nanoseconds; none of the steps overflows for counters of up to 10 GHz.
pub fn nanoseconds(ticks: u64) -> u64 {
    let hertz = el2::regs::counter_hz().max(1);
    let rest = (ticks % hertz).saturating_mul(1_000_000_000) / hertz;
    (ticks / hertz).saturating_mul(1_000_000_000).saturating_add(rest)
}

/// The board's own clock, a PL031.
fn board_clock(board: &Board) -> Option<u64> {
    let node = board.devices.iter().find(|node| node.compatible == "arm,pl031")?;
    let registers = el2::DeviceRegisters::map(node.registers)?;
    Some(u64::from(registers.read32(0)))
}
