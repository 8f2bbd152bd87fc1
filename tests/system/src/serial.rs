//! What the other side of a serial line has said so far, and waiting for it to say something.
//!
//! Called by [`crate::Machine`]. One thread reads the line; [`Transcript::expect`] moves a cursor over its text, so
//! that each expectation looks only at what came after the one before.

use anyhow::{Result, bail};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Receives every byte of the line as it comes.
pub type Tap = Box<dyn FnMut(&[u8]) + Send>;

/// What one types at, and what answers.
pub trait Terminal {
    /// See [`Transcript::expect_match`].
    fn expect_match(
        &mut self,
        what: &str,
        within: Duration,
        find: &dyn Fn(&str) -> Option<usize>,
    ) -> Result<String>;

    /// Types `text`.
    fn send(&mut self, text: &str) -> Result<()>;

    /// Waits until it says `text`, and returns what came before it.
    fn expect(&mut self, text: &str, within: Duration) -> Result<String> {
        self.expect_match(text, within, &|heard| heard.find(text).map(|at| at + text.len()))
    }
}

#[derive(Default)]
struct Heard {
    bytes: Vec<u8>,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    heard: Mutex<Heard>,
    more: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The text of a serial line.
pub struct Transcript {
    shared: Arc<Shared>,
    cursor: usize,
}

impl Transcript {
    /// Starts to read `line`, keeping a copy in the file `log`.
    pub fn start(mut line: impl Read + Send + 'static, log: &Path, mut tap: Option<Tap>) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut log = File::create(log)?;
        let writer = Arc::clone(&shared);
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = line.read(&mut chunk) {
                let new = &chunk[..count];
                if let Some(tap) = &mut tap {
                    tap(new);
                }
                // A full disk must not stop the run: the log is a convenience.
                let _ = log.write_all(new);
                writer.lock().bytes.extend_from_slice(new);
                writer.more.notify_all();
            }
            writer.lock().ended = true;
            writer.more.notify_all();
        });
        Ok(Self { shared, cursor: 0 })
    }

    /// Waits until `text` comes, and returns everything from the last expectation up to and with it.
    pub fn expect(&mut self, text: &str, within: Duration) -> Result<String> {
        let wanted = text.to_owned();
        self.expect_match(text, within, |heard| heard.find(&wanted).map(|at| at + wanted.len()))
    }

    /// Waits until `find`, given the text not yet consumed, says where the awaited thing ends.
    pub fn expect_match(
        &mut self,
        what: &str,
        within: Duration,
        find: impl Fn(&str) -> Option<usize>,
    ) -> Result<String> {
        let deadline = Instant::now() + within;
        let mut heard = self.shared.lock();
        loop {
            // Bytes outside ASCII become one character each, so that positions in text and bytes agree.
            let text: String = heard.bytes[self.cursor..]
                .iter()
                .map(|&b| if b.is_ascii() { b as char } else { '?' })
                .collect();
            if let Some(end) = find(&text) {
                self.cursor += end;
                return Ok(text[..end].to_owned());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if heard.ended {
                bail!("the machine ended without saying {what:?}; its last lines:\n{}", tail(&text));
            }
            if left.is_zero() {
                bail!("no {what:?} within {} s; the last lines:\n{}", within.as_secs(), tail(&text));
            }
            heard = self.shared.more.wait_timeout(heard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Everything said so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.shared.lock().bytes).into_owned()
    }

    /// Waits until the other side closes the line.
    pub fn wait_end(&self, within: Duration) -> bool {
        let heard = self.shared.lock();
        let waited = self.shared.more.wait_timeout_while(heard, within, |heard| !heard.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].iter().map(|line| format!("    {}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcript(said: &'static [u8]) -> Transcript {
        Transcript::start(said, Path::new("/dev/null"), None).unwrap()
    }

    #[test]
    fn expectations_go_forward_only() {
        let mut line = transcript(b"one\ntwo\xff\none\n");
        let limit = Duration::from_secs(10);
        assert_eq!(line.expect("two", limit).unwrap(), "one\ntwo");
        assert_eq!(line.expect("one", limit).unwrap(), "?\none");
        let missing = line.expect("one", limit).unwrap_err().to_string();
        assert!(missing.contains("ended without saying"), "{missing}");
    }
}
