//! The person's terminal, handed byte by byte to a guest and back to normal afterwards.

use anyhow::Result;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{IsTerminal, Read, stdin};
use std::sync::mpsc::Sender;
use std::thread;

/// Raw mode, until dropped. Nothing happens where the input is not a terminal.
pub struct RawMode(Option<Termios>);

impl RawMode {
    /// Switches echo, lines and signals of the terminal off: Ctrl-C goes to the guest.
    pub fn enter() -> Result<Self> {
        if !stdin().is_terminal() {
            return Ok(Self(None));
        }
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        // A line feed of the host alone still returns the carriage.
        raw.output_modes = before.output_modes;
        tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        Ok(Self(Some(before)))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // The terminal may be gone, and then nothing is left to restore.
            let _ = tcsetattr(stdin(), OptionalActions::Now, before);
        }
    }
}

/// Sends the keys pressed as they come, as events of whoever listens.
pub fn send_keys<E: Send + 'static>(to: Sender<E>, event: impl Fn(Vec<u8>) -> E + Send + 'static) {
    thread::spawn(move || {
        let mut chunk = [0; 256];
        while let Ok(count @ 1..) = stdin().lock().read(&mut chunk) {
            if to.send(event(chunk[..count].to_vec())).is_err() {
                break;
            }
        }
    });
}

/// What a chunk of keys asks of us rather than of the machine: after Ctrl-] (which the machine gets too, for its
/// menu) the key `q` leaves.
#[derive(Default)]
pub struct Leave {
    after_escape: bool,
}

impl Leave {
    /// Returns the keys to pass on, and whether to leave.
    pub fn filter<'a>(&mut self, keys: &'a [u8]) -> (&'a [u8], bool) {
        for (n, key) in keys.iter().enumerate() {
            if self.after_escape && matches!(key, b'q' | b'Q') {
                return (&keys[..n], true);
            }
            self.after_escape = *key == system::console::CTRL_RIGHT_BRACKET;
        }
        (keys, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_q_right_after_the_menu_key_leaves() {
        let mut leave = Leave::default();
        assert_eq!(leave.filter(b"quit"), (&b"quit"[..], false));
        assert_eq!(leave.filter(b"a\x1d"), (&b"a\x1d"[..], false));
        assert_eq!(leave.filter(b"1q"), (&b"1q"[..], false));
        assert_eq!(leave.filter(b"\x1dq"), (&b"\x1d"[..], true));
        let mut leave = Leave::default();
        leave.filter(b"\x1d");
        assert_eq!(leave.filter(b"q"), (&b""[..], true));
    }
}
