//! Guests that start with firmware of their own: EDK2 and U-Boot, unmodified.

use anyhow::{Result, ensure};
use system::scene::{ANSWER, BOOT, log_in, on, power_off, shell};
use system::{Board, Machine, console};

/// A variable of a GUID of nobody's.
const VARIABLE: &str = "Proof -guid 12345678-90ab-cdef-1234-567890abcdef";

/// EDK2 boots an installer from an ISO and Debian from its EFI partition, and keeps a variable; U-Boot comes to its
/// prompt. All at once, on one host.
fn firmware(board: Board) -> Result<()> {
    let mut scene = on(board, "firmware").menu();
    let installer = scene.disk_of("installer.iso", true)?;
    let installed = scene.disk_of("installed.img", false)?;
    let mut machine = scene
        .firmware("shell", "edk2.fd", 256, Vec::new())?
        .firmware("u-boot", "u-boot.bin", 128, Vec::new())?
        .firmware("installed", "edk2.fd", 384, vec![installed])?
        .firmware("installer", "edk2.fd", 512, vec![installer])?
        .start()?;
    u_boot(&mut machine)?;
    a_variable_survives_a_reset(&mut machine)?;
    log_in(&mut machine, "installed")?;
    let said = shell(&mut machine, "ls -d /sys/firmware/efi && findmnt -no SOURCE /")?;
    ensure!(said.contains("/dev/vda2"), "{said}");
    console::select(&mut machine, "installer")?;
    machine.expect("Select a language", BOOT)?;
    machine.expect("English", ANSWER)?;
    Ok(())
}

fn u_boot(machine: &mut Machine) -> Result<()> {
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

#[test]
fn firmware_gicv3() -> Result<()> {
    firmware(Board::VirtGicv3)
}

#[test]
#[ignore = "long: the same on another board"]
fn firmware_gicv2() -> Result<()> {
    firmware(Board::VirtGicv2)
}

#[test]
#[ignore = "long: the same with disks in RAM"]
fn firmware_raspi4b() -> Result<()> {
    firmware(Board::Raspi4b)
}
