//! Notices that somebody is at the machine itself, and wants a new administrator's password.
//!
//! Raised by a key of the console's menu, or by `reset-admin = true` in the boot archive's host.toml; each is logged and
//! goes to the audit chain (`start::show_presence`). hostd reads the notice, acts on it and acknowledges it (`calls`); until then it stands,
//! whatever becomes of hostd. Concurrency: one lock, a leaf.

use spin::Mutex;

/// The notice that was not acknowledged, and how many there were.
#[derive(Debug, Default)]
pub struct Presence(Mutex<(u64, Option<Notice>)>);

/// A notice: its number, where it came from (`abi::call::PRESENCE_KEY`…), nanoseconds since the host started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Notice {
    /// From 1.
    pub number: u64,
    /// Where it came from.
    pub source: u64,
    /// When.
    pub at: u64,
}

impl Presence {
    /// One more, which stands for those before.
    pub fn raise(&self, source: u64, at: u64) -> Notice {
        let mut state = self.0.lock();
        let number = state.0.saturating_add(1);
        let notice = Notice { number, source, at };
        *state = (number, Some(notice));
        notice
    }

    /// The one that stands.
    pub fn read(&self) -> Option<Notice> {
        self.0.lock().1
    }

    /// It was acted on; false where it is not the one that stands.
    pub fn acknowledge(&self, number: u64) -> bool {
        self.0.lock().1.take_if(|notice| notice.number == number).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::Presence;

    #[test]
    fn a_notice_stands_until_it_is_acknowledged() {
        let presence = Presence::default();
        assert_eq!(presence.read(), None);
        assert!(!presence.acknowledge(0) && !presence.acknowledge(1));
        presence.raise(1, 10);
        let second = presence.raise(2, 20);
        assert_eq!(presence.read(), Some(second));
        assert!(!presence.acknowledge(1), "a later one stands for it");
        assert!(presence.acknowledge(2) && !presence.acknowledge(2));
        assert_eq!(presence.read(), None);
        assert_eq!(presence.raise(1, 30).number, 3);
    }
}
