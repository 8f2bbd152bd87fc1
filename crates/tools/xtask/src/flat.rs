//! From an ELF file to the flat file that bootloaders take: the loadable segments at their distance from the first.

use anyhow::{Context, Result, bail};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSymbol, SymbolKind, elf};
use std::fs;
use std::path::Path;

/// More than any image of ours needs; a stray segment far away would make a huge file.
const LIMIT: u64 = 64 << 20;

/// Writes the flat form of `from` to `to` and returns its size. A file that is the same stays: what is built of it does, too.
pub fn flatten(from: &Path, to: &Path) -> Result<u64> {
    let bytes = fs::read(from).with_context(|| format!("can't read {}", from.display()))?;
    let flat = flat_bytes(&bytes).with_context(|| format!("can't make {} flat", from.display()))?;
    if fs::read(to).ok().as_ref() != Some(&flat) {
        fs::write(to, &flat).with_context(|| format!("can't write {}", to.display()))?;
    }
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
    put_symbols(&file, base, &mut flat)?;
    Ok(flat)
}

/// Fills the section between `__symbols_start` and `__symbols_end`, where the image has it, with the names of its
/// functions. The layout is `vmkernel::panic_screen`'s.
fn put_symbols(file: &ElfFile64<'_, Endianness>, base: u64, flat: &mut [u8]) -> Result<()> {
    let border =
        |name| file.symbols().find(|symbol| symbol.name() == Ok(name)).map(|symbol| symbol.address() - base);
    let (Some(start), Some(end)) = (border("__symbols_start"), border("__symbols_end")) else {
        return Ok(());
    };
    let mut functions: Vec<(u32, String)> = file
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.address() >= base)
        .filter_map(|symbol| {
            let name = format!("{:#}", rustc_demangle::demangle(symbol.name().ok()?));
            Some((u32::try_from(symbol.address() - base).ok()?, name.chars().take(96).collect()))
        })
        .collect();
    functions.sort();
    functions.dedup_by_key(|function| function.0);
    let (mut table, mut names) = (u32::try_from(functions.len())?.to_le_bytes().to_vec(), String::new());
    for (offset, name) in &functions {
        names.push_str(name);
        table.extend(offset.to_le_bytes());
        table.extend(u32::try_from(names.len())?.to_le_bytes());
    }
    table.extend(names.as_bytes());
    let place =
        flat.get_mut(usize::try_from(start)?..usize::try_from(end)?).context("symbols outside the image")?;
    if table.len() > place.len() {
        bail!("{} bytes of symbols, and image.ld leaves {}: enlarge .symbols", table.len(), place.len());
    }
    place[..table.len()].copy_from_slice(&table);
    Ok(())
}
