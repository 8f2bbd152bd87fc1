//! What tasks do.

use crate::kept::name_field;
use crate::port::{Port, Request};
use crate::problem::Problem;
use crate::qcow2::{self, Extent, Image, Source};
use crate::tasks::Progress;
use crate::{Management, ask};
use abi::{RequestKind, Status};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// Bytes of one step of a copy.
const STEP: usize = 64 * 1024;
/// What a volume's size is a multiple of, and what a write's is.
const BLOCK: u64 = 4096;
const SECTOR: usize = 512;

/// Long work.
pub enum Job {
    /// A request about a VM.
    Vm(RequestKind, u64),
    /// Make a datastore: a disk's serial number, once or twice.
    MakeDatastore(Vec<u8>, bool),
    /// Restart the host or turn it off.
    Host(RequestKind, u64),
    /// Make a VM of another one.
    Clone(Clone),
    /// Copy an object to a new volume.
    Import {
        /// The object.
        object: String,
        /// The volume's name.
        volume: String,
    },
}

/// A VM that is to be made of another one.
pub struct Clone {
    /// The other one.
    pub vm: u64,
    /// It was on.
    pub is_on: bool,
    /// The snapshot of it that is meant.
    pub snapshot: Option<u64>,
    /// The name of the one to be made.
    pub name: String,
    /// Its document.
    pub document: String,
    /// Volumes of the other one, by their ids, and how those of this one are called.
    pub volumes: Vec<(u64, String)>,
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
            Self::Clone(clone) => clone.carry_out(port, progress).await.map(Some),
            Self::Import { object, volume } => import(port, progress, &object, &volume).await.map(Some),
        }
    }
}

impl Clone {
    async fn carry_out<P: Port>(self, port: &P, progress: &Progress<'_, P>) -> Result<String, Problem> {
        let mut own = None;
        if self.is_on && self.snapshot.is_none() && !self.volumes.is_empty() {
            // All volumes at one moment.
            let name = name_field(&format!("clone {}", self.name)).unwrap_or([0; 64]);
            own = Some(ask::send(port, RequestKind::SnapshotVm, self.vm, 0, [&name, &[]]).await?);
        }
        let mut made = Vec::new();
        let done = self.make(port, progress, self.snapshot.or(own), &mut made).await;
        if let Some(snapshot) = own {
            // A snapshot that stays is seen, and does no harm.
            let _ = ask::ask(port, RequestKind::DeleteVmSnapshot, self.vm, snapshot).await;
        }
        if let Err(problem) = done {
            for id in made {
                let _ = ask::ask(port, RequestKind::DeleteVolume, id, 0).await;
            }
            return Err(problem);
        }
        Ok(format!("/api/v1/vms/{}", self.name))
    }

    async fn make<P: Port>(
        &self,
        port: &P,
        progress: &Progress<'_, P>,
        snapshot: Option<u64>,
        made: &mut Vec<u64>,
    ) -> Result<(), Problem> {
        for (source, name) in &self.volumes {
            let field = name_field(name).unwrap_or([0; 64]);
            let send = [field.as_slice(), &[]];
            made.push(ask::send(port, RequestKind::CloneVolume, *source, snapshot.unwrap_or(0), send).await?);
            progress.tell(made.len() as u64, self.volumes.len() as u64 + 1);
        }
        let (of, send) = (snapshot.unwrap_or(0), [self.document.as_bytes(), &[]]);
        ask::send(port, RequestKind::CloneVm, self.vm, of, send).await.map(|_| ())
    }
}

/// Copies the disk that an object holds, raw or as qcow2, to a new volume.
async fn import<P: Port>(
    port: &P,
    progress: &Progress<'_, P>,
    object: &str,
    volume: &str,
) -> Result<String, Problem> {
    let bad_name = || Problem::new(422, "bad-name", "this is no name", "give 1 to 64 bytes");
    let object = name_field(object).ok_or_else(bad_name)?;
    let name = name_field(volume).ok_or_else(bad_name)?;
    let mut magic = [0; qcow2::MAGIC.len()];
    let (size, _) = read(port, &object, 0, &mut magic).await?;
    let file = File { port, object: &object, size };
    let mut disk = if magic == qcow2::MAGIC {
        Disk::Qcow2(Image::open(file).await.map_err(unreadable)?)
    } else {
        Disk::Raw(file)
    };
    if disk.size() == 0 {
        let remedy = "upload it anew";
        return Err(Problem::new(422, "bad-image", "the image is empty", remedy).of_field("object"));
    }
    let bytes = disk.size().checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX / BLOCK * BLOCK);
    let id = ask::send(port, RequestKind::CreateVolume, 0, bytes, [&name, &[]]).await?;
    let copied = copy(port, progress, &mut disk, id).await;
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

/// An object, read as a file.
struct File<'a, P> {
    port: &'a P,
    object: &'a [u8],
    size: u64,
}

impl<P: Port> Source for File<'_, P> {
    type Error = Problem;

    fn size(&self) -> u64 {
        self.size
    }

    async fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Problem> {
        let mut at = offset;
        for part in into.chunks_mut(STEP) {
            let (_, bytes) = read(self.port, self.object, at, part).await?;
            if bytes < part.len() {
                let shorter = "the object became shorter meanwhile";
                return Err(crate::operations::refused(Status::Failed).saying(shorter));
            }
            at = at.saturating_add(bytes as u64);
        }
        Ok(())
    }
}

enum Disk<'a, P> {
    Raw(File<'a, P>),
    Qcow2(Image<File<'a, P>>),
}

impl<P: Port> Disk<'_, P> {
    fn size(&self) -> u64 {
        match self {
            Self::Raw(file) => file.size,
            Self::Qcow2(image) => image.size(),
        }
    }

    async fn extent(&mut self, at: u64) -> Result<Extent, Problem> {
        match self {
            Self::Raw(file) => Ok(Extent::Plain { offset: at, bytes: file.size.saturating_sub(at) }),
            Self::Qcow2(image) => image.extent(at).await.map_err(unreadable),
        }
    }

    /// Bytes of a plain extent.
    async fn read(&mut self, from: u64, into: &mut [u8]) -> Result<(), Problem> {
        match self {
            Self::Raw(file) => file.read(from, into).await,
            Self::Qcow2(image) => image.source().read(from, into).await,
        }
    }

    async fn inflate(&mut self, offset: u64, packed: u64) -> Result<Vec<u8>, Problem> {
        match self {
            Self::Raw(_) => Ok(Vec::new()),
            Self::Qcow2(image) => image.inflate(offset, packed).await.map_err(unreadable),
        }
    }
}

fn unreadable(why: qcow2::Refused<Problem>) -> Problem {
    match why {
        qcow2::Refused::Source(problem) => problem,
        why => Problem::new(422, "bad-image", format!("{why}"), "give another image").of_field("object"),
    }
}

async fn copy<P: Port>(
    port: &P,
    progress: &Progress<'_, P>,
    disk: &mut Disk<'_, P>,
    volume: u64,
) -> Result<(), Problem> {
    let size = disk.size();
    let mut piece = vec![0; STEP];
    let mut at = 0;
    while at < size {
        if progress.is_cancelled() {
            return Err(Problem::new(409, "cancelled", "the task was cancelled", "begin it anew"));
        }
        let extent = disk.extent(at).await?;
        match extent {
            Extent::Zero { .. } => {}
            Extent::Plain { offset, bytes } => {
                let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).min(STEP);
                let data = piece.get_mut(..bytes).unwrap_or_default();
                disk.read(offset, data).await?;
                write(port, volume, at, &mut piece, bytes).await?;
                at = at.saturating_add(bytes as u64);
                progress.tell(at, size);
                continue;
            }
            Extent::Compressed { offset, packed, bytes } => {
                let cluster = disk.inflate(offset, packed).await?;
                let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                let mut to = at;
                for part in cluster.get(..bytes).unwrap_or(&cluster).chunks(STEP) {
                    piece.get_mut(..part.len()).unwrap_or_default().copy_from_slice(part);
                    write(port, volume, to, &mut piece, part.len()).await?;
                    to = to.saturating_add(part.len() as u64);
                }
            }
        }
        at = at.saturating_add(extent.bytes().max(1));
        progress.tell(at, size);
    }
    Ok(())
}

/// Writes the first `bytes` bytes of `piece`, and zeros up to the end of a sector.
async fn write<P: Port>(
    port: &P,
    volume: u64,
    at: u64,
    piece: &mut [u8],
    bytes: usize,
) -> Result<(), Problem> {
    let whole = bytes.next_multiple_of(SECTOR).min(piece.len());
    piece.get_mut(bytes..whole).unwrap_or_default().fill(0);
    let data = piece.get(..whole).unwrap_or_default();
    // What is zero needs no room in a thin volume.
    if data.iter().any(|byte| *byte != 0) {
        ask::send(port, RequestKind::WriteVolume, volume, at, [data, &[]]).await?;
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
