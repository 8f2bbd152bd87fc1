//! hostd: it dies and is back, and no guest notices.

use anyhow::{Context, Result, ensure};
use std::time::Duration;
use system::scene::{ANSWER, BOOT, Scene, on};
use system::{Board, Machine, console};

/// Generations that end: with `BRAMBLE_LONG` a hundred.
fn kills() -> usize {
    if std::env::var_os("BRAMBLE_LONG").is_some() { 100 } else { 5 }
}

const ENDS: [(&str, &str); 5] =
    [("panic", "Panic"), ("exit", "Wanted"), ("memory", "Memory"), ("fault", "Fault"), ("hang", "Hang")];

/// Long enough for five seconds of silence on a slow machine, and for the back-off.
const NEXT: Duration = Duration::from_secs(180);

fn with(mut scene: Scene, arguments: &str) -> Scene {
    scene.config.append = format!("{} {arguments}", scene.config.append);
    scene
}

/// hostd ends by each of its ends again and again, and comes back each time as the next generation.
fn die_and_come_back(machine: &mut Machine, kills: usize) -> Result<()> {
    machine.expect("hostd: generation 1 runs", BOOT)?;
    for generation in 1..=kills {
        let (_, reason) = ENDS[(generation - 1) % ENDS.len()];
        let next = generation + 1;
        machine
            .expect(&format!("hostd: generation {generation} ended: {reason}, pc 0x4"), NEXT)
            .with_context(|| format!("generation {generation} is to end by {reason}"))?;
        machine.expect(&format!("hostd: generation {next} starts"), NEXT)?;
        machine.expect(&format!("hostd: generation {next} runs"), NEXT)?;
        // What the vmkernel kept of the end is there for the one after it.
        machine.expect(&format!("hostd: generation {generation} before it: reason "), NEXT)?;
    }
    Ok(())
}

/// The guest's lines as they came: numbered from 0 without a gap, each with the sum that it must have.
fn check_output(text: &str) -> Result<u64> {
    let mut sum = 0_u64;
    let mut expected = 0_u64;
    for line in
        text.lines().filter_map(|line| line.split_once("steady| STEADY ")).map(|(_, line)| line.trim_end())
    {
        if line.starts_with("END") {
            continue;
        }
        sum = (sum ^ expected).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
        ensure!(line == format!("{expected} {sum:016x}"), "line {expected} is {line:?}");
        expected += 1;
    }
    Ok(expected)
}

fn killed_while_a_guest_works(board: Board, kills: usize) -> Result<()> {
    let ends: Vec<&str> = ENDS.iter().map(|end| end.0).collect();
    let scene = on(board, "world-kill").cpus(2).test_guest("steady", 1, "steady")?;
    let arguments = format!("hostd.kill={} hostd.kills={kills}", ends.join(","));
    let mut machine = with(scene, &arguments).start()?;
    die_and_come_back(&mut machine, kills)?;
    // Its lines came live all the time; from here on it is the selected stream.
    let lines = check_output(&machine.text())?;
    ensure!(lines > 10, "the guest said {lines} lines only");
    console::select(&mut machine, "steady")?;
    machine.send("q")?;
    machine.expect("STEADY END", ANSWER)?;
    machine.expect("TESTS DONE 1 passed 0 failed", ANSWER)?;
    // hostd, which runs, keeps no host from ending.
    machine.expect("host: all VMs are off", ANSWER)?;
    machine.wait_exit(ANSWER)?;
    Ok(())
}

#[test]
fn killed_again_and_again_while_a_guest_works_gicv3() -> Result<()> {
    killed_while_a_guest_works(Board::VirtGicv3, kills())
}

#[test]
fn killed_once_by_each_but_a_hang_gicv2() -> Result<()> {
    killed_while_a_guest_works(Board::VirtGicv2, 4)
}

#[test]
fn it_runs_on_raspi4b() -> Result<()> {
    // A request of each kind shows that its calls, its queue and its interrupt are there.
    let scene = on(Board::Raspi4b, "world").test_guest("steady", 1, "steady")?;
    let scene = scene.test_guest("other", 1, "steady")?;
    let mut machine = with(scene, "hostd.power=steady").start()?;
    machine.expect("hostd: 2 vCPUs, 24 MiB, generation 1", BOOT)?;
    machine.expect("hostd: generation 1 runs", BOOT)?;
    machine.expect(" starts\r\n", BOOT)?;
    ensure!(!machine.text().contains("generation 2"), "it ended");
    Ok(())
}

/// The call queue: power requests are done and answered, what is stale or wrong is refused, the console's ring stays.
#[test]
fn power_by_the_call_queue() -> Result<()> {
    let scene = on(Board::VirtGicv3, "world-power").cpus(2).test_guest("steady", 1, "steady")?;
    let scene = scene.test_guest("other", 1, "steady")?;
    let mut machine = with(scene, "hostd.power=steady hostd.restart").start()?;
    machine.expect("hostd: what is stale or unknown is refused", BOOT)?;
    for (kind, status) in [
        ("Echo", "Ok 77"),
        ("PowerOn", "Conflict 0"),
        ("Reset", "Ok 0"),
        ("Resume", "Conflict 0"),
        ("Pause", "Ok 0"),
        ("Pause", "Conflict 0"),
        ("ShutDown", "Conflict 0"),
        ("Resume", "Ok 0"),
        ("Pause", "Ok 0"),
        ("Reset", "Ok 0"),
        ("Pause", "Ok 0"),
        ("PowerOff", "Ok 0"),
        ("PowerOff", "Conflict 0"),
        ("Reset", "Conflict 0"),
        ("PowerOn", "Ok 0"),
    ] {
        machine.expect(&format!("hostd: {kind}: {status}"), ANSWER)?;
    }
    let said = machine.expect(" starts\r\n", ANSWER)?;
    ensure!(said.contains("Ok(4) starts"), "{said}");
    // Exits by reason: the guest's lines are device accesses, and its clock's interrupts waits and interrupts.
    let said = machine.expect(" ns ready\r\n", ANSWER)?;
    ensure!(said.contains("hostd: exits: [") && said.contains("hostd: statistics: "), "{said}");
    // No test guest has a card; hostd has.
    machine.expect("kind 2 VmHandle { place: 0, generation: 0 } card 0 group \"management\"", ANSWER)?;
    machine.expect("hostd: RestartHost: Ok", ANSWER)?;
    machine.expect("host: restart\r\n", ANSWER)?;
    // QEMU is told to end where a machine would begin anew.
    machine.wait_exit(ANSWER)?;
    Ok(())
}

/// Where instructions are counted: no call takes more than the contract says, and an idle hostd leaves for EL2 hardly ever.
#[test]
fn calls_are_short_and_idle_is_idle() -> Result<()> {
    let mut scene = on(Board::VirtGicv3, "world-idle").cpus(1).test_guest("steady", 1, "steady")?;
    scene.config.icount = true;
    let mut machine = with(scene, "hostd.measure hostd.idle").start()?;
    let said = machine.expect("hostd: measured", BOOT)?;
    let calls: Vec<&str> =
        said.lines().filter_map(|line| line.split_once("hostd: call ")).map(|(_, call)| call).collect();
    ensure!(calls.len() == 16, "16 calls are measured: {calls:?}");
    for call in calls {
        let (name, numbers) = call.split_once(": first ").context("a measurement")?;
        for number in numbers.split(", then ") {
            let instructions: u32 = number.trim().parse().with_context(|| format!("{call:?}"))?;
            // A line is written to the serial line by a host task, right after its call and measured with it.
            let limit = if name == "Log" { 50_000 } else { 5_000 };
            ensure!(instructions <= limit, "{name} takes {instructions} instructions");
        }
    }
    let said = machine.expect(" exits in 10000 ms", BOOT)?;
    let exits = said.rsplit_once("idle: ").and_then(|(_, text)| text.split(' ').next()?.parse::<u32>().ok());
    // It samples once a second, the one tick that an idle host has: fifteen exits each time, half of them for the VM that
    // runs and the switch's ports. What they cost without a VM is a row of `./bramble bench host`.
    ensure!(exits.context("a number of exits")? <= 160, "an idle hostd leaves for EL2: {said}");
    Ok(())
}
