//! bramblectl against hostd on this machine: what a user types, and what comes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use hostd_pc::{Options, serve};
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::channel;

const PASSWORD: &str = "four words will do";

/// A host, and a user who works on it.
struct Desk {
    folder: PathBuf,
    url: String,
    first: String,
    /// SHA-256 of the CA, under TLS.
    fingerprint: String,
}

impl Desk {
    fn new(name: &str) -> Self {
        Self::over(name, false)
    }

    fn over(name: &str, tls: bool) -> Self {
        let (port_is, port) = channel();
        let (log, lines) = channel();
        // It ends with the test's process.
        std::thread::spawn(move || {
            let options = Options { tls, port: 0, demo: true };
            serve(options, |port| port_is.send(port).unwrap(), move |line| drop(log.send(line.to_owned())))
        });
        let scheme = if tls { "https" } else { "http" };
        let url = format!("{scheme}://127.0.0.1:{}", port.recv().unwrap());
        let mut fingerprint = String::new();
        let first = lines.iter().find_map(|line: String| {
            if let Some(text) = line.strip_prefix("CA's SHA-256: ") {
                text.clone_into(&mut fingerprint);
            }
            line.split("password ").nth(1).map(str::to_owned)
        });
        let first = first.unwrap();
        let folder = std::env::temp_dir().join(format!("bramblectl-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self { folder, url, first, fingerprint }
    }

    fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bramblectl"));
        command.args(arguments).env("BRAMBLECTL_CONTEXTS", self.folder.join("contexts.json"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        // One that asks nothing does not read it.
        let _ = process.stdin.take().unwrap().write_all(input.as_bytes());
        process.wait_with_output().unwrap()
    }

    #[track_caller]
    fn good(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn refused(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input);
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn logged_in(name: &str) -> Self {
        let desk = Self::new(name);
        desk.good(&["context", "add", "here", &desk.url], "");
        desk.good(&["login"], &format!("{}\n{PASSWORD}\n{PASSWORD}\n", desk.first));
        desk
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn a_first_login_changes_the_password_and_keeps_a_token_that_only_the_user_reads() {
    use std::os::unix::fs::PermissionsExt;
    let desk = Desk::new("login");
    assert!(desk.refused(&["vm", "list"], "").contains("context add"));
    assert!(desk.refused(&["context", "add", "far", "https://far.example"], "").contains("--fingerprint"));
    desk.good(&["context", "add", "here", &desk.url], "");
    assert!(desk.refused(&["vm", "list"], "").contains("log in"));
    assert!(desk.refused(&["login"], "a wrong password\n").contains("console"));
    desk.good(&["login"], &format!("{}\n{PASSWORD}\n{PASSWORD}\n", desk.first));
    let contexts = desk.folder.join("contexts.json");
    assert_eq!(std::fs::metadata(&contexts).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(contexts).unwrap();
    assert!(text.contains("bramble_") && !text.contains(PASSWORD));
    desk.good(&["login"], &format!("{PASSWORD}\n"));
    assert!(desk.good(&["context", "list"], "").starts_with("* here"));
}

#[test]
fn vms_are_listed_started_attended_and_stopped() {
    let desk = Desk::logged_in("vms");
    let list: Value = serde_json::from_str(&desk.good(&["vm", "list", "--json"], "")).unwrap();
    let names: Vec<&str> = list.as_array().unwrap().iter().map(|vm| vm["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["dns", "lab", "web"]);
    assert!(desk.good(&["vm", "list"], "").starts_with("NAME  POWER"));
    desk.good(&["vm", "start", "lab"], "");
    assert!(desk.refused(&["vm", "start", "lab"], "").contains("not in a state for that"));
    let said = desk.good(&["vm", "console", "lab"], "whoami\r");
    assert!(said.contains("Welcome to lab, start 1") && said.ends_with("whoami\r\n$ "), "{said}");
    assert_eq!(desk.good(&["vm", "console", "lab", "--log"], ""), said);
    // Ctrl-] leaves at once, whatever follows it.
    assert!(!desk.good(&["vm", "console", "lab"], "x\u{1d}never typed").contains("never typed"));
    desk.good(&["vm", "stop", "lab"], "");
    let vm: Value = serde_json::from_str(&desk.good(&["vm", "show", "lab", "--json"], "")).unwrap();
    assert_eq!(vm["power"], "off");
    assert!(desk.refused(&["vm", "show", "none"], "").contains("no VM none"));
    desk.good(&["vm", "snapshot", "lab", "before"], "");
    assert!(desk.good(&["vm", "snapshots", "lab"], "").contains("before"));
    desk.good(&["vm", "revert", "lab", "1"], "");
    assert!(desk.refused(&["vm", "delete", "web"], "").contains("boot archive"));
    desk.good(&["vm", "delete", "lab"], "");
    std::fs::write(
        desk.path("lab.toml"),
        "[[vm]]\nname = \"lab\"\nvcpus = 0\nmemory = \"1GiB\"\n[vm.boot]\nfirmware = \"f\"\n",
    )
    .unwrap();
    assert!(desk.refused(&["vm", "create", &desk.path("lab.toml")], "").contains("vm[lab].vcpus"));
    let good = std::fs::read_to_string(desk.path("lab.toml")).unwrap().replace("vcpus = 0", "vcpus = 2");
    std::fs::write(desk.path("lab.toml"), good).unwrap();
    desk.good(&["vm", "create", &desk.path("lab.toml")], "");
}

#[test]
fn a_file_becomes_an_object_and_a_volume() {
    let desk = Desk::logged_in("storage");
    desk.good(&["storage", "make", "FAKE0001"], "");
    let content: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    std::fs::write(desk.path("disk.img"), content).unwrap();
    desk.good(&["storage", "upload", &desk.path("disk.img"), "image:disk"], "");
    assert!(desk.good(&["storage", "objects"], "").contains("image:disk  3000000"));
    desk.good(&["storage", "import", "image:disk", "root"], "");
    assert!(desk.good(&["storage", "volumes"], "").contains("root"));
    assert!(desk.refused(&["storage", "upload", &desk.path("disk.img"), "disk"], "").contains("image:"));
}

#[test]
fn an_exported_chain_holds_and_a_change_in_it_shows() {
    let desk = Desk::logged_in("audit");
    desk.good(&["vm", "start", "lab"], "");
    let file = desk.path("chain.jsonl");
    let said = desk.good(&["audit", "export", &file], "");
    let head = said.trim().split("head ").nth(1).unwrap().to_owned();
    assert!(desk.good(&["audit", "verify", &file], "").contains("the chain holds"));
    desk.good(&["audit", "verify", &file, "--head", &head], "");
    let good = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = good.lines().collect();
    let started = lines.iter().position(|line| line.contains("vm.power.on")).unwrap();
    for (bad, says) in [
        (good.replace("vm.power.on", "vm.power.no"), "was changed"),
        (lines[1..].join("\n"), "entry 1 is missing"),
        ([&lines[..started - 1], &lines[started..]].concat().join("\n"), "is missing"),
    ] {
        std::fs::write(&file, bad).unwrap();
        assert!(desk.refused(&["audit", "verify", &file], "").contains(says), "{says}");
    }
    std::fs::write(&file, lines[..lines.len() - 1].join("\n")).unwrap();
    assert!(desk.good(&["audit", "verify", &file], "").contains("can't be known"));
    assert!(desk.refused(&["audit", "verify", &file, "--head", &head], "").contains("was cut"));
}

#[test]
fn under_tls_a_host_is_who_its_console_says() {
    let desk = Desk::over("tls", true);
    let wrong = "0".repeat(64);
    let refused = desk.refused(&["context", "add", "here", &desk.url, "--fingerprint", &wrong], "");
    assert!(refused.contains("not the one of the console"), "{refused}");
    assert!(desk.good(&["context", "list"], "").is_empty());
    desk.good(&["context", "add", "here", &desk.url, "--fingerprint", &desk.fingerprint], "");
    desk.good(&["login"], &format!("{}\n{PASSWORD}\n{PASSWORD}\n", desk.first));
    desk.good(&["vm", "start", "lab"], "");
    let said = desk.good(&["vm", "console", "lab"], "whoami\r");
    assert!(said.contains("Welcome to lab, start 1"), "{said}");
    // Another host at that address: its CA is not the pinned one.
    let other = Desk::over("tls-other", true);
    let contexts = desk.folder.join("contexts.json");
    let moved = std::fs::read_to_string(&contexts).unwrap().replace(&desk.url, &other.url);
    std::fs::write(&contexts, moved).unwrap();
    assert!(!desk.run(&["vm", "list"], "").status.success());
}
