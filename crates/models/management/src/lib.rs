//! What hostd is made of, without the world that it runs in: it manages a host over HTTPS. The same code runs at EL1 and
//! on a PC, where a fake vmkernel stands behind [`port`].
//!
//! | what | module |
//! |---|---|
//! | a connection is let in, gives way | [`admission`], [`Management::admit`] |
//! | bytes become requests, responses become bytes | [`http`] |
//! | who the host is: its CA and certificate | [`identity`] |
//! | its name, addresses, servers, as they are set | [`settings`] |
//! | its name on the network, an IPv6 address, the time from there | [`mdns`], [`slaac`], [`sntp`] |
//! | TLS 1.3 | [`tls`] |
//! | plain HTTP is sent to HTTPS | [`redirect`] |
//! | a connection's requests, one after another | [`serve()`] |
//! | who is asking, where a login goes | [`auth`] |
//! | what was done, for good | [`audit`] |
//! | which VMs there are, their consoles | [`inventory`] |
//! | what happened, for watchers | [`events`]; `watch` looks once a second |
//! | what was used in the last hour | `usage` |
//! | what goes on: consoles, events, downloads, support bundles | `streams` |
//! | long work | [`tasks`]; `jobs` is what they do |
//! | which operation a request asks for, and who may | [`route`] |
//! | the web UI's files | [`web`] |
//! | requests that come again with their key | `idempotency` |
//! | what outlives hostd | [`kept`] |
//! | why a call is refused | [`problem`] |
//! | the vmkernel, time, another vCPU | [`port`] |
//! | what stands for them in tests and on a PC | `fake` |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod admission;
mod ask;
pub mod audit;
pub mod auth;
pub mod bell;
mod configuration;
pub mod events;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
mod fat;
pub mod http;
mod idempotency;
pub mod identity;
pub mod inventory;
mod jobs;
pub mod kept;
pub mod mdns;
mod operations;
pub mod port;
pub mod problem;
pub mod qcow2;
pub mod redirect;
pub mod route;
pub mod secret;
mod serve;
pub mod settings;
pub mod slaac;
pub mod sntp;
mod streams;
mod tar;
pub mod tasks;
pub mod tls;
mod usage;
mod watch;
pub mod web;

use abi::Call;
use abi::call::{PRESENCE_DOCUMENT, PRESENCE_KEY};
use admission::{ConnectionId, Pool};
use alloc::format;
use alloc::vec::Vec;
use audit::Refusals;
use auth::{Authority, FIRST_USER};
use bell::{Bell, Turn};
use core::cell::RefCell;
use core::net::IpAddr;
use core::time::Duration;
use embassy_futures::select::{Either, select};
use events::Events;
use idempotency::Answers;
use identity::Renewal;
use kept::Kept;
use operations::uploads::UploadEntry;
use port::Port;
pub use serve::{accept, serve};
use settings::Settings;
use tasks::Tasks;
use usage::Usage;
use watch::Watch;
use web::Web;

/// A host under management. One executor polls all that uses it.
pub struct Management<P> {
    port: P,
    /// Who may what.
    authority: Authority,
    /// Logins that were refused and are not in the audit chain yet.
    refusals: Refusals,
    events: Events,
    tasks: Tasks,
    watch: Watch,
    usage: Usage,
    uploads: Kept<Vec<UploadEntry>>,
    uploading: Turn,
    answers: Answers,
    waiting: Kept<Vec<operations::vms::Waiting>>,
    web: Web,
    /// The host's settings.
    pub settings: Settings,
    /// Whether the certificate is to be looked at.
    pub renewal: Renewal,
    pool: RefCell<Pool>,
    /// Rings when a connection has to give way.
    gave_way: Bell,
}

/// The right to a connection, until it is dropped.
pub struct Ticket<'m, P> {
    management: &'m Management<P>,
    id: ConnectionId,
}

impl<P: Port> Management<P> {
    /// Over a vmkernel.
    pub fn new(port: P) -> Self {
        Self {
            port,
            authority: Authority::default(),
            refusals: Refusals::default(),
            events: Events::default(),
            tasks: Tasks::default(),
            watch: Watch::default(),
            usage: Usage::default(),
            uploads: Kept::new("run:uploads"),
            uploading: Turn::default(),
            answers: Answers::default(),
            waiting: Kept::new("run:waiting"),
            web: Web::default(),
            settings: Settings::default(),
            renewal: Renewal::default(),
            pool: RefCell::default(),
            gave_way: Bell::default(),
        }
    }

    /// With a web UI.
    #[must_use]
    pub fn with_web(mut self, web: Web) -> Self {
        self.web = web;
        self
    }

    /// What it runs over.
    pub fn port(&self) -> &P {
        &self.port
    }

    /// Gives it back.
    pub fn into_port(self) -> P {
        self.port
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.pool.borrow().len()
    }

    /// Opens the house, and then does what has to be done once a second; it never ends. Runs beside the connections.
    pub async fn run(&self) -> ! {
        let generation =
            self.port.call(Call::Version, &mut [], [0; 3]).map_or(0, |[_, generation, _]| generation);
        self.events.begin(u32::try_from(generation).unwrap_or(u32::MAX));
        self.settings.open(&self.port).await;
        self.tasks.open(&self.port).await;
        self.answers.open(&self.port).await;
        if self.waiting.load(&self.port).await.is_err() {
            self.waiting.forget();
        }
        if self.uploads.load(&self.port).await.is_err() {
            self.uploads.forget();
        }
        self.look().await;
        self.open().await;
        let watch = async {
            loop {
                self.port.sleep(Duration::from_secs(1)).await;
                self.look().await;
            }
        };
        match select(watch, self.work()).await {
            Either::First(never) | Either::Second(never) => never,
        }
    }

    /// Reads who may what, again and again until it succeeds.
    async fn open(&self) {
        let mut told = false;
        while let Err(fault) = self.authority.open(&self.port).await {
            // Random numbers may come later; what is damaged is told once.
            if !told {
                console_log(&self.port, &format!("nobody can log in yet: {fault}"));
                told = true;
            }
            self.port.sleep(Duration::from_secs(1)).await;
        }
    }

    /// Acts on a notice of the vmkernel's that somebody is at the machine. What fails is tried again in a second.
    async fn heed_presence(&self) {
        let Ok([notice, how, _]) = self.port.call(Call::ReadPresence, &mut [], [0; 3]) else { return };
        if notice == 0 || !self.authority.is_open() {
            return;
        }
        let how = match how {
            PRESENCE_KEY => "a key of the console",
            PRESENCE_DOCUMENT => "reset-admin in host.toml",
            _ => "by a way that is not known here",
        };
        if self.reset_first_user(how).await.is_ok() {
            // Another notice may have come meanwhile: it is the next one.
            let _ = self.port.call(Call::AcknowledgePresence, &mut [], [notice, 0, 0]);
        }
    }

    /// Someone who is at the machine says that the password is lost: the first user gets a new one, for one login, shown
    /// on the console.
    async fn reset_first_user(&self, how: &str) -> Result<(), problem::Problem> {
        let first = || {
            self.authority
                .directory
                .read(|all| all.user(FIRST_USER).and_then(|user| audit::value(&user.shown())))
        };
        let before = first();
        self.authority.reset_first_user(&self.port).await?;
        let who = format!("someone at the host ({how})");
        let (target, after) = (FIRST_USER.into(), first());
        let text = audit::text(None, "console".into(), "password.lost");
        let text = api::rest::AuditText { who, target, before, after, ..text };
        audit::append(&self.port, &text).await;
        Ok(())
    }

    /// Someone connects; `None`: there is no room, and the connection is to be closed.
    pub fn admit(&self, from: IpAddr) -> Option<Ticket<'_, P>> {
        let arrival = self.pool.borrow_mut().arrive(from.into())?;
        if arrival.gives_way.is_some() {
            self.gave_way.ring();
        }
        Some(Ticket { management: self, id: arrival.id })
    }
}

/// Writes a line to the host's log, and so to its console, in pieces if need be.
fn console_log<P: Port>(port: &P, line: &str) {
    let most = usize::try_from(Call::Log.buffer_max()).unwrap_or(1);
    for piece in line.as_bytes().chunks(most) {
        let mut piece = alloc::vec::Vec::from(piece);
        // A full log is no reason to stop.
        let _ = port.call(Call::Log, &mut piece, [0; 3]);
    }
}

/// The time of day, as far as the host knows it.
fn unix_seconds<P: Port>(port: &P) -> u64 {
    port.call(Call::Time, &mut [], [0; 3]).map_or(0, |[seconds, ..]| seconds)
}

impl<P> Ticket<'_, P> {
    /// Is done when the connection has to give way to another; [`accept()`] and [`serve()`] end with it.
    pub async fn given_up(&self) {
        loop {
            let heard = self.management.gave_way.rings();
            if self.gave_way() {
                return;
            }
            self.management.gave_way.after(heard).await;
        }
    }

    /// Whether the connection had to give way.
    pub fn gave_way(&self) -> bool {
        !self.management.pool.borrow().has(self.id)
    }

    fn know(&self, is_known: bool) {
        self.management.pool.borrow_mut().know(self.id, is_known);
    }
}

impl<P> Drop for Ticket<'_, P> {
    fn drop(&mut self) {
        self.management.pool.borrow_mut().leave(self.id);
    }
}
