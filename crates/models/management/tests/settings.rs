//! The host's settings by the API: what is refused, trials of addresses, the certificate; presence at the machine.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod client;

use abi::call::{PRESENCE_DOCUMENT, PRESENCE_KEY};
use client::{Answer, Client, House, PASSWORD};
use management::fake::{TlsHost, UNIX};
use management::identity::{self, Names, Now};
use management::settings::TRIAL;
use serde_json::{Value, json};
use std::time::Duration;

const PATH: &str = "/api/v1/host/settings";

async fn settings(client: &mut Client) -> Value {
    client.get(PATH).await.json()
}

async fn change(client: &mut Client, change: impl FnOnce(&mut Value)) -> Answer {
    let answer = client.get(PATH).await;
    let tag = answer.header("etag").unwrap().to_owned();
    let mut settings = answer.json()["settings"].clone();
    change(&mut settings);
    let headers = client.headers.clone();
    client.headers += &format!("If-Match: {tag}\r\n");
    let answer = client.json("PUT", PATH, &settings).await;
    client.headers = headers;
    answer
}

fn fixed(settings: &mut Value) {
    settings["ipv4"] = json!({ "method": "static", "address": "10.0.0.2/24", "gateway": "10.0.0.1" });
}

#[test]
fn another_address_is_gone_unless_it_is_confirmed_in_time() {
    let house = House::default();
    house.run(async {
        let mut admin = house.administrator().await;
        let before = settings(&mut admin).await;
        assert_eq!((&before["settings"]["ipv4"]["method"], &before["trial"]), (&json!("dhcp"), &Value::Null));
        let answer = change(&mut admin, fixed).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let state = answer.json();
        assert_eq!(state["settings"]["ipv4"]["address"], "10.0.0.2/24");
        assert_eq!(state["trial"]["before"], before["settings"]);
        assert!(state["trial"]["seconds_left"].as_u64().unwrap() <= TRIAL.as_secs());
        // hostd sees both changes.
        let current = house.management.settings.current();
        house.management.settings.differ_from(Some(&current)).await;
        assert!(house.now() >= TRIAL);
        house.sleep(Duration::from_secs(1)).await;
        let mut admin = Client::connect(&house);
        assert_eq!(admin.log_in("admin", PASSWORD).await.status, 201);
        assert_eq!(settings(&mut admin).await, before);
        assert_eq!(
            admin.json("POST", &format!("{PATH}/confirm"), &json!({})).await.json()["reason"],
            "no-trial"
        );
        let audit = house.audit(&mut admin).await;
        let entry = audit.iter().find(|entry| entry["what"] == "settings.fallback").unwrap();
        assert_eq!(entry["before"]["ipv4"]["address"], "10.0.0.2/24");
        assert!(house.log().iter().any(|line| line.contains("nobody confirmed the new address")));
    });
}

#[test]
fn what_is_confirmed_stays_and_outlives_hostd() {
    let house = House::default();
    house.run(async {
        let mut admin = house.administrator().await;
        assert_eq!(change(&mut admin, fixed).await.status, 200);
        let answer = admin.ask("POST", &format!("{PATH}/confirm"), "").await;
        assert_eq!((answer.status, &answer.json()["trial"]), (200, &Value::Null), "{answer:?}");
        let chain = house.audit(&mut admin).await;
        let entry = chain.last().unwrap();
        let method = |when: &str| entry[when]["ipv4"]["method"].clone();
        assert_eq!(
            (&entry["what"], method("before"), method("after")),
            (&json!("settings.confirm"), json!("dhcp"), json!("static"))
        );
        house.sleep(TRIAL * 2).await;
    });
    let house = house.restart();
    house.run(async {
        let current = house.management.settings.differ_from(None).await;
        assert_eq!(current.ipv4.address.as_deref(), Some("10.0.0.2/24"));
    });
}

#[test]
fn a_trial_outlives_hostd_and_ends_in_its_time() {
    let house = House::default();
    house.run(async {
        let mut admin = house.administrator().await;
        assert_eq!(change(&mut admin, fixed).await.status, 200);
    });
    let house = house.restart();
    house.run(async {
        let trial = house.management.settings.differ_from(None).await;
        assert_eq!(trial.ipv4.address.as_deref(), Some("10.0.0.2/24"));
        let after = house.management.settings.differ_from(Some(&trial)).await;
        assert_eq!(after.ipv4.address, None);
        assert!(house.now() >= TRIAL && house.now() <= TRIAL + Duration::from_secs(10));
    });
}

#[test]
fn a_trial_can_be_ended_and_what_is_no_address_needs_none() {
    let house = House::default();
    house.run(async {
        let mut admin = house.administrator().await;
        let before = settings(&mut admin).await;
        assert_eq!(change(&mut admin, fixed).await.status, 200);
        assert_eq!(admin.ask("POST", &format!("{PATH}/revert"), "").await.json(), before);
        let answer = change(&mut admin, |settings| settings["ntp"] = json!(["ntp.example.net"])).await;
        assert_eq!((&answer.json()["trial"], answer.status), (&Value::Null, 200));
        assert_eq!(settings(&mut admin).await["settings"]["ntp"][0], "ntp.example.net");
        let audit = house.audit(&mut admin).await;
        for what in ["settings.change", "settings.revert"] {
            assert!(audit.iter().any(|entry| entry["what"] == what), "{what}");
        }
    });
}

#[test]
fn bad_settings_are_refused_by_field_and_change_nothing() {
    let house = House::default();
    house.run(async {
        let mut admin = house.administrator().await;
        let before = settings(&mut admin).await;
        let answer = change(&mut admin, |settings| settings["ipv4"]["method"] = json!("static")).await;
        assert_eq!((answer.status, &answer.json()["field"]), (422, &json!("ipv4.address")));
        let answer = change(&mut admin, |settings| settings["name"] = json!("a.b")).await;
        assert_eq!((answer.status, &answer.json()["field"]), (422, &json!("name")));
        let answer = change(&mut admin, |settings| settings["ipv4"]["netmask"] = json!("x")).await;
        assert_eq!((answer.status, &answer.json()["field"]), (422, &json!("ipv4.netmask")));
        let wrong = admin.json("PUT", PATH, &before["settings"]).await;
        assert_eq!(wrong.status, 428, "without If-Match");
        assert_eq!(settings(&mut admin).await, before);
        let mut viewer = house.user(&mut admin, "eve", "viewer").await;
        assert_eq!(change(&mut viewer, fixed).await.status, 403);
        assert_eq!(viewer.get("/api/v1/host/network").await.status, 200);
        let time = viewer.get("/api/v1/host/time").await.json();
        assert_eq!(time["is_synchronized"], false, "nobody told the time");
    });
}

#[test]
fn a_certificate_is_shown_and_renewed_under_the_same_ca() {
    let house = House::default();
    let host = TlsHost::new();
    let names = Names::new("bramble", &["10.0.0.2".parse().unwrap()]).unwrap();
    let now = Now { unix_seconds: UNIX, is_known: true };
    house.run(async {
        let mut admin = house.administrator().await;
        assert_eq!(admin.get("/api/v1/host/certificate").await.json()["reason"], "no-certificate");
        identity::find(house.management.port(), host, &names, now).await.unwrap();
        let before = admin.get("/api/v1/host/certificate").await.json();
        assert_eq!(before["names"], json!(["bramble", "bramble.local", "10.0.0.2"]));
        assert!(before["valid_until"].as_u64().unwrap() > UNIX + 300 * 24 * 3600);
        let heard = house.management.renewal.rings();
        let making = async {
            house.management.renewal.after(heard).await;
            assert!(house.management.renewal.take());
            identity::renew(house.management.port(), host, &names, now).await.unwrap();
        };
        let asking = admin.ask("POST", "/api/v1/host/certificate/renew", "");
        let ((), answer) = embassy_futures::join::join(making, asking).await;
        let after = answer.json();
        assert_eq!(answer.status, 200, "{after}");
        assert_eq!(after["ca_sha256"], before["ca_sha256"]);
        assert_ne!(after["sha256"], before["sha256"]);
        // Where nobody makes one it is said, and nothing is left behind.
        let answer = admin.ask("POST", "/api/v1/host/certificate/renew", "").await;
        assert_eq!((answer.status, &answer.json()["reason"]), (503, &json!("not-renewed")));
        assert!(!house.management.renewal.take());
    });
}

#[test]
fn who_is_at_the_machine_gets_a_new_password_once() {
    for (how, words) in
        [(PRESENCE_KEY, "a key of the console"), (PRESENCE_DOCUMENT, "reset-admin in host.toml")]
    {
        let house = House::default();
        house.run(async {
            let mut admin = house.administrator().await;
            let first = house.first_password().await;
            house.management.port().vmkernel.show_presence(how);
            house.sleep(Duration::from_secs(3)).await;
            let second = house.first_password().await;
            assert_ne!(first, second);
            let shown = house.log().iter().filter(|line| line.starts_with("first login: ")).count();
            assert_eq!(shown, 2, "a notice is acted on once");
            // The old password and its sessions are gone.
            assert_eq!(admin.get(PATH).await.status, 401);
            let mut client = Client::connect(&house);
            assert_eq!(client.log_in("admin", PASSWORD).await.status, 401);
            assert_eq!(client.log_in("admin", &second).await.status, 201);
            let change = json!({ "current": second, "new": PASSWORD });
            assert_eq!(client.json("POST", "/api/v1/session/password", &change).await.status, 204);
            let audit = house.audit(&mut client).await;
            let entry = audit.iter().find(|entry| entry["what"] == "password.lost").unwrap();
            assert!(entry["who"].as_str().unwrap().contains(words), "{entry}");
            let must = |when: &str| entry[when]["must_change_password"].clone();
            assert_eq!(
                (&entry["target"], must("before"), must("after")),
                (&json!("admin"), json!(false), json!(true))
            );
        });
    }
}
