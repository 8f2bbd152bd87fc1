//! HTTP/1.1 over any stream: heads in, bodies in and out, keep-alive, WebSocket. What is asked for it does not know.
//!
//! Called by: [`crate::serve()`]. Source: RFC 9110 (HTTP Semantics), RFC 9112 (HTTP/1.1), RFC 6455 (WebSocket).
//!
//! Bounds: a head of [`head::HEAD_MAX`] bytes, one buffer of that size per connection; whoever is slower than
//! [`wire::Patience`] says is let go.

pub mod head;
pub mod response;
pub mod websocket;
pub mod wire;

mod body;

pub use body::{Body, BodyFault};
pub use head::{Head, HeadFault, Method};
pub use response::{Content, Response};
pub use wire::{Ended, Wire};
