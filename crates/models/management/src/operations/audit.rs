//! `/api/v1/audit`: the chain, page by page.

use super::{Call, Outcome};
use crate::audit;
use crate::http::Response;
use crate::port::Port;
use crate::problem::Problem;
use alloc::vec;
use api::rest::AuditPage;

/// Bytes of entries in a page at most.
const PAGE: usize = 32 * 1024;

pub(super) async fn list<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let from = call.number("from", 1)?.max(1);
    let limit = call.number("limit", 100)?.clamp(1, 500);
    let mut buffer = vec![0; PAGE];
    let (mut items, last) =
        audit::read(&call.management.port, from, &mut buffer).await.map_err(super::refused)?;
    items.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next = items.last().map(|entry| entry.number.saturating_add(1)).filter(|next| *next <= last);
    Ok(Response::json(200, &AuditPage { items, last, next }).into())
}
