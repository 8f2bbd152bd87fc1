//! A card for a Raspberry Pi 4: the files beside its firmware, and a whole image with a FAT partition and one for a guest.
//!
//! `./bramble pi` writes both; the tests boot from what they read back of an image. The FAT partition is mtools' work.

use crate::archive::ArchiveBuilder;
use anyhow::{Context, Result, ensure};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The firmware's settings: 64 bits, our image, the boot archive behind it, and the serial line of the header's pins,
/// whose clock `enable_uart` holds still.
const CONFIG: &str = "\
arm_64bit=1
kernel=kernel8.img
initramfs boot.cpio followkernel
enable_uart=1
";

/// The host's boot arguments: a board that hangs restarts after 15 seconds.
const ARGUMENTS: &str = "bramble.watchdog\n";

/// For whoever finds the card.
const README: &str = "\
Bramble on a Raspberry Pi 4: everything here belongs on the first (FAT32) partition of the card, with Raspberry Pi's firmware
of 2021 or later (start4.elf, fixup4.dat, and the board's bcm2711-rpi-4-b.dtb, bcm2711-rpi-400.dtb or bcm2711-rpi-cm4.dtb).

Serial line: header pins 6 (ground), 8 (transmit), 10 (receive), 3.3 V, 115200 baud.
The guide is docs/pi/README.md.
";

/// What is ours in the folder, in the order in which it is written.
pub const FILES: [&str; 5] = ["kernel8.img", "boot.cpio", "config.txt", "cmdline.txt", "README.txt"];

/// Sectors of 512 bytes in a MiB.
const MIB: u64 = 2048;
/// Both partitions begin at whole MiB; the first leaves room for the table.
const FIRST: u64 = MIB;

/// Writes the folder; files of these names in it are replaced.
pub fn write_folder(folder: &Path, image: &Path, archive: &ArchiveBuilder) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
    fs::copy(image, folder.join(FILES[0]))?;
    archive.write(&folder.join(FILES[1]))?;
    for (name, text) in FILES[2..].iter().zip([CONFIG, ARGUMENTS, README]) {
        fs::write(folder.join(name), text)?;
    }
    Ok(())
}

/// A card as an image file.
#[derive(Clone, Debug)]
pub struct CardImage {
    /// The file.
    pub path: PathBuf,
    /// First sector and sectors of the partition for a guest, number 2.
    pub guest: (u64, u64),
}

impl CardImage {
    /// Makes a card of `mib` MiB (sparse where the file system can) with all files of the folder in a FAT32 partition of
    /// `fat_mib` MiB, and the rest as a second partition.
    pub fn make(path: &Path, mib: u64, fat_mib: u64, folder: &Path) -> Result<Self> {
        let guest = FIRST + fat_mib * MIB;
        ensure!(
            guest + MIB <= mib * MIB,
            "a card of {mib} MiB has no room beside {fat_mib} MiB for the files"
        );
        let card = Self { path: path.to_owned(), guest: (guest, mib * MIB - guest) };
        let file = File::create(path).with_context(|| format!("can't make {}", path.display()))?;
        file.set_len(mib << 20)?;
        card.write_table(&[(0x0c, FIRST, fat_mib * MIB), (0x83, card.guest.0, card.guest.1)])?;
        // FAT32 needs 65,525 clusters at least.
        let cluster = if fat_mib < 512 { "1" } else { "8" };
        let sectors = (fat_mib * MIB).to_string();
        mtool(
            "mformat",
            [
                OsStr::new("-i"),
                &card.fat(),
                "-F".as_ref(),
                "-c".as_ref(),
                cluster.as_ref(),
                "-T".as_ref(),
                sectors.as_ref(),
                "-v".as_ref(),
                "BRAMBLE".as_ref(),
                "::".as_ref(),
            ],
        )?;
        for name in files_of(folder, path)? {
            mtool("mcopy", [OsStr::new("-i"), &card.fat(), folder.join(name).as_os_str(), "::".as_ref()])?;
        }
        Ok(card)
    }

    /// Writes an MBR: (type, first sector, sectors) of each partition.
    pub fn write_table(&self, partitions: &[(u8, u64, u64)]) -> Result<()> {
        let mut sector = [0; 512];
        for (n, (kind, first, sectors)) in partitions.iter().enumerate() {
            let entry = &mut sector[446 + 16 * n..][..16];
            entry[4] = *kind;
            entry[8..12].copy_from_slice(&u32::try_from(*first)?.to_le_bytes());
            entry[12..].copy_from_slice(&u32::try_from(*sectors)?.to_le_bytes());
        }
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        let mut file = File::options().write(true).open(&self.path)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&sector)?;
        Ok(())
    }

    /// Reads a file of the FAT partition back.
    pub fn copy_out(&self, name: &str, to: &Path) -> Result<()> {
        let from = format!("::{name}");
        mtool("mcopy", [OsStr::new("-n"), "-i".as_ref(), &self.fat(), from.as_ref(), to.as_os_str()])
    }

    /// mtools' name for the FAT partition.
    fn fat(&self) -> std::ffi::OsString {
        let mut name = self.path.clone().into_os_string();
        name.push(format!("@@{}", FIRST * 512));
        name
    }
}

/// The names of a folder's files, but for the card itself.
pub fn files_of(folder: &Path, card: &Path) -> Result<Vec<std::ffi::OsString>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("no {}", folder.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_file() && entry.path() != card {
            names.push(entry.file_name());
        }
    }
    names.sort();
    Ok(names)
}

fn mtool<'a>(program: &str, arguments: impl IntoIterator<Item = &'a OsStr>) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .env("MTOOLS_SKIP_CHECK", "1")
        .output()
        .with_context(|| format!("can't start {program}: it is in Debian's package mtools"))?;
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
