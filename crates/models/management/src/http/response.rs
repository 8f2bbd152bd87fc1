//! A response: status, header lines and content, and how it is written.

use super::wire::{Ended, Wire};
use crate::port::Platform;
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;
use embedded_io_async::{Read, Write};
use serde::Serialize;

/// What a response says of itself wherever it goes: nothing is guessed, framed, kept, or loaded from elsewhere.
const ALWAYS: &str = concat!(
    "X-Content-Type-Options: nosniff\r\n",
    "Referrer-Policy: no-referrer\r\n",
    "X-Frame-Options: DENY\r\n",
    "Cross-Origin-Resource-Policy: same-origin\r\n",
    "Strict-Transport-Security: max-age=31536000\r\n",
    "Server: Bramble\r\n",
);

/// The content of a response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// None, and none can be: 204, 304.
    None,
    /// All of it.
    Bytes(Cow<'static, [u8]>),
    /// It follows in chunks.
    Chunks,
    /// It follows, so many bytes.
    Follows(u64),
    /// The connection is another protocol's from here on.
    Switched,
}

/// A response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// Such as 200.
    pub status: u16,
    /// What it contains.
    pub content: Content,
    lines: Vec<(&'static str, String)>,
}

impl Response {
    /// Without content.
    pub fn empty(status: u16) -> Self {
        Self { status, content: Content::None, lines: Vec::new() }
    }

    /// The connection is another protocol's after it.
    pub fn switched() -> Self {
        Self { status: 101, content: Content::Switched, lines: Vec::new() }
    }

    /// With content of a type.
    pub fn with(status: u16, content_type: &str, content: Content) -> Self {
        Self { status, content, lines: Vec::new() }.header("Content-Type", content_type)
    }

    /// A resource.
    pub fn json<T: Serialize>(status: u16, resource: &T) -> Self {
        Self::json_as(status, "application/json", resource)
    }

    /// A resource of a type of its own.
    pub fn json_as<T: Serialize>(status: u16, content_type: &str, resource: &T) -> Self {
        // Our own types always have a form in JSON: maps with text for keys, no numbers that are none.
        let bytes = serde_json::to_vec(resource).unwrap_or_default();
        Self::with(status, content_type, Content::Bytes(bytes.into()))
    }

    /// With one more header line. What is not printable ASCII is left out of its value.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl AsRef<str>) -> Self {
        let value = value.as_ref().chars().filter(|c| matches!(c, ' '..='~')).collect();
        self.lines.push((name, value));
        self
    }

    /// A header line's value.
    pub fn header_value(&self, name: &str) -> Option<&str> {
        let line = self.lines.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        line.map(|(_, value)| value.as_str())
    }

    /// Writes it; of one to HEAD only the head.
    pub async fn write<S: Read + Write, P: Platform>(
        &self,
        wire: &mut Wire<'_, S, P>,
        head_only: bool,
        keep_alive: bool,
    ) -> Result<(), Ended> {
        let mut bytes = self.head(keep_alive).into_bytes();
        if let (Content::Bytes(content), false) = (&self.content, head_only) {
            // Small ones go out in one piece.
            if content.len() <= 2048 {
                bytes.extend_from_slice(content);
            } else {
                wire.write(&bytes).await?;
                wire.write(content).await?;
                return wire.flush().await;
            }
        }
        wire.write(&bytes).await?;
        wire.flush().await
    }

    fn head(&self, keep_alive: bool) -> String {
        let mut head = format!("HTTP/1.1 {} {}\r\n{ALWAYS}", self.status, phrase(self.status));
        for (name, value) in &self.lines {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if self.header_value("Cache-Control").is_none() {
            head.push_str("Cache-Control: no-store\r\n");
        }
        let _ = match &self.content {
            // RFC 9110, 8.6: no length where there can't be content.
            Content::None if matches!(self.status, 204 | 304) => Ok(()),
            Content::None => write!(head, "Content-Length: 0\r\n"),
            Content::Bytes(content) => write!(head, "Content-Length: {}\r\n", content.len()),
            Content::Follows(bytes) => write!(head, "Content-Length: {bytes}\r\n"),
            Content::Chunks => write!(head, "Transfer-Encoding: chunked\r\n"),
            Content::Switched => Ok(()),
        };
        if !keep_alive && self.content != Content::Switched {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        head
    }
}

/// Writes a chunk, which is not empty.
pub async fn write_chunk<S: Read + Write, P: Platform>(
    wire: &mut Wire<'_, S, P>,
    bytes: &[u8],
) -> Result<(), Ended> {
    if bytes.is_empty() {
        return Ok(());
    }
    wire.write(format!("{:x}\r\n", bytes.len()).as_bytes()).await?;
    wire.write(bytes).await?;
    wire.write(b"\r\n").await?;
    wire.flush().await
}

/// Writes the last chunk.
pub async fn end_chunks<S: Read + Write, P: Platform>(wire: &mut Wire<'_, S, P>) -> Result<(), Ended> {
    wire.write(b"0\r\n\r\n").await?;
    wire.flush().await
}

/// The phrase of a status that we use.
pub fn phrase(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        507 => "Insufficient Storage",
        _ => "Unknown",
    }
}
