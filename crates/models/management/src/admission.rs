//! Who may have a connection: a pure model of a pool.
//!
//! At most [`CONNECTIONS_MAX`], [`STRANGERS_MAX`] of them before a login. Where a newcomer finds no room the oldest
//! connection without a login gives way; one with a login never does. So neither idle nor slow clients keep anyone out.

use alloc::vec::Vec;

/// Most connections.
pub const CONNECTIONS_MAX: usize = 32;
/// Most of them without a login.
pub const STRANGERS_MAX: usize = 8;

/// A connection, by a number that no other one ever has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ConnectionId(pub u64);

#[derive(Clone, Copy)]
struct Connection {
    id: ConnectionId,
    is_known: bool,
}

/// The connections, the oldest first.
#[derive(Default)]
pub struct Pool {
    connections: Vec<Connection>,
    next: u64,
}

/// What a newcomer gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// Its number.
    pub id: ConnectionId,
    /// Who has to go for it.
    pub gives_way: Option<ConnectionId>,
}

impl Pool {
    /// Someone connects; `None`: all there are have logged in.
    pub fn arrive(&mut self) -> Option<Arrival> {
        let is_crowded = self.strangers() >= STRANGERS_MAX || self.connections.len() >= CONNECTIONS_MAX;
        let gives_way =
            is_crowded.then(|| self.connections.iter().find(|c| !c.is_known).map(|c| c.id)).flatten();
        match gives_way {
            Some(id) => self.leave(id),
            None if is_crowded => return None,
            None => {}
        }
        let id = ConnectionId(self.next);
        self.next = self.next.wrapping_add(1);
        self.connections.push(Connection { id, is_known: false });
        Some(Arrival { id, gives_way })
    }

    /// A connection's last request came with a login, or without one.
    pub fn know(&mut self, id: ConnectionId, is_known: bool) {
        if let Some(connection) = self.connections.iter_mut().find(|connection| connection.id == id) {
            connection.is_known = is_known;
        }
    }

    /// A connection is over.
    pub fn leave(&mut self, id: ConnectionId) {
        self.connections.retain(|connection| connection.id != id);
    }

    /// Whether it has not given way.
    pub fn has(&self, id: ConnectionId) -> bool {
        self.connections.iter().any(|connection| connection.id == id)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    fn strangers(&self) -> usize {
        self.connections.iter().filter(|connection| !connection.is_known).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn after_two_thousand_idle_clients_a_newcomer_gets_in_and_the_known_stay() {
        let mut pool = Pool::default();
        let known = pool.arrive().unwrap().id;
        pool.know(known, true);
        for _ in 0..2000 {
            pool.arrive().expect("strangers give way to strangers");
        }
        let newcomer = pool.arrive().unwrap();
        assert!(pool.has(newcomer.id) && pool.has(known));
        assert_eq!(pool.len(), 1 + STRANGERS_MAX);
    }

    #[test]
    fn a_full_house_of_known_ones_refuses() {
        let mut pool = Pool::default();
        for _ in 0..CONNECTIONS_MAX {
            let id = pool.arrive().unwrap().id;
            pool.know(id, true);
        }
        assert_eq!(pool.arrive(), None);
    }

    proptest! {
        #[test]
        fn bounds_hold_and_no_known_one_gives_way(steps in proptest::collection::vec((0..4_u8, 0..64_usize), 1..400)) {
            let mut pool = Pool::default();
            let mut known = Vec::new();
            for (step, which) in steps {
                let at = pool.connections.get(which).map(|connection| connection.id);
                match (step, at) {
                    (0, _) => {
                        let arrival = pool.arrive();
                        prop_assert!(arrival.is_some() || known.len() == CONNECTIONS_MAX);
                        let gone = arrival.and_then(|arrival| arrival.gives_way);
                        prop_assert!(gone.is_none_or(|id| !known.contains(&id)));
                    }
                    (1, Some(id)) if !known.contains(&id) => {
                        pool.know(id, true);
                        known.push(id);
                    }
                    (2, Some(id)) => {
                        pool.leave(id);
                        known.retain(|other| *other != id);
                    }
                    _ => {}
                }
                prop_assert!(pool.len() <= CONNECTIONS_MAX);
                prop_assert!(known.iter().all(|id| pool.has(*id)));
                prop_assert!(pool.strangers() <= STRANGERS_MAX);
            }
        }
    }
}
