//! Requests to a host and its answers. Each problem becomes an error that says what to do.

use super::connection::{Address, Connection, Trust};
use super::contexts::Context;
use anyhow::{Context as _, Result, anyhow, bail};
use api::rest::ProblemDetails;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::time::Duration;

/// A host to ask.
pub struct Client {
    pub context: Context,
    address: Address,
    /// Header lines of the session or token.
    pub lines: String,
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
        Ok(Self { context, address, lines: lines.unwrap_or_default() })
    }

    /// A list, all pages of it.
    pub fn list(&self, path: &str) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        let mut skip = 0;
        loop {
            let mut page = self.get(&format!("{path}?skip={skip}&limit=1000"))?;
            let Value::Array(items) = page["items"].take() else { bail!("{path} is no list") };
            all.extend(items);
            match page["next"].as_u64() {
                Some(next) => skip = next,
                None => return Ok(all),
            }
        }
    }

    pub fn get(&self, path: &str) -> Result<Value> {
        self.send("GET", path, "", &[])?.json()
    }

    /// Sends a resource.
    pub fn json(&self, method: &str, path: &str, resource: &Value) -> Result<Answer> {
        self.send(method, path, "Content-Type: application/json\r\n", resource.to_string().as_bytes())
    }

    /// One request on a connection of its own.
    pub fn send(&self, method: &str, path: &str, lines: &str, body: &[u8]) -> Result<Answer> {
        let mut connection = self.connect()?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{}{lines}Content-Length: {}\r\n\r\n",
            self.address.authority,
            self.lines,
            body.len()
        );
        connection.write_all(head.as_bytes())?;
        // A host that refuses a long body answers and closes before it has read it.
        let sent = connection.write_all(body).and_then(|()| connection.flush());
        match (read_answer(&mut connection), sent) {
            (Ok(answer), _) => checked(answer),
            (Err(_), Err(error)) => Err(error).context("the host closed the connection"),
            (Err(error), Ok(())) => Err(error),
        }
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
        Connection::open(&self.address, &Trust::Pinned(self.context.ca.as_deref()))
    }

    /// Waits for a task to end, and gives it.
    pub fn ended(&self, answer: &Answer) -> Result<Value> {
        let path = answer.header("location").context("the host began no task")?;
        loop {
            let task = self.get(path)?;
            match task["state"].as_str() {
                Some("running") => std::thread::sleep(Duration::from_millis(200)),
                Some("done") => return Ok(task),
                Some("failed") => {
                    let problem = serde_json::from_value(task["problem"].clone())?;
                    return Err(error_of(&problem));
                }
                state => {
                    bail!("the task was {}: see `bramblectl vm list` for what is", state.unwrap_or("lost"))
                }
            }
        }
    }
}

/// The CA of the host at an address, as PEM, if its SHA-256 is the one that the host's console shows.
pub fn ca_of(url: &str, fingerprint: &str) -> Result<String> {
    let address = Address::parse(url)?;
    let mut connection = Connection::open(&address, &Trust::Anyone)?;
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
    anyhow!("{field}{}; {}", problem.detail, problem.remedy)
}

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
            0 => bail!("the host closed the connection without an answer"),
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
        bail!("the host's answer is cut");
    }
    Ok(answer)
}
