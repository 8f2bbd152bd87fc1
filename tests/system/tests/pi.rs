//! A Raspberry Pi 4 with a card: it boots from what `./bramble pi` writes, a guest's disk is a partition of it, and what
//! was flushed is there after QEMU was killed. And the self-test's page, on the Pi and on `virt`.

use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use system::archive::{host_disk, vm};
use system::card::CardImage;
use system::scene::{ANSWER, BOOT, Scene, log_in, on, shell};
use system::{Artifacts, Board, HostDisk, Machine, card, console, turns};

/// The serial number that QEMU's card has in its CID.
const SERIAL: &str = "sd-deadbeef";

/// A folder of a test's own, emptied.
fn folder(name: &str) -> Result<PathBuf> {
    let folder = Artifacts::here().run().join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// A small guest whose disk is partition 2 of the card.
fn guest_on_card(scene: Scene) -> Result<Scene> {
    let at = Artifacts::here();
    let mut guest = vm("one", 2, 256);
    guest.boot.kernel = Some(String::from("cloud-kernel"));
    guest.boot.initrd = Some(String::from("small-initrd"));
    guest.boot.command_line = Some(String::from("console=ttyAMA0 hostname=one"));
    let mut disk = host_disk(SERIAL);
    disk.partition = Some(2);
    guest.disks.push(disk);
    let files = ["cloud-kernel", "small-initrd"].map(|file| (file, at.guest(file)));
    scene.vm(guest, &files)
}

/// The machine that boots what is in the FAT partition of the card: image, archive, boot arguments.
fn boot_from(card: &CardImage, folder: &Path, name: &str) -> Result<Machine> {
    for file in card::FILES {
        card.copy_out(file, &folder.join(file))?;
    }
    let mut config = on(Board::Raspi4b, name).config;
    config.image = folder.join("kernel8.img");
    config.archive = Some(folder.join("boot.cpio"));
    // QEMU's watchdog does not count down: to arm it is to reset.
    let arguments = fs::read_to_string(folder.join("cmdline.txt"))?.replace("bramble.watchdog", "");
    config.append = arguments.trim().to_owned();
    let drive = format!("if=sd,format=raw,file={}", card.path.display());
    config.extra.extend(["-drive".into(), drive.into()]);
    system::scene::seed(&mut config)?;
    Machine::start(&config)
}

/// A card's guest writes at random until QEMU is killed; what it flushed is there, for the host and for the next boot.
fn killed(name: &str, mib: u64, boots: u32) -> Result<()> {
    let folder = folder(name)?;
    let scene = guest_on_card(on(Board::Raspi4b, name).menu())?;
    card::write_folder(&folder, &Artifacts::here().image(), &scene.archive)?;
    let card = CardImage::make(&folder.join("card.img"), mib, 42, &folder)?;
    let blocks = card.guest.1 / 8;
    let mut turns = turns::Turns::new();
    for boot in 0..boots {
        let mut machine = boot_from(&card, &folder, name)?;
        log_in(&mut machine, "one")?;
        let sectors = shell(&mut machine, "cat /sys/block/vda/size")?;
        ensure!(sectors.contains(&card.guest.1.to_string()), "the disk has {sectors} sectors");
        turns::ask(&mut machine, &turns)?;
        let first = 100 * boot + 1;
        turns::write(&mut machine, blocks, first)?;
        let text = machine.text();
        drop(machine);
        turns.extend(turns::flushed(&text));
        turns::verify(&card.path, card.guest.0 * 512, &turns, first + 99)?;
        turns::forget_doubtful(&card.path, card.guest.0 * 512, &mut turns)?;
    }
    fs::remove_dir_all(&folder)?;
    Ok(())
}

#[test]
fn a_card_of_64_mib_keeps_what_was_flushed_when_qemu_is_killed_twice() -> Result<()> {
    killed("card-small", 64, 2)
}

#[test]
fn a_card_of_64_gib_keeps_what_was_flushed_when_qemu_is_killed() -> Result<()> {
    killed("card-large", 65_536, 1)
}

/// QEMU refuses a read-only card; write protection is shown against the model. When this fails, QEMU has learnt it.
#[test]
fn qemu_refuses_a_read_only_card() -> Result<()> {
    let image = folder("card-read-only")?.join("card.img");
    File::create(&image)?.set_len(64 << 20)?;
    let drive = format!("if=sd,format=raw,readonly=on,file={}", image.display());
    let arguments = ["-M", "raspi4b", "-display", "none", "-S", "-drive", &drive];
    let output = Command::new("timeout").args(["20", "qemu-system-aarch64"]).args(arguments).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1) && said.contains("read"), "{:?}: {said}", output.status.code());
    Ok(())
}

/// What was said once a self-test has printed its page and the test guest is through, whichever comes first.
fn page_and_hello(machine: &mut Machine) -> Result<String> {
    machine.expect("SUM ", BOOT)?;
    machine.expect("\n", ANSWER)?;
    machine.expect_all(&["good| TEST hello ok"], ANSWER)
}

/// The page of a self-test, its sum checked as a person's tool would.
fn page(text: &str) -> Result<String> {
    let text = text.replace('\r', "");
    let start = text.find("BRAMBLE SELF-TEST").context("no page")?;
    let end = start + text[start..].find("SUM ").context("no sum")?;
    let sum = text[end + 4..].get(..8).context("a short sum")?;
    let body = &text[start..end];
    let expected = format!("{:08x}", crc32(body.as_bytes()));
    ensure!(sum == expected, "the page has the sum {sum}, its text {expected}:\n{body}");
    Ok(body.to_owned())
}

/// CRC-32 of ISO 3309.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ if crc & 1 != 0 { 0xedb8_8320 } else { 0 })
    })
}

/// By counted instructions, so that the longest time that a driver held a PE is exact: 16 instructions to a tick. Without
/// hostd, which works at its start: then QEMU's PEs run in turns, and a turn of another PE would count as the driver's.
#[test]
fn the_self_test_of_a_pi() -> Result<()> {
    let folder = folder("self-test-pi")?;
    let path = folder.join("card.img");
    File::create(&path)?.set_len(64 << 20)?;
    let card = CardImage { path, guest: (4096, 8192) };
    // The second partition ends beyond the card.
    card.write_table(&[(0x83, 2048, 2048), (0x83, 4096, 1 << 20)])?;
    let mut scene = on(Board::Raspi4b, "self-test").test_guest("good", 1, "hello")?;
    let mut bad = vm("bad", 1, 64);
    bad.boot.kernel = Some(String::from("test-guest"));
    let mut disk = host_disk(SERIAL);
    disk.partition = Some(2);
    bad.disks.push(disk);
    scene.archive.vm(bad);
    scene.config.icount = true;
    scene.config.append = String::from("bramble.selftest bramble.hostd=off");
    let drive = format!("if=sd,format=raw,file={}", card.path.display());
    scene.config.extra.extend(["-drive".into(), drive.into()]);
    let mut machine = scene.start()?;
    let text = page_and_hello(&mut machine)?;
    for said in [
        "last reset:",
        "board: 4B",
        "SD slot: the firmware",
        "partition 2 lies outside the disk and was left out",
        "disk \"sd-deadbeef\" has no partition 2",
    ] {
        ensure!(text.contains(said), "the log lacks {said:?}:\n{text}");
    }
    let page = page(&text)?;
    for line in [
        "[ ok ] board        4B",
        "[ ok ] temperature  25.0 C",
        "no card, or it does not answer",
        "64 MiB, QEMU!",
        "[ ok ]   read       first, middle and last sectors",
        "[ -- ]   write      not asked for",
        "[ -- ] network ",
        "[ -- ] RNG200       not in the device tree",
        "[ ok ] generator    has its seed",
        "[ ok ] EL2 memory ",
        "[ ok ] PEs          4 of 4 up",
        "RESULT WORKS, with something to look at",
    ] {
        ensure!(page.contains(line), "the page lacks {line:?}:\n{page}");
    }
    let ticks = page.split("us (").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
    ensure!(ticks.is_some_and(|ticks| ticks * 16 <= 50_000), "a driver held a PE too long:\n{page}");
    Ok(())
}

/// A tree without mailbox and power management, and a LED that nothing names: what is missing is said, the rest works.
#[test]
fn a_pi_whose_tree_lacks_devices_works() -> Result<()> {
    let folder = folder("tree-lacks")?;
    let mut tree = fs::read(Artifacts::here().pi4_tree())?;
    for (from, to) in [
        ("brcm,bcm2835-mbox", "brcm,bcm2835-xxxx"),
        ("brcm,bcm2711-pm", "brcm,bcm2711-xx"),
        ("gpio-leds", "gpio-xxxx"),
    ] {
        let at = tree.windows(from.len()).position(|bytes| bytes == from.as_bytes());
        let at = at.with_context(|| format!("the tree has no {from}"))?;
        tree[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    let path = folder.join("card.img");
    File::create(&path)?.set_len(64 << 20)?;
    let mut scene = on(Board::Raspi4b, "tree-lacks").test_guest("good", 1, "hello")?;
    scene.config.append = String::from("bramble.selftest");
    scene.config.tree = Some(folder.join("lacks.dtb"));
    fs::write(folder.join("lacks.dtb"), tree)?;
    let drive = format!("if=sd,format=raw,file={}", path.display());
    scene.config.extra.extend(["-drive".into(), drive.into()]);
    let mut machine = scene.start()?;
    let text = page_and_hello(&mut machine)?;
    for said in ["the device tree names no ACT LED", "disk \"sd-deadbeef\": 64 MiB"] {
        ensure!(text.contains(said), "the log lacks {said:?}:\n{text}");
    }
    let page = page(&text)?;
    for line in ["[ -- ] firmware     no mailbox in the device tree", "[ ok ]   read       first, middle"] {
        ensure!(page.contains(line), "the page lacks {line:?}:\n{page}");
    }
    Ok(())
}

/// QEMU's monitor, to put a card in and to look at a register.
struct Monitor {
    stream: BufReader<UnixStream>,
}

impl Monitor {
    fn connect(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path).context("no monitor")?;
        stream.set_read_timeout(Some(ANSWER))?;
        let mut monitor = Self { stream: BufReader::new(stream) };
        monitor.ask("qmp_capabilities", "{}")?;
        Ok(monitor)
    }

    fn ask(&mut self, command: &str, arguments: &str) -> Result<String> {
        writeln!(self.stream.get_mut(), "{{\"execute\": \"{command}\", \"arguments\": {arguments}}}")?;
        loop {
            let mut line = String::new();
            ensure!(self.stream.read_line(&mut line)? > 0, "the monitor has ended");
            ensure!(!line.contains("\"error\""), "{command}: {line}");
            if line.contains("\"return\"") {
                return Ok(line);
            }
        }
    }

    /// The level of the ACT LED's line: GPLEV1, bit 10.
    fn led(&mut self) -> Result<bool> {
        let said = self.ask("human-monitor-command", "{\"command-line\": \"xp /1wx 0xfe200038\"}")?;
        let word = said.split("0x").last().and_then(|hex| u32::from_str_radix(hex.get(..8)?, 16).ok());
        Ok(word.with_context(|| format!("no word in {said}"))? >> 10 & 1 != 0)
    }
}

/// A slot that is empty at start: the guest starts when its card is put in, misses it when it is taken out, and goes on
/// when it is put back. Meanwhile the LED blinks.
#[test]
fn a_card_comes_goes_and_comes_back() -> Result<()> {
    let folder = folder("card-later")?;
    let path = folder.join("card.img");
    File::create(&path)?.set_len(64 << 20)?;
    let card = CardImage { path, guest: (4096, 8192) };
    card.write_table(&[(0x83, 2048, 2048), (0x83, card.guest.0, card.guest.1)])?;
    let socket = folder.join("monitor");
    let mut scene = guest_on_card(on(Board::Raspi4b, "card-later").menu())?;
    let qmp = format!("unix:{},server=on,wait=off", socket.display());
    scene.config.extra.extend(["-drive", "if=sd,id=slot", "-qmp", &qmp].map(Into::into));
    let mut machine = scene.start()?;
    machine.expect("one: waits for disk \"sd-deadbeef\"", BOOT)?;
    let mut monitor = Monitor::connect(&socket)?;
    let put_in =
        format!("{{\"device\": \"slot\", \"filename\": \"{}\", \"format\": \"raw\"}}", card.path.display());
    monitor.ask("blockdev-change-medium", &put_in)?;
    machine.expect("disk \"sd-deadbeef\": 64 MiB", ANSWER)?;
    machine.expect("one: 2 vCPUs", ANSWER)?;
    let mut seen = [false; 2];
    for _ in 0..400 {
        seen[usize::from(monitor.led()?)] = true;
        if seen == [true; 2] {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
    ensure!(seen == [true; 2], "the LED stays as it is: {seen:?}");
    log_in(&mut machine, "one")?;
    let read = "echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/vda of=/dev/null bs=4096 count=1 2>&1 || true";
    ensure!(shell(&mut machine, read)?.contains("1+0 records in"), "the card can't be read");
    monitor.ask("human-monitor-command", "{\"command-line\": \"eject -f slot\"}")?;
    let said = shell(&mut machine, read)?;
    ensure!(said.contains("Input/output error"), "without a card: {said}");
    console::select(&mut machine, "host log")?;
    machine.expect("its card was taken out; put it back", ANSWER)?;
    monitor.ask("blockdev-change-medium", &put_in)?;
    machine.expect("disk \"sd-deadbeef\": works again", ANSWER)?;
    look_at(&mut machine, "one")?;
    let said = shell(&mut machine, read)?;
    ensure!(said.contains("1+0 records in"), "with the card back: {said}");
    Ok(())
}

/// When the last guest is off the Pi is halted through its power management; a panic restarts it.
#[test]
fn a_pi_halts_and_restarts() -> Result<()> {
    let mut machine = on(Board::Raspi4b, "halt").test_guest("hello", 1, "hello")?.start()?;
    machine.expect("host: all VMs are off", BOOT)?;
    machine.wait_exit(ANSWER)?;
    let mut scene = on(Board::Raspi4b, "restart").test_guest("hello", 1, "hello")?;
    scene.config.append.push_str(" bramble.panic");
    let mut machine = scene.start()?;
    machine.expect("restart in 10 s", BOOT)?;
    // QEMU was told not to restart: it ends.
    machine.wait_exit(ANSWER)?;
    Ok(())
}

/// By the console's key, with a disk, a network with a DHCP server, and a guest that is not disturbed.
#[test]
fn the_self_test_by_key_on_virt() -> Result<()> {
    let image = folder("self-test-virt")?.join("disk.img");
    File::create(&image)?.set_len(8 << 20)?;
    let mut scene = on(Board::VirtGicv3, "self-test").menu().uplink().small("one")?;
    scene.config.disks.push(HostDisk { path: image, serial: String::from("plain"), snapshot: false });
    let mut machine = scene.start()?;
    log_in(&mut machine, "one")?;
    machine.send_bytes(&[console::CTRL_RIGHT_BRACKET])?;
    machine.expect("number, Enter: ", ANSWER)?;
    machine.send("t")?;
    machine.expect("SUM ", ANSWER)?;
    machine.expect("\n", ANSWER)?;
    let page = page(&machine.text())?;
    for line in [
        "[ -- ] firmware     no mailbox in the device tree",
        "[ -- ] SD           no controller in the device tree",
        "[ ok ] disk         8 MiB, plain",
        "[ ok ]   read       first, middle and last sectors",
        "[ ok ] virtio-net   link up",
        "[ ok ]   DHCP       10.0.2.",
        "[ ok ] generator    has its seed",
        "[ ok ] EL2 memory ",
        "[ ok ] PEs          4 of 4 up",
    ] {
        ensure!(page.contains(line), "the page lacks {line:?}:\n{page}");
    }
    look_at(&mut machine, "one")
}

/// Shows a guest whose user is logged in; what it said before is replayed first, and is not to be taken for an answer.
fn look_at(machine: &mut Machine, guest: &str) -> Result<()> {
    console::select(machine, guest)?;
    machine.send("echo here-$((6 * 7))\r")?;
    machine.expect("here-42", ANSWER)?;
    Ok(())
}
