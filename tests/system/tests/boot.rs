//! The image boots its guests on every board.

use anyhow::{Context, Result, ensure};
use system::scene::{ANSWER, BOOT, Scene, address, answer_once, log_in, on, power_off, shell, turn_to};
use system::{Board, Machine};

/// A test guest on its own: the first instruction, the console, power-off.
fn hello(scene: Scene) -> Result<()> {
    let mut machine = scene.test_guest("hello", 2, "hello")?.start()?;
    machine.expect("hello| TEST hello ok", BOOT)?;
    machine.expect("hello| TESTS DONE 1 passed 0 failed", ANSWER)?;
    machine.expect("host: all VMs are off", ANSWER)?;
    machine.wait_exit(ANSWER)?;
    Ok(())
}

#[test]
fn hello_gicv3() -> Result<()> {
    hello(on(Board::VirtGicv3, "hello"))
}

#[test]
fn hello_gicv2() -> Result<()> {
    hello(on(Board::VirtGicv2, "hello"))
}

#[test]
fn hello_raspi4b() -> Result<()> {
    // Without PSCI nothing powers a Pi off.
    let mut machine = on(Board::Raspi4b, "hello").test_guest("hello", 2, "hello")?.start()?;
    machine.expect("hello| TEST hello ok", BOOT)?;
    machine.expect("host: all VMs are off", ANSWER)?;
    Ok(())
}

#[test]
fn hello_on_one_pe() -> Result<()> {
    hello(on(Board::VirtGicv3, "one-pe").cpus(1))
}

#[test]
fn hello_on_neoverse_n1() -> Result<()> {
    hello(on(Board::VirtGicv3, "neoverse").cpu("neoverse-n1"))
}

#[test]
fn hello_on_max() -> Result<()> {
    hello(on(Board::VirtGicv3, "max").cpu("max"))
}

/// 64 guests with two vCPUs each on 128 PEs: every PE has one.
#[test]
fn sixty_four_guests_on_128_pes() -> Result<()> {
    let mut scene = on(Board::VirtGicv3, "many").cpus(128).memory_mib(6144);
    // Instructions are the time: 128 threads on a small machine would outlast every guest's patience.
    scene.config.icount = true;
    for number in 0..64 {
        scene = scene.test_guest(&format!("vm-{number}"), 2, "stay")?;
    }
    let mut machine = scene.start()?;
    machine.expect_all(&["128 of 128 PEs run", "every PE has entered a guest: 128"], BOOT)?;
    for number in 0..64 {
        machine.expect_all(&[&format!("vm-{number}| TEST stay ok")], BOOT)?;
    }
    Ok(())
}

/// Debian's cloud kernel, unmodified, to a login that computes, on both of its terminals; the two guests reach each
/// other, and where there is an uplink a server on this machine's loopback.
fn small(board: Board) -> Result<()> {
    let mut scene = on(board, "small").menu();
    scene.config.uplink = board.has_virtio();
    let mut machine = scene.small("one")?.small("two")?.start()?;
    for guest in ["one", "two"] {
        log_in(&mut machine, guest)?;
        let said = shell(&mut machine, "echo $(hostname) has $(nproc) and $((6 * 7))")?;
        ensure!(said.contains(&format!("{guest} has 2 and 42")), "{guest} says {said}");
    }
    let two = address(&mut machine)?;
    if board.has_virtio() {
        let port = answer_once()?;
        let said = shell(&mut machine, &format!("echo question | nc 10.0.2.2 {port}"))?;
        ensure!(said.contains("noitseuq"), "the server says {said}");
    }
    log_in(&mut machine, "one/hvc0")?;
    let said = shell(&mut machine, &format!("ping -c 2 {two} && tty"))?;
    ensure!(said.contains("2 packets received") && said.contains("/dev/hvc0"), "{said}");
    one_starts_anew_and_the_other_stays(&mut machine)
}

/// VMs of the boot archive start one after the other, each its delay after the one before.
#[test]
fn a_vm_of_the_archive_waits_for_its_delay() -> Result<()> {
    let mut scene = on(Board::VirtGicv3, "delay").cpus(1);
    for (name, order, delay) in [("last", 3, 0), ("second", 2, 2), ("first", 1, 0)] {
        scene = scene.test_guest(name, 1, "hello")?;
        if let Some(vm) = scene.archive.document.vms.last_mut() {
            (vm.start_order, vm.start_delay) = (order, delay);
        }
    }
    let mut machine = scene.start()?;
    machine.wait_exit(BOOT)?;
    let text = machine.text();
    let started = |name: &str| {
        let line = text.lines().find(|line| line.contains(&format!("] {name}: 1 vCPUs")))?;
        line.split_once('[')?.1.split_once(']')?.0.trim().parse::<f64>().ok()
    };
    let [first, second, last] = ["first", "second", "last"].map(started);
    // By the host's own clock.
    let (first, second, last) =
        first.zip(second).zip(last).map(|((a, b), c)| (a, b, c)).with_context(|| text.clone())?;
    ensure!(second >= first + 2.0 && last >= second, "{first} {second} {last}");
    // The first was off before the second began: the host waited for it all the same.
    for said in ["last| TEST hello ok", "host: all VMs are off"] {
        ensure!(text.contains(said), "the log lacks {said:?}:\n{text}");
    }
    Ok(())
}

/// A guest that restarts, and one that turns itself off, leave the other alone.
fn one_starts_anew_and_the_other_stays(machine: &mut Machine) -> Result<()> {
    turn_to(machine, "two")?;
    shell(machine, "touch /tmp/still-here")?;
    turn_to(machine, "one")?;
    machine.send("reboot -f\r")?;
    // Not the one that the ring repeats: the line shows `one` all along.
    machine.expect("Booting Linux on physical CPU", BOOT)?;
    machine.expect("login:", BOOT)?;
    machine.send("root\r")?;
    machine.expect("#", ANSWER)?;
    power_off(machine, "one", "poweroff -f")?;
    turn_to(machine, "two")?;
    shell(machine, "ls /tmp/still-here")?;
    Ok(())
}

#[test]
fn small_debian_gicv3() -> Result<()> {
    small(Board::VirtGicv3)
}

#[test]
fn small_debian_gicv2() -> Result<()> {
    small(Board::VirtGicv2)
}

#[test]
fn small_debian_raspi4b() -> Result<()> {
    small(Board::Raspi4b)
}
