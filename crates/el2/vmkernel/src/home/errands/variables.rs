//! A world wants firmware variables to be new.

use super::{Errand, Errands};
use crate::desk;
use crate::home::port::Port;
use crate::host::Host;
use abi::{Answer, RequestKind, Status, VmHandle};
use alloc::string::String;
use alloc::vec::Vec;
use datastore::Store;
use virtio::calls::Token;

impl Errands {
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
        let Some(store) = store else {
            desk::deliver(host, token, Answer::of(Status::Ok), Vec::new());
            return Ok(());
        };
        self.saves.forget(host, store, &name);
        let kind = RequestKind::ResetFirmwareVariables;
        self.submit_to(kind, target.to_raw(), Vec::new(), Errand::Reset(token));
        Ok(())
    }
}
