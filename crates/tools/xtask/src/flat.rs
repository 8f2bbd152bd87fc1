//! From an ELF file to the flat file that bootloaders take: the loadable segments at their distance from the first.

use anyhow::{Context, Result, bail};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, elf};
use std::fs;
use std::path::Path;

/// More than any image of ours needs; a stray segment far away would make a huge file.
const LIMIT: u64 = 64 << 20;

/// Writes the flat form of `from` to `to` and returns its size.
pub fn flatten(from: &Path, to: &Path) -> Result<u64> {
    let bytes = fs::read(from).with_context(|| format!("can't read {}", from.display()))?;
    let flat = flat_bytes(&bytes).with_context(|| format!("can't make {} flat", from.display()))?;
    fs::write(to, &flat).with_context(|| format!("can't write {}", to.display()))?;
    Ok(flat.len() as u64)
}

fn flat_bytes(file: &[u8]) -> Result<Vec<u8>> {
    let file = ElfFile64::<Endianness>::parse(file)?;
    let endian = file.endian();
    let segments = file.elf_header().program_headers(endian, file.data())?;
    let loads = || segments.iter().filter(|s| s.p_type(endian) == elf::PT_LOAD && s.p_filesz(endian) > 0);
    let Some(base) = loads().map(|s| s.p_paddr(endian)).min() else { bail!("no segment to load") };
    let mut flat = Vec::new();
    for segment in loads() {
        let start = segment.p_paddr(endian) - base;
        let data =
            segment.data(endian, file.data()).map_err(|()| anyhow::anyhow!("a segment lies outside"))?;
        let end = start + data.len() as u64;
        if end > LIMIT {
            bail!("a segment ends {end} bytes after the first");
        }
        let (start, end) = (usize::try_from(start)?, usize::try_from(end)?);
        if flat.len() < end {
            flat.resize(end, 0);
        }
        flat[start..end].copy_from_slice(data);
    }
    Ok(flat)
}
