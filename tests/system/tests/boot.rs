//! The image boots its guests on every board.

use anyhow::{Result, ensure};
use system::Board;
use system::scene::{ANSWER, BOOT, Scene, log_in, on, shell};

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

/// Debian's cloud kernel, unmodified, to a login that computes.
fn small(board: Board) -> Result<()> {
    let mut machine = on(board, "small").menu().small("one")?.small("two")?.start()?;
    for guest in ["one", "two"] {
        log_in(&mut machine, guest)?;
        let said = shell(&mut machine, "echo $(hostname) has $(nproc) and $((6 * 7))")?;
        ensure!(said.contains(&format!("{guest} has 2 and 42")), "{guest} says {said}");
    }
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
