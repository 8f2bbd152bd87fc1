//! A Raspberry Pi 4 has no AES, SHA, PMULL or LSE instructions, and QEMU's cortex-a72 has some of them: an image that
//! uses one runs in every test here and dies on the board. So the instructions themselves are looked at.
//!
//! Encodings: Arm ARM (DDI 0487), C4.1 "A64 instruction set encoding": Advanced SIMD cryptography (C4.1.96),
//! Compare and swap, Atomic memory operations (C4.1.94).

use anyhow::{Context, Result};
use object::{Object, ObjectSection, ObjectSymbol, SectionKind};
use std::fs;
use std::path::Path;

struct Forbidden {
    name: &'static str,
    mask: u32,
    value: u32,
}

const FORBIDDEN: [Forbidden; 8] = [
    Forbidden { name: "AES", mask: 0xfffe_0c00, value: 0x4e28_0800 },
    Forbidden { name: "SHA (two registers)", mask: 0xfffe_0c00, value: 0x5e28_0800 },
    Forbidden { name: "SHA (three registers)", mask: 0xffe0_8c00, value: 0x5e00_0000 },
    Forbidden { name: "PMULL of 64 bits", mask: 0xbfe0_fc00, value: 0x0ee0_e000 },
    Forbidden { name: "LSE compare and swap", mask: 0x3fa0_7c00, value: 0x08a0_7c00 },
    Forbidden { name: "LSE compare and swap of a pair", mask: 0xbfa0_7c00, value: 0x0820_7c00 },
    Forbidden { name: "LSE atomic operation", mask: 0x3f20_8c00, value: 0x3820_0000 },
    Forbidden { name: "LSE swap", mask: 0x3f20_fc00, value: 0x3820_8000 },
];

fn forbidden(word: u32) -> Option<&'static str> {
    FORBIDDEN.iter().find(|f| word & f.mask == f.value).map(|f| f.name)
}

/// The forbidden instructions of an ELF file.
pub fn check(elf: &Path) -> Result<Vec<String>> {
    let bytes = fs::read(elf).with_context(|| format!("can't read {}", elf.display()))?;
    let file = object::File::parse(&*bytes)?;
    let mut symbols: Vec<(u64, &str)> =
        file.symbols().filter_map(|s| Some((s.address(), s.name().ok()?))).collect();
    symbols.sort_unstable();
    let mut faults = Vec::new();
    for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
        let data = section.uncompressed_data()?;
        for (address, word) in (section.address()..).step_by(4).zip(data.chunks_exact(4)) {
            let word = word.try_into().map(u32::from_le_bytes)?;
            if let Some(name) = forbidden(word) {
                let place = symbols.partition_point(|(start, _)| *start <= address).checked_sub(1);
                let symbol = place.and_then(|at| symbols.get(at)).map_or("?", |symbol| symbol.1);
                faults.push(format!("{name} ({word:#010x}) at {address:#x} in {symbol}"));
            }
        }
    }
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use super::forbidden;

    #[test]
    fn known_encodings() {
        let bad = [
            (0x4e28_4841, "aese v1, v2"),
            (0x4e28_6841, "aesmc v1, v2"),
            (0x5e02_0020, "sha1c q0, s1, v2"),
            (0x5e02_4020, "sha256h q0, q1, v2"),
            (0x5e28_0820, "sha1h s0, s1"),
            (0x5e28_2820, "sha256su0 v0, v1"),
            (0x0ee2_e020, "pmull v0.1q, v1.1d, v2.1d"),
            (0x4ee2_e020, "pmull2 v0.1q, v1.2d, v2.2d"),
            (0xc8a0_7c41, "cas x0, x1, [x2]"),
            (0x88e0_fc41, "casal w0, w1, [x2]"),
            (0x4820_7c82, "casp x0, x1, x2, x3, [x4]"),
            (0xf820_0041, "ldadd x0, x1, [x2]"),
            (0xb8e0_3041, "ldsetal w0, w1, [x2]"),
            (0xf820_8041, "swp x0, x1, [x2]"),
        ];
        for (word, text) in bad {
            assert!(forbidden(word).is_some(), "{text}");
        }
        let good = [
            (0xc85f_7c41, "ldxr x1, [x2]"),
            (0xc800_7c41, "stxr w0, x1, [x2]"),
            (0xc87f_0841, "ldxp x1, x2, [x2]"),
            (0xf862_6820, "ldr x0, [x1, x2]"),
            (0xf840_0041, "ldur x1, [x2]"),
            (0x8b00_0041, "add x1, x2, x0"),
            (0x4e20_1c00, "and v0.16b, v0.16b, v0.16b"),
            (0x0e22_e020, "pmull v0.8h, v1.8b, v2.8b"),
            (0xd503_201f, "nop"),
        ];
        for (word, text) in good {
            assert_eq!(forbidden(word), None, "{text}");
        }
    }
}
