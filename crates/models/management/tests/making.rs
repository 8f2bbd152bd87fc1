//! VMs made of VMs, seeds for new guests, changes that wait for a start; answers that are kept.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod client;

use client::{Answer, Client, House};
use serde_json::{Value, json};
use std::time::Duration;

async fn with_datastore(house: &House) -> Client {
    let mut admin = house.administrator().await;
    let answer = admin.json("POST", "/api/v1/datastore", &json!({ "disk": "FAKE0001" })).await;
    admin.ended(house, &answer).await;
    admin
}

fn db() -> Value {
    json!({
        "name": "db", "vcpus": 2, "memory": "512MiB", "boot": { "firmware": "firmware:edk2" },
        "disk": [{ "volume": "db-0" }, { "volume": "shared", "read_only": true }, { "volume": "db-data" }],
        "nic": [{ "mac": "52:54:00:00:01:02" }]
    })
}

/// A VM `db` with two volumes of its own and one that it only reads, on.
async fn with_db(house: &House) -> Client {
    let mut admin = with_datastore(house).await;
    for name in ["db-0", "db-data", "shared"] {
        let new = json!({ "name": name, "bytes": 1 << 20 });
        assert_eq!(admin.json("POST", "/api/v1/volumes", &new).await.status, 201);
    }
    assert_eq!(admin.json("POST", "/api/v1/vms", &db()).await.status, 201);
    assert_eq!(power(&mut admin, house, "on").await["state"], "done");
    admin
}

async fn power(client: &mut Client, house: &House, action: &str) -> Value {
    let answer = client.json("POST", "/api/v1/vms/db/power", &json!({ "action": action })).await;
    client.ended(house, &answer).await
}

fn reason(answer: &Answer) -> String {
    answer.json()["reason"].as_str().unwrap().to_owned()
}

#[test]
fn a_clone_has_volumes_cards_and_a_name_of_its_own() {
    let house = House::default();
    house.run(async {
        let mut admin = with_db(&house).await;
        let path = "/api/v1/vms/db/clone";
        let answer = admin.json("POST", path, &json!({ "name": "copy" })).await;
        let task = admin.ended(&house, &answer).await;
        assert_eq!((&task["state"], &task["result"]), (&json!("done"), &json!("/api/v1/vms/copy")), "{task}");
        let copy = admin.get("/api/v1/vms/copy").await.json();
        let disks: Vec<_> =
            copy["configuration"]["disk"].as_array().unwrap().iter().map(|disk| &disk["volume"]).collect();
        assert_eq!(disks, ["copy-0", "shared", "copy-2"]);
        assert_eq!((&copy["power"], &copy["configuration"]["autostart"]), (&json!("off"), &json!(false)));
        assert_eq!(copy["configuration"]["nic"], json!([{}]));
        let volumes = admin.get("/api/v1/volumes").await.json();
        assert_eq!(volumes["total"], 5);
        // The snapshot of the moment is gone.
        assert_eq!(admin.get("/api/v1/vms/db/snapshots").await.json()["total"], 0);
        let told = house.audit(&mut admin).await;
        let told = told.iter().find(|entry| entry["what"] == "vm.clone").unwrap();
        assert_eq!((&told["before"]["name"], &told["after"]["name"]), (&json!("db"), &json!("copy")));
        // Refused before anything is made.
        assert_eq!(reason(&admin.json("POST", path, &json!({ "name": "copy" })).await), "vm-exists");
        assert_eq!(reason(&admin.json("POST", path, &json!({ "name": "A b" })).await), "bad-vm");
        let none = admin.json("POST", path, &json!({ "name": "other", "snapshot": 99 })).await;
        assert_eq!(
            (reason(&none), &none.json()["field"]),
            ("no-such-snapshot".to_owned(), &json!("snapshot"))
        );
        let taken = json!({ "name": "third-0", "bytes": 4096 });
        assert_eq!(admin.json("POST", "/api/v1/volumes", &taken).await.status, 201);
        assert_eq!(reason(&admin.json("POST", path, &json!({ "name": "third" })).await), "volume-exists");
        assert_eq!(admin.get("/api/v1/volumes").await.json()["total"], 6);
        // Of a snapshot, which stays.
        let snapshot =
            admin.json("POST", "/api/v1/vms/db/snapshots", &json!({ "name": "then" })).await.json();
        let answer = admin.json("POST", path, &json!({ "name": "old", "snapshot": snapshot["id"] })).await;
        assert_eq!(admin.ended(&house, &answer).await["state"], "done");
        assert_eq!(admin.get("/api/v1/vms/db/snapshots").await.json()["total"], 1);
        // One that has more than volumes.
        let mut boot = db();
        boot["name"] = json!("image");
        boot["disk"] = json!([{ "image": "x.img" }]);
        assert_eq!(admin.json("POST", "/api/v1/vms", &boot).await.status, 201);
        let refused = admin.json("POST", "/api/v1/vms/image/clone", &json!({ "name": "no" })).await;
        assert_eq!((refused.status, reason(&refused).as_str()), (409, "not-cloneable"));
    });
}

#[test]
fn an_answer_says_what_waits_for_the_next_start() {
    let house = House::default();
    let headers = house.run(async {
        let mut admin = with_db(&house).await;
        let mut changed = db();
        changed["memory"] = json!("1GiB");
        changed["start_order"] = json!(7);
        let answer = put(&mut admin, &changed).await;
        assert_eq!(answer.json()["waits_for_start"], json!(["memory"]));
        changed["disk"] = json!([{ "volume": "db-0" }]);
        assert_eq!(put(&mut admin, &changed).await.json()["waits_for_start"], json!(["memory", "disk"]));
        changed["memory"] = json!("512MiB");
        assert_eq!(put(&mut admin, &changed).await.json()["waits_for_start"], json!(["disk"]));
        admin.headers.clone()
    });
    let house = house.restart();
    house.run(async {
        house.sleep(Duration::from_secs(1)).await;
        let mut admin = Client::connect(&house);
        admin.headers = headers;
        assert_eq!(admin.get("/api/v1/vms/db").await.json()["waits_for_start"], json!(["disk"]));
        assert_eq!(power(&mut admin, &house, "reset").await["state"], "done");
        assert_eq!(admin.get("/api/v1/vms/db").await.json()["waits_for_start"], json!([]));
        power(&mut admin, &house, "off").await;
        assert_eq!(put(&mut admin, &db()).await.json()["waits_for_start"], json!([]));
    });
}

async fn put(admin: &mut Client, vm: &Value) -> Answer {
    let headers = admin.headers.clone();
    admin.headers += "If-Match: *\r\n";
    let answer = admin.json("PUT", "/api/v1/vms/db", vm).await;
    admin.headers = headers;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

#[test]
fn firmware_variables_are_reset_while_a_vm_is_off() {
    let house = House::default();
    house.run(async {
        let mut admin = with_db(&house).await;
        let path = "/api/v1/vms/db/firmware/reset";
        assert_eq!(reason(&admin.ask("POST", path, "").await), "vm-is-on");
        power(&mut admin, &house, "off").await;
        assert_eq!(admin.ask("POST", path, "").await.status, 204);
        let told = house.audit(&mut admin).await;
        assert!(told.iter().any(|entry| entry["what"] == "vm.firmware.reset" && entry["target"] == "db"));
        let mut kernel = db();
        kernel["boot"] = json!({ "kernel": "vmlinuz" });
        put(&mut admin, &kernel).await;
        assert_eq!(reason(&admin.ask("POST", path, "").await), "no-firmware");
    });
}

#[test]
fn a_seed_is_a_file_system_that_cloud_init_reads() {
    let house = House::default();
    house.run(async {
        let mut admin = with_datastore(&house).await;
        let user = "#cloud-config\nhostname: web\n";
        let new = json!({ "volume": "web-seed", "user_data": user, "network_config": "version: 2\n" });
        let made = admin.json("POST", "/api/v1/seeds", &new).await;
        assert_eq!(made.status, 201, "{made:?}");
        let bytes = house.management.port().vmkernel.volume(made.json()["id"].as_u64().unwrap());
        let disk = fatfs::FileSystem::new(std::io::Cursor::new(bytes), fatfs::FsOptions::new()).unwrap();
        assert_eq!(disk.volume_label(), "CIDATA");
        let read = |name: &str| {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut disk.root_dir().open_file(name).unwrap(), &mut text).unwrap();
            text
        };
        assert_eq!((read("user-data").as_str(), read("network-config").as_str()), (user, "version: 2\n"));
        assert_eq!(read("meta-data"), "instance-id: \"web-seed\"\n");
        assert_eq!(reason(&admin.json("POST", "/api/v1/seeds", &new).await), "volume-exists");
        let nameless =
            admin.json("POST", "/api/v1/seeds", &json!({ "volume": "a/b", "user_data": "" })).await;
        assert_eq!(nameless.json()["field"], "volume");
        // What a guest is told is no entry of the chain.
        let told = house.audit(&mut admin).await;
        assert!(told.iter().all(|entry| !entry.to_string().contains("cloud-config")));
    });
}

#[test]
fn a_hundred_answers_are_kept_for_an_hour() {
    let house = House::default();
    house.run(async {
        let mut admin = with_datastore(&house).await;
        let headers = admin.headers.clone();
        let new = |number: u32| json!({ "name": format!("v{number}"), "bytes": 4096 });
        for number in 0..100 {
            admin.headers = format!("{headers}Idempotency-Key: key-{number}\r\n");
            assert_eq!(admin.json("POST", "/api/v1/volumes", &new(number)).await.status, 201);
        }
        admin.headers = format!("{headers}Idempotency-Key: key-0\r\n");
        let again = admin.json("POST", "/api/v1/volumes", &new(0)).await;
        assert_eq!((again.status, again.header("idempotency-replayed")), (201, Some("true")));
        assert_eq!(admin.get("/api/v1/volumes").await.json()["total"], 100);
        for _ in 0..61 {
            house.sleep(Duration::from_secs(60)).await;
            assert_eq!(admin.get("/api/v1/host").await.status, 200);
        }
        assert_eq!(reason(&admin.json("POST", "/api/v1/volumes", &new(0)).await), "volume-exists");
    });
}

#[test]
fn watchers_hear_of_progress_once_a_second() {
    let house = House::default();
    house.run(async {
        let mut admin = with_datastore(&house).await;
        house.management.port().vmkernel.put_object("image:big", &vec![1; 8 << 20]);
        house.management.port().vmkernel.put_object("image:none", b"");
        let before = admin.get("/api/v1/tasks").await.json()["total"].as_u64().unwrap();
        house.management.port().slow_requests(Duration::from_millis(20));
        let mut watcher = Client::with(&house, &admin);
        watcher.websocket("/api/v1/events", "").await;
        let import = json!({ "object": "image:big", "volume": "big" });
        let answer = admin.json("POST", "/api/v1/imports", &import).await;
        let start = house.now();
        let mut heard = Vec::new();
        loop {
            let (_, event) = watcher.next_frame().await;
            let event: Value = serde_json::from_slice(&event).unwrap_or_default();
            if event["kind"] == "task" {
                heard.push(event["data"]["progress"].as_u64().unwrap());
                if event["data"]["state"] != "running" {
                    break;
                }
            }
        }
        let seconds = usize::try_from((house.now() - start).as_secs()).unwrap();
        assert!(seconds >= 4 && (seconds - 1..=seconds + 3).contains(&heard.len()), "{seconds}: {heard:?}");
        assert!(heard.is_sorted() && heard.last() == Some(&100), "{heard:?}");
        house.management.port().slow_requests(Duration::ZERO);
        assert_eq!(admin.ended(&house, &answer).await["state"], "done");
        assert_eq!(reason(&admin.json("POST", "/api/v1/imports", &import).await), "volume-exists");
        let empty = json!({ "object": "image:none", "volume": "none" });
        let answer = admin.json("POST", "/api/v1/imports", &empty).await;
        assert_eq!(admin.ended(&house, &answer).await["problem"]["reason"], "bad-image");
        assert_eq!(admin.get("/api/v1/tasks").await.json()["total"], before + 2);
    });
}
