//! `/api/v1` itself.

use super::{Call, Outcome};
use crate::http::{Content, Response};
use crate::problem::Problem;
use alloc::string::String;
use api::rest::ApiRoot;

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
