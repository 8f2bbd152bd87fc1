//! Who is logged in and who is locked out: seen, and ended.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod client;

use client::{Client, House, PASSWORD};
use serde_json::Value;
use std::time::Duration;

async fn items(client: &mut Client, path: &str) -> Vec<Value> {
    client.get(path).await.json()["items"].as_array().unwrap().clone()
}

#[test]
fn an_administrator_sees_all_sessions_and_ends_one() {
    let house = House::default();
    house.run(async {
        let mut admin = house.administrator().await;
        let mut bob = house.user(&mut admin, "bob", "viewer").await;
        house.sleep(Duration::from_secs(60)).await;
        let mut late = Client::connect_from(&house, [192, 0, 2, 9]);
        assert_eq!(late.log_in("admin", PASSWORD).await.status, 201);
        let all = items(&mut admin, "/api/v1/sessions").await;
        let shown: Vec<_> =
            all.iter().map(|one| (one["user"].as_str().unwrap(), one["from"].as_str().unwrap())).collect();
        assert_eq!(shown, [("admin", "192.0.2.7"), ("bob", "192.0.2.7"), ("admin", "192.0.2.9")]);
        let own: Vec<_> = all.iter().map(|one| one["is_own"].as_bool().unwrap()).collect();
        assert_eq!(own, [true, false, false]);
        let at = |at: usize, when: &str| all[at][when].as_u64().unwrap();
        assert!(at(2, "began_at") - at(1, "began_at") >= 60);
        assert!(at(0, "used_at") >= at(2, "used_at") && at(1, "used_at") < at(2, "began_at"));
        // Bob sees his own, and ends nobody else's.
        let his = items(&mut bob, "/api/v1/sessions").await;
        assert_eq!((his.len(), his[0]["user"].as_str()), (1, Some("bob")));
        let path = |one: &Value| format!("/api/v1/sessions/{}", one["id"].as_str().unwrap());
        assert_eq!(bob.ask("DELETE", &path(&all[2]), "").await.status, 404);
        assert_eq!(late.get("/api/v1/session").await.status, 200);
        assert_eq!(admin.ask("DELETE", &path(&his[0]), "").await.status, 204);
        assert_eq!(bob.get("/api/v1/session").await.status, 401);
        assert_eq!(admin.ask("DELETE", &path(&his[0]), "").await.status, 404);
        let told = house.audit(&mut admin).await;
        let ended = told.iter().find(|entry| entry["what"] == "session.end").unwrap();
        assert_eq!((&ended["target"], &ended["before"]["user"]), (&his[0]["id"], &Value::from("bob")));
        // Who is idle too long is not there any more.
        house.sleep(Duration::from_secs(29 * 60)).await;
        let mut admin = Client::with(&house, &admin);
        assert_eq!(items(&mut admin, "/api/v1/sessions").await.len(), 2);
        house.sleep(Duration::from_secs(2 * 60)).await;
        let mut admin = Client::with(&house, &admin);
        assert_eq!(items(&mut admin, "/api/v1/sessions").await.len(), 1);
    });
}

#[test]
fn an_administrator_sees_a_lock_out_and_clears_it() {
    let house = House::default();
    house.run(async {
        let mut admin = house.administrator().await;
        let mut bob = house.user(&mut admin, "bob", "viewer").await;
        assert_eq!(bob.get("/api/v1/lock-outs").await.status, 403);
        assert!(items(&mut admin, "/api/v1/lock-outs").await.is_empty());
        let mut guesser = Client::connect_from(&house, [192, 0, 2, 9]);
        for _ in 0..6 {
            while guesser.log_in("bob", "not this one").await.status == 429 {
                house.sleep(Duration::from_secs(1)).await;
            }
        }
        assert_eq!(guesser.log_in("bob", PASSWORD).await.status, 429);
        let all = items(&mut admin, "/api/v1/lock-outs").await;
        assert_eq!(all.len(), 1);
        let one = &all[0];
        assert_eq!((one["user"].as_str(), one["from"].as_str()), (Some("bob"), Some("192.0.2.9")));
        assert_eq!((one["wrong"].as_u64(), one["seconds"].as_u64()), (Some(6), Some(4)));
        let path = format!("/api/v1/lock-outs/{}", one["id"].as_str().unwrap());
        assert_eq!(admin.ask("DELETE", &path, "").await.status, 204);
        assert_eq!(admin.ask("DELETE", &path, "").await.status, 404);
        // What was wrong before counts no more.
        assert_eq!(guesser.log_in("bob", "not this one").await.status, 401);
        assert_eq!(guesser.log_in("bob", PASSWORD).await.status, 201);
        let told = house.audit(&mut admin).await;
        let cleared = told.iter().find(|entry| entry["what"] == "lock-out.clear").unwrap();
        assert_eq!(cleared["before"]["from"], "192.0.2.9");
    });
}
