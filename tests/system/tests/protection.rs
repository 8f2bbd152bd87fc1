//! What EL2 does for itself: the panic screen says what happened, a stack that runs over meets its guard, the seed of the
//! random generator is in memory no more.

use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader, Lines, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};
use system::scene::{ANSWER, BOOT, on};
use system::{Board, Machine};

/// A guest runs, and then EL2 fails in this way.
fn drill(name: &str, argument: &str) -> Result<Machine> {
    let mut scene = on(Board::VirtGicv3, name).test_guest("t", 1, "hello")?;
    scene.config.append.push_str(&format!(" {argument}"));
    scene.start()
}

#[test]
fn a_panic_shows_where_it_was() -> Result<()> {
    let mut machine = drill("panic", "bramble.panic")?;
    machine.expect("*** bramble: panic on PE 0 ***", BOOT)?;
    machine.expect("vmkernel::drill::at_start", BOOT)?;
    machine.expect("last exits on this PE:", BOOT)?;
    Ok(())
}

/// The newest exit is the guest's SYSTEM_OFF, an HVC in its RAM; before it came exits of other kinds.
#[test]
fn a_panic_shows_what_guests_did() -> Result<()> {
    let mut machine = drill("panic-end", "bramble.panic=end")?;
    machine.expect("TEST hello ok", BOOT)?;
    machine.expect("*** bramble: panic on PE ", BOOT)?;
    machine.expect("vmkernel::drill::at_end", BOOT)?;
    machine.expect("last exits on this PE:", BOOT)?;
    let said = machine.expect("restart in", BOOT)?;
    let exits: Vec<(&str, u64)> = said.lines().filter_map(exit).collect();
    ensure!(exits.len() == 16, "{} exits:\n{said}", exits.len());
    ensure!(exits[0].0 == "ESR 0x5a000000", "the newest is no HVC:\n{said}");
    // Class 0x24, a data abort from EL1: its console.
    ensure!(exits.iter().any(|(what, _)| what.starts_with("ESR 0x93")), "no device access:\n{said}");
    let in_ram = |at: &u64| (0x4000_0000..0x4400_0000).contains(at);
    ensure!(exits.iter().all(|(_, at)| in_ram(at)), "a place outside the guest's 64 MiB:\n{said}");
    Ok(())
}

/// What happened, and where in the guest.
fn exit(line: &str) -> Option<(&str, u64)> {
    let (what, at) = line.trim().split_once(" at 0x")?;
    Some((what.trim(), u64::from_str_radix(at.trim(), 16).ok()?))
}

#[test]
fn a_stack_that_runs_over_meets_its_guard() -> Result<()> {
    let mut machine = drill("overflow", "bramble.panic=overflow")?;
    machine.expect("*** bramble: exception at EL2 on PE ", BOOT)?;
    machine.expect("FAR 0x0000ff80", ANSWER)?;
    machine.expect("a stack overflowed: FAR is in the guard page below it", ANSWER)?;
    machine.expect("vmkernel::drill::sink", ANSWER)?;
    machine.expect("last exits on this PE:", ANSWER)?;
    Ok(())
}

/// It would go on for ever, and nobody could read the first.
#[test]
fn a_panic_in_the_panic_screen_ends_it() -> Result<()> {
    let mut machine = drill("twice", "bramble.panic=twice")?;
    machine.expect("*** bramble: panic on PE ", BOOT)?;
    let said = machine.expect("*** another defect while this was shown ***", ANSWER)?;
    ensure!(!said.contains("*** bramble"), "shown again:\n{said}");
    Ok(())
}

/// A Pi's bytes in QEMU.
const RAM_BYTES: usize = 960 << 20;

/// The generator was seeded from the tree: a Pi in QEMU has nothing else. Afterwards no byte of RAM tells the seed.
#[test]
fn the_seed_is_erased() -> Result<()> {
    let mut scene = on(Board::Raspi4b, "seed").test_guest("t", 1, "hello")?;
    let (dump, socket) = (scene.file("ram")?, scene.file("qmp")?);
    let at = format!("unix:{},server=on,wait=on", socket.display());
    scene.config.extra.extend(["-S".into(), "-qmp".into(), at.into()]);
    let mut machine = scene.start()?;
    let mut monitor = Monitor::connect(&socket)?;
    // QEMU writes a seed of its own over the one that it was given.
    let before = monitor.memory(&dump)?;
    let name = find(&before, &[0xd0, 0x0d, 0xfe, 0xed]).context("no tree in RAM")?;
    let seed = seed(&before[name..]).context("no seed in the tree")?;
    ensure!(find(&before, seed).is_some());
    monitor.ask(r#"{"execute":"cont"}"#)?;
    machine.expect("TEST hello ok", BOOT)?;
    ensure!(!machine.text().contains("no seed"), "not seeded:\n{}", machine.text());
    let after = monitor.memory(&dump)?;
    ensure!(find(&after, b"rng-seed").is_some(), "the tree is not in RAM");
    for part in seed.chunks(8) {
        ensure!(find(&after, part).is_none(), "a part of the seed is at {:#x?}", find(&after, part));
    }
    std::fs::remove_file(&dump)?;
    Ok(())
}

/// The value of `/chosen/rng-seed`: behind FDT_PROP, its length and the place of its name among the strings.
fn seed(tree: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| Some(u32::from_be_bytes(tree.get(at..at + 4)?.try_into().ok()?) as usize);
    let (bytes, strings) = (word(4)?, word(12)?);
    let name = tree.get(strings..bytes)?.windows(9).position(|bytes| bytes == b"rng-seed\0")?;
    let head: Vec<u8> = [3, 32, name].iter().flat_map(|word| (*word as u32).to_be_bytes()).collect();
    let at = tree[..strings].windows(head.len()).position(|bytes| bytes == head)? + head.len();
    tree.get(at..at + 32)
}

/// QEMU's, of one machine.
struct Monitor(UnixStream, Lines<BufReader<UnixStream>>);

impl Monitor {
    fn connect(socket: &Path) -> Result<Self> {
        let until = Instant::now() + ANSWER;
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > until => return Err(error.into()),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let mut monitor = Self(stream.try_clone()?, BufReader::new(stream).lines());
        monitor.1.next().context("no greeting")??;
        monitor.ask(r#"{"execute":"qmp_capabilities"}"#)?;
        Ok(monitor)
    }

    fn ask(&mut self, command: &str) -> Result<()> {
        writeln!(self.0, "{command}")?;
        for answer in &mut self.1 {
            let answer = answer?;
            if answer.contains(r#""return""#) {
                return Ok(());
            }
            // Events come between.
            ensure!(answer.contains(r#""event""#), "{command}: {answer}");
        }
        anyhow::bail!("{command}: no answer")
    }

    /// All of its RAM, by way of a file.
    fn memory(&mut self, file: &Path) -> Result<Vec<u8>> {
        let (size, name) = (RAM_BYTES, file.display());
        self.ask(&format!(
            r#"{{"execute":"pmemsave","arguments":{{"val":0,"size":{size},"filename":"{name}"}}}}"#
        ))?;
        let memory = std::fs::read(file)?;
        ensure!(memory.len() == size, "{} bytes", memory.len());
        Ok(memory)
    }
}

/// Where `wanted`, shorter than a page, is in memory, most of which is zero.
fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let pages = (0..bytes.len()).step_by(4096).filter(|at| bytes[*at..at + 4096] != [0; 4096]);
    pages
        .flat_map(|page| page.saturating_sub(wanted.len())..page + 4096)
        .find(|at| bytes[*at..].starts_with(wanted))
}
