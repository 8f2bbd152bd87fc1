//! What a request by plain HTTP is answered: the same place by HTTPS. RFC 9110, 15.4.2 "301 Moved Permanently".
//!
//! Called by: hostd for port 80, with the head of the request as far as it came. Pure.

use alloc::format;
use alloc::string::String;

/// Most bytes of a head that are read; a longer one is answered by what it has up to there.
pub const HEAD_BYTES: usize = 2048;

/// Whether `head` has come to its end.
pub fn is_whole(head: &[u8]) -> bool {
    head.windows(4).any(|four| four == b"\r\n\r\n")
}

/// The answer to `head`. `address` stands in where it names no host.
pub fn answer(head: &[u8], address: &str) -> String {
    let head = core::str::from_utf8(head).unwrap_or_default();
    let mut lines = head.split("\r\n");
    let path =
        lines.next().and_then(|line| line.split(' ').nth(1)).filter(|path| is_path(path)).unwrap_or("/");
    let host = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("host"))
        .and_then(|(_, value)| host(value.trim()))
        .unwrap_or(address);
    format!(
        "HTTP/1.1 301 Moved Permanently\r\nLocation: https://{host}{path}\r\nContent-Length: 0\r\n\
         Connection: close\r\n\r\n"
    )
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && !text.starts_with("//") && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A host without its port: a name, an IPv4 address, or an IPv6 address in brackets.
fn host(text: &str) -> Option<&str> {
    let host = match text.strip_prefix('[') {
        Some(rest) => text.get(..rest.find(']')?.checked_add(2)?)?,
        None => text.split(':').next()?,
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    (!host.is_empty() && host.bytes().all(fits)).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(head: &str) -> String {
        let answer = answer(head.as_bytes(), "10.0.2.15");
        let (_, rest) = answer.split_once("Location: ").unwrap();
        rest.split_once("\r\n").unwrap().0.into()
    }

    #[test]
    fn the_same_place_by_https() {
        assert_eq!(
            location("GET /a?b=c HTTP/1.1\r\nHost: esx0.local:8080\r\n\r\n"),
            "https://esx0.local/a?b=c"
        );
        assert_eq!(location("GET / HTTP/1.1\r\nhOST: [fe80::1]:80\r\n\r\n"), "https://[fe80::1]/");
        assert_eq!(location("GET / HTTP/1.0\r\n\r\n"), "https://10.0.2.15/");
    }

    #[test]
    fn nothing_that_is_sent_gets_into_another_header_or_leads_elsewhere() {
        for head in ["", "GET", "GET //evil/ HTTP/1.1\r\n", "GET http://evil/ HTTP/1.1\r\n", "\u{0}\r\n\r\n"]
        {
            assert_eq!(location(head), "https://10.0.2.15/", "{head:?}");
        }
        for host in ["a b", "a/b", "a@b", "[::1", "é", ":443", "a\"b"] {
            assert_eq!(
                location(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")),
                "https://10.0.2.15/",
                "{host:?}"
            );
        }
        assert_eq!(answer(&[0xff; 100], "h").matches("\r\n").count(), 5);
    }

    #[test]
    fn a_head_is_whole_at_its_empty_line() {
        assert!(is_whole(b"GET / HTTP/1.1\r\n\r\n"));
        assert!(!is_whole(b"GET / HTTP/1.1\r\nHost: x\r\n"));
    }
}
