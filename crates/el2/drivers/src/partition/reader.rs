//! Reads a disk's partition table through its driver, one request in flight.
//!
//! Called by `vmkernel` when a disk was found, before anyone shares it; calls a [`BlockBackend`] and [`Scan`]. Waits for
//! nothing: [`Reader::poll`] goes on after each completion.

use super::{PartitionTable, SECTOR, Scan, Want};
use ports::{BlockBackend, BlockOp, BlockRequest, GuestMemory, Span, Submitted, Token};

/// Bytes of the buffer.
pub const BUFFER_BYTES: u32 = 512;

const _: () = assert!(BUFFER_BYTES as usize == SECTOR);

/// A reading under way.
#[derive(Debug)]
pub struct Reader {
    scan: Scan,
    buffer: Span,
    in_flight: bool,
}

impl Reader {
    /// Of a disk of `disk_sectors` sectors, with a buffer of [`BUFFER_BYTES`].
    pub fn new(disk_sectors: u64, buffer: Span) -> Self {
        Self { scan: Scan::new(disk_sectors), buffer, in_flight: false }
    }

    /// Goes on; `true` once there is a table: see [`Self::finish`].
    pub fn poll(&mut self, disk: &mut impl BlockBackend, memory: &dyn GuestMemory) -> bool {
        while let Want::Sector(sector) = self.scan.want() {
            let result = if self.in_flight {
                let Some(end) = disk.complete() else { return false };
                self.in_flight = false;
                end.result
            } else {
                let data = [self.buffer];
                let request =
                    BlockRequest { token: Token(0), op: BlockOp::Read, sector, data: &data, memory };
                match disk.submit(&request) {
                    Submitted::Done(result) => result,
                    Submitted::InFlight => {
                        self.in_flight = true;
                        continue;
                    }
                    Submitted::Full => return false,
                }
            };
            let mut bytes = [0; SECTOR];
            match result {
                Ok(()) => {
                    memory.read_span(self.buffer, &mut bytes);
                    self.scan.take(&bytes);
                }
                Err(_) => self.scan.take_error(),
            }
        }
        true
    }

    /// The table.
    pub fn finish(self) -> PartitionTable {
        self.scan.finish()
    }
}
