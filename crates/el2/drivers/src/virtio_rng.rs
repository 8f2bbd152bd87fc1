//! A host's virtio entropy device: a seed for the host's random generator (design §9).
//!
//! Called by the vmkernel when the host starts, and now and then to reseed: [`VirtioRng::request`], then
//! [`VirtioRng::take`] on the interrupt or by asking again. Calls the transport and the driver's side of a queue.
//! Source: virtio 1.2, 5.4 "Entropy Device".
//! Invariant: only bytes that the device says to have written are given, each once.
//! Concurrency: one owner.

use crate::hardware::{Dma, DmaBuffer, Registers};
use crate::virtio_mmio::{HostQueue, Transport, VirtioError};
use specs::virtio::{device_id, entropy};
use virtio::driver_queue::{Access, Segment};

/// Bytes asked for at a time: a seed and half as much again.
pub const REQUEST_BYTES: usize = 48;

/// A virtio entropy device of the host.
pub struct VirtioRng<R, D: Dma> {
    transport: Transport<R>,
    queue: HostQueue<D::Buffer>,
    shared: D::Buffer,
    asked: bool,
    broken: bool,
}

impl<R: Registers, D: Dma> VirtioRng<R, D> {
    /// Brings the device up.
    pub fn new(registers: R, dma: &D) -> Result<Self, VirtioError> {
        let transport = Transport::open(registers)?;
        if transport.device_id() != device_id::ENTROPY {
            return Err(VirtioError::WrongDevice);
        }
        let features = transport.negotiate(0)?;
        let queue = transport.attach(entropy::REQUEST, features, |bytes| dma.allocate(bytes))?;
        let shared = dma.allocate(REQUEST_BYTES).ok_or(VirtioError::NoMemory)?;
        transport.start();
        Ok(Self { transport, queue, shared, asked: false, broken: false })
    }

    /// Asks for [`REQUEST_BYTES`] bytes, unless an answer is still out.
    pub fn request(&mut self) {
        if self.asked || self.broken {
            return;
        }
        // What was given before must not come again from a device that writes nothing.
        self.shared.write(0, &[0; REQUEST_BYTES]);
        self.shared.to_device(0, REQUEST_BYTES);
        let bytes = u32::try_from(REQUEST_BYTES).unwrap_or(0);
        let segment = Segment { address: self.shared.address().0, bytes, access: Access::Write };
        self.asked = self.queue.submit(&[segment]).is_ok();
        if self.queue.publish() {
            self.transport.notify(entropy::REQUEST);
        }
    }

    /// Takes an answer: how many random bytes are at the start of `into` now.
    pub fn take(&mut self, into: &mut [u8; REQUEST_BYTES]) -> Option<usize> {
        if self.broken {
            return None;
        }
        if self.transport.acknowledge().broken {
            self.give_up();
            return None;
        }
        match self.queue.pop_used() {
            Ok(Some(used)) => {
                self.asked = false;
                self.shared.from_device(0, REQUEST_BYTES);
                self.shared.read(0, into);
                // The queue has cut it to what the device could write.
                Some(usize::try_from(used.written).unwrap_or(0).min(REQUEST_BYTES))
            }
            Ok(None) => {
                // A level-triggered interrupt stays quiet until the next answer.
                let _ = self.queue.arm();
                None
            }
            Err(_) => {
                self.give_up();
                None
            }
        }
    }

    fn give_up(&mut self) {
        self.transport.reset();
        self.broken = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::memory::{FakeDma, TwoViews};
    use crate::model::virtio::{Line, SlotRegisters};
    use core::cell::Cell;
    use ports::fake::FakeEntropy;
    use virtio::EntropySource;

    #[test]
    fn random_bytes_arrive_once() {
        let memory = TwoViews::new(0x1_0000, 0x1_0000);
        let source = EntropySource::new(FakeEntropy(Cell::new(Some(1))));
        let device = SlotRegisters::new(source, &memory, &Line::default());
        let mut driver = VirtioRng::new(device.clone(), &FakeDma(memory.clone())).unwrap();
        let mut seed = [0; REQUEST_BYTES];
        assert_eq!(driver.take(&mut seed), None, "nothing was asked");
        for first in [1, 49] {
            driver.request();
            driver.request();
            device.run();
            assert_eq!(driver.take(&mut seed), Some(REQUEST_BYTES));
            assert_eq!((seed[0], seed[47]), (first, first + 47));
            assert_eq!(driver.take(&mut seed), None);
        }
        assert_eq!((memory.stray.get(), memory.lost.get()), (0, 0));
    }

    #[test]
    fn an_unseeded_device_gives_nothing() {
        let memory = TwoViews::new(0x1_0000, 0x1_0000);
        let source = EntropySource::new(FakeEntropy(Cell::new(None)));
        let device = SlotRegisters::new(source, &memory, &Line::default());
        let mut driver = VirtioRng::new(device.clone(), &FakeDma(memory)).unwrap();
        driver.request();
        device.run();
        assert!(driver.take(&mut [0; REQUEST_BYTES]).is_none_or(|bytes| bytes == 0));
    }
}
