//! `bramblectl datastore measure`: how fast a store is on this device, and how much it writes below for what is
//! written above. One workload a run, its figures as one line of JSON; `./bramble bench datastore` runs them all.

use super::session::Session;
use anyhow::{Result, bail, ensure};
use clap::{Args, ValueEnum};
use datastore::{Error, Op, Stats, Target};
use std::path::PathBuf;
use std::time::Instant;

/// What is done to the volume.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    Read,
    Write,
    /// A snapshot, and all that is written until nothing is left to do.
    Snapshot,
    /// A clone, likewise.
    Clone,
    /// Nothing: what a mounted store writes by itself.
    Idle,
}

/// A workload, in the terms of `qemu-img bench`.
#[derive(Args)]
pub struct MeasureOptions {
    store: PathBuf,
    /// The volume; it is written to.
    volume: String,
    #[arg(value_enum)]
    what: What,
    /// Bytes of a request.
    #[arg(long, default_value_t = 4096)]
    bytes: u32,
    /// From one request's start to the next one's, modulo the volume's size.
    #[arg(long, default_value_t = 4096)]
    step: u64,
    /// Requests.
    #[arg(long, default_value_t = 65536)]
    count: u64,
    /// Requests in flight.
    #[arg(long, default_value_t = 32)]
    depth: u64,
    /// A FLUSH after so many writes; it waits for them.
    #[arg(long, default_value_t = 0)]
    flush_every: u64,
    /// A snapshot in the middle, while writes are in flight.
    #[arg(long)]
    snapshot_amid: bool,
    /// Wait with the end until everything is in the tree, and count that, too.
    #[arg(long)]
    settled: bool,
    /// Changes gathered before a checkpoint.
    #[arg(long, default_value_t = super::session::GENERATION)]
    generation: usize,
    /// Requests before the ones that count.
    #[arg(long, default_value_t = 0)]
    warm_up: u64,
}

struct Driver<'a> {
    session: &'a mut Session,
    target: Target,
    size: u64,
    at: u64,
    in_flight: u64,
}

impl Driver<'_> {
    /// One poll, and what it finished.
    fn turn(&mut self) -> Result<()> {
        self.session.turn();
        while let Some(done) = self.session.store.completion() {
            self.session.store.recycle(done.pages);
            self.in_flight -= 1;
            done.result?;
        }
        Ok(())
    }

    fn submit(&mut self, op: Op) -> Result<()> {
        let stamp = self.at;
        // Data is not made anew for each request, as `qemu-img bench` does not: a block is stamped, its rest stays.
        let mut fill = |_: usize, into: &mut [u8]| into[..8].copy_from_slice(&stamp.to_le_bytes());
        loop {
            match self.session.store.submit(0, self.target, op, &mut fill) {
                Ok(()) => break,
                Err(Error::Busy) => self.turn()?,
                Err(error) => bail!(error),
            }
        }
        self.in_flight += 1;
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        while self.in_flight > 0 {
            self.turn()?;
        }
        Ok(())
    }

    fn requests(&mut self, options: &MeasureOptions, count: u64) -> Result<()> {
        let sectors = options.bytes / 512;
        for n in 1..=count {
            while self.in_flight >= options.depth {
                self.turn()?;
            }
            if self.at + u64::from(options.bytes) > self.size {
                self.at %= self.size;
            }
            let sector = self.at / 512;
            let op = match options.what {
                What::Read => Op::Read { sector, sectors },
                _ => Op::Write { sector, sectors, durable: false },
            };
            self.submit(op)?;
            self.session.store.poll();
            self.at = (self.at + options.step) % self.size;
            if options.flush_every > 0 && n % options.flush_every == 0 {
                self.drain()?;
                self.submit(Op::Flush)?;
                self.drain()?;
            }
            if options.snapshot_amid && n == count / 2 {
                snapshot(self.session, self.target)?;
            }
        }
        self.drain()
    }
}

fn snapshot(session: &mut Session, target: Target) -> Result<()> {
    let Target::Volume(id) = target else { return Ok(()) };
    let name = uuid::Uuid::new_v4();
    session.change(|store| store.snapshot(&[id], &name.to_string(), 0, *name.as_bytes())).map(drop)
}

fn act(session: &mut Session, target: Target, options: &MeasureOptions) -> Result<()> {
    match options.what {
        What::Read | What::Write => {
            let size = session.size(target);
            ensure!(u64::from(options.bytes) <= size && options.bytes.is_multiple_of(512), "not a request");
            let mut driver = Driver { session, target, size, at: 0, in_flight: 0 };
            driver.requests(options, options.count)
        }
        What::Snapshot => snapshot(session, target),
        What::Clone => {
            let name = uuid::Uuid::new_v4().to_string();
            session.change(|store| store.clone_volume(target, &name)).map(drop)
        }
        What::Idle => {
            for _ in 0..options.count {
                session.store.poll();
            }
            Ok(())
        }
    }
}

/// Measures, prints, and leaves the store in order.
pub fn measure(options: &MeasureOptions) -> Result<()> {
    let mut session = Session::open_with(&options.store, true, options.generation)?;
    let target = Target::Volume(session.volume(&options.volume)?);
    if options.warm_up > 0 {
        let size = session.size(target);
        let mut driver = Driver { session: &mut session, target, size, at: 0, in_flight: 0 };
        driver.requests(options, options.warm_up)?;
    }
    if options.settled || options.what == What::Idle {
        session.settle();
    }
    let before = session.store.stats();
    let start = Instant::now();
    act(&mut session, target, options)?;
    let seconds = start.elapsed().as_secs_f64();
    if options.settled {
        session.settle();
    }
    println!("{}", figures(seconds, options, before, session.store.stats()));
    session.close()
}

fn figures(seconds: f64, options: &MeasureOptions, before: Stats, after: Stats) -> String {
    let moves = matches!(options.what, What::Read | What::Write);
    let ops = if moves { options.count } else { 1 };
    format!(
        "{{\"ops\": {ops}, \"seconds\": {seconds:.6}, \"bytes_above\": {}, \"blocks_written\": {}, \
         \"blocks_read\": {}, \"flushes_above\": {}, \"flushes_below\": {}, \"checkpoints\": {}}}",
        after.bytes_written - before.bytes_written,
        after.blocks_written - before.blocks_written,
        after.blocks_read - before.blocks_read,
        after.guest_flushes - before.guest_flushes,
        after.flushes - before.flushes,
        after.checkpoints - before.checkpoints,
    )
}
