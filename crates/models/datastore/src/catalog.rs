//! The catalog: layers, and the names on them. Held in memory whole, with a limit.
//!
//! Called by: management, `apply`, mount. A *layer* holds what was written between two snapshots; its parent holds
//! what is older. A volume's head, a snapshot and an object are names on layers. Invariants: a parent's id is below
//! its child's, so that no chain is circular; only a head or an object being written changes.

use crate::tree::RECORD_BYTES;
use crate::wire::Reader;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

/// Most bytes of a name.
pub const MAX_NAME: usize = 128;
/// Most sectors of a volume: 64 TiB.
pub const MAX_SECTORS: u64 = 1 << 37;
/// Most entries: bounds the memory of a mounted store.
pub const MAX_ENTRIES: usize = 8192;

/// One catalog entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// Blocks written between two snapshots.
    Layer {
        /// The layer below, or 0.
        parent: u64,
    },
    /// A thin volume.
    Volume {
        /// Unique among volumes.
        name: String,
        /// Size.
        sectors: u64,
        /// The layer that is written.
        head: u64,
    },
    /// A frozen state of a volume.
    Snapshot {
        /// Unique among the volume's snapshots.
        name: String,
        /// Of which volume; it may be gone.
        volume: u64,
        /// The frozen layer.
        layer: u64,
        /// Size then.
        sectors: u64,
        /// Seconds since 1970 as the caller knew them.
        created: u64,
        /// Names the contents across stores: sent and received snapshots share it.
        guid: [u8; 16],
    },
    /// A named byte string.
    Object {
        /// Unique among objects.
        name: String,
        /// Length.
        bytes: u64,
        /// Its contents.
        layer: u64,
    },
}

fn put_name(out: &mut Vec<u8>, name: &str) {
    out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(name.as_bytes());
}

fn get_name(from: &mut Reader<'_>) -> Option<String> {
    let len = usize::from(from.u8()?);
    let name = core::str::from_utf8(from.bytes(len)?).ok()?;
    is_name(name).then(|| String::from(name))
}

/// A name that may be used: 1 to 128 bytes of UTF-8 without control characters or '/'.
pub fn is_name(name: &str) -> bool {
    let printable = name.chars().all(|c| !c.is_control() && c != '/');
    !name.is_empty() && name.len() <= MAX_NAME && printable && name != "." && name != ".."
}

impl Entry {
    /// The entry's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(RECORD_BYTES);
        let (kind, fields): (u8, &[u64]) = match self {
            Self::Layer { parent } => (1, &[*parent]),
            Self::Volume { sectors, head, .. } => (2, &[*sectors, *head]),
            Self::Snapshot { volume, layer, sectors, created, .. } => {
                (3, &[*volume, *layer, *sectors, *created])
            }
            Self::Object { bytes, layer, .. } => (4, &[*bytes, *layer]),
        };
        out.push(kind);
        for field in fields {
            out.extend_from_slice(&field.to_le_bytes());
        }
        if let Self::Snapshot { guid, .. } = self {
            out.extend_from_slice(guid);
        }
        match self {
            Self::Layer { .. } => {}
            Self::Volume { name, .. } | Self::Snapshot { name, .. } | Self::Object { name, .. } => {
                put_name(&mut out, name);
            }
        }
        out
    }

    /// Reads an entry; `None` when it makes no sense.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::new(bytes);
        let entry = match from.u8()? {
            1 => Self::Layer { parent: from.u64()? },
            2 => {
                let (sectors, head) = (from.u64()?, from.u64()?);
                Self::Volume { sectors, head, name: get_name(&mut from)? }
            }
            3 => {
                let (volume, layer, sectors, created) = (from.u64()?, from.u64()?, from.u64()?, from.u64()?);
                let guid = *from.bytes(16)?.first_chunk::<16>()?;
                Self::Snapshot { volume, layer, sectors, created, guid, name: get_name(&mut from)? }
            }
            4 => {
                let (bytes, layer) = (from.u64()?, from.u64()?);
                Self::Object { bytes, layer, name: get_name(&mut from)? }
            }
            _ => return None,
        };
        // Sizes bound loops: what no store of ours could have is refused here.
        let sectors = match &entry {
            Self::Layer { .. } => 0,
            Self::Volume { sectors, .. } | Self::Snapshot { sectors, .. } => *sectors,
            Self::Object { bytes, .. } => bytes.div_ceil(512),
        };
        (from.is_empty() && sectors <= MAX_SECTORS).then_some(entry)
    }

    /// The layer that this is a name on.
    pub fn named_layer(&self) -> Option<u64> {
        match self {
            Self::Layer { .. } => None,
            Self::Volume { head, .. } => Some(*head),
            Self::Snapshot { layer, .. } | Self::Object { layer, .. } => Some(*layer),
        }
    }
}

/// All entries, and what follows from them.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    entries: BTreeMap<u64, Entry>,
    children: BTreeMap<u64, Vec<u64>>,
    names: BTreeMap<u64, u32>,
}

impl Catalog {
    /// Puts, replaces or removes an entry.
    pub fn set(&mut self, id: u64, entry: Option<Entry>) {
        if let Some(old) = self.entries.remove(&id) {
            self.unlink(id, &old);
        }
        let Some(entry) = entry else { return };
        match &entry {
            Entry::Layer { parent: 0 } => {}
            Entry::Layer { parent } => self.children.entry(*parent).or_default().push(id),
            named => {
                let count = named.named_layer().map(|l| self.names.entry(l).or_default());
                count.into_iter().for_each(|c| *c = c.saturating_add(1));
            }
        }
        self.entries.insert(id, entry);
    }

    fn unlink(&mut self, id: u64, old: &Entry) {
        if let Entry::Layer { parent } = old
            && let Some(list) = self.children.get_mut(parent)
        {
            list.retain(|c| *c != id);
            if list.is_empty() {
                self.children.remove(parent);
            }
        }
        if let Some(layer) = old.named_layer()
            && let Some(count) = self.names.get_mut(&layer)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.names.remove(&layer);
            }
        }
    }

    /// An entry.
    pub fn get(&self, id: u64) -> Option<&Entry> {
        self.entries.get(&id)
    }

    /// All entries by id.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.entries.iter().map(|(id, entry)| (*id, entry))
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The layer below, 0 when there is none.
    pub fn parent(&self, layer: u64) -> u64 {
        match self.entries.get(&layer) {
            // Also what keeps a forged chain from running in a circle.
            Some(Entry::Layer { parent }) if *parent < layer => *parent,
            _ => 0,
        }
    }

    /// Layers right above a layer.
    pub fn children(&self, layer: u64) -> &[u64] {
        self.children.get(&layer).map_or(&[], Vec::as_slice)
    }

    /// A volume, snapshot or object is a name on this layer.
    pub fn is_named(&self, layer: u64) -> bool {
        self.names.contains_key(&layer)
    }

    /// Finds a volume.
    pub fn volume(&self, wanted: &str) -> Option<u64> {
        self.iter().find(|(_, e)| matches!(e, Entry::Volume { name, .. } if name == wanted)).map(|(id, _)| id)
    }

    /// Finds an object.
    pub fn object(&self, wanted: &str) -> Option<u64> {
        self.iter().find(|(_, e)| matches!(e, Entry::Object { name, .. } if name == wanted)).map(|(id, _)| id)
    }

    /// Finds a snapshot of a volume.
    pub fn snapshot(&self, of: u64, wanted: &str) -> Option<u64> {
        let is =
            |e: &Entry| matches!(e, Entry::Snapshot { name, volume, .. } if name == wanted && *volume == of);
        self.iter().find(|(_, e)| is(e)).map(|(id, _)| id)
    }
}
