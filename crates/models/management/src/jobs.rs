//! What tasks do.

use crate::kept::name_field;
use crate::port::{Port, Request};
use crate::problem::Problem;
use crate::tasks::Progress;
use crate::{Management, ask};
use abi::{RequestKind, Status};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// Bytes of one step of a copy.
const STEP: usize = 64 * 1024;
/// What a volume's size is a multiple of.
const SECTOR: u64 = 512;

/// Long work.
pub enum Job {
    /// A request about a VM.
    Vm(RequestKind, u64),
    /// Make a datastore: a disk's serial number, once or twice.
    MakeDatastore(Vec<u8>, bool),
    /// Restart the host or turn it off.
    Host(RequestKind, u64),
    /// Copy an object to a new volume.
    Import {
        /// The object.
        object: String,
        /// The volume's name.
        volume: String,
    },
}

impl Job {
    /// Whether it ends when it is asked to.
    pub fn can_cancel(&self) -> bool {
        matches!(self, Self::Import { .. })
    }

    /// Does it; a path of the API to what it made.
    pub async fn carry_out<P: Port>(
        self,
        management: &Management<P>,
        progress: &Progress<'_, P>,
    ) -> Result<Option<String>, Problem> {
        let port = &management.port;
        match self {
            Self::Vm(kind, handle) => ask::ask(port, kind, handle, 0).await.map(|_| None),
            Self::Host(kind, argument) => ask::ask(port, kind, 0, argument).await.map(|_| None),
            Self::MakeDatastore(serials, whole) => {
                let send = [serials.as_slice(), &[]];
                ask::send(port, RequestKind::MakeDatastore, 0, u64::from(whole), send).await?;
                management.watch.forget_datastore();
                Ok(Some(String::from("/api/v1/datastore")))
            }
            Self::Import { object, volume } => import(port, progress, &object, &volume).await.map(Some),
        }
    }
}

async fn import<P: Port>(
    port: &P,
    progress: &Progress<'_, P>,
    object: &str,
    volume: &str,
) -> Result<String, Problem> {
    let bad_name = || Problem::new(422, "bad-name", "this is no name", "give 1 to 64 bytes");
    let object = name_field(object).ok_or_else(bad_name)?;
    let name = name_field(volume).ok_or_else(bad_name)?;
    let (size, _) = read(port, &object, 0, &mut []).await?;
    let bytes = size.next_multiple_of(SECTOR);
    let id = ask::send(port, RequestKind::CreateVolume, 0, bytes, [&name, &[]]).await?;
    let copied = copy(port, progress, &object, id, size).await;
    let flushed = match copied {
        Ok(()) => ask::ask(port, RequestKind::FlushVolume, id, 0).await.map(|_| ()),
        Err(problem) => Err(problem),
    };
    if let Err(problem) = flushed {
        // Half a volume is none.
        let _ = ask::ask(port, RequestKind::DeleteVolume, id, 0).await;
        return Err(problem);
    }
    Ok(format!("/api/v1/volumes/{id}"))
}

async fn copy<P: Port>(
    port: &P,
    progress: &Progress<'_, P>,
    object: &[u8],
    volume: u64,
    size: u64,
) -> Result<(), Problem> {
    let mut piece = vec![0; STEP];
    let mut at = 0;
    while at < size {
        if progress.is_cancelled() {
            return Err(Problem::new(409, "cancelled", "the task was cancelled", "begin it anew"));
        }
        let (_, bytes) = read(port, object, at, &mut piece).await?;
        let whole = bytes.next_multiple_of(512).min(STEP);
        piece.get_mut(bytes..whole).unwrap_or_default().fill(0);
        let data = piece.get(..whole).unwrap_or_default();
        if bytes == 0 {
            return Err(
                crate::operations::refused(Status::Failed).saying("the object became shorter meanwhile")
            );
        }
        // What is zero needs no room in a thin volume.
        if data.iter().any(|byte| *byte != 0) {
            ask::send(port, RequestKind::WriteVolume, volume, at, [data, &[]]).await?;
        }
        at = at.saturating_add(bytes as u64);
        progress.tell(at, size);
    }
    Ok(())
}

async fn read<P: Port>(port: &P, object: &[u8], from: u64, into: &mut [u8]) -> Result<(u64, usize), Problem> {
    let request = Request { kind: RequestKind::ReadObject, target: 0, argument: from, send: [object, &[]] };
    match port.request(request, into).await {
        Ok(received) => Ok((received.value, received.bytes)),
        Err(refused) => Err(crate::operations::refused(refused.status)),
    }
}
