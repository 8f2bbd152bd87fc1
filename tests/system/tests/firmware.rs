//! Guests that start with firmware of their own: EDK2 and U-Boot, unmodified.

use anyhow::{Result, ensure};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use system::cli::{Cli, free_port, said_after};
use system::scene::{ANSWER, BOOT, log_in, on, power_off, shell};
use system::store::StoreImage;
use system::{Artifacts, Board, HostDisk, Machine, console};

/// A variable of a GUID of nobody's.
const VARIABLE: &str = "Proof -guid 12345678-90ab-cdef-1234-567890abcdef";

/// A guest with firmware, and what it is to show.
struct Flow {
    guest: &'static str,
    firmware: &'static str,
    memory_mib: u32,
    /// Its disk, and whether that is read-only.
    disk: Option<(&'static str, bool)>,
    show: fn(&mut Machine) -> Result<()>,
}

const U_BOOT: Flow =
    Flow { guest: "u-boot", firmware: "u-boot.bin", memory_mib: 128, disk: None, show: u_boot_has_a_prompt };
const SHELL: Flow = Flow {
    guest: "shell",
    firmware: "edk2.fd",
    memory_mib: 256,
    disk: None,
    show: a_variable_survives_a_reset,
};
/// With 256 MiB and a virtio-rng, the kernel's EFI stub finds no random place and copies itself to 0, on QEMU's own `virt`
/// too.
const INSTALLED: Flow = Flow {
    guest: "installed",
    firmware: "edk2.fd",
    memory_mib: 384,
    disk: Some(("installed.img", false)),
    show: a_disk_boots_from_its_efi_partition,
};
const INSTALLER: Flow = Flow {
    guest: "installer",
    firmware: "edk2.fd",
    memory_mib: 512,
    disk: Some(("installer.iso", true)),
    show: an_installer_asks_for_the_language,
};

/// All these guests at once, on one host.
fn firmware(name: &str, board: Board, flows: &[Flow]) -> Result<()> {
    let mut scene = on(board, name).menu();
    for flow in flows {
        let disk = flow.disk.map(|(file, read_only)| scene.disk_of(file, read_only)).transpose()?;
        scene = scene.firmware(flow.guest, flow.firmware, flow.memory_mib, disk.into_iter().collect())?;
    }
    let mut machine = scene.start()?;
    flows.iter().try_for_each(|flow| (flow.show)(&mut machine))
}

fn u_boot_has_a_prompt(machine: &mut Machine) -> Result<()> {
    console::select(machine, "u-boot")?;
    // Any key stops its countdown; one too many does nothing at the prompt.
    machine.expect("U-Boot 20", BOOT)?;
    machine.send("\r")?;
    machine.expect("=> ", BOOT)?;
    machine.send("echo sum $RANDOM; setexpr a 0x1234 * 3; printenv a\r")?;
    machine.expect("a=369c", ANSWER)?;
    // It would poll its line for ever.
    power_off(machine, "u-boot", "poweroff")?;
    Ok(())
}

/// The variable store is in flash bank 1, which a reset of the VM leaves alone.
fn a_variable_survives_a_reset(machine: &mut Machine) -> Result<()> {
    console::select(machine, "shell")?;
    wait_for_the_shell(machine)?;
    machine.send(&format!("setvar {VARIABLE} -bs -nv =0x13579bdf\r"))?;
    machine.expect("Shell>", ANSWER)?;
    machine.send("reset\r")?;
    wait_for_the_shell(machine)?;
    machine.send(&format!("setvar {VARIABLE}\r"))?;
    machine.expect("DF 9B 57 13", ANSWER)?;
    power_off(machine, "shell", "reset -s")?;
    Ok(())
}

fn wait_for_the_shell(machine: &mut Machine) -> Result<()> {
    machine.expect("seconds to skip", BOOT)?;
    machine.send("\x1b")?;
    machine.expect("Shell>", ANSWER)?;
    Ok(())
}

/// Whether EDK2's shell finds the variable.
fn has_variable(machine: &mut Machine) -> Result<bool> {
    machine.send(&format!("setvar {VARIABLE}\r"))?;
    let said = machine.expect("Shell>", ANSWER)?;
    Ok(said.contains("DF 9B 57 13"))
}

/// A host with a VM of the datastore that boots EDK2's shell.
struct Kept {
    store: StoreImage,
    cli: Cli,
    port: u16,
}

impl Kept {
    fn start(&self) -> Result<Machine> {
        let mut scene = on(Board::VirtGicv3, "firmware-kept").cpus(2).menu().uplink();
        scene.config.append = String::new();
        scene.config.forwards = vec![(self.port, 443)];
        let (path, serial) = (self.store.path.clone(), String::from("store"));
        scene.config.disks.push(HostDisk { path, serial, snapshot: false });
        scene.start()
    }

    /// Turns a VM on, whose console is selected, to its shell.
    fn on(&self, machine: &mut Machine, vm: &str) -> Result<()> {
        self.cli.run(&["vm", "start", vm], "")?;
        wait_for_the_shell(machine)
    }

    /// Turns it off from within.
    fn off(&self, machine: &mut Machine) -> Result<()> {
        machine.send("reset -s\r")?;
        let begun = Instant::now();
        while self.cli.json(&["vm", "show", "shell"])?["power"] != "off" {
            ensure!(begun.elapsed() < ANSWER, "it does not go off");
            thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }
}

/// Waits until a file has these bytes.
fn wait_for(file: &Path, wanted: &[u8]) -> Result<()> {
    let begun = Instant::now();
    while !fs::read(file)?.windows(wanted.len()).any(|bytes| bytes == wanted) {
        ensure!(begun.elapsed() < ANSWER, "{} lacks what was written", file.display());
        thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

/// What firmware keeps outlives its VM's power-off and QEMU's end, until it is reset.
#[test]
fn variables_are_kept_in_the_datastore() -> Result<()> {
    let scene = on(Board::VirtGicv3, "firmware-kept");
    let (image, record) = (scene.file("store.img")?, scene.file("record.toml")?);
    let store = StoreImage::make(&image, 128)?;
    store.import(&Artifacts::here().guest("edk2.fd"), "object:file:edk2.fd")?;
    let text = "[[vm]]\nname = \"shell\"\nvcpus = 1\nmemory = \"256MiB\"\nautostart = false\n\
                [vm.boot]\nfirmware = \"edk2.fd\"\n[[vm.disk]]\nvolume = \"shell-0\"\n";
    store.volume("shell-0", 1)?;
    fs::write(&record, text)?;
    store.import(&record, "object:vm:shell")?;
    let contexts = scene.file("contexts.json")?;
    let kept = Kept { store, cli: Cli::new(&contexts), port: free_port(0)? };

    let mut machine = kept.start()?;
    kept.cli.trust(&mut machine, kept.port)?;
    kept.cli.log_in_first(&machine, "four words will do")?;
    console::select(&mut machine, "shell")?;
    kept.on(&mut machine, "shell")?;
    ensure!(!has_variable(&mut machine)?, "a new VM has the variable");
    machine.send(&format!("setvar {VARIABLE} -bs -nv =0x13579bdf\r"))?;
    machine.expect("Shell>", ANSWER)?;
    kept.off(&mut machine)?;
    kept.on(&mut machine, "shell")?;
    ensure!(has_variable(&mut machine)?, "it did not survive the power-off");
    let name: Vec<u8> = "SecondProof".encode_utf16().flat_map(u16::to_le_bytes).collect();
    machine.send(&format!("setvar Second{VARIABLE} -bs -nv =0x2468ace0\r"))?;
    machine.expect("Shell>", ANSWER)?;
    wait_for(&image, &name)?;
    // Its place in the log, and a flush, follow at once.
    thread::sleep(Duration::from_secs(3));
    drop(machine);
    kept.store.check()?;

    let mut machine = kept.start()?;
    said_after(&machine, "CA certificate, SHA-256: ")?;
    console::select(&mut machine, "shell")?;
    kept.on(&mut machine, "shell")?;
    ensure!(has_variable(&mut machine)?, "it did not survive QEMU's end");
    machine.send(&format!("setvar Second{VARIABLE}\r"))?;
    machine.expect("E0 AC 68 24", ANSWER)?;
    machine.expect("Shell>", ANSWER)?;
    let refused = kept.cli.refused(&["vm", "reset-firmware", "shell"], "")?;
    ensure!(refused.contains("turn it off first"), "{refused}");
    kept.off(&mut machine)?;
    kept.cli.run(&["vm", "snapshot", "shell", "then"], "")?;
    kept.cli.run(&["vm", "reset-firmware", "shell"], "")?;
    kept.cli.run(&["vm", "clone", "shell", "twin", "--snapshot", "then"], "")?;
    kept.on(&mut machine, "shell")?;
    ensure!(!has_variable(&mut machine)?, "it was not reset");
    console::select(&mut machine, "twin")?;
    kept.on(&mut machine, "twin")?;
    ensure!(has_variable(&mut machine)?, "a clone of its snapshot did not begin with it");
    drop(machine);
    kept.store.check()?;
    for path in [image, record, contexts] {
        fs::remove_file(path)?;
    }
    Ok(())
}

fn a_disk_boots_from_its_efi_partition(machine: &mut Machine) -> Result<()> {
    log_in(machine, "installed")?;
    let said = shell(machine, "ls -d /sys/firmware/efi && findmnt -no SOURCE /")?;
    ensure!(said.contains("/dev/vda2"), "{said}");
    Ok(())
}

fn an_installer_asks_for_the_language(machine: &mut Machine) -> Result<()> {
    console::select(machine, "installer")?;
    machine.expect("Select a language", BOOT)?;
    machine.expect("English", ANSWER)?;
    Ok(())
}

#[test]
fn firmware_gicv3() -> Result<()> {
    firmware("firmware", Board::VirtGicv3, &[U_BOOT, SHELL, INSTALLED, INSTALLER])
}

#[test]
#[ignore = "long: the same on another board"]
fn firmware_gicv2() -> Result<()> {
    firmware("firmware", Board::VirtGicv2, &[U_BOOT, SHELL, INSTALLED, INSTALLER])
}

// The tree that QEMU gives its Pi names 960 MiB, and disks are files of the boot archive, which stays in RAM: 530 MiB
// for the installed one, 83 MiB for the ISO. With 24 MiB of hostd's, all four guests would take 1,917 MiB.

#[test]
#[ignore = "long: the same with disks in RAM"]
fn firmware_raspi4b() -> Result<()> {
    firmware("firmware", Board::Raspi4b, &[U_BOOT, SHELL])
}

#[test]
#[ignore = "long: the same with disks in RAM"]
fn installed_raspi4b() -> Result<()> {
    firmware("installed", Board::Raspi4b, &[INSTALLED])
}

#[test]
#[ignore = "long: the same with disks in RAM"]
fn installer_raspi4b() -> Result<()> {
    firmware("installer", Board::Raspi4b, &[INSTALLER])
}
