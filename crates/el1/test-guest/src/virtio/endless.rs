//! A console that always has more to say: vCPU 1 sees to it that the queue which vCPU 0 offered is never empty.

use super::queue::{Queue, SIZE};
use super::transport::{self, Transport};
use crate::harness::{Outcome, Report};
use crate::{crew, ensure};
use el1::{Boot, println};
use spin::mutex::SpinMutex;

/// The transmit queue of the first port (VIRTIO 1.2, 5.3.2).
const TRANSMIT: u32 = 1;
/// Bytes of a chain, all zero: long to copy.
const BYTES: u32 = 4 << 20;

static QUEUE: SpinMutex<Option<Queue>> = SpinMutex::new(None);

/// Ends by the host only.
pub fn run(boot: &'static Boot, report: &mut Report) {
    report.test("endless", || talk(boot));
}

fn talk(boot: &'static Boot) -> Outcome {
    let mut transports = boot.devices("virtio,mmio").map(Transport::new);
    let Some(transport) = transports.find(|transport| transport.device_id() == transport::CONSOLE) else {
        return Err("there is no console".into());
    };
    let mut queue = Queue::new(boot);
    let bytes = boot.spare.part(32 << 20, BYTES as usize);
    for index in 0..SIZE {
        queue.describe(index.into(), bytes.base() as u64, BYTES, 0, 0);
    }
    ensure!(transport.start(&mut queue, TRANSMIT, 0), "the console does not start");
    queue.refill();
    *QUEUE.lock() = Some(queue);
    crew::employ(boot, 1, refill)?;
    println!("ENDLESS");
    loop {
        transport.notify(TRANSMIT);
    }
}

fn refill() {
    if let Some(queue) = QUEUE.lock().as_mut() {
        loop {
            queue.refill();
        }
    }
}
