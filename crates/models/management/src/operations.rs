//! What operations do: [`carry_out`] says where each one is.

mod root;

use crate::Management;
use crate::http::{Head, Response};
use crate::port::Port;
use crate::problem::Problem;
use crate::route::Operation;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

/// A request, read and allowed.
#[allow(dead_code)]
pub(crate) struct Call<'a, P> {
    pub management: &'a Management<P>,
    pub peer: SocketAddr,
    pub head: &'a Head,
    /// What stands for `{…}` in the path.
    pub segments: Vec<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// How it ends.
pub(crate) enum Outcome {
    /// With a response.
    Response(Response),
}

impl From<Response> for Outcome {
    fn from(response: Response) -> Self {
        Self::Response(response)
    }
}

/// Carries an operation out.
pub(crate) async fn carry_out<P: Port>(operation: Operation, call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let response = match operation {
        Operation::ShowRoot => root::show(call),
    };
    response.map(Outcome::Response)
}
