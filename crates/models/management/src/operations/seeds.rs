//! `/api/v1/seeds`: a volume that tells a new guest who it is.
//!
//! Source: cloud-init's documentation, "NoCloud": files `user-data`, `meta-data`, `network-config` of a file system that
//! is called `cidata` or `CIDATA`.

use super::snapshots::checked_name;
use super::storage;
use super::{Call, Outcome};
use crate::http::Response;
use crate::port::Port;
use crate::problem::Problem;
use crate::{ask, audit, fat};
use abi::RequestKind;
use abi::request::PAYLOAD_MAX;
use alloc::format;
use alloc::vec::Vec;
use api::rest::{NewSeed, Volume};

pub(super) async fn create<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let new: NewSeed = call.json()?;
    let port = &call.management.port;
    let name = checked_name(&new.volume).map_err(|problem| problem.of_field("volume"))?;
    if storage::volumes(port).await?.iter().any(|volume| volume.name == new.volume) {
        return Err(storage::volume_exists(&new.volume).of_field("volume"));
    }
    let identity = format!("instance-id: {:?}\n", new.volume);
    let mut files = Vec::from([
        ("user-data", new.user_data.as_bytes()),
        ("meta-data", new.meta_data.as_deref().unwrap_or(&identity).as_bytes()),
    ]);
    if let Some(network) = &new.network_config {
        files.push(("network-config", network.as_bytes()));
    }
    let image = fat::image("CIDATA", &files).ok_or_else(|| {
        let detail = "the files do not fit the volume";
        Problem::new(413, "seed-too-large", detail, "have user-data fetch what is long (#include)")
            .of_field("user_data")
    })?;
    let id = ask::send(port, RequestKind::CreateVolume, 0, image.len() as u64, [&name, &[]]).await?;
    if let Err(problem) = write(port, id, &image).await {
        // Half a volume is none.
        let _ = ask::ask(port, RequestKind::DeleteVolume, id, 0).await;
        return Err(problem);
    }
    let volume: Volume = storage::volume(port, id).await?;
    // What a guest is told may be secret: the chain has its name only.
    call.note("seed.create", &new.volume, None, audit::value(&volume)).await;
    Ok(Response::json(201, &volume).header("Location", format!("/api/v1/volumes/{id}")).into())
}

async fn write<P: Port>(port: &P, id: u64, image: &[u8]) -> Result<(), Problem> {
    let step = usize::try_from(PAYLOAD_MAX).unwrap_or(4096);
    for (piece, at) in image.chunks(step).zip((0_u64..).step_by(step)) {
        // What is zero needs no room.
        if piece.iter().any(|byte| *byte != 0) {
            ask::send(port, RequestKind::WriteVolume, id, at, [piece, &[]]).await?;
        }
    }
    ask::ask(port, RequestKind::FlushVolume, id, 0).await.map(|_| ())
}
