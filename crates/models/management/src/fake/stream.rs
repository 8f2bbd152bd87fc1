//! A connection in memory.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use core::cell::RefCell;
use core::convert::Infallible;
use core::future::poll_fn;
use core::task::{Poll, Waker};
use embedded_io_async::{ErrorType, Read, Write};

/// Bytes on the way in one direction: a window as small as a slow network's.
const WINDOW: usize = 1024;

#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

/// One end of a connection; dropping it closes both directions.
pub struct Stream {
    incoming: Rc<RefCell<Pipe>>,
    outgoing: Rc<RefCell<Pipe>>,
}

/// The two ends of a connection.
pub fn pair() -> (Stream, Stream) {
    let (one, other) = (Rc::<RefCell<Pipe>>::default(), Rc::<RefCell<Pipe>>::default());
    (Stream { incoming: one.clone(), outgoing: other.clone() }, Stream { incoming: other, outgoing: one })
}

impl ErrorType for Stream {
    type Error = Infallible;
}

impl Read for Stream {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, Infallible> {
        poll_fn(|context| {
            let mut pipe = self.incoming.borrow_mut();
            if pipe.bytes.is_empty() && !pipe.closed {
                pipe.reader = Some(context.waker().clone());
                return Poll::Pending;
            }
            let bytes = pipe.bytes.len().min(into.len());
            for (to, from) in into.iter_mut().zip(pipe.bytes.drain(..bytes)) {
                *to = from;
            }
            pipe.wake();
            Poll::Ready(Ok(bytes))
        })
        .await
    }
}

impl Write for Stream {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        poll_fn(|context| {
            let mut pipe = self.outgoing.borrow_mut();
            if pipe.closed {
                return Poll::Ready(Ok(0));
            }
            let room = WINDOW.saturating_sub(pipe.bytes.len()).min(bytes.len());
            if room == 0 {
                pipe.writer = Some(context.waker().clone());
                return Poll::Pending;
            }
            pipe.bytes.extend(bytes.iter().take(room));
            pipe.wake();
            Poll::Ready(Ok(room))
        })
        .await
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        for pipe in [&self.incoming, &self.outgoing] {
            let mut pipe = pipe.borrow_mut();
            pipe.closed = true;
            pipe.wake();
        }
    }
}
