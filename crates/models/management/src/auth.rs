//! Who is asking, and what they may: where a login goes.
//!
//! | what | module |
//! |---|---|
//! | users and tokens, as they are kept | [`directory`] |
//! | sessions, as they are kept | [`sessions`] |
//! | passwords: rules, hashes, one hash at a time | [`password`] |
//! | lock-outs after wrong passwords | [`limits`] |
//!
//! A login: `operations::session::log_in` → [`limits::Limits::wait`] → [`password::Hasher::is_right`] →
//! [`sessions::Sessions::begin`]. Every other request: [`Authority::caller`], from a cookie or a bearer token.

pub mod directory;
pub mod limits;
pub mod password;
pub mod sessions;

use crate::admission::Source;
use crate::http::Head;
use crate::kept::{Kept, Loaded};
use crate::port::Port;
use crate::problem::Problem;
use crate::{console_log, secret, unix_seconds};
use alloc::format;
use alloc::string::{String, ToString};
use api::rest::Role;
use core::cell::{Cell, RefCell};
use directory::Directory;
use limits::Limits;
use password::Hasher;
use sessions::Sessions;

/// The cookie of a session. The prefix has browsers keep it to this host, this path and TLS (RFC 6265bis, 4.1.3.2).
pub const COOKIE: &str = "__Host-bramble";
/// Who is there before anyone else.
pub const FIRST_USER: &str = "admin";
/// How the console's line with a one-time password starts: only who is at the machine may read on.
pub(crate) const FIRST_LOGIN: &str = "first login: user ";

/// Who may what.
pub struct Authority {
    /// Users and tokens.
    pub directory: Kept<Directory>,
    /// Sessions.
    pub sessions: Kept<Sessions>,
    /// Passwords' hashes.
    pub hasher: Hasher,
    /// Lock-outs.
    pub limits: RefCell<Limits>,
    is_open: Cell<bool>,
}

/// Who is asking.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// The user's name.
    pub user: String,
    /// What this way in may.
    pub role: Role,
    /// The password has to be changed first.
    pub must_change_password: bool,
    /// By which way in.
    pub by: By,
}

/// A way in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum By {
    /// A session, by its id; its word against forged requests.
    Session {
        /// Its id.
        id: String,
        /// Goes with every change.
        csrf: String,
    },
    /// A token, by its id.
    Token(String),
}

impl Default for Authority {
    fn default() -> Self {
        Self {
            directory: Kept::new("host:users"),
            sessions: Kept::new("run:sessions"),
            hasher: Hasher::default(),
            limits: RefCell::default(),
            is_open: Cell::new(false),
        }
    }
}

impl Authority {
    /// Reads users and sessions; makes the first user where there is none, and shows its password on the console.
    /// An error: it is to be tried again.
    pub async fn open<P: Port>(&self, port: &P) -> Result<(), String> {
        let users = self.directory.load(port).await?;
        if let Err(fault) = self.sessions.load(port).await {
            console_log(port, &format!("{fault}: everyone has to log in again"));
            self.sessions.forget();
        }
        if users == Loaded::Missing || self.directory.read(|directory| directory.users.is_empty()) {
            self.reset_first_user(port).await.map_err(|problem| problem.details().detail.clone())?;
        }
        self.is_open.set(true);
        Ok(())
    }

    /// Whether [`Self::open`] is done.
    pub fn is_open(&self) -> bool {
        self.is_open.get()
    }

    /// Gives the first user a new password for one login, shown on the console: on first boot, and when someone who is
    /// at the machine asks for it because the old one is lost.
    pub async fn reset_first_user<P: Port>(&self, port: &P) -> Result<(), Problem> {
        let password = secret::one_time_password(port)?;
        let hash = self.hasher.hash(port, Source::HOST, &password).await?;
        let now = unix_seconds(port);
        self.directory
            .change(port, |directory| {
                directory.put_first(FIRST_USER, hash, now);
                Ok(())
            })
            .await?;
        self.end_sessions(port, FIRST_USER).await?;
        console_log(port, &format!("{FIRST_LOGIN}{FIRST_USER}, password {password}"));
        console_log(port, "it is for one login, which has to change it");
        Ok(())
    }

    /// Ends a user's sessions.
    pub async fn end_sessions<P: Port>(&self, port: &P, user: &str) -> Result<(), Problem> {
        self.sessions
            .change(port, |sessions| {
                sessions.entries.retain(|session| session.user != user);
                Ok(())
            })
            .await
    }

    /// Who asks: `None` where the request names nobody. A name that is not, or no longer, good is refused.
    pub fn caller<P: Port>(&self, port: &P, head: &Head) -> Result<Option<Caller>, Problem> {
        if let Some(value) = head.header("authorization") {
            let bearer = value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("bearer "));
            let token = bearer.and_then(|token| self.token(port, token.trim()));
            return token
                .map(Some)
                .ok_or_else(|| unauthorized("this token is not known here, or has expired"));
        }
        let Some(cookie) = head.cookie(COOKIE) else { return Ok(None) };
        self.session(port, cookie).map(Some).ok_or_else(|| unauthorized("this session has ended"))
    }

    fn token<P: Port>(&self, port: &P, secret: &str) -> Option<Caller> {
        let now = unix_seconds(port);
        self.directory.read(|directory| {
            let token = directory.token_of(&secret::kept(secret), now)?;
            let user = directory.user(&token.user)?;
            Some(Caller {
                user: user.name.clone(),
                role: token.role.min(user.role),
                must_change_password: user.must_change_password,
                by: By::Token(token.id.clone()),
            })
        })
    }

    fn session<P: Port>(&self, port: &P, cookie: &str) -> Option<Caller> {
        let kept = secret::kept(cookie);
        let now = port.now();
        let (user, by) = self.sessions.touch(|sessions| {
            let session = sessions.use_one(&kept, now)?;
            let by = By::Session { id: session.id.clone(), csrf: session.csrf.clone() };
            Some((session.user.clone(), by))
        })?;
        self.directory.read(|directory| {
            let user = directory.user(&user)?;
            let must_change_password = user.must_change_password;
            Some(Caller { user: user.name.clone(), role: user.role, must_change_password, by })
        })
    }
}

impl Caller {
    /// For the audit chain.
    pub fn by_text(&self) -> String {
        match &self.by {
            By::Session { id, .. } => format!("session {id}"),
            By::Token(id) => format!("token {id}"),
        }
    }

    /// A change by a session comes with the session's word, and from a page of this host where a browser says where from:
    /// so no other site's page makes it.
    pub fn forbid_forgery(&self, head: &Head) -> Result<(), Problem> {
        let By::Session { csrf, .. } = &self.by else { return Ok(()) };
        is_from_here(head)?;
        let given = head.header("x-bramble-csrf").unwrap_or_default();
        if secret::is_equal(given, csrf) {
            return Ok(());
        }
        let remedy = "send the csrf of GET /api/v1/session as X-Bramble-CSRF";
        Err(Problem::new(403, "csrf", "this change lacks the session's X-Bramble-CSRF", remedy))
    }
}

/// Refuses a request of another site's page.
pub fn is_from_here(head: &Head) -> Result<(), Problem> {
    let origin = head.header("origin").map(|origin| origin.split("://").nth(1).unwrap_or(origin));
    let same_host =
        origin.is_none_or(|origin| head.header("host").is_some_and(|host| host.eq_ignore_ascii_case(origin)));
    let same_site = head.header("sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"));
    if same_host && same_site {
        return Ok(());
    }
    Err(Problem::new(
        403,
        "foreign-origin",
        "this request comes from another site's page",
        "open the host's own address",
    ))
}

/// 401, saying how to log in.
pub fn unauthorized(detail: &str) -> Problem {
    let remedy = "log in by POST /api/v1/session, or send a token as Authorization: Bearer";
    Problem::new(401, "login-needed", detail.to_string(), remedy)
}
