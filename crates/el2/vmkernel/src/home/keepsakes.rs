//! What the host itself keeps in the datastore: the time, and a seed of the random generator.
//!
//! Called by: [`super::errands`], on the home. Two objects that no world can name ([`keeper::PRIVATE`]), written at most
//! once an hour by an idle host. A seed counts only once its successor is on stable storage: a power cut never has two
//! starts begin with the same one. The time is kept where it is known to be right, or where the board has no clock of its
//! own; what a board's clock says by itself is not, since no later time could correct it.

use crate::host::Host;
use crate::random::Random;
use abi::request::OBJECT_NAME_BYTES;
use alloc::vec::Vec;
use ports::Entropy;

/// Seconds since 1970, 8 bytes, little-endian.
pub(super) const TIME: &str = "vmkernel:time";
/// 32 bytes.
pub(super) const SEED: &str = "vmkernel:seed";
/// Between two writes.
const EVERY_SECONDS: u64 = 3600;
/// The first of a start comes so late that a host which fails early writes nothing.
const FIRST_SECONDS: u64 = 60;

/// When they are to be written.
#[derive(Debug, Default)]
pub(super) struct Keepsakes {
    /// By the physical counter; 0: the store was just mounted.
    due: u64,
    /// A time that is known to be right was written.
    was_right: bool,
}

/// A name, and contents.
pub(super) fn object(name: &str, contents: &[u8]) -> Vec<u8> {
    let mut payload = abi::name::field::<OBJECT_NAME_BYTES>(name).to_vec();
    payload.extend_from_slice(contents);
    payload
}

impl Keepsakes {
    /// When there is something to write.
    pub fn due(&self) -> u64 {
        self.due
    }

    /// What is to be written now.
    pub fn take_due(&mut self, host: &Host) -> Vec<Vec<u8>> {
        let (now, hertz) = (el2::regs::counter(), el2::regs::counter_hz());
        let after = |seconds: u64| now.saturating_add(hertz.saturating_mul(seconds));
        if self.due == 0 {
            self.due = after(FIRST_SECONDS);
        }
        let is_right = host.clock.is_right();
        let is_news = is_right && !self.was_right;
        if now < self.due && !is_news {
            return Vec::new();
        }
        self.due = after(EVERY_SECONDS);
        self.was_right |= is_right;
        let mut objects = Vec::new();
        if is_right || !host.clock.has_board() {
            objects.push(object(TIME, &host.unix_seconds().to_le_bytes()));
        }
        let mut seed = [0; 32];
        if host.random.fill(&mut seed).is_ok() {
            objects.push(object(SEED, &seed));
        }
        objects
    }
}

/// What follows a seed that was read: to be written before that one counts.
pub(super) fn successor(seed: &[u8; 32]) -> Option<[u8; 32]> {
    let random = Random::new();
    random.absorb(seed, seed.len());
    random.absorb(b"the seed of the next start", 0);
    random.absorb(&el2::regs::counter().to_le_bytes(), 0);
    let mut next = [0; 32];
    random.fill(&mut next).ok().map(|()| next)
}
