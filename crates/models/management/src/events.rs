//! What happened: a ring of events, and who watches it.
//!
//! An event's id has hostd's generation above bit 32: it rises over restarts, and an id of an earlier generation shows
//! that events were missed. Then, and where the ring has forgotten, the watcher is told `reset`.

use crate::bell::Bell;
use alloc::borrow::ToOwned;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use api::rest::Event;
use core::cell::{Cell, RefCell};
use serde_json::Value;

/// Most events that are remembered.
const REMEMBERED: usize = 256;

/// The events.
#[derive(Default)]
pub struct Events {
    ring: RefCell<VecDeque<Event>>,
    last: Cell<u64>,
    /// Rings with each event.
    pub bell: Bell,
}

impl Events {
    /// Begins a generation.
    pub fn begin(&self, generation: u32) {
        self.last.set(u64::from(generation) << 32);
    }

    /// Something happened.
    pub fn tell(&self, at: u64, kind: &str, subject: &str, data: Option<Value>) {
        let id = self.last.get().saturating_add(1);
        self.last.set(id);
        let mut ring = self.ring.borrow_mut();
        if ring.len() >= REMEMBERED {
            ring.pop_front();
        }
        ring.push_back(Event { id, at, kind: kind.to_owned(), subject: subject.to_owned(), data });
        drop(ring);
        self.bell.ring();
    }

    /// Those of the remembered ones that are meant.
    pub fn remembered(&self, is_meant: impl Fn(&Event) -> bool) -> Vec<Event> {
        self.ring.borrow().iter().filter(|event| is_meant(event)).cloned().collect()
    }

    /// The last id.
    pub fn last(&self) -> u64 {
        self.last.get()
    }

    /// Some events after `seen`, at most `most`; `reset` first where some were missed.
    pub fn after(&self, seen: u64, at: u64, most: usize) -> Vec<Event> {
        let ring = self.ring.borrow();
        let oldest = ring.front().map_or(self.last.get().saturating_add(1), |event| event.id);
        if seen > self.last.get() || seen.saturating_add(1) < oldest {
            let id = self.last.get();
            return Vec::from([Event {
                id,
                at,
                kind: String::from("reset"),
                subject: String::new(),
                data: None,
            }]);
        }
        ring.iter().filter(|event| event.id > seen).take(most).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watcher_sees_each_event_once_or_is_told_that_it_missed_some() {
        let events = Events::default();
        events.begin(3);
        let start = events.last();
        for number in 0..REMEMBERED {
            events.tell(0, "vm.power", &alloc::format!("{number}"), None);
        }
        let mut seen = start;
        let mut subjects = Vec::new();
        loop {
            let some = events.after(seen, 0, 7);
            let Some(last) = some.last() else { break };
            seen = last.id;
            subjects.extend(some.iter().map(|event| event.subject.parse::<usize>().unwrap()));
        }
        assert_eq!(subjects, (0..REMEMBERED).collect::<Vec<_>>());
        events.tell(0, "vm.power", "one more", None);
        let told = events.after(start, 0, 7);
        assert_eq!((told.len(), told[0].kind.as_str(), told[0].id), (1, "reset", events.last()));
        // Of another generation.
        assert_eq!(events.after(2 << 32 | 9, 0, 7)[0].kind, "reset");
        assert_eq!(events.after(4 << 32, 0, 7)[0].kind, "reset");
        assert!(events.after(events.last(), 0, 7).is_empty());
    }
}
