//! The console: one port, bytes out to a sink, bytes in from whoever holds the other end.
//!
//! Called by: the transport; the vmkernel (`VirtioMmio::input`) with what a user typed. Calls: `ports::ByteSink`.
//! Source: virtio 1.2, 5.3 "Console Device", without MULTIPORT.
//! Concurrency: a lock for each direction; neither is held while the other is taken. A long output is worked off in
//! parts, so that no call takes long.

#[cfg(test)]
mod tests;

use crate::chain::{Chain, scatter};
use crate::link::Link;
use crate::queue::{Queue, QueueFault};
use crate::transport::{CONFIG_BYTES, Device, Progress, VirtioMmio};
use alloc::boxed::Box;
use heapless::Deque;
use ports::{ByteSink, GuestMemory, InterruptLine};
use specs::virtio::{console, device_id};
use spin::Mutex;

const QUEUE_SIZE: u16 = 64;
/// A page of output is one run; whatever lies scattered beyond this is cut.
const SPANS: usize = 64;
/// Input that waits for the guest: a paste of a few lines.
const INPUT_BYTES: usize = 256;
/// Bytes of output worked off in one call.
const OUTPUT_BUDGET: usize = 16 * 1024;
/// Chains worked off in one call: there may be empty ones.
const CHAIN_BUDGET: u16 = QUEUE_SIZE * 2;

/// A virtio console over a sink for the guest's output.
pub struct Console<S> {
    sink: S,
    transmit: Mutex<Transmit>,
    receive: Mutex<Receive>,
}

struct Transmit {
    queue: Option<Queue>,
    chain: Box<Chain<SPANS>>,
    /// `chain` is not yet answered.
    open: bool,
}

struct Receive {
    queue: Option<Queue>,
    chain: Box<Chain<SPANS>>,
    pending: Deque<u8, INPUT_BYTES>,
}

impl<S: ByteSink> Console<S> {
    /// A console whose output goes to `sink`.
    pub fn new(sink: S) -> Self {
        let transmit = Transmit { queue: None, chain: Box::default(), open: false };
        let receive = Receive { queue: None, chain: Box::default(), pending: Deque::new() };
        Self { sink, transmit: Mutex::new(transmit), receive: Mutex::new(receive) }
    }
}

impl<S: ByteSink, M: GuestMemory, L: InterruptLine> VirtioMmio<Console<S>, M, L> {
    /// Gives the guest input; how many bytes were taken. What a guest has no buffers for waits, up to a small limit.
    pub fn input(&self, bytes: &[u8]) -> usize {
        let receive = &mut *self.device().receive.lock();
        let taken = bytes.iter().take_while(|byte| receive.pending.push_back(**byte).is_ok()).count();
        receive.work(self.link());
        taken
    }
}

impl Transmit {
    fn work<M: GuestMemory, L: InterruptLine>(
        &mut self,
        link: &Link<M, L>,
        sink: &impl ByteSink,
    ) -> Progress {
        let Some(mut queue) = link.take(&mut self.queue) else { return Progress::Done };
        let worked = self.serve(link.memory(), &mut queue, sink);
        link.put_back(&mut self.queue, queue, worked).unwrap_or(Progress::Done)
    }

    fn serve<M: GuestMemory>(
        &mut self,
        memory: &M,
        queue: &mut Queue,
        sink: &impl ByteSink,
    ) -> Result<Progress, QueueFault> {
        let mut budget = OUTPUT_BUDGET;
        for _ in 0..CHAIN_BUDGET {
            if !self.open && !queue.pop(memory, &mut self.chain)? {
                if queue.arm(memory)? {
                    continue;
                }
                return Ok(Progress::Done);
            }
            self.open = true;
            while !self.chain.readable().is_empty() {
                if budget == 0 {
                    return Ok(Progress::More);
                }
                let mut part = [0; 128];
                let len = self.chain.take_some(memory, &mut part);
                sink.put(part.get(..len).unwrap_or_default());
                budget = budget.saturating_sub(part.len());
            }
            queue.push_used(memory, self.chain.head(), 0)?;
            self.open = false;
        }
        Ok(Progress::More)
    }
}

impl Receive {
    fn work<M: GuestMemory, L: InterruptLine>(&mut self, link: &Link<M, L>) {
        let Some(mut queue) = link.take(&mut self.queue) else { return };
        let worked = self.serve(link.memory(), &mut queue);
        link.put_back(&mut self.queue, queue, worked);
    }

    fn serve<M: GuestMemory>(&mut self, memory: &M, queue: &mut Queue) -> Result<(), QueueFault> {
        while !self.pending.is_empty() {
            if !queue.pop(memory, &mut self.chain)? {
                if queue.arm(memory)? {
                    continue;
                }
                break;
            }
            if self.chain.writable().is_empty() {
                return Err(QueueFault::NoAnswerBuffer);
            }
            let (bytes, _) = self.pending.as_slices();
            let written = scatter(memory, self.chain.writable(), bytes);
            for _ in 0..written {
                self.pending.pop_front();
            }
            queue.push_used(memory, self.chain.head(), written)?;
        }
        Ok(())
    }
}

impl<S: ByteSink, M: GuestMemory, L: InterruptLine> Device<M, L> for Console<S> {
    const ID: u32 = device_id::CONSOLE;
    const QUEUES: usize = 2;
    const QUEUE_SIZE_MAX: u16 = QUEUE_SIZE;

    fn features(&self) -> u64 {
        0
    }

    fn config(&self, _into: &mut [u8; CONFIG_BYTES]) {}

    fn attach(&self, index: usize, queue: Queue, _features: u64) {
        if index == usize::from(console::TRANSMIT) {
            self.transmit.lock().queue = Some(queue);
        } else {
            self.receive.lock().queue = Some(queue);
        }
    }

    fn detach(&self, index: usize) {
        if index == usize::from(console::TRANSMIT) {
            let mut transmit = self.transmit.lock();
            transmit.queue = None;
            transmit.open = false;
        } else {
            let mut receive = self.receive.lock();
            receive.queue = None;
            receive.pending.clear();
        }
    }

    fn notify(&self, link: &Link<M, L>, index: usize) -> Progress {
        if index == usize::from(console::TRANSMIT) {
            return self.transmit.lock().work(link, &self.sink);
        }
        self.receive.lock().work(link);
        Progress::Done
    }

    fn poll(&self, link: &Link<M, L>) -> Progress {
        self.receive.lock().work(link);
        self.transmit.lock().work(link, &self.sink)
    }
}
