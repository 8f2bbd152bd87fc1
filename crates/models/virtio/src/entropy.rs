//! The entropy source. While the host's generator has no seed a request waits; it never gets zeros.
//!
//! Called by: the transport; the vmkernel (`VirtioMmio::poll`) once the generator is seeded. Calls: `ports::Entropy`.
//! Source: virtio 1.2, 5.4 "Entropy Device".
//! Concurrency: one lock. Lock order: entropy half → generator → interrupt line.

#[cfg(test)]
mod tests;

use crate::chain::{Chain, scatter};
use crate::link::Link;
use crate::queue::{Queue, QueueFault};
use crate::transport::{CONFIG_BYTES, Device, Progress};
use alloc::boxed::Box;
use ports::{Entropy, GuestMemory, InterruptLine};
use specs::virtio::device_id;
use spin::Mutex;

const QUEUE_SIZE: u16 = 16;
const SPANS: usize = 16;
/// A request is answered with at most this many bytes, as the standard allows; Linux asks for 64 at most.
const BYTES_MAX: usize = 256;
/// Requests answered in one call.
const BUDGET: u16 = QUEUE_SIZE * 2;

/// A virtio entropy source over the host's generator.
pub struct EntropySource<E> {
    generator: E,
    requests: Mutex<Requests>,
}

struct Requests {
    queue: Option<Queue>,
    chain: Box<Chain<SPANS>>,
}

impl<E: Entropy> EntropySource<E> {
    /// A source over this generator.
    pub fn new(generator: E) -> Self {
        Self { generator, requests: Mutex::new(Requests { queue: None, chain: Box::default() }) }
    }
}

impl Requests {
    fn work<M: GuestMemory, L: InterruptLine>(
        &mut self,
        link: &Link<M, L>,
        generator: &impl Entropy,
    ) -> Progress {
        let Some(mut queue) = link.take(&mut self.queue) else { return Progress::Done };
        let worked = self.serve(link.memory(), &mut queue, generator);
        link.put_back(&mut self.queue, queue, worked).unwrap_or(Progress::Done)
    }

    fn serve<M: GuestMemory>(
        &mut self,
        memory: &M,
        queue: &mut Queue,
        generator: &impl Entropy,
    ) -> Result<Progress, QueueFault> {
        for _ in 0..BUDGET {
            if !queue.pop(memory, &mut self.chain)? {
                if queue.arm(memory)? {
                    continue;
                }
                return Ok(Progress::Done);
            }
            let wanted = self.chain.writable_bytes() as usize;
            let mut bytes = [0; BYTES_MAX];
            let asked = bytes.get_mut(..wanted.min(BYTES_MAX)).unwrap_or_default();
            if asked.is_empty() {
                return Err(QueueFault::NoAnswerBuffer);
            }
            if generator.fill(asked).is_err() {
                // It waits in the queue, for `poll`.
                queue.unpop(1);
                return Ok(Progress::Done);
            }
            let written = scatter(memory, self.chain.writable(), asked);
            queue.push_used(memory, self.chain.head(), written)?;
        }
        Ok(Progress::More)
    }
}

impl<E: Entropy, M: GuestMemory, L: InterruptLine> Device<M, L> for EntropySource<E> {
    const ID: u32 = device_id::ENTROPY;
    const QUEUES: usize = 1;
    const QUEUE_SIZE_MAX: u16 = QUEUE_SIZE;

    fn features(&self) -> u64 {
        0
    }

    fn config(&self, _into: &mut [u8; CONFIG_BYTES]) {}

    fn attach(&self, _index: usize, queue: Queue, _features: u64) {
        self.requests.lock().queue = Some(queue);
    }

    fn detach(&self, _index: usize) {
        self.requests.lock().queue = None;
    }

    fn notify(&self, link: &Link<M, L>, _index: usize) -> Progress {
        self.requests.lock().work(link, &self.generator)
    }

    fn poll(&self, link: &Link<M, L>) -> Progress {
        self.requests.lock().work(link, &self.generator)
    }
}
