//! virtio-mmio devices: the transport's registers, reset at any moment, a block driver, hostile queues.
//!
//! Virtual I/O Device (VIRTIO) 1.2: 2 (status, features, virtqueues), 4.2 (MMIO), 5.2 (block), 5.4 (entropy).
//! Every slot of the device tree is tested; plain QEMU needs `-global virtio-mmio.force-legacy=false`.

mod block;
pub mod endless;
mod hostile;
pub mod late;
mod queue;
mod transport;

use crate::harness::{Outcome, Report};
use crate::{ensure, ensure_eq};
use alloc::format;
use el1::Boot;
use queue::Queue;
use transport::{Transport, status};

/// All of it.
pub fn run(boot: &'static Boot, report: &mut Report) {
    let mut devices = 0;
    for (slot, device) in boot.devices("virtio,mmio").enumerate() {
        let transport = Transport::new(device);
        if transport.device_id() == 0 {
            continue;
        }
        devices += 1;
        let name = |test: &str| format!("virtio-{}-{slot}-{test}", transport.kind());
        report.test(&name("registers"), || registers(&transport));
        report.test(&name("reset"), || resets(&transport, boot));
        if transport.device_id() == transport::BLOCK {
            block::run(&transport, boot, report, &name);
        }
        if transport.device_id() == transport::ENTROPY {
            report.test(&name("bytes"), || entropy(&transport, boot));
        }
        report.test(&name("hostile"), || hostile::run(&transport, boot));
        transport.reset();
    }
    report.test("virtio-found", || {
        ensure!(devices > 0, "no virtio device in any slot");
        Ok(())
    });
}

fn registers(transport: &Transport) -> Outcome {
    ensure_eq!(transport.magic(), 0x7472_6976, "MagicValue");
    ensure_eq!(transport.version(), 2, "Version");
    ensure!(transport.features() >> 32 & 1 == 1, "VIRTIO_F_VERSION_1 is not offered");
    ensure!(transport.queue_max(0) >= 8, "QueueNumMax {}", transport.queue_max(0));
    ensure_eq!(transport.queue_max(1000), 0, "QueueNumMax of a queue that is not there");
    // Writes to what is read-only, reads of what is write-only and of what is reserved: nothing happens.
    for offset in
        (0..0x100).step_by(4).filter(|offset| [0x0, 0x4, 0x8, 0xc, 0x10, 0x34, 0xfc].contains(offset))
    {
        transport.registers().write32(offset, 0xffff_ffff);
    }
    for offset in (0..0x200).step_by(4) {
        let _ = transport.registers().read32(offset);
        let _ = transport.registers().read8(offset + 1);
    }
    ensure_eq!(transport.magic(), 0x7472_6976, "MagicValue after writes");
    Ok(())
}

/// Reset after each step of the way up, and with buffers in flight: status 0, queue 0 not ready, and up again.
fn resets(transport: &Transport, boot: &'static Boot) -> Outcome {
    for last in 0..8 {
        let mut queue = Queue::new(boot);
        let steps: [&mut dyn FnMut(); 8] = [
            &mut || transport.add_status(status::ACKNOWLEDGE),
            &mut || transport.add_status(status::DRIVER),
            &mut || transport.accept(transport.features() & (1 << 32)),
            &mut || transport.add_status(status::FEATURES_OK),
            &mut || queue.attach(transport, 0),
            &mut || transport.add_status(status::DRIVER_OK),
            &mut || transport.notify(0),
            &mut || transport.registers().write32(0x50, 0xffff),
        ];
        steps.into_iter().take(last + 1).for_each(|step| step());
        transport.reset();
        ensure_eq!(transport.status(), 0, format!("Status after a reset behind step {last}"));
        ensure_eq!(transport.queue_ready(0), 0, format!("QueueReady after a reset behind step {last}"));
        ensure_eq!(transport.interrupt_status(), 0, "InterruptStatus after a reset");
    }
    for _ in 0..50 {
        let mut queue = Queue::new(boot);
        ensure!(transport.start(&mut queue, 0, 0), "FEATURES_OK does not stick");
        queue.offer_writable(transport, 512);
        transport.reset();
        ensure_eq!(transport.status(), 0, "Status after a reset in flight");
    }
    Ok(())
}

/// The entropy device fills a buffer.
fn entropy(transport: &Transport, boot: &'static Boot) -> Outcome {
    let mut queue = Queue::new(boot);
    ensure!(transport.start(&mut queue, 0, 0), "FEATURES_OK does not stick");
    queue.offer_writable(transport, 64);
    let Some(bytes) = queue.wait() else { return Err("no bytes".into()) };
    ensure!((1..=64).contains(&bytes), "{bytes} bytes of 64");
    ensure!((0..bytes as usize).any(|n| queue.data().read8(n) != 0), "{bytes} bytes, all zero");
    transport.reset();
    Ok(())
}
