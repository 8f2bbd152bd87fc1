//! Any bytes as the head of a request, and as a frame of a WebSocket: what is taken fits what came.
#![no_main]

use management::http::Head;
use management::http::head::{HEAD_MAX, Length, decode};
use management::http::websocket;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some((head, taken))) = Head::parse(bytes) {
        assert!(taken <= bytes.len() && taken <= HEAD_MAX && head.path.starts_with('/'));
        if head.header("transfer-encoding").is_some() {
            assert!(head.length == Length::Chunked && head.header("content-length").is_none());
        }
        let _ =
            (head.cookie("a"), head.parameter("b"), head.lists("connection", "close"), decode(&head.path));
        // What follows a head does not change it.
        let more = [bytes, b"GET / HTTP/1.1\r\n\r\n"].concat();
        assert_eq!(Head::parse(&more), Ok(Some((head, taken))));
    }
    if let Ok(Some((frame, taken))) = websocket::decode(bytes) {
        assert!(taken <= bytes.len() && frame.payload.len() < taken);
    }
});
