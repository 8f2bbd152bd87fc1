//! What can be set of the host itself: its name, its addresses, whom it asks for names and for the time.

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The host's settings.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HostSettings {
    /// One label of a–z, 0–9 and `-`, at most 63. The host answers to `NAME.local`. Another name is another CA.
    pub name: String,
    /// The management address by IPv4.
    pub ipv4: Ipv4Settings,
    /// The management address by IPv6, beside the link-local one, which there always is.
    pub ipv6: Ipv6Settings,
    /// Addresses of DNS servers, at most 3. With DHCP its server tells those by IPv4, and they are not given here.
    #[serde(default)]
    pub dns: Vec<String>,
    /// Names or addresses of NTP servers, at most 4, asked in turn; without any nobody tells the host the time.
    #[serde(default)]
    pub ntp: Vec<String>,
}

/// Where the IPv4 address comes from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Ipv4Settings {
    /// How.
    pub method: Ipv4Method,
    /// `A.B.C.D/N`, for `static` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// For `static` only; it lies in the address's network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
}

/// How the IPv4 address is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Ipv4Method {
    /// A DHCP server tells it.
    Dhcp,
    /// It is the one given.
    Static,
    /// There is none.
    Off,
}

/// Where the IPv6 address comes from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Ipv6Settings {
    /// How.
    pub method: Ipv6Method,
    /// `X::Y/N`, for `static` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// For `static` only; a link-local one may be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
}

/// How the IPv6 address is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Ipv6Method {
    /// A router announces its network (SLAAC).
    Auto,
    /// It is the one given.
    Static,
    /// There is the link-local one only.
    LinkLocal,
}

/// The settings that are in force.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HostSettingsState {
    /// Them.
    pub settings: HostSettings,
    /// They are on trial: without `POST /api/v1/host/settings/confirm` in time those from before are in force again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<SettingsTrial>,
}

/// A trial of settings.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SettingsTrial {
    /// What is left of it.
    pub seconds_left: u64,
    /// What is in force after it, if nobody confirms.
    pub before: HostSettings,
}

/// The network as the host has it now.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HostNetwork {
    /// Of the management card.
    pub mac: String,
    /// Addresses with the lengths of their prefixes.
    pub addresses: Vec<String>,
    /// Where everything else is sent.
    pub gateways: Vec<String>,
    /// Who is asked for names.
    pub dns: Vec<String>,
    /// Another host answers to this one's name by mDNS: this one does not.
    pub name_is_taken: bool,
}

/// What the host knows of the time.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HostTime {
    /// The time of day: seconds since 1970.
    pub now: u64,
    /// It is known to be right.
    pub is_synchronized: bool,
    /// NTP servers in the order in which they are asked.
    pub servers: Vec<NtpServer>,
}

/// An NTP server, and what became of the last request to it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NtpServer {
    /// As it stands in the settings.
    pub server: String,
    /// `not-asked`, `good`, or why its answer was not taken.
    pub state: String,
    /// When it was asked last: seconds of the host's uptime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<u64>,
    /// By how much the host's clock was behind its answer; negative: it was ahead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset_ms: Option<i64>,
}

/// The host's certificate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HostCertificate {
    /// SHA-256 of the CA's certificate: what the console shows and clients pin. `/api/v1/ca.pem` is the CA.
    pub ca_sha256: String,
    /// SHA-256 of the host's own certificate.
    pub sha256: String,
    /// Names and addresses that it is for.
    pub names: Vec<String>,
    /// From when it holds: seconds since 1970.
    pub valid_from: u64,
    /// Until when; it is made anew 30 days before.
    pub valid_until: u64,
}
