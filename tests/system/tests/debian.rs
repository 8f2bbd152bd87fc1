//! A whole Debian twice: systemd, a disk that stays, and the network.

use anyhow::{Result, ensure};
use std::path::Path;
use std::process::Command;
use system::scene::{ANSWER, BOOT, address, answer_once, copy_sparse, log_in, on, shell, turn_to};
use system::{Board, Machine, console};

#[test]
fn two_debians_gicv3() -> Result<()> {
    let mut scene = on(Board::VirtGicv3, "debian").menu().uplink().debian("one")?.debian("two")?;
    // What the first writes stays.
    let disk = scene.file("root.img")?;
    copy_sparse(&scene.config.disks[0].path, &disk)?;
    scene.config.disks[0].path.clone_from(&disk);
    scene.config.disks[0].snapshot = false;
    let mut machine = scene.start()?;
    for guest in ["one", "two"] {
        log_in(&mut machine, guest)?;
        let said = shell(&mut machine, "systemctl is-system-running --wait; cat /proc/1/comm; nproc")?;
        ensure!(said.contains("systemd\r\n2"), "{guest} says {said}");
    }
    console::select(&mut machine, "one/hvc0")?;
    machine.expect("one login:", BOOT)?;
    network(&mut machine)?;
    turn_to(&mut machine, "one")?;
    let said = shell(&mut machine, "grep ' / ' /proc/mounts; echo proof of a write > /root/proof; sync")?;
    ensure!(said.contains(" rw,") || said.contains(" rw "), "the root is mounted as {said}");
    // As in a power cut.
    drop(machine);
    ensure!(read_from(&disk, "/root/proof")? == "proof of a write\n", "the disk has lost a file");
    std::fs::remove_file(&disk)?;
    Ok(())
}

/// `two` reaches `one`, and a server on this machine's loopback through the uplink.
fn network(machine: &mut Machine) -> Result<()> {
    turn_to(machine, "one")?;
    let one = address(machine)?;
    ensure!(one.octets()[..3] == [10, 0, 2], "QEMU's DHCP server does not give {one}");
    shell(machine, "iperf3 -s -D -1")?;
    turn_to(machine, "two")?;
    address(machine)?;
    let said = shell(machine, &format!("ping -c 3 -i 0.2 {one}"))?;
    ensure!(said.contains("3 received"), "{said}");
    let said = shell(machine, &format!("iperf3 -c {one} -n 8M"))?;
    ensure!(megabytes_sent(&said).is_some_and(|sent| sent >= 8.0), "{said}");
    let port = answer_once()?;
    let talk = format!("exec 3<>/dev/tcp/10.0.2.2/{port} && echo question >&3 && cat <&3");
    let said = shell(machine, &talk)?;
    ensure!(said.contains("noitseuq"), "the server says {said}");
    machine.send("exit\r")?;
    machine.expect("login:", ANSWER)?;
    Ok(())
}

/// What iperf3's sender says; it may send a little more than it was asked to.
fn megabytes_sent(said: &str) -> Option<f64> {
    let line = said.lines().find(|line| line.trim_end().ends_with("sender"))?;
    line.split_once(" MBytes")?.0.split_whitespace().last()?.parse().ok()
}

#[test]
fn the_senders_line_is_read() {
    let said = "[  5]   0.00-0.13   sec  8.12 MBytes   521 Mbits/sec    0    361 KBytes\n\
                [  5]   0.00-0.14   sec  8.50 MBytes   424 Mbits/sec    0             sender\r\n\
                [  5]   0.00-0.14   sec  7.10 MBytes   424 Mbits/sec                  receiver";
    assert_eq!(megabytes_sent(said), Some(8.5));
    assert_eq!(megabytes_sent("iperf3: error - unable to connect"), None);
}

/// A file of an ext4 image, after the journal is replayed.
fn read_from(disk: &Path, file: &str) -> Result<String> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let check = Command::new("e2fsck").arg("-fy").arg(disk).env("PATH", &path).output()?;
    // 1: errors were corrected, the replay is one.
    ensure!(matches!(check.status.code(), Some(0 | 1)), "e2fsck: {}", String::from_utf8_lossy(&check.stdout));
    let cat = format!("cat {file}");
    let output = Command::new("debugfs").args(["-R", &cat]).arg(disk).env("PATH", &path).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
