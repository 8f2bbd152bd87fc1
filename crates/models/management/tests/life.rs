//! What goes on in a host: counters, their history, the network, logs; VMs that are paused.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod client;

use client::{Client, House};
use serde_json::{Value, json};
use std::time::Duration;

/// A host with a VM `web` of two vCPUs and a card, which runs.
async fn with_web(house: &House) -> Client {
    let mut admin = house.administrator().await;
    let web = json!({
        "name": "web", "vcpus": 2, "memory": "512MiB", "boot": { "firmware": "QEMU_EFI.fd" },
        "disk": [{ "image": "web.img" }], "nic": [{ "mac": "52:54:00:00:01:02" }]
    });
    assert_eq!(admin.json("POST", "/api/v1/vms", &web).await.status, 201);
    assert_eq!(power(&mut admin, house, "on").await["state"], "done");
    admin
}

async fn power(client: &mut Client, house: &House, action: &str) -> Value {
    let answer = client.json("POST", "/api/v1/vms/web/power", &json!({ "action": action })).await;
    client.ended(house, &answer).await
}

fn sum(of: &Value) -> u64 {
    of.as_object().unwrap().values().map(|value| value.as_u64().unwrap()).sum()
}

#[test]
fn a_vms_time_is_told_to_the_last_nanosecond() {
    let house = House::default();
    house.run(async {
        let mut admin = with_web(&house).await;
        house.sleep(Duration::from_secs(20)).await;
        let of = admin.get("/api/v1/vms/web/statistics").await.json();
        let number = |name: &str| of[name].as_u64().unwrap();
        let whole = (number("uptime_ns") - number("started_ns")) * number("vcpus");
        let parts = ["guest_ns", "host_ns", "ready_ns", "idle_ns"].map(number);
        assert_eq!(parts.iter().sum::<u64>(), whole, "{of}");
        assert!(parts.iter().all(|part| *part > 0), "{of}");
        assert_eq!(number("host_ns"), sum(&of["exit_ns"]));
        assert!(of["exits"]["device"].as_u64().unwrap() > 500);
        assert_eq!(power(&mut admin, &house, "off").await["state"], "done");
        let off = admin.get("/api/v1/vms/web/statistics").await;
        assert_eq!((off.status, off.json()["reason"].as_str()), (409, Some("vm-is-off")));
    });
}

#[test]
fn a_paused_vm_stands_still_and_goes_on() {
    let house = House::default();
    house.run(async {
        let mut admin = with_web(&house).await;
        assert_eq!(power(&mut admin, &house, "resume").await["problem"]["reason"], "conflict");
        assert_eq!(power(&mut admin, &house, "pause").await["state"], "done");
        assert_eq!(admin.get("/api/v1/vms/web").await.json()["power"], "paused");
        let before = admin.get("/api/v1/vms/web/statistics").await.json();
        house.sleep(Duration::from_secs(9)).await;
        let after = admin.get("/api/v1/vms/web/statistics").await.json();
        assert_eq!((&before["guest_ns"], &before["exits"]), (&after["guest_ns"], &after["exits"]));
        assert_eq!(power(&mut admin, &house, "resume").await["state"], "done");
        house.sleep(Duration::from_secs(9)).await;
        let later = admin.get("/api/v1/vms/web/statistics").await.json();
        assert!(later["guest_ns"].as_u64() > after["guest_ns"].as_u64());
        assert_eq!(power(&mut admin, &house, "pause").await["state"], "done");
        assert_eq!(power(&mut admin, &house, "off").await["state"], "done");
    });
}

#[test]
fn the_last_seconds_are_told_for_the_host_and_each_vm() {
    let house = House::default();
    house.run(async {
        let mut admin = with_web(&house).await;
        house.sleep(Duration::from_secs(60)).await;
        // Who says nothing for longer is not kept.
        assert_eq!(admin.get("/api/v1/host").await.status, 200);
        house.sleep(Duration::from_secs(40)).await;
        for path in ["/api/v1/vms/web/history", "/api/v1/host/history"] {
            let all = admin.get(path).await.json();
            let values = |history: &Value, name: &str| -> Vec<u64> {
                history[name].as_array().unwrap().iter().map(|value| value.as_u64().unwrap()).collect()
            };
            let cpu = values(&all, "cpu_permille");
            assert!((100..=102).contains(&cpu.len()), "{}", cpu.len());
            // A load that rises and falls.
            let (least, most) = (cpu[5..].iter().min().unwrap(), cpu.iter().max().unwrap());
            assert!(*least > 0 && *most <= 1000 && most > least, "{cpu:?}");
            for name in ["memory_kib", "disk_read", "disk_written", "network_received", "network_sent"] {
                let values = values(&all, name);
                assert!(
                    values.len() == cpu.len() && *values.last().unwrap() > 0,
                    "{path} {name}: {values:?}"
                );
            }
            let thin = admin.get(&format!("{path}?seconds=60&step=20")).await.json();
            let thin_cpu = values(&thin, "cpu_permille");
            let mean = cpu[cpu.len() - 20..].iter().sum::<u64>() / 20;
            assert_eq!((thin_cpu.len(), thin_cpu[2], &thin["step_seconds"]), (3, mean, &json!(20)));
            for bad in ["seconds=0", "seconds=3601", "seconds=60&step=61", "seconds=3600&step=2", "step=x"] {
                let refused = admin.get(&format!("{path}?{bad}")).await;
                assert_eq!(refused.status, 400, "{bad}");
                assert!(refused.json()["remedy"].as_str().is_some(), "{bad}");
            }
        }
        // An hour, and not a second more.
        for _ in 0..61 {
            house.sleep(Duration::from_secs(60)).await;
            assert_eq!(admin.get("/api/v1/host").await.status, 200);
        }
        let hour = admin.get("/api/v1/host/history?seconds=3600&step=3").await;
        assert!(hour.body.len() < 64 * 1024, "{}", hour.body.len());
        let hour = hour.json();
        assert_eq!(hour["cpu_permille"].as_array().unwrap().len(), 1200);
        assert_eq!(hour["remembered_seconds"], 3600);
    });
}

#[test]
fn the_network_is_uplinks_groups_cards_and_their_addresses() {
    let house = House::default();
    house.run(async {
        let mut admin = with_web(&house).await;
        house.sleep(Duration::from_secs(10)).await;
        let network = admin.get("/api/v1/network").await.json();
        let names: Vec<_> =
            network["port_groups"].as_array().unwrap().iter().map(|group| &group["name"]).collect();
        assert_eq!(names, ["Management", "VM Network"]);
        let ports = network["ports"].as_array().unwrap();
        let kinds: Vec<_> = ports.iter().map(|port| port["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["uplink", "hostd", "vm"]);
        let [uplink, _, web] = &ports[..] else { panic!("{ports:?}") };
        assert_eq!(
            (&web["vm"], &web["port_group"], &web["mac"]),
            (&json!("web"), &json!("VM Network"), &json!("52:54:00:00:01:02"))
        );
        assert_eq!((&uplink["vm"], &uplink["port_group"]), (&Value::Null, &Value::Null));
        // What the only VM gets came in by the only uplink.
        assert_eq!(uplink["bytes_in"], web["bytes_out"]);
        let shown = admin.get("/api/v1/vms/web").await.json();
        assert_eq!(shown["addresses"], web["addresses"]);
        let addresses: Vec<_> = shown["addresses"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["address"].as_str().unwrap())
            .collect();
        assert_eq!(addresses[1], "fe80::5054:ff:fe00:102");
        assert!(addresses[0].starts_with("10.0.2."), "{addresses:?}");
        power(&mut admin, &house, "off").await;
        assert_eq!(admin.get("/api/v1/vms/web").await.json()["addresses"], json!([]));
    });
}

#[test]
fn the_log_is_told_line_by_line_and_each_vms_part_of_it() {
    let house = House::default();
    house.run(async {
        let mut admin = with_web(&house).await;
        power(&mut admin, &house, "pause").await;
        let log = admin.get("/api/v1/host/logs").await.json();
        let lines = log["lines"].as_array().unwrap();
        let texts: Vec<_> = lines.iter().map(|line| line["text"].as_str().unwrap()).collect();
        let first = "] first login: user admin, password on the console only";
        assert!(texts[0].starts_with('[') && texts[0].ends_with(first), "{texts:?}");
        assert!(texts.last().unwrap().ends_with("] web: paused"), "{texts:?}");
        // Positions are the ring's, which has the password.
        assert!(lines[1]["position"].as_u64().unwrap() > lines[0]["position"].as_u64().unwrap());
        // Nor does a page that begins within the line, where what marks it is cut off.
        for from in 1..lines[1]["position"].as_u64().unwrap() {
            let page = admin.get(&format!("/api/v1/host/logs?from={from}")).await.json();
            assert_eq!(page["lines"][0], lines[1], "from {from}");
        }
        // What comes later starts where that ended.
        power(&mut admin, &house, "resume").await;
        let more = admin.get(&format!("/api/v1/host/logs?from={}", log["next"])).await.json();
        assert_eq!(more["lines"].as_array().unwrap().len(), 1);
        assert!(more["lines"][0]["text"].as_str().unwrap().ends_with("] web: resumed"));
        assert_eq!(more["lines"][0]["position"], log["next"]);
        // Long after: the ring has forgotten the start, and pages go on from what it has.
        for number in 0..4000 {
            house.management.port().vmkernel.say(&format!("line {number}"));
        }
        let page = admin.get(&format!("/api/v1/host/logs?from={}", log["next"])).await.json();
        assert!(page["start"].as_u64().unwrap() > log["next"].as_u64().unwrap());
        let last = page["lines"].as_array().unwrap().last().unwrap()["text"].as_str().unwrap();
        assert!(last.ends_with("] line 3999"), "{last}");
        let web = admin.get("/api/v1/vms/web/log").await.json();
        assert!(web["lines"].as_array().unwrap().is_empty());
        let kinds: Vec<_> = web["events"].as_array().unwrap().iter().map(|event| &event["kind"]).collect();
        assert_eq!(kinds, ["vm.added", "vm.power", "vm.power", "vm.power"]);
        assert_eq!(admin.get("/api/v1/vms/none/log").await.status, 404);
    });
}
