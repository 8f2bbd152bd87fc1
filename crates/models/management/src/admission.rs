//! Who may have a connection: a pure model of a pool.
//!
//! At most [`CONNECTIONS_MAX`], [`STRANGERS_MAX`] of them before a login. Where a newcomer finds no room one without a
//! login gives way: the oldest of the source that has most of them. One with a login never does. So neither idle nor slow
//! clients keep anyone out, nor does one source whose connections come faster than another's login is looked at.

use alloc::vec::Vec;
use core::fmt::{self, Display, Formatter};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Most connections.
pub const CONNECTIONS_MAX: usize = 32;
/// Most of them without a login.
pub const STRANGERS_MAX: usize = 8;

/// A connection, by a number that no other one ever has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ConnectionId(pub u64);

/// Where someone comes from: an address of IPv4, or a /64 of IPv6, since one client may have all of that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Source(u128);

impl Source {
    /// The host itself.
    pub const HOST: Self = Self(0);
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => u128::from(u32::from(address)),
            IpAddr::V6(address) => u128::from(address) >> 64 << 64,
        })
    }
}

impl Display for Source {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match u32::try_from(self.0) {
            Ok(address) => write!(f, "{}", Ipv4Addr::from(address)),
            Err(_) => write!(f, "{}/64", Ipv6Addr::from(self.0)),
        }
    }
}

#[derive(Clone, Copy)]
struct Connection {
    id: ConnectionId,
    from: Source,
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
    pub fn arrive(&mut self, from: Source) -> Option<Arrival> {
        let is_crowded =
            self.strangers().count() >= STRANGERS_MAX || self.connections.len() >= CONNECTIONS_MAX;
        let gives_way = is_crowded.then(|| self.next_to_go(from)).flatten();
        match gives_way {
            Some(id) => self.leave(id),
            None if is_crowded => return None,
            None => {}
        }
        let id = ConnectionId(self.next);
        self.next = self.next.wrapping_add(1);
        self.connections.push(Connection { id, from, is_known: false });
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

    fn strangers(&self) -> impl DoubleEndedIterator<Item = &Connection> {
        self.connections.iter().filter(|connection| !connection.is_known)
    }

    /// The oldest of the source that would have most with the newcomer.
    fn next_to_go(&self, newcomer: Source) -> Option<ConnectionId> {
        let count = |from: Source| {
            let others = self.strangers().filter(|connection| connection.from == from).count();
            others.saturating_add(usize::from(from == newcomer))
        };
        // Of equals the last one is taken.
        let oldest_last = self.strangers().rev();
        oldest_last.max_by_key(|connection| count(connection.from)).map(|connection| connection.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOME: Source = Source(1);
    const AWAY: Source = Source(2);

    #[test]
    fn a_crowd_from_one_source_leaves_the_others_their_places() {
        let mut pool = Pool::default();
        let waiting = pool.arrive(HOME).unwrap().id;
        let mut last = waiting;
        for _ in 0..2000 {
            last = pool.arrive(AWAY).unwrap().id;
        }
        assert!(pool.has(waiting) && pool.has(last));
        // And one who comes then finds room, as the one after him does.
        let late = pool.arrive(Source(3)).unwrap();
        assert!(pool.has(waiting) && late.gives_way.is_some());
        pool.arrive(AWAY).unwrap();
        assert!(pool.has(waiting) && pool.has(late.id));
        // Where all have one the oldest goes.
        let mut pool = Pool::default();
        let all: Vec<_> = (0..8).map(|from| pool.arrive(Source(from)).unwrap().id).collect();
        assert_eq!(pool.arrive(Source(9)).unwrap().gives_way, all.first().copied());
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let source = |text: &str| Source::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:2"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_eq!(
            alloc::format!("{} {}", source("192.0.2.1"), source("2001:db8::1")),
            "192.0.2.1 2001:db8::/64"
        );
    }

    #[test]
    fn after_two_thousand_idle_clients_a_newcomer_gets_in_and_the_known_stay() {
        let mut pool = Pool::default();
        let known = pool.arrive(HOME).unwrap().id;
        pool.know(known, true);
        for _ in 0..2000 {
            pool.arrive(AWAY).expect("strangers give way to strangers");
        }
        let newcomer = pool.arrive(HOME).unwrap();
        assert!(pool.has(newcomer.id) && pool.has(known));
        assert_eq!(pool.len(), 1 + STRANGERS_MAX);
    }

    #[test]
    fn a_full_house_of_known_ones_refuses() {
        let mut pool = Pool::default();
        for _ in 0..CONNECTIONS_MAX {
            let id = pool.arrive(HOME).unwrap().id;
            pool.know(id, true);
        }
        assert_eq!(pool.arrive(HOME), None);
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
                        let arrival = pool.arrive(Source(which as u128 % 3));
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
                prop_assert!(pool.strangers().count() <= STRANGERS_MAX);
            }
        }
    }
}
