//! Any bytes to hostd by someone who has logged in as an administrator, and to it by anyone: nothing panics, every answer
//! is one, the audit chain holds, and hostd still answers afterwards.
//!
//! A `\xff` in the input stands for a header line with the session's token, so that the fuzzer gets past the door.
#![no_main]

use embedded_io_async::{Read, Write};
use management::Management;
use management::fake::{Host, pair};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;

const TOKEN: &str = "bramble_fuzz";

fn users() -> String {
    let hash = management::secret::kept(TOKEN);
    format!(
        r#"{{"users":[{{"name":"f","role":"administrator","password":{{"memory_kib":8,"passes":1,"salt":"AAAAAAAAAAA","hash":""}},"must_change_password":false,"created_at":0}}],"tokens":[{{"id":"t","name":"t","user":"f","role":"administrator","created_at":0,"hash":"{hash}"}}]}}"#
    )
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let host = Host::default();
    host.vmkernel.put_object("host:users", users().as_bytes());
    let time = host.time.clone();
    let management = Management::new(host);
    let mut input = Vec::new();
    for byte in bytes {
        match byte {
            0xff => {
                input.extend_from_slice(format!("Host: x\r\nAuthorization: Bearer {TOKEN}\r\n").as_bytes())
            }
            byte => input.push(*byte),
        }
    }
    let peer = SocketAddr::from(([192, 0, 2, 7], 40_000));
    let visit = async |input: &[u8]| {
        let (mut ours, theirs) = pair();
        let ticket = management.admit(peer.ip()).expect("room");
        let client = async {
            let mut answer = Vec::new();
            let mut sent = 0;
            let mut piece = [0; 256];
            while sent < input.len() {
                sent += match ours.write(&input[sent..input.len().min(sent + 700)]).await {
                    Ok(0) => break,
                    Ok(n) => n,
                    Err(e) => match e {},
                };
                if answer.len() < 1 << 20 && sent < input.len() {
                    continue;
                }
            }
            management.port().time.sleep(std::time::Duration::from_secs(1)).await;
            let Ok(bytes) = ours.read(&mut piece).await;
            answer.extend_from_slice(&piece[..bytes]);
            drop(ours);
            answer
        };
        let serve = management::serve(&management, theirs, peer, ticket);
        let (mut client, mut serve) = (pin!(client), pin!(serve));
        let mut served = false;
        poll_fn(|context| {
            served = served || serve.as_mut().poll(context).is_ready();
            client.as_mut().poll(context)
        })
        .await
    };
    let all = async {
        let answer = visit(&input).await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 "));
        let answer = visit(b"GET /api/v1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    };
    let mut all = pin!(all);
    let mut run = pin!(management.run());
    let both = poll_fn(|context| {
        if all.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        assert!(run.as_mut().poll(context).is_pending());
        Poll::Pending
    });
    time.run(both).expect("the client is answered");
});
