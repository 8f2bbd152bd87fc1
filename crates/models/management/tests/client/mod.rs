//! A client over streams in memory, and the house that serves it.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use embedded_io_async::{Read, Write};
use management::Management;
use management::fake::{Host, Stream, VirtualTime, pair};
use management::web::Web;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Everyone's, once it is changed.
pub const PASSWORD: &str = "four words will do";

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// A host with management over it, which serves whoever connects.
pub struct House {
    pub management: Rc<Management<Host>>,
    time: Rc<VirtualTime>,
    tasks: Rc<RefCell<Vec<Task>>>,
}

impl Default for House {
    fn default() -> Self {
        Self::with_web(Web::default())
    }
}

impl House {
    /// One with a web UI.
    pub fn with_web(web: Web) -> Self {
        let host = Host::default();
        let time = host.time.clone();
        Self::over(host, time, web)
    }

    fn over(host: Host, time: Rc<VirtualTime>, web: Web) -> Self {
        let management = Rc::new(Management::new(host).with_web(web));
        let running = management.clone();
        let task: Task = Box::pin(async move { running.run().await });
        Self { management, time, tasks: Rc::new(RefCell::new(vec![task])) }
    }

    /// hostd is killed and started again: its memory is gone, the host and its vmkernel are not.
    pub fn restart(self) -> Self {
        let Self { management, time, tasks } = self;
        tasks.borrow_mut().clear();
        let management = Rc::try_unwrap(management).ok().expect("no connection is left");
        Self::over(management.into_port(), time, Web::default())
    }

    /// Lines of the host's log.
    pub fn log(&self) -> Vec<String> {
        self.management.port().vmkernel.log()
    }

    /// The password for the first login, once it is on the console.
    pub async fn first_password(&self) -> String {
        loop {
            let log = self.log();
            let line =
                log.iter().rev().find_map(|line| line.strip_prefix("first login: user admin, password "));
            if let Some(password) = line {
                return password.to_owned();
            }
            self.sleep(Duration::from_millis(100)).await;
        }
    }

    /// A client that is logged in as the administrator, with [`PASSWORD`].
    pub async fn administrator(&self) -> Client {
        let first = self.first_password().await;
        let mut client = Client::connect(self);
        assert_eq!(client.log_in("admin", &first).await.status, 201);
        let change = json!({ "current": first, "new": PASSWORD });
        let answer = client.json("POST", "/api/v1/session/password", &change).await;
        assert_eq!(answer.status, 204, "{answer:?}");
        client
    }

    /// A client of a new user with this role.
    pub async fn user(&self, administrator: &mut Client, name: &str, role: &str) -> Client {
        let new = json!({ "name": name, "role": role, "password": "some words to change" });
        assert_eq!(administrator.json("POST", "/api/v1/users", &new).await.status, 201);
        let mut client = Client::connect(self);
        assert_eq!(client.log_in(name, "some words to change").await.status, 201);
        let change = json!({ "current": "some words to change", "new": PASSWORD });
        assert_eq!(client.json("POST", "/api/v1/session/password", &change).await.status, 204);
        client
    }

    /// What the audit chain tells, as JSON.
    pub async fn audit(&self, administrator: &mut Client) -> Vec<Value> {
        let answer = administrator.get("/api/v1/audit?limit=500").await;
        let items = answer.json()["items"].as_array().unwrap().clone();
        items.iter().map(|entry| serde_json::from_str(entry["text"].as_str().unwrap()).unwrap()).collect()
    }

    /// Runs a client beside the connections' tasks.
    pub fn run<T>(&self, client: impl Future<Output = T>) -> T {
        let mut client = Box::pin(client);
        let tasks = self.tasks.clone();
        let together = std::future::poll_fn(move |context: &mut Context<'_>| {
            if let Poll::Ready(value) = client.as_mut().poll(context) {
                return Poll::Ready(value);
            }
            let mut running = std::mem::take(&mut *tasks.borrow_mut());
            running.retain_mut(|task| task.as_mut().poll(context).is_pending());
            tasks.borrow_mut().append(&mut running);
            Poll::Pending
        });
        self.time.run(together).expect("everyone waits for something that never comes")
    }

    pub fn now(&self) -> Duration {
        self.time.now()
    }

    pub async fn sleep(&self, time: Duration) {
        self.time.sleep(time).await;
    }
}

/// A client of one connection.
pub struct Client {
    stream: Stream,
    unread: Vec<u8>,
    /// Header lines that go with each request.
    pub headers: String,
}

/// A response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

impl Client {
    /// Connects; the house's tasks serve it.
    pub fn connect(house: &House) -> Self {
        Self::connect_from(house, [192, 0, 2, 7])
    }

    /// Connects anew, with the session of another one.
    pub fn with(house: &House, other: &Client) -> Self {
        let mut client = Self::connect(house);
        client.headers.clone_from(&other.headers);
        client
    }

    /// The same, from an address.
    pub fn connect_from(house: &House, address: [u8; 4]) -> Self {
        let (ours, theirs) = pair();
        let management = house.management.clone();
        let peer = SocketAddr::from((address, 40_000));
        // Tickets are given in the order of connects, whenever the tasks run.
        let task: Task = Box::pin(async move {
            let Some(ticket) = management.admit(peer.ip()) else { return };
            management::serve(&management, theirs, peer, ticket).await;
        });
        house.tasks.borrow_mut().push(task);
        Self { stream: ours, unread: Vec::new(), headers: String::new() }
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }

    /// Sends a resource.
    pub async fn json(&mut self, method: &str, path: &str, resource: &Value) -> Answer {
        let body = resource.to_string();
        let headers = &self.headers;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.send(&(head + &body)).await;
        self.answer().await
    }

    /// Logs in; further requests carry the session.
    pub async fn log_in(&mut self, user: &str, password: &str) -> Answer {
        let login = json!({ "user": user, "password": password });
        let answer = self.json("POST", "/api/v1/session", &login).await;
        if answer.status == 201 {
            let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap();
            let csrf = answer.json()["csrf"].as_str().unwrap().to_owned();
            self.headers = format!("Cookie: {cookie}\r\nX-Bramble-CSRF: {csrf}\r\n");
        }
        answer
    }

    pub async fn head(&mut self, path: &str) -> Answer {
        self.send(&format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n{}\r\n", self.headers)).await;
        self.read_head().await
    }

    pub async fn ask(&mut self, method: &str, path: &str, body: &str) -> Answer {
        let length = body.len();
        let headers = &self.headers;
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\n\r\n");
        self.send(&(head + body)).await;
        self.answer().await
    }

    /// Sends bytes, with header lines of their own.
    pub async fn bytes(&mut self, method: &str, path: &str, lines: &str, body: &[u8]) -> Answer {
        let headers = &self.headers;
        let length = body.len();
        self.send(&format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}{lines}Content-Length: {length}\r\n\r\n"
        ))
        .await;
        self.send_bytes(body).await;
        self.answer().await
    }

    /// Waits for a task to end.
    pub async fn ended(&mut self, house: &House, answer: &Answer) -> Value {
        assert_eq!(answer.status, 202, "{answer:?}");
        let path = answer.header("location").unwrap().to_owned();
        loop {
            let task = self.get(&path).await.json();
            if task["state"] != "running" {
                return task;
            }
            house.sleep(Duration::from_millis(50)).await;
        }
    }

    /// Opens a WebSocket.
    pub async fn websocket(&mut self, path: &str, lines: &str) -> Answer {
        let headers = &self.headers;
        self.send(&format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\n{headers}{lines}Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ))
        .await;
        let answer = self.read_head().await;
        if answer.status == 101 {
            assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        }
        answer
    }

    /// Sends a frame.
    pub async fn frame(&mut self, opcode: u8, payload: &[u8]) {
        let mask = [1, 2, 3, 4];
        let mut bytes = vec![0x80 | opcode, 0x80 | u8::try_from(payload.len()).unwrap()];
        bytes.extend_from_slice(&mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.send_bytes(&bytes).await;
    }

    /// The next frame: opcode and payload.
    pub async fn next_frame(&mut self) -> (u8, Vec<u8>) {
        loop {
            let (head, length) = match self.unread[..] {
                [_, 126, a, b, ..] => (4, usize::from(u16::from_be_bytes([a, b]))),
                [_, short, ..] if short < 126 => (2, usize::from(short)),
                _ => {
                    self.read().await.expect("a whole frame");
                    continue;
                }
            };
            if self.unread.len() >= head + length {
                let frame: Vec<u8> = self.unread.drain(..head + length).collect();
                return (frame[0] & 15, frame[head..].to_vec());
            }
            self.read().await.expect("a whole frame");
        }
    }

    /// Sends what fits while the other end takes it.
    pub async fn send(&mut self, text: &str) {
        self.send_bytes(text.as_bytes()).await;
    }

    async fn send_bytes(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.stream.write(bytes).await.unwrap() {
                0 => return,
                written => bytes = &bytes[written..],
            }
        }
    }

    pub async fn answer(&mut self) -> Answer {
        let mut answer = self.read_head().await;
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        while self.unread.len() < length {
            self.read().await.expect("a whole body");
        }
        answer.body = self.unread.drain(..length).collect();
        answer
    }

    /// A body that comes in chunks, after its head.
    pub async fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = self.until("\r\n").await;
            let bytes = usize::from_str_radix(line.trim_end(), 16).unwrap();
            while self.unread.len() < bytes + 2 {
                self.read().await.expect("a whole chunk");
            }
            body.extend(self.unread.drain(..bytes));
            self.unread.drain(..2);
            if bytes == 0 {
                return body;
            }
        }
    }

    pub async fn read_head(&mut self) -> Answer {
        loop {
            if let Some(end) = self.unread.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head: Vec<u8> = self.unread.drain(..end + 4).collect();
                let head = String::from_utf8(head).unwrap();
                let mut lines = head.trim_end().lines();
                let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
                let header = |line: &str| {
                    let (name, value) = line.split_once(": ").unwrap();
                    (name.to_lowercase(), value.to_owned())
                };
                return Answer { status, headers: lines.map(header).collect(), body: Vec::new() };
            }
            self.read().await.expect("a whole head");
        }
    }

    /// Reads until `text` came; what came before it, and it.
    pub async fn until(&mut self, text: &str) -> String {
        loop {
            let so_far = String::from_utf8_lossy(&self.unread).into_owned();
            if let Some(at) = so_far.find(text) {
                self.unread.drain(..at + text.len());
                return so_far[..at + text.len()].to_owned();
            }
            assert!(self.read().await.is_some(), "closed after {so_far:?}");
        }
    }

    async fn read(&mut self) -> Option<()> {
        let mut piece = [0; 512];
        let bytes = self.stream.read(&mut piece).await.unwrap();
        self.unread.extend_from_slice(&piece[..bytes]);
        (bytes > 0).then_some(())
    }

    /// Waits for the other end to close.
    pub async fn is_closed(&mut self) -> bool {
        while self.read().await.is_some() {}
        true
    }
}
