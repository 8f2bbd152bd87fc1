//! Requests that make something and come again: with the same `Idempotency-Key` the answer is the one of the first time.
//!
//! Answers are kept for an hour, so that a client whose connection or whose hostd went away can ask again without making
//! a thing twice. They stand in [`OBJECTS`], each by its key in one of them, so that not all are written for one more. An
//! object has [`BYTES_MAX`], some hundred answers; the oldest give way. A long answer is told by its status and
//! `Location`.

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

/// Where they are kept.
const OBJECTS: [&str; 4] = ["run:answers-0", "run:answers-1", "run:answers-2", "run:answers-3"];
/// Most bytes of an object, as JSON.
const BYTES_MAX: usize = 56 * 1024;
/// Bytes of an answer's JSON beside what is counted: names of fields, digests, numbers, escapes.
const ROUND: usize = 320;
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
    kept: [Kept<Vec<Remembered>>; OBJECTS.len()],
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
        Self { kept: OBJECTS.map(Kept::new), begun: RefCell::default() }
    }
}

impl Answers {
    /// Reads what generations before have answered; what can't be read is forgotten.
    pub async fn open<P: Port>(&self, port: &P) {
        for kept in &self.kept {
            if kept.load(port).await.is_err() {
                kept.forget();
            }
        }
    }

    /// Where the answer of a request is kept.
    fn kept(&self, what: &str) -> Option<&Kept<Vec<Remembered>>> {
        let place = what.bytes().next().map_or(0, usize::from) % OBJECTS.len();
        self.kept.get(place)
    }

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
        let find =
            |all: &Vec<Remembered>| all.iter().filter(is_fresh).find(|entry| entry.what == what).cloned();
        let found = self.kept(&what).and_then(|kept| kept.read(find));
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
            keep(all, entry);
            Ok(())
        };
        // Where it can't be kept, a second request is carried out: as without a key.
        if let Some(kept) = self.answers.kept(&self.what) {
            let _ = kept.change(port, add).await;
        }
    }
}

impl Drop for First<'_> {
    fn drop(&mut self) {
        self.answers.begun.borrow_mut().retain(|other| *other != self.what);
    }
}

/// Keeps one more: what is old goes, and what there is no room for.
fn keep(all: &mut Vec<Remembered>, entry: Remembered) {
    let now = entry.at_ms;
    all.retain(|old| now.saturating_sub(old.at_ms) < millis(KEPT_FOR));
    all.push(entry);
    let mut bytes: usize = all.iter().map(Remembered::bytes).sum();
    while bytes > BYTES_MAX && all.len() > 1 {
        bytes = bytes.saturating_sub(all.remove(0).bytes());
    }
}

impl Remembered {
    /// Bytes that it takes, and a few more. In JSON quotes get a byte more.
    fn bytes(&self) -> usize {
        let quotes = self.answer.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count();
        ROUND + self.answer.len() + quotes + self.location.as_ref().map_or(0, String::len)
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use abi::request::PAYLOAD_MAX;
    use alloc::format;

    fn entry(number: u64, answer: String) -> Remembered {
        Remembered {
            what: secret::kept(&format!("{number}")),
            body: secret::kept(""),
            at_ms: 1_000_000_000 + number,
            status: 201,
            location: Some(format!("/api/v1/volumes/{number}")),
            answer,
        }
    }

    #[test]
    fn as_many_are_kept_as_can_be_written_at_once() {
        for answer in ["", "{}", &"\"".repeat(BODY_MAX), &"x".repeat(BODY_MAX)] {
            let mut all = Vec::new();
            for number in 0..400 {
                keep(&mut all, entry(number, answer.to_owned()));
                if number % 50 != 49 {
                    continue;
                }
                let bytes = serde_json::to_vec(&all).unwrap().len();
                assert!(bytes <= PAYLOAD_MAX as usize, "{bytes} bytes of {} answers", all.len());
            }
            assert!(all.len() >= 12 && all.last().unwrap().at_ms == 1_000_000_399);
        }
    }

    #[test]
    fn what_is_an_hour_old_is_forgotten() {
        let mut all = Vec::new();
        keep(&mut all, entry(0, String::new()));
        keep(&mut all, entry(3_599_999, String::new()));
        assert_eq!(all.len(), 2);
        keep(&mut all, entry(3_600_000, String::new()));
        assert_eq!(all.len(), 2);
    }
}
