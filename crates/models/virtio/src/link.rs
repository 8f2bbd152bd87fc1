//! A device's way to its guest: memory, interrupt, and what both transport and device halves must know without a lock.
//!
//! Called by: every device half and the transport. Calls: `InterruptLine`.
//! Source: virtio 1.2, 2.1 "Device Status Field", 2.1.2 DEVICE_NEEDS_RESET, 4.2.2 InterruptStatus and InterruptACK.
//! Concurrency: all by `&self`; the line is the last lock of any path.

use crate::queue::{Queue, QueueFault};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use ports::{GuestMemory, InterruptLine};
use specs::virtio::mmio::{INTERRUPT_CONFIG, INTERRUPT_USED};
use spin::Mutex;

const RUNNING: u32 = 1;
const BROKEN: u32 = 2;

/// Memory and interrupt of a device's guest.
pub struct Link<M, L> {
    memory: M,
    line: L,
    state: AtomicU32,
    interrupt_status: AtomicU32,
    faults: AtomicU64,
    last_fault: Mutex<Option<QueueFault>>,
}

impl<M: GuestMemory, L: InterruptLine> Link<M, L> {
    pub(crate) const fn new(memory: M, line: L) -> Self {
        Self {
            memory,
            line,
            state: AtomicU32::new(0),
            interrupt_status: AtomicU32::new(0),
            faults: AtomicU64::new(0),
            last_fault: Mutex::new(None),
        }
    }

    /// The guest's RAM.
    #[inline]
    pub const fn memory(&self) -> &M {
        &self.memory
    }

    /// Whether queues may be worked: the driver has set DRIVER_OK and no fault has happened since.
    #[inline]
    pub fn is_running(&self) -> bool {
        self.state.load(Ordering::Acquire) == RUNNING
    }

    /// Whether DEVICE_NEEDS_RESET is set.
    #[inline]
    pub fn is_broken(&self) -> bool {
        self.state.load(Ordering::Acquire) & BROKEN != 0
    }

    /// Guest faults so far.
    pub fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    /// The last one, for the VM's event log.
    pub fn last_fault(&self) -> Option<QueueFault> {
        *self.last_fault.lock()
    }

    /// The guest broke the rules of a queue: the device stops until it is reset, and says so (rule `blame`).
    #[cold]
    pub(crate) fn fault(&self, why: QueueFault) {
        self.faults.fetch_add(1, Ordering::Relaxed);
        *self.last_fault.lock() = Some(why);
        let before = self.state.fetch_or(BROKEN, Ordering::AcqRel);
        if before & RUNNING != 0 {
            self.interrupt(INTERRUPT_CONFIG);
        }
    }

    /// Takes the queue of a half to work it, under the half's lock; `None` where the device does not run.
    #[inline]
    pub(crate) fn take(&self, queue: &mut Option<Queue>) -> Option<Queue> {
        if self.is_running() { queue.take() } else { None }
    }

    /// Puts it back after work: shows the guest what was pushed and interrupts it if it wants, or ends the device with
    /// the guest's fault (`None`).
    pub(crate) fn put_back<T>(
        &self,
        into: &mut Option<Queue>,
        mut queue: Queue,
        worked: Result<T, QueueFault>,
    ) -> Option<T> {
        match worked.and_then(|result| Ok((result, queue.publish(&self.memory)?))) {
            Ok((result, interrupt)) => {
                *into = Some(queue);
                if interrupt {
                    self.interrupt(INTERRUPT_USED);
                }
                Some(result)
            }
            Err(fault) => {
                self.fault(fault);
                None
            }
        }
    }

    pub(crate) fn start(&self) {
        self.state.fetch_or(RUNNING, Ordering::AcqRel);
    }

    /// No half starts new work from here on.
    pub(crate) fn stop(&self) {
        self.state.fetch_and(!RUNNING, Ordering::AcqRel);
    }

    /// Forgets faults and interrupts; the halves have been reset.
    pub(crate) fn clear(&self) {
        self.state.store(0, Ordering::Release);
        self.interrupt_status.store(0, Ordering::SeqCst);
        self.settle();
    }

    #[inline]
    pub(crate) fn interrupt_status(&self) -> u32 {
        self.interrupt_status.load(Ordering::Acquire)
    }

    pub(crate) fn interrupt(&self, bits: u32) {
        if self.interrupt_status.fetch_or(bits, Ordering::SeqCst) == 0 {
            self.settle();
        }
    }

    pub(crate) fn acknowledge(&self, bits: u32) {
        let before = self.interrupt_status.fetch_and(!bits, Ordering::SeqCst);
        let left = before & !bits;
        if before != 0 && left == 0 {
            self.settle();
        } else if left != 0 && left != before {
            // A guest that configured the line as edge-triggered (as the device tree of this board says) would never
            // hear of a bit that was set after it read the status: give it another edge.
            self.line.lower();
            self.settle();
        }
    }

    /// Drives the line as the status says. Two PEs may be here at once; each looks again after it drove, so whichever
    /// drove last has driven what the status says.
    fn settle(&self) {
        loop {
            let high = self.interrupt_status.load(Ordering::SeqCst) != 0;
            if high {
                self.line.raise();
            } else {
                self.line.lower();
            }
            if high == (self.interrupt_status.load(Ordering::SeqCst) != 0) {
                break;
            }
        }
    }
}
