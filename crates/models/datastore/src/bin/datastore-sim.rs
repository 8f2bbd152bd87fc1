//! `datastore-sim --seed S --cuts N [--threads T] [--life L] [--defect NAME]`: power cuts without number, from one seed.
use datastore::sim::run::{Plan, Report, simulate};
use std::process::ExitCode;

fn argument<T: std::str::FromStr>(name: &str) -> Option<T> {
    let mut args = std::env::args().skip_while(|a| a != name);
    args.nth(1).and_then(|value| value.parse().ok())
}

fn print(plan: Plan, report: &Report) {
    println!(
        "seed {}: {} cuts, {} losses, {} leaks in {} lives with {} operations",
        plan.seed, report.cuts, report.losses, report.leaks, report.lives, report.operations
    );
    println!(
        "  {} with the newest root destroyed, {} lived on, {} requests found no space, {} were failed by the disk",
        report.fallbacks, report.lived_on, report.full, report.errors
    );
    println!(
        "  {} with flipped bits ({} blocks restored by scrub), {} writes astray, {} sectors refused as corrupt",
        report.damaged, report.repaired, report.astray, report.refused
    );
    if let Some(first) = &report.first {
        println!("first: --seed {} {first}", plan.seed);
    }
}

fn main() -> ExitCode {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let plan = Plan {
        seed: argument("--seed").unwrap_or(1),
        cuts: argument("--cuts").unwrap_or(100_000),
        life: argument("--life"),
        defect: argument("--defect"),
        threads: argument("--threads").unwrap_or(threads),
    };
    let report = simulate(plan);
    print(plan, &report);
    if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
