//! Requests to the vmkernel, with what comes back as problems and records.

use crate::port::{Port, Refused, Request};
use crate::problem::Problem;
use abi::RequestKind;
use abi::request::PAYLOAD_MAX;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// A request without payloads.
pub async fn ask<P: Port>(port: &P, kind: RequestKind, target: u64, argument: u64) -> Result<u64, Problem> {
    send(port, kind, target, argument, [&[], &[]]).await
}

/// A request that sends something.
pub async fn send<P: Port>(
    port: &P,
    kind: RequestKind,
    target: u64,
    argument: u64,
    send: [&[u8]; 2],
) -> Result<u64, Problem> {
    let room = if kind.receive_max() > 0 { 512 } else { 0 };
    let mut why = vec![0; room.min(usize::try_from(kind.receive_max()).unwrap_or(0))];
    match port.request(Request { kind, target, argument, send }, &mut why).await {
        Ok(received) => Ok(received.value),
        Err(refused) => Err(problem(&refused, &why)),
    }
}

/// A request that gets something back: its value, and the bytes.
pub async fn get<P: Port>(
    port: &P,
    kind: RequestKind,
    target: u64,
    argument: u64,
    send: [&[u8]; 2],
) -> Result<(u64, Vec<u8>), Problem> {
    let mut bytes = vec![0; usize::try_from(kind.receive_max()).unwrap_or(0)];
    match port.request(Request { kind, target, argument, send }, &mut bytes).await {
        Ok(received) => {
            bytes.truncate(received.bytes);
            Ok((received.value, bytes))
        }
        Err(refused) => Err(problem(&refused, &bytes)),
    }
}

/// What a refusal says: the vmkernel's own words where it gives some.
fn problem(refused: &Refused, why: &[u8]) -> Problem {
    let problem = crate::operations::refused(refused.status);
    let why = why.get(..refused.received.bytes).unwrap_or_default();
    match core::str::from_utf8(why).map(|text| text.trim_end_matches('\0')) {
        Ok(text) if !text.is_empty() => problem.saying(text),
        _ => problem,
    }
}

/// All records of a list that is told in pieces.
pub async fn list<P: Port, const N: usize, R>(
    port: &P,
    kind: RequestKind,
    target: u64,
    prefix: &[u8],
    read: impl Fn(&[u8; N]) -> R,
) -> Result<Vec<R>, Problem> {
    let mut all = Vec::new();
    loop {
        let (total, bytes) = get(port, kind, target, all.len() as u64, [prefix, &[]]).await?;
        let before = all.len();
        all.extend(bytes.as_chunks::<N>().0.iter().map(&read));
        if all.len() == before || all.len() as u64 >= total || bytes.len() as u64 > u64::from(PAYLOAD_MAX) {
            return Ok(all);
        }
    }
}

/// A name as it comes: without its end in zeros.
pub fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(abi::name::split(field).0).into_owned()
}
