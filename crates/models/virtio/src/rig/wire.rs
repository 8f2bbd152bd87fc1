//! The far end of a network card: keeps what was sent.

use ports::{Delivered, Frame, FrameSink, Offload};
use std::cell::RefCell;
use std::rc::Rc;
use std::{vec, vec::Vec};

/// A frame's bytes and what was left to be done.
pub type Sent = (Vec<u8>, Offload);

/// Frames in order.
#[derive(Clone, Default)]
pub struct Wire(pub Rc<RefCell<Vec<Sent>>>);

impl FrameSink for Wire {
    fn deliver(&mut self, frame: &Frame<'_>) -> Delivered {
        self.0.borrow_mut().push((contents(frame), frame.offload));
        Delivered::Yes
    }
}

/// The bytes of a frame.
pub fn contents(frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for span in frame.data {
        let mut part = vec![0; span.bytes as usize];
        frame.memory.read_span(*span, &mut part);
        bytes.extend_from_slice(&part);
    }
    assert_eq!(bytes.len(), frame.bytes as usize, "the frame's length is that of its spans");
    bytes
}
