//! A few requests through a real port: what the tests over streams in memory can't show.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

/// hostd, ended with the test.
struct Hostd {
    process: Child,
    address: String,
    password: String,
}

impl Hostd {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hostd-pc"));
        let process = command.args(["--port", "0"]).stdout(Stdio::piped()).spawn().expect("hostd starts");
        let mut hostd = Self { process, address: String::new(), password: String::new() };
        let output = hostd.process.stdout.take().expect("its output");
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Some(address) = line.strip_prefix("hostd: http://") {
                address.clone_into(&mut hostd.address);
            }
            if let Some(password) = line.split("password ").nth(1) {
                password.clone_into(&mut hostd.password);
            }
            if !hostd.address.is_empty() && !hostd.password.is_empty() {
                break;
            }
        }
        hostd
    }

    /// One request on a connection of its own: status line and what follows.
    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("a connection");
        stream.write_all(request.replace('\n', "\r\n").as_bytes()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }
}

impl Drop for Hostd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_login_and_a_list_of_vms() {
    let hostd = Hostd::start();
    let root = hostd.ask("GET /api/v1 HTTP/1.1\nHost: x\nConnection: close\n\n");
    assert!(root.starts_with("HTTP/1.1 200 OK\r\n") && root.contains("\"Bramble\""), "{root}");
    let body = format!("{{\"user\":\"admin\",\"password\":\"{}\"}}", hostd.password);
    let length = body.len();
    let head = "POST /api/v1/session HTTP/1.1\nHost: x\nConnection: close\nContent-Type: application/json";
    let answer = hostd.ask(&format!("{head}\nContent-Length: {length}\n\n{body}"));
    assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
    let cookie =
        answer.split("Set-Cookie: ").nth(1).and_then(|rest| rest.split(';').next()).expect("a cookie");
    let list = format!("GET /api/v1/vms HTTP/1.1\nHost: x\nConnection: close\nCookie: {cookie}\n\n");
    assert!(hostd.ask(&list).contains("password-change-needed"));
}

#[test]
fn idle_and_dribbling_clients_keep_nobody_out() {
    let hostd = Hostd::start();
    let mut crowd = Vec::new();
    for number in 0..200 {
        let mut stream = TcpStream::connect(&hostd.address).expect("a connection");
        if number % 2 == 0 {
            let _ = stream.write_all(b"GET /api");
        }
        crowd.push(stream);
    }
    let root = hostd.ask("GET /api/v1 HTTP/1.1\nHost: x\nConnection: close\n\n");
    assert!(root.starts_with("HTTP/1.1 200 OK\r\n"), "{root}");
}
