//! A VM's console: what is typed goes there, what it says comes here. It comes back after a break and misses nothing that
//! the host remembers.

use super::client::Client;
use super::connection::Connection;
use super::websocket::{next_frame, write_frame};
use crate::system::terminal;
use anyhow::{Result, bail};
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

/// Ctrl-].
const LEAVE: u8 = 0x1d;
/// How often a lost connection is tried again.
const TRIES: u32 = 30;
/// After so long a silence the host is asked whether it is there: where hostd was restarted, nobody is at the other end of
/// this connection, and nobody says so to who only listens.
const SILENCE: Duration = Duration::from_secs(3);
/// Without an answer for so long the connection is taken for lost.
const LOST: Duration = Duration::from_secs(20);

/// Is at the console until Ctrl-], or the end of what is typed; with `log`, prints what the host remembers.
pub fn attend(client: &Client, vm: &str, console: &str, log: bool) -> Result<()> {
    let path = format!("/api/v1/vms/{vm}/consoles/{console}");
    if log {
        return print_log(client, &path);
    }
    let (sender, keys) = channel();
    let raw = terminal::raw()?;
    // Ends with the program: nothing can end a read of a terminal.
    std::thread::spawn(move || {
        let mut piece = [0; 512];
        while let Ok(read @ 1..) = io::stdin().read(&mut piece) {
            if sender.send(piece[..read].to_vec()).is_err() {
                return;
            }
        }
    });
    let mut at = 0;
    let mut failed = 0;
    let ended = loop {
        match session(client, &format!("{path}?from={at}"), &keys, &mut at) {
            Ok(()) => break Ok(()),
            Err(Lost::For(error)) => break Err(error),
            Err(Lost::Connection(told)) => {
                failed = if told { 0 } else { failed + 1 };
                if failed > TRIES {
                    break Err(anyhow::anyhow!("the host is gone: try again when it is back"));
                }
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    };
    drop(raw);
    eprintln!();
    ended
}

/// Why a session ended that was not meant to.
enum Lost {
    /// The connection; whether it had said anything.
    Connection(bool),
    /// Something that trying again does not mend.
    For(anyhow::Error),
}

fn session(client: &Client, path: &str, keys: &Receiver<Vec<u8>>, at: &mut u64) -> Result<(), Lost> {
    let (mut connection, mut bytes) = client.websocket(path).map_err(|error| {
        if error.downcast_ref::<io::Error>().is_some() { Lost::Connection(false) } else { Lost::For(error) }
    })?;
    connection.set_patience(Duration::from_millis(20)).map_err(Lost::For)?;
    let mut told = false;
    let (mut heard, mut asked) = (Instant::now(), false);
    loop {
        match heard.elapsed() {
            silent if silent > LOST => return Err(Lost::Connection(told)),
            silent if silent > SILENCE && !asked => {
                write_frame(&mut connection, 9, &[]).map_err(|_| Lost::Connection(told))?;
                asked = true;
            }
            _ => {}
        }
        match keys.try_recv() {
            Ok(typed) => {
                let (before, leaves) = match typed.iter().position(|key| *key == LEAVE) {
                    Some(end) => (&typed[..end], true),
                    None => (&typed[..], false),
                };
                for piece in before.chunks(1024) {
                    write_frame(&mut connection, 2, piece).map_err(|_| Lost::Connection(told))?;
                }
                if leaves {
                    let _ = write_frame(&mut connection, 8, &1000_u16.to_be_bytes());
                    return Ok(());
                }
            }
            // What is piped in has ended: a last look at what the console says to it.
            Err(TryRecvError::Disconnected) => {
                let _ = read_for(&mut connection, &mut bytes, at, Duration::from_millis(500));
                return Ok(());
            }
            Err(TryRecvError::Empty) => {}
        }
        match receive(&mut connection, &mut bytes, at) {
            Ok(true) => (told, heard, asked) = (true, Instant::now(), false),
            Ok(false) => {}
            Err(Ended::Refused) => {
                return Err(Lost::For(anyhow::anyhow!("the host ended it: may you type here?")));
            }
            Err(Ended::Gone) => return Err(Lost::Connection(told)),
        }
    }
}

fn read_for(
    connection: &mut Connection,
    bytes: &mut Vec<u8>,
    at: &mut u64,
    time: Duration,
) -> Result<(), Ended> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        receive(connection, bytes, at)?;
    }
    Ok(())
}

enum Ended {
    Gone,
    Refused,
}

/// Takes what has come; whether anything has.
fn receive(connection: &mut Connection, bytes: &mut Vec<u8>, at: &mut u64) -> Result<bool, Ended> {
    let mut piece = [0; 4096];
    match connection.read(&mut piece) {
        Ok(0) => return Err(Ended::Gone),
        Ok(read) => bytes.extend_from_slice(&piece[..read]),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
        Err(_) => return Err(Ended::Gone),
    }
    let mut any = false;
    while let Some((opcode, payload)) = next_frame(bytes) {
        any = true;
        match opcode {
            1 => {
                let told: Option<serde_json::Value> = serde_json::from_slice(&payload).ok();
                *at = told.and_then(|told| told["offset"].as_u64()).unwrap_or(*at);
            }
            2 => {
                *at += payload.len() as u64;
                let mut out = io::stdout().lock();
                out.write_all(&payload).and_then(|()| out.flush()).map_err(|_| Ended::Gone)?;
            }
            8 if payload == 1008_u16.to_be_bytes() => return Err(Ended::Refused),
            8 => return Err(Ended::Gone),
            9 => write_frame(connection, 10, &payload).map_err(|_| Ended::Gone)?,
            _ => {}
        }
    }
    Ok(any)
}

fn print_log(client: &Client, path: &str) -> Result<()> {
    let mut at = 0;
    loop {
        let answer = client.send("GET", &format!("{path}?from={at}"), "", &[])?;
        let next = answer.header("x-bramble-next").and_then(|next| next.parse().ok());
        io::stdout().lock().write_all(&answer.body)?;
        match next {
            Some(next) if next > at && !answer.body.is_empty() => at = next,
            Some(_) => return Ok(()),
            None => bail!("the host does not say where its console is: it is of another version"),
        }
    }
}
