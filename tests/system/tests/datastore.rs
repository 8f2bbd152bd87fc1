//! The host's datastore: guests' disks are its volumes, and what they flushed is there after QEMU was killed.

use anyhow::{Result, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;
use system::archive::volume;
use system::console::CTRL_RIGHT_BRACKET;
use system::scene::{ANSWER, BOOT, Scene, log_in, on, shell};
use system::store::StoreImage;
use system::turns::{self, Turns};
use system::{Artifacts, Board, HostDisk};

/// Gives the machine the datastore: as a virtio disk, or as the Pi's card.
fn attach(scene: &mut Scene, path: &Path, serial: &str) {
    if scene.config.board.has_virtio() {
        let (path, serial) = (path.to_owned(), serial.to_owned());
        scene.config.disks.push(HostDisk { path, serial, snapshot: false });
    } else {
        let drive = format!("if=sd,format=raw,file={}", path.display());
        scene.config.extra.extend(["-drive".into(), drive.into()]);
    }
}

/// A guest writes at random to a volume until QEMU is killed, as often as there are boots; each time what it flushed is
/// there, for `bramblectl` and for the next boot, and the datastore is sound.
fn killed(board: Board, boots: u32) -> Result<()> {
    let scene = on(board, "datastore-killed");
    let [image, seed, copy] = [scene.file("store.img")?, scene.file("seed.raw")?, scene.file("copy.raw")?];
    let store = StoreImage::make(&image, 256)?;
    store.volume("data", 96)?;
    fs::write(&seed, "imported on a PC\n".repeat(50_000))?;
    store.import(&seed, "seed")?;
    let mut known = Turns::new();
    for boot in 0..boots {
        let mut scene = on(board, "datastore-killed").menu();
        attach(&mut scene, &image, "store");
        let mut disk = volume("seed");
        disk.read_only = true;
        let mut machine = scene.small_with("one", vec![volume("data"), disk])?.start()?;
        machine.expect("datastore ", BOOT)?;
        machine.expect("MiB free, partition 2 of disk", ANSWER)?;
        log_in(&mut machine, "one")?;
        let said = shell(
            &mut machine,
            "cat /sys/block/vd[ab]/size /sys/block/vd[ab]/ro | tr -d '\\r' | tr '\\n' ' '",
        )?;
        ensure!(said.contains("196608 ") && said.contains(" 0 1"), "sizes and read-only: {said}");
        let said = shell(&mut machine, "dd if=/dev/vdb bs=17 skip=30000 count=1 2>/dev/null")?;
        ensure!(said.contains("imported on a PC"), "{said}");
        turns::ask(&mut machine, &known)?;
        let first = 100 * boot + 1;
        turns::write(&mut machine, 96 << 8, first)?;
        let text = machine.text();
        drop(machine);
        store.check()?;
        store.export("data", &copy)?;
        known.extend(turns::flushed(&text));
        turns::verify(&copy, 0, &known, first + 99)?;
        turns::forget_doubtful(&copy, 0, &mut known)?;
    }
    for path in [image, seed, copy] {
        fs::remove_file(path)?;
    }
    Ok(())
}

#[test]
fn a_volume_keeps_what_was_flushed_when_qemu_is_killed_twice() -> Result<()> {
    killed(Board::VirtGicv3, 2)
}

#[test]
fn a_volume_on_a_card_keeps_what_was_flushed_when_qemu_is_killed() -> Result<()> {
    killed(Board::Raspi4b, 1)
}

/// By counted instructions: how long mounting, reading records and loading a VM's files hold the PE.
#[test]
fn no_step_of_the_home_is_long() -> Result<()> {
    let mut scene = on(Board::VirtGicv3, "datastore-steps").cpus(1).menu();
    let [image, record] = [scene.file("store.img")?, scene.file("record.toml")?];
    let store = StoreImage::make(&image, 256)?;
    store.import(&Artifacts::here().guest("cloud-kernel"), "object:file:kernel")?;
    let text = "[[vm]]\nname = \"one\"\nvcpus = 1\nmemory = \"256MiB\"\n[vm.boot]\nkernel = \"kernel\"\n";
    fs::write(&record, text)?;
    store.import(&record, "object:vm:one")?;
    attach(&mut scene, &image, "store");
    scene.config.icount = true;
    let mut machine = scene.start()?;
    machine.expect("one: 1 vCPUs, 256 MiB", BOOT)?;
    // Asked for only now: one that starts with the host may be over before a slow disk has given the kernel.
    machine.send_bytes(&[CTRL_RIGHT_BRACKET])?;
    machine.expect("number, Enter: ", ANSWER)?;
    machine.send("t")?;
    machine.expect("datastore    longest step", ANSWER)?;
    let said = machine.expect("ticks)", ANSWER)?;
    let ticks = said.rsplit_once('(').and_then(|(_, rest)| rest.split(' ').next()?.parse::<u64>().ok());
    // 16 instructions to a tick. A VM's record being read takes the most, 50,600.
    ensure!(ticks.is_some_and(|ticks| ticks * 16 <= 55_000), "a step was too long: {said}");
    drop(machine);
    for path in [image, record] {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// VMs of the datastore start with the host, in their order, their files loaded from it; one that resets is loaded anew.
#[test]
fn vms_of_the_datastore_start_with_the_host() -> Result<()> {
    let mut scene = on(Board::VirtGicv3, "datastore-vms");
    let [image, record] = [scene.file("store.img")?, scene.file("record.toml")?];
    let store = StoreImage::make(&image, 256)?;
    store.import(&Artifacts::here().test_guest("test-guest"), "object:file:test-guest")?;
    let vms = [
        ("later", "start_order = 2\nstart_delay = 1", "test-guest", "hello"),
        ("first", "start_order = 1", "test-guest", "reset bramble.reset-at=30000"),
        ("idle", "autostart = false", "test-guest", "hello"),
        ("broken", "start_order = 3", "nothing", "hello"),
    ];
    for (name, more, kernel, test) in vms {
        let text = format!(
            "[[vm]]\nname = \"{name}\"\nvcpus = 1\nmemory = \"64MiB\"\n{more}\n\
             [vm.boot]\nkernel = \"{kernel}\"\ncommand_line = \"bramble.test={test}\"\n"
        );
        fs::write(&record, text)?;
        store.import(&record, &format!("object:vm:{name}"))?;
    }
    attach(&mut scene, &image, "store");
    let mut machine = scene.start()?;
    machine.expect("first: 1 vCPUs, 64 MiB", BOOT)?;
    machine.expect("later: 1 vCPUs, 64 MiB", BOOT)?;
    machine.wait_exit(BOOT)?;
    let text = machine.text();
    for said in [
        "first: restarts",
        "first| TEST reset-state ok",
        "later| TEST hello ok",
        "broken: not started: the datastore has no object \"file:nothing\"",
        "host: all VMs are off",
    ] {
        ensure!(text.contains(said), "the log lacks {said:?}:\n{text}");
    }
    ensure!(!text.contains("idle: 1 vCPUs"), "a VM without autostart started");
    store.check()?;
    for path in [image, record] {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// A Pi with a seed: hostd runs, and a VM of the card's datastore starts by itself and does its work.
#[test]
fn hostd_runs_and_a_vm_of_the_card_starts_on_raspi4b() -> Result<()> {
    let mut scene = on(Board::Raspi4b, "datastore-pi");
    let [image, record] = [scene.file("store.img")?, scene.file("record.toml")?];
    let store = StoreImage::make(&image, 256)?;
    store.import(&Artifacts::here().test_guest("test-guest"), "object:file:test-guest")?;
    let text = "[[vm]]\nname = \"own\"\nvcpus = 2\nmemory = \"64MiB\"\n\
                [vm.boot]\nkernel = \"test-guest\"\ncommand_line = \"bramble.test=hello\"\n";
    fs::write(&record, text)?;
    store.import(&record, "object:vm:own")?;
    attach(&mut scene, &image, "card");
    // The VM may be off before hostd has begun to run: the host stays.
    scene.config.append.clear();
    let mut machine = scene.start()?;
    machine.expect_all(
        &["hostd: generation 1 runs", "partition 2 of disk", "own: 2 vCPUs, 64 MiB", "own| TEST hello ok"],
        BOOT,
    )?;
    drop(machine);
    store.check()?;
    for path in [image, record] {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// A host without a datastore says so, and a key of its menu makes one in free space: what the other partition holds is as
/// it was, the PC's tools find a sound table and a sound store, and the next start finds what the first one kept.
#[test]
fn a_datastore_is_made_at_the_console() -> Result<()> {
    let scene = on(Board::VirtGicv3, "datastore-made").menu();
    let image = scene.file("disk.img")?;
    StoreImage::make(&image, 320)?;
    // The datastore's partition goes, the boot partition stays.
    let search = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let done = Command::new("sfdisk").arg("--delete").arg(&image).arg("2").env("PATH", &search).output()?;
    ensure!(done.status.success(), "sfdisk: {}", String::from_utf8_lossy(&done.stderr));
    let mut bytes = fs::read(&image)?;
    bytes[(44 << 20)..(300 << 20)].fill(0);
    fs::write(&image, &bytes)?;
    let boot_partition = |bytes: &[u8]| bytes[(4 << 20)..(44 << 20)].to_vec();
    let before = boot_partition(&bytes);

    let mut scene = on(Board::VirtGicv3, "datastore-made").menu();
    attach(&mut scene, &image, "disk");
    let mut machine = scene.start()?;
    machine.expect("no datastore: what hostd keeps is lost when the host ends", BOOT)?;
    machine.send_bytes(&[CTRL_RIGHT_BRACKET])?;
    machine.expect("d make a datastore", ANSWER)?;
    machine.send("p")?;
    machine.expect("presence 1: console-key asks for a new administrator's password", ANSWER)?;
    machine.send_bytes(&[CTRL_RIGHT_BRACKET])?;
    machine.expect("d make a datastore", ANSWER)?;
    machine.send("d")?;
    machine.expect("disk \"disk\": a datastore is being made", ANSWER)?;
    let said = machine.expect("MiB free, partition 2 of disk \"disk\"", ANSWER)?;
    let uuid = said.rsplit_once("] datastore ").and_then(|(_, rest)| rest.split_once(':')).map(|(id, _)| id);
    let uuid = uuid.map(str::to_owned).filter(|uuid| uuid.len() == 36);
    ensure!(uuid.is_some(), "{said}");
    // What was kept in RAM moves there: the notice of the key is in the audit chain.
    let wait = std::time::Instant::now();
    while !contains(&image, br#""what":"presence","target":"console-key""#)? {
        ensure!(wait.elapsed() < ANSWER, "the audit chain lacks the notice");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    // As in a power cut.
    drop(machine);
    let store = StoreImage { path: image.clone() };
    store.check()?;
    let verified = Command::new("sfdisk").arg("--verify").arg(&image).env("PATH", &search).output()?;
    let verified = String::from_utf8_lossy(&verified.stdout).into_owned();
    ensure!(verified.contains("No errors detected"), "{verified}");
    ensure!(boot_partition(&fs::read(&image)?) == before, "the other partition was written");

    let mut scene = on(Board::VirtGicv3, "datastore-made").menu();
    attach(&mut scene, &image, "disk");
    let mut machine = scene.start()?;
    machine.expect(&format!("datastore {}", uuid.unwrap_or_default()), BOOT)?;
    ensure!(!machine.text().contains("no datastore"), "it was not found");
    machine.send_bytes(&[CTRL_RIGHT_BRACKET])?;
    machine.expect("d make a datastore", ANSWER)?;
    machine.send("d")?;
    machine.expect("there is a datastore already", ANSWER)?;
    drop(machine);
    fs::remove_file(image)?;
    Ok(())
}

fn contains(file: &Path, wanted: &[u8]) -> Result<bool> {
    Ok(fs::read(file)?.windows(wanted.len()).any(|bytes| bytes == wanted))
}

/// What is not clearly the host's own is not touched.
#[test]
fn two_datastores_or_a_foreign_one_are_left_alone() -> Result<()> {
    for foreign in [false, true] {
        let mut scene = on(Board::VirtGicv2, if foreign { "datastore-foreign" } else { "datastore-two" });
        let mut files = Vec::new();
        for name in ["a", "b"].iter().take(if foreign { 1 } else { 2 }) {
            let image = scene.file(&format!("{name}.img"))?;
            StoreImage::make(&image, 128)?;
            if foreign {
                // The partition's first blocks hold something else.
                let mut bytes = fs::read(&image)?;
                let start = (41 << 20).min(bytes.len());
                bytes[start..].fill(0x5a);
                let table = bytes.len() - 33 * 512;
                let saved = fs::read(&image)?;
                bytes[table..].copy_from_slice(&saved[table..]);
                fs::write(&image, bytes)?;
            }
            attach(&mut scene, &image, name);
            files.push((image.clone(), fs::read(&image)?));
        }
        let mut machine = scene.test_guest("good", 1, "hello")?.start()?;
        let wanted = if foreign {
            "datastore on disk \"a\": this is not a Bramble datastore; it was not touched"
        } else {
            "partition 2 is one of 2 datastores: none is used; take out all but one"
        };
        machine.expect(wanted, BOOT)?;
        machine.wait_exit(BOOT)?;
        for (path, before) in files {
            ensure!(fs::read(&path)? == before, "{} was written", path.display());
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
