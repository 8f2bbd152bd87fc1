//! Guests that start with firmware of their own: EDK2 and U-Boot, unmodified.

use anyhow::{Result, ensure};
use system::scene::{ANSWER, BOOT, log_in, on, power_off, shell};
use system::{Board, Machine, console};

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
    machine.expect("seconds to skip", BOOT)?;
    machine.send("\x1b")?;
    machine.expect("Shell>", ANSWER)?;
    machine.send(&format!("setvar {VARIABLE} -bs -nv =0x13579bdf\r"))?;
    machine.expect("Shell>", ANSWER)?;
    machine.send("reset\r")?;
    machine.expect("seconds to skip", BOOT)?;
    machine.send("\x1b")?;
    machine.expect("Shell>", ANSWER)?;
    machine.send(&format!("setvar {VARIABLE}\r"))?;
    machine.expect("DF 9B 57 13", ANSWER)?;
    power_off(machine, "shell", "reset -s")?;
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
