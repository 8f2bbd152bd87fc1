//! What passed, what failed, and how long it took.

use crate::run::seconds;
use serde_json::json;
use std::time::Duration;

/// One test that ran.
struct Outcome {
    stage: &'static str,
    name: String,
    time: Duration,
    passed: bool,
}

/// The outcomes of a run.
#[derive(Default)]
pub struct Tally {
    stage: &'static str,
    stages: Vec<(&'static str, Duration)>,
    outcomes: Vec<Outcome>,
    skipped: Vec<String>,
}

impl Tally {
    /// What follows belongs to `stage`.
    pub fn enter(&mut self, stage: &'static str) {
        self.stage = stage;
    }

    /// The stage is over.
    pub fn stage_took(&mut self, time: Duration) {
        self.stages.push((self.stage, time));
    }

    /// Counts a success.
    pub fn passed(&mut self, name: &str, time: Duration) {
        self.outcomes.push(Outcome { stage: self.stage, name: name.to_owned(), time, passed: true });
    }

    /// Counts a failure and says why at once.
    pub fn failed(&mut self, name: &str, time: Duration, why: &str) {
        println!("FAILED {}: {name}", self.stage);
        for line in why.lines() {
            println!("    {line}");
        }
        self.outcomes.push(Outcome { stage: self.stage, name: name.to_owned(), time, passed: false });
    }

    /// Counts what could not be run here, and says so at once.
    pub fn skipped(&mut self, name: &str, why: &str) {
        println!("SKIPPED {}: {name}: {why}", self.stage);
        self.skipped.push(format!("{}: {name}", self.stage));
    }

    /// Whether something was tested and nothing failed.
    pub fn is_good(&self) -> bool {
        !self.outcomes.is_empty() && self.outcomes.iter().all(|outcome| outcome.passed)
    }

    fn count(&self, passed: bool) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.passed == passed).count()
    }

    /// Prints the stages, the slowest tests and the closing line.
    pub fn print(&mut self, as_json: bool) {
        let failed: Vec<_> =
            self.outcomes.iter().filter(|o| !o.passed).map(|o| format!("{}: {}", o.stage, o.name)).collect();
        if as_json {
            let stages: Vec<_> = self
                .stages
                .iter()
                .map(|(name, time)| json!({ "name": name, "seconds": time.as_secs_f64() }))
                .collect();
            println!(
                "{}",
                json!({ "passed": self.count(true), "failed": failed, "skipped": self.skipped, "stages": stages })
            );
            return;
        }
        println!("\nTime of each stage:");
        for (name, time) in &self.stages {
            println!("    {:>9}  {name}", seconds(*time));
        }
        self.outcomes.sort_by_key(|outcome| std::cmp::Reverse(outcome.time));
        println!("The slowest tests:");
        for outcome in self.outcomes.iter().take(10) {
            println!("    {:>9}  {}: {}", seconds(outcome.time), outcome.stage, outcome.name);
        }
        for name in failed {
            println!("FAILED {name}");
        }
        if !self.skipped.is_empty() {
            println!("{} skipped: {}", self.skipped.len(), self.skipped.join(", "));
        }
        println!("{} passed, {} failed", self.count(true), self.count(false));
    }
}
