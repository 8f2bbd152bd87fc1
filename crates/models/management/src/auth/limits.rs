//! Lock-outs: how long someone has to wait after wrong passwords. A pure model on the host's own time.
//!
//! The first [`FREE`] wrong ones in a row cost nothing; each further one doubles the wait, up to [`LONGEST`]. It is
//! counted by user and network address: who guesses from one address locks nobody out at another.

use crate::admission::Source;
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// Wrong passwords in a row that cost nothing.
pub const FREE: u32 = 4;
/// The longest wait.
pub const LONGEST: Duration = Duration::from_secs(300);
/// After so long without a try, all is forgotten.
pub const FORGET: Duration = Duration::from_secs(900);
/// Most that are remembered; the oldest gives way.
const REMEMBERED_MAX: usize = 256;

/// Who tries, and where from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Try {
    user: String,
    from: Source,
}

impl Try {
    /// Of this user, from this address.
    pub fn new(user: &str, from: Source) -> Self {
        Self { user: user.to_owned(), from }
    }
}

struct Remembered {
    who: Try,
    wrong: u32,
    until: Duration,
    last: Duration,
}

/// Wrong tries.
#[derive(Default)]
pub struct Limits {
    remembered: Vec<Remembered>,
}

impl Limits {
    /// How long it has to wait; zero: it may try.
    pub fn wait(&mut self, who: &Try, now: Duration) -> Duration {
        self.remembered.retain(|each| now.saturating_sub(each.last) < FORGET);
        self.find(who).map_or(Duration::ZERO, |each| each.until.saturating_sub(now))
    }

    /// It tried a wrong one.
    pub fn wrong(&mut self, who: &Try, now: Duration) {
        if self.find(who).is_none() {
            if self.remembered.len() >= REMEMBERED_MAX {
                self.remembered.remove(0);
            }
            self.remembered.push(Remembered { who: who.clone(), wrong: 0, until: now, last: now });
        }
        let Some(each) = self.find(who) else { return };
        each.wrong = each.wrong.saturating_add(1);
        each.last = now;
        let doublings = each.wrong.saturating_sub(FREE);
        if doublings > 0 {
            let wait = Duration::from_secs(1_u64 << doublings.min(16)).min(LONGEST);
            each.until = now.saturating_add(wait);
        }
    }

    /// It tried the right one.
    pub fn right(&mut self, who: &Try) {
        self.remembered.retain(|each| each.who != *who);
    }

    fn find(&mut self, who: &Try) -> Option<&mut Remembered> {
        self.remembered.iter_mut().find(|each| each.who == *who)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::IpAddr;

    const SECOND: Duration = Duration::from_secs(1);

    fn who(last: u8) -> Try {
        Try::new("admin", IpAddr::from([192, 0, 2, last]).into())
    }

    #[test]
    fn waits_double_and_are_bounded() {
        let mut limits = Limits::default();
        let mut now = Duration::ZERO;
        let mut waits = Vec::new();
        for _ in 0..14 {
            limits.wrong(&who(1), now);
            let wait = limits.wait(&who(1), now);
            waits.push(wait.as_secs());
            now += wait;
        }
        assert_eq!(waits, [0, 0, 0, 0, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }

    #[test]
    fn another_address_is_not_locked_out_and_a_right_one_forgives() {
        let mut limits = Limits::default();
        for _ in 0..10 {
            limits.wrong(&who(1), SECOND);
        }
        assert!(limits.wait(&who(1), SECOND) > Duration::ZERO);
        assert_eq!(limits.wait(&who(2), SECOND), Duration::ZERO);
        limits.right(&who(1));
        assert_eq!(limits.wait(&who(1), SECOND), Duration::ZERO);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut limits = Limits::default();
        for number in 0..10_000_u32 {
            limits.wrong(&Try::new("a", IpAddr::from(number.to_be_bytes()).into()), SECOND);
        }
        assert_eq!(limits.remembered.len(), REMEMBERED_MAX);
        assert_eq!(limits.wait(&who(1), SECOND + FORGET), Duration::ZERO);
        assert!(limits.remembered.is_empty());
    }
}
