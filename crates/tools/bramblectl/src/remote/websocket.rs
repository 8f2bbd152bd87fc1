//! Frames of a WebSocket (RFC 6455, 5.2), as hosts send them: whole messages, at most 64 KiB.

use super::connection::Connection;
use std::io::{self, Write};

/// A whole frame at the start of `bytes`, taken out (RFC 6455, 5.2).
pub fn next_frame(bytes: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (head, length) = match bytes[..] {
        [_, 126, a, b, ..] => (4, usize::from(u16::from_be_bytes([a, b]))),
        [_, short, ..] if short < 126 => (2, usize::from(short)),
        _ => return None,
    };
    if bytes.len() < head + length {
        return None;
    }
    let rest = bytes.split_off(head + length);
    let frame = std::mem::replace(bytes, rest);
    Some((frame[0] & 15, frame[head..].to_vec()))
}

/// The mask only keeps old proxies from taking a frame for a request; behind TLS nobody is there to be confused.
const MASK: [u8; 4] = [0x42, 0x52, 0x4d, 0x42];

pub fn write_frame(connection: &mut Connection, opcode: u8, payload: &[u8]) -> io::Result<()> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length => {
            frame.push(0xfe);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
    }
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    connection.write_all(&frame)?;
    connection.flush()
}
