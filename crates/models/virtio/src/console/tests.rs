use super::*;
use crate::rig::{self, Guest, Queue, Slot};
use ports::fake::FakeSink;
use specs::virtio::{feature, mmio, status};

type Device<'a> = Slot<'a, Console<FakeSink>>;

fn up<'a>(guest: &'a Guest, device: &Device<'a>) -> (Queue<'a>, Queue<'a>) {
    assert!(rig::negotiate(device, feature::EVENT_IDX));
    let queues =
        (guest.queue(device, 0, 16, feature::EVENT_IDX), guest.queue(device, 1, 16, feature::EVENT_IDX));
    rig::driver_ok(device);
    queues
}

fn device(guest: &Guest) -> Device<'_> {
    VirtioMmio::new(Console::new(FakeSink::default()), &guest.memory, &guest.line)
}

#[test]
fn output_reaches_the_sink_whatever_its_framing() {
    let guest = Guest::new(1 << 20);
    let device = device(&guest);
    let (_, mut transmit) = up(&guest, &device);
    let text = rig::pattern(1000, 0);
    rig::send(&device, 1, &mut transmit, &[guest.readable(&text[..1]), guest.readable(&text[1..700])]);
    rig::send(&device, 1, &mut transmit, &[guest.readable(&text[700..])]);
    assert_eq!(*device.device().sink.0.borrow(), text);
    assert!(transmit.pop_used().unwrap().is_some() && transmit.pop_used().unwrap().is_some());
}

#[test]
fn a_long_output_is_worked_off_in_parts() {
    let guest = Guest::new(1 << 20);
    let device = device(&guest);
    let (_, mut transmit) = up(&guest, &device);
    let text = rig::pattern(40_000, 0);
    transmit.submit(&[guest.readable(&text)]).unwrap();
    assert!(transmit.publish());
    assert_eq!(device.write(mmio::QUEUE_NOTIFY, ports::Width::W32, 1), Progress::More);
    assert_eq!(transmit.pop_used(), Ok(None));
    assert_eq!(device.poll(), Progress::More);
    assert_eq!(device.poll(), Progress::Done);
    assert!(transmit.pop_used().unwrap().is_some());
    assert_eq!(*device.device().sink.0.borrow(), text);
}

#[test]
fn input_waits_for_a_buffer_and_is_cut_to_it() {
    let guest = Guest::new(1 << 20);
    let device = device(&guest);
    let (mut receive, _) = up(&guest, &device);
    assert_eq!(device.input(b"hello"), 5);
    let (first, second) = (guest.writable(3), guest.writable(64));
    rig::send(&device, 0, &mut receive, &[first]);
    assert_eq!(receive.pop_used().unwrap().unwrap().written, 3);
    rig::send(&device, 0, &mut receive, &[second]);
    assert_eq!(receive.pop_used().unwrap().unwrap().written, 2);
    assert_eq!((guest.contents(first), &guest.contents(second)[..2]), (b"hel".to_vec(), &b"lo"[..]));
    assert_eq!(device.input(&[1; 300]), INPUT_BYTES);
    assert_eq!(device.input(&[1; 300]), 0);
}

#[test]
fn a_reset_forgets_what_was_typed() {
    let guest = Guest::new(1 << 20);
    let device = device(&guest);
    up(&guest, &device);
    assert_eq!(device.input(b"old"), 3);
    let (mut receive, _) = up(&guest, &device);
    rig::send(&device, 0, &mut receive, &[guest.writable(64)]);
    assert_eq!(receive.pop_used(), Ok(None));
    assert_eq!(device.input(b"new"), 3);
    assert_eq!(receive.pop_used().unwrap().unwrap().written, 3);
}

#[test]
fn an_input_buffer_that_cannot_be_written_needs_a_reset() {
    let guest = Guest::new(1 << 20);
    let device = device(&guest);
    let (mut receive, _) = up(&guest, &device);
    rig::send(&device, 0, &mut receive, &[guest.readable(b"x")]);
    device.input(b"y");
    assert_ne!(rig::read(&device, mmio::STATUS) & status::DEVICE_NEEDS_RESET, 0);
}
