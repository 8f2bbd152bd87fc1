//! Bytes both ways, and how a connection ends.

use super::*;
use embedded_io_async::{Read, Write};

/// Bytes that say where they belong.
fn numbered(count: usize) -> Vec<u8> {
    (0..count.div_ceil(4) as u32).flat_map(u32::to_le_bytes).take(count).collect()
}

fn setup(server: &Server) -> client::Setup {
    client::Setup::new(&server.ca, &client::SUITES, &client::groups())
}

#[test]
fn a_megabyte_up_and_one_down() {
    let server = Server::new();
    let much = numbered(1 << 20);
    let (received, client) = server.with(
        async |tls| {
            let mut tls = tls.unwrap();
            let mut received = alloc::vec![0; much.len()];
            tls.read_exact(&mut received).await.unwrap();
            tls.write_all(&much).await.unwrap();
            tls.close().await.unwrap();
            // The client says so, too.
            assert_eq!(tls.read(&mut [0; 16]).await, Ok(0));
            received
        },
        async |stream| {
            let mut client = setup(&server).connect(stream, "esx0");
            client.shake().await;
            client.send(&much).await;
            client.read_to_end().await;
            client.connection.send_close_notify();
            client.transmit().await;
            client
        },
    );
    assert!(received == much, "what came up");
    assert!(client.text == much && client.ended_well, "what went down");
}

/// Small reads take large records piece by piece; what a dropped read would have taken is there for the next one.
#[test]
fn a_read_that_is_dropped_takes_nothing() {
    let server = Server::new();
    let text = numbered(20_000);
    let (received, _) = server.with(
        async |tls| {
            let mut tls = tls.unwrap();
            let mut received = Vec::new();
            let mut piece = [0; 77];
            loop {
                // A read that waits is dropped and begun anew, again and again.
                let read =
                    embassy_futures::select::select(tls.read(&mut piece), embassy_futures::yield_now());
                match read.await {
                    embassy_futures::select::Either::First(Ok(0)) => break received,
                    embassy_futures::select::Either::First(bytes) => {
                        received.extend_from_slice(&piece[..bytes.unwrap()]);
                    }
                    embassy_futures::select::Either::Second(()) => {}
                }
            }
        },
        async |stream| {
            let mut client = setup(&server).connect(stream, "esx0");
            client.shake().await;
            client.send(&text).await;
            client.connection.send_close_notify();
            client.transmit().await;
        },
    );
    assert!(received == text);
}

#[test]
fn a_cut_is_not_an_end() {
    let server = Server::new();
    for (say_so, expected) in [(true, Ok(0)), (false, Err(Fault::Cut))] {
        let (ended, ()) = server.with(
            async |tls| {
                let mut tls = tls.unwrap();
                let mut text = [0; 4];
                tls.read_exact(&mut text).await.unwrap();
                tls.read(&mut text).await
            },
            async |stream| {
                let mut client = setup(&server).connect(stream, "esx0");
                client.shake().await;
                client.send(b"text").await;
                if say_so {
                    client.connection.send_close_notify();
                    client.transmit().await;
                }
            },
        );
        assert_eq!(ended, expected);
    }
}

#[test]
fn a_cut_at_any_byte_of_the_handshake_ends_it() {
    let server = Server::new();
    let mut whole = 0;
    for cut in (0..).step_by(61) {
        let (served, sent) = server.with(
            async |tls| tls.map(|_| ()),
            async |mut stream| {
                let mut client = setup(&server).connect(pair().0, "esx0");
                let mut left = cut;
                loop {
                    let mut bytes = Vec::new();
                    while client.connection.wants_write() {
                        client.connection.write_tls(&mut bytes).unwrap();
                    }
                    let sent = bytes.len().min(left);
                    stream.write_all(&bytes[..sent]).await.unwrap();
                    left -= sent;
                    let is_done = !client.connection.is_handshaking();
                    if sent == bytes.len() && is_done {
                        // The ticket comes.
                        assert!(stream.read(&mut [0; 10]).await.unwrap() > 0);
                    }
                    if sent < bytes.len() || is_done {
                        return cut - left;
                    }
                    let mut bytes = [0; 2000];
                    let count = stream.read(&mut bytes).await.unwrap();
                    client.connection.read_tls(&mut &bytes[..count]).unwrap();
                    client.connection.process_new_packets().unwrap();
                }
            },
        );
        if sent < cut {
            whole += 1;
            assert_eq!(served, Ok(()));
            break;
        }
        assert_eq!(served, Err(Fault::Cut), "after {cut} bytes");
    }
    assert_eq!(whole, 1);
}

/// A client may ask for new keys at any time; what it sends after that is read with them.
#[test]
fn keys_are_renewed() {
    let server = Server::new();
    let (text, client) = server.with(
        async |tls| {
            let mut tls = tls.unwrap();
            let mut text = [0; 10];
            tls.read_exact(&mut text).await.unwrap();
            tls.write_all(&text).await.unwrap();
            tls.close().await.unwrap();
            text
        },
        async |stream| {
            let mut client = setup(&server).connect(stream, "esx0");
            client.shake().await;
            client.send(b"first").await;
            client.connection.refresh_traffic_keys().unwrap();
            client.send(b"other").await;
            client.read_to_end().await;
            client
        },
    );
    assert_eq!((&text, client.text.as_slice()), (b"firstother", &b"firstother"[..]));
    assert!(client.ended_well);
}
