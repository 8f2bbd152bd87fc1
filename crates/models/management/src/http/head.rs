//! The head of a request: bytes → [`Head`], or why not. Pure.
//!
//! Source: RFC 9112, 2.2 "Message Parsing", 3 "Request Line", 6.3 "Message Body Length". What could be read in two ways
//! (two lengths, a length beside chunks, a folded line) is refused, so that nobody between could read it the other way.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

/// Most bytes of a head.
pub const HEAD_MAX: usize = 8 * 1024;
/// Most header lines.
const HEADERS_MAX: usize = 64;

/// The header lines that anyone here asks for; others are read and forgotten.
const KNOWN: &[&str] = &[
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "idempotency-key",
    "if-match",
    "if-none-match",
    "last-event-id",
    "origin",
    "range",
    "sec-fetch-site",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "transfer-encoding",
    "upgrade",
    "upload-offset",
    "x-bramble-csrf",
];

/// Those that may stand there more than once; the others are refused then.
const LISTS: &[&str] =
    &["accept", "accept-encoding", "connection", "cookie", "if-match", "if-none-match", "upgrade"];

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
    /// One that nothing here has.
    Other,
}

impl Method {
    /// Each with its name.
    pub const ALL: &'static [(Self, &'static str)] = &[
        (Self::Get, "GET"),
        (Self::Head, "HEAD"),
        (Self::Post, "POST"),
        (Self::Put, "PUT"),
        (Self::Patch, "PATCH"),
        (Self::Delete, "DELETE"),
        (Self::Options, "OPTIONS"),
    ];

    /// By its name.
    pub fn from_name(name: &str) -> Self {
        Self::ALL.iter().find(|(_, known)| *known == name).map_or(Self::Other, |(method, _)| *method)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(method, _)| *method == self).map_or("", |(_, name)| name)
    }

    /// Whether it changes nothing (RFC 9110, 9.2.1 "Safe Methods").
    pub fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Options)
    }
}

/// How long the body is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Length {
    /// Known; 0 where there is none.
    Bytes(u64),
    /// In chunks.
    Chunked,
}

/// The head of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// What is to be done.
    pub method: Method,
    /// The path, as it was sent; starts with `/`.
    pub path: String,
    /// What follows the `?`, as it was sent.
    pub query: String,
    /// Of the body.
    pub length: Length,
    /// The client wants to ask more on this connection.
    pub keep_alive: bool,
    headers: Vec<(&'static str, String)>,
}

/// Why a head was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeadFault {
    /// It is no HTTP/1.1.
    Malformed,
    /// It is longer than [`HEAD_MAX`], or has too many lines.
    TooLarge,
    /// A transfer coding other than `chunked`.
    Coding,
}

impl Head {
    /// Reads a head at the start of `bytes`: with how many bytes it took, or `None` while there is no whole one.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, HeadFault> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        let taken = match request.parse(bytes) {
            Ok(httparse::Status::Complete(taken)) if taken <= HEAD_MAX => taken,
            Ok(httparse::Status::Partial) if bytes.len() < HEAD_MAX => return Ok(None),
            Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(HeadFault::TooLarge),
            Err(_) => return Err(HeadFault::Malformed),
        };
        let method = Method::from_name(request.method.unwrap_or_default());
        let (path, query) = split_target(request.path.unwrap_or_default()).ok_or(HeadFault::Malformed)?;
        let version_1_1 = request.version == Some(1);
        let headers = known(request.headers)?;
        let mut head = Self {
            method,
            path: path.to_owned(),
            query: query.to_owned(),
            length: Length::Bytes(0),
            keep_alive: false,
            headers,
        };
        if version_1_1 && head.header("host").is_none() {
            return Err(HeadFault::Malformed);
        }
        head.length = head.body_length(version_1_1)?;
        head.keep_alive = version_1_1 && !head.lists("connection", "close");
        Ok(Some((head, taken)))
    }

    /// A header line's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// Whether the comma-separated list in a header has `word`, in any case.
    pub fn lists(&self, name: &str, word: &str) -> bool {
        self.header(name)
            .is_some_and(|value| value.split(',').any(|item| item.trim().eq_ignore_ascii_case(word)))
    }

    /// A cookie's value.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let cookies = self.header("cookie")?.split(';');
        cookies
            .filter_map(|cookie| cookie.trim().split_once('='))
            .find(|(known, _)| *known == name)
            .map(|(_, v)| v)
    }

    /// A parameter of the query, decoded.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let mut pairs = self.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let (_, value) = pairs.find(|(known, _)| *known == name)?;
        decode(&value.replace('+', " "))
    }

    fn body_length(&self, version_1_1: bool) -> Result<Length, HeadFault> {
        match (self.header("transfer-encoding"), self.header("content-length")) {
            (None, None) => Ok(Length::Bytes(0)),
            (None, Some(length)) => {
                let is_number = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
                let length = is_number.then(|| length.parse().ok()).flatten();
                length.map(Length::Bytes).ok_or(HeadFault::Malformed)
            }
            (Some(_), Some(_)) => Err(HeadFault::Malformed),
            (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") && version_1_1 => {
                Ok(Length::Chunked)
            }
            (Some(_), None) => Err(HeadFault::Coding),
        }
    }
}

fn split_target(target: &str) -> Option<(&str, &str)> {
    // The absolute form (RFC 9112, 3.2.2) names this host, by whatever name.
    let target = match target.strip_prefix("http://").or_else(|| target.strip_prefix("https://")) {
        Some(rest) => rest.get(rest.find('/')?..)?,
        None => target,
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    path.starts_with('/').then_some((path, query))
}

fn known(lines: &[httparse::Header<'_>]) -> Result<Vec<(&'static str, String)>, HeadFault> {
    let mut headers: Vec<(&'static str, String)> = Vec::new();
    for line in lines {
        let Some(name) = KNOWN.iter().find(|known| line.name.eq_ignore_ascii_case(known)) else { continue };
        let value = core::str::from_utf8(line.value).map_err(|_| HeadFault::Malformed)?.trim();
        match headers.iter_mut().find(|(known, _)| known == name) {
            None => headers.push((name, value.to_owned())),
            Some((_, list)) if LISTS.contains(name) => {
                list.push_str(if *name == "cookie" { "; " } else { ", " });
                list.push_str(value);
            }
            Some(_) => return Err(HeadFault::Malformed),
        }
    }
    Ok(headers)
}

/// Takes `%xx` out of a part of a URI; `None` where what comes out is not UTF-8, or a `%` has no two digits after it.
pub fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                u8::try_from(high << 4 | low).ok()?
            }
            byte => byte,
        };
        bytes.push(byte);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Head, HeadFault> {
        Head::parse(text.as_bytes()).map(|head| head.expect("a whole head").0)
    }

    #[test]
    fn a_head_is_read() {
        let head = parsed(concat!(
            "POST /api/v1/vms?limit=3&name=a%20b+c HTTP/1.1\r\nHost: x\r\ncookie: a=1\r\nCookie: b=2\r\n",
            "Content-Length: 12\r\nX-Else: y\r\n\r\n"
        ))
        .unwrap();
        assert_eq!((head.method, head.path.as_str()), (Method::Post, "/api/v1/vms"));
        assert_eq!(head.parameter("limit").as_deref(), Some("3"));
        assert_eq!(head.parameter("name").as_deref(), Some("a b c"));
        assert_eq!((head.cookie("a"), head.cookie("b"), head.cookie("c")), (Some("1"), Some("2"), None));
        assert_eq!((head.length, head.keep_alive), (Length::Bytes(12), true));
        assert_eq!(head.header("x-else"), None);
    }

    #[test]
    fn parts_of_a_head_are_no_head_yet() {
        let whole = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        for end in 0..whole.len() {
            assert_eq!(Head::parse(&whole.as_bytes()[..end]), Ok(None), "{end}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let with = |lines: &str| parsed(&alloc::format!("POST / HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n"));
        assert_eq!(with("Content-Length: 1\r\nContent-Length: 2"), Err(HeadFault::Malformed));
        assert_eq!(with("Content-Length: 1\r\nTransfer-Encoding: chunked"), Err(HeadFault::Malformed));
        assert_eq!(with("Content-Length: +1"), Err(HeadFault::Malformed));
        assert_eq!(with("Content-Length: 99999999999999999999"), Err(HeadFault::Malformed));
        assert_eq!(with("Transfer-Encoding: gzip, chunked"), Err(HeadFault::Coding));
        assert_eq!(with("Host: y"), Err(HeadFault::Malformed));
        assert_eq!(with("Authorization: a\r\nAuthorization: b"), Err(HeadFault::Malformed));
        assert_eq!(with("Content-Length: 1\r\n folded"), Err(HeadFault::Malformed));
        assert_eq!(with("Transfer-Encoding: Chunked").map(|head| head.length), Ok(Length::Chunked));
        assert_eq!(parsed("GET / HTTP/1.1\r\n\r\n"), Err(HeadFault::Malformed));
        assert_eq!(parsed("BR EW / HTTP/1.1\r\nHost: x\r\n\r\n"), Err(HeadFault::Malformed));
    }

    #[test]
    fn a_head_is_bounded() {
        let long = alloc::format!("GET /{} HTTP/1.1\r\nHost: x\r\n", "a".repeat(HEAD_MAX));
        assert_eq!(Head::parse(long.as_bytes()), Err(HeadFault::TooLarge));
        let many = alloc::format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(HEADERS_MAX + 1));
        assert_eq!(Head::parse(many.as_bytes()), Err(HeadFault::TooLarge));
    }

    #[test]
    fn escapes_are_taken_out_once() {
        assert_eq!(decode("a%2Fb%2525").as_deref(), Some("a/b%25"));
        assert_eq!(decode("%"), None);
        assert_eq!(decode("%zz"), None);
        assert_eq!(decode("%ff"), None);
    }
}
