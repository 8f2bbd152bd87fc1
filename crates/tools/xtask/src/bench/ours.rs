//! Bramble's own figures: the shipped image, flight recorder on.

use super::{Figures, figures, machine, variant};
use crate::run::step;
use anyhow::{Context, Result, ensure};
use std::time::Duration;
use system::scene::{self, Scene};
use system::{Artifacts, Board, Machine};

/// Wall time until a run is given up.
const LIMIT: Duration = Duration::from_secs(300);

/// All of them.
pub fn measure(at: &Artifacts) -> Result<Figures> {
    let mut all = Figures::new();
    let mut text = String::new();
    step("measure Bramble on a GICv3", || {
        text = run(scene("bench", Board::VirtGicv3)?, 512, "bench,bench-switched")?;
        all.extend(figures(&text));
        Ok(())
    })?;
    all.insert("entry_to_guest".into(), started_after(&text, "bench")?);
    step("measure Bramble on a GICv2", || {
        let text = run(scene("bench", Board::VirtGicv2)?, 512, "bench")?;
        all.extend(variant(figures(&text), "gicv2"));
        Ok(())
    })?;
    step("measure Bramble on 2 PEs", || {
        let text = run(scene("bench-2pe", Board::VirtGicv3)?.cpus(2), 512, "bench")?;
        let on_two = variant(figures(&text), "2pe");
        all.extend(on_two.into_iter().filter(|(name, _)| name.starts_with("vcpu_pingpong")));
        Ok(())
    })?;
    step("measure Bramble with the pool of zeroed memory empty", || {
        let text = run(scene("bench-empty", Board::VirtGicv3)?, 512, "bench-empty")?;
        all.extend(figures(&text));
        Ok(())
    })?;
    step("measure Bramble's start and sizes", || sizes(at, &mut all))?;
    Ok(all)
}

fn scene(name: &str, board: Board) -> Result<Scene> {
    let mut scene = scene::on(board, name);
    let ours = machine(board, &scene.config.image, &scene.config.log);
    // hostd makes keys at its first start, on the PE that is measured; `bench host` measures with it.
    let append = format!("{} bramble.hostd=off", scene.config.append);
    scene.config = system::MachineConfig { append, ..ours };
    Ok(scene)
}

fn run(scene: Scene, memory_mib: u32, behaviours: &str) -> Result<String> {
    let mut scene = scene.test_guest("bench", 2, behaviours)?;
    for vm in &mut scene.archive.document.vms {
        vm.memory = format!("{memory_mib} MiB");
    }
    let mut machine = scene.start()?;
    finish(&mut machine)
}

fn finish(machine: &mut Machine) -> Result<String> {
    machine.expect("TESTS DONE", LIMIT)?;
    machine.expect("all VMs are off", LIMIT)?;
    Ok(machine.text())
}

/// The host logs a VM's start just before it is first entered: `[    0.002788] NAME: 2 vCPUs, …`; in milliseconds.
fn started_after(text: &str, name: &str) -> Result<f64> {
    let line = text.lines().find(|line| line.contains(&format!("] {name}: ")) && line.contains(" vCPUs"));
    let seconds =
        line.and_then(|line| line.trim_start_matches('[').split(']').next()?.trim().parse::<f64>().ok());
    Ok(seconds.with_context(|| format!("the log does not say when {name} started"))? * 1000.0)
}

fn sizes(at: &Artifacts, all: &mut Figures) -> Result<()> {
    let image = std::fs::metadata(at.image())?.len();
    all.insert("image".into(), image as f64 / 1024.0);
    let mut config = scene("bench-debian", Board::VirtGicv3)?;
    config.config.cpus = 4;
    config.config.memory_mib = 2048;
    let mut machine = config.small("small")?.start()?;
    machine.expect("small: 2 vCPUs", LIMIT)?;
    machine.expect("\n", LIMIT)?;
    let text = machine.text();
    all.insert("entry_to_guest_debian".into(), started_after(&text, "small")?);
    let own = text
        .lines()
        .find_map(|line| line.split(" KiB for the host").next()?.rsplit(' ').next()?.parse::<f64>().ok());
    ensure!(own.is_some(), "the log does not say what the host itself takes");
    all.extend(own.map(|own| (String::from("el2_memory_4pe_2gib"), own)));
    Ok(())
}
