//! The host's one random generator: ChaCha20, reseeded with fast key erasure (design §9 "Randomness").
//!
//! Seeds come from the device tree, FEAT_RNG and host drivers; until enough came nothing is given, to anyone. Timing
//! jitter is mixed in and never counted.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use ports::{Entropy, Unseeded};
use spin::Mutex;

const SEED_BYTES: usize = 32;

/// The generator.
pub struct Random(Mutex<State>);

struct State {
    /// The key of the next stream: each gives the key after it first, so that what was given can't be computed from
    /// what is kept.
    key: [u8; SEED_BYTES],
    counted: usize,
}

impl State {
    /// Fills with one stream, of which the first bytes are the next key. Half a block of 64 bytes is one computation of
    /// ChaCha20's block function, as few instructions as it takes.
    fn fill(&mut self, into: &mut [u8]) {
        let mut stream = ChaCha20::new(&self.key.into(), &[0; 12].into());
        self.key = [0; SEED_BYTES];
        stream.apply_keystream(&mut self.key);
        into.fill(0);
        stream.apply_keystream(into);
    }
}

impl Random {
    /// Without a seed.
    pub fn new() -> Self {
        Self(Mutex::new(State { key: [0; SEED_BYTES], counted: 0 }))
    }

    /// Mixes bytes in; `counted` of them are unpredictable to anyone.
    pub fn absorb(&self, bytes: &[u8], counted: usize) {
        let mut state = self.0.lock();
        for chunk in bytes.chunks(SEED_BYTES) {
            for (mixed, byte) in state.key.iter_mut().zip(chunk) {
                *mixed ^= byte;
            }
            // Every bit of the seed is in every bit of the key.
            state.fill(&mut []);
        }
        // What the first key, which was the seed itself, left on the stack is overwritten by the same steps.
        state.fill(&mut []);
        state.counted = state.counted.saturating_add(counted);
    }

    /// Whether it gives anything.
    pub fn is_seeded(&self) -> bool {
        self.0.lock().counted >= SEED_BYTES
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for Random {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Random").finish_non_exhaustive()
    }
}

impl Entropy for Random {
    fn fill(&self, into: &mut [u8]) -> Result<(), Unseeded> {
        let mut state = self.0.lock();
        if state.counted < SEED_BYTES {
            return Err(Unseeded);
        }
        state.fill(into);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_given_before_a_whole_seed() {
        let random = Random::new();
        let mut bytes = [0; 8];
        assert_eq!(random.fill(&mut bytes), Err(Unseeded));
        random.absorb(&[1; 16], 16);
        random.absorb(&[2; 64], 0);
        assert_eq!(random.fill(&mut bytes), Err(Unseeded));
        assert_eq!(bytes, [0; 8]);
        random.absorb(&[3; 16], 16);
        random.fill(&mut bytes).unwrap();
        let mut again = [0; 8];
        random.fill(&mut again).unwrap();
        assert_ne!(bytes, again);
    }

    /// Bytes that count for nothing change what is given, and never what is given leave to.
    #[test]
    fn each_byte_of_a_seed_matters() {
        let given = |seed: &[u8], more: &[u8]| {
            let random = Random::new();
            random.absorb(seed, 32);
            random.absorb(more, 0);
            let mut bytes = [0; 32];
            random.fill(&mut bytes).unwrap();
            bytes
        };
        let seed = [7; 40];
        let plain = given(&seed, &[]);
        assert_eq!(plain, given(&seed, &[]), "the same seed gives the same");
        assert_ne!(plain, given(&seed, &[1]));
        for at in 0..seed.len() {
            let mut other = seed;
            other[at] ^= 1;
            assert_ne!(plain, given(&other, &[]), "byte {at}");
        }
        let random = Random::new();
        random.absorb(&seed, 31);
        random.absorb(&seed, 0);
        assert!(!random.is_seeded());
    }

    /// Fast key erasure: the key after a request gives nothing of what was given before.
    #[test]
    fn what_is_kept_does_not_tell_what_was_given() {
        let random = Random::new();
        random.absorb(&[9; 32], 32);
        let mut bytes = [0; 64];
        random.fill(&mut bytes).unwrap();
        let mut kept = ChaCha20::new(&random.0.lock().key.into(), &[0; 12].into());
        let mut stream = [0; 4096];
        kept.apply_keystream(&mut stream);
        assert!(!stream.windows(8).any(|part| bytes.chunks(8).any(|given| given == part)));
    }
}
