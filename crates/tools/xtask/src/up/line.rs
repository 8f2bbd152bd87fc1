//! One serial line, two places to sit at it: the terminal of `up`, and whoever attaches by `./bramble console`.
//!
//! As with a real cable there is one line: while somebody is attached, its bytes go there and not to `up`'s terminal.
//! One loop owns the machine; threads bring it events.

use crate::run::seconds;
use crate::terminal::{Leave, RawMode, send_keys};
use anyhow::{Context, Result};
use std::fs;
use std::io::{Read, Write, stdout};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;
use system::serial::Tap;
use system::{Artifacts, Machine, MachineConfig};

/// Where `./bramble console` finds the line.
pub fn socket(at: &Artifacts) -> PathBuf {
    at.run().join("console.socket")
}

enum Event {
    Keys(Vec<u8>),
    Attached(UnixStream),
    AttachedKeys(Vec<u8>),
    Detached,
    Ended,
}

/// Who sees what the machine says.
#[derive(Clone, Default)]
struct Viewer(Arc<Mutex<Option<UnixStream>>>);

impl Viewer {
    fn lock(&self) -> MutexGuard<'_, Option<UnixStream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tap(&self, to: Sender<Event>) -> Tap {
        let viewer = self.clone();
        // Sends once the reader of the serial line lets go of its tap, which it does at the line's end.
        let ended = Ended(to);
        Box::new(move |bytes| {
            let _ = &ended;
            // A viewer that has just left, or a closed standard output, must not stop the machine.
            let _ = match &mut *viewer.lock() {
                Some(stream) => stream.write_all(bytes),
                None => stdout().write_all(bytes).and_then(|()| stdout().flush()),
            };
        })
    }
}

struct Ended(Sender<Event>);

impl Drop for Ended {
    fn drop(&mut self) {
        // Nobody listens once `serve` has returned.
        let _ = self.0.send(Event::Ended);
    }
}

/// Runs the machine with its line on the terminal, until it powers off or the person leaves.
/// `port`: where the host's API is.
pub fn serve(at: &Artifacts, config: &MachineConfig, port: Option<u16>) -> Result<ExitCode> {
    let path = socket(at);
    if path.exists() {
        fs::remove_file(&path)?;
    }
    let listener =
        UnixListener::bind(&path).with_context(|| format!("can't listen at {}", path.display()))?;
    let (to, events) = channel();
    let viewer = Viewer::default();
    let start = Instant::now();
    eprintln!("bramble: booting {} with {} PEs, {} MiB", config.board, config.cpus, config.memory_mib);
    if let Some(port) = port {
        eprintln!("bramble: soon, in a browser: https://127.0.0.1:{port}/");
        eprintln!(
            "bramble: the fingerprint of the host's CA and the password of the first login are in its log."
        );
        eprintln!("bramble: by the command line: bramblectl context add up https://127.0.0.1:{port} \\");
        eprintln!(
            "bramble:     --server-name bramble.local --fingerprint THE-FINGERPRINT, then bramblectl login"
        );
    }
    eprintln!("bramble: Ctrl-] opens the host's console menu; Ctrl-] q ends the machine");
    let mut machine = Machine::start_with_tap(config, Some(viewer.tap(to.clone())))?;
    let raw = RawMode::enter()?;
    send_keys(to.clone(), Event::Keys);
    let accepted = to.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if accepted.send(Event::Attached(stream)).is_err() {
                break;
            }
        }
    });
    let mut leave = Leave::default();
    for event in events {
        match event {
            Event::Keys(keys) => {
                let (pass, leaves) = leave.filter(&keys);
                if viewer.lock().is_none() {
                    machine.send_bytes(pass)?;
                }
                if leaves {
                    break;
                }
            }
            Event::AttachedKeys(keys) => machine.send_bytes(&keys)?,
            Event::Attached(stream) => seat(stream, &viewer, &to)?,
            Event::Detached => {
                *viewer.lock() = None;
                eprint!("bramble: the line is back here\r\n");
            }
            Event::Ended => break,
        }
    }
    drop(raw);
    // The file may be gone with target/.
    let _ = fs::remove_file(&path);
    eprintln!("\nbramble: the machine ended after {}", seconds(start.elapsed()));
    Ok(ExitCode::SUCCESS)
}

/// Gives the line to `stream`, unless somebody has it.
fn seat(mut stream: UnixStream, viewer: &Viewer, to: &Sender<Event>) -> Result<()> {
    let mut seat = viewer.lock();
    if seat.is_some() {
        // Whoever is turned away may have gone already.
        let _ = stream.write_all(b"bramble: the line is in use by another console\r\n");
        return Ok(());
    }
    eprint!("bramble: somebody is at the line with `./bramble console`\r\n");
    *seat = Some(stream.try_clone()?);
    let to = to.clone();
    thread::spawn(move || {
        let mut chunk = [0; 256];
        while let Ok(count @ 1..) = stream.read(&mut chunk) {
            if to.send(Event::AttachedKeys(chunk[..count].to_vec())).is_err() {
                return;
            }
        }
        // As above: `serve` may have returned.
        let _ = to.send(Event::Detached);
    });
    Ok(())
}
