//! Once a second: what is new on the host becomes events.

use crate::inventory;
use crate::port::Port;
use crate::{Management, ask, audit, unix_seconds};
use abi::RequestKind;
use abi::record::{DatastoreRecord, VOLATILE, VmRecord};
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

/// The datastore is looked at every so many seconds.
const DATASTORE_EVERY: u64 = 10;

/// What was seen last.
#[derive(Default)]
pub struct Watch {
    vms: RefCell<Option<Vec<Seen>>>,
    /// Free bytes, volumes and flags of the datastore.
    datastore: Cell<Option<(u32, u32, u32)>>,
    looks: Cell<u64>,
}

#[derive(Clone, PartialEq)]
struct Seen {
    name: String,
    handle: u64,
    power: u32,
    starts: u64,
}

impl Watch {
    /// Whether the host has no datastore, as far as was seen.
    pub fn is_volatile(&self) -> bool {
        self.datastore.get().is_some_and(|(_, _, flags)| flags & VOLATILE != 0)
    }

    /// The datastore is to be looked at next time, whenever that was due.
    pub fn forget_datastore(&self) {
        self.looks.set(0);
    }
}

impl<P: Port> Management<P> {
    /// Looks once.
    pub(crate) async fn look(&self) {
        for text in self.refusals.due(self.port.now()) {
            audit::append(&self.port, &text).await;
        }
        self.settings.look(&self.port).await;
        self.heed_presence().await;
        if let Ok(vms) = inventory::list(&self.port) {
            self.compare(&vms);
            self.measure(&vms).await;
        }
        let looks = self.watch.looks.get();
        self.watch.looks.set(looks.wrapping_add(1));
        if looks.is_multiple_of(DATASTORE_EVERY) {
            self.look_at_datastore().await;
        }
    }

    async fn look_at_datastore(&self) {
        let answer = ask::get(&self.port, RequestKind::InspectDatastore, 0, 0, [&[], &[]]).await;
        let Some(record) = answer.ok().and_then(|(_, bytes)| bytes.as_slice().try_into().ok()) else {
            return;
        };
        let record = DatastoreRecord::from_bytes(&record);
        let seen = Some((record.volumes, record.objects, record.flags));
        let before = self.watch.datastore.replace(seen);
        if before.is_some() && before != seen {
            self.tell("datastore", "", None);
        }
    }

    /// Looks at the VMs after a change that came from here, so that watchers need not wait.
    pub(crate) fn look_at_vms(&self) {
        if let Ok(vms) = inventory::list(&self.port) {
            self.compare(&vms);
        }
    }

    fn compare(&self, vms: &[VmRecord]) {
        let seen = |vm: &VmRecord| Seen {
            name: ask::text(&vm.name),
            handle: vm.handle,
            power: vm.power,
            starts: vm.starts,
        };
        let now: Vec<Seen> = vms.iter().map(seen).collect();
        let Some(before) = self.watch.vms.replace(Some(now.clone())) else { return };
        for gone in before.iter().filter(|old| !now.iter().any(|new| new.handle == old.handle)) {
            self.tell("vm.removed", &gone.name, None);
        }
        for (new, record) in now.iter().zip(vms) {
            let kind = match before.iter().find(|old| old.handle == new.handle) {
                None => "vm.added",
                Some(old) if old == new => continue,
                Some(_) => "vm.power",
            };
            self.tell(kind, &new.name, audit::value(&inventory::shown(record)));
        }
    }

    /// Tells watchers of something.
    pub(crate) fn tell(&self, kind: &str, subject: &str, data: Option<serde_json::Value>) {
        self.events.tell(unix_seconds(&self.port), kind, subject, data);
    }
}
