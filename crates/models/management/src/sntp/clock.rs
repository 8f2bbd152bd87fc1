//! When to ask which server. A state machine over the host's uptime.

use super::Refusal;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use api::rest::NtpServer;
use core::time::Duration;

/// An answer is waited for so long.
pub const ANSWER: Duration = Duration::from_secs(3);
/// After a good answer.
const CALM: Duration = Duration::from_secs(1024);
/// After a round of all servers without one: at first, and at most.
const FIRST: Duration = Duration::from_secs(16);
const MOST: Duration = CALM;

/// Who is asked next.
#[derive(Default)]
pub struct Clock {
    servers: Vec<Entry>,
    at: usize,
    pause: Duration,
}

struct Entry {
    shown: NtpServer,
    /// It said that it does not want to be asked by us (RFC 5905, 7.4: `DENY`, `RSTR`).
    is_closed: bool,
}

/// What to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// Ask this one.
    Ask(String),
    /// Wait; whom to ask is asked again then.
    Wait(Duration),
    /// Nobody is to be asked until the settings are others.
    Never,
}

impl Clock {
    /// Over the servers of the settings.
    pub fn new(servers: &[String]) -> Self {
        let entry = |server: &String| Entry {
            shown: NtpServer {
                server: server.clone(),
                state: String::from("not-asked"),
                asked_at: None,
                offset_ms: None,
            },
            is_closed: false,
        };
        Self { servers: servers.iter().map(entry).collect(), at: 0, pause: FIRST }
    }

    /// For the API.
    pub fn shown(&self) -> Vec<NtpServer> {
        self.servers.iter().map(|entry| entry.shown.clone()).collect()
    }

    /// What to do now, at the beginning or when a wait is over.
    pub fn step(&mut self) -> Next {
        if self.servers.iter().all(|entry| entry.is_closed) {
            return Next::Never;
        }
        while self.servers.get(self.at).is_some_and(|entry| entry.is_closed) {
            self.at = self.at.saturating_add(1);
        }
        match self.servers.get(self.at) {
            Some(entry) => Next::Ask(entry.shown.server.clone()),
            None => {
                // A round without an answer is over.
                self.at = 0;
                let pause = self.pause;
                self.pause = self.pause.saturating_mul(2).min(MOST);
                Next::Wait(pause)
            }
        }
    }

    /// The one that was asked has said the time. It is asked again, before any other, after this.
    pub fn took(&mut self, now: Duration, offset_ms: i64) -> Duration {
        self.note(now, "good".to_string(), Some(offset_ms));
        self.pause = FIRST;
        CALM
    }

    /// It has not; the next one's turn.
    pub fn failed(&mut self, now: Duration, why: String) {
        self.note(now, why, None);
        self.at = self.at.saturating_add(1);
    }

    /// It answered what can't be taken.
    pub fn refused(&mut self, now: Duration, why: Refusal) {
        if let Refusal::Kiss(code) = why {
            match &code {
                b"DENY" | b"RSTR" => {
                    self.servers.get_mut(self.at).into_iter().for_each(|entry| entry.is_closed = true)
                }
                // `RATE` and what else there is: from now on as seldom as at all.
                _ => self.pause = MOST,
            }
        }
        self.failed(now, why.to_string());
    }

    fn note(&mut self, now: Duration, state: String, offset_ms: Option<i64>) {
        let Some(entry) = self.servers.get_mut(self.at) else { return };
        entry.shown.state = state;
        entry.shown.asked_at = Some(now.as_secs());
        entry.shown.offset_ms = offset_ms.or(entry.shown.offset_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Clock {
        Clock::new(&["a".into(), "b".into()])
    }

    fn ask(server: &str) -> Next {
        Next::Ask(server.into())
    }

    #[test]
    fn without_servers_nobody_is_asked() {
        assert_eq!(Clock::new(&[]).step(), Next::Never);
    }

    #[test]
    fn servers_are_asked_in_turn_and_more_seldom_with_each_round() {
        let mut clock = clock();
        let mut waits = Vec::new();
        for _ in 0..9 {
            assert_eq!(clock.step(), ask("a"));
            clock.failed(Duration::ZERO, "silent".into());
            assert_eq!(clock.step(), ask("b"));
            clock.failed(Duration::ZERO, "silent".into());
            let Next::Wait(time) = clock.step() else { panic!("a round is over") };
            waits.push(time.as_secs());
        }
        assert_eq!(waits, [16, 32, 64, 128, 256, 512, 1024, 1024, 1024]);
    }

    #[test]
    fn who_answers_stays_the_one_that_is_asked() {
        let mut clock = clock();
        clock.failed(Duration::ZERO, "silent".into());
        assert_eq!(clock.took(Duration::from_secs(5), -12), Duration::from_secs(1024));
        assert_eq!(clock.step(), ask("b"));
        let shown = clock.shown();
        assert_eq!((shown[0].state.as_str(), shown[1].state.as_str()), ("silent", "good"));
        assert_eq!((shown[1].asked_at, shown[1].offset_ms), (Some(5), Some(-12)));
    }

    #[test]
    fn who_does_not_want_to_be_asked_is_not() {
        let mut clock = clock();
        clock.refused(Duration::ZERO, Refusal::Kiss(*b"DENY"));
        clock.refused(Duration::ZERO, Refusal::Kiss(*b"RATE"));
        assert_eq!(clock.step(), Next::Wait(Duration::from_secs(1024)));
        assert_eq!(clock.step(), ask("b"));
        clock.refused(Duration::ZERO, Refusal::Kiss(*b"RSTR"));
        assert_eq!(clock.step(), Next::Never);
    }
}
