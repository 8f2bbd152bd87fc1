//! The host's one random generator: ChaCha20, reseeded with fast key erasure (design §9 "Randomness").
//!
//! Seeds come from the device tree, FEAT_RNG and host drivers; until enough came nothing is given, to anyone. Timing
//! jitter is mixed in and never counted.

use ports::{Entropy, Unseeded};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use spin::Mutex;

const SEED_BYTES: usize = 32;

/// The generator.
pub struct Random(Mutex<State>);

struct State {
    generator: ChaCha20Rng,
    counted: usize,
}

impl Random {
    /// Without a seed.
    pub fn new() -> Self {
        Self(Mutex::new(State { generator: ChaCha20Rng::from_seed([0; SEED_BYTES]), counted: 0 }))
    }

    /// Mixes bytes in; `counted` of them are unpredictable to anyone.
    pub fn absorb(&self, bytes: &[u8], counted: usize) {
        let mut state = self.0.lock();
        for chunk in bytes.chunks(SEED_BYTES) {
            let mut seed = [0; SEED_BYTES];
            state.generator.fill_bytes(&mut seed);
            for (mixed, byte) in seed.iter_mut().zip(chunk) {
                *mixed ^= byte;
            }
            state.generator = ChaCha20Rng::from_seed(seed);
        }
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
        let mut next = [0; SEED_BYTES];
        state.generator.fill_bytes(into);
        // What was given can't be computed from the state that is kept.
        state.generator.fill_bytes(&mut next);
        state.generator = ChaCha20Rng::from_seed(next);
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
}
