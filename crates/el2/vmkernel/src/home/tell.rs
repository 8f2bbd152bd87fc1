//! What the host log says of the datastore.

use crate::home::mounting::Place;
use crate::home::port::Port;
use crate::host::Host;
use crate::log;
use datastore::{Event, Store};

/// The line of the log that says what was mounted.
pub(super) fn tell_mounted(host: &Host, place: &Place, store: &mut Store<Port>) {
    let usage = store.usage();
    let mib = |blocks: u64| blocks >> 8;
    let (total, free) = (mib(usage.total), mib(usage.available));
    let (number, serial) = (place.partition.number, &place.serial);
    let uuid = Uuid(store.uuid());
    log!(
        host.console,
        "datastore {uuid}: {total} MiB, {free} MiB free, partition {number} of disk \"{serial}\""
    );
    if let Some(why) = store.read_only() {
        log!(host.console, "datastore {uuid}: {why}");
    }
    tell_events(host, store);
}

pub(super) fn tell_events(host: &Host, store: &mut Store<Port>) {
    let Some(event) = store.event() else { return };
    match event {
        Event::OlderRoot { generation } => {
            log!(host.console, "datastore: one root was unreadable; generation {generation} was used");
        }
        Event::SuperblockCopy => {
            log!(host.console, "datastore: the superblock is damaged; its copy was used")
        }
        Event::MetadataCopy { block } => {
            log!(host.console, "datastore: metadata block {block} is damaged; its copy was used");
        }
        Event::Corrupt(error) => log!(host.console, "datastore: {error}"),
        Event::BecameReadOnly(why) => log!(host.console, "datastore: it takes no more writes: {why}"),
        Event::GroupLost { group } => {
            log!(host.console, "datastore: the space map of group {group} is unreadable");
        }
        Event::Scrubbed(_) => {}
    }
}

/// As people write it; `bramblectl datastore info` prints the same.
struct Uuid([u8; 16]);

impl core::fmt::Display for Uuid {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}
