//! A driver that lies: the device may refuse, ask for a reset or do nothing, but it must come back after a reset.

use super::block::{Disk, OK};
use super::queue::{INDIRECT, NEXT, Queue, SIZE, WRITE};
use super::transport::{BLOCK, Transport};
use crate::harness::{Outcome, spin_until};
use crate::{ensure, ensure_eq};
use el1::Boot;

/// Where no RAM is.
const NOWHERE: u64 = 0x0b00_0000;
/// Time for the device to fall for it (microseconds).
const MOMENT: u64 = 500;

/// One lie told to queue 0.
type Lie = (&'static str, fn(&mut Queue, &Transport, u64));

const LIES: &[Lie] = &[
    ("buffer outside RAM", |queue, transport, _| {
        queue.describe(0, NOWHERE, 16, NEXT, 1);
        queue.describe(1, NOWHERE, 512, WRITE, 0);
        queue.offer(transport, 0);
    }),
    ("buffer over the end of the address space", |queue, transport, _| {
        queue.describe(0, u64::MAX - 8, 16, NEXT, 1);
        queue.describe(1, u64::MAX, u32::MAX, WRITE, 0);
        queue.offer(transport, 0);
    }),
    ("buffer over the end of RAM", |queue, transport, end| {
        queue.describe(0, end - 8, 4096, NEXT, 1);
        queue.describe(1, end - 8, 4096, WRITE, 0);
        queue.offer(transport, 0);
    }),
    ("chain that bites its tail", |queue, transport, _| {
        let at = queue.data().base() as u64;
        queue.describe(0, at, 16, NEXT, 1);
        queue.describe(1, at, 16, NEXT, 0);
        queue.offer(transport, 0);
    }),
    ("next outside the table", |queue, transport, _| {
        queue.describe(0, queue.data().base() as u64, 16, NEXT, 60_000);
        queue.offer(transport, 0);
    }),
    ("head outside the table", |queue, transport, _| queue.offer(transport, SIZE + 5)),
    ("a jump of the index", |queue, transport, _| queue.publish(transport, 40_000)),
    ("an empty descriptor", |queue, transport, _| {
        queue.describe(0, queue.data().base() as u64, 0, 0, 0);
        queue.offer(transport, 0);
    }),
    ("4 GiB in one buffer", |queue, transport, _| {
        let at = queue.data().base() as u64;
        queue.describe(0, at, u32::MAX, NEXT, 1);
        queue.describe(1, at, u32::MAX, WRITE, 0);
        queue.offer(transport, 0);
    }),
    ("an indirect table in an indirect table", |queue, transport, _| {
        let data = queue.data();
        data.write64(0, data.base() as u64);
        data.write32(8, 16);
        data.write32(12, u32::from(INDIRECT | NEXT));
        queue.describe(0, data.base() as u64, 16, INDIRECT, 0);
        queue.offer(transport, 0);
    }),
    ("an indirect table of 3 bytes", |queue, transport, _| {
        queue.describe(0, queue.data().base() as u64, 3, INDIRECT, 0);
        queue.offer(transport, 0);
    }),
];

/// Each lie, then a reset, then the truth.
pub fn run(transport: &Transport, boot: &'static Boot) -> Outcome {
    for (what, lie) in LIES {
        let mut queue = Queue::new(boot);
        ensure!(transport.start(&mut queue, 0, 0), "{what}: FEATURES_OK does not stick");
        lie(&mut queue, transport, boot.ram.end as u64);
        spin_until(MOMENT, || queue.used() != 0);
        transport.reset();
        ensure_eq!(transport.status(), 0, alloc::format!("{what}: Status after the reset"));
        if transport.device_id() == BLOCK {
            let status = Disk::start(transport, boot)?.request(0, 0, 512)?;
            ensure_eq!(status, OK, alloc::format!("{what}: a read after the reset"));
        }
    }
    rings(transport, boot)
}

/// Rings at addresses where nothing is.
fn rings(transport: &Transport, boot: &'static Boot) -> Outcome {
    for place in [NOWHERE, boot.ram.end as u64 - 16, u64::MAX - 15, 0x1] {
        let mut queue = Queue::new(boot);
        ensure!(transport.start(&mut queue, 0, 0), "FEATURES_OK does not stick");
        transport.set_queue(0, u32::from(SIZE), place, place, place);
        transport.notify(0);
        transport.reset();
        transport.set_queue(0, 0xffff, place, place, place);
        transport.notify(0);
        transport.reset();
        ensure_eq!(transport.status(), 0, "Status after the reset");
    }
    Ok(())
}
