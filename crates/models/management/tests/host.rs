//! VMs, their power, consoles and snapshots; storage and uploads; tasks and events.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod client;

use client::{Client, House};
use serde_json::{Value, json};
use std::time::Duration;

const BOOT_VM: &str = "[[vm]]\nname = \"boot\"\nvcpus = 1\nmemory = \"128MiB\"\n[vm.boot]\nkernel = \"k\"\n";

/// Two VMs: `boot` of the boot archive, `web` made by the API.
async fn with_vms(house: &House) -> Client {
    let mut admin = house.administrator().await;
    house.management.port().vmkernel.put_vm(BOOT_VM, true).unwrap();
    let answer = admin.json("POST", "/api/v1/vms", &web()).await;
    assert_eq!((answer.status, answer.header("location")), (201, Some("/api/v1/vms/web")), "{answer:?}");
    admin
}

fn web() -> Value {
    json!({
        "name": "web", "vcpus": 2, "memory": "512MiB", "boot": { "firmware": "QEMU_EFI.fd" },
        "disk": [{ "image": "web.img" }], "nic": [{}]
    })
}

async fn power(client: &mut Client, vm: &str, action: &str) -> client::Answer {
    client.json("POST", &format!("/api/v1/vms/{vm}/power"), &json!({ "action": action })).await
}

#[test]
fn vms_are_listed_in_pages_and_shown() {
    let house = House::default();
    house.run(async {
        let mut admin = with_vms(&house).await;
        let list = admin.get("/api/v1/vms?limit=1").await.json();
        assert_eq!(
            (&list["items"][0]["name"], &list["total"], &list["next"]),
            (&json!("boot"), &json!(2), &json!(1))
        );
        let list = admin.get("/api/v1/vms?limit=1&skip=1").await.json();
        assert_eq!((&list["items"][0]["name"], &list["next"]), (&json!("web"), &Value::Null));
        let web = admin.get("/api/v1/vms/web").await.json();
        assert_eq!(
            (&web["origin"], &web["power"], &web["memory_bytes"]),
            (&json!("datastore"), &json!("off"), &json!(512 << 20))
        );
        assert_eq!(web["configuration"]["disk"][0]["image"], "web.img");
        assert_eq!(admin.get("/api/v1/vms/boot").await.json()["origin"], "boot");
        let none = admin.get("/api/v1/vms/none").await;
        assert_eq!((none.status, none.json()["reason"].as_str()), (404, Some("no-such-vm")));
        assert_eq!(admin.get("/api/v1/vms?skip=x").await.json()["field"], "skip");
    });
}

#[test]
fn a_configuration_is_checked_before_anything_changes() {
    let house = House::default();
    house.run(async {
        let mut admin = with_vms(&house).await;
        for (field, value, named) in [
            ("memory", json!("lots"), "memory"),
            ("vcpus", json!(99), "vcpus"),
            ("vcpus", json!("two"), "vcpus"),
            ("disk", json!([{ "image": "a", "host_disk": "b" }]), "disk[0]"),
            ("nic", json!([{ "mac": "zz" }]), "nic[0].mac"),
            ("colour", json!("red"), "colour"),
            ("name", json!("hostd"), "name"),
        ] {
            let mut bad = web();
            bad["name"] = json!("other");
            bad[field] = value;
            let answer = admin.json("POST", "/api/v1/vms", &bad).await;
            let problem = answer.json();
            assert_eq!(answer.status, 422, "{field}: {problem}");
            assert!(problem["field"].as_str().unwrap().starts_with(named), "{field}: {problem}");
            assert!(!problem["remedy"].as_str().unwrap().is_empty());
        }
        assert_eq!(admin.json("POST", "/api/v1/vms", &web()).await.json()["reason"], "vm-exists");
        assert_eq!(admin.get("/api/v1/vms").await.json()["total"], 2);
    });
}

#[test]
fn a_change_names_what_it_saw() {
    let house = House::default();
    house.run(async {
        let mut admin = with_vms(&house).await;
        let tag = admin.get("/api/v1/vms/web").await.header("etag").unwrap().to_owned();
        let mut more = web();
        more["vcpus"] = json!(4);
        assert_eq!(admin.json("PUT", "/api/v1/vms/web", &more).await.status, 428);
        let headers = admin.headers.clone();
        admin.headers = format!("{headers}If-Match: {tag}\r\n");
        let changed = admin.json("PUT", "/api/v1/vms/web", &more).await;
        assert_eq!((changed.status, &changed.json()["configuration"]["vcpus"]), (200, &json!(4)));
        let late = admin.json("PUT", "/api/v1/vms/web", &web()).await;
        assert_eq!((late.status, late.json()["reason"].as_str()), (412, Some("changed-meanwhile")));
        let mut boot = web();
        boot["name"] = json!("boot");
        assert_eq!(admin.json("PUT", "/api/v1/vms/boot", &boot).await.json()["reason"], "origin-boot");
        admin.headers = headers;
        assert_eq!(admin.ask("DELETE", "/api/v1/vms/boot", "").await.status, 409);
        assert_eq!(admin.ask("DELETE", "/api/v1/vms/web", "").await.status, 204);
        let chain = house.audit(&mut admin).await;
        let change = chain.iter().find(|entry| entry["what"] == "vm.change").unwrap();
        assert_eq!((&change["before"]["vcpus"], &change["after"]["vcpus"]), (&json!(2), &json!(4)));
    });
}

#[test]
fn power_is_a_task_and_an_event() {
    let house = House::default();
    house.run(async {
        let mut admin = with_vms(&house).await;
        house.sleep(Duration::from_secs(2)).await;
        let mut watcher = Client::with(&house, &admin);
        watcher.send(&format!("GET /api/v1/events HTTP/1.1\r\nHost: x\r\n{}\r\n", watcher.headers)).await;
        assert_eq!(watcher.read_head().await.header("content-type"), Some("text/event-stream"));
        let answer = power(&mut admin, "web", "on").await;
        let task = admin.ended(&house, &answer).await;
        assert_eq!(
            (&task["state"], &task["progress"], &task["user"]),
            (&json!("done"), &json!(100), &json!("admin"))
        );
        assert_eq!(admin.get("/api/v1/vms/web").await.json()["power"], "running");
        let told = watcher.until("event: vm.power\n").await;
        assert!(told.contains("event: task\n") && told.contains("id: "), "{told}");
        let told = watcher.until("\n\n").await;
        let data: Value = serde_json::from_str(told.trim().strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!((&data["subject"], &data["data"]["power"]), (&json!("web"), &json!("running")));
        let answer = power(&mut admin, "web", "on").await;
        let task = admin.ended(&house, &answer).await;
        assert_eq!((&task["state"], &task["problem"]["reason"]), (&json!("failed"), &json!("conflict")));
        assert_eq!(power(&mut admin, "web", "explode").await.json()["field"], "action");
    });
}

#[test]
fn who_was_away_gets_the_events_since() {
    let house = House::default();
    house.run(async {
        let mut admin = with_vms(&house).await;
        let mut socket = Client::with(&house, &admin);
        assert_eq!(
            socket.websocket("/api/v1/events?after=4294967296", "Origin: https://x\r\n").await.status,
            101
        );
        let answer = power(&mut admin, "web", "on").await;
        admin.ended(&house, &answer).await;
        let (opcode, first) = socket.next_frame().await;
        let first: Value = serde_json::from_slice(&first).unwrap();
        assert_eq!(opcode, 1);
        drop(socket);
        house.sleep(Duration::from_secs(2)).await;
        let mut later = Client::with(&house, &admin);
        later.websocket(&format!("/api/v1/events?after={}", first["id"]), "").await;
        let (_, next) = later.next_frame().await;
        let next: Value = serde_json::from_slice(&next).unwrap();
        assert_eq!(next["id"].as_u64().unwrap(), first["id"].as_u64().unwrap() + 1);
        // Of a generation that nobody knows.
        let mut lost = Client::with(&house, &admin);
        lost.websocket("/api/v1/events?after=7", "").await;
        let (_, reset) = lost.next_frame().await;
        assert_eq!(serde_json::from_slice::<Value>(&reset).unwrap()["kind"], "reset");
        let mut foreign = Client::with(&house, &admin);
        assert_eq!(foreign.websocket("/api/v1/events", "Origin: https://evil.example\r\n").await.status, 403);
    });
}

#[test]
fn a_console_misses_no_byte_and_takes_keys() {
    let house = House::default();
    house.run(async {
        let mut admin = with_vms(&house).await;
        let answer = power(&mut admin, "web", "on").await;
        admin.ended(&house, &answer).await;
        let mut console = Client::with(&house, &admin);
        assert_eq!(console.websocket("/api/v1/vms/web/consoles/uart?from=0", "").await.status, 101);
        assert_eq!(console.next_frame().await, (1, b"{\"offset\":0}".to_vec()));
        let greeting = b"Welcome to web, start 1\r\nlogin: ";
        assert_eq!(console.next_frame().await, (2, greeting.to_vec()));
        let before = house.now();
        console.frame(2, b"root, and more than sixteen bytes\r").await;
        let mut echo = Vec::new();
        while !echo.ends_with(b"$ ") {
            echo.extend(console.next_frame().await.1);
        }
        assert_eq!(echo, b"root, and more than sixteen bytes\r\n$ ");
        assert!(house.now() - before <= Duration::from_millis(50));
        console.frame(9, b"there?").await;
        assert_eq!(console.next_frame().await, (10, b"there?".to_vec()));
        console.frame(8, &[3, 232]).await;
        assert_eq!(console.next_frame().await.0, 8);
        // Back at a position.
        let mut again = Client::with(&house, &admin);
        again.websocket(&format!("/api/v1/vms/web/consoles/uart?from={}", greeting.len()), "").await;
        assert_eq!(again.next_frame().await, (1, format!("{{\"offset\":{}}}", greeting.len()).into_bytes()));
        assert_eq!(again.next_frame().await.1, echo);
        let log = admin.get("/api/v1/vms/web/consoles/uart?from=3").await;
        assert_eq!(log.header("x-bramble-offset"), Some("3"));
        assert_eq!(log.body.len() + 3, greeting.len() + echo.len());
        assert_eq!(admin.get("/api/v1/vms/web/consoles/vga").await.status, 404);
        assert_eq!(admin.websocket("/api/v1/vms/none/consoles/uart", "").await.status, 404);
    });
}

#[test]
fn a_viewer_sees_a_console_and_types_nothing() {
    let house = House::default();
    house.run(async {
        let mut admin = with_vms(&house).await;
        let answer = power(&mut admin, "web", "on").await;
        admin.ended(&house, &answer).await;
        let mut viewer = house.user(&mut admin, "vera", "viewer").await;
        assert_eq!(power(&mut viewer, "web", "off").await.status, 403);
        let mut viewer = Client::with(&house, &viewer);
        viewer.websocket("/api/v1/vms/web/consoles/virtio", "").await;
        viewer.next_frame().await;
        let said = viewer.next_frame().await.1;
        viewer.frame(2, b"x").await;
        assert_eq!(viewer.next_frame().await, (8, vec![3, 240]));
        assert!(viewer.is_closed().await);
        let log = admin.get("/api/v1/vms/web/consoles/virtio").await;
        assert_eq!(log.body, said);
    });
}

#[test]
fn a_stream_ends_with_its_login_and_with_its_client() {
    let house = House::default();
    house.run(async {
        let mut admin = with_vms(&house).await;
        let mut viewer = house.user(&mut admin, "vera", "viewer").await;
        let mut console = Client::with(&house, &viewer);
        console.websocket("/api/v1/vms/web/consoles/uart", "").await;
        assert_eq!(viewer.ask("DELETE", "/api/v1/session", "").await.status, 204);
        let mut frames = Vec::new();
        while frames.last() != Some(&8) {
            frames.push(console.next_frame().await.0);
        }
        assert!(console.is_closed().await);
        // One that does not answer pings.
        let mut silent = Client::with(&house, &admin);
        silent.websocket("/api/v1/events", "").await;
        let before = house.now();
        while silent.next_frame().await.0 != 8 {}
        assert!(house.now() - before < Duration::from_secs(120));
    });
}

#[test]
fn snapshots_are_a_tree() {
    let house = House::default();
    house.run(async {
        let mut admin = with_vms(&house).await;
        let path = "/api/v1/vms/web/snapshots";
        for name in ["first", "second"] {
            assert_eq!(admin.json("POST", path, &json!({ "name": name })).await.status, 201);
        }
        assert_eq!(admin.json("POST", path, &json!({ "name": "a/b" })).await.json()["field"], "name");
        let list = admin.get(path).await.json();
        assert_eq!((&list["items"][1]["parent"], &list["items"][1]["is_current"]), (&json!(1), &json!(true)));
        assert_eq!(admin.ask("POST", &format!("{path}/1/revert"), "").await.status, 204);
        assert_eq!(admin.get(path).await.json()["items"][0]["is_current"], true);
        let chain = house.audit(&mut admin).await;
        let entry = chain.last().unwrap();
        assert_eq!((&entry["before"]["name"], &entry["after"]["name"]), (&json!("second"), &json!("first")));
        assert_eq!(admin.ask("DELETE", &format!("{path}/2"), "").await.status, 204);
        assert_eq!(admin.ask("DELETE", &format!("{path}/2"), "").await.status, 404);
        assert_eq!(admin.ask("DELETE", &format!("{path}/x"), "").await.status, 404);
    });
}

#[test]
fn a_host_without_a_datastore_says_so_until_it_has_one() {
    let house = House::default();
    house.run(async {
        let mut admin = house.administrator().await;
        assert_eq!(admin.get("/api/v1").await.header("x-bramble-datastore"), Some("none"));
        assert_eq!(admin.get("/api/v1/datastore").await.json()["is_volatile"], true);
        assert_eq!(admin.get("/api/v1/disks").await.json()["items"][0]["state"], "blank");
        let path = "/api/v1/datastore";
        assert_eq!(admin.json("POST", path, &json!({ "disk": "NONE" })).await.json()["field"], "disk");
        let wrong = json!({ "disk": "FAKE0001", "erase_disk": "FAKE0002" });
        assert_eq!(admin.json("POST", path, &wrong).await.json()["field"], "erase_disk");
        let answer = admin.json("POST", path, &json!({ "disk": "FAKE0001" })).await;
        let task = admin.ended(&house, &answer).await;
        assert_eq!((&task["state"], &task["result"]), (&json!("done"), &json!(path)));
        house.sleep(Duration::from_secs(2)).await;
        assert_eq!(admin.get("/api/v1").await.header("x-bramble-datastore"), None);
        let store = admin.get(path).await.json();
        assert_eq!((&store["is_volatile"], &store["disk"]), (&json!(false), &json!("FAKE0001")));
    });
}

async fn with_datastore(house: &House) -> Client {
    let mut admin = house.administrator().await;
    let answer = admin.json("POST", "/api/v1/datastore", &json!({ "disk": "FAKE0001" })).await;
    admin.ended(house, &answer).await;
    admin
}

fn image() -> Vec<u8> {
    (0..200_000_u32).map(|number| if number / 70_000 == 1 { 0 } else { (number * 7 % 251) as u8 }).collect()
}

#[test]
fn an_upload_goes_on_after_a_cut_and_after_hostds_death() {
    let house = House::default();
    let image = image();
    let sha256 = "475ed9c436e8232e9b53a2dc424323d4ed46d7cfd724595a47296e91f6f793f4";
    let (headers, path) = house.run(async {
        let mut admin = with_datastore(&house).await;
        let new = json!({ "name": "image:debian", "bytes": image.len(), "sha256": sha256 });
        let begun = admin.json("POST", "/api/v1/uploads", &new).await;
        assert_eq!(begun.status, 201, "{begun:?}");
        let path = begun.header("location").unwrap().to_owned();
        let sent = admin.bytes("PATCH", &path, "Upload-Offset: 0\r\n", &image[..100_000]).await;
        assert_eq!((sent.status, &sent.json()["offset"]), (200, &json!(100_000)));
        // Cut before its first byte came.
        let mut cut = Client::with(&house, &admin);
        let lines = format!("{}Upload-Offset: 100000\r\nContent-Length: 50000\r\n", cut.headers);
        cut.send(&format!("PATCH {path} HTTP/1.1\r\nHost: x\r\n{lines}\r\n")).await;
        drop(cut);
        assert_eq!(admin.get(&path).await.json()["offset"], 100_000);
        let wrong = admin.bytes("PATCH", &path, "Upload-Offset: 7\r\n", b"abc").await;
        assert_eq!((wrong.status, wrong.json()["reason"].as_str()), (409, Some("bad-offset")));
        (admin.headers.clone(), path)
    });
    // It dies between the append and the note of it.
    let id = path.rsplit('/').next().unwrap().to_owned();
    let object = format!("part:{id}");
    let mut bytes = house.management.port().vmkernel.objects()[&object].clone();
    bytes.extend_from_slice(&image[100_000..120_000]);
    house.management.port().vmkernel.put_object(&object, &bytes);
    let house = house.restart();
    house.run(async {
        house.sleep(Duration::from_secs(1)).await;
        let mut admin = Client::connect(&house);
        admin.headers = headers;
        let wrong = admin.bytes("PATCH", &path, "Upload-Offset: 100000\r\n", b"abc").await;
        assert_eq!(wrong.json()["remedy"], "go on at 120000");
        let done = admin.bytes("PATCH", &path, "Upload-Offset: 120000\r\n", &image[120_000..]).await;
        assert_eq!((done.status, &done.json()["sha256"]), (200, &json!(sha256)), "{done:?}");
        let whole = admin.get("/api/v1/objects/image:debian").await;
        assert!(whole.body == image);
        let headers = admin.headers.clone();
        admin.headers += "Range: bytes=100-104\r\n";
        let part = admin.get("/api/v1/objects/image:debian").await;
        assert_eq!((part.status, part.header("content-range")), (206, Some("bytes 100-104/200000")));
        assert!(part.body == image[100..105]);
        admin.headers = headers;
        assert_eq!(admin.get(&path).await.status, 404);
        // Nothing of hostd's own is there to be had.
        let names = admin.get("/api/v1/objects").await.json().to_string();
        assert!(!names.contains("host:") && !names.contains("run:"));
        for own in ["host:users", "run:sessions", "host%3Ausers"] {
            assert_eq!(admin.get(&format!("/api/v1/objects/{own}")).await.status, 404);
            assert_eq!(admin.ask("DELETE", &format!("/api/v1/objects/{own}"), "").await.status, 404);
        }
        // It becomes a volume.
        let import = json!({ "object": "image:debian", "volume": "debian" });
        let answer = admin.json("POST", "/api/v1/imports", &import).await;
        let task = admin.ended(&house, &answer).await;
        assert_eq!(task["state"], "done", "{task}");
        let volume = admin.get(task["result"].as_str().unwrap()).await.json();
        assert_eq!((&volume["name"], &volume["bytes"]), (&json!("debian"), &json!(200_704)));
        let content = house.management.port().vmkernel.volume(volume["id"].as_u64().unwrap());
        assert!(content[..200_000] == image && content[200_000..].iter().all(|byte| *byte == 0));
    });
}

#[test]
fn a_wrong_digest_or_length_makes_no_object() {
    let house = House::default();
    house.run(async {
        let mut admin = with_datastore(&house).await;
        let path = "/api/v1/uploads";
        for (name, sha256, field) in
            [("image:a/b", "", "name"), ("run:x", "", "name"), ("iso:x", "12", "sha256")]
        {
            let mut new = json!({ "name": name, "bytes": 3 });
            if !sha256.is_empty() {
                new["sha256"] = json!(sha256);
            }
            assert_eq!(admin.json("POST", path, &new).await.json()["field"], field);
        }
        let new = json!({ "name": "iso:x", "bytes": 3, "sha256": "0".repeat(64) });
        let begun = admin.json("POST", path, &new).await;
        let upload = begun.header("location").unwrap().to_owned();
        let long = admin.bytes("PATCH", &upload, "Upload-Offset: 0\r\n", b"abcd").await;
        assert_eq!(long.json()["reason"], "upload-too-long");
        assert_eq!(admin.bytes("PATCH", &upload, "", b"abc").await.json()["field"], "Upload-Offset");
        let wrong = admin.bytes("PATCH", &upload, "Upload-Offset: 0\r\n", b"abc").await;
        assert_eq!((wrong.status, wrong.json()["field"].as_str()), (422, Some("sha256")));
        assert_eq!(admin.get("/api/v1/objects").await.json()["total"], 0);
        // What VMs boot.
        for name in ["file:vmlinuz", "firmware:edk2.fd"] {
            let begun = admin.json("POST", path, &json!({ "name": name, "bytes": 3 })).await;
            let upload = begun.header("location").unwrap().to_owned();
            assert_eq!(admin.bytes("PATCH", &upload, "Upload-Offset: 0\r\n", b"abc").await.status, 200);
            assert_eq!(admin.ask("DELETE", &format!("/api/v1/objects/{name}"), "").await.status, 204);
        }
        let begun = admin.json("POST", path, &json!({ "name": "iso:x", "bytes": 3 })).await;
        let upload = begun.header("location").unwrap().to_owned();
        assert_eq!(admin.ask("DELETE", &upload, "").await.status, 204);
        assert_eq!(admin.get(path).await.json()["total"], 0);
    });
}

#[test]
fn an_import_is_cancelled_and_leaves_nothing() {
    let house = House::default();
    house.run(async {
        let mut admin = with_datastore(&house).await;
        house.management.port().vmkernel.put_object("image:big", &vec![1; 8 << 20]);
        house.management.port().slow_requests(Duration::from_millis(10));
        let import = json!({ "object": "image:big", "volume": "big" });
        let answer = admin.json("POST", "/api/v1/imports", &import).await;
        let path = answer.header("location").unwrap().to_owned();
        house.sleep(Duration::from_millis(500)).await;
        let task = admin.get(&path).await.json();
        assert!(task["progress"].as_u64().unwrap() > 0 && task["state"] == "running", "{task}");
        assert_eq!(admin.ask("POST", &format!("{path}/cancel"), "").await.status, 202);
        assert_eq!(admin.ended(&house, &answer).await["state"], "cancelled");
        assert_eq!(admin.get("/api/v1/volumes").await.json()["total"], 0);
        assert_eq!(admin.ask("POST", &format!("{path}/cancel"), "").await.status, 409);
        assert_eq!(admin.get("/api/v1/tasks").await.json()["items"][0]["state"], "cancelled");
    });
}

#[test]
fn a_task_that_hostd_died_at_is_interrupted() {
    let house = House::default();
    let (headers, path) = house.run(async {
        let mut admin = with_datastore(&house).await;
        house.management.port().vmkernel.put_object("image:big", &vec![1; 4 << 20]);
        house.management.port().slow_requests(Duration::from_secs(1));
        let import = json!({ "object": "image:big", "volume": "big" });
        let answer = admin.json("POST", "/api/v1/imports", &import).await;
        (admin.headers.clone(), answer.header("location").unwrap().to_owned())
    });
    house.management.port().slow_requests(Duration::ZERO);
    let house = house.restart();
    house.run(async {
        house.sleep(Duration::from_secs(1)).await;
        let mut admin = Client::connect(&house);
        admin.headers = headers;
        assert_eq!(admin.get(&path).await.json()["state"], "interrupted");
    });
}

#[test]
fn volumes_are_made_cloned_resized_and_deleted() {
    let house = House::default();
    house.run(async {
        let mut admin = with_datastore(&house).await;
        let path = "/api/v1/volumes";
        for (new, field) in [
            (json!({ "name": "v", "bytes": 1000 }), "bytes"),
            // Not a whole block.
            (json!({ "name": "v", "bytes": 512 }), "bytes"),
            (json!({ "name": "v" }), "bytes"),
            (json!({ "name": "v", "bytes": 4096, "source": 1 }), "bytes"),
            (json!({ "name": "", "bytes": 4096 }), "name"),
        ] {
            assert_eq!(admin.json("POST", path, &new).await.json()["field"], field);
        }
        let made = admin.json("POST", path, &json!({ "name": "v", "bytes": 1 << 30 })).await;
        let at = made.header("location").unwrap().to_owned();
        let clone = json!({ "name": "w", "source": made.json()["id"] });
        assert_eq!(admin.json("POST", path, &clone).await.json()["bytes"], 1 << 30);
        assert_eq!(
            admin.json("PATCH", &at, &json!({ "bytes": 2_u64 << 30 })).await.json()["bytes"],
            2_u64 << 30
        );
        assert_eq!(admin.ask("DELETE", &at, "").await.status, 204);
        assert_eq!(admin.get(&at).await.status, 404);
        assert_eq!(admin.get(path).await.json()["total"], 1);
    });
}

#[test]
fn counters_are_there_for_prometheus() {
    let house = House::default();
    house.run(async {
        let mut admin = with_vms(&house).await;
        let answer = power(&mut admin, "web", "on").await;
        admin.ended(&house, &answer).await;
        let text = String::from_utf8(admin.get("/metrics").await.body).unwrap();
        assert!(text.contains("\nbramble_vm_running{vm=\"web\"} 1\n"), "{text}");
        assert!(text.contains("\nbramble_vm_exits_total{vm=\"web\",reason=\"memory\"} 64\n"));
        assert_eq!(admin.get("/api/v1/host").await.json()["pes"], 4);
        let restart = admin.json("POST", "/api/v1/host/power", &json!({ "action": "restart" })).await;
        assert_eq!(admin.ended(&house, &restart).await["state"], "done");
        let list = admin.get("/api/v1/vms").await.json();
        assert_eq!((&list["items"][1]["starts"], &list["items"][1]["power"]), (&json!(2), &json!("running")));
        let off = admin.json("POST", "/api/v1/host/power", &json!({ "action": "turn-off" })).await;
        assert_eq!(admin.ended(&house, &off).await["state"], "done");
        assert_eq!(admin.get("/api/v1/vms/web").await.json()["power"], "off");
    });
}

#[test]
fn a_request_that_comes_again_with_its_key_makes_nothing_twice() {
    let house = House::default();
    let new = json!({ "name": "v", "bytes": 1 << 20 });
    let (headers, first) = house.run(async {
        let mut admin = with_datastore(&house).await;
        admin.headers += "Idempotency-Key: one\r\n";
        let first = admin.json("POST", "/api/v1/volumes", &new).await;
        assert_eq!(first.status, 201);
        let other = admin.json("POST", "/api/v1/volumes", &json!({ "name": "w", "bytes": 4096 })).await;
        assert_eq!((other.status, other.json()["reason"].as_str()), (422, Some("key-used")));
        (admin.headers.clone(), first)
    });
    // Also after hostd's death.
    let house = house.restart();
    house.run(async {
        house.sleep(Duration::from_secs(1)).await;
        let mut admin = Client::connect(&house);
        admin.headers = headers;
        let again = admin.json("POST", "/api/v1/volumes", &new).await;
        assert_eq!((again.status, again.header("idempotency-replayed")), (201, Some("true")));
        assert_eq!((again.json(), again.header("location")), (first.json(), first.header("location")));
        assert_eq!(admin.get("/api/v1/volumes").await.json()["total"], 1);
    });
}
