//! The host's wall clock: the board's own, what the datastore kept, and what a world sets that asked others.
//!
//! Time never goes below the greatest of the build's date and the last time that was kept (design §9 "Time"). It is a
//! distance to the physical counter: one word. Lock-outs and sessions go by monotonic time and do not come here.
//! Called by: `host`; `calls` sets it, `home` keeps it.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const SECOND: u64 = 1_000_000_000;
/// Time never goes below this: 2026-11-23.
const BUILD_SECONDS: u64 = 1_795_392_000;

/// The wall clock.
#[derive(Debug)]
pub struct WallClock {
    /// Nanoseconds since 1970 when the host started.
    at_start: AtomicU64,
    /// The board has one of its own.
    has_board: bool,
    /// It is known to be right.
    is_right: AtomicBool,
    /// Seconds since 1970 that it may not go below.
    floor: AtomicU64,
}

impl WallClock {
    /// With what the board's own clock says, if it has one.
    pub fn new(board: Option<u64>) -> Self {
        let seconds = board.unwrap_or(BUILD_SECONDS).max(BUILD_SECONDS);
        Self {
            at_start: AtomicU64::new(seconds.saturating_mul(SECOND)),
            has_board: board.is_some(),
            is_right: AtomicBool::new(false),
            floor: AtomicU64::new(BUILD_SECONDS),
        }
    }

    /// Nanoseconds since 1970 after `uptime` nanoseconds.
    pub fn at(&self, uptime: u64) -> u64 {
        self.at_start.load(Ordering::Relaxed).saturating_add(uptime)
    }

    /// Whether the board has a clock that goes on while the host is off.
    pub const fn has_board(&self) -> bool {
        self.has_board
    }

    /// Whether somebody who knows has set it.
    pub fn is_right(&self) -> bool {
        self.is_right.load(Ordering::Relaxed)
    }

    /// It was `unix` nanoseconds after 1970 after `uptime` nanoseconds; false where that is before what was known.
    pub fn set(&self, unix: u64, uptime: u64) -> bool {
        let Some(at_start) = unix.checked_sub(uptime) else { return false };
        if unix / SECOND < self.floor.load(Ordering::Relaxed) {
            return false;
        }
        self.at_start.store(at_start, Ordering::Relaxed);
        self.is_right.store(true, Ordering::Relaxed);
        true
    }

    /// It was at least so many seconds after 1970 when the host ran last.
    pub fn was(&self, seconds: u64, uptime: u64) {
        self.floor.fetch_max(seconds, Ordering::Relaxed);
        if self.at(uptime) / SECOND < seconds {
            let at_start = seconds.saturating_mul(SECOND).saturating_sub(uptime);
            self.at_start.store(at_start, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BUILD_SECONDS, SECOND, WallClock};

    #[test]
    fn it_goes_on_from_what_is_known_and_never_below() {
        let clock = WallClock::new(Some(5));
        assert_eq!(clock.at(7), BUILD_SECONDS * SECOND + 7);
        assert!(!clock.is_right());
        // What the datastore kept is later: time goes on from there.
        clock.was(BUILD_SECONDS + 1000, 10 * SECOND);
        assert_eq!(clock.at(11 * SECOND), (BUILD_SECONDS + 1001) * SECOND);
        assert!(!clock.is_right(), "a time that was kept is late by as long as the host was off");
        // And earlier than what is known: nothing changes.
        clock.was(BUILD_SECONDS + 500, 12 * SECOND);
        assert_eq!(clock.at(12 * SECOND), (BUILD_SECONDS + 1002) * SECOND);
        assert!(!clock.set((BUILD_SECONDS + 999) * SECOND, 12 * SECOND), "before a time that was kept");
        assert!(!clock.set(3, 12 * SECOND));
        assert!(clock.set((BUILD_SECONDS + 1000) * SECOND + 5, 12 * SECOND));
        assert!(clock.is_right());
        assert_eq!(clock.at(13 * SECOND), (BUILD_SECONDS + 1001) * SECOND + 5);
        assert_eq!(WallClock::new(Some(BUILD_SECONDS + 9)).at(0), (BUILD_SECONDS + 9) * SECOND);
        assert_eq!(WallClock::new(None).at(0), BUILD_SECONDS * SECOND);
    }
}
