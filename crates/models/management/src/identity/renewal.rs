//! When the certificate is to be looked at, and what it says to users.
//!
//! One place makes certificates, whoever speaks TLS; the API asks it to. Called by: hostd, `operations::certificate`.

use super::Kind;
use super::certificate::Kept;
use crate::bell::Bell;
use crate::kept::read_object;
use crate::port::Port;
use crate::secret;
use abi::Status;
use api::rest::HostCertificate;
use core::cell::Cell;

/// Whether a new certificate was asked for; a bell for whoever makes it.
#[derive(Default)]
pub struct Renewal {
    is_asked: Cell<bool>,
    bell: Bell,
}

impl Renewal {
    /// Asks for a new one.
    pub(crate) fn ask(&self) {
        self.is_asked.set(true);
        self.bell.ring();
    }

    /// It is not wanted any more.
    pub(crate) fn withdraw(&self) {
        self.is_asked.set(false);
    }

    /// The time or another ground of the certificate is another one: have it looked at.
    pub fn look(&self) {
        self.bell.ring();
    }

    /// Whether a new one is asked for, which it is not after this.
    pub fn take(&self) -> bool {
        self.is_asked.replace(false)
    }

    /// How often it rang. Taken before the certificate is looked at, so that no ring is missed.
    pub fn rings(&self) -> u64 {
        self.bell.rings()
    }

    /// Is done when it rang since `heard`.
    pub async fn after(&self, heard: u64) {
        self.bell.after(heard).await;
    }
}

/// What the certificates say that are kept; `None`: there are none.
pub async fn shown<P: Port>(port: &P) -> Result<Option<HostCertificate>, Status> {
    let [[_, ca], [_, leaf]] = [Kind::Ca.objects(), Kind::Leaf.objects()];
    let read = async |name| match read_object(port, name).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(Status::NotFound) => Ok(None),
        Err(status) => Err(status),
    };
    let (Some(ca), Some(leaf)) = (read(ca).await?, read(leaf).await?) else { return Ok(None) };
    let Some(kept) = Kept::read(&leaf) else { return Ok(None) };
    let (valid_from, valid_until) = kept.validity();
    Ok(Some(HostCertificate {
        ca_sha256: secret::hex(&secret::digest(&ca)),
        sha256: secret::hex(&secret::digest(&leaf)),
        names: kept.shown_names(),
        valid_from,
        valid_until,
    }))
}
