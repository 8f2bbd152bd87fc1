//! The test guest's behaviours, under Bramble: interrupts, timers, PSCI, faults, traps, devices.

use anyhow::{Context, Result, ensure};
use std::time::Duration;
use system::Board;
use system::console;
use system::scene::{ANSWER, BOOT, Scene, on};

/// Long lists on a slow machine.
const LIST: Duration = Duration::from_secs(240);

/// hostd's memory.
const HOSTD_MIB: u64 = 24;

/// MiB for guests, and KiB that are the host's, where the host last said so.
fn memory(text: &str) -> Option<(u64, u64)> {
    let (before, after) = text.rsplit_once(" MiB for guests, ")?;
    Some((before.rsplit(' ').next()?.parse().ok()?, after.split(' ').next()?.parse().ok()?))
}

/// Runs behaviours in one VM and looks for a failed one.
fn behaviours(scene: Scene, list: &str) -> Result<()> {
    let mut machine = scene.test_guest("t", 2, list)?.start()?;
    machine.expect("t: 2 vCPUs", BOOT)?;
    let before = memory(&machine.text()).context("how much memory there is")?;
    let said = machine.expect("t| TESTS DONE ", LIST)?;
    let failed: Vec<&str> = said.lines().filter(|line| line.contains(" FAILED ")).collect();
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    machine.expect(" 0 failed", BOOT)?;
    machine.expect("host: all VMs are off;", BOOT)?;
    let (guests, own) = memory(&machine.expect("for the host", BOOT)?).context("how much is left")?;
    // hostd goes on. What EL2's heap has grown by it keeps; all else came back.
    let expected = before.0 - HOSTD_MIB - (own - before.1) / 1024;
    ensure!(guests == expected, "{guests} MiB are free, and {expected} were expected");
    Ok(())
}

const ALL: &str = "ram,smp,virq,sgi,timers,psci,faults,fp,trapped,aarch32,devices,virtio";

#[test]
fn every_behaviour_gicv3() -> Result<()> {
    behaviours(on(Board::VirtGicv3, "behaviours-3").cpus(2), ALL)
}

#[test]
fn every_behaviour_gicv2() -> Result<()> {
    behaviours(on(Board::VirtGicv2, "behaviours-2").cpus(2), ALL)
}

/// Instructions are the time here: who spins for the other vCPU burns whole slices, and always as many.
#[test]
fn two_vcpus_share_one_pe() -> Result<()> {
    for board in [Board::VirtGicv3, Board::VirtGicv2] {
        let mut scene = on(board, "one-pe-list").cpus(1);
        scene.config.icount = true;
        behaviours(scene, ALL)?;
    }
    Ok(())
}

/// Without moves between PEs one of them would have half of all work; here the least has nearly as much as the most.
/// Over two seconds: where instructions are counted QEMU's PEs run in turns of up to 50 ms, longer than the time
/// between two moves. Without hostd, which has its own share while it makes keys.
#[test]
fn three_busy_vcpus_share_two_pes() -> Result<()> {
    let mut scene = on(Board::VirtGicv3, "shares").cpus(2);
    scene.config.icount = true;
    scene.config.append.push_str(" bramble.hostd=off");
    let mut machine = scene.test_guest("t", 3, "burn bramble.milliseconds=2000")?.start()?;
    let said = machine.expect("t| TESTS DONE 1 passed 0 failed", LIST)?;
    let work: Vec<u64> =
        said.lines().filter_map(|line| line.split_once(" work=")?.1.trim().parse().ok()).collect();
    ensure!(work.len() == 3, "{work:?}");
    let (least, most) = (work.iter().min().unwrap_or(&0), work.iter().max().unwrap_or(&0));
    ensure!(most * 8 < least * 9, "more than an eighth apart: {work:?}");
    machine.expect("host: all VMs are off", BOOT)?;
    Ok(())
}

#[test]
fn traps_on_neoverse_n1() -> Result<()> {
    behaviours(on(Board::VirtGicv3, "n1-list").cpus(2).cpu("neoverse-n1"), "trapped,aarch32,fp,faults")
}

#[test]
fn traps_on_max() -> Result<()> {
    behaviours(on(Board::VirtGicv3, "max-list").cpus(2).cpu("max"), "trapped,aarch32,fp,faults")
}

#[test]
fn a_reset_starts_the_vm_anew() -> Result<()> {
    behaviours(on(Board::VirtGicv3, "reset").cpus(2), "reset,ram")
}

/// A guest's device that always has more to do has deadlines that are over at once; the interrupts of the host's devices
/// come all the same, here the one of the serial line.
#[test]
fn endless_work_keeps_no_device_waiting() -> Result<()> {
    for board in [Board::VirtGicv3, Board::VirtGicv2] {
        let mut scene = on(board, "endless").cpus(2).menu().test_guest("t", 2, "endless")?;
        scene.config.append.push_str(" bramble.hostd=off");
        let mut machine = scene.start()?;
        console::select(&mut machine, "t")?;
        machine.expect("ENDLESS", ANSWER)?;
        console::select(&mut machine, "host log")?;
    }
    Ok(())
}

/// Nor does it take another guest's turns on the same PE.
#[test]
fn endless_work_leaves_others_their_turns() -> Result<()> {
    let mut scene = on(Board::VirtGicv3, "endless-beside").cpus(1);
    scene = scene.test_guest("t", 2, "endless")?.test_guest("worker", 1, "worker bramble.rounds=1000")?;
    scene.config.append.push_str(" bramble.hostd=off");
    let mut machine = scene.start()?;
    machine.expect("worker| TESTS DONE", LIST)?;
    machine.expect(" 0 failed", ANSWER)?;
    Ok(())
}

/// The marks stay until after the other has gone through its RAM and begins with the registers.
const MARKS: &str = "pattern bramble.milliseconds=4000";

/// Guests beside each other, of which none may find anything wrong.
fn all_pass(scene: Scene, guests: &[&str]) -> Result<()> {
    let said = scene.start()?.expect("host: all VMs are off", LIST)?;
    for guest in guests {
        let done = said.lines().find(|line| line.contains(&format!("{guest}| TESTS DONE")));
        ensure!(done.is_some_and(|line| line.trim_end().ends_with(" 0 failed")), "{guest}: {said}");
    }
    Ok(())
}

/// A guest that runs anything at all beside one that works, and one that looks for what the others left.
#[test]
fn a_hostile_guest_disturbs_nobody() -> Result<()> {
    let scene = on(Board::VirtGicv3, "hostile").cpus(1);
    let scene = scene.test_guest("random", 1, "random")?.test_guest("worker", 2, "worker")?;
    let scene = scene.test_guest("pattern", 1, MARKS)?.test_guest("leak", 1, "leak")?;
    all_pass(scene, &["random", "worker", "pattern", "leak"])
}

/// PEs with registers that a Cortex-A72 has not.
#[test]
fn registers_do_not_cross_on_other_pes() -> Result<()> {
    for cpu in ["neoverse-n1", "max"] {
        let scene = on(Board::VirtGicv3, cpu).cpus(1).cpu(cpu);
        let scene = scene.test_guest("pattern", 1, MARKS)?.test_guest("leak", 1, "leak")?;
        all_pass(scene, &["pattern", "leak"]).context(cpu)?;
    }
    Ok(())
}
