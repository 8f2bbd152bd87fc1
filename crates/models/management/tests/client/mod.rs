//! A client over streams in memory, and the house that serves it.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use embedded_io_async::{Read, Write};
use management::Management;
use management::fake::{Host, Stream, VirtualTime, pair};
use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// A host with management over it, which serves whoever connects.
pub struct House {
    pub management: Rc<Management<Host>>,
    time: Rc<VirtualTime>,
    tasks: Rc<RefCell<Vec<Task>>>,
}

impl Default for House {
    fn default() -> Self {
        let host = Host::default();
        let time = host.time.clone();
        Self { management: Rc::new(Management::new(host)), time, tasks: Rc::default() }
    }
}

impl House {
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
        let (ours, theirs) = pair();
        let management = house.management.clone();
        let peer = SocketAddr::from(([192, 0, 2, 7], 40_000));
        // Tickets are given in the order of connects, whenever the tasks run.
        let task: Task = Box::pin(async move {
            let Some(ticket) = management.admit() else { return };
            management::serve(&management, theirs, peer, ticket).await;
        });
        house.tasks.borrow_mut().push(task);
        Self { stream: ours, unread: Vec::new(), headers: String::new() }
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, "").await
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

    /// Sends what fits while the other end takes it.
    pub async fn send(&mut self, text: &str) {
        let mut bytes = text.as_bytes();
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

    async fn read_head(&mut self) -> Answer {
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
