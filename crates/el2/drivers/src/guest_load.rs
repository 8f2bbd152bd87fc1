//! Loading what a guest starts from. It reads and executes it with its MMU off, so past the caches (rule `two-views`).
//!
//! Called by `el2::ram` at power-on and restart. Calls [`LoadTarget`], which `el2` implements over real memory and the
//! tests over two views of it.
//! Source: Linux, Documentation/arch/arm64/booting.rst, "The image must be cleaned to the PoC".
//! Concurrency: no vCPU of the VM runs.

use ports::{BadAddress, Span};
use specs::{Ipa, Pa};

/// The RAM of a guest that does not run yet.
pub trait LoadTarget {
    /// Where the RAM from `at` on lies: at least one byte of it, at most `bytes`.
    fn place(&self, at: Ipa, bytes: u64) -> Result<Span, BadAddress>;
    /// Copies as many bytes as `into` has.
    fn copy(&self, into: Span, from: Span);
    /// The same from the host's own memory.
    fn put(&self, into: Span, from: &[u8]);
    /// What was written is in DRAM.
    fn clean_to_poc(&self, span: Span);
    /// What was written is what any PE fetches.
    fn sync_code(&self, span: Span);
}

/// Loads a kernel, an initrd or firmware.
pub fn load_image(target: &impl LoadTarget, at: Ipa, from: Span) -> Result<(), BadAddress> {
    load(target, at, u64::from(from.bytes), |into, done| {
        let start = Pa(from.start.0.saturating_add(done));
        target.copy(into, Span { start, bytes: into.bytes });
        target.sync_code(into);
    })
}

/// Loads what is the host's own: a device tree, the image of a world.
pub fn load_bytes(target: &impl LoadTarget, at: Ipa, from: &[u8]) -> Result<(), BadAddress> {
    load(target, at, from.len() as u64, |into, done| {
        let rest = usize::try_from(done).ok().and_then(|done| from.get(done..)).unwrap_or_default();
        target.put(into, rest.get(..into.bytes as usize).unwrap_or(rest));
        target.sync_code(into);
    })
}

/// Piece by piece, as the guest's RAM lies.
fn load(target: &impl LoadTarget, at: Ipa, bytes: u64, write: impl Fn(Span, u64)) -> Result<(), BadAddress> {
    let mut done = 0_u64;
    while done < bytes {
        let at = Ipa(at.0.checked_add(done).ok_or(BadAddress(at))?);
        let into = target.place(at, bytes.saturating_sub(done))?;
        write(into, done);
        target.clean_to_poc(into);
        done = done.saturating_add(u64::from(into.bytes.max(1)));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "a fake of 4 KiB")]
mod tests {
    use super::*;
    use crate::hardware::DeviceAddress;
    use crate::model::memory::{BUS_OFFSET, TwoViews};
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::vec::Vec;

    /// RAM in blocks of 256 bytes that lie the other way round, and what is fetched.
    struct Guest {
        memory: Rc<TwoViews>,
        fetched: RefCell<Vec<Span>>,
    }

    const BLOCK: u64 = 256;
    const BLOCKS: u64 = 8;

    impl LoadTarget for Guest {
        fn place(&self, at: Ipa, bytes: u64) -> Result<Span, BadAddress> {
            let (block, offset) = (at.0 / BLOCK, at.0 % BLOCK);
            let block = (BLOCKS - 1).checked_sub(block).ok_or(BadAddress(at))?;
            let bytes = bytes.min(BLOCK - offset) as u32;
            Ok(Span { start: Pa(block * BLOCK + offset), bytes })
        }
        fn copy(&self, into: Span, from: Span) {
            let mut bytes = std::vec![0; into.bytes as usize];
            self.memory.pe_read(from.start.0 as usize, &mut bytes);
            self.put(into, &bytes);
        }
        fn put(&self, into: Span, from: &[u8]) {
            assert_eq!(into.bytes as usize, from.len());
            self.memory.pe_write(into.start.0 as usize, from);
        }
        fn clean_to_poc(&self, span: Span) {
            self.memory.clean(span.start.0 as usize, span.bytes as usize);
        }
        fn sync_code(&self, span: Span) {
            self.fetched.borrow_mut().push(span);
        }
    }

    impl Guest {
        fn new() -> Self {
            Self { memory: TwoViews::new(4096, 4096), fetched: RefCell::default() }
        }

        /// What the guest reads with its MMU off.
        fn sees(&self, at: u64, bytes: usize) -> Vec<u8> {
            let byte = |at: u64| {
                let place = self.place(Ipa(at), 1).unwrap();
                let mut byte = [0];
                self.memory.device_read(DeviceAddress(place.start.0 + BUS_OFFSET), &mut byte);
                byte[0]
            };
            (at..at + bytes as u64).map(byte).collect()
        }
    }

    #[test]
    fn an_image_is_in_dram_and_fetched_whole() {
        let guest = Guest::new();
        let image: Vec<u8> = (0..700_u32).map(|n| (n * 7 % 251) as u8 + 1).collect();
        guest.memory.pe_write(2048, &image);
        load_image(&guest, Ipa(100), Span { start: Pa(2048), bytes: 700 }).unwrap();
        assert_eq!(guest.sees(100, 700), image);
        assert_eq!(guest.fetched.borrow().iter().map(|span| span.bytes).sum::<u32>(), 700);
    }

    #[test]
    fn a_device_tree_or_world_is_in_dram_and_fetched_whole() {
        let guest = Guest::new();
        let tree: Vec<u8> = (0..600_u32).map(|n| (n % 250) as u8 + 1).collect();
        load_bytes(&guest, Ipa(1400), &tree).unwrap();
        assert_eq!(guest.sees(1400, 600), tree);
        assert_eq!(guest.fetched.borrow().iter().map(|span| span.bytes).sum::<u32>(), 600);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let guest = Guest::new();
        let past = BLOCK * BLOCKS;
        assert!(load_bytes(&guest, Ipa(past - 10), &[1; 20]).is_err());
        assert!(load_bytes(&guest, Ipa(u64::MAX), &[1; 20]).is_err());
        assert!(load_image(&guest, Ipa(past), Span { start: Pa(2048), bytes: 4 }).is_err());
        load_bytes(&guest, Ipa(past), &[]).unwrap();
    }
}
