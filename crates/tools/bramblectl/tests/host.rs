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
            let options = Options { tls, demo: true, ..Options::default() };
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
        self.run_as(&self.path("contexts.json"), arguments, input)
    }

    /// With other contexts: as another user of this machine.
    fn run_as(&self, contexts: &str, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bramblectl"));
        command.args(arguments).env("BRAMBLECTL_CONTEXTS", contexts);
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
    assert!(desk.good(&["vm", "log", "lab"], "").contains("] lab: 4 vCPUs, 2048 MiB"));
    assert!(desk.good(&["vm", "statistics", "lab"], "").contains("guest_ns"));
    assert!(
        desk.good(&["vm", "history", "lab", "--seconds", "2", "--step", "1"], "").contains("cpu_permille")
    );
    assert!(desk.good(&["host", "history"], "").contains("network_sent"));
    assert!(desk.good(&["host", "network"], "").contains("uplink"));
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

#[test]
fn users_and_tokens_may_what_they_may() {
    let desk = Desk::logged_in("people");
    let first = "a first password";
    desk.good(&["user", "create", "vera", "--role", "viewer"], &format!("{first}\n{first}\n"));
    assert!(
        desk.refused(&["user", "create", "vera", "--role", "viewer"], "one\ntwo\n").contains("two passwords")
    );
    assert!(desk.good(&["user", "list"], "").contains("vera   viewer"));
    assert!(desk.good(&["user", "show", "vera"], "").contains("viewer"));
    assert!(desk.refused(&["user", "change", "vera"], "").contains("--role"));
    // Another program, as her.
    let own = desk.path("vera.json");
    let hers = |arguments: &[&str], input: &str| desk.run_as(&own, arguments, input);
    assert!(hers(&["context", "add", "here", &desk.url], "").status.success());
    let lines = format!("{first}\nmy own password\nmy own password\n");
    assert!(hers(&["login", "--user", "vera"], &lines).status.success());
    assert!(String::from_utf8_lossy(&hers(&["whoami"], "").stdout).contains("viewer"));
    let refused = hers(&["vm", "start", "lab"], "");
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("operator"));
    assert!(desk.good(&["audit", "list"], "").contains("\"who\":\"vera\""));
    // What she has got is gone with a logout, and with a new password her next login.
    let tokens = desk.good(&["token", "list"], "");
    assert!(tokens.lines().any(|line| line.contains("vera")), "{tokens}");
    assert!(hers(&["logout"], "").status.success());
    assert!(!desk.good(&["token", "list"], "").lines().any(|line| line.contains("vera")));
    let lines = "another password\nanother password\n";
    desk.good(&["user", "change", "vera", "--role", "operator", "--reset-password"], lines);
    assert!(!hers(&["login", "--user", "vera"], "my own password\n").status.success());
    desk.good(&["user", "delete", "vera"], "");
    let secret = desk.good(&["token", "create", "backup", "--role", "viewer", "--days", "7"], "");
    assert!(secret.starts_with("bramble_"));
    desk.good(
        &["password"],
        &format!("{PASSWORD}\nsix words are more than four\nsix words are more than four\n"),
    );
    assert!(desk.refused(&["login"], &format!("{PASSWORD}\n")).contains("wrong"));
}

#[test]
fn sessions_and_lock_outs_are_listed_and_ended() {
    let desk = Desk::logged_in("sessions");
    // A browser's, which this machine has no command for.
    let login = format!("{{\"user\":\"admin\",\"password\":\"{PASSWORD}\"}}");
    std::fs::write(desk.path("login.json"), login).unwrap();
    desk.good(&["api", "post", "/api/v1/session", "--body", &desk.path("login.json")], "");
    let list = |what: &str| -> Vec<Value> {
        serde_json::from_str(&desk.good(&["user", what, "--json"], "")).unwrap()
    };
    let [session] = list("sessions").try_into().unwrap();
    assert_eq!((session["user"].as_str(), session["from"].as_str()), (Some("admin"), Some("127.0.0.1")));
    let table = desk.good(&["user", "sessions"], "");
    assert!(table.contains("USER") && table.contains("127.0.0.1"), "{table}");
    desk.good(&["user", "end-session", session["id"].as_str().unwrap()], "");
    assert!(list("sessions").is_empty());
    assert!(desk.refused(&["user", "end-session", "none"], "").contains("no session none"));
    for _ in 0..6 {
        desk.refused(&["login", "--user", "nobody"], "a wrong password\n");
    }
    let [lock_out] = list("lock-outs").try_into().unwrap();
    assert_eq!((lock_out["user"].as_str(), lock_out["from"].as_str()), (Some("nobody"), Some("127.0.0.1")));
    desk.good(&["user", "clear-lock-out", lock_out["id"].as_str().unwrap()], "");
    assert!(list("lock-outs").is_empty());
}

#[test]
fn vms_are_made_of_options_changed_and_printed() {
    let desk = Desk::logged_in("made");
    desk.good(&["storage", "make", "FAKE0001"], "");
    desk.good(&["storage", "create", "root", "64M"], "");
    assert!(desk.refused(&["vm", "create", "tiny"], "").contains("--vcpus"));
    let made =
        ["vm", "create", "tiny", "--vcpus", "1", "--memory", "64MiB", "--firmware", "f", "--volume", "root"];
    desk.good(&made, "");
    desk.good(&["vm", "edit", "tiny", "--vcpus", "2", "--autostart", "false"], "");
    let text = desk.good(&["vm", "configuration", "tiny"], "");
    assert!(
        text.contains("vcpus = 2") && text.contains("autostart = false") && text.contains("\"root\""),
        "{text}"
    );
    // What it prints it takes.
    std::fs::write(desk.path("tiny.toml"), text.replace("64MiB", "128MiB")).unwrap();
    desk.good(&["vm", "edit", "tiny", &desk.path("tiny.toml")], "");
    assert!(desk.good(&["vm", "configuration", "tiny"], "").contains("128MiB"));
    assert!(desk.refused(&["vm", "edit", "tiny", "--memory", "much"], "").contains("memory"));
    desk.good(&["vm", "snapshot", "tiny", "before"], "");
    assert!(desk.refused(&["vm", "revert", "tiny", "after"], "").contains("vm snapshots tiny"));
    desk.good(&["vm", "revert", "tiny", "before"], "");
    desk.good(&["vm", "delete-snapshot", "tiny", "before"], "");
    desk.good(&["vm", "delete", "tiny"], "");
    desk.good(&["storage", "resize", "root", "128M"], "");
    desk.good(&["storage", "clone", "root", "copy"], "");
    assert!(desk.good(&["storage", "volume", "copy"], "").contains("134217728"));
    desk.good(&["storage", "delete", "copy"], "");
    assert!(desk.refused(&["storage", "delete", "copy"], "").contains("storage volumes"));
}

#[test]
fn images_of_all_formats_are_imported_and_objects_come_back_whole() {
    let desk = Desk::logged_in("import");
    desk.good(&["storage", "make", "FAKE0001"], "");
    let content: Vec<u8> = (0..3 << 20_u32).map(|number| (number % 251) as u8).collect();
    std::fs::write(desk.path("disk.img"), &content).unwrap();
    for (format, name) in [("qcow2", "disk.qcow2"), ("vmdk", "disk.vmdk")] {
        let mut convert = Command::new("qemu-img");
        convert.args(["convert", "-f", "raw", "-O", format, &desk.path("disk.img"), &desk.path(name)]);
        assert!(convert.status().unwrap().success());
        desk.good(&["import", &desk.path(name), format], "");
        assert!(desk.good(&["storage", "volume", format], "").contains("3145728"));
    }
    desk.good(&["import", &desk.path("disk.img"), "--keep"], "");
    assert!(desk.good(&["storage", "objects", "--prefix", "image:"], "").ends_with("image:disk  3145728\n"));
    // A download goes on where it was cut.
    std::fs::write(desk.path("back.part"), &content[..1_000_000]).unwrap();
    desk.good(&["storage", "download", "image:disk", &desk.path("back.img")], "");
    assert!(std::fs::read(desk.path("back.img")).unwrap() == content);
    assert!(
        desk.refused(&["storage", "download", "image:none", &desk.path("none")], "")
            .contains("storage objects")
    );
    desk.good(&["storage", "delete-object", "image:disk"], "");
    assert!(desk.good(&["task", "list"], "").contains("done"));
}

#[test]
fn the_host_is_shown_watched_and_bundled() {
    let desk = Desk::logged_in("host");
    assert!(desk.good(&["host", "show"], "").contains("uptime_seconds"));
    assert!(desk.good(&["host", "metrics"], "").contains("bramble_vm_running{vm=\"lab\"} 0"));
    assert!(desk.good(&["host", "description"], "").contains("\"openapi\""));
    desk.good(&["vm", "start", "lab"], "");
    let last = desk.good(&["events", "--after", "0", "--count", "1"], "");
    let event: Value = serde_json::from_str(last.trim()).unwrap();
    assert!(event["id"].is_u64() && event["kind"].is_string(), "{event}");
    let answer: Value = serde_json::from_str(&desk.good(&["api", "get", "/api/v1/host"], "")).unwrap();
    assert!(answer["version"].is_string());
    std::fs::write(desk.path("power.json"), "{\"action\":\"on\"}").unwrap();
    let post = ["api", "post", "/api/v1/vms/dns/power", "--body", &desk.path("power.json")];
    assert!(desk.good(&post, "").contains("vm.power.on"));
    let bundle = desk.path("bundle.tar");
    desk.good(&["support-bundle", &bundle], "");
    let text = String::from_utf8_lossy(&std::fs::read(&bundle).unwrap()).into_owned();
    for part in ["host.json", "vms/lab.json", "audit.jsonl", "host.support-bundle", "missing.txt"] {
        assert!(text.contains(part), "{part} is not in the bundle");
    }
    assert!(!text.contains("Welcome to lab"), "what a guest said is in it");
    assert!(text.ends_with(&"\0".repeat(1024)), "it is cut");
}

#[test]
fn shells_complete_it_and_man_shows_it() {
    let desk = Desk::new("words");
    assert!(desk.good(&["completions", "bash"], "").contains("support-bundle"));
    let folder = desk.path("man");
    desk.good(&["man", &folder], "");
    let page = std::fs::read_to_string(format!("{folder}/bramblectl-vm-edit.1")).unwrap();
    assert!(page.contains("waits for its next start"), "{page}");
    assert!(std::path::Path::new(&format!("{folder}/bramblectl.1")).is_file());
}
