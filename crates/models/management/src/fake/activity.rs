//! What a VM that only says that it runs would have done: counters that move as a guest's do, by a load that rises and
//! falls. The same time gives the same numbers.

use abi::record::VmStatistics;
use core::time::Duration;

/// Per second of a busy vCPU: exits by reason, as a guest with disk and network has them.
const EXITS: [u64; 7] = [20, 300, 900, 5, 400, 600, 1];
/// Nanoseconds of an exit, by reason.
const EXIT_NS: [u64; 7] = [2_000, 800, 5_000, 40_000, 1_500, 1_200, 900];
/// Exits of a boot.
const BOOT: [u64; 7] = [3, 40, 500, 64, 70, 80, 1];
/// Bytes per second of a busy vCPU: read, written, received, sent.
const BYTES: [u64; 4] = [2 << 20, 1 << 20, 3 << 20, 700 << 10];

/// The life of a VM since it was powered on.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Activity {
    started: Duration,
    /// It goes on since then; `None`: it is paused, or off.
    since: Option<Duration>,
    /// It went on so long before that.
    before: Duration,
    /// Distinguishes the loads of VMs.
    seed: u64,
    vcpus: u64,
}

impl Activity {
    pub fn start(now: Duration, seed: u64, vcpus: u64) -> Self {
        Self { started: now, since: Some(now), before: Duration::ZERO, seed, vcpus }
    }

    pub fn pause(&mut self, now: Duration) {
        self.before = self.went_on(now);
        self.since = None;
    }

    pub fn resume(&mut self, now: Duration) {
        self.since = Some(now);
    }

    /// When it was powered on.
    pub fn started(&self) -> Duration {
        self.started
    }

    /// How long it went on.
    pub fn went_on(&self, now: Duration) -> Duration {
        self.before + self.since.map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }

    /// Nanoseconds that its vCPUs had a PE.
    pub fn run_time(&self, now: Duration) -> u64 {
        let low = 30 + self.seed * 37 % 90;
        let high = low + 120 + self.seed * 191 % 300;
        let half = (20 + self.seed * 7 % 40) * 1_000_000_000;
        triangle(nanoseconds(self.went_on(now)), half, low, high) * self.vcpus
    }

    /// Bytes: read, written, received, sent.
    pub fn bytes(&self, now: Duration) -> [u64; 4] {
        let busy = self.run_time(now) / 1_000_000;
        BYTES.map(|rate| rate * busy / 1000)
    }

    /// Exits by reason.
    pub fn exits(&self, now: Duration) -> [u64; 7] {
        let busy = self.run_time(now) / 1_000_000;
        let mut exits = BOOT;
        exits.iter_mut().zip(EXITS).for_each(|(exits, rate)| *exits += rate * busy / 1000);
        exits
    }

    pub fn statistics(&self, now: Duration) -> VmStatistics {
        let exits = self.exits(now);
        let mut exit_time = EXIT_NS;
        exit_time.iter_mut().zip(exits).for_each(|(time, count)| *time *= count);
        let run_time = self.run_time(now);
        let [disk_read, disk_written, ..] = self.bytes(now);
        VmStatistics {
            at: nanoseconds(now),
            started_at: nanoseconds(self.started),
            exits,
            exit_time,
            run_time,
            ready_time: run_time / 40,
            disk_read,
            disk_written,
            reserved: [0; 4],
        }
    }
}

pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What a load adds up to that rises from `low` to `high` per mille in `half`, falls in the next, and so on.
fn triangle(time: u64, half: u64, low: u64, high: u64) -> u64 {
    let (time, half, low, high) = (u128::from(time), u128::from(half), u128::from(low), u128::from(high));
    let (wholes, rest) = (time / half, time % half);
    let slope = (high - low) * rest * rest / (2 * half);
    let part = if wholes % 2 == 0 { low * rest + slope } else { high * rest - slope };
    u64::try_from((wholes * half * (low + high) / 2 + part) / 1000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_rises_and_falls_and_its_sum_only_rises() {
        let second = 1_000_000_000;
        let sums: alloc::vec::Vec<u64> =
            (0..60).map(|at| triangle(at * second, 10 * second, 100, 500)).collect();
        let loads: alloc::vec::Vec<u64> = sums.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(
            (loads[0], loads[9], loads[10], loads[19]),
            (120_000_000, 480_000_000, 480_000_000, 120_000_000)
        );
        assert_eq!(sums[20], 20 * second * 300 / 1000);
    }

    #[test]
    fn a_paused_vm_counts_nothing() {
        let at = Duration::from_secs;
        let mut vm = Activity::start(at(10), 3, 2);
        let before = vm.statistics(at(20));
        vm.pause(at(20));
        let paused = vm.statistics(at(90));
        assert_eq!(
            (paused.run_time, paused.exits, paused.at),
            (before.run_time, before.exits, 90 * 1_000_000_000)
        );
        vm.resume(at(90));
        assert!(vm.statistics(at(91)).run_time > before.run_time);
        assert!(before.run_time < 20 * 1_000_000_000 && before.started_at == 10 * 1_000_000_000);
    }
}
