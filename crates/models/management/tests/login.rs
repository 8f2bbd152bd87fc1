//! Who gets in, who does not, and what the audit chain says of it.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod client;

use client::{Client, House, PASSWORD};
use serde_json::{Value, json};
use std::time::Duration;

#[test]
fn the_first_login_is_by_the_consoles_password_which_has_to_be_changed() {
    let house = House::default();
    house.run(async {
        let first = house.first_password().await;
        let mut client = Client::connect(&house);
        let answer = client.log_in("admin", &first).await;
        assert_eq!(answer.status, 201);
        assert_eq!(answer.json()["must_change_password"], true);
        let cookie = answer.header("set-cookie").unwrap();
        for word in ["__Host-bramble=", "Path=/", "Secure", "HttpOnly", "SameSite=Strict"] {
            assert!(cookie.contains(word), "{cookie}");
        }
        let refused = client.get("/api/v1/users").await;
        assert_eq!(
            (refused.status, refused.json()["reason"].as_str()),
            (403, Some("password-change-needed"))
        );
        let weak = json!({ "current": first, "new": "short" });
        let refused = client.json("POST", "/api/v1/session/password", &weak).await;
        assert_eq!((refused.status, refused.json()["field"].as_str()), (422, Some("new")));
        let good = json!({ "current": first, "new": PASSWORD });
        assert_eq!(client.json("POST", "/api/v1/session/password", &good).await.status, 204);
        assert_eq!(client.get("/api/v1/users").await.json()["total"], 1);
        // The console's password is good no more.
        assert_eq!(Client::connect(&house).log_in("admin", &first).await.status, 401);
        assert_eq!(Client::connect(&house).log_in("admin", PASSWORD).await.status, 201);
    });
}

#[test]
fn a_password_is_never_kept_or_told() {
    let house = House::default();
    house.run(async {
        let mut admin = house.administrator().await;
        house.user(&mut admin, "bob", "viewer").await;
        let objects = house.management.port().vmkernel.objects();
        let chain = house.audit(&mut admin).await;
        let objects: Vec<_> = objects.values().map(|bytes| String::from_utf8_lossy(bytes)).collect();
        let everything = format!("{objects:?} {chain:?} {}", house.log().concat());
        assert!(everything.contains("bob"));
        assert!(!everything.contains(PASSWORD) && !everything.contains("some words to change"));
        let session = admin.headers.split("__Host-bramble=").nth(1).unwrap().split("\r\n").next().unwrap();
        assert!(!everything.contains(session));
    });
}

#[test]
fn sessions_outlive_hostd() {
    let house = House::default();
    let headers = house.run(async { house.administrator().await.headers.clone() });
    let house = house.restart();
    house.run(async {
        house.sleep(Duration::from_secs(1)).await;
        let mut client = Client::connect(&house);
        client.headers = headers;
        let answer = client.get("/api/v1/session").await;
        assert_eq!((answer.status, answer.json()["user"].as_str()), (200, Some("admin")));
        assert_eq!(house.log().iter().filter(|line| line.starts_with("first login")).count(), 1);
    });
}

#[test]
fn sessions_end_by_log_out_idleness_and_age() {
    let house = House::default();
    house.run(async {
        let mut client = house.administrator().await;
        let before = client.headers.clone();
        assert_eq!(client.ask("DELETE", "/api/v1/session", "").await.status, 204);
        assert_eq!(client.get("/api/v1/session").await.status, 401);
        assert_eq!(client.log_in("admin", PASSWORD).await.status, 201);
        assert_ne!(client.headers, before);
        for _ in 0..25 {
            house.sleep(Duration::from_secs(29 * 60)).await;
            let mut later = Client::connect(&house);
            later.headers.clone_from(&client.headers);
            let status = later.get("/api/v1/session").await.status;
            assert_eq!(status == 200, house.now() < Duration::from_secs(12 * 3600), "{:?}", house.now());
        }
        let mut client = Client::connect(&house);
        client.log_in("admin", PASSWORD).await;
        house.sleep(Duration::from_secs(31 * 60)).await;
        let mut later = Client::connect(&house);
        later.headers.clone_from(&client.headers);
        assert_eq!(later.get("/api/v1/session").await.status, 401);
    });
}

#[test]
fn changes_by_a_browser_need_the_sessions_word_and_this_hosts_page() {
    let house = House::default();
    house.run(async {
        let mut client = house.administrator().await;
        let with = client.headers.clone();
        let cookie = with.lines().next().unwrap().to_owned() + "\r\n";
        let new = json!({ "name": "eve", "role": "administrator", "password": "some words to change" });
        for (headers, reason) in [
            (cookie.clone(), "csrf"),
            (cookie + "X-Bramble-CSRF: guessed\r\n", "csrf"),
            (with.clone() + "Origin: https://evil.example\r\n", "foreign-origin"),
            (with.clone() + "Origin: null\r\n", "foreign-origin"),
            (with.clone() + "Sec-Fetch-Site: cross-site\r\n", "foreign-origin"),
        ] {
            client.headers = headers;
            let answer = client.json("POST", "/api/v1/users", &new).await;
            assert_eq!((answer.status, answer.json()["reason"].as_str()), (403, Some(reason)));
            client = Client::connect(&house);
        }
        client.headers = with + "Origin: https://x\r\nSec-Fetch-Site: same-origin\r\n";
        assert_eq!(client.json("POST", "/api/v1/users", &new).await.status, 201);
    });
}

#[test]
fn guessing_locks_out_one_address_and_is_summed_up() {
    let house = House::default();
    house.run(async {
        let mut admin = house.administrator().await;
        let mut statuses = Vec::new();
        for _ in 0..8 {
            let mut guesser = Client::connect_from(&house, [203, 0, 113, 9]);
            statuses.push(guesser.log_in("admin", "a wrong password").await.status);
        }
        assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429, 429]);
        let mut right = Client::connect_from(&house, [203, 0, 113, 9]);
        let refused = right.log_in("admin", PASSWORD).await;
        assert_eq!(refused.status, 429);
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        // Another address is another matter; and after the wait the right one gets in.
        assert_eq!(
            Client::connect_from(&house, [203, 0, 113, 10]).log_in("admin", PASSWORD).await.status,
            201
        );
        house.sleep(Duration::from_secs(wait)).await;
        assert_eq!(
            Client::connect_from(&house, [203, 0, 113, 9]).log_in("admin", PASSWORD).await.status,
            201
        );
        house.sleep(Duration::from_secs(61)).await;
        let chain = house.audit(&mut Client::with(&house, &admin)).await;
        let refused: Vec<&Value> =
            chain.iter().filter(|entry| entry["refused"] == "wrong-password").collect();
        assert_eq!(refused.len(), 2, "{chain:?}");
        assert_eq!((refused[0]["from"].as_str(), &refused[0]["count"]), (Some("203.0.113.9"), &Value::Null));
        assert_eq!(refused[1]["count"], 4);
        admin.headers.clear();
    });
}

#[test]
fn a_wrong_user_takes_as_long_as_a_wrong_password() {
    let house = House::default();
    house.run(async {
        house.administrator().await;
        let mut times = Vec::new();
        for user in ["admin", "nobody-of-that-name"] {
            let before = house.now();
            assert_eq!(Client::connect(&house).log_in(user, "a wrong password").await.status, 401);
            times.push(house.now() - before);
        }
        assert_eq!(times[0], times[1]);
    });
}

#[test]
fn hashes_delay_nobody_else() {
    let house = House::default();
    house.run(async {
        let mut admin = house.administrator().await;
        let mut guessers: Vec<Client> =
            (0..7).map(|n| Client::connect_from(&house, [203, 0, 113, n])).collect();
        for guesser in &mut guessers {
            let body = r#"{"user":"admin","password":"a wrong one"}"#;
            let head = "POST /api/v1/session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
            guesser.send(&format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())).await;
        }
        let before = house.now();
        assert_eq!(admin.get("/api/v1/session").await.status, 200);
        assert_eq!(house.now(), before);
        // One at a time: a hash takes 50 ms here.
        for guesser in &mut guessers {
            assert_eq!(guesser.answer().await.status, 401);
        }
        assert!(house.now() - before >= Duration::from_millis(350));
    });
}

#[test]
fn roles_are_kept_apart() {
    let house = House::default();
    house.run(async {
        let mut admin = house.administrator().await;
        let mut viewer = house.user(&mut admin, "vera", "viewer").await;
        for (method, path, body) in [
            ("GET", "/api/v1/users", json!(null)),
            (
                "POST",
                "/api/v1/users",
                json!({ "name": "eve", "role": "administrator", "password": "some words to change" }),
            ),
            ("DELETE", "/api/v1/users/admin", json!(null)),
            ("PATCH", "/api/v1/users/vera", json!({ "role": "administrator" })),
            ("GET", "/api/v1/audit", json!(null)),
            ("POST", "/api/v1/tokens", json!({ "name": "t", "role": "operator" })),
        ] {
            let answer = viewer.json(method, path, &body).await;
            assert_eq!(answer.status, 403, "{method} {path}: {answer:?}");
        }
        assert_eq!(
            admin.json("PATCH", "/api/v1/users/vera", &json!({ "role": "administrator" })).await.status,
            200
        );
        assert_eq!(viewer.get("/api/v1/users").await.status, 200);
        assert_eq!(admin.ask("DELETE", "/api/v1/users/vera", "").await.status, 204);
        assert_eq!(viewer.get("/api/v1/session").await.status, 401);
        let last = admin.ask("DELETE", "/api/v1/users/admin", "").await;
        assert_eq!((last.status, last.json()["reason"].as_str()), (409, Some("last-administrator")));
        let last = admin.json("PATCH", "/api/v1/users/admin", &json!({ "role": "viewer" })).await;
        assert_eq!(last.status, 409);
    });
}

#[test]
fn tokens_are_for_tools() {
    let house = House::default();
    house.run(async {
        let mut admin = house.administrator().await;
        let made =
            admin.json("POST", "/api/v1/tokens", &json!({ "name": "ci", "role": "viewer", "days": 2 })).await;
        let (secret, id) = (made.json()["secret"].clone(), made.json()["token"]["id"].clone());
        let mut tool = Client::connect(&house);
        tool.headers = format!("Authorization: Bearer {}\r\n", secret.as_str().unwrap());
        assert_eq!(tool.get("/api/v1/session").await.json()["role"], "viewer");
        // As far as its scope goes, whoever made it.
        assert_eq!(tool.get("/api/v1/users").await.status, 403);
        assert_eq!(tool.get("/api/v1/tokens").await.json()["items"][0]["name"], "ci");
        let change = json!({ "current": PASSWORD, "new": "another of four words" });
        assert_eq!(tool.json("POST", "/api/v1/session/password", &change).await.status, 403);
        house.management.port().vmkernel.set_clock_ahead(2 * 86_400);
        assert_eq!(tool.get("/api/v1/session").await.status, 401);
        house.management.port().vmkernel.set_clock_ahead(0);
        let path = format!("/api/v1/tokens/{}", id.as_str().unwrap());
        assert_eq!(admin.ask("DELETE", &path, "").await.status, 204);
        let mut tool = Client::connect(&house);
        tool.headers = format!("Authorization: Bearer {}\r\n", secret.as_str().unwrap());
        assert_eq!(tool.get("/api/v1/session").await.status, 401);
    });
}

#[test]
fn damaged_users_are_not_written_over() {
    let house = House::default();
    house.management.port().vmkernel.put_object("host:users", b"{\"users\": 7}");
    house.run(async {
        house.sleep(Duration::from_secs(10)).await;
        let answer = Client::connect(&house).log_in("admin", PASSWORD).await;
        assert_eq!((answer.status, answer.json()["reason"].as_str()), (503, Some("starting")));
        assert!(house.log().concat().contains("host:users is damaged"));
        house.management.port().vmkernel.show_presence(abi::call::PRESENCE_KEY);
        house.sleep(Duration::from_secs(5)).await;
        assert_eq!(house.management.port().vmkernel.objects()["host:users"], b"{\"users\": 7}");
    });
}

#[test]
fn a_bad_body_names_its_field() {
    let house = House::default();
    house.run(async {
        let mut admin = house.administrator().await;
        for (body, status, field) in [
            (r#"{"name":"x","role":"king","password":"some words to change"}"#, 422, "role"),
            (r#"{"name":"x","role":"viewer"}"#, 422, "password"),
            (r#"{"name":"x","role":"viewer","password":"some words to change","admin":true}"#, 422, "admin"),
            (r#"{"name":7,"role":"viewer","password":"some words to change"}"#, 422, "name"),
            (r#"{"name":"Ü","role":"viewer","password":"some words to change"}"#, 422, "name"),
            (r#"{"name":"#, 400, ""),
            (r#"{"name":"x","role":"viewer","password":"some words to change"} {}"#, 400, ""),
        ] {
            let head =
                "POST /api/v1/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json; charset=utf-8\r\n";
            let headers = admin.headers.clone();
            admin.send(&format!("{head}{headers}Content-Length: {}\r\n\r\n{body}", body.len())).await;
            let answer = admin.answer().await;
            assert_eq!(answer.status, status, "{body}: {answer:?}");
            assert_eq!(answer.json()["field"].as_str().unwrap_or_default(), field, "{body}");
        }
        assert_eq!(admin.ask("POST", "/api/v1/users", "name=x").await.status, 415);
        assert_eq!(admin.get("/api/v1/users").await.json()["total"], 1);
    });
}

#[test]
fn the_chain_tells_who_what_before_and_after_and_holds() {
    let house = House::default();
    house.run(async {
        let mut admin = house.administrator().await;
        house.user(&mut admin, "bob", "viewer").await;
        admin.json("PATCH", "/api/v1/users/bob", &json!({ "role": "operator" })).await;
        let chain = house.audit(&mut admin).await;
        let whats: Vec<&str> = chain.iter().map(|entry| entry["what"].as_str().unwrap()).collect();
        assert_eq!(
            whats,
            ["login", "password.change", "user.create", "login", "password.change", "user.change"]
        );
        let must = |entry: &Value, when: &str| entry[when]["must_change_password"].clone();
        assert_eq!((must(&chain[1], "before"), must(&chain[1], "after")), (json!(true), json!(false)));
        let change = chain.last().unwrap();
        assert_eq!((change["who"].as_str(), change["from"].as_str()), (Some("admin"), Some("192.0.2.7")));
        assert_eq!(
            (&change["before"]["role"], &change["after"]["role"]),
            (&json!("viewer"), &json!("operator"))
        );
        // In pages of two.
        let mut from = 1;
        let mut seen = 0;
        loop {
            let page = admin.get(&format!("/api/v1/audit?from={from}&limit=2")).await.json();
            seen += page["items"].as_array().unwrap().len();
            match page["next"].as_u64() {
                Some(next) => from = next,
                None => break,
            }
        }
        assert_eq!(seen, 6);
    });
}

/// While a password is looked at, a crowd from another address comes and goes.
#[test]
fn a_crowd_elsewhere_does_not_push_a_login_out() {
    let house = House::default();
    house.run(async {
        drop(house.administrator().await);
        let mut client = Client::connect(&house);
        client.send(&login("admin", PASSWORD)).await;
        house.sleep(Duration::from_millis(10)).await;
        let mut crowd: Vec<Client> = (0..40).map(|_| Client::connect_from(&house, [192, 0, 2, 66])).collect();
        assert_eq!(client.answer().await.status, 201);
        assert!(crowd[0].is_closed().await, "they gave way to each other");
    });
}

/// Of those who wait for their password's hash each source has its turn.
#[test]
fn a_login_waits_for_one_hash_of_another_source_only() {
    let house = House::default();
    house.run(async {
        drop(house.administrator().await);
        let mut crowd: Vec<Client> = (0..6).map(|_| Client::connect_from(&house, [192, 0, 2, 66])).collect();
        for guesser in &mut crowd {
            guesser.send(&login("admin", "not this one")).await;
        }
        house.sleep(Duration::from_millis(10)).await;
        let mut client = Client::connect(&house);
        let begun = house.now();
        client.send(&login("admin", PASSWORD)).await;
        assert_eq!(client.answer().await.status, 201);
        let (took, hash) = (house.now() - begun, Duration::from_millis(50));
        assert!(took <= 2 * hash + Duration::from_millis(10), "{took:?}");
        for guesser in &mut crowd {
            assert!(matches!(guesser.answer().await.status, 401 | 429));
        }
    });
}

/// The request that logs in.
fn login(user: &str, password: &str) -> String {
    let body = json!({ "user": user, "password": password }).to_string();
    let length = body.len();
    format!(
        "POST /api/v1/session HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nContent-Type: application/json\r\n\r\n{body}"
    )
}
