//! The tool as people use it: on files and cards, with qemu's tools where they are installed.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "datastore/reader.rs"]
mod reader;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bramblectl-test-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn tool(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bramblectl"));
    command.arg("datastore").args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// It succeeds; what it says.
fn good(arguments: &[&str]) -> String {
    let output = tool(arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// It fails; what it says.
fn bad(arguments: &[&str]) -> String {
    let output = tool(arguments);
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(!output.status.success(), "{arguments:?} succeeded: {text}");
    text
}

fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    found.is_ok()
}

fn qemu_img(arguments: &[&str]) {
    let status = Command::new("qemu-img").args(arguments).stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "qemu-img {arguments:?}");
}

/// Bytes that do not repeat, with holes.
fn image(path: &str, bytes: usize, seed: u64) {
    let mut word = seed;
    let mut out = vec![0u8; bytes];
    for (i, chunk) in out.chunks_exact_mut(8).enumerate() {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        if (i / 8192) % 3 != 1 {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
    }
    std::fs::write(path, out).unwrap();
}

fn same(a: &str, b: &str) -> bool {
    std::fs::read(a).unwrap() == std::fs::read(b).unwrap()
}

#[test]
fn a_store_is_made_looked_at_and_not_made_twice() {
    let folder = Folder::new("create");
    let store = folder.path("store");
    assert!(bad(&["create", &store, "--size", "63M"]).contains("at least 64 MiB"));
    assert!(bad(&["create", &store]).contains("--size"));
    assert!(!Path::new(&store).exists(), "nothing is left of what was refused");
    good(&["create", &store, "--size", "64M"]);
    assert!(good(&["info", &store]).contains("64.0 MiB"));
    assert!(good(&["check", &store]).contains("sound"));
    assert!(bad(&["create", &store]).contains("not empty"));
    good(&["create", &store, "--force"]);
    let other = folder.path("other");
    for (mib, said) in [(0, "too small"), (1, "too small"), (20, "not a Bramble datastore")] {
        std::fs::write(&other, vec![1u8; mib << 20]).unwrap();
        assert!(bad(&["info", &other]).contains(said), "{mib} MiB");
    }
    assert!(bad(&["info", &folder.0.display().to_string()]).contains("is a folder"));
    good(&["volume", &store, "v", "10M"]);
    good(&["grow", &store, "--size", "200M"]);
    assert!(good(&["info", &store]).contains("200.0 MiB"));
    assert!(good(&["ls", &store]).contains("10.0 MiB"));
}

#[test]
fn a_card_gets_a_boot_partition_and_nothing_else_is_touched() {
    let folder = Folder::new("card");
    let (card, source, back) = (folder.path("card"), folder.path("in"), folder.path("out"));
    good(&["create", &card, "--size", "512M", "--card", "--boot-size", "64M"]);
    let table = gpt::GptConfig::new().writable(false).open(&card).unwrap();
    let size = gpt::disk::LogicalBlockSize::Lb512;
    let partitions: Vec<_> = table.partitions().values().cloned().collect();
    assert_eq!(partitions.len(), 2);
    let ours = partitions.iter().find(|p| p.name == "datastore").unwrap();
    assert_eq!(ours.part_type_guid.guid.to_string().to_uppercase(), datastore::PARTITION_TYPE);
    let (start, len) = (ours.bytes_start(size).unwrap() as usize, ours.bytes_len(size).unwrap() as usize);
    assert_eq!(start % (4 << 20), 0, "erase blocks");
    let boot = partitions.iter().find(|p| p.name == "boot").unwrap().bytes_start(size).unwrap();
    if has("mcopy") {
        image(&source, 100_000, 3);
        let at = format!("{card}@@{boot}");
        assert!(
            Command::new("mcopy").args(["-i", &at, &source, "::kernel8.img"]).status().unwrap().success()
        );
        assert!(Command::new("mcopy").args(["-i", &at, "::kernel8.img", &back]).status().unwrap().success());
        assert!(same(&source, &back));
    }
    let before = std::fs::read(&card).unwrap();
    image(&source, 20 << 20, 4);
    good(&["import", &card, &source, "disk", "--format", "raw"]);
    good(&["snapshot", &card, "disk@one"]);
    good(&["scrub", &card]);
    let after = std::fs::read(&card).unwrap();
    assert!(before[..start] == after[..start] && before[start + len..] == after[start + len..]);
    assert!(before[start..start + len] != after[start..start + len]);
    good(&["export", &card, "disk@one", &back, "--format", "raw", "--force"]);
    assert!(same(&source, &back));
}

#[test]
fn a_foreign_partition_is_never_opened() {
    let folder = Folder::new("foreign");
    let card = folder.path("card");
    std::fs::File::create(&card).unwrap().set_len(256 << 20).unwrap();
    let mut file = std::fs::OpenOptions::new().read(true).write(true).open(&card).unwrap();
    gpt::mbr::ProtectiveMBR::with_lb_size((256 << 11) - 1).overwrite_lba0(&mut file).unwrap();
    let mut table = gpt::GptConfig::new().writable(true).create_from_device(file, None).unwrap();
    table.add_partition("linux", 128 << 20, gpt::partition_types::LINUX_FS, 0, None).unwrap();
    table.write().unwrap();
    let before = std::fs::read(&card).unwrap();
    for command in
        [["create", &card].as_slice(), &["create", &card, "--force"], &["volume", &card, "v", "1M"]]
    {
        assert!(bad(command).contains("no datastore partition; nothing was touched"));
    }
    assert!(bad(&["create", &card, "--card"]).contains("not empty"));
    assert!(before == std::fs::read(&card).unwrap());
}

#[test]
fn images_come_in_and_go_out_in_each_format() {
    if !has("qemu-img") {
        return eprintln!("skipped: no qemu-img");
    }
    let folder = Folder::new("formats");
    let (store, raw) = (folder.path("store"), folder.path("raw"));
    good(&["create", &store, "--size", "256M"]);
    image(&raw, 12 << 20, 5);
    let formats = [
        ("qcow2", "qcow2", "compat=1.1"),
        ("vmdk", "vmdk", "subformat=monolithicSparse"),
        ("vmdk-stream", "vmdk", "subformat=streamOptimized"),
    ];
    for (name, kind, options) in formats {
        let (source, back) = (folder.path(&format!("{name}.in")), folder.path(&format!("{name}.out")));
        qemu_img(&["convert", "-O", kind, "-o", options, &raw, &source]);
        good(&["import", &store, &source, name, "--format", kind]);
        good(&["export", &store, name, &back, "--format", name]);
        qemu_img(&["compare", "-f", "raw", "-F", kind, &raw, &back]);
        let head = std::fs::read(&back).unwrap();
        assert_eq!(head.windows(15).take(2048).any(|w| w == b"streamOptimized"), name == "vmdk-stream");
    }
    good(&["check", &store, "--data"]);
}

#[test]
fn snapshots_clones_and_streams() {
    let folder = Folder::new("streams");
    let (a, b) = (folder.path("a"), folder.path("b"));
    let (one, two, out) = (folder.path("one"), folder.path("two"), folder.path("out"));
    for store in [&a, &b] {
        good(&["create", store, "--size", "128M"]);
    }
    image(&one, 8 << 20, 6);
    image(&two, 8 << 20, 7);
    good(&["import", &a, &one, "v", "--format", "raw"]);
    good(&["snapshot", &a, "v@1"]);
    let (full, step) = (folder.path("full"), folder.path("step"));
    good(&["send", &a, "v@1", "-o", &full]);
    good(&["receive", &b, "v@1", "-i", &full]);
    good(&["export", &b, "v@1", &out]);
    assert!(same(&one, &out));
    // A change of 64 KiB.
    if has("qemu-io") {
        let socket = folder.path("nbd");
        let mut server = serve(&a, "v", &socket);
        qemu_io(&socket, &[], &["write -P 0x41 1M 64k", "flush"]);
        assert!(server.wait().unwrap().success());
    }
    good(&["snapshot", &a, "v@2"]);
    good(&["send", &a, "v@2", "--base", "v@1", "-o", &step]);
    let size = std::fs::metadata(&step).unwrap().len();
    assert!(size < 80 << 10, "{size} bytes for a change of 64 KiB");
    let mut damaged = std::fs::read(&step).unwrap();
    let at = damaged.len() / 2;
    damaged[at] ^= 1;
    let (broken, empty) = (folder.path("broken"), folder.path("empty"));
    let whole = std::fs::read(&full).unwrap();
    std::fs::write(&broken, &whole[..whole.len() - 5]).unwrap();
    assert!(bad(&["receive", &b, "half@1", "-i", &broken]).contains("no snapshot was made"));
    assert!(!good(&["ls", &b]).contains("half"), "what broke off leaves no volume");
    std::fs::write(&empty, []).unwrap();
    assert!(bad(&["receive", &b, "none@1", "-i", &empty]).contains("ends before it has begun"));
    assert!(bad(&["receive", &b, "v@3", "-i", &full]).contains("\"v\" can't be made"));
    std::fs::write(&broken, damaged).unwrap();
    if size > 200 {
        assert!(bad(&["receive", &b, "v@2", "-i", &broken]).contains("no snapshot was made"));
    }
    good(&["receive", &b, "v@2", "-i", &step]);
    let back = folder.path("back");
    good(&["export", &a, "v@2", &out, "--force"]);
    good(&["export", &b, "v@2", &back]);
    assert!(same(&out, &back));
    good(&["clone", &b, "v@1", "w"]);
    good(&["revert", &b, "v@1"]);
    for name in ["v", "w"] {
        good(&["export", &b, name, &out, "--force"]);
        assert!(same(&one, &out), "{name}");
    }
    good(&["delete", &b, "v@1"]);
    good(&["delete", &b, "v"]);
    assert!(good(&["check", &b, "--data"]).contains("sound"));
    let lines = good(&["ls", &b]);
    assert!(lines.contains("exclusive"), "{lines}");
    // A snapshot whose volume is gone has a name for every command.
    let name = lines.lines().find_map(|line| Some(line[line.find("(deleted ")?..].to_owned())).unwrap();
    assert!(name.ends_with(")@2"), "{name}");
    good(&["export", &b, &name, &back, "--force"]);
    assert!(same(&out, &one) && !same(&back, &one));
    good(&["delete", &b, &name]);
    assert!(!good(&["ls", &b]).contains("@2"));
}

#[test]
fn what_is_refused_says_why_and_leaves_nothing() {
    let folder = Folder::new("refused");
    let (store, file, out) = (folder.path("store"), folder.path("in"), folder.path("out"));
    // What begins with zeroes is not empty, and a larger file is not cut off.
    let mut bytes = vec![0u8; 80 << 20];
    bytes[65_600] = 1;
    std::fs::write(&store, &bytes).unwrap();
    assert!(bad(&["create", &store, "--size", "64M"]).contains("not empty"));
    assert!(bad(&["create", &store]).contains("not empty"));
    assert!(bytes == std::fs::read(&store).unwrap());
    good(&["create", &store, "--size", "64M", "--force"]);
    for (size, said) in [("1000", "multiple of 4096"), ("65T", "at most 64 TiB"), ("banana", "unknown unit")]
    {
        assert!(bad(&["volume", &store, "v", size]).contains(said), "{size}");
    }
    for name in ["a@b", "object:x"] {
        assert!(bad(&["volume", &store, name, "1M"]).contains(name));
    }
    image(&file, 100 << 20, 9);
    assert!(bad(&["import", &store, &file, "big"]).contains("is full"));
    assert!(bad(&["import", &store, &folder.path("none"), "v"]).contains("none"));
    assert!(bad(&["import", &store, &folder.0.display().to_string(), "v"]).contains("is a folder"));
    assert!(bad(&["import", &store, &file, "v", "--format", "zip"]).contains("raw, qcow2"));
    assert!(bad(&["import", &store, &file, "object:o"]).contains("is full"));
    assert_eq!(good(&["ls", &store]).lines().count(), 1, "and nothing has come of it");
    image(&file, 1 << 20, 9);
    good(&["import", &store, &file, "v"]);
    assert!(bad(&["import", &store, &file, "v"]).contains("already"));
    std::fs::write(&out, "mine").unwrap();
    assert!(bad(&["export", &store, "v", &out]).contains("--force"));
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "mine");
    assert!(bad(&["export", &store, "v", "/dev/full", "--force"]).contains("/dev/full"));
    assert!(bad(&["export", &store, "v", &folder.path("no/where")]).contains("no/where"));
}

#[test]
fn a_store_has_one_user_at_a_time() {
    let folder = Folder::new("lock");
    let (store, socket) = (folder.path("store"), folder.path("nbd"));
    good(&["create", &store, "--size", "64M"]);
    good(&["volume", &store, "v", "1M"]);
    let mut server = serve(&store, "v", &socket);
    while !Path::new(&socket).exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    for command in [["ls", &store].as_slice(), &["delete", &store, "v"], &["create", &store, "--force"]] {
        assert!(bad(command).contains("in use"), "{command:?}");
    }
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(good(&["ls", &store]).contains("v"));
    // The socket that it left is in nobody's way.
    if has("qemu-io") {
        let mut server = serve(&store, "v", &socket);
        let url = format!("nbd+unix:///?socket={socket}");
        let read =
            || Command::new("qemu-io").args(["-r", "-f", "raw", "-c", "read 0 512", &url]).output().unwrap();
        let read = (0..200).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            read().status.success()
        });
        server.wait().unwrap();
        assert!(read);
    }
    if has("qemu-io") {
        // As a virtual machine has it.
        let mut qemu = Command::new("qemu-io");
        qemu.args(["-f", "raw", &store]);
        let mut qemu = qemu.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        use std::io::Read;
        qemu.stdout.as_mut().unwrap().read_exact(&mut [0; 4]).unwrap();
        assert!(bad(&["delete", &store, "v"]).contains("virtual machine"));
        qemu.kill().unwrap();
        qemu.wait().unwrap();
    }
    good(&["delete", &store, "v"]);
}

#[test]
fn an_import_that_was_killed_is_unfinished_and_begun_anew() {
    let folder = Folder::new("killed");
    let (store, file) = (folder.path("store"), folder.path("in"));
    good(&["create", &store, "--size", "128M"]);
    image(&file, 4 << 20, 2);
    // A volume as a killed import leaves it.
    good(&["volume", &store, "v (unfinished)", "8M"]);
    good(&["import", &store, &file, "v"]);
    let lines = good(&["ls", &store]);
    assert!(lines.contains("4.0 MiB") && !lines.contains("unfinished"), "{lines}");
}

#[test]
fn what_is_told_is_told_as_json_too() {
    let folder = Folder::new("json");
    let (store, file) = (folder.path("store"), folder.path("in"));
    good(&["create", &store, "--size", "64M"]);
    image(&file, 1 << 20, 2);
    good(&["import", &store, &file, "v"]);
    good(&["import", &store, &file, "object:o"]);
    let told =
        |verb: &str| serde_json::from_str::<serde_json::Value>(&good(&[verb, &store, "--json"])).unwrap();
    assert_eq!(told("info")["bytes"], 64 << 20);
    let list = told("ls");
    assert_eq!(
        (&list[0]["name"], &list[0]["kind"], &list[0]["bytes"]),
        (&"v".into(), &"volume".into(), &(1 << 20).into())
    );
    assert_eq!(list[1]["name"], "object:o");
    for verb in ["check", "scrub"] {
        let found = told(verb);
        assert_eq!((&found["sound"], &found["findings"]), (&true.into(), &0.into()), "{verb}");
    }
    assert_eq!(told("grow")["bytes"], 64 << 20);
    let mut bytes = std::fs::read(&store).unwrap();
    bytes[2047 * 4096 + 9] ^= 1;
    std::fs::write(&store, bytes).unwrap();
    let output = tool(&["check", &store, "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(found["sound"] == false && found["what"][0].as_str().unwrap().contains("superblock"), "{found}");
}

fn serve(store: &str, name: &str, at: &str) -> std::process::Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bramblectl"));
    command.args(["datastore", "mount", store, name, at, "--once"]).stdout(Stdio::null());
    let server = command.spawn().unwrap();
    while !Path::new(at).exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    server
}

fn qemu_io(socket: &str, mode: &[&str], commands: &[&str]) {
    let mut command = Command::new("qemu-io");
    command.args(["-f", "raw"]).args(mode);
    for one in commands {
        command.args(["-c", one]);
    }
    let output = command.arg(format!("nbd+unix:///?socket={socket}")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && !text.contains("failed"), "{text}");
}

#[test]
fn a_volume_is_served_by_nbd() {
    if !has("qemu-io") {
        return eprintln!("skipped: no qemu-io");
    }
    let folder = Folder::new("nbd");
    let (store, socket, out) = (folder.path("store"), folder.path("nbd"), folder.path("out"));
    good(&["create", &store, "--size", "128M"]);
    good(&["volume", &store, "v", "32M"]);
    let mut server = serve(&store, "v", &socket);
    qemu_io(
        &socket,
        &[],
        &["write -P 0x11 0 8M", "write -f -P 0x22 3584 1024", "write -z 4M 1M", "discard 6M 1M", "flush"],
    );
    assert!(server.wait().unwrap().success());
    good(&["snapshot", &store, "v@s"]);
    let mut server = serve(&store, "v@s", &socket);
    qemu_io(
        &socket,
        &["-r"],
        &[
            "read -P 0x11 0 3584",
            "read -P 0x22 3584 1024",
            "read -P 0 4M 1M",
            "read -P 0 6M 1M",
            "read -P 0 8M 24M",
        ],
    );
    assert!(server.wait().unwrap().success());
    good(&["export", &store, "v@s", &out]);
    assert_eq!(std::fs::read(&out).unwrap()[3584..4608], [0x22; 1024]);
}

#[test]
fn objects_are_bytes_with_a_name() {
    let folder = Folder::new("objects");
    let (store, one, two) = (folder.path("store"), folder.path("one"), folder.path("two"));
    let out = folder.path("out");
    good(&["create", &store, "--size", "64M"]);
    image(&one, 300_000, 8);
    std::fs::write(&two, b"memory = 512\n").unwrap();
    good(&["import", &store, &one, "object:firmware"]);
    good(&["import", &store, &two, "object:config"]);
    good(&["export", &store, "object:config", &out]);
    assert_eq!(std::fs::read(&out).unwrap(), b"memory = 512\n");
    good(&["import", &store, &one, "object:config"]);
    good(&["export", &store, "object:config", &out, "--force"]);
    assert!(same(&one, &out), "replaced");
    objects_as_files(&folder, &store, &one);
    good(&["delete", &store, "object:config"]);
    assert!(bad(&["export", &store, "object:config", &out]).contains("no object"));
}

fn objects_as_files(folder: &Folder, store: &str, expected: &str) {
    let mounted = folder.path("mounted");
    std::fs::create_dir(&mounted).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bramblectl"));
    command.args(["datastore", "mount", store, "object:", &mounted]).stderr(Stdio::null());
    let mut server = command.spawn().unwrap();
    let file = Path::new(&mounted).join("firmware");
    while !file.exists() {
        if let Some(status) = server.try_wait().unwrap() {
            assert!(!status.success());
            return eprintln!("skipped: no FUSE here");
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let mut names: Vec<_> =
        std::fs::read_dir(&mounted).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let whole = std::fs::read(&file).unwrap() == std::fs::read(expected).unwrap();
    let unmounted = Command::new("umount").arg(&mounted).status().unwrap().success();
    assert_eq!(names, ["config", "firmware"]);
    assert!(whole && unmounted);
    server.wait().unwrap();
}

#[test]
fn check_says_what_is_wrong_and_scrub_repairs_what_has_a_copy() {
    let folder = Folder::new("check");
    let (store, source) = (folder.path("store"), folder.path("in"));
    good(&["create", &store, "--size", "64M"]);
    image(&source, 4 << 20, 9);
    good(&["import", &store, &source, "v", "--format", "raw"]);
    // The second superblock, and a block of data.
    let mut bytes = std::fs::read(&store).unwrap();
    bytes[2047 * 4096 + 50] ^= 1;
    let content = std::fs::read(&source).unwrap();
    let at = bytes.windows(64).position(|w| w == &content[..64]).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&store, &bytes).unwrap();
    let text = bad(&["check", &store, "--data"]);
    assert!(text.contains("the superblock in block 2047 is damaged; its twin is good"), "{text}");
    assert!(text.contains(&format!("block {} is corrupt: 4 KiB of data at 0 KiB", at / 4096)), "{text}");
    assert!(text.contains("2 findings"), "{text}");
    let text = bad(&["scrub", &store]);
    assert!(text.contains("1 damaged blocks were written anew"), "{text}");
    let text = bad(&["check", &store, "--data"]);
    assert!(!text.contains("superblock") && text.contains("1 findings"), "{text}");
    assert!(bad(&["export", &store, "v", &folder.path("out"), "--format", "raw"]).contains("is corrupt"));
}
