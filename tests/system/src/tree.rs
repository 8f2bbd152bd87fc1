//! A device tree with a seed, as the Pi's firmware has given it since 2021: QEMU's raspi4b has no source of random bits
//! that Bramble drives, and a guest that waits for its first random bytes may wait for ever.
//!
//! Source: Devicetree Specification 0.4, 5 "Flattened Devicetree (DTB) Format".

use anyhow::{Context, Result, ensure};

/// FDT_BEGIN_NODE and the name of `/chosen`, padded to four bytes.
const CHOSEN: &[u8] = b"\0\0\0\x01chosen\0\0";

/// Offsets in the header.
const TOTAL_SIZE: usize = 4;
const STRUCT_AT: usize = 8;
const STRINGS_AT: usize = 12;
const STRINGS_SIZE: usize = 32;
const STRUCT_SIZE: usize = 36;

/// `tree` with `/chosen/rng-seed`.
pub fn with_seed(tree: &[u8], seed: &[u8; 32]) -> Result<Vec<u8>> {
    with_chosen(tree, "rng-seed", seed)
}

/// `tree` with a property of `/chosen`, whose value has a multiple of four bytes.
pub fn with_chosen(tree: &[u8], name: &str, value: &[u8]) -> Result<Vec<u8>> {
    ensure!(value.len().is_multiple_of(4), "{name} has {} bytes", value.len());
    let word = |at: usize| {
        let bytes = tree.get(at..at + 4).context("a short device tree")?;
        Ok::<_, anyhow::Error>(u32::from_be_bytes(bytes.try_into()?) as usize)
    };
    let (struct_at, strings_at) = (word(STRUCT_AT)?, word(STRINGS_AT)?);
    let (struct_size, strings_size) = (word(STRUCT_SIZE)?, word(STRINGS_SIZE)?);
    ensure!(strings_at >= struct_at + struct_size, "the strings come before the structure");
    let structure = tree.get(struct_at..struct_at + struct_size).context("a short device tree")?;
    let strings = tree.get(strings_at..strings_at + strings_size).context("a short device tree")?;
    let chosen = structure.windows(CHOSEN.len()).position(|bytes| bytes == CHOSEN).context("no /chosen")?;
    let after = chosen + CHOSEN.len();
    // FDT_PROP, its length, where its name is.
    let mut property = Vec::new();
    for word in [3, value.len(), strings_size] {
        property.extend(u32::try_from(word)?.to_be_bytes());
    }
    property.extend(value);
    let mut whole = tree[..struct_at].to_vec();
    whole.extend(&structure[..after]);
    whole.extend(&property);
    whole.extend(&structure[after..]);
    let new_strings = whole.len();
    whole.extend(strings);
    whole.extend(name.as_bytes());
    whole.push(0);
    for (at, value) in [
        (TOTAL_SIZE, whole.len()),
        (STRINGS_AT, new_strings),
        (STRINGS_SIZE, strings_size + name.len() + 1),
        (STRUCT_SIZE, struct_size + property.len()),
    ] {
        whole[at..at + 4].copy_from_slice(&u32::try_from(value)?.to_be_bytes());
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_is_in_chosen_and_the_rest_is_as_it_was() {
        let tree = include_bytes!("../../../crates/el2/drivers/device-trees/pi4-like.dtb");
        let seeded = with_seed(tree, &[7; 32]).unwrap();
        assert_eq!(seeded.len(), tree.len() + 12 + 32 + 9);
        let at = seeded.windows(32).position(|bytes| bytes == [7; 32]).unwrap();
        assert!(at > 0 && with_seed(&tree[..100], &[7; 32]).is_err());
        let again = with_seed(&seeded, &[8; 32]).unwrap();
        assert_eq!(again.len(), seeded.len() + 12 + 32 + 9);
    }
}
