//! The oracle: what the store must hold, as a base state and the effects since then, in the order in which they
//! counted. After a cut the store must hold the state behind some effect, at or behind the last one that was promised.

use std::collections::BTreeMap;
use std::string::String;
use std::vec::Vec;

/// Contents by name ("v/…" volumes, "s/…" snapshots, "o/…" objects): the id of the write that each sector came from.
pub type State = BTreeMap<String, Vec<u32>>;

/// One thing that happened, whole or not at all.
#[derive(Clone, Debug)]
pub enum Effect {
    Write { name: String, first: usize, count: usize, id: u32 },
    Put { name: String, sectors: Vec<u32> },
    Copy { from: String, to: String },
    Resize { name: String, sectors: usize },
    Remove { name: String },
    All(Vec<Effect>),
}

impl Effect {
    pub fn apply(&self, state: &mut State) {
        match self {
            Self::Write { name, first, count, id } => {
                if let Some(sectors) = state.get_mut(name) {
                    sectors[*first..first + count].fill(*id);
                }
            }
            Self::Put { name, sectors } => {
                state.insert(name.clone(), sectors.clone());
            }
            Self::Copy { from, to } => {
                let copy = state[from].clone();
                state.insert(to.clone(), copy);
            }
            Self::Resize { name, sectors } => {
                state.get_mut(name).expect("resized").resize(*sectors, 0);
            }
            Self::Remove { name } => {
                state.remove(name);
            }
            Self::All(effects) => effects.iter().for_each(|effect| effect.apply(state)),
        }
    }
}

/// Base and effects.
#[derive(Clone, Default)]
pub struct Oracle {
    pub base: State,
    pub now: State,
    pub effects: Vec<Effect>,
    /// So many effects were dropped into the base.
    pub dropped: usize,
    /// So many effects, counted from the beginning, are promised.
    pub promised: usize,
}

impl Oracle {
    pub fn push(&mut self, effect: Effect) {
        effect.apply(&mut self.now);
        self.effects.push(effect);
    }

    pub fn count(&self) -> usize {
        self.dropped + self.effects.len()
    }

    /// A FLUSH that was submitted when `count` effects had counted is done.
    pub fn promise(&mut self, count: usize) {
        self.promised = self.promised.max(count);
    }

    /// Forgets history that no cut can lead back to.
    pub fn compact(&mut self) {
        let done = self.promised - self.dropped;
        for effect in self.effects.drain(..done) {
            effect.apply(&mut self.base);
        }
        self.dropped = self.promised;
    }

    /// The state is one that may be found after a cut with `promised` effects promised; else what differs.
    pub fn judge(&self, found: &State, promised: usize) -> Result<usize, String> {
        let mut state = self.base.clone();
        let floor = promised.max(self.dropped) - self.dropped;
        for effect in &self.effects[..floor] {
            effect.apply(&mut state);
        }
        let first = difference(&state, found);
        let mut at = floor;
        loop {
            if &state == found {
                return Ok(self.dropped + at);
            }
            let Some(effect) = self.effects.get(at) else { break };
            effect.apply(&mut state);
            at += 1;
        }
        let last = difference(&state, found);
        if std::env::var("SIM_DEBUG").is_ok() {
            for (i, effect) in self.effects.iter().enumerate() {
                std::println!("{i}: {}", std::format!("{effect:?}").chars().take(150).collect::<String>());
            }
        }
        Err(std::format!(
            "no state between {floor} and {at} fits\n  against promised: {first}\n  against last: {last}"
        ))
    }
}

/// The first difference, in words.
pub fn difference(expected: &State, found: &State) -> String {
    for (name, sectors) in expected {
        let Some(other) = found.get(name) else { return std::format!("{name} is missing") };
        if sectors.len() != other.len() {
            return std::format!("{name} has {} sectors, not {}", other.len(), sectors.len());
        }
        if let Some(at) = (0..sectors.len()).find(|i| sectors[*i] != other[*i]) {
            return std::format!("{name} sector {at} is of write {}, not {}", other[at], sectors[at]);
        }
    }
    found
        .keys()
        .find(|name| !expected.contains_key(*name))
        .map_or(String::from("nothing"), |name| std::format!("{name} should not be there"))
}

/// The bytes of a sector that write `id` put at `sector`.
pub fn pattern(id: u32, sector: u64, into: &mut [u8]) {
    if id == 0 {
        return into.fill(0);
    }
    let mut word = (u64::from(id) << 32 | u64::from(id)) ^ sector.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for chunk in into.chunks_exact_mut(8) {
        chunk.copy_from_slice(&word.to_le_bytes());
        word = word.rotate_left(5).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    into[..4].copy_from_slice(&id.to_le_bytes());
}

/// The write that a sector came from; `None`: it is nobody's.
pub fn recognize(bytes: &[u8], sector: u64) -> Option<u32> {
    let id = u32::from_le_bytes(bytes[..4].try_into().unwrap());
    let mut expected = [0; 512];
    pattern(id, sector, &mut expected);
    (expected == bytes).then_some(id)
}
