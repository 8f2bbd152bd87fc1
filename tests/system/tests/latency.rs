//! How long a byte of a console takes through a host that hashes passwords, by the machine's own time.
//!
//! Instructions are counted, a nanosecond each, on one PE. QEMU notes every frame of the uplink with the machine's time: what
//! counts is the time from the frame that brings a typed byte to the one that takes the guest's echo of it away, which is
//! two ways through hostd and the guest in between. Nine in ten are looked at: QEMU carries frames in a thread of its own,
//! and while that one waits for the machine it runs on, the PE's time goes on. A hash that held hostd up would hold up all.

use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use system::Board;
use system::cli::{Cli, free_port};
use system::https::{Client, Link};
use system::scene::on;

const PASSWORD: &str = "four words will do";
/// Bad logins at a time.
const LOGINS: usize = 20;
/// The longest time that a byte may take.
const MOST_US: u64 = 50_000;
/// Bytes that are typed at least.
const TYPED: usize = 20;

/// Types a byte, and waits for its echo.
fn echo(console: &mut Link) -> Result<()> {
    console.send(b'x')?;
    while !console.next_frame()?.contains(&b'x') {}
    Ok(())
}

/// Every byte that is typed while passwords are hashed; how many.
fn type_meanwhile(console: &mut Link, logins: Vec<Link>) -> Result<usize> {
    let left = AtomicUsize::new(logins.len());
    thread::scope(|scope| {
        let left = &left;
        let log_in = |(number, mut link): (usize, Link)| {
            scope.spawn(move || {
                let body = format!(r#"{{"user":"nobody-{number}","password":"a guess that is wrong"}}"#);
                let status = link.ask("POST /api/v1/session HTTP/1.1", "", &body);
                left.fetch_sub(1, Ordering::Relaxed);
                status
            })
        };
        let logins: Vec<_> = logins.into_iter().enumerate().map(log_in).collect();
        let mut typed = 0;
        while left.load(Ordering::Relaxed) > 0 {
            echo(console)?;
            typed += 1;
        }
        for login in logins {
            let status = login.join().ok().context("a client")??;
            ensure!(status == 401, "a bad login is answered by {status}");
        }
        Ok(typed)
    })
}

#[test]
fn twenty_bad_logins_do_not_hold_up_a_console() -> Result<()> {
    let mut scene = on(Board::VirtGicv3, "latency").cpus(1).menu().test_guest("echo", 1, "echo")?;
    let (port, frames) = (free_port(0)?, scene.file("frames")?);
    scene.config.uplink = true;
    scene.config.forwards = vec![(port, 443)];
    // Waiting takes real time: the clients are outside.
    let dump = format!("filter-dump,id=frames,netdev=uplink,file={}", frames.display());
    scene.config.extra = ["-icount", "shift=0,sleep=on", "-object", &dump].map(Into::into).to_vec();
    let cli = Cli::new(&scene.file("contexts.json")?);
    let mut machine = scene.start()?;
    let fingerprint = cli.trust(&mut machine, port)?;
    cli.log_in_first(&machine, PASSWORD)?;
    let secret = cli.run(&["token", "create", "clients", "--role", "administrator"], "")?;
    let lines = format!("Authorization: Bearer {}\r\n", secret.trim());
    let client = Client::new(port, &fingerprint)?;
    let mut console = client.open()?;
    console.websocket("/api/v1/vms/echo/consoles/uart", &lines)?;
    // Each has shown a token, so that none gives way to another: all twenty are hashed.
    let mut logins = Vec::new();
    for _ in 0..LOGINS {
        let mut link = client.open()?;
        ensure!(link.ask("GET /api/v1/session HTTP/1.1", &lines, "")? == 200, "the token is not known");
        logins.push(link);
    }
    echo(&mut console)?;
    let typed = type_meanwhile(&mut console, logins)?;
    let port = console.port()?;
    drop(machine);
    let mut took = echoes(&frames, port)?.split_off(1);
    took.drain(..took.len().saturating_sub(typed));
    ensure!(typed >= TYPED && took.len() == typed, "{} of {typed} bytes were seen", took.len());
    took.sort_unstable();
    let [median, most, longest] = [typed / 2, typed * 9 / 10, typed - 1].map(|at| took[at]);
    println!(
        "{typed} bytes while {LOGINS} passwords were hashed: median {median} us, nine in ten {most} us, longest {longest} us"
    );
    ensure!(most <= MOST_US, "one byte in ten took over {most} us");
    Ok(std::fs::remove_file(frames)?)
}

/// Microseconds from each frame with data of the client at `port` to the host's next one with data for it.
fn echoes(path: &Path, port: u16) -> Result<Vec<u64>> {
    let file = std::fs::read(path)?;
    // libpcap's format: a header of 24 bytes, then seconds, microseconds, bytes and again bytes before each frame.
    let mut rest = file.get(24..).context("no frames")?;
    let (mut took, mut since) = (Vec::new(), None);
    while let Some((head, frames)) = rest.split_first_chunk::<16>() {
        let [seconds, micros, bytes, _] =
            [0, 4, 8, 12].map(|at| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
        // QEMU was killed: the last one may not be whole.
        let Some((frame, next)) = frames.split_at_checked(bytes as usize) else { break };
        rest = next;
        let now = u64::from(seconds) * 1_000_000 + u64::from(micros);
        match direction(frame, port) {
            Some(true) => since = since.or(Some(now)),
            Some(false) => took.extend(since.take().map(|since: u64| now - since)),
            None => {}
        }
    }
    Ok(took)
}

/// Whether a frame brings data of the client at `port` to the host, or data for it from there; `None`: neither.
fn direction(frame: &[u8], port: u16) -> Option<bool> {
    // Ethernet's type IPv4, protocol TCP.
    if frame.get(12..14)? != [8, 0] || *frame.get(23)? != 6 {
        return None;
    }
    let packet = &frame[14..];
    let word = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let ip = usize::from(packet[0] & 15) * 4;
    let tcp = usize::from(*packet.get(ip + 12)? >> 4) * 4;
    if usize::from(word(2)?) == ip + tcp {
        return None;
    }
    match (word(ip)?, word(ip + 2)?) {
        (from, 443) if from == port => Some(true),
        (443, to) if to == port => Some(false),
        _ => None,
    }
}
