//! What the host and each VM used, second by second: the last hour of it, in RAM.
//!
//! Called by: [`crate::watch`], once a second. Counters become differences here. All VMs together remember
//! [`SAMPLES_MAX`] seconds, so that hostd's memory is bounded: 16 VMs have an hour each, 64 a quarter of one.

use crate::port::Port;
use crate::{Management, ask};
use abi::record::{self, HostUse, PortRecord, VmRecord, VmStatistics};
use abi::{Call, RequestKind};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use api::rest::History;
use core::cell::{Cell, RefCell};

/// Most seconds that are remembered.
pub(crate) const SECONDS_MAX: usize = 3600;
/// Most samples of all VMs.
const SAMPLES_MAX: usize = 16 * SECONDS_MAX;

/// What was used in one second.
#[derive(Clone, Copy, Default, Debug)]
struct Sample {
    cpu_permille: u16,
    memory_kib: u32,
    disk_read: u32,
    disk_written: u32,
    received: u32,
    sent: u32,
}

/// Counters that only rise, as they were seen.
#[derive(Clone, Copy, Default)]
struct Counters {
    /// Nanoseconds since the host started.
    at: u64,
    /// When they began: another start, other counters.
    epoch: u64,
    /// Nanoseconds of PEs.
    busy: u64,
    read: u64,
    written: u64,
    received: u64,
    sent: u64,
}

/// One series of samples.
#[derive(Default)]
struct Series {
    seen: Option<Counters>,
    samples: VecDeque<Sample>,
}

/// All series.
#[derive(Default)]
pub struct Usage {
    host: RefCell<Series>,
    vms: RefCell<BTreeMap<u64, Series>>,
    /// Uptime in nanoseconds, and time of day, of the last look.
    looked: Cell<(u64, u64)>,
}

impl Series {
    /// The next second; what was seen the first time has no difference yet.
    fn add(&mut self, now: Counters, cpus: u64, memory: u64, most: usize) {
        let before = self.seen.replace(now).filter(|before| before.epoch == now.epoch);
        let sample = before.map_or_else(
            || Sample { memory_kib: kib(memory), ..Sample::default() },
            |before| {
                let time = now.at.saturating_sub(before.at).max(1);
                let per_second = |after: u64, before: u64| {
                    let all = u128::from(after.saturating_sub(before)).saturating_mul(1_000_000_000);
                    u32::try_from(all.checked_div(u128::from(time)).unwrap_or(0)).unwrap_or(u32::MAX)
                };
                let busy = u128::from(now.busy.saturating_sub(before.busy)).saturating_mul(1000);
                let whole = u128::from(time).saturating_mul(u128::from(cpus.max(1)));
                let permille = busy.checked_div(whole).unwrap_or(0).min(1000);
                Sample {
                    cpu_permille: u16::try_from(permille).unwrap_or(1000),
                    memory_kib: kib(memory),
                    disk_read: per_second(now.read, before.read),
                    disk_written: per_second(now.written, before.written),
                    received: per_second(now.received, before.received),
                    sent: per_second(now.sent, before.sent),
                }
            },
        );
        self.push(sample, most);
    }

    fn push(&mut self, sample: Sample, most: usize) {
        while self.samples.len() >= most.max(1) {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// The last `seconds`, each value the mean of `step` of them; the newest value is whole.
    fn shown(&self, seconds: usize, step: usize, looked: (u64, u64), remembered: usize) -> History {
        let (step, seconds) = (step.max(1), seconds.min(self.samples.len()));
        let whole = seconds.checked_div(step).unwrap_or(0).saturating_mul(step);
        let from = self.samples.len().saturating_sub(whole);
        let samples: Vec<Sample> = self.samples.range(from..).copied().collect();
        let mean = |value: fn(&Sample) -> u32| {
            let of = |chunk: &[Sample]| {
                let sum: u64 = chunk.iter().map(|sample| u64::from(value(sample))).sum();
                u32::try_from(sum.checked_div(step as u64).unwrap_or(0)).unwrap_or(u32::MAX)
            };
            samples.chunks_exact(step).map(of).collect::<Vec<u32>>()
        };
        let is_empty = samples.is_empty();
        History {
            uptime_ns: if is_empty { 0 } else { looked.0 },
            at: looked.1,
            step_seconds: u32::try_from(step).unwrap_or(u32::MAX),
            remembered_seconds: u32::try_from(remembered).unwrap_or(u32::MAX),
            cpu_permille: mean(|sample| sample.cpu_permille.into()),
            memory_kib: mean(|sample| sample.memory_kib),
            disk_read: mean(|sample| sample.disk_read),
            disk_written: mean(|sample| sample.disk_written),
            network_received: mean(|sample| sample.received),
            network_sent: mean(|sample| sample.sent),
        }
    }
}

impl Usage {
    fn measure_vm(&self, vm: &VmRecord, statistics: Option<&VmStatistics>, ports: &[PortRecord]) {
        let mut all = self.vms.borrow_mut();
        let most = share(all.len().saturating_add(usize::from(!all.contains_key(&vm.handle))));
        let series = all.entry(vm.handle).or_default();
        let Some(of) = statistics else {
            series.seen = None;
            return series.push(Sample { memory_kib: kib(vm.touched_bytes), ..Sample::default() }, most);
        };
        // What comes into the switch the VM has sent.
        let is_its = |port: &PortRecord| port.kind == record::VM_CARD && port.vm == vm.handle;
        let (sent, received) = traffic(ports, is_its);
        let counters = Counters {
            at: of.at,
            epoch: of.started_at,
            busy: of.run_time,
            read: of.disk_read,
            written: of.disk_written,
            received,
            sent,
        };
        series.add(counters, vm.vcpus.into(), vm.touched_bytes, most);
    }

    /// The host's last seconds.
    pub fn of_host(&self, seconds: usize, step: usize) -> History {
        self.host.borrow().shown(seconds, step, self.looked.get(), SECONDS_MAX)
    }

    /// A VM's last seconds.
    pub fn of_vm(&self, handle: u64, seconds: usize, step: usize) -> History {
        let vms = self.vms.borrow();
        let none = Series::default();
        let series = vms.get(&handle).unwrap_or(&none);
        series.shown(seconds, step, self.looked.get(), share(vms.len()))
    }
}

/// Seconds that each of so many VMs has.
fn share(vms: usize) -> usize {
    SAMPLES_MAX.checked_div(vms.max(1)).unwrap_or(1).min(SECONDS_MAX)
}

impl<P: Port> Management<P> {
    /// Looks at what is used.
    pub(crate) async fn measure(&self, vms: &[VmRecord]) {
        // Only those of running VMs count, and a list is a round of the call queue.
        let is_any_on = vms.iter().any(|vm| vm.power != record::OFF);
        let ports = if is_any_on { ports(&self.port).await } else { Vec::new() };
        self.usage.vms.borrow_mut().retain(|handle, _| vms.iter().any(|vm| vm.handle == *handle));
        let mut disks = (0_u64, 0_u64);
        for vm in vms {
            let statistics = statistics(&self.port, vm.handle);
            if let Some(of) = &statistics {
                disks = (disks.0.saturating_add(of.disk_read), disks.1.saturating_add(of.disk_written));
            }
            self.usage.measure_vm(vm, statistics.as_ref(), &ports);
        }
        let Some(of) = host_use(&self.port) else { return };
        let (received, sent) = (of.uplink_in, of.uplink_out);
        let busy = of.at.saturating_mul(of.pes).saturating_sub(of.idle_time);
        let memory: u64 = vms.iter().map(|vm| vm.touched_bytes).sum();
        let counters =
            Counters { at: of.at, epoch: 0, busy, read: disks.0, written: disks.1, received, sent };
        self.usage.host.borrow_mut().add(counters, of.pes, memory, SECONDS_MAX);
        self.usage.looked.set((of.at, of.unix_seconds));
    }
}

/// What came in by some ports, and what went out: seen from the switch.
fn traffic(ports: &[PortRecord], is_meant: impl Fn(&PortRecord) -> bool) -> (u64, u64) {
    ports.iter().filter(|port| is_meant(port)).fold((0, 0), |(into, out), port| {
        (into.saturating_add(port.bytes_in), out.saturating_add(port.bytes_out))
    })
}

/// The switch's ports; none where the host can't tell.
async fn ports<P: Port>(port: &P) -> Vec<PortRecord> {
    ask::list(port, RequestKind::ListPorts, 0, &[], PortRecord::from_bytes).await.unwrap_or_default()
}

/// Where a VM's time goes; none while it is off, or where the host can't tell.
pub(crate) fn statistics<P: Port>(port: &P, handle: u64) -> Option<VmStatistics> {
    let mut buffer = [0; VmStatistics::BYTES];
    port.call(Call::GetVmStatistics, &mut buffer, [handle, 0, 0]).ok()?;
    Some(VmStatistics::from_bytes(&buffer))
}

fn host_use<P: Port>(port: &P) -> Option<HostUse> {
    let mut buffer = [0; HostUse::BYTES];
    port.call(Call::GetHostUse, &mut buffer, [0; 3]).ok()?;
    Some(HostUse::from_bytes(&buffer))
}

fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes >> 10).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(at: u64, busy: u64, epoch: u64) -> Counters {
        Counters { at, busy, epoch, written: busy, ..Counters::default() }
    }

    #[test]
    fn differences_of_counters_are_means_and_the_oldest_goes() {
        let mut series = Series::default();
        for second in 0..=10_u64 {
            // Half of two PEs in each second, but all of them in the last one.
            let busy = second * 1_000_000_000 + if second == 10 { 1_000_000_000 } else { 0 };
            series.add(counters(second * 1_000_000_000, busy, 0), 2, second << 20, 5);
        }
        let history = series.shown(100, 2, (10_000_000_000, 7), 5);
        assert_eq!(history.cpu_permille, [500, 750]);
        assert_eq!(history.memory_kib, [7680, 9728]);
        assert_eq!(history.disk_written, [1_000_000_000, 1_500_000_000]);
        assert_eq!((history.uptime_ns, history.at, history.step_seconds), (10_000_000_000, 7, 2));
        assert_eq!(series.shown(0, 0, (1, 7), 5).uptime_ns, 0);
    }

    #[test]
    fn another_start_is_no_difference() {
        let mut series = Series::default();
        series.add(counters(1_000_000_000, 900_000_000, 1), 1, 0, 9);
        series.add(counters(2_000_000_000, 100, 2), 1, 0, 9);
        assert_eq!(series.shown(9, 1, (0, 0), 9).cpu_permille, [0, 0]);
        assert_eq!((share(0), share(16), share(64)), (3600, 3600, 900));
    }
}
