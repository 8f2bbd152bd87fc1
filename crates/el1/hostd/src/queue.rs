//! The driver of the call queue: requests, each with its token, and their answers. Virtio 1.2, 2.7 and 4.2.
//!
//! Everything lies in spare RAM, in windows: rings, then a place of 64 bytes for each request and its answer.
//! Concurrency: one owner.

use crate::interrupts;
use abi::request::{COMPATIBLE, DEVICE_ID, QUEUE_SIZE};
use abi::{Answer, Request, RequestKind, Status, VmHandle, WorldGeneration};
use el1::Boot;
use el1::registers::dsb;
use el1::window::Window;
use virtio::driver_queue::{Access, DriverQueue, Head, QueueMemory, Segment};

/// Descriptors: as many as the queue has.
const SIZE: usize = QUEUE_SIZE as usize;
/// Its place in spare RAM, behind the calls' buffer.
const PLACE: usize = 0x1_0000;
const BYTES: usize = 0x1_0000;
/// Where requests and answers are.
const LETTERS: usize = 0x8000;
const LETTER_BYTES: usize = 64;
const ANSWER: usize = 32;

/// Registers of the transport.
mod register {
    pub const DEVICE_ID: usize = 0x008;
    pub const DRIVER_FEATURES: usize = 0x020;
    pub const DRIVER_FEATURES_SEL: usize = 0x024;
    pub const QUEUE_SEL: usize = 0x030;
    pub const QUEUE_NUM: usize = 0x038;
    pub const QUEUE_READY: usize = 0x044;
    pub const QUEUE_NOTIFY: usize = 0x050;
    pub const INTERRUPT_STATUS: usize = 0x060;
    pub const INTERRUPT_ACK: usize = 0x064;
    pub const STATUS: usize = 0x070;
    pub const QUEUE_DESC: usize = 0x080;
    pub const QUEUE_DRIVER: usize = 0x090;
    pub const QUEUE_DEVICE: usize = 0x0a0;
}
/// ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK.
const STEPS: [u32; 4] = [1, 3, 11, 15];

struct Rings(Window);

impl QueueMemory for Rings {
    fn address(&self) -> u64 {
        self.0.base() as u64
    }
    fn write(&mut self, offset: usize, from: &[u8]) {
        match *from {
            [low, high] => self.0.write16(offset, u16::from_le_bytes([low, high])),
            _ => from.iter().zip(offset..).for_each(|(byte, at)| self.0.write8(at, *byte)),
        }
    }
    fn read(&self, offset: usize, into: &mut [u8]) {
        match into {
            [low, high] => [*low, *high] = self.0.read16(offset).to_le_bytes(),
            _ => into.iter_mut().zip(offset..).for_each(|(byte, at)| *byte = self.0.read8(at)),
        }
    }
    // The vmkernel sees the same memory through the same caches: order is all that is needed.
    fn to_device(&self, _: usize, _: usize) {
        dsb();
    }
    fn from_device(&self, _: usize, _: usize) {
        dsb();
    }
}

/// A request in flight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token(Head);

/// The call queue.
pub struct Queue {
    registers: Window,
    queue: DriverQueue<Rings, SIZE>,
    letters: Window,
    generation: WorldGeneration,
}

impl Queue {
    /// Brings it up; `None` where there is none.
    pub fn new(boot: &'static Boot, generation: WorldGeneration) -> Option<Self> {
        let device = boot.devices(COMPATIBLE).next()?;
        let registers = device.registers;
        if registers.read32(register::DEVICE_ID) != DEVICE_ID {
            return None;
        }
        let memory = boot.spare.part(PLACE, BYTES);
        (0..BYTES).step_by(8).for_each(|at| memory.write64(at, 0));
        let queue = DriverQueue::new(Rings(memory.part(0, LETTERS)), QUEUE_SIZE, false)?;
        registers.write32(register::STATUS, 0);
        let [acknowledge, driver, features, ok] = STEPS;
        registers.write32(register::STATUS, acknowledge);
        registers.write32(register::STATUS, driver);
        // VERSION_1 and nothing else.
        for (select, half) in [(0, 0), (1, 1)] {
            registers.write32(register::DRIVER_FEATURES_SEL, select);
            registers.write32(register::DRIVER_FEATURES, half);
        }
        registers.write32(register::STATUS, features);
        registers.write32(register::QUEUE_SEL, 0);
        registers.write32(register::QUEUE_NUM, QUEUE_SIZE.into());
        for (register, address) in [
            (register::QUEUE_DESC, queue.descriptor_address()),
            (register::QUEUE_DRIVER, queue.driver_address()),
            (register::QUEUE_DEVICE, queue.device_address()),
        ] {
            registers.write32(register, address as u32);
            registers.write32(register + 4, (address >> 32) as u32);
        }
        registers.write32(register::QUEUE_READY, 1);
        registers.write32(register::STATUS, ok);
        interrupts::CALLS.enable(boot, device.intid?);
        let letters = memory.part(LETTERS, BYTES - LETTERS);
        Some(Self { registers, queue, letters, generation })
    }

    /// Asks for something; `None` where the queue is full.
    pub fn submit(&mut self, kind: RequestKind, target: VmHandle, argument: u64) -> Option<Token> {
        self.submit_as(self.generation, kind, target, argument)
    }

    /// As [`Self::submit`], in the name of another generation.
    pub fn submit_as(
        &mut self,
        generation: WorldGeneration,
        kind: RequestKind,
        target: VmHandle,
        argument: u64,
    ) -> Option<Token> {
        let request = Request {
            kind: kind as u32,
            generation: generation.0,
            target: target.to_raw(),
            argument,
            reserved: 0,
        };
        let place = self.queue.next_head()?;
        let letter = self.letter(place);
        request.to_bytes().iter().enumerate().for_each(|(at, byte)| letter.write8(at, *byte));
        let base = letter.base() as u64;
        let segments = [
            Segment { address: base, bytes: Request::BYTES as u32, access: Access::Read },
            Segment { address: base + ANSWER as u64, bytes: Answer::BYTES as u32, access: Access::Write },
        ];
        let head = self.queue.submit(&segments).ok()?;
        if self.queue.publish() {
            self.registers.write32(register::QUEUE_NOTIFY, 0);
        }
        Some(Token(head))
    }

    /// An answer that came, and whose it is.
    pub fn take(&mut self) -> Option<(Token, Status, u64)> {
        let pending = self.registers.read32(register::INTERRUPT_STATUS);
        if pending != 0 {
            self.registers.write32(register::INTERRUPT_ACK, pending);
        }
        let used = self.queue.pop_used().ok()??;
        let letter = self.letter(used.head);
        let bytes = core::array::from_fn(|at| letter.read8(ANSWER + at));
        let answer = Answer::from_bytes(&bytes);
        Some((Token(used.head), Status::from_raw(answer.status).unwrap_or(Status::Invalid), answer.value))
    }

    fn letter(&self, head: Head) -> Window {
        self.letters.part(usize::from(head.0) % SIZE * LETTER_BYTES, LETTER_BYTES)
    }
}
