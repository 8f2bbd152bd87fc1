//! The audit chain: every change, every login, and what was refused where it concerns rights.
//!
//! The vmkernel appends entries and chains them by hashes ([`abi::record::AuditRecord`]); what an entry tells is
//! [`AuditText`] as JSON, of at most 4096 bytes. Refused logins are told at once the first time and summed up after
//! that, so that nobody fills the chain by guessing.

use crate::auth::Caller;
use crate::operations::Call;
use crate::port::{Port, Received, Request};
use crate::{console_log, secret};
use abi::RequestKind;
use abi::record::AuditRecord;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use api::rest::{AuditEntry, AuditText};
use core::cell::RefCell;
use core::time::Duration;
use serde::Serialize;
use serde_json::Value;

/// Most bytes of `before` and of `after` each; a larger one is told by its digest.
const VALUE_MAX: usize = 1600;
/// Refused logins are summed up for so long.
const SUM_UP: Duration = Duration::from_secs(60);
/// Most that are summed up apart; the others are one.
const SUMS_MAX: usize = 32;

/// An entry about what a caller did.
pub fn text(caller: Option<&Caller>, from: String, what: &str) -> AuditText {
    AuditText {
        who: caller.map_or_else(|| String::from("nobody"), |caller| caller.user.clone()),
        from,
        by: caller.map(Caller::by_text).unwrap_or_default(),
        what: what.to_owned(),
        target: String::new(),
        before: None,
        after: None,
        refused: None,
        count: None,
    }
}

/// A resource as it stands in an entry.
pub fn value<T: Serialize>(resource: &T) -> Option<Value> {
    let text = serde_json::to_string(resource).ok()?;
    if text.len() > VALUE_MAX {
        let digest = secret::hex(&secret::digest(text.as_bytes()));
        return Some(serde_json::json!({ "sha256": digest, "bytes": text.len() }));
    }
    serde_json::from_str(&text).ok()
}

/// Appends an entry. What can't be written is said on the console: the change was made.
pub async fn append<P: Port>(port: &P, text: &AuditText) {
    let bytes = serde_json::to_vec(text).unwrap_or_default();
    let request = Request { kind: RequestKind::AppendAudit, target: 0, argument: 0, send: [&bytes, &[]] };
    if let Err(refused) = port.request(request, &mut []).await {
        console_log(port, &format!("audit: {} by {} not written: {:?}", text.what, text.who, refused.status));
    }
}

impl<P: Port> Call<'_, P> {
    /// Puts what this call did into the chain.
    pub(crate) async fn note(&self, what: &str, target: &str, before: Option<Value>, after: Option<Value>) {
        let entry = AuditText { target: target.to_owned(), before, after, ..self.text(what) };
        append(&self.management.port, &entry).await;
    }

    /// An entry about this call.
    pub(crate) fn text(&self, what: &str) -> AuditText {
        text(self.caller.as_ref(), self.address(), what)
    }
}

/// Refusals of one kind that are not told yet.
struct Sum {
    text: AuditText,
    since: Duration,
    more: u64,
}

/// Refusals, summed up.
#[derive(Default)]
pub struct Refusals {
    sums: RefCell<Vec<Sum>>,
}

impl Refusals {
    /// One more; told now if none like it was told lately.
    pub fn add(&self, mut text: AuditText, now: Duration) -> Option<AuditText> {
        let mut sums = self.sums.borrow_mut();
        if let Some(sum) = sums.iter_mut().find(|sum| is_alike(&sum.text, &text)) {
            sum.more = sum.more.saturating_add(1);
            return None;
        }
        if sums.len() >= SUMS_MAX {
            text = AuditText {
                who: String::from("several"),
                from: String::from("several"),
                target: String::new(),
                ..text
            };
            if let Some(sum) = sums.iter_mut().find(|sum| is_alike(&sum.text, &text)) {
                sum.more = sum.more.saturating_add(1);
                return None;
            }
        }
        sums.push(Sum { text: text.clone(), since: now, more: 0 });
        Some(text)
    }

    /// What is to be told of those that were summed up long enough.
    pub fn due(&self, now: Duration) -> Vec<AuditText> {
        let mut told = Vec::new();
        self.sums.borrow_mut().retain(|sum| {
            let is_due = now.saturating_sub(sum.since) >= SUM_UP;
            if is_due && sum.more > 0 {
                told.push(AuditText { count: Some(sum.more), ..sum.text.clone() });
            }
            !is_due
        });
        told
    }
}

fn is_alike(one: &AuditText, other: &AuditText) -> bool {
    (&one.who, &one.from, &one.what, &one.target, &one.refused)
        == (&other.who, &other.from, &other.what, &other.target, &other.refused)
}

/// Entries from a number on, as many as fit `buffer`, and the number of the last one that there is.
pub async fn read<P: Port>(
    port: &P,
    from: u64,
    buffer: &mut [u8],
) -> Result<(Vec<AuditEntry>, u64), abi::Status> {
    let request = Request { kind: RequestKind::ReadAudit, target: 0, argument: from, send: [&[], &[]] };
    let Received { value, bytes } = port.request(request, buffer).await.map_err(|refused| refused.status)?;
    let mut rest = buffer.get(..bytes).unwrap_or_default();
    let mut entries = Vec::new();
    while let Some((head, after)) = rest.split_first_chunk::<{ AuditRecord::BYTES }>() {
        let record = AuditRecord::from_bytes(head);
        let Some((entry, after)) = entry(&record, after) else { break };
        entries.push(entry);
        rest = after;
    }
    Ok((entries, value))
}

fn entry<'b>(record: &AuditRecord, after: &'b [u8]) -> Option<(AuditEntry, &'b [u8])> {
    let bytes = usize::try_from(record.text_bytes).ok()?;
    let text = after.get(..bytes)?;
    let entry = AuditEntry {
        number: record.number,
        at: record.unix_seconds,
        uptime_ns: record.uptime,
        generation: record.generation,
        before: secret::hex(&record.before),
        hash: secret::hex(&record.hash),
        text: String::from_utf8_lossy(text).into_owned(),
    };
    Some((entry, after.get(bytes.checked_next_multiple_of(8)?..).unwrap_or_default()))
}
