//! A connection, through a stream in memory: what is taken, what is refused, how long who may take.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod client;

use client::{Client, House};
use core::time::Duration;

#[test]
fn several_requests_go_through_one_connection() {
    let house = House::default();
    house.run(async {
        let mut client = Client::connect(&house);
        for _ in 0..3 {
            let answer = client.get("/api/v1").await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.json()["product"], "Bramble");
        }
    });
}

#[test]
fn requests_that_come_together_are_answered_in_order() {
    let house = House::default();
    house.run(async {
        let mut client = Client::connect(&house);
        let one = "GET /api/v1 HTTP/1.1\r\nHost: x\r\n\r\n";
        client.send(&format!("{one}\r\nGET /no HTTP/1.1\r\nHost: x\r\n\r\n{one}")).await;
        let statuses =
            [client.answer().await.status, client.answer().await.status, client.answer().await.status];
        assert_eq!(statuses, [200, 404, 200]);
    });
}

#[test]
fn what_is_not_there_is_a_problem_with_a_remedy() {
    let house = House::default();
    house.run(async {
        let mut client = Client::connect(&house);
        let answer = client.get("/api/v1/nothing").await;
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        let problem = answer.json();
        assert_eq!((problem["status"].as_u64(), problem["title"].as_str()), (Some(404), Some("Not Found")));
        assert_eq!(problem["reason"], "no-such-path");
        assert!(!problem["remedy"].as_str().unwrap().is_empty());
    });
}

#[test]
fn methods_are_told() {
    let house = House::default();
    house.run(async {
        let mut client = Client::connect(&house);
        let answer = client.ask("DELETE", "/api/v1", "").await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
        assert_eq!(client.ask("BREW", "/api/v1", "").await.status, 405);
        let answer = client.ask("OPTIONS", "/api/v1", "").await;
        assert_eq!((answer.status, answer.header("allow")), (204, Some("GET, HEAD, OPTIONS")));
        let answer = client.head("/api/v1").await;
        let length = answer.header("content-length").unwrap().to_owned();
        assert_eq!((answer.status, answer.body.len()), (200, 0));
        assert_eq!(client.get("/api/v1").await.body.len().to_string(), length);
    });
}

#[test]
fn a_bad_head_is_answered_and_ends_the_connection() {
    let house = House::default();
    house.run(async {
        for (bytes, status) in [
            ("\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
            ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ] {
            let mut client = Client::connect(&house);
            client.send(bytes).await;
            assert_eq!(client.answer().await.status, status, "{bytes:?}");
            assert!(client.is_closed().await, "{bytes:?}");
        }
        let mut client = Client::connect(&house);
        client.send(&format!("GET /{} HTTP/1.1\r\n", "a".repeat(9000))).await;
        assert_eq!(client.answer().await.status, 431);
    });
}

#[test]
fn a_body_that_nobody_wants_is_read_or_ends_the_connection() {
    let house = House::default();
    house.run(async {
        let mut client = Client::connect(&house);
        client.send("GET /api/v1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        client.send("3;ext=1\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nTrailer: x\r\n\r\n").await;
        assert_eq!(client.answer().await.status, 200);
        client.send("GET /api/v1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n").await;
        assert_eq!(client.answer().await.status, 400);
        assert!(client.is_closed().await);
        let mut client = Client::connect(&house);
        client.send("GET /api/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n").await;
        assert_eq!(client.answer().await.status, 413);
        assert!(client.is_closed().await);
    });
}

#[test]
fn who_is_slow_is_let_go() {
    let house = House::default();
    house.run(async {
        // One byte every second never makes a head.
        let mut client = Client::connect(&house);
        for byte in "GET /api/v1 HTTP/1.1\r\n".chars() {
            client.send(&byte.to_string()).await;
            house.sleep(Duration::from_secs(1)).await;
        }
        assert!(client.is_closed().await);
        assert!(house.now() < Duration::from_secs(30));
        // Nor does silence.
        let before = house.now();
        assert!(Client::connect(&house).is_closed().await);
        assert!(house.now() - before <= Duration::from_secs(15));
    });
}

#[test]
fn idle_strangers_give_way_to_a_newcomer() {
    let house = House::default();
    house.run(async {
        let mut idle: Vec<Client> = (0..200).map(|_| Client::connect(&house)).collect();
        let mut newcomer = Client::connect(&house);
        assert_eq!(newcomer.get("/api/v1").await.status, 200);
        assert!(idle[0].is_closed().await);
        assert!(house.now() < Duration::from_secs(1));
    });
}

#[test]
fn a_connection_takes_little_memory() {
    let house = House::default();
    let (_ours, theirs) = management::fake::pair();
    let peer = std::net::SocketAddr::from(([192, 0, 2, 7], 40_000));
    let ticket = house.management.admit(peer.ip()).unwrap();
    let task = management::serve(&house.management, theirs, peer, ticket);
    // Beside its buffer of 8 KiB; 32 of them are to fit hostd's heap.
    let bytes = size_of_val(&task);
    assert!(bytes <= 16 * 1024, "{bytes}");
}
