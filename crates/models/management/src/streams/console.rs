//! A console by WebSocket.
//!
//! From the host: a text frame `{"offset": N}` where the next byte is not the one after the last one sent (at the start,
//! and where the ring has forgotten some), then binary frames of what the console says. A client that counts the bytes
//! can come back with `?from=` and misses none that the ring still has. To the host: frames of what is typed.

use super::{Ground, is_allowed};
use crate::http::Ended;
use crate::http::websocket::{CloseCode, Link, Opcode};
use crate::inventory;
use crate::port::Port;
use abi::{Call, Status};
use alloc::format;
use core::time::Duration;
use embedded_io_async::{Read, Write};

/// The console is looked at so often while it speaks.
const BUSY: Duration = Duration::from_millis(10);
/// And while it is silent.
const QUIET: Duration = Duration::from_millis(40);
/// It is silent when it said nothing for so long.
const SILENCE: Duration = Duration::from_secs(5);

/// A console that is looked at.
pub(crate) struct ConsoleStream {
    pub handle: u64,
    pub console: u64,
    /// Position of the first byte wanted.
    pub from: u64,
    pub may_type: bool,
}

impl ConsoleStream {
    pub async fn run<S: Read + Write, P: Port>(mut self, ground: Ground<'_, '_, S, P>) -> Ended {
        let Ground { management, wire, head, caller, mut checked } = ground;
        let port = &management.port;
        let mut link = Link::new(wire);
        let mut spoke = port.now();
        let mut told = None;
        loop {
            loop {
                match link.received().await {
                    Err(ended) => return ended,
                    Ok(None) => break,
                    Ok(Some(_)) if !self.may_type => return link.close(CloseCode::Policy).await,
                    Ok(Some(frame)) => {
                        if self.type_in(port, &frame.payload).await.is_err() {
                            return link.close(CloseCode::GoingAway).await;
                        }
                        spoke = port.now();
                    }
                }
            }
            let Ok((first, bytes, _)) = inventory::read_console(port, self.handle, self.console, self.from)
            else {
                return link.close(CloseCode::GoingAway).await;
            };
            if told != Some(first) {
                let text = format!("{{\"offset\":{first}}}");
                if let Err(ended) = link.send(Opcode::Text, text.as_bytes()).await {
                    return ended;
                }
            }
            self.from = first.saturating_add(bytes.len() as u64);
            told = Some(self.from);
            if !bytes.is_empty() {
                if let Err(ended) = link.send(Opcode::Binary, &bytes).await {
                    return ended;
                }
                spoke = port.now();
                continue;
            }
            if !is_allowed(management, head, caller, &mut checked) {
                return link.close(CloseCode::Policy).await;
            }
            let pause = if port.now().saturating_sub(spoke) < SILENCE { BUSY } else { QUIET };
            if let Err(ended) = link.wait(port.sleep(pause)).await {
                return ended;
            }
        }
    }

    /// Types all of it, at the guest's pace.
    async fn type_in<P: Port>(&self, port: &P, mut keys: &[u8]) -> Result<(), Status> {
        let most = usize::try_from(Call::WriteConsole.buffer_max()).unwrap_or(1);
        let mut stuck = 0_u32;
        while !keys.is_empty() {
            let mut piece = keys.get(..most).unwrap_or(keys).to_vec();
            let taken = match port.call(Call::WriteConsole, &mut piece, [self.handle, self.console, 0]) {
                Ok([taken, ..]) => usize::try_from(taken).unwrap_or(0),
                Err(Status::Busy) => 0,
                Err(status) => return Err(status),
            };
            keys = keys.get(taken..).unwrap_or_default();
            if taken > 0 {
                stuck = 0;
                continue;
            }
            stuck = stuck.saturating_add(1);
            if stuck > 100 {
                // A guest that reads nothing for a second loses keys, as at a real terminal.
                return Ok(());
            }
            port.sleep(BUSY).await;
        }
        Ok(())
    }
}
