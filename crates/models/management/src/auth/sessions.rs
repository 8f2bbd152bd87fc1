//! Sessions, as they are kept in `run:sessions`: they outlive hostd, not the host.
//!
//! Time is the host's since its start: no clock that is set ends or lengthens a session.

use crate::secret;
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// Most sessions; the one that was idle longest goes for a new one.
pub const SESSIONS_MAX: usize = 64;
/// A session ends when nothing was asked for so long.
pub const IDLE: Duration = Duration::from_secs(30 * 60);
/// And after so long whatever was asked.
pub const WHOLE: Duration = Duration::from_secs(12 * 60 * 60);

/// All of them.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Sessions {
    /// In no order.
    pub entries: Vec<SessionEntry>,
}

/// A session.
#[derive(Clone, Serialize, Deserialize)]
pub struct SessionEntry {
    /// What it is called; no secret.
    pub id: String,
    /// SHA-256 of its cookie.
    pub hash: String,
    /// Its word against forged requests.
    pub csrf: String,
    /// Whose it is.
    pub user: String,
    /// The address from which it was begun.
    pub from: String,
    /// When it began, in milliseconds since the host started.
    pub began_ms: u64,
    /// When it was last used; kept as of the last login of anyone.
    pub used_ms: u64,
}

impl SessionEntry {
    fn is_over(&self, now_ms: u64) -> bool {
        let since = |then: u64| Duration::from_millis(now_ms.saturating_sub(then));
        since(self.began_ms) >= WHOLE || since(self.used_ms) >= IDLE
    }
}

/// As sessions are kept.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Sessions {
    /// Those that have not ended.
    pub fn open(&self, now: Duration) -> impl Iterator<Item = &SessionEntry> {
        let now_ms = millis(now);
        self.entries.iter().filter(move |session| !session.is_over(now_ms))
    }

    /// Begins a user's session, from an address.
    pub fn begin(
        &mut self,
        (cookie, csrf): (&str, String),
        (user, from): (&str, String),
        now: Duration,
    ) -> SessionEntry {
        let now_ms = millis(now);
        self.entries.retain(|session| !session.is_over(now_ms));
        if self.entries.len() >= SESSIONS_MAX {
            let longest = self.entries.iter().enumerate().min_by_key(|(_, session)| session.used_ms);
            if let Some((at, _)) = longest {
                self.entries.swap_remove(at);
            }
        }
        let hash = secret::kept(cookie);
        let id = hash.chars().take(8).collect();
        let user = user.to_owned();
        let entry = SessionEntry { id, hash, csrf, user, from, began_ms: now_ms, used_ms: now_ms };
        self.entries.push(entry.clone());
        entry
    }

    /// A session by its cookie's hash, used now.
    pub fn use_one(&mut self, hash: &str, now: Duration) -> Option<&SessionEntry> {
        let now_ms = millis(now);
        let session = self.entries.iter_mut().find(|session| secret::is_equal(&session.hash, hash))?;
        if session.is_over(now_ms) {
            return None;
        }
        session.used_ms = now_ms;
        Some(session)
    }
}
