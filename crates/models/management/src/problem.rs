//! Why a call is refused, or failed: what every part of management returns as its error.

use crate::http::Response;
use crate::http::response::phrase;
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use api::rest::ProblemDetails;

/// A problem; small enough to be returned everywhere.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem(Box<ProblemDetails>);

impl Problem {
    /// Of a status, a reason in a word, what is wrong and what to do.
    pub fn new(
        status: u16,
        reason: &'static str,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self(Box::new(ProblemDetails {
            kind: format!("urn:bramble:problem:{reason}"),
            title: String::from(phrase(status)),
            status,
            detail: detail.into(),
            reason: Cow::Borrowed(reason),
            remedy: remedy.into(),
            field: None,
            retry_after: None,
        }))
    }

    /// In other words.
    #[must_use]
    pub fn saying(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = detail.into();
        self
    }

    /// About a field.
    #[must_use]
    pub fn of_field(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// To be tried again after so many seconds.
    #[must_use]
    pub fn after(mut self, seconds: u32) -> Self {
        self.0.retry_after = Some(seconds);
        self
    }

    /// What it says.
    pub fn details(&self) -> &ProblemDetails {
        &self.0
    }
}

impl From<Problem> for Response {
    fn from(Problem(details): Problem) -> Self {
        let response = Self::json_as(details.status, ProblemDetails::MEDIA_TYPE, &*details);
        match details.retry_after {
            Some(seconds) => response.header("Retry-After", format!("{seconds}")),
            None => response,
        }
    }
}
