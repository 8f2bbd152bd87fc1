use super::*;
use crate::VirtioMmio;
use crate::rig::{self, Guest};
use core::cell::Cell;
use ports::fake::FakeEntropy;

#[test]
fn a_request_gets_random_bytes() {
    let guest = Guest::new(1 << 20);
    let source = EntropySource::new(FakeEntropy(Cell::new(Some(1))));
    let device = VirtioMmio::new(source, &guest.memory, &guest.line);
    assert!(rig::negotiate(&device, 0));
    let mut queue = guest.queue(&device, 0, 16, 0);
    rig::driver_ok(&device);
    let (short, long) = (guest.writable(5), guest.writable(1000));
    rig::send(&device, 0, &mut queue, &[short]);
    rig::send(&device, 0, &mut queue, &[long]);
    assert_eq!(queue.pop_used().unwrap().unwrap().written, 5);
    assert_eq!(queue.pop_used().unwrap().unwrap().written, 256);
    assert_eq!(guest.contents(short), [1, 2, 3, 4, 5]);
    assert_eq!(guest.contents(long)[256..], [0xee; 744]);
}

#[test]
fn while_the_host_has_no_seed_a_request_waits() {
    let guest = Guest::new(1 << 20);
    let seed = Cell::new(None);
    let source = EntropySource::new(FakeEntropy(seed));
    let device = VirtioMmio::new(source, &guest.memory, &guest.line);
    assert!(rig::negotiate(&device, 0));
    let mut queue = guest.queue(&device, 0, 16, 0);
    rig::driver_ok(&device);
    let buffers = [guest.writable(8), guest.writable(8)];
    for buffer in buffers {
        rig::send(&device, 0, &mut queue, &[buffer]);
    }
    assert_eq!(queue.pop_used(), Ok(None));
    assert_eq!(guest.contents(buffers[0]), [0xee; 8], "nothing, not zeros");
    device.device().generator.0.set(Some(7));
    assert_eq!(device.poll(), Progress::Done);
    assert!(queue.pop_used().unwrap().is_some() && queue.pop_used().unwrap().is_some());
    assert_eq!(guest.contents(buffers[0])[0], 7);
}
