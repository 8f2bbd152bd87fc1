//! The host's settings: its name, its addresses, whom it asks for names and for the time.
//!
//! | object | what |
//! |---|---|
//! | `host:settings` | those that were confirmed; it is the datastore's |
//! | `run:settings` | those on trial, and until when: it outlives hostd, not a restart of the host |
//!
//! Another address may lock its maker out. So it is on trial for [`TRIAL`]: whoever made it has to say, by a request that
//! reached the host with the new address in force, that it is to stay; else the one from before is back by itself, and it
//! is at once when the host restarts. ADR: `docs/adr/0062-settings-on-trial.md`.
//! Called by: `operations::settings`; hostd, which follows [`Settings::differ_from`].

mod check;

use crate::bell::Bell;
use crate::kept::Kept;
use crate::port::Port;
use crate::problem::Problem;
use crate::{audit, console_log};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use api::rest::{
    AuditText, HostNetwork, HostSettings, HostSettingsState, Ipv4Method, Ipv4Settings, Ipv6Method,
    Ipv6Settings, NtpServer, SettingsTrial,
};
pub use check::{Addresses, addresses, check};
use core::cell::{Cell, RefCell};
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// How long another address waits for a confirmation.
pub const TRIAL: Duration = Duration::from_secs(120);

/// What a host starts with.
pub fn defaults() -> HostSettings {
    HostSettings {
        name: String::from("bramble"),
        ipv4: Ipv4Settings { method: Ipv4Method::Dhcp, address: None, gateway: None },
        ipv6: Ipv6Settings { method: Ipv6Method::Auto, address: None, gateway: None },
        dns: Vec::new(),
        ntp: Vec::new(),
    }
}

/// Settings on trial.
#[derive(Clone, Serialize, Deserialize)]
struct OnTrial {
    settings: HostSettings,
    /// Milliseconds since the host started.
    until: u64,
}

/// The settings, and what came of them.
pub struct Settings {
    kept: Kept<Option<HostSettings>>,
    trial: Kept<Option<OnTrial>>,
    /// In force where nothing is kept.
    defaults: RefCell<HostSettings>,
    is_open: Cell<bool>,
    /// Rings with each change.
    changed: Bell,
    /// As hostd says.
    pub network: RefCell<HostNetwork>,
    /// As hostd says.
    pub servers: RefCell<Vec<NtpServer>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            kept: Kept::new("host:settings"),
            trial: Kept::new("run:settings"),
            defaults: defaults().into(),
            is_open: Cell::new(false),
            changed: Bell::default(),
            network: RefCell::default(),
            servers: RefCell::default(),
        }
    }
}

impl Settings {
    /// Those that are in force where nothing is kept. Before [`Self::open`].
    pub fn set_defaults(&self, settings: HostSettings) {
        *self.defaults.borrow_mut() = settings;
    }

    /// Reads them. What is damaged is told; then the defaults are in force, and nothing is written over it.
    pub(crate) async fn open<P: Port>(&self, port: &P) {
        if let Err(fault) = self.kept.load(port).await {
            console_log(port, &format!("{fault}: the host has the settings that it was made with"));
        }
        if self.trial.load(port).await.is_err() {
            self.trial.forget();
        }
        self.is_open.set(true);
        self.changed.ring();
    }

    /// Those in force.
    pub fn current(&self) -> HostSettings {
        let trial = self.trial.read(|trial| trial.as_ref().map(|trial| trial.settings.clone()));
        trial.unwrap_or_else(|| self.confirmed())
    }

    /// Those that are kept: in force but for a trial.
    pub(crate) fn confirmed(&self) -> HostSettings {
        self.kept.read(Clone::clone).unwrap_or_else(|| self.defaults.borrow().clone())
    }

    /// Waits until they are others than `seen`; they are.
    pub async fn differ_from(&self, seen: Option<&HostSettings>) -> HostSettings {
        loop {
            let heard = self.changed.rings();
            let current = self.current();
            if self.is_open.get() && seen != Some(&current) {
                return current;
            }
            self.changed.after(heard).await;
        }
    }

    /// Waits until the host has another name than this.
    pub async fn name_differs_from(&self, name: &str) {
        let mut current = self.current();
        while current.name == name {
            current = self.differ_from(Some(&current)).await;
        }
    }

    /// Waits until the servers to ask for the time are others than these.
    pub async fn ntp_differs_from(&self, ntp: &[String]) {
        let mut current = self.current();
        while current.ntp == ntp {
            current = self.differ_from(Some(&current)).await;
        }
    }

    /// As the API shows them.
    pub(crate) fn state(&self, now: Duration) -> HostSettingsState {
        let left = |until: u64| Duration::from_millis(until).saturating_sub(now).as_secs();
        let trial = self.trial.read(|trial| trial.as_ref().map(|trial| left(trial.until)));
        let trial = trial.map(|seconds_left| SettingsTrial { seconds_left, before: self.confirmed() });
        HostSettingsState { settings: self.current(), trial }
    }

    /// Puts others into force. Another address begins a trial, or goes on with the one that there is; what has nothing to
    /// do with addresses is kept at once.
    pub(crate) async fn change<P: Port>(&self, port: &P, new: HostSettings) -> Result<(), Problem> {
        let confirmed = self.confirmed();
        if (&new.ipv4, &new.ipv6) == (&confirmed.ipv4, &confirmed.ipv6) {
            return self.keep(port, new).await;
        }
        let until = port.now().saturating_add(TRIAL).as_millis();
        let until = u64::try_from(until).unwrap_or(u64::MAX);
        self.set_trial(port, Some(OnTrial { settings: new, until })).await
    }

    /// Keeps those on trial; there are some.
    pub(crate) async fn confirm<P: Port>(&self, port: &P) -> Result<(), Problem> {
        if self.trial.read(Option::is_none) {
            return Err(no_trial());
        }
        self.keep(port, self.current()).await
    }

    /// Ends the trial: those from before are in force.
    pub(crate) async fn revert<P: Port>(&self, port: &P) -> Result<(), Problem> {
        if self.trial.read(Option::is_none) {
            return Err(no_trial());
        }
        self.set_trial(port, None).await
    }

    /// Ends a trial whose time is over. Called once a second.
    pub(crate) async fn look<P: Port>(&self, port: &P) {
        let now = port.now();
        let is_over = |trial: &OnTrial| Duration::from_millis(trial.until) <= now;
        let Some(over) = self.trial.read(|trial| trial.clone().filter(is_over)) else { return };
        // What can't be written is tried again in a second.
        if self.set_trial(port, None).await.is_err() {
            return;
        }
        console_log(port, "nobody confirmed the new address in time: the one from before is back");
        let text = AuditText {
            who: String::from("the host"),
            before: audit::value(&over.settings),
            after: audit::value(&self.current()),
            ..audit::text(None, String::from("console"), "settings.fallback")
        };
        audit::append(port, &text).await;
    }

    async fn keep<P: Port>(&self, port: &P, new: HostSettings) -> Result<(), Problem> {
        self.kept
            .change(port, |kept| {
                *kept = Some(new);
                Ok(())
            })
            .await?;
        if self.trial.read(Option::is_some) {
            return self.set_trial(port, None).await;
        }
        self.changed.ring();
        Ok(())
    }

    async fn set_trial<P: Port>(&self, port: &P, new: Option<OnTrial>) -> Result<(), Problem> {
        let result = self
            .trial
            .change(port, |trial| {
                *trial = new;
                Ok(())
            })
            .await;
        self.changed.ring();
        result
    }
}

fn no_trial() -> Problem {
    let remedy = "GET /api/v1/host/settings shows those in force";
    Problem::new(409, "no-trial", "no settings are on trial: they were kept, or the time was over", remedy)
}
