//! Lives: one store each, from its making until it has seen enough, in one kind of weather.

use super::super::Random;
use super::super::disk::{Astray, Faults};
use super::super::oracle::Oracle;
use super::verdict::{Judge, examine, examine_astray};
use super::{BLOCKS, Report, Run};
use crate::Defect;
use crate::format::GROUP_BLOCKS;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::string::String;
use std::sync::Mutex;
use std::vec::Vec;

/// What to simulate.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    /// At least so many cuts.
    pub cuts: u64,
    /// Only this life, to see a finding again.
    pub life: Option<u64>,
    /// A defect made on purpose.
    pub defect: Option<Defect>,
    pub threads: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self { seed: 1, cuts: 1000, life: None, defect: None, threads: 1 }
    }
}

/// What a life has to endure besides power cuts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Weather {
    Fair,
    /// Hardly any free space.
    Full,
    /// The disk fails requests.
    Errors,
    /// The disk loses or misdirects a write.
    Astray,
}

/// Runs lives until enough cuts were examined, or something was found.
pub fn simulate(plan: Plan) -> Report {
    let shared = Mutex::new((0u64, Report::default()));
    let work = || {
        loop {
            let number = {
                let mut shared = shared.lock().expect("no panic inside");
                let enough = shared.1.cuts >= plan.cuts || !shared.1.is_clean();
                if enough || plan.life.is_some_and(|_| shared.0 > 0) {
                    return;
                }
                shared.0 += 1;
                plan.life.unwrap_or(shared.0)
            };
            let mut report = Report { lives: 1, ..Report::default() };
            let lived = catch_unwind(AssertUnwindSafe(|| life(plan, number, &mut report)));
            if let Err(panic) = lived {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| String::from(*s)));
                report.lose(std::format!("panic: {}", text.unwrap_or_default()));
            }
            report.first = report.first.map(|what| std::format!("--life {number}: {what}"));
            shared.lock().expect("no panic inside").1.add(report);
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (1..plan.threads).map(|_| scope.spawn(work)).collect();
        work();
        threads.into_iter().for_each(|thread| thread.join().expect("panics are caught"));
    });
    shared.into_inner().expect("no panic inside").1
}

fn weather_of(number: u64) -> Weather {
    match number % 8 {
        3 => Weather::Full,
        5 => Weather::Errors,
        7 => Weather::Astray,
        _ => Weather::Fair,
    }
}

/// Every other full store has a second group, so that room has to be looked for in both.
fn blocks_of(number: u64) -> usize {
    if number % 16 == 11 { GROUP_BLOCKS as usize + 1000 } else { BLOCKS }
}

fn faults_of(weather: Weather, random: &mut Random) -> Faults {
    match weather {
        Weather::Errors => Faults {
            write_errors: [0, 40, 400][random.below(3) as usize],
            read_errors: [0, 100, 1000][random.below(3) as usize],
            flush_errors: [0, 0, 30][random.below(3) as usize],
            astray: None,
        },
        Weather::Astray => {
            let how = if random.chance(2) { Astray::Lost } else { Astray::Misdirected };
            Faults { astray: Some((1 + random.below(600), how)), ..Faults::default() }
        }
        _ => Faults::default(),
    }
}

/// Looks at the cuts that the last turn had. Gives back a store to go on with, now and then.
fn judge_cuts(
    run: &mut Run,
    plan: Plan,
    random: &mut Random,
    report: &mut Report,
) -> Option<(crate::Store<super::SimDisk>, Oracle)> {
    let cuts = core::mem::take(&mut run.store.port().cuts);
    // A cut within one turn may have happened before what the turn promised: judge by what was promised then.
    let judge = Judge {
        oracle: &run.oracle,
        promised: run.promised_before,
        durable: run.durable_before,
        defect: plan.defect,
    };
    let mut survivor = None;
    for cut in cuts {
        if !report.is_clean() {
            break;
        }
        if let Some(wrong) = &cut.astray {
            examine_astray(&cut, wrong, &judge, report);
            continue;
        }
        let lived = examine(cut, &judge, report);
        if let Some((store, at)) = lived.filter(|_| random.chance(400)) {
            let mut oracle = run.oracle.clone();
            oracle.survive(at);
            survivor = Some((store, oracle));
        }
    }
    run.promised_before = run.oracle.promised;
    run.durable_before = run.durable_before.max(run.store.log.durable);
    run.oracle.compact(run.promised_before);
    survivor
}

fn life(plan: Plan, number: u64, report: &mut Report) {
    let seed = plan.seed.wrapping_mul(1_000_003).wrapping_add(number);
    let mut random = Random(seed ^ 0xc0ffee);
    let weather = weather_of(number);
    let mut run = Run::new(seed, blocks_of(number), plan.defect);
    let at_first = run.store.usage().available;
    if weather == Weather::Full {
        run.fill_up(100 + random.below(300));
    }
    run.store.port().cut_every = 1;
    run.afflict(faults_of(weather, &mut random));
    for _ in 0..300 {
        let mut survivor = None;
        let mut after = |run: &mut Run| {
            survivor = judge_cuts(run, plan, &mut random, report).or(survivor.take());
        };
        run.operate(&mut after);
        for _ in 0..run.random.below(12) {
            run.turn();
            after(&mut run);
        }
        report.operations += 1;
        if let Some(what) = run.found_wrong.take() {
            report.lose(what);
        }
        if !report.is_clean() || run.store.read_only().is_some() {
            break;
        }
        if let Some((store, oracle)) = survivor {
            report.lived_on += 1;
            run.live_on(store, oracle);
        }
    }
    end(&mut run, plan, &mut random, at_first, report);
}

/// Reads all of it once more; what is deleted has to come back.
fn end(run: &mut Run, plan: Plan, random: &mut Random, at_first: u64, report: &mut Report) {
    if report.is_clean() {
        let mut after = |run: &mut Run| drop(judge_cuts(run, plan, random, report));
        run.drain(&mut after);
        run.look(&mut after);
        if !run.errors_expected {
            run.store.port().cut_every = 8;
            run.delete_all(&mut after, at_first);
        }
    }
    if let Some(what) = run.found_wrong.take() {
        report.lose(what);
    }
    report.errors += run.errors;
    report.full += run.full;
    report.astray += u64::from(run.store.port().is_astray());
}
