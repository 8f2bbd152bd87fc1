//! The oracle: what the store must hold, as a base state and the effects since then, in the order in which they
//! counted. After a cut the store must hold the state behind some effect, at or behind the last one that was promised.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::string::String;
use std::vec::Vec;

/// Contents by name ("v/…" volumes, "s/…" snapshots, "o/…" objects): the id of the write that each sector came from.
pub type State = BTreeMap<String, Rc<Vec<u32>>>;

/// The id of a sector that the store refused to give, saying why.
pub const REFUSED: u32 = u32::MAX;

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
                    Rc::make_mut(sectors)[*first..first + count].fill(*id);
                }
            }
            Self::Put { name, sectors } => {
                state.insert(name.clone(), Rc::new(sectors.clone()));
            }
            Self::Copy { from, to } => {
                let copy = state[from].clone();
                state.insert(to.clone(), copy);
            }
            Self::Resize { name, sectors } => {
                Rc::make_mut(state.get_mut(name).expect("resized")).resize(*sectors, 0);
            }
            Self::Remove { name } => {
                state.remove(name);
            }
            Self::All(effects) => effects.iter().for_each(|effect| effect.apply(state)),
        }
    }

    fn names(&self, into: &mut BTreeSet<String>) {
        match self {
            Self::Write { name, .. }
            | Self::Put { name, .. }
            | Self::Copy { to: name, .. }
            | Self::Resize { name, .. }
            | Self::Remove { name } => {
                into.insert(name.clone());
            }
            Self::All(effects) => effects.iter().for_each(|effect| effect.names(into)),
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
    /// A state long past, and the effects from there to the base: what a damaged log may lead back to.
    ancient: State,
    history: VecDeque<Effect>,
}

/// Effects that a log may hold.
const HISTORY: usize = 1500;

fn fits(expected: Option<&Rc<Vec<u32>>>, found: Option<&Rc<Vec<u32>>>) -> bool {
    match (expected, found) {
        (Some(a), Some(b)) => {
            a == b || (a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a == b || *b == REFUSED))
        }
        (None, None) => true,
        _ => false,
    }
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

    /// After a cut these effects are on stable storage, and the others never were.
    pub fn survive(&mut self, count: usize) {
        self.effects.truncate(count - self.dropped);
        self.promised = count;
        self.compact(count);
        self.now = self.base.clone();
    }

    /// Forgets history that no cut can lead back to.
    pub fn compact(&mut self, promised: usize) {
        for effect in self.effects.drain(..promised.saturating_sub(self.dropped)) {
            effect.apply(&mut self.base);
            self.history.push_back(effect);
        }
        while self.history.len() > HISTORY {
            self.history.pop_front().into_iter().for_each(|effect| effect.apply(&mut self.ancient));
        }
        self.dropped = self.dropped.max(promised);
    }

    /// The state is one that may be found after a cut with `promised` effects promised; else what differs.
    pub fn judge(&self, found: &State, promised: usize) -> Result<usize, String> {
        let mut state = self.base.clone();
        let floor = promised.max(self.dropped) - self.dropped;
        self.effects[..floor].iter().for_each(|effect| effect.apply(&mut state));
        let behind = search(state, self.effects[floor..].iter(), found)?;
        Ok(self.dropped + floor + behind)
    }

    /// The state is one that was, however long ago.
    pub fn judge_old(&self, found: &State) -> Result<usize, String> {
        search(self.ancient.clone(), self.history.iter().chain(&self.effects), found)
    }
}

/// How many of the effects lead to the state that was found.
fn search<'a>(
    mut state: State,
    effects: impl Iterator<Item = &'a Effect>,
    found: &State,
) -> Result<usize, String> {
    let names: BTreeSet<String> = state.keys().chain(found.keys()).cloned().collect();
    let mut wrong: BTreeSet<String> =
        names.into_iter().filter(|name| !fits(state.get(name), found.get(name))).collect();
    let first = if wrong.is_empty() { String::new() } else { difference(&state, found) };
    let (mut effects, mut count) = (effects, 0);
    while !wrong.is_empty() {
        let Some(effect) = effects.next() else {
            let last = difference(&state, found);
            return Err(std::format!(
                "no state behind any of {count} effects fits\n  against the first: {first}\n  against the last: {last}"
            ));
        };
        effect.apply(&mut state);
        let mut touched = BTreeSet::new();
        effect.names(&mut touched);
        for name in touched {
            if fits(state.get(&name), found.get(&name)) {
                wrong.remove(&name)
            } else {
                wrong.insert(name)
            };
        }
        count += 1;
    }
    Ok(count)
}

/// The first difference, in words.
pub fn difference(expected: &State, found: &State) -> String {
    for (name, sectors) in expected {
        let Some(other) = found.get(name) else { return std::format!("{name} is missing") };
        if sectors.len() != other.len() {
            return std::format!("{name} has {} sectors, not {}", other.len(), sectors.len());
        }
        if let Some(at) = (0..sectors.len()).find(|i| sectors[*i] != other[*i] && other[*i] != REFUSED) {
            return std::format!("{name} sector {at} is of write {}, not {}", other[at], sectors[at]);
        }
    }
    found
        .keys()
        .find(|name| !expected.contains_key(*name))
        .map_or(String::from("nothing"), |name| std::format!("{name} should not be there"))
}

/// What a sector says of itself: the write that it came from, and its place in the volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tag {
    pub id: u32,
    pub sector: u32,
}

impl Tag {
    /// The write, if the sector was written at this place. Zeroes fit everywhere.
    pub fn id_at(self, sector: u64) -> Option<u32> {
        (self.id == 0 || u64::from(self.sector) == sector).then_some(self.id)
    }
}

/// The bytes of a sector that write `id` put at `sector`.
pub fn pattern(tag: Tag, into: &mut [u8]) {
    if tag.id == 0 {
        return into.fill(0);
    }
    let mut word = (u64::from(tag.sector) << 32) | u64::from(tag.id);
    for chunk in into.chunks_exact_mut(8) {
        chunk.copy_from_slice(&word.to_le_bytes());
        word = word.rotate_left(5).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
}

/// The write that a sector came from; `None`: it is nobody's.
pub fn recognize(bytes: &[u8]) -> Option<Tag> {
    let field = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let tag = Tag { id: field(0), sector: field(4) };
    let mut expected = [0; 512];
    pattern(tag, &mut expected);
    (expected == bytes).then_some(tag)
}
