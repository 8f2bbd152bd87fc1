//! Management's ports on a PC.

use abi::{Call, Status};
use management::fake::{Environment, RamVmkernel};
use management::port::{Platform, Received, Refused, Request, Vmkernel};
use std::future::Future;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::oneshot;

type Work = Box<dyn FnOnce() + Send>;

/// A PC as a host.
pub struct PcHost {
    vmkernel: RamVmkernel,
    started: Instant,
    /// To the thread that stands for vCPU 1.
    worker: Sender<Work>,
}

impl PcHost {
    /// Started now; `log` gets the lines of its log.
    pub fn new(log: impl Fn(&str) + 'static) -> Self {
        let started = Instant::now();
        let (worker, work) = channel::<Work>();
        std::thread::spawn(move || work.into_iter().for_each(|work| work()));
        Self { vmkernel: RamVmkernel::new(Pc { started, log: Box::new(log) }), started, worker }
    }

    /// Writes a line to its log.
    pub fn log(&self, line: &str) {
        let mut line = line.as_bytes().to_vec();
        // A fake's log takes any line.
        let _ = self.vmkernel.call(Call::Log, &mut line, [0; 3]);
    }

    /// Its vmkernel.
    pub fn vmkernel(&self) -> &RamVmkernel {
        &self.vmkernel
    }
}

impl Platform for PcHost {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn sleep(&self, time: Duration) -> impl Future<Output = ()> {
        tokio::time::sleep(time)
    }

    async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = oneshot::channel();
        let work = Box::new(move || {
            // Nobody waits any more where the connection is over.
            let _ = done.send(work());
        });
        self.worker.send(work).expect("the worker lives as long as the host");
        result.await.expect("work ends")
    }
}

impl Vmkernel for PcHost {
    fn call(&self, call: Call, buffer: &mut [u8], arguments: [u64; 3]) -> Result<[u64; 3], Status> {
        self.vmkernel.call(call, buffer, arguments)
    }

    async fn request(&self, request: Request<'_>, receive: &mut [u8]) -> Result<Received, Refused> {
        self.vmkernel.request(request, receive).await
    }
}

struct Pc {
    started: Instant,
    log: Box<dyn Fn(&str)>,
}

impl Environment for Pc {
    fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    fn unix_seconds(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
    }

    fn random(&self, into: &mut [u8]) {
        getrandom::fill(into).expect("this machine has random numbers");
    }

    fn log(&self, line: &str) {
        (self.log)(line);
    }
}
