//! WebSocket: the handshake, frames, and a link over a wire.
//!
//! Source: RFC 6455, 4.2 "Server-Side Requirements", 5 "Data Framing", 7.4 "Status Codes". No extensions. A frame from a
//! client has at most [`PAYLOAD_MAX`] bytes and is masked; a message may come in several frames, which are handed on one
//! by one: what comes here are keys that were typed.

use super::head::Head;
use super::response::Response;
use super::wire::{Ended, Wire};
use crate::port::Platform;
use crate::problem::Problem;
use alloc::vec::Vec;
use base64ct::{Base64, Encoding};
use core::future::Future;
use core::time::Duration;
use embassy_futures::select::{Either, select};
use embedded_io_async::{Read, Write};
use sha1::{Digest, Sha1};

/// Most bytes of a frame from a client.
pub const PAYLOAD_MAX: usize = 4096;
/// A client that says nothing for so long is asked whether it is there; after twice as long it is gone.
const PING: Duration = Duration::from_secs(30);

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    const ALL: [(Self, u8); 6] = [
        (Self::Continuation, 0),
        (Self::Text, 1),
        (Self::Binary, 2),
        (Self::Close, 8),
        (Self::Ping, 9),
        (Self::Pong, 10),
    ];

    fn from_raw(raw: u8) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == raw).map(|(opcode, _)| *opcode)
    }

    fn to_raw(self) -> u8 {
        Self::ALL.iter().find(|(opcode, _)| *opcode == self).map_or(0, |(_, raw)| *raw)
    }

    fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// A frame from a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// What it is.
    pub opcode: Opcode,
    /// It is its message's last.
    pub is_last: bool,
    /// What it carries, unmasked.
    pub payload: Vec<u8>,
}

/// Why a frame ends the link: the status that says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum CloseCode {
    Normal = 1000,
    GoingAway = 1001,
    Protocol = 1002,
    Policy = 1008,
    TooBig = 1009,
}

/// Whether a request asks for a WebSocket.
pub fn is_asked_for(head: &Head) -> bool {
    head.lists("connection", "upgrade") && head.lists("upgrade", "websocket")
}

/// The response that switches protocols.
pub fn accept(head: &Head) -> Result<Response, Problem> {
    let refuse = |detail| Problem::new(426, "websocket-needed", detail, "connect by WebSocket, version 13");
    if !is_asked_for(head) {
        return Err(refuse("this is a WebSocket"));
    }
    if head.header("sec-websocket-version") != Some("13") {
        return Err(refuse("this is another version of WebSocket"));
    }
    let key =
        head.header("sec-websocket-key").ok_or_else(|| refuse("the key of the handshake is missing"))?;
    Ok(Response::switched()
        .header("Upgrade", "websocket")
        .header("Connection", "Upgrade")
        .header("Sec-WebSocket-Accept", accept_key(key)))
}

fn accept_key(key: &str) -> alloc::string::String {
    let hash = Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    Base64::encode_string(&hash)
}

/// Reads a frame at the start of `bytes`: with how many bytes it took; `None`: it is not whole yet.
pub fn decode(bytes: &[u8]) -> Result<Option<(Frame, usize)>, CloseCode> {
    let Some((&[first, second], rest)) = bytes.split_first_chunk() else { return Ok(None) };
    let opcode = Opcode::from_raw(first & 0x0f).ok_or(CloseCode::Protocol)?;
    let is_last = first & 0x80 != 0;
    let short = second & 0x7f;
    let is_masked = second & 0x80 != 0;
    if first & 0x70 != 0 || !is_masked || (opcode.is_control() && (short > 125 || !is_last)) {
        return Err(CloseCode::Protocol);
    }
    let (length, rest, head) = match short {
        126 => {
            let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (u64::from(u16::from_be_bytes(*length)), rest, 8)
        }
        127 => {
            let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (u64::from_be_bytes(*length), rest, 14)
        }
        short => (u64::from(short), rest, 6),
    };
    let length =
        usize::try_from(length).ok().filter(|length| *length <= PAYLOAD_MAX).ok_or(CloseCode::TooBig)?;
    let Some((mask, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
    let Some(masked) = rest.get(..length) else { return Ok(None) };
    let payload = masked.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    Ok(Some((Frame { opcode, is_last, payload }, length.saturating_add(head))))
}

/// A frame to a client.
pub fn encode(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len().saturating_add(10));
    frame.push(0x80 | opcode.to_raw());
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..=125), _) => frame.push(length),
        (_, Ok(length)) => {
            frame.push(126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

/// A WebSocket that was accepted.
pub struct Link<'w, 'p, S, P> {
    wire: &'w mut Wire<'p, S, P>,
    heard: Duration,
    pinged: bool,
}

impl<'w, 'p, S: Read + Write, P: Platform> Link<'w, 'p, S, P> {
    /// Over a wire.
    pub fn new(wire: &'w mut Wire<'p, S, P>) -> Self {
        let heard = wire.platform().now();
        Self { wire, heard, pinged: false }
    }

    /// The next frame with data that came already. An error: the link is over, and both sides know.
    pub async fn received(&mut self) -> Result<Option<Frame>, Ended> {
        loop {
            match decode(self.wire.unread()) {
                Ok(None) => return Ok(None),
                Err(code) => return Err(self.close(code).await),
                Ok(Some((frame, taken))) => {
                    self.wire.take(taken);
                    match frame.opcode {
                        Opcode::Ping => self.send(Opcode::Pong, &frame.payload).await?,
                        Opcode::Pong => {}
                        Opcode::Close => return Err(self.close(CloseCode::Normal).await),
                        _ => return Ok(Some(frame)),
                    }
                }
            }
        }
    }

    /// Waits until the client said something, or `other` is done.
    pub async fn wait(&mut self, other: impl Future<Output = ()>) -> Result<(), Ended> {
        let now = self.wire.platform().now();
        let silence = now.saturating_sub(self.heard);
        if silence >= PING.saturating_mul(2) {
            return Err(self.close(CloseCode::GoingAway).await);
        }
        if silence >= PING && !self.pinged {
            self.pinged = true;
            self.send(Opcode::Ping, &[]).await?;
        }
        let left = PING.saturating_sub(if self.pinged { silence.saturating_sub(PING) } else { silence });
        match select(self.wire.fill(left), other).await {
            Either::First(Ok(())) => {
                self.heard = self.wire.platform().now();
                self.pinged = false;
                Ok(())
            }
            Either::First(Err(Ended::TimedOut)) | Either::Second(()) => Ok(()),
            Either::First(Err(ended)) => Err(ended),
        }
    }

    /// Sends a frame.
    pub async fn send(&mut self, opcode: Opcode, payload: &[u8]) -> Result<(), Ended> {
        self.wire.write(&encode(opcode, payload)).await?;
        self.wire.flush().await
    }

    /// Ends the link, saying why.
    pub async fn close(&mut self, code: CloseCode) -> Ended {
        let _ = self.send(Opcode::Close, &(code as u16).to_be_bytes()).await;
        Ended::Closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_handshakes_key_is_the_standards_example() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn frames_are_the_standards_examples() {
        // RFC 6455, 5.7.
        assert_eq!(encode(Opcode::Text, b"Hello"), [0x81, 5, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        assert_eq!(encode(Opcode::Binary, &[0; 256])[..4], [0x82, 126, 1, 0]);
        assert_eq!(encode(Opcode::Binary, &[0; 65536])[..10], [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        let frame = Frame { opcode: Opcode::Text, is_last: true, payload: b"Hello".to_vec() };
        assert_eq!(decode(&masked), Ok(Some((frame, masked.len()))));
        for end in 0..masked.len() {
            assert_eq!(decode(&masked[..end]), Ok(None));
        }
    }

    #[test]
    fn frames_that_break_a_rule_end_the_link() {
        assert_eq!(decode(&[0x81, 0x05, 1, 2, 3, 4, 5]), Err(CloseCode::Protocol), "not masked");
        assert_eq!(decode(&[0xc1, 0x80, 0, 0, 0, 0]), Err(CloseCode::Protocol), "a reserved bit");
        assert_eq!(decode(&[0x83, 0x80, 0, 0, 0, 0]), Err(CloseCode::Protocol), "a reserved opcode");
        assert_eq!(decode(&[0x09, 0x80, 0, 0, 0, 0]), Err(CloseCode::Protocol), "a ping in pieces");
        assert_eq!(decode(&[0x89, 0xfe, 0, 126, 0, 0, 0, 0]), Err(CloseCode::Protocol), "a long ping");
        assert_eq!(decode(&[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]), Err(CloseCode::TooBig));
        assert_eq!(decode(&[0x82, 0xfe, 0x10, 0x01, 0, 0, 0, 0]), Err(CloseCode::TooBig));
    }

    proptest! {
        #[test]
        fn any_bytes_are_some_frame_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(Some((frame, taken))) = decode(&bytes) {
                prop_assert!(taken <= bytes.len() && frame.payload.len() < taken);
            }
        }

        #[test]
        fn a_masked_frame_comes_out_as_it_went_in(payload in proptest::collection::vec(any::<u8>(), 0..PAYLOAD_MAX), mask: [u8; 4]) {
            let mut bytes = encode(Opcode::Binary, &payload);
            bytes[1] |= 0x80;
            let head = bytes.len() - payload.len();
            let masked: Vec<u8> = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
            bytes.truncate(head);
            bytes.extend_from_slice(&mask);
            bytes.extend_from_slice(&masked);
            let all = bytes.len();
            let frame = Frame { opcode: Opcode::Binary, is_last: true, payload };
            prop_assert_eq!(decode(&bytes), Ok(Some((frame, all))));
        }
    }
}
