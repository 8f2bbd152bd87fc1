//! What is asked about firmware variables: those of a new VM, and new ones.

use super::{Errand, Errands, field};
use crate::desk;
use crate::home::port::Port;
use crate::host::Host;
use abi::{Answer, RequestKind, Status, VmHandle};
use alloc::string::String;
use alloc::vec::Vec;
use datastore::Store;
use keeper::variables::volume_name;
use virtio::calls::Token;

impl Errands {
    /// A new VM has none that another of its name left, but perhaps those of the VM of a handle.
    pub(super) fn begin_variables(&mut self, host: &Host, store: &Store<Port>, name: &str, of: u64) {
        let variables = volume_name(name);
        if let Some(old) = store.catalog().volume(&variables) {
            self.submit_to(RequestKind::DeleteVolume, old, Vec::new(), Errand::Drop);
        }
        let from = host.inventory.read(VmHandle::from_raw(of), |known| volume_name(&known.name));
        if let Some(from) = from.ok().filter(|_| of != 0).and_then(|from| store.catalog().volume(&from)) {
            let errand = Errand::Copy(String::from(name));
            self.submit_to(RequestKind::CloneVolume, from, field(&variables), errand);
        }
    }

    /// Those of a VM of the boot archive live as long as it runs: it has new ones anyway.
    pub(super) fn reset_variables(
        &mut self,
        host: &'static Host,
        token: Token,
        target: VmHandle,
        store: Option<&mut Store<Port>>,
    ) -> Result<(), (Status, String)> {
        let bare = |status: Status| (status, String::new());
        let (name, is_on, has_firmware) = host
            .inventory
            .read(target, |known| {
                let mut boots = known.source.document.iter().map(|vm| &vm.boot);
                (known.name.clone(), known.vm.is_some(), boots.any(|boot| boot.firmware.is_some()))
            })
            .map_err(bare)?;
        if is_on {
            return Err(bare(Status::Conflict));
        }
        if !has_firmware {
            return Err(bare(Status::NotFound));
        }
        let volume = store.and_then(|store| {
            self.saves.forget(host, store, &name);
            store.catalog().volume(&volume_name(&name))
        });
        match volume {
            Some(volume) => {
                self.submit_to(RequestKind::DeleteVolume, volume, Vec::new(), Errand::Reset(token));
            }
            None => desk::deliver(host, token, Answer::of(Status::Ok), Vec::new()),
        }
        Ok(())
    }
}
