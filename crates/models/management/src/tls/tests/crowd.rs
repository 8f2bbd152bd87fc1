//! Two thousand who keep the door, and an administrator who gets in.

use super::{Server, client};
use crate::admission::STRANGERS_MAX;
use crate::fake::{Host, Stream, VirtualTime, pair};
use crate::{Management, accept, serve};
use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::{Future, poll_fn};
use core::net::SocketAddr;
use core::pin::Pin;
use core::task::Poll;
use core::time::Duration;
use embedded_io_async::Write;

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// How many.
const CROWD: usize = 2000;

/// A house, and everyone at its door.
struct Door {
    management: Rc<Management<Host>>,
    config: super::Config,
    time: Rc<VirtualTime>,
    tasks: Rc<RefCell<Vec<Task>>>,
}

impl Door {
    /// Someone connects: as hostd does for each connection. His end.
    fn connect(&self) -> Stream {
        let (ours, theirs) = pair();
        let (management, config) = (self.management.clone(), self.config.clone());
        self.tasks.borrow_mut().push(Box::pin(async move {
            let peer = SocketAddr::from(([192, 0, 2, 7], 40_000));
            let Some(ticket) = management.admit(peer.ip()) else { return };
            let Some(mut tls) = accept(&config, ours, &ticket).await else { return };
            serve(&management, &mut tls, peer, ticket).await;
        }));
        theirs
    }

    /// Runs `client` beside all of them.
    fn run<T>(&self, client: impl Future<Output = T>) -> T {
        let mut client = Box::pin(client);
        let together = poll_fn(|context| {
            if let Poll::Ready(value) = client.as_mut().poll(context) {
                return Poll::Ready(value);
            }
            let mut running = core::mem::take(&mut *self.tasks.borrow_mut());
            running.retain_mut(|task| task.as_mut().poll(context).is_pending());
            self.tasks.borrow_mut().append(&mut running);
            Poll::Pending
        });
        self.time.run(together).expect("everyone waits for something that never comes")
    }

    /// The password on the console.
    async fn password(&self) -> String {
        loop {
            let log = self.management.port().vmkernel.log();
            let line = log.iter().find_map(|line| line.strip_prefix("first login: user admin, password "));
            if let Some(password) = line {
                return password.into();
            }
            self.time.sleep(Duration::from_millis(100)).await;
        }
    }
}

#[test]
fn after_two_thousand_idle_or_dribbling_clients_an_administrator_gets_in() {
    let Server { fake, config, ca, .. } = Server::new();
    let time = fake.time.clone();
    let management = Rc::new(Management::new(fake));
    let door = Door { management: management.clone(), config, time: time.clone(), tasks: Rc::default() };
    door.tasks.borrow_mut().push(Box::pin(async move { management.run().await }));
    door.run(async {
        let password = door.password().await;
        let mut crowd = Vec::new();
        for number in 0..CROWD {
            let mut stream = door.connect();
            // A third says nothing, a third begins a record and a third a message that never ends.
            let begins: &[u8] =
                [&b""[..], b"\x16\x03\x01", b"\x16\x03\x01\x00\x05\x01\x00\x02\x00\x03"][number % 3];
            // One that gave way already takes no more.
            let _ = stream.write(begins).await;
            crowd.push(stream);
            if number % 100 == 0 {
                door.time.sleep(Duration::from_millis(10)).await;
                // Those who dribble say a little more.
                for stream in crowd.iter_mut().rev().take(2 * STRANGERS_MAX) {
                    let _ = stream.write(b"\x00").await;
                }
            }
        }
        assert!(door.management.connections() <= STRANGERS_MAX);
        let before = door.time.now();
        let setup = client::Setup::new(&ca, &client::SUITES, &client::groups());
        let mut admin = setup.connect(door.connect(), "esx0.local");
        admin.shake().await;
        assert!(admin.error.is_none() && !admin.connection.is_handshaking(), "{:?}", admin.error);
        let body = format!(r#"{{"user":"admin","password":"{password}"}}"#);
        let head = format!(
            "POST /api/v1/session HTTP/1.1\r\nHost: esx0.local\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        admin.send(head.as_bytes()).await;
        admin.read_to_end().await;
        let text = String::from_utf8_lossy(&admin.text).into_owned();
        assert!(text.starts_with("HTTP/1.1 201 "), "{text}");
        // By virtual time, in which each computation takes 50 ms.
        assert!(door.time.now() - before < Duration::from_secs(2), "{:?}", door.time.now() - before);
        drop(crowd);
    });
}
