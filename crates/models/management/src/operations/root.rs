//! `/api/v1` itself.

use super::{Call, Outcome};
use crate::http::Response;
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
