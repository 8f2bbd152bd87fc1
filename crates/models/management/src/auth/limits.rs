//! Lock-outs: how long someone has to wait after wrong passwords. A pure model on the host's own time.
//!
//! The first [`FREE`] wrong ones in a row cost nothing; each further one doubles the wait, up to [`LONGEST`]. It is
//! counted by user and network address: who guesses from one address locks nobody out at another.

use super::sessions::millis;
use crate::admission::Source;
use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use api::rest::LockOut;
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
    id: u64,
    who: Try,
    wrong: u32,
    until: Duration,
    last: Duration,
}

/// Wrong tries.
#[derive(Default)]
pub struct Limits {
    remembered: Vec<Remembered>,
    next: u64,
}

impl Remembered {
    fn shown(&self, now: Duration) -> Option<LockOut> {
        let wait = self.until.saturating_sub(now);
        (!wait.is_zero()).then(|| LockOut {
            id: self.id.to_string(),
            user: self.who.user.chars().filter(|c| !c.is_control()).take(32).collect(),
            from: self.who.from.to_string(),
            wrong: self.wrong,
            seconds: millis(wait).div_ceil(1000),
        })
    }
}

impl Limits {
    /// How long it has to wait; zero: it may try.
    pub fn wait(&mut self, who: &Try, now: Duration) -> Duration {
        self.remembered.retain(|each| now.saturating_sub(each.last) < FORGET);
        self.find(who).map_or(Duration::ZERO, |each| each.until.saturating_sub(now))
    }

    /// Who has to wait.
    pub fn lock_outs(&self, now: Duration) -> impl Iterator<Item = LockOut> {
        self.remembered.iter().filter_map(move |each| each.shown(now))
    }

    /// Ends a lock-out, and forgets the wrong ones: what it was.
    pub fn clear(&mut self, id: &str, now: Duration) -> Option<LockOut> {
        let is_it = |each: &Remembered| each.shown(now).is_some_and(|shown| shown.id == id);
        let at = self.remembered.iter().position(is_it)?;
        self.remembered.remove(at).shown(now)
    }

    /// It tried a wrong one.
    pub fn wrong(&mut self, who: &Try, now: Duration) {
        if self.find(who).is_none() {
            if self.remembered.len() >= REMEMBERED_MAX {
                self.remembered.remove(0);
            }
            self.next = self.next.wrapping_add(1);
            let (id, who) = (self.next, who.clone());
            self.remembered.push(Remembered { id, who, wrong: 0, until: now, last: now });
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
