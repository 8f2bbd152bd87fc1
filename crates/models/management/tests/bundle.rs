//! The support bundle: what is in it, what never is, and who gets it.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod client;

use abi::ExitReason;
use abi::record::CrashRecord;
use client::{Client, House, PASSWORD};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Read;

type Files = BTreeMap<String, String>;

async fn bundle(admin: &mut Client) -> Vec<u8> {
    let headers = admin.headers.clone();
    admin.send(&format!("GET /api/v1/host/support-bundle HTTP/1.1\r\nHost: x\r\n{headers}\r\n")).await;
    let head = admin.read_head().await;
    assert_eq!((head.status, head.header("content-type")), (200, Some("application/x-tar")), "{head:?}");
    assert!(head.header("content-disposition").unwrap().ends_with("-support.tar\""));
    admin.chunks().await
}

fn files(archive: &[u8]) -> Files {
    let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (entry.path().unwrap().display().to_string(), text)
    };
    tar::Archive::new(archive).entries().unwrap().map(read).collect()
}

fn crash(generation: u32, words: &str) -> CrashRecord {
    let mut record = CrashRecord::from_bytes(&[0; CrashRecord::BYTES]);
    record.generation = generation;
    record.reason = ExitReason::Panic as u32;
    record.words[..words.len()].copy_from_slice(words.as_bytes());
    record.words_bytes = u32::try_from(words.len()).unwrap();
    (record.has_registers, record.pc) = (1, 0x4008_1234);
    record
}

#[test]
fn it_has_the_host_its_vms_log_chain_and_crashes() {
    let house = House::default();
    house.run(async {
        let mut admin = house.administrator().await;
        let vm = json!({ "name": "web", "vcpus": 2, "memory": "512MiB", "boot": { "firmware": "efi.fd" } });
        assert_eq!(admin.json("POST", "/api/v1/vms", &vm).await.status, 201);
        let vmkernel = &house.management.port().vmkernel;
        vmkernel.put_crash(crash(1, "index out of bounds"));
        vmkernel.put_crash(crash(2, "no memory"));
        vmkernel.say("uplink: link up");
        let files = files(&bundle(&mut admin).await);
        let json = |name: &str| -> Value { serde_json::from_str(&files[name]).unwrap() };
        assert_eq!(json("version.json")["hostd_abi"], abi::VERSION);
        assert_eq!(json("host.json")["pes"], 4);
        assert_eq!(json("settings.json")["settings"]["name"], "bramble");
        assert_eq!(json("vms/web.json")["configuration"]["vcpus"], 2);
        assert!(files["metrics.txt"].contains("bramble_vm_running{vm=\"web\"} 0"));
        assert!(files["log.txt"].contains("] uplink: link up\n"), "{}", files["log.txt"]);
        let crashes = json("crashes.json");
        assert_eq!(
            (&crashes[0]["generation"], &crashes[1]["words"], &crashes[1]["registers"]["pc"], &crashes[2]),
            (&json!(2), &json!("index out of bounds"), &json!("0x40081234"), &Value::Null)
        );
        // The chain's last entry is that this bundle was made.
        let last: Value = serde_json::from_str(files["audit.jsonl"].lines().last().unwrap()).unwrap();
        assert!(last["text"].as_str().unwrap().contains("\"what\":\"host.support-bundle\""), "{last}");
        // What can't be had is said, and only that.
        let missing: Vec<&str> =
            files["missing.txt"].lines().map(|line| line.split(": ").next().unwrap()).collect();
        assert_eq!(missing, ["certificate.json", "vms/web.statistics.json"]);
        // The connection goes on.
        assert_eq!(admin.get("/api/v1/host").await.status, 200);
    });
}

#[test]
fn nothing_secret_is_in_it() {
    let house = House::default();
    house.run(async {
        let first = house.first_password().await;
        let mut admin = house.administrator().await;
        let new = json!({ "name": "tool", "role": "viewer" });
        let token = admin.json("POST", "/api/v1/tokens", &new).await.json();
        house.user(&mut admin, "vera", "viewer").await;
        let seed = json!({ "volume": "seed", "user_data": "#cloud-config\npassword: open sesame\n" });
        admin.json("POST", "/api/v1/datastore", &json!({ "disk": "FAKE0001" })).await;
        house.sleep(std::time::Duration::from_secs(2)).await;
        assert_eq!(admin.json("POST", "/api/v1/seeds", &seed).await.status, 201);
        let text = String::from_utf8_lossy(&bundle(&mut admin).await).into_owned();
        assert!(
            text.contains("vera") && text.contains("first login: user admin, password on the console only")
        );
        let mut secrets = vec![first, PASSWORD.into(), String::from("open sesame")];
        secrets.push(token["secret"].as_str().unwrap().into());
        for word in admin.headers.split(['=', '\r', ' ']).filter(|word| word.len() > 20) {
            secrets.push(word.trim().into());
        }
        // Whatever the vmkernel keeps of logins and keys: hashes, salts, sessions.
        for (name, content) in house.management.port().vmkernel.objects() {
            let hidden = name.starts_with("host:") || name.starts_with("run:");
            let content = String::from_utf8_lossy(&content).into_owned();
            let is_secret =
                |word: &&str| word.len() >= 20 && word.bytes().any(|byte| byte.is_ascii_uppercase());
            secrets.extend(content.split('"').filter(is_secret).filter(|_| hidden).map(String::from));
        }
        assert!(secrets.len() > 12, "{secrets:?}");
        for secret in secrets {
            assert!(!text.contains(&secret), "{secret} is in the bundle");
        }
    });
}

#[test]
fn an_administrator_gets_it_and_nobody_else() {
    let house = House::default();
    house.run(async {
        let mut admin = house.administrator().await;
        let mut operator = house.user(&mut admin, "otto", "operator").await;
        let refused = operator.get("/api/v1/host/support-bundle").await;
        assert_eq!((refused.status, refused.json()["reason"].as_str()), (403, Some("role-too-low")));
        assert_eq!(admin.head("/api/v1/host/support-bundle").await.status, 200);
    });
}
