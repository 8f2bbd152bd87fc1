//! `datastore-sim --seed S --cuts N`: power cuts without number, from one seed.
use datastore::sim::{disk::Faults, run::simulate};

fn argument(name: &str, default: u64) -> u64 {
    let mut args = std::env::args().skip_while(|a| a != name);
    args.nth(1).and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn main() -> std::process::ExitCode {
    let (seed, cuts) = (argument("--seed", 1), argument("--cuts", 100_000));
    let faults =
        Faults { write_errors: argument("--write-errors", 0), read_errors: argument("--read-errors", 0) };
    let report = simulate(seed, cuts, faults);
    println!(
        "seed {seed}: {} cuts, {} losses, {} leaks; {} operations, {} with the newest root destroyed, {} lived on",
        report.cuts,
        report.losses,
        report.leaks,
        report.operations,
        report.fallbacks,
        report.crashes_lived_on
    );
    if let Some(first) = &report.first {
        println!("first: {first}");
    }
    if report.is_clean() { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}
