//! Requests to a host and its answers. Each problem becomes an error that says what to do.

use super::chunks::Chunks;
use super::connection::{Address, Connection, Trust};
use super::contexts::Context;
use anyhow::{Context as _, Result, bail};
use api::rest::ProblemDetails;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::io::{self, BufReader, Read, Write};
use std::sync::Arc;
use std::time::Duration;

/// How often, once a second, a host that does not answer is asked where it is worth it.
pub const TRIES: u32 = 60;

/// How often something is asked for anew whose answer was lost.
const TRIES_ANEW: u32 = 8;

/// How long an answer that may be asked for again is waited for.
const PATIENCE: Duration = Duration::from_secs(15);

/// The host was reached, and whether it did what it was asked for is not known. (One that is not reached is another case:
/// it may be off.)
fn is_lost(error: &anyhow::Error) -> bool {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof, WouldBlock,
    };
    let lost = [BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof, WouldBlock];
    error.downcast_ref().is_some_and(|error: &io::Error| lost.contains(&error.kind()))
        || error.downcast_ref().is_some_and(|refusal: &Refusal| refusal.reason == "key-in-use")
}

/// The host was not reached, or did not answer: it may be off for a while.
pub fn is_silent(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some()
}

fn cut(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, text)
}

/// A host to ask.
pub struct Client {
    pub context: Context,
    address: Address,
    config: Option<Arc<ClientConfig>>,
    /// Header lines of the session or token.
    pub lines: String,
    /// Between one try and the next.
    pub pause: Duration,
}

/// An answer.
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Result<Value> {
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&self.body).context("the host's answer is no JSON: is this a Bramble host?")
    }
}

impl Client {
    pub fn new(context: Context) -> Result<Self> {
        let mut address = Address::parse(&context.url)?;
        address.server_name.clone_from(&context.server_name);
        let lines = context.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n"));
        let config = match address.is_tls {
            true => Some(Trust::Pinned(context.ca.as_deref()).config()?),
            false => None,
        };
        let (lines, pause) = (lines.unwrap_or_default(), Duration::from_secs(1));
        Ok(Self { context, address, config, lines, pause })
    }

    /// A list, all pages of it.
    pub fn list(&self, path: &str) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        let mut skip = 0;
        let join = if path.contains('?') { '&' } else { '?' };
        loop {
            let mut page = self.get(&format!("{path}{join}skip={skip}&limit=1000"))?;
            let Value::Array(items) = page["items"].take() else { bail!("{path} is no list") };
            all.extend(items);
            match page["next"].as_u64() {
                Some(next) => skip = next,
                None => return Ok(all),
            }
        }
    }

    /// Asks for a resource, again where hostd seems to have ended meanwhile: that changes nothing.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.again(TRIES_ANEW, is_lost, || self.ask(path))
    }

    /// The same for one that is worth waiting for, also while the host is not reached.
    pub fn get_patiently(&self, path: &str) -> Result<Value> {
        self.again(TRIES, is_silent, || self.ask(path))
    }

    fn ask(&self, path: &str) -> Result<Value> {
        let mut connection = self.begin("GET", path, "Content-Length: 0\r\n")?;
        connection.set_patience(PATIENCE)?;
        checked(read_answer(&mut connection)?)?.json()
    }

    /// Asks up to so often while it fails in a way that may pass.
    fn again<T>(
        &self,
        tries: u32,
        may_pass: fn(&anyhow::Error) -> bool,
        mut ask: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        for _ in 1..tries {
            match ask() {
                Err(error) if may_pass(&error) => std::thread::sleep(self.pause),
                answer => return answer,
            }
        }
        ask()
    }

    /// Has something made or done by a `POST`, once, also where hostd ends before it has answered: the host tells a second
    /// request with the same key what it answered the first. For those that take an `Idempotency-Key`.
    pub fn make(&self, path: &str, resource: &Value) -> Result<Answer> {
        let key = uuid::Uuid::new_v4();
        let lines = format!("Content-Type: application/json\r\nIdempotency-Key: {key}\r\n");
        let body = resource.to_string();
        self.again(TRIES_ANEW, is_lost, || self.send("POST", path, &lines, body.as_bytes()))
    }

    /// Sends a resource.
    pub fn json(&self, method: &str, path: &str, resource: &Value) -> Result<Answer> {
        self.send(method, path, "Content-Type: application/json\r\n", resource.to_string().as_bytes())
    }

    /// One request on a connection of its own.
    pub fn send(&self, method: &str, path: &str, lines: &str, body: &[u8]) -> Result<Answer> {
        self.send_from(method, path, lines, body.len() as u64, &mut { body })
    }

    /// The same, with a body that is read as it is sent.
    pub fn send_from(
        &self,
        method: &str,
        path: &str,
        lines: &str,
        bytes: u64,
        body: &mut impl Read,
    ) -> Result<Answer> {
        let mut connection = self.begin(method, path, &format!("{lines}Content-Length: {bytes}\r\n"))?;
        // A host that refuses a long body answers and closes before it has read it.
        let sent = io::copy(body, &mut connection).and_then(|_| connection.flush());
        match (read_answer(&mut connection), sent) {
            (Ok(answer), _) => checked(answer),
            (Err(_), Err(error)) => Err(error).context("the host closed the connection"),
            (Err(error), Ok(())) => Err(error),
        }
    }

    /// Asks for bytes, which go to `into` as they come; the answer is without them.
    pub fn fetch(&self, path: &str, lines: &str, into: &mut impl Write) -> Result<Answer> {
        let mut connection = self.begin("GET", path, lines)?;
        let (mut answer, rest) = read_head(&mut connection)?;
        let bytes: u64 = answer.header("content-length").map_or(u64::MAX, |text| text.parse().unwrap_or(0));
        if answer.status >= 400 {
            answer.body = rest;
            let _ = connection.take(bytes).read_to_end(&mut answer.body);
            return checked(answer);
        }
        if answer.header("transfer-encoding") == Some("chunked") {
            let mut body = Chunks::new(BufReader::new(rest.as_slice().chain(connection)));
            io::copy(&mut body, into)?;
            return Ok(answer);
        }
        into.write_all(&rest)?;
        let left = bytes.saturating_sub(rest.len() as u64);
        let came = io::copy(&mut connection.take(left), into)?;
        if answer.header("content-length").is_some() && came < left {
            bail!("the host's answer was cut after {} of {bytes} bytes", rest.len() as u64 + came);
        }
        Ok(answer)
    }

    /// A connection on which a request was begun: its head is sent.
    fn begin(&self, method: &str, path: &str, lines: &str) -> Result<Connection> {
        let mut connection = self.connect()?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{}{lines}\r\n",
            self.address.authority, self.lines
        );
        connection.write_all(head.as_bytes())?;
        connection.flush()?;
        Ok(connection)
    }

    /// A connection that is a WebSocket from now on, and what came with the answer.
    pub fn websocket(&self, path: &str) -> Result<(Connection, Vec<u8>)> {
        let mut connection = self.connect()?;
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\n{}Connection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: YnJhbWJsZWN0bC1rZXkuLg==\r\n\r\n",
            self.address.authority, self.lines
        );
        connection.write_all(head.as_bytes())?;
        connection.flush()?;
        let (mut answer, rest) = read_head(&mut connection)?;
        if answer.status == 101 {
            return Ok((connection, rest));
        }
        answer.body = rest;
        connection.set_patience(Duration::from_secs(1))?;
        let _ = connection.read_to_end(&mut answer.body);
        checked(answer)?;
        bail!("the host does not open a WebSocket at {path}")
    }

    fn connect(&self) -> Result<Connection> {
        Connection::open(&self.address, self.config.clone())
    }

    /// Waits for a task to end, and gives it. hostd may be restarted meanwhile.
    pub fn ended(&self, answer: &Answer) -> Result<Value> {
        let path = answer.header("location").context("the host began no task")?;
        let progress = indicatif::ProgressBar::new(100);
        loop {
            let task = self.get_patiently(path)?;
            progress.set_position(task["progress"].as_u64().unwrap_or(0));
            let state = task["state"].as_str().unwrap_or("lost");
            if state == "running" {
                std::thread::sleep(Duration::from_millis(200));
                continue;
            }
            progress.finish_and_clear();
            return match state {
                "done" => Ok(task),
                "failed" => Err(error_of(&serde_json::from_value(task["problem"].clone())?)),
                "cancelled" => bail!("the task was cancelled: begin it anew if it is still wanted"),
                "interrupted" => {
                    bail!("hostd ended while the task ran: look at what is there, then begin it anew")
                }
                state => bail!("the task is {state}: is the host newer than this program?"),
            };
        }
    }
}

/// The CA of the host at an address, as PEM, if its SHA-256 is the one that the host's console shows.
pub fn ca_of(url: &str, fingerprint: &str) -> Result<String> {
    let address = Address::parse(url)?;
    let config = if address.is_tls { Some(Trust::Anyone.config()?) } else { None };
    let mut connection = Connection::open(&address, config)?;
    let head =
        format!("GET /api/v1/ca.pem HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", address.authority);
    connection.write_all(head.as_bytes())?;
    connection.flush()?;
    let pem =
        String::from_utf8(checked(read_answer(&mut connection)?)?.body).context("the host's CA is no PEM")?;
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).context("the host's CA is no PEM")?;
    let sha256: String = Sha256::digest(&certificate).iter().map(|byte| format!("{byte:02x}")).collect();
    let wanted = fingerprint.replace([':', ' '], "").to_lowercase();
    if sha256 != wanted {
        bail!(
            "the CA there has the SHA-256 {sha256}, not the one of the console: this is not that host, or someone is between"
        );
    }
    Ok(pem)
}

fn checked(answer: Answer) -> Result<Answer> {
    if answer.status < 400 {
        return Ok(answer);
    }
    match serde_json::from_slice(&answer.body) {
        Ok(problem) => Err(error_of(&problem)),
        Err(_) => bail!("the host answers {}, and not why: is this a Bramble host?", answer.status),
    }
}

fn error_of(problem: &ProblemDetails) -> anyhow::Error {
    let field = problem.field.as_ref().map(|field| format!("{field}: ")).unwrap_or_default();
    let text = format!("{field}{}; {}", problem.detail, problem.remedy);
    Refusal { status: problem.status, reason: problem.reason.to_string(), text }.into()
}

/// What the host said no to, and why.
#[derive(Debug)]
pub struct Refusal {
    status: u16,
    reason: String,
    text: String,
}

impl Refusal {
    /// Whether it may be otherwise in a moment: a cut, another connection that is still at it, a host that is busy.
    pub fn may_pass(&self) -> bool {
        matches!(self.status, 400 | 408 | 409 | 429 | 503)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Refusal {}

fn read_head(connection: &mut Connection) -> Result<(Answer, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        if let httparse::Status::Complete(taken) =
            response.parse(&bytes).context("the host's answer is no HTTP")?
        {
            let header = |header: &httparse::Header<'_>| {
                (header.name.to_lowercase(), String::from_utf8_lossy(header.value).into_owned())
            };
            let status = response.code.unwrap_or(0);
            let headers = response.headers.iter().map(header).collect();
            return Ok((Answer { status, headers, body: Vec::new() }, bytes.split_off(taken)));
        }
        let mut piece = [0; 4096];
        match connection.read(&mut piece)? {
            0 => return Err(cut("the host closed the connection without an answer").into()),
            read => bytes.extend_from_slice(&piece[..read]),
        }
    }
}

fn read_answer(connection: &mut Connection) -> Result<Answer> {
    let (mut answer, rest) = read_head(connection)?;
    let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap_or(0));
    answer.body = rest;
    let left = u64::saturating_sub(length, answer.body.len() as u64);
    connection.take(left).read_to_end(&mut answer.body)?;
    if (answer.body.len() as u64) < length {
        return Err(cut("the host's answer is cut").into());
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A host that hangs up on the first request, and answers the second; both, as it heard them.
    fn forgetful(listener: &TcpListener) -> [String; 2] {
        let hear = |answer: &str| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heard = vec![0; 4096];
            let bytes = stream.read(&mut heard).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&heard[..bytes]).into_owned()
        };
        [hear(""), hear("HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}")]
    }

    #[test]
    fn a_host_that_never_answers_is_asked_as_often_as_said() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicU32::new(0));
        let count = asked.clone();
        // It ends with the test's process.
        std::thread::spawn(move || {
            for _ in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        let mut client = Client::new(Context { url, ..Context::default() }).unwrap();
        client.pause = Duration::ZERO;
        let headers = vec![("location".into(), "/api/v1/tasks/1".into())];
        client.ended(&Answer { status: 202, headers, body: Vec::new() }).unwrap_err();
        assert_eq!(asked.swap(0, Ordering::SeqCst), TRIES);
        let why = crate::remote::transfer::how_far(&client, "/api/v1/uploads/1", cut("cut").into());
        assert!(why.unwrap_err().to_string().contains("the same command goes on"));
        assert_eq!(asked.load(Ordering::SeqCst), TRIES);
    }

    #[test]
    fn what_is_made_is_asked_for_again_under_the_same_key() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let host = std::thread::spawn(move || forgetful(&listener));
        let client = Client::new(Context { url, ..Context::default() }).unwrap();
        let answer = client.make("/api/v1/uploads", &serde_json::json!({ "name": "image:a" })).unwrap();
        assert_eq!(answer.status, 201);
        let key = |text: &str| {
            text.lines().find_map(|line| line.strip_prefix("Idempotency-Key: ").map(str::to_owned))
        };
        let [first, second] = host.join().unwrap().map(|text| key(&text).unwrap());
        assert_eq!(first, second);
    }
}
