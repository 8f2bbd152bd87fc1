use super::*;
use crate::rig::{self, Guest};
use crate::transport::VirtioMmio;
use abi::request::OBJECT_NAME_BYTES;
use ports::GuestMemory;
use specs::Ipa;
use specs::virtio::{feature, mmio};
use std::rc::Rc;
use std::{cell::RefCell, vec, vec::Vec};

/// A desk that keeps what it takes until the test completes it.
#[derive(Clone, Default)]
struct FakeDesk(Rc<RefCell<Tray>>);

#[derive(Default)]
struct Tray {
    generation: u32,
    denied: Option<RequestKind>,
    taken: Vec<Asked>,
    done: Vec<Done>,
}

impl Desk for FakeDesk {
    fn generation(&self) -> u32 {
        self.0.borrow().generation
    }
    fn allows(&self, kind: RequestKind) -> bool {
        self.0.borrow().denied != Some(kind)
    }
    fn submit(&mut self, asked: Asked) {
        self.0.borrow_mut().taken.push(asked);
    }
    fn complete(&mut self) -> Option<Done> {
        self.0.borrow_mut().done.pop()
    }
}

fn request(kind: u32, generation: u32) -> Request {
    Request { kind, generation, target: 5, argument: 77, reserved: 0 }
}

fn ended(token: Token, status: Status) -> Done {
    Done { token, answer: Answer::of(status), payload: Vec::new() }
}

#[test]
fn an_echo_comes_back_at_once_and_a_power_request_when_it_is_done() {
    let guest = Guest::new(1 << 16);
    let desk = FakeDesk::default();
    let device = VirtioMmio::new(Calls::new(desk.clone()), &guest.memory, &guest.line);
    assert!(rig::negotiate(&device, 0));
    let mut queue = guest.queue(&device, 0, 16, 0);
    rig::driver_ok(&device);
    let mut ask = |kind: u32, generation: u32| {
        let answer = guest.writable(Answer::BYTES);
        let segments = [guest.readable(&request(kind, generation).to_bytes()), answer];
        queue.submit(&segments).unwrap();
        queue.publish();
        rig::write(&device, mmio::QUEUE_NOTIFY, 0);
        (answer, queue.pop_used().unwrap().is_some())
    };
    let read = |segment| Answer::from_bytes(&guest.contents(segment).try_into().unwrap());
    let (answer, done) = ask(0, 0);
    assert!(done && guest.line.high.get());
    assert_eq!(read(answer), Answer { status: 0, value: 77 });
    // Another generation's, one that does not exist, and one that is not allowed.
    desk.0.borrow_mut().denied = Some(RequestKind::Reset);
    for (kind, generation, status) in
        [(1, 1, Status::Stale), (999, 0, Status::NotSupported), (3, 0, Status::Denied)]
    {
        let (answer, done) = ask(kind, generation);
        assert!(done);
        assert_eq!(read(answer), Answer::of(status));
    }
    assert!(desk.0.borrow().taken.is_empty());
    let (answer, done) = ask(1, 0);
    assert!(!done);
    let asked = desk.0.borrow_mut().taken.pop().unwrap();
    assert_eq!((asked.kind, asked.request.target), (RequestKind::PowerOn, 5));
    assert_eq!(device.device().in_flight(), 1);
    desk.0.borrow_mut().done.push(ended(asked.token, Status::Conflict));
    let _ = device.poll();
    assert_eq!(read(answer), Answer::of(Status::Conflict));
    assert!(queue.pop_used().unwrap().is_some());
    assert_eq!(device.device().in_flight(), 0);
}

#[test]
fn the_end_of_a_generation_ends_its_requests() {
    let guest = Guest::new(1 << 16);
    let desk = FakeDesk::default();
    let device = VirtioMmio::new(Calls::new(desk.clone()), &guest.memory, &guest.line);
    let start = |device: &_| {
        assert!(rig::negotiate(device, feature::EVENT_IDX));
        let queue = guest.queue(device, 0, 16, feature::EVENT_IDX);
        rig::driver_ok(device);
        queue
    };
    let mut queue = start(&device);
    let answer = guest.writable(Answer::BYTES);
    queue.submit(&[guest.readable(&request(2, 0).to_bytes()), answer]).unwrap();
    queue.publish();
    rig::write(&device, mmio::QUEUE_NOTIFY, 0);
    let late = desk.0.borrow_mut().taken.pop().unwrap().token;
    // The world ends and comes back; a request of the new one has the same head.
    device.reset();
    assert_eq!(device.device().in_flight(), 0);
    desk.0.borrow_mut().generation = 1;
    let mut queue = start(&device);
    let fresh = guest.writable(Answer::BYTES);
    queue.submit(&[guest.readable(&request(2, 1).to_bytes()), fresh]).unwrap();
    queue.publish();
    rig::write(&device, mmio::QUEUE_NOTIFY, 0);
    let token = desk.0.borrow_mut().taken.pop().unwrap().token;
    assert_eq!(token.head, late.head);
    // The old one's completion reaches neither its own buffer nor the new one's.
    desk.0.borrow_mut().done.push(ended(late, Status::Ok));
    let _ = device.poll();
    assert_eq!(queue.pop_used().unwrap(), None);
    for segment in [answer, fresh] {
        assert_eq!(guest.contents(segment), vec![0xee; Answer::BYTES]);
    }
    desk.0.borrow_mut().done.push(ended(token, Status::Failed));
    let _ = device.poll();
    assert!(queue.pop_used().unwrap().is_some());
    assert_eq!(guest.contents(fresh), Answer::of(Status::Failed).to_bytes());
}

#[test]
fn what_breaks_the_rules_breaks_the_queue_and_nothing_else() {
    // No answer buffer; one that is too small. A request that is too short, or sends or has room for what its kind has
    // not, is answered.
    for (readable, writable, broken) in
        [(32, 0, true), (32, 8, true), (32, 17, false), (33, 16, false), (8, 16, false)]
    {
        let guest = Guest::new(1 << 16);
        let device = VirtioMmio::new(Calls::new(FakeDesk::default()), &guest.memory, &guest.line);
        assert!(rig::negotiate(&device, 0));
        let mut queue = guest.queue(&device, 0, 16, 0);
        rig::driver_ok(&device);
        let mut segments = vec![guest.readable(&vec![0; readable])];
        if writable != 0 {
            segments.push(guest.writable(writable));
        }
        queue.submit(&segments).unwrap();
        queue.publish();
        rig::write(&device, mmio::QUEUE_NOTIFY, 0);
        assert_eq!(device.link().is_broken(), broken, "{readable} and {writable} bytes");
        let used = queue.pop_used().unwrap();
        assert_eq!(used.is_some(), !broken);
        if !broken {
            let answer = guest.contents(segments[1])[..Answer::BYTES].try_into().unwrap();
            assert_eq!(Answer::from_bytes(&answer), Answer::of(Status::Invalid));
        }
        let _ = guest.memory.load_acquire(Ipa(rig::RAM.0));
    }
}

#[test]
fn what_a_request_sends_arrives_and_what_it_gets_back_is_cut_to_its_room() {
    let guest = Guest::new(1 << 18);
    let desk = FakeDesk::default();
    let device = VirtioMmio::new(Calls::new(desk.clone()), &guest.memory, &guest.line);
    assert!(rig::negotiate(&device, 0));
    let mut queue = guest.queue(&device, 0, 16, 0);
    rig::driver_ok(&device);
    let kind = RequestKind::ReadObject;
    let name = [b'n'; OBJECT_NAME_BYTES];
    for (room, given) in [(0, 100), (100, 100), (3, 100), (70, 64), (PAYLOAD_MAX as usize, 65_536)] {
        let mut segments = vec![guest.readable(&request(kind as u32, 0).to_bytes()), guest.readable(&name)];
        // The answer and what follows it in one buffer: where buffers end means nothing.
        segments.push(guest.writable(Answer::BYTES + room));
        queue.submit(&segments).unwrap();
        queue.publish();
        rig::write(&device, mmio::QUEUE_NOTIFY, 0);
        let asked = desk.0.borrow_mut().taken.pop().unwrap();
        assert_eq!((asked.payload.as_slice(), asked.room as usize), (name.as_slice(), room));
        let answer = Answer { status: 0, value: 9 };
        desk.0.borrow_mut().done.push(Done { token: asked.token, answer, payload: vec![0x5a; given] });
        let _ = device.poll();
        let used = queue.pop_used().unwrap().unwrap();
        let bytes = room.min(given);
        assert_eq!(used.written as usize, Answer::BYTES + bytes);
        let contents = guest.contents(segments[2]);
        assert_eq!(contents[..Answer::BYTES], answer.to_bytes());
        assert!(contents[Answer::BYTES..][..bytes].iter().all(|byte| *byte == 0x5a));
        assert!(contents[Answer::BYTES + bytes..].iter().all(|byte| *byte == 0xee));
    }
    // A byte more than the kind may send, or get back.
    for (sent, room) in [(OBJECT_NAME_BYTES + 1, 0), (OBJECT_NAME_BYTES, PAYLOAD_MAX as usize + 1)] {
        let answer = guest.writable(Answer::BYTES + room);
        let sent = guest.readable(&vec![0; sent]);
        queue.submit(&[guest.readable(&request(kind as u32, 0).to_bytes()), sent, answer]).unwrap();
        queue.publish();
        rig::write(&device, mmio::QUEUE_NOTIFY, 0);
        assert!(queue.pop_used().unwrap().is_some());
        assert_eq!(guest.contents(answer)[..Answer::BYTES], Answer::of(Status::Invalid).to_bytes());
        assert!(desk.0.borrow().taken.is_empty());
    }
}
