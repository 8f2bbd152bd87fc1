//! `/api/v1/host/certificate`: who the host is to its clients, and a new certificate before its time.

use super::{Call, Outcome};
use crate::audit;
use crate::http::Response;
use crate::identity;
use crate::port::Port;
use crate::problem::Problem;
use api::rest::HostCertificate;
use core::time::Duration;

/// How long a new one is waited for: a key and two signatures, and other work before them.
const PATIENCE: u32 = 200;
const STEP: Duration = Duration::from_millis(50);

pub(super) async fn show<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    Ok(Response::json(200, &certificate(call).await?).into())
}

async fn certificate<P: Port>(call: &Call<'_, P>) -> Result<HostCertificate, Problem> {
    identity::shown(&call.management.port).await.map_err(super::refused)?.ok_or_else(|| {
        let remedy = "it is made before TLS is spoken; the console's log says what it waits for";
        Problem::new(404, "no-certificate", "this host has no certificate yet", remedy)
    })
}

/// The leaf is given up, and whoever keeps the identity makes another: so there is one place that makes them.
pub(super) async fn renew<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let (management, port) = (call.management, &call.management.port);
    let before = certificate(call).await?;
    management.renewal.ask();
    for _ in 0..PATIENCE {
        port.sleep(STEP).await;
        let now = certificate(call).await.ok().filter(|now| now.sha256 != before.sha256);
        let Some(now) = now else { continue };
        call.note("certificate.renew", "", audit::value(&before), audit::value(&now)).await;
        return Ok(Response::json(200, &now).into());
    }
    management.renewal.withdraw();
    let detail = "no new certificate was made: this host does not speak TLS, or can't keep what it makes";
    Err(Problem::new(503, "not-renewed", detail, "the console's log says why").after(5))
}
