//! `/api/v1/disks`, `/datastore`, `/volumes`, `/objects`, `/imports`.

use super::power::accepted;
use super::snapshots::checked_name;
use super::{Call, Outcome};
use crate::http::{Content, Response};
use crate::jobs::Job;
use crate::kept::name_field;
use crate::port::{Port, Request};
use crate::problem::Problem;
use crate::streams::Download;
use crate::{ask, audit};
use abi::RequestKind;
use abi::record::{
    BLANK, DATASTORE, DatastoreRecord, DiskRecord, FOREIGN, NAME_BYTES, OTHER_DATASTORE, ObjectRecord,
    PARTITIONED, READ_ONLY, VOLATILE, VolumeRecord,
};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use api::rest::{
    Datastore, Disk, DiskState, NewDatastore, NewImport, NewVolume, Object, Volume, VolumeChange,
};

pub(super) async fn list_disks<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    call.page(disks(&call.management.port).await?)
}

async fn disks<P: Port>(port: &P) -> Result<Vec<Disk>, Problem> {
    let (_, bytes) = ask::get(port, RequestKind::ListDisks, 0, 0, [&[], &[]]).await?;
    let shown = |bytes: &[u8; DiskRecord::BYTES]| {
        let record = DiskRecord::from_bytes(bytes);
        let state = match record.state {
            BLANK => DiskState::Blank,
            PARTITIONED => DiskState::Partitioned,
            DATASTORE => DiskState::Datastore,
            OTHER_DATASTORE => DiskState::OtherDatastore,
            FOREIGN => DiskState::Foreign,
            _ => DiskState::Unreadable,
        };
        Disk {
            serial: ask::text(&record.serial),
            bytes: record.bytes,
            free_bytes: record.free_bytes,
            state,
            read_only: record.read_only == 1,
        }
    };
    Ok(bytes.as_chunks().0.iter().map(shown).collect())
}

pub(super) async fn show_datastore<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let (_, bytes) = ask::get(&call.management.port, RequestKind::InspectDatastore, 0, 0, [&[], &[]]).await?;
    let record = bytes.as_slice().try_into().map(DatastoreRecord::from_bytes);
    let record = record.map_err(|_| super::refused(abi::Status::Failed))?;
    let is_volatile = record.flags & VOLATILE != 0;
    let datastore = Datastore {
        is_volatile,
        is_read_only: record.flags & READ_ONLY != 0,
        uuid: if is_volatile { String::new() } else { uuid(&record.uuid) },
        disk: ask::text(&record.serial),
        bytes: record.bytes,
        free_bytes: record.free_bytes,
        written_bytes: record.written_bytes,
        volumes: record.volumes,
        objects: record.objects,
    };
    Ok(Response::json(200, &datastore).into())
}

fn uuid(bytes: &[u8; 16]) -> String {
    let hex = crate::secret::hex(bytes);
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

pub(super) async fn make_datastore<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let new: NewDatastore = call.json()?;
    let disk = disks(&call.management.port).await?.into_iter().find(|disk| disk.serial == new.disk);
    let disk = disk.ok_or_else(|| {
        let detail = format!("there is no disk {}", new.disk);
        Problem::new(404, "no-such-disk", detail, "GET /api/v1/disks lists them").of_field("disk")
    })?;
    let whole = new.erase_disk.is_some();
    if new.erase_disk.as_ref().is_some_and(|serial| *serial != new.disk) {
        let remedy = "give the serial number of the disk once more, if all of it may be lost";
        return Err(Problem::new(422, "not-confirmed", "this is another serial number", remedy)
            .of_field("erase_disk"));
    }
    let mut serials = Vec::new();
    for _ in 0..if whole { 2 } else { 1 } {
        serials.extend_from_slice(&abi::name::field::<NAME_BYTES>(&new.disk));
    }
    let job = Job::MakeDatastore(serials, whole);
    let task = call.management.begin(call.caller()?, "datastore.make", &new.disk, job).await?;
    call.note("datastore.make", &new.disk, audit::value(&disk), audit::value(&new)).await;
    Ok(accepted(&task))
}

pub(super) async fn list_volumes<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    call.page(volumes(&call.management.port).await?)
}

pub(super) async fn volumes<P: Port>(port: &P) -> Result<Vec<Volume>, Problem> {
    ask::list(port, RequestKind::ListVolumes, 0, &[], |bytes| {
        let record = VolumeRecord::from_bytes(bytes);
        Volume {
            id: record.id,
            name: ask::text(&record.name),
            bytes: record.bytes,
            snapshots: record.snapshots,
            in_use: record.in_use == 1,
        }
    })
    .await
}

pub(super) async fn volume<P: Port>(port: &P, id: u64) -> Result<Volume, Problem> {
    volumes(port).await?.into_iter().find(|volume| volume.id == id).ok_or_else(|| {
        let detail = format!("there is no volume {id}");
        Problem::new(404, "no-such-volume", detail, "GET /api/v1/volumes lists them")
    })
}

pub(super) async fn show_volume<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    Ok(Response::json(200, &volume(&call.management.port, call.id(0)?).await?).into())
}

pub(super) async fn create_volume<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let new: NewVolume = call.json()?;
    let port = &call.management.port;
    let name = checked_name(&new.name)?;
    if volumes(port).await?.iter().any(|volume| volume.name == new.name) {
        return Err(volume_exists(&new.name).of_field("name"));
    }
    let id = match (new.source, new.bytes) {
        (None, Some(bytes)) => {
            check_size(bytes)?;
            ask::send(port, RequestKind::CreateVolume, 0, bytes, [&name, &[]]).await?
        }
        (Some(source), None) => ask::send(port, RequestKind::CloneVolume, source, 0, [&name, &[]]).await?,
        _ => {
            let remedy = "give bytes for an empty volume, or source for a clone";
            return Err(Problem::new(422, "bad-volume", "exactly one of bytes and source is needed", remedy)
                .of_field("bytes"));
        }
    };
    let volume = volume(port, id).await?;
    call.note("volume.create", &new.name, None, audit::value(&volume)).await;
    Ok(Response::json(201, &volume).header("Location", format!("/api/v1/volumes/{id}")).into())
}

pub(super) async fn change_volume<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let VolumeChange { bytes } = call.json()?;
    check_size(bytes)?;
    let port = &call.management.port;
    let before = volume(port, call.id(0)?).await?;
    ask::ask(port, RequestKind::ResizeVolume, before.id, bytes).await?;
    let after = volume(port, before.id).await?;
    call.note("volume.resize", &before.name, audit::value(&before), audit::value(&after)).await;
    Ok(Response::json(200, &after).into())
}

pub(super) async fn delete_volume<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let port = &call.management.port;
    let before = volume(port, call.id(0)?).await?;
    ask::ask(port, RequestKind::DeleteVolume, before.id, 0).await?;
    call.note("volume.delete", &before.name, audit::value(&before), None).await;
    Ok(Response::empty(204).into())
}

/// That a name is taken.
pub(super) fn volume_exists(name: &str) -> Problem {
    let detail = format!("there is a volume {name} already");
    Problem::new(409, "volume-exists", detail, "choose another name, or delete that volume")
}

fn check_size(bytes: u64) -> Result<(), Problem> {
    if bytes > 0 && bytes.is_multiple_of(4096) {
        return Ok(());
    }
    let remedy = "give a multiple of 4096 above 0";
    Err(Problem::new(422, "bad-size", "this is no size of a volume", remedy).of_field("bytes"))
}

/// Clients see the objects of the datastore, but for what is hostd's own and the records of VMs.
const HIDDEN: [&str; 4] = ["host:", "vm:", abi::request::RUN, abi::request::PART];

pub(super) async fn list_objects<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let prefix = call.head.parameter("prefix").unwrap_or_default();
    let field = name_field(&prefix).ok_or_else(|| {
        Problem::new(400, "bad-parameter", "no name is that long", "give at most 64 bytes").of_field("prefix")
    })?;
    let shown = |bytes: &[u8; ObjectRecord::BYTES]| {
        let record = ObjectRecord::from_bytes(bytes);
        Object { name: ask::text(&record.name), bytes: record.bytes }
    };
    let mut objects = ask::list(&call.management.port, RequestKind::ListObjects, 0, &field, shown).await?;
    objects.retain(|object| !is_hidden(&object.name));
    call.page(objects)
}

/// Whether an object is none of the clients'.
pub(super) fn is_hidden(name: &str) -> bool {
    HIDDEN.iter().any(|prefix| name.starts_with(prefix))
}

async fn object_size<P: Port>(call: &Call<'_, P>) -> Result<u64, Problem> {
    let name = call.segment(0);
    let none = || {
        Problem::new(
            404,
            "no-such-object",
            format!("there is no object {name}"),
            "GET /api/v1/objects lists them",
        )
    };
    let field = name_field(name).filter(|_| !is_hidden(name)).ok_or_else(none)?;
    let request = Request { kind: RequestKind::ReadObject, target: 0, argument: 0, send: [&field, &[]] };
    let received = call.management.port.request(request, &mut []).await;
    received.map(|received| received.value).map_err(|refused| match refused.status {
        abi::Status::NotFound | abi::Status::Invalid => none(),
        status => super::refused(status),
    })
}

/// Sends an object, or the part that `Range` names (RFC 9110, 14.2).
pub(super) async fn download<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let size = object_size(call).await?;
    let object = String::from(call.segment(0));
    let range = call.head.header("range").and_then(|range| byte_range(range, size));
    let (status, from, bytes) = match range {
        None => (200, 0, size),
        Some(Some((from, bytes))) => (206, from, bytes),
        Some(None) => {
            let problem =
                Problem::new(416, "bad-range", "the object has no such bytes", "ask for bytes that it has");
            let response = Response::from(problem).header("Content-Range", format!("bytes */{size}"));
            return Ok(response.into());
        }
    };
    let mut response = Response::with(status, "application/octet-stream", Content::Follows(bytes))
        .header("Accept-Ranges", "bytes")
        .header("Content-Disposition", "attachment");
    if status == 206 {
        let last = from.saturating_add(bytes).saturating_sub(1);
        response = response.header("Content-Range", format!("bytes {from}-{last}/{size}"));
    }
    Ok(Outcome::Download(response, Download { object, from, bytes }))
}

/// One range of bytes: its start and length; inside, `None` where nothing of it is there. Several ranges, and other
/// units, are as if nothing was asked for.
fn byte_range(header: &str, size: u64) -> Option<Option<(u64, u64)>> {
    let range = header.strip_prefix("bytes=").filter(|range| !range.contains(','))?;
    let (from, to) = range.split_once('-')?;
    let (from, to) = (from.trim(), to.trim());
    if from.is_empty() {
        let last: u64 = to.parse().ok()?;
        let bytes = last.min(size);
        return Some((bytes > 0).then(|| (size.saturating_sub(bytes), bytes)));
    }
    let from: u64 = from.parse().ok()?;
    let to = if to.is_empty() { u64::MAX } else { to.parse().ok().filter(|to| *to >= from)? };
    let end = to.saturating_add(1).min(size);
    Some((from < end).then(|| (from, end.saturating_sub(from))))
}

pub(super) async fn delete_object<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let bytes = object_size(call).await?;
    let name = call.segment(0);
    let field = name_field(name).unwrap_or([0; 64]);
    let deleted = ask::send(&call.management.port, RequestKind::DeleteObject, 0, 0, [&field, &[]]).await;
    deleted.map_err(in_drive)?;
    let before = Object { name: String::from(name), bytes };
    call.note("object.delete", name, audit::value(&before), None).await;
    Ok(Response::empty(204).into())
}

/// What it means that an object can't be deleted or exchanged now.
pub(super) fn in_drive(problem: Problem) -> Problem {
    if problem.details().reason != "conflict" {
        return problem;
    }
    Problem::new(409, "in-use", "a VM that runs has it as a CD", "turn that VM off first")
}

pub(super) async fn import<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let new: NewImport = call.json()?;
    checked_name(&new.volume).map_err(|problem| problem.of_field("volume"))?;
    if is_hidden(&new.object) || name_field(&new.object).is_none() {
        let detail = format!("there is no object {}", new.object);
        return Err(
            Problem::new(422, "no-such-object", detail, "GET /api/v1/objects lists them").of_field("object")
        );
    }
    if volumes(&call.management.port).await?.iter().any(|volume| volume.name == new.volume) {
        return Err(volume_exists(&new.volume).of_field("volume"));
    }
    let job = Job::Import { object: new.object.clone(), volume: new.volume.clone() };
    let task = call.management.begin(call.caller()?, "volume.import", &new.volume, job).await?;
    call.note("volume.import", &new.volume, None, audit::value(&new)).await;
    Ok(accepted(&task))
}

#[cfg(test)]
mod tests {
    use super::byte_range;

    #[test]
    fn ranges_are_cut_to_what_is_there() {
        for (header, range) in [
            ("bytes=0-0", Some(Some((0, 1)))),
            ("bytes=5-", Some(Some((5, 5)))),
            ("bytes=-3", Some(Some((7, 3)))),
            ("bytes=-30", Some(Some((0, 10)))),
            ("bytes=9-99", Some(Some((9, 1)))),
            ("bytes=10-", Some(None)),
            ("bytes=-0", Some(None)),
            ("bytes=3-2", None),
            ("bytes=0-1,3-4", None),
            ("lines=0-1", None),
            ("bytes=x-", None),
        ] {
            assert_eq!(byte_range(header, 10), range, "{header}");
        }
        assert_eq!(byte_range("bytes=0-", 0), Some(None));
    }
}
