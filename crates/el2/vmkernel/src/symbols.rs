//! The names of functions, for backtraces, from the table that xtask puts into the image.

/// The function at `offset` of the image, and how far into it.
///
/// | bytes | table, little-endian |
/// |---|---|
/// | 4 | number of functions n |
/// | 8 × n | offset in the image, end of its name; by ascending offset |
/// | rest | the names, one after the other |
pub fn symbol(table: &[u8], offset: u64) -> Option<(&str, u64)> {
    let word = |index: usize| {
        let at = index.checked_mul(4)?;
        let bytes = table.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let count = usize::try_from(word(0)?).ok()?;
    let entry =
        |n: usize| Some((word(n.checked_mul(2)?.checked_add(1)?)?, word(n.checked_mul(2)?.checked_add(2)?)?));
    let found =
        (0..count).take_while(|n| entry(*n).is_some_and(|(start, _)| u64::from(start) <= offset)).last()?;
    let (start, end) = entry(found)?;
    let from = found.checked_sub(1).and_then(entry).map_or(0, |(_, end)| end);
    let names = table.get(count.checked_mul(8)?.checked_add(4)?..)?;
    let name = names.get(usize::try_from(from).ok()?..usize::try_from(end).ok()?)?;
    Some((str::from_utf8(name).ok()?, offset.checked_sub(u64::from(start))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn table(functions: &[(u32, &str)]) -> Vec<u8> {
        let mut table = (functions.len() as u32).to_le_bytes().to_vec();
        let mut end = 0;
        for (offset, name) in functions {
            end += name.len() as u32;
            table.extend(offset.to_le_bytes());
            table.extend(end.to_le_bytes());
        }
        functions.iter().for_each(|(_, name)| table.extend(name.bytes()));
        table
    }

    #[test]
    fn the_function_below_an_offset_is_named() {
        let table = table(&[(0x100, "boot"), (0x180, "vmkernel::pe::next"), (0x400, "last")]);
        for (offset, expected) in [
            (0xff, None),
            (0x100, Some(("boot", 0))),
            (0x17f, Some(("boot", 0x7f))),
            (0x3ff, Some(("vmkernel::pe::next", 0x27f))),
            (u64::MAX, Some(("last", u64::MAX - 0x400))),
        ] {
            assert_eq!(symbol(&table, offset), expected, "{offset:#x}");
        }
    }

    /// The panic screen may find an image without names, or half a table: it must not fail again.
    #[test]
    fn a_bad_table_names_nothing() {
        let good = table(&[(0, "a"), (8, "b")]);
        assert_eq!(symbol(&[0; 64], 4), None);
        for cut in 0..good.len() {
            let _ = symbol(&good[..cut], 9);
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0xff;
            let _ = symbol(&bad, 9);
        }
    }
}
