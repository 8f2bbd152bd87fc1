//! `/api/v1` itself.

use super::{Call, Outcome};
use crate::http::{Content, Response};
use crate::kept::read_object;
use crate::port::Port;
use crate::problem::Problem;
use abi::Status;
use alloc::string::String;
use api::rest::ApiRoot;
use base64ct::{Base64, Encoding};

pub(super) fn show<P>(_: &Call<'_, P>) -> Result<Outcome, Problem> {
    let root = ApiRoot {
        product: String::from("Bramble"),
        version: String::from(env!("CARGO_PKG_VERSION")),
        openapi: String::from("/api/v1/openapi.json"),
    };
    Ok(Response::json(200, &root).into())
}

pub(super) fn describe() -> Result<Outcome, Problem> {
    let content = Content::Bytes(include_bytes!("../openapi.json").into());
    Ok(Response::with(200, "application/json", content).into())
}

/// Source: RFC 7468, 5 "Textual Encoding of Certificates".
pub(super) async fn show_ca<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let certificate =
        read_object(&call.management.port, "host:ca.crt").await.map_err(|status| match status {
            Status::NotFound => {
                Problem::new(404, "no-ca", "this host has no CA yet", "it is made before TLS is spoken")
            }
            status => super::refused(status),
        })?;
    let text = Base64::encode_string(&certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for (index, character) in text.chars().enumerate() {
        if index > 0 && index.is_multiple_of(64) {
            pem.push('\n');
        }
        pem.push(character);
    }
    pem.push_str("\n-----END CERTIFICATE-----\n");
    Ok(Response::with(200, "text/plain; charset=utf-8", Content::Bytes(pem.into_bytes().into())).into())
}
