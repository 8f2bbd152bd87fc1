//! The boards that QEMU offers, and what each can't have.

use anyhow::{Result, bail};
use std::fmt;
use std::str::FromStr;

/// A board by its QEMU machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Board {
    /// `-M virt,gic-version=3`.
    VirtGicv3,
    /// `-M virt,gic-version=2`.
    VirtGicv2,
    /// `-M raspi4b`.
    Raspi4b,
}

impl Board {
    /// Every board, the default first.
    pub const ALL: [Board; 3] = [Board::VirtGicv3, Board::VirtGicv2, Board::Raspi4b];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Board::VirtGicv3 => "virt-gicv3",
            Board::VirtGicv2 => "virt-gicv2",
            Board::Raspi4b => "raspi4b",
        }
    }

    /// PEs when nothing is asked for.
    pub fn default_cpus(self) -> u32 {
        4
    }

    /// RAM in MiB when nothing is asked for.
    pub fn default_memory_mib(self) -> u32 {
        match self {
            Board::Raspi4b => 2048,
            Board::VirtGicv3 | Board::VirtGicv2 => 3072,
        }
    }

    /// Whether it has virtio devices (disks and an uplink).
    pub fn has_virtio(self) -> bool {
        self != Board::Raspi4b
    }

    /// Refuses what the board can't have, naming the limit.
    pub fn admit(self, cpus: u32, memory_mib: u32) -> Result<()> {
        let name = self.name();
        match self {
            Board::Raspi4b if cpus != 4 => bail!("{name} has exactly 4 PEs, not {cpus}"),
            Board::Raspi4b if memory_mib != 2048 => {
                bail!("{name} has exactly 2 GiB of memory in QEMU, not {memory_mib} MiB")
            }
            Board::VirtGicv2 if !(1..=8).contains(&cpus) => {
                bail!("{name} has 1 to 8 PEs (the limit of a GICv2), not {cpus}")
            }
            Board::VirtGicv3 if !(1..=128).contains(&cpus) => {
                bail!("{name} has 1 to 128 PEs (the limit of Bramble), not {cpus}")
            }
            _ if memory_mib < 128 => bail!("{name} needs at least 128 MiB of memory, not {memory_mib} MiB"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Board {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match Board::ALL.into_iter().find(|board| board.name() == text) {
            Some(board) => Ok(board),
            None => bail!("no board {text:?}: there are virt-gicv3, virt-gicv2 and raspi4b"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Board;

    #[test]
    fn limits_are_named() {
        let said = |board: Board, cpus, memory| board.admit(cpus, memory).unwrap_err().to_string();
        assert!(said(Board::Raspi4b, 8, 2048).contains("exactly 4 PEs"));
        assert!(said(Board::Raspi4b, 4, 4096).contains("exactly 2 GiB"));
        assert!(said(Board::VirtGicv2, 9, 2048).contains("1 to 8 PEs"));
        assert!(said(Board::VirtGicv3, 129, 2048).contains("1 to 128 PEs"));
        for board in Board::ALL {
            board.admit(board.default_cpus(), board.default_memory_mib()).unwrap();
        }
    }
}
