//! The address table: behind which port an address was seen last, and when.
//!
//! Called by: [`crate::decide`] (look up), [`crate::switch`] (learn). Source: IEEE 802.1Q-2018, 8.8 "The Filtering
//! Database".
//! Invariants: fixed size; four places for each hash. A flood of addresses pushes out others, oldest first, and costs
//! no memory. Addresses of vNICs are not in here: those are known, and can't be pushed out or claimed.
//! Concurrency: entries are two atomics, read without a lock: the key is read again after the value, so that a value is
//! never taken for another key's. Known addresses are refreshed without the lock, at most once a second; new ones and
//! those that moved take it.

use crate::frame::MacAddress;
use crate::group::VlanId;
use crate::switch::PortIndex;
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Mutex;

/// An address that was not heard of for this long is unknown again (IEEE 802.1Q-2018, table 8-6).
pub const AGEING_SECONDS: u32 = 300;

const WAYS: usize = 4;
const SETS: usize = 256;
/// An entry without a key: no address of 48 bits in VLAN 0xffff.
const EMPTY: u64 = u64::MAX;

struct Entry {
    /// VLAN id << 48 | address, or [`EMPTY`].
    key: AtomicU64,
    /// Seconds << 16 | port.
    value: AtomicU64,
}

/// The table.
pub struct Table {
    entries: Box<[[Entry; WAYS]]>,
    writer: Mutex<()>,
}

impl Default for Table {
    fn default() -> Self {
        let entry = || Entry { key: AtomicU64::new(EMPTY), value: AtomicU64::new(0) };
        let entries = (0..SETS).map(|_| [entry(), entry(), entry(), entry()]).collect();
        Self { entries, writer: Mutex::new(()) }
    }
}

impl Table {
    /// The port behind which an address was seen lately.
    pub fn find(&self, vlan: VlanId, address: MacAddress, now: u32) -> Option<PortIndex> {
        let key = key(vlan, address);
        for entry in self.set(key) {
            if entry.key.load(Ordering::Acquire) == key {
                let value = entry.value.load(Ordering::Acquire);
                let is_same = entry.key.load(Ordering::Acquire) == key;
                return Some(port(value)).filter(|_| is_same && is_fresh(value, now));
            }
        }
        None
    }

    /// An address was seen behind a port.
    pub fn learn(&self, vlan: VlanId, address: MacAddress, behind: PortIndex, now: u32) {
        let (key, value) = (key(vlan, address), pack(behind, now));
        let set = self.set(key);
        let holds_key = |entry: &&Entry| entry.key.load(Ordering::Acquire) == key;
        if let Some(entry) = set.iter().find(holds_key) {
            let before = entry.value.load(Ordering::Acquire);
            if before == value {
                return;
            }
            if port(before) == behind {
                // Another PE may have refreshed or replaced it meanwhile: then that holds.
                let _ = entry.value.compare_exchange(before, value, Ordering::AcqRel, Ordering::Relaxed);
                return;
            }
        }
        let _writer = self.writer.lock();
        let oldest = || {
            set.iter().min_by_key(|entry| {
                let is_used = entry.key.load(Ordering::Acquire) != EMPTY;
                (is_used, entry.value.load(Ordering::Acquire) >> 16)
            })
        };
        let Some(entry) = set.iter().find(holds_key).or_else(oldest) else { return };
        // A reader of the old key finds it gone behind the value; one of the new key finds it before the value only
        // once both are there.
        entry.key.store(EMPTY, Ordering::Release);
        entry.value.store(value, Ordering::Release);
        entry.key.store(key, Ordering::Release);
    }

    /// Forgets all addresses behind a port.
    pub fn forget(&self, behind: PortIndex) {
        let _writer = self.writer.lock();
        for entry in self.entries.iter().flatten() {
            if port(entry.value.load(Ordering::Acquire)) == behind {
                entry.key.store(EMPTY, Ordering::Release);
            }
        }
    }

    fn set(&self, key: u64) -> &[Entry] {
        // Fibonacci hashing: the top bits of the product depend on all bits of the key.
        let hash = usize::try_from(key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56).unwrap_or(0);
        self.entries.get(hash & (SETS - 1)).map_or(&[], |set| set.as_slice())
    }
}

const fn key(vlan: VlanId, address: MacAddress) -> u64 {
    (vlan.get() as u64) << 48 | address.to_bits()
}

const fn pack(behind: PortIndex, now: u32) -> u64 {
    (now as u64) << 16 | behind.0 as u64
}

fn port(value: u64) -> PortIndex {
    let [low, ..] = value.to_le_bytes();
    PortIndex(low)
}

const fn is_fresh(value: u64, now: u32) -> bool {
    (now as u64).saturating_sub(value >> 16) <= AGEING_SECONDS as u64
}
