//! `/api/v1` itself.

use super::Call;
use crate::http::Response;
use alloc::string::String;
use api::rest::{ApiRoot, ProblemDetails};

pub(super) fn show<P>(_: &Call<'_, P>) -> Result<Response, ProblemDetails> {
    let root = ApiRoot {
        product: String::from("Bramble"),
        version: String::from(env!("CARGO_PKG_VERSION")),
        openapi: String::from("/api/v1/openapi.json"),
    };
    Ok(Response::json(200, &root))
}
