//! The web UI's files, as browsers get them.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod client;

use client::{Answer, Client, House};
use management::web::Web;

const PACK: &[u8] = b"bramble-web 1\n/index.html\ttext/html; charset=utf-8\tt1\t4\n\
    /assets/a-1.js\ttext/javascript\tt2\t3\n\nPAGEJS!";

fn house() -> House {
    House::with_web(Web::open(PACK).unwrap())
}

/// Asks as a browser does.
async fn get(client: &mut Client, path: &str, lines: &str) -> Answer {
    client.bytes("GET", path, &format!("Accept-Encoding: gzip, deflate, br, zstd\r\n{lines}"), b"").await
}

#[test]
fn the_page_comes_compressed_with_all_that_browsers_hold_it_to() {
    let house = house();
    house.run(async {
        let mut client = Client::connect(&house);
        for path in ["/", "/vms/web"] {
            let page = get(&mut client, path, "").await;
            assert_eq!((page.status, page.body.as_slice()), (200, b"PAGE".as_slice()), "{path}");
            for (name, value) in [
                ("content-type", "text/html; charset=utf-8"),
                ("content-encoding", "br"),
                ("cache-control", "no-cache"),
                ("etag", "\"t1\""),
                ("vary", "Accept-Encoding"),
                ("x-content-type-options", "nosniff"),
                ("referrer-policy", "no-referrer"),
                ("x-frame-options", "DENY"),
                ("cross-origin-opener-policy", "same-origin"),
                ("cross-origin-resource-policy", "same-origin"),
                ("strict-transport-security", "max-age=31536000"),
            ] {
                assert_eq!(page.header(name), Some(value), "{path}: {name}");
            }
            let policy = page.header("content-security-policy").unwrap();
            for rule in
                ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"]
            {
                assert!(policy.split("; ").any(|known| known == rule), "{policy}");
            }
        }
    });
}

#[test]
fn hashed_files_are_kept_for_good_and_the_page_is_asked_for_anew() {
    let house = house();
    house.run(async {
        let mut client = Client::connect(&house);
        let script = get(&mut client, "/assets/a-1.js", "").await;
        assert_eq!((script.status, script.body.as_slice()), (200, b"JS!".as_slice()));
        assert_eq!(script.header("cache-control"), Some("public, max-age=31536000, immutable"));
        assert!(script.header("content-security-policy").is_some(), "workers take theirs from their script");
        for (seen, status) in [("\"t1\"", 304), ("W/\"t0\", W/\"t1\"", 304), ("\"t0\"", 200)] {
            let page = get(&mut client, "/", &format!("If-None-Match: {seen}\r\n")).await;
            assert_eq!((page.status, page.header("etag")), (status, Some("\"t1\"")), "{seen}");
            assert_eq!(page.body.is_empty(), status == 304);
        }
        // A script of an older page is not the page.
        let gone = get(&mut client, "/assets/a-0.js", "").await;
        assert_eq!((gone.status, gone.header("content-type")), (404, Some("application/problem+json")));
    });
}

#[test]
fn who_takes_no_brotli_is_told_so() {
    let house = house();
    house.run(async {
        let mut client = Client::connect(&house);
        for lines in ["", "Accept-Encoding: gzip\r\n", "Accept-Encoding: gzip, br;q=0.000\r\n"] {
            let refused = client.bytes("GET", "/", lines, b"").await;
            assert_eq!(
                (refused.status, refused.json()["reason"].as_str()),
                (406, Some("only-brotli")),
                "{lines}"
            );
        }
        assert_eq!(client.bytes("GET", "/", "Accept-Encoding: br;q=0.5\r\n", b"").await.status, 200);
    });
}

#[test]
fn files_are_only_read_and_the_api_stays_what_it_is() {
    let house = house();
    house.run(async {
        house.first_password().await;
        let mut client = Client::connect(&house);
        let refused = client.ask("POST", "/vms", "").await;
        assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD")));
        assert_eq!(client.get("/api/v1").await.json()["product"], "Bramble");
        assert_eq!(get(&mut client, "/api/v1/nothing", "").await.json()["reason"], "no-such-path");
        assert_eq!(client.get("/metrics").await.status, 401);
    });
    let without = House::default();
    without.run(async {
        assert_eq!(get(&mut Client::connect(&without), "/", "").await.json()["reason"], "no-such-path");
    });
}
