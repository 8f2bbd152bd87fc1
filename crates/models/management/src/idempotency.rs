//! Requests that make something and come again: with the same `Idempotency-Key` the answer is the one of the first time.
//!
//! Answers are kept in `run:answers` for an hour, so that a client whose connection or whose hostd went away can ask again
//! without making a thing twice. At most [`KEPT_MAX`] are kept; a long answer is told by its status and `Location`.

use crate::auth::sessions::millis;
use crate::http::{Content, Response};
use crate::kept::Kept;
use crate::operations::{Call, Outcome};
use crate::port::Port;
use crate::problem::Problem;
use crate::secret;
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// Most answers that are kept; the oldest gives way.
const KEPT_MAX: usize = 24;
/// Most bytes of an answer that is kept whole.
const BODY_MAX: usize = 2048;
/// For so long.
const KEPT_FOR: Duration = Duration::from_secs(3600);

/// An answer, as it is kept.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Remembered {
    /// Digest of user, key and path.
    what: String,
    /// Digest of the body.
    body: String,
    at_ms: u64,
    status: u16,
    location: Option<String>,
    answer: String,
}

/// Answers, and what is being answered.
pub(crate) struct Answers {
    pub kept: Kept<Vec<Remembered>>,
    begun: RefCell<Vec<String>>,
}

/// A request that is answered the first time.
pub(crate) struct First<'a> {
    answers: &'a Answers,
    what: String,
    body: String,
}

/// What is known of a request.
pub(crate) enum Known<'a> {
    /// Nothing: it is carried out.
    First(First<'a>),
    /// Its answer.
    Answered(Response),
}

impl Default for Answers {
    fn default() -> Self {
        Self { kept: Kept::new("run:answers"), begun: RefCell::default() }
    }
}

impl Answers {
    /// Looks a request with a key up.
    pub fn look_up<P: Port>(&self, call: &Call<'_, P>, key: &str) -> Result<Known<'_>, Problem> {
        if key.is_empty() || key.len() > 64 {
            let remedy = "give 1 to 64 characters";
            return Err(Problem::new(400, "bad-key", "this is no Idempotency-Key", remedy)
                .of_field("Idempotency-Key"));
        }
        let user = &call.caller()?.user;
        let what = secret::kept(&[user, key, call.head.method.name(), &call.head.path].join("\n"));
        let body = secret::hex(&secret::digest(&call.body));
        let now = millis(call.management.port().now());
        let is_fresh = |entry: &&Remembered| now.saturating_sub(entry.at_ms) < millis(KEPT_FOR);
        let found =
            self.kept.read(|all| all.iter().filter(is_fresh).find(|entry| entry.what == what).cloned());
        if let Some(found) = found {
            if found.body != body {
                let remedy = "take another key for another request";
                let problem = Problem::new(422, "key-used", "this key was used with another body", remedy);
                return Err(problem.of_field("Idempotency-Key"));
            }
            return Ok(Known::Answered(found.response()));
        }
        let mut begun = self.begun.borrow_mut();
        if begun.contains(&what) {
            let detail = "a request with this key is being answered";
            return Err(Problem::new(409, "key-in-use", detail, "ask again when it is").after(1));
        }
        begun.push(what.clone());
        Ok(Known::First(First { answers: self, what, body }))
    }
}

impl First<'_> {
    /// Keeps the answer, if something was made.
    pub async fn answered<P: Port>(self, port: &P, outcome: &Outcome) {
        let Outcome::Response(response) = outcome else { return };
        if !(200..300).contains(&response.status) {
            return;
        }
        let answer = match &response.content {
            Content::Bytes(bytes) if bytes.len() <= BODY_MAX => String::from_utf8_lossy(bytes).into_owned(),
            _ => String::new(),
        };
        let entry = Remembered {
            what: self.what.clone(),
            body: self.body.clone(),
            at_ms: millis(port.now()),
            status: response.status,
            location: response.header_value("Location").map(str::to_owned),
            answer,
        };
        let add = |all: &mut Vec<Remembered>| {
            if all.len() >= KEPT_MAX {
                all.remove(0);
            }
            all.push(entry);
            Ok(())
        };
        // Where it can't be kept, a second request is carried out: as without a key.
        let _ = self.answers.kept.change(port, add).await;
    }
}

impl Drop for First<'_> {
    fn drop(&mut self) {
        self.answers.begun.borrow_mut().retain(|other| *other != self.what);
    }
}

impl Remembered {
    fn response(self) -> Response {
        let response = if self.answer.is_empty() {
            Response::empty(self.status)
        } else {
            Response::with(self.status, "application/json", Content::Bytes(self.answer.into_bytes().into()))
        };
        let response = response.header("Idempotency-Replayed", "true");
        match self.location {
            Some(location) => response.header("Location", location),
            None => response,
        }
    }
}
