//! `/api/v1/uploads`: a file comes in pieces, over as many connections as it takes, and becomes an object once all of it
//! is there and its SHA-256 is the one that was told.
//!
//! How far an upload is, and its digest so far, are kept in `run:uploads`: it goes on after hostd was restarted. A piece
//! is appended to the object first and noted after that; what was appended and not noted is read back.

use super::{Call, Outcome};
use crate::bell::Taken;
use crate::http::wire::Patience;
use crate::http::{Body, BodyFault, Ended, Response, Wire};
use crate::kept::name_field;
use crate::port::{Port, Request};
use crate::problem::Problem;
use crate::{ask, audit, secret};
use abi::request::PART;
use abi::{RequestKind, Status};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use api::rest::{NewUpload, Upload};
use embedded_io_async::{Read, Write};
use serde::{Deserialize, Serialize};
use sha2::digest::common::hazmat::SerializableState;
use sha2::{Digest, Sha256};

/// Bytes of one step: what is appended at once.
const STEP: usize = 64 * 1024;
/// Most uploads at a time.
pub(crate) const UPLOADS_MAX: usize = 16;
/// What a name may start with.
const KINDS: [&str; 4] = ["image:", "iso:", "firmware:", "file:"];

/// An upload, as it is kept.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct UploadEntry {
    upload: Upload,
    /// SHA-256 that it has to have.
    wanted: Option<String>,
    /// The digest's state after `offset` bytes, in hexadecimal.
    digest: String,
}

impl UploadEntry {
    fn object(&self) -> String {
        format!("{PART}{}", self.upload.id)
    }

    fn digest(&self) -> Option<Sha256> {
        let bytes: Option<Vec<u8>> = self
            .digest
            .as_bytes()
            .as_chunks::<2>()
            .0
            .iter()
            .map(|pair| u8::from_str_radix(core::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        Sha256::deserialize(bytes?.as_slice().try_into().ok()?).ok()
    }

    fn took(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        let digest = self.digest().ok_or_else(|| super::refused(Status::Failed))?;
        self.digest = secret::hex(&digest.chain_update(bytes).serialize());
        self.upload.offset = self.upload.offset.saturating_add(bytes.len() as u64);
        Ok(())
    }
}

pub(super) fn list<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    call.page(call.management.uploads.read(|all| all.iter().map(|entry| entry.upload.clone()).collect()))
}

pub(super) fn show<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    Ok(Response::json(200, &find(call)?.upload).into())
}

fn find<P: Port>(call: &Call<'_, P>) -> Result<UploadEntry, Problem> {
    let id = call.segment(0);
    let found = call.management.uploads.read(|all| all.iter().find(|entry| entry.upload.id == id).cloned());
    found.ok_or_else(|| {
        let detail = format!("there is no upload {id}: it is whole, was given up, or the host was restarted");
        Problem::new(404, "no-such-upload", detail, "see /api/v1/objects for whole ones; begin it anew")
    })
}

pub(super) async fn begin<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let new: NewUpload = call.json()?;
    check(&new)?;
    let port = &call.management.port;
    let entry = UploadEntry {
        upload: Upload {
            id: secret::hex(&secret::random::<P, 8>(port)?),
            name: new.name,
            bytes: new.bytes,
            offset: 0,
            sha256: None,
        },
        wanted: new.sha256.map(|text| text.to_ascii_lowercase()),
        digest: secret::hex(&Sha256::new().serialize()),
    };
    let append = [name_field(&entry.object()).unwrap_or([0; 64]).to_vec(), Vec::new()];
    let add = |all: &mut Vec<UploadEntry>| {
        if all.len() >= UPLOADS_MAX {
            let detail = format!("there are {UPLOADS_MAX} uploads, which is the most");
            return Err(Problem::new(409, "too-many-uploads", detail, "finish one, or give it up"));
        }
        all.push(entry.clone());
        Ok(())
    };
    call.management.uploads.change(port, add).await?;
    let [name, nothing] = &append;
    if let Err(problem) = ask::send(port, RequestKind::AppendObject, 0, 0, [name, nothing]).await {
        forget(call, &entry).await;
        return Err(problem);
    }
    call.note("upload.begin", &entry.upload.name, None, audit::value(&entry.upload)).await;
    let location = format!("/api/v1/uploads/{}", entry.upload.id);
    Ok(Response::json(201, &entry.upload).header("Location", location).into())
}

fn check(new: &NewUpload) -> Result<(), Problem> {
    let rest = KINDS.iter().find_map(|kind| new.name.strip_prefix(kind)).unwrap_or_default();
    let is_good =
        (1..=48).contains(&rest.len()) && !rest.chars().any(|c| c.is_control() || matches!(c, '/' | ':'));
    if !is_good {
        let remedy =
            "give image:, iso:, firmware: or file: and 1 to 48 bytes without '/', ':' and control characters";
        return Err(Problem::new(422, "bad-name", "this is no name for an upload", remedy).of_field("name"));
    }
    let is_digest = |text: &String| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !new.sha256.as_ref().is_none_or(is_digest) {
        let remedy = "give 64 hexadecimal digits";
        return Err(Problem::new(422, "bad-digest", "this is no SHA-256", remedy).of_field("sha256"));
    }
    Ok(())
}

pub(super) async fn drop_one<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let entry = find(call)?;
    let _turn = turn(call)?;
    forget(call, &entry).await;
    call.note("upload.drop", &entry.upload.name, audit::value(&entry.upload), None).await;
    Ok(Response::empty(204).into())
}

async fn forget<P: Port>(call: &Call<'_, P>, entry: &UploadEntry) {
    let port = &call.management.port;
    let remove = |all: &mut Vec<UploadEntry>| {
        all.retain(|other| other.upload.id != entry.upload.id);
        Ok(())
    };
    let _ = call.management.uploads.change(port, remove).await;
    if let Some(name) = name_field(&entry.object()) {
        let _ = ask::send(port, RequestKind::DeleteObject, 0, 0, [&name, &[]]).await;
    }
}

/// One piece at a time writes to uploads: a client that lost its connection may be back before the host knows.
fn turn<'a, P: Port>(call: &'a Call<'_, P>) -> Result<Taken<'a>, Problem> {
    call.management.uploading.try_take().ok_or_else(|| {
        Problem::new(409, "upload-busy", "another piece is being received", "try again when it is there")
            .after(1)
    })
}

/// Takes a piece: the body, as it comes.
pub(crate) async fn receive<S: Read + Write, P: Port>(
    call: &Call<'_, P>,
    wire: &mut Wire<'_, S, P>,
    body: &mut Body,
) -> Result<Outcome, Problem> {
    let mut entry = find(call)?;
    let offset: u64 =
        call.head.header("upload-offset").and_then(|text| text.parse().ok()).ok_or_else(|| {
            let remedy = "say where the piece starts as Upload-Offset";
            Problem::new(400, "bad-offset", "Upload-Offset is missing or no number", remedy)
                .of_field("Upload-Offset")
        })?;
    let _turn = turn(call)?;
    catch_up(call, &mut entry).await?;
    if offset != entry.upload.offset {
        let remedy = format!("go on at {}", entry.upload.offset);
        return Err(
            Problem::new(409, "bad-offset", "the upload is elsewhere", remedy).of_field("Upload-Offset")
        );
    }
    let mut piece = vec![0; STEP];
    loop {
        let (filled, ended) = fill(wire, body, &mut piece).await;
        let data = piece.get(..filled).unwrap_or_default();
        if entry.upload.offset.saturating_add(data.len() as u64) > entry.upload.bytes {
            let remedy = "send as many bytes as were told at the beginning";
            return Err(Problem::new(422, "upload-too-long", "these are more bytes than were told", remedy));
        }
        if !data.is_empty() {
            append(call, &mut entry, data).await?;
        }
        match ended {
            Some(Ok(())) => break,
            Some(Err(BodyFault::Ended(Ended::TimedOut))) => return Err(cut(408, "upload-too-slow")),
            Some(Err(_)) => return Err(cut(400, "upload-cut")),
            None => {}
        }
    }
    if entry.upload.offset == entry.upload.bytes {
        return finish(call, entry).await;
    }
    Ok(Response::json(200, &entry.upload).into())
}

fn cut(status: u16, reason: &'static str) -> Problem {
    Problem::new(
        status,
        reason,
        "the piece did not come whole; what came is kept",
        "ask how far it is, and go on there",
    )
}

/// As much of the body as fits; whether and how it ended.
async fn fill<S: Read + Write, P: Port>(
    wire: &mut Wire<'_, S, P>,
    body: &mut Body,
    piece: &mut [u8],
) -> (usize, Option<Result<(), BodyFault>>) {
    let mut filled = 0;
    loop {
        let room = piece.get_mut(filled..).unwrap_or_default();
        if room.is_empty() {
            return (filled, None);
        }
        match body.read(wire, room, Patience::PROGRESS).await {
            Ok(0) => return (filled, Some(Ok(()))),
            Ok(bytes) => filled = filled.saturating_add(bytes),
            Err(fault) => return (filled, Some(Err(fault))),
        }
    }
}

async fn append<P: Port>(call: &Call<'_, P>, entry: &mut UploadEntry, data: &[u8]) -> Result<(), Problem> {
    let port = &call.management.port;
    let name = name_field(&entry.object()).ok_or_else(|| super::refused(Status::Invalid))?;
    ask::send(port, RequestKind::AppendObject, 0, entry.upload.offset, [&name, data]).await?;
    entry.took(data)?;
    note(call, entry).await
}

async fn note<P: Port>(call: &Call<'_, P>, entry: &UploadEntry) -> Result<(), Problem> {
    let replace = |all: &mut Vec<UploadEntry>| {
        all.iter_mut()
            .filter(|other| other.upload.id == entry.upload.id)
            .for_each(|other| *other = entry.clone());
        Ok(())
    };
    call.management.uploads.change(&call.management.port, replace).await
}

/// Takes into account what was appended and not noted, when hostd ended in between.
async fn catch_up<P: Port>(call: &Call<'_, P>, entry: &mut UploadEntry) -> Result<(), Problem> {
    let name = name_field(&entry.object()).ok_or_else(|| super::refused(Status::Invalid))?;
    let mut piece = vec![0; STEP];
    loop {
        let at = entry.upload.offset;
        let request = Request { kind: RequestKind::ReadObject, target: 0, argument: at, send: [&name, &[]] };
        let received = call.management.port.request(request, &mut piece).await;
        let received = received.map_err(|refused| super::refused(refused.status))?;
        if received.bytes == 0 {
            return Ok(());
        }
        entry.took(piece.get(..received.bytes).unwrap_or_default())?;
        note(call, entry).await?;
    }
}

/// All is there: it becomes the object, or nothing.
async fn finish<P: Port>(call: &Call<'_, P>, mut entry: UploadEntry) -> Result<Outcome, Problem> {
    let digest = entry.digest().ok_or_else(|| super::refused(Status::Failed))?;
    let sha256 = secret::hex(&digest.finalize());
    if entry.wanted.as_ref().is_some_and(|wanted| *wanted != sha256) {
        forget(call, &entry).await;
        let detail = format!("its SHA-256 is {sha256}, which is not the one that was told");
        return Err(Problem::new(422, "bad-digest", detail, "upload it anew").of_field("sha256"));
    }
    let names = (name_field(&entry.object()), name_field(&entry.upload.name));
    let (Some(from), Some(to)) = names else { return Err(super::refused(Status::Invalid)) };
    let renamed = ask::send(&call.management.port, RequestKind::RenameObject, 0, 0, [&from, &to]).await;
    renamed.map_err(super::storage::in_drive)?;
    let remove = |all: &mut Vec<UploadEntry>| {
        all.retain(|other| other.upload.id != entry.upload.id);
        Ok(())
    };
    call.management.uploads.change(&call.management.port, remove).await?;
    entry.upload.sha256 = Some(sha256);
    call.note("upload.done", &entry.upload.name, None, audit::value(&entry.upload)).await;
    call.management.tell("upload", &entry.upload.name, audit::value(&entry.upload));
    let location = format!("/api/v1/objects/{}", entry.upload.name);
    Ok(Response::json(200, &entry.upload).header("Location", location).into())
}
