//! `./bramble console NAME`: sits down at the line of the host that `up` runs.

use super::line::socket;
use crate::terminal::{Leave, RawMode, send_keys};
use anyhow::{Context, Result, bail};
use std::io::{Read, Write, stdout};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};
use system::Artifacts;
use system::console::{CTRL_RIGHT_BRACKET, find_menu, keys_for};

/// The stream that everybody starts with.
const HOST_LOG: &str = "host log";

enum Event {
    Keys(Vec<u8>),
    Line(Vec<u8>),
    Ended,
}

/// Attaches the terminal to the guest `name`, or to the host's log.
pub fn attach(at: &Artifacts, name: Option<&str>) -> Result<()> {
    let path = socket(at);
    let stream =
        UnixStream::connect(&path).context("no host is running here: start one with `./bramble up`")?;
    let mut writer = stream.try_clone()?;
    choose(&stream, name.unwrap_or(HOST_LOG))?;
    eprintln!("bramble: Ctrl-] opens the host's console menu; Ctrl-] q leaves");
    let (to, events) = channel();
    let raw = RawMode::enter()?;
    send_keys(to.clone(), Event::Keys);
    let mut reader = stream;
    thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = reader.read(&mut chunk) {
            if to.send(Event::Line(chunk[..count].to_vec())).is_err() {
                return;
            }
        }
        // The terminal's side may have left first.
        let _ = to.send(Event::Ended);
    });
    let mut leave = Leave::default();
    for event in events {
        match event {
            Event::Keys(keys) => {
                let (pass, leaves) = leave.filter(&keys);
                writer.write_all(pass)?;
                if leaves {
                    // The menu is open: give the line back with the host's log on it.
                    writer.write_all(b"0\r")?;
                    break;
                }
            }
            Event::Line(bytes) => {
                stdout().write_all(&bytes)?;
                stdout().flush()?;
            }
            Event::Ended => break,
        }
    }
    drop(raw);
    eprintln!("\nbramble: left the console");
    Ok(())
}

/// Opens the menu, finds `name` on it, and selects it.
fn choose(mut stream: &UnixStream, name: &str) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let start = Instant::now();
    let mut menu = String::new();
    let mut chunk = [0; 4096];
    stream.write_all(&[CTRL_RIGHT_BRACKET])?;
    while start.elapsed() < Duration::from_secs(30) {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => menu.push_str(&String::from_utf8_lossy(&chunk[..count])),
            // A host that has just started did not hear it. Asked twice, it shows the menu twice.
            Err(_) => stream.write_all(&[CTRL_RIGHT_BRACKET])?,
        }
        if let Some((streams, _)) = find_menu(&menu) {
            let keys = keys_for(&streams, name);
            let keys =
                keys.with_context(|| format!("the host has no {name}; it has {}", streams.join(", ")))?;
            stream.write_all(keys.as_bytes())?;
            stream.set_read_timeout(None)?;
            return Ok(());
        }
    }
    bail!("the host shows no menu:\n{menu}")
}
