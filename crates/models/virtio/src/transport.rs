//! The memory-mapped transport, version 2: what one virtio-mmio slot of the guest machine answers.
//!
//! Called by: the vmkernel's bus, with (offset, width, value) of a trapped access, from any PE, by `&self`.
//! Calls: a [`Device`].
//! Source: virtio 1.2, 4.2 "Virtio Over MMIO"; 3.1 "Device Initialization"; 2.1 "Device Status Field".
//! Concurrency, lock order: registers → a device's halves → interrupt line. QueueNotify, InterruptStatus, InterruptACK
//! and the constant registers take no lock of the transport's.
//! A reset holds the registers until every half has forgotten its queue, so no half of before it can touch a queue,
//! an interrupt or the status of after it.

#[cfg(test)]
mod tests;

use crate::link::Link;
use crate::queue::{Placement, Queue};
use ports::{GuestMemory, InterruptLine, Width};
use specs::Ipa;
use specs::virtio::{feature, mmio, status};
use spin::Mutex;

/// Whether a call did all there was to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "a device with work left must be polled again"]
pub enum Progress {
    /// Yes.
    Done,
    /// No: the guest keeps the queue full faster than one call may work. Call `poll` later.
    More,
}

/// Bytes of the largest configuration space.
pub const CONFIG_BYTES: usize = 64;

/// The most queues that a device here has.
pub const QUEUES_MAX: usize = 2;

/// A virtio device behind a transport. It guards its own halves, each with its queue, by a lock each; a half works only
/// after it has seen `Link::is_running` under its lock (a PE may arrive late, after a reset and a new negotiation).
pub trait Device<M: GuestMemory, L: InterruptLine> {
    /// Device id.
    const ID: u32;
    /// Number of queues, at most [`QUEUES_MAX`].
    const QUEUES: usize;
    /// The most descriptors of a queue, a power of two.
    const QUEUE_SIZE_MAX: u16;

    /// The features of its own; the transport adds VERSION_1, INDIRECT_DESC and EVENT_IDX.
    fn features(&self) -> u64;
    /// Fills in the configuration space.
    fn config(&self, into: &mut [u8; CONFIG_BYTES]);
    /// Takes a queue into use, `features` being those agreed. It is not worked before `start`.
    fn attach(&self, index: usize, queue: Queue, features: u64);
    /// Forgets a queue and what is in flight of it.
    fn detach(&self, index: usize);
    /// The driver is ready: look at all queues.
    fn start(&self, link: &Link<M, L>) -> Progress {
        self.poll(link)
    }
    /// The driver has put something into a queue.
    fn notify(&self, link: &Link<M, L>, index: usize) -> Progress;
    /// Goes on with whatever can: completions, waiting requests, queues not drained.
    fn poll(&self, link: &Link<M, L>) -> Progress;
}

/// One virtio-mmio slot: transport and device.
pub struct VirtioMmio<D, M, L> {
    device: D,
    link: Link<M, L>,
    registers: Mutex<Registers>,
}

#[derive(Default)]
struct Registers {
    status: u32,
    device_features_sel: u32,
    driver_features_sel: u32,
    driver_features: u64,
    queue_sel: u32,
    queues: [QueueRegisters; QUEUES_MAX],
    config_generation: u32,
}

#[derive(Clone, Copy, Default)]
struct QueueRegisters {
    placement: Placement,
    ready: bool,
}

/// "BRMB".
const VENDOR: u32 = 0x424d_5242;
const TRANSPORT_FEATURES: u64 = feature::VERSION_1 | feature::INDIRECT_DESC | feature::EVENT_IDX;
const DRIVER_STATUS: u32 =
    status::ACKNOWLEDGE | status::DRIVER | status::DRIVER_OK | status::FEATURES_OK | status::FAILED;

impl<D: Device<M, L>, M: GuestMemory, L: InterruptLine> VirtioMmio<D, M, L> {
    /// A device that was just reset.
    pub fn new(device: D, memory: M, line: L) -> Self {
        Self { device, link: Link::new(memory, line), registers: Mutex::default() }
    }

    /// The device.
    pub const fn device(&self) -> &D {
        &self.device
    }

    /// The way to the guest.
    pub const fn link(&self) -> &Link<M, L> {
        &self.link
    }

    /// Goes on with whatever can, e.g. after a backend's completion or a [`Progress::More`].
    pub fn poll(&self) -> Progress {
        self.device.poll(&self.link)
    }

    /// The configuration space changed: tells the driver.
    pub fn announce_config_change(&self) {
        let mut registers = self.registers.lock();
        registers.config_generation = registers.config_generation.wrapping_add(1);
        if registers.status & status::DRIVER_OK != 0 {
            self.link.interrupt(mmio::INTERRUPT_CONFIG);
        }
    }

    /// A guest's load.
    pub fn read(&self, offset: u64, width: Width) -> u64 {
        if let Some(offset) = offset.checked_sub(mmio::CONFIG) {
            return self.read_config(offset, width);
        }
        if width != Width::W32 {
            return 0;
        }
        let value = match offset {
            mmio::INTERRUPT_STATUS => self.link.interrupt_status(),
            mmio::MAGIC_VALUE => mmio::MAGIC,
            mmio::VERSION => mmio::VERSION_2,
            mmio::DEVICE_ID => D::ID,
            mmio::VENDOR_ID => VENDOR,
            // No shared memory region exists.
            mmio::SHM_LEN_LOW..=mmio::SHM_BASE_HIGH => u32::MAX,
            _ => self.read_register(offset),
        };
        value.into()
    }

    /// A guest's store.
    pub fn write(&self, offset: u64, width: Width, value: u64) -> Progress {
        let Ok(value) = u32::try_from(width.truncate(value)) else { return Progress::Done };
        if width != Width::W32 {
            return Progress::Done;
        }
        match offset {
            mmio::QUEUE_NOTIFY => {
                let index = usize::try_from(value).unwrap_or(usize::MAX);
                if index < D::QUEUES && self.link.is_running() {
                    return self.device.notify(&self.link, index);
                }
            }
            mmio::INTERRUPT_ACK => self.link.acknowledge(value),
            mmio::STATUS => return self.write_status(value),
            _ => self.write_register(offset, value),
        }
        Progress::Done
    }

    /// The device as after power-on; requests in flight are forgotten.
    pub fn reset(&self) {
        self.reset_under(&mut self.registers.lock());
    }

    fn reset_under(&self, registers: &mut Registers) {
        self.link.stop();
        for index in 0..D::QUEUES {
            self.device.detach(index);
        }
        self.link.clear();
        let config_generation = registers.config_generation;
        *registers = Registers { config_generation, ..Registers::default() };
    }

    fn features(&self) -> u64 {
        self.device.features() | TRANSPORT_FEATURES
    }

    fn read_config(&self, offset: u64, width: Width) -> u64 {
        let mut space = [0; CONFIG_BYTES];
        self.device.config(&mut space);
        let mut raw = [0; 8];
        let start = usize::try_from(offset).unwrap_or(CONFIG_BYTES);
        for (place, byte) in raw.iter_mut().take(width as usize).enumerate() {
            *byte = start.checked_add(place).and_then(|at| space.get(at)).copied().unwrap_or(0);
        }
        u64::from_le_bytes(raw)
    }

    fn read_register(&self, offset: u64) -> u32 {
        let registers = self.registers.lock();
        match offset {
            mmio::STATUS => {
                let broken = if self.link.is_broken() { status::DEVICE_NEEDS_RESET } else { 0 };
                registers.status | broken
            }
            mmio::DEVICE_FEATURES => half(self.features(), registers.device_features_sel),
            mmio::QUEUE_NUM_MAX if registers.selected::<M, L, D>().is_some() => D::QUEUE_SIZE_MAX.into(),
            mmio::QUEUE_READY => registers.selected::<M, L, D>().is_some_and(|queue| queue.ready).into(),
            mmio::CONFIG_GENERATION => registers.config_generation,
            _ => 0,
        }
    }

    fn write_status(&self, value: u32) -> Progress {
        let mut registers = self.registers.lock();
        if value == 0 {
            self.reset_under(&mut registers);
            return Progress::Done;
        }
        let before = registers.status;
        let mut after = before | (value & DRIVER_STATUS);
        let features = registers.driver_features;
        if after & status::FEATURES_OK != 0
            && (features & !self.features() != 0 || features & feature::VERSION_1 == 0)
        {
            after &= !status::FEATURES_OK;
        }
        if after & status::FEATURES_OK == 0 {
            after &= !status::DRIVER_OK;
        }
        registers.status = after;
        if after & !before & status::DRIVER_OK == 0 {
            return Progress::Done;
        }
        self.link.start();
        drop(registers);
        // What the driver put into its queues before this is served without another notification.
        self.poll()
    }

    fn write_register(&self, offset: u64, value: u32) {
        let mut registers = self.registers.lock();
        match offset {
            mmio::DEVICE_FEATURES_SEL => registers.device_features_sel = value,
            mmio::DRIVER_FEATURES_SEL => registers.driver_features_sel = value,
            mmio::DRIVER_FEATURES if registers.status & status::FEATURES_OK == 0 => {
                let select = registers.driver_features_sel;
                set_half(&mut registers.driver_features, select, value);
            }
            mmio::QUEUE_SEL => registers.queue_sel = value,
            mmio::QUEUE_READY => self.write_ready(&mut registers, value),
            _ => registers.place::<M, L, D>(offset, value),
        }
    }

    fn write_ready(&self, registers: &mut Registers, value: u32) {
        let (agreed, features) = (registers.status & status::FEATURES_OK != 0, registers.driver_features);
        let index = usize::try_from(registers.queue_sel).unwrap_or(usize::MAX);
        let Some(queue) = registers.selected_mut::<M, L, D>() else { return };
        if value & 1 == 0 {
            queue.ready = false;
            self.device.detach(index);
        } else if agreed && !queue.ready {
            match Queue::new(queue.placement, D::QUEUE_SIZE_MAX, features) {
                Ok(taken) => {
                    queue.ready = true;
                    self.device.attach(index, taken, features);
                }
                Err(fault) => self.link.fault(fault),
            }
        }
    }
}

impl Registers {
    fn selected<M: GuestMemory, L: InterruptLine, D: Device<M, L>>(&self) -> Option<&QueueRegisters> {
        let index = usize::try_from(self.queue_sel).ok().filter(|index| *index < D::QUEUES)?;
        self.queues.get(index)
    }

    fn selected_mut<M: GuestMemory, L: InterruptLine, D: Device<M, L>>(
        &mut self,
    ) -> Option<&mut QueueRegisters> {
        let index = usize::try_from(self.queue_sel).ok().filter(|index| *index < D::QUEUES)?;
        self.queues.get_mut(index)
    }

    /// QueueNum and the six address registers; fixed while the queue is live.
    fn place<M: GuestMemory, L: InterruptLine, D: Device<M, L>>(&mut self, offset: u64, value: u32) {
        let Some(queue) = self.selected_mut::<M, L, D>().filter(|queue| !queue.ready) else { return };
        let placement = &mut queue.placement;
        match offset {
            mmio::QUEUE_NUM => placement.size = u16::try_from(value).unwrap_or(0),
            mmio::QUEUE_DESC_LOW => set_address(&mut placement.descriptors, 0, value),
            mmio::QUEUE_DESC_HIGH => set_address(&mut placement.descriptors, 1, value),
            mmio::QUEUE_DRIVER_LOW => set_address(&mut placement.available, 0, value),
            mmio::QUEUE_DRIVER_HIGH => set_address(&mut placement.available, 1, value),
            mmio::QUEUE_DEVICE_LOW => set_address(&mut placement.used, 0, value),
            mmio::QUEUE_DEVICE_HIGH => set_address(&mut placement.used, 1, value),
            _ => {}
        }
    }
}

/// Half 0 or 1 of a 64-bit value; 0 for any other.
fn half(value: u64, select: u32) -> u32 {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    match select {
        0 => u32::from_le_bytes([a, b, c, d]),
        1 => u32::from_le_bytes([e, f, g, h]),
        _ => 0,
    }
}

fn set_half(value: &mut u64, select: u32, to: u32) {
    match select {
        0 => *value = *value & !0xffff_ffff | u64::from(to),
        1 => *value = *value & 0xffff_ffff | u64::from(to) << 32,
        _ => {}
    }
}

fn set_address(address: &mut Ipa, select: u32, to: u32) {
    set_half(&mut address.0, select, to);
}
