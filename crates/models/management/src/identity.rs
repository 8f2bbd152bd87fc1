//! Who the host is to its clients: on first boot a CA of its own, and a certificate of that CA for its names.
//!
//! | object | what |
//! |---|---|
//! | `host:ca.key`, `host:ca.crt` | the CA: ten years, constrained to the host's names and to private addresses |
//! | `host:tls.key`, `host:tls.crt` | the leaf: a year, made anew when 30 days are left, or the names are others |
//!
//! Keys are PKCS #8, certificates X.509, both in DER. Called by: hostd, before it accepts a connection, and once a day.
//! Calls: the vmkernel, which keeps the objects. What is kept is input like any other: what can't be read, does not
//! belong together or has run out is made anew.

mod certificate;
mod renewal;
#[cfg(test)]
mod tests;

use crate::port::{Received, Refused, Request, Vmkernel};
use crate::tls;
use abi::request::OBJECT_NAME_BYTES;
use abi::{Call, RequestKind, Status};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use certificate::{Kept, Wanted};
use core::fmt;
use core::net::IpAddr;
use p256::ecdsa::SigningKey;
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey};
pub use renewal::{Renewal, shown};
use sha2::{Digest, Sha256};

/// No host runs this program before (2026-11-24): time that is not known yet starts here.
pub const EARLIEST: u64 = 1_795_478_400;
const DAY: u64 = 24 * 3600;
const YEAR: u64 = 365 * DAY;
const CA_LIFE: u64 = 10 * YEAR;
const LEAF_LIFE: u64 = YEAR;
/// With less than this left it is made anew.
const LEFT: u64 = 30 * DAY;
/// Clocks of clients may be late.
const EARLY: u64 = DAY;
/// Most bytes of an object of ours.
const OBJECT_MAX: usize = 4096;
/// Scalars that are no key are as good as impossible; often in a row, the numbers are not random.
const TRIES: usize = 8;

/// What the certificate is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Names {
    host: String,
    addresses: Vec<IpAddr>,
}

impl Names {
    /// A host name (RFC 1123, 2.1: one label) and addresses; `None`: that is no host name.
    pub fn new(host: &str, addresses: &[IpAddr]) -> Option<Self> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_label = (1..=63).contains(&host.len()) && host.bytes().all(fits);
        let is_label = is_label && !host.starts_with('-') && !host.ends_with('-');
        is_label.then(|| Self { host: host.into(), addresses: addresses.to_vec() })
    }

    /// Its name by multicast DNS (RFC 6762, 3).
    fn local(&self) -> String {
        format!("{}.local", self.host)
    }
}

/// The time, as far as it is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// Seconds since 1970.
    pub unix_seconds: u64,
    /// Whether that is right.
    pub is_known: bool,
}

/// What a certificate is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Ca,
    Leaf,
}

impl Kind {
    const fn objects(self) -> [&'static str; 2] {
        match self {
            Self::Ca => ["host:ca.key", "host:ca.crt"],
            Self::Leaf => ["host:tls.key", "host:tls.crt"],
        }
    }
}

/// Why there is no identity.
#[derive(Debug)]
pub enum Fault {
    /// There are no random numbers yet: ask again.
    Unseeded,
    /// An object can't be read or written.
    Object(&'static str, Status),
    /// A certificate can't be made.
    Certificate(certificate::Fault),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unseeded => f.write_str("no random numbers yet"),
            Self::Object(name, status) => write!(f, "object {name}: {status:?}"),
            Self::Certificate(error) => write!(f, "certificate: {error}"),
        }
    }
}

/// What is found or made.
pub struct Found {
    /// For [`tls::Config`].
    pub identity: tls::Identity,
    /// The CA's certificate, in DER: what clients are to trust.
    pub ca: Vec<u8>,
    /// Whether the leaf was made just now.
    pub is_new: bool,
}

impl Found {
    /// SHA-256 of the CA's certificate, in hexadecimal.
    pub fn fingerprint(&self) -> String {
        Sha256::digest(&self.ca).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A key and its certificate.
struct Pair {
    key: SigningKey,
    certificate: Vec<u8>,
}

/// The host's identity for these names: what is kept where it is still good, else made anew and kept.
pub async fn find<V: Vmkernel>(
    vmkernel: &V,
    host: &dyn tls::Host,
    names: &Names,
    now: Now,
) -> Result<Found, Fault> {
    let store = Store { vmkernel, host, names, now };
    let (ca, _) = store.find(Kind::Ca, None).await?;
    let leaf = store.find(Kind::Leaf, Some(&ca.key)).await?;
    Ok(found(ca, leaf))
}

/// The same with a new leaf, whatever there was.
pub async fn renew<V: Vmkernel>(
    vmkernel: &V,
    host: &dyn tls::Host,
    names: &Names,
    now: Now,
) -> Result<Found, Fault> {
    let store = Store { vmkernel, host, names, now };
    let (ca, _) = store.find(Kind::Ca, None).await?;
    let leaf = store.make(Kind::Leaf, Some(&ca.key)).await?;
    Ok(found(ca, (leaf, true)))
}

fn found(ca: Pair, (leaf, is_new): (Pair, bool)) -> Found {
    let identity = tls::Identity { chain: vec![leaf.certificate, ca.certificate.clone()], key: leaf.key };
    Found { identity, ca: ca.certificate, is_new }
}

/// An identity for these names that nobody keeps: where objects can't be kept, each generation of hostd has another.
pub async fn unkept(host: &dyn tls::Host, names: &Names, now: Now) -> Result<Found, Fault> {
    find(&Nowhere, host, names, now).await
}

/// Keeps nothing.
struct Nowhere;

impl Vmkernel for Nowhere {
    fn call(&self, _: Call, _: &mut [u8], _: [u64; 3]) -> Result<[u64; 3], Status> {
        Err(Status::NotSupported)
    }

    async fn request(&self, request: Request<'_>, _: &mut [u8]) -> Result<Received, Refused> {
        let received = Received { value: 0, bytes: 0 };
        match request.kind {
            RequestKind::WriteObject => Ok(received),
            _ => Err(Refused { status: Status::NotFound, received }),
        }
    }
}

struct Store<'a, V> {
    vmkernel: &'a V,
    host: &'a dyn tls::Host,
    names: &'a Names,
    now: Now,
}

impl<V: Vmkernel> Store<'_, V> {
    /// The pair of this kind, and whether it is new. Without an issuer it signs itself.
    async fn find(&self, kind: Kind, issuer: Option<&SigningKey>) -> Result<(Pair, bool), Fault> {
        if let Some(pair) = self.kept(kind, issuer).await? {
            return Ok((pair, false));
        }
        Ok((self.make(kind, issuer).await?, true))
    }

    async fn make(&self, kind: Kind, issuer: Option<&SigningKey>) -> Result<Pair, Fault> {
        let key = self.new_key()?;
        let signer = issuer.unwrap_or(&key);
        let (from, until) = self.validity(kind);
        let mut serial = [0; 16];
        self.random(&mut serial)?;
        let ca = &self.names.host;
        let wanted = Wanted { kind, names: self.names, ca, key: key.verifying_key(), from, until, serial };
        let certificate = certificate::make(&wanted, signer).map_err(Fault::Certificate)?;
        let secret = key.to_pkcs8_der().map_err(|_| Fault::Object("key", Status::Failed))?;
        let [key_name, certificate_name] = kind.objects();
        // A cut in between leaves two that do not belong together, which are made anew.
        self.write(key_name, secret.as_bytes()).await?;
        self.write(certificate_name, &certificate).await?;
        Ok(Pair { key, certificate })
    }

    async fn kept(&self, kind: Kind, issuer: Option<&SigningKey>) -> Result<Option<Pair>, Fault> {
        let [key_name, certificate_name] = kind.objects();
        let (Some(secret), Some(certificate)) =
            (self.read(key_name).await?, self.read(certificate_name).await?)
        else {
            return Ok(None);
        };
        let (Ok(key), Some(kept)) = (SigningKey::from_pkcs8_der(&secret), Kept::read(&certificate)) else {
            return Ok(None);
        };
        let issuer = issuer.unwrap_or(&key).verifying_key();
        let is_good = kept.belongs_to(key.verifying_key(), issuer) && self.is_in_time(kind, &kept);
        let is_ours = match kind {
            Kind::Ca => kept.constrains_to(self.names),
            Kind::Leaf => kept.names(self.names),
        };
        Ok((is_good && is_ours).then_some(Pair { key, certificate }))
    }

    /// Seconds since 1970, never before this program was.
    fn seconds(&self) -> u64 {
        self.now.unix_seconds.max(EARLIEST)
    }

    /// From when until when one that is made now is valid. While the time is not known a leaf is valid as long as its
    /// CA may be: to clients, who know the time, it would else have run out, or not have begun.
    fn validity(&self, kind: Kind) -> (u64, u64) {
        let (start, life) = match (kind, self.now.is_known) {
            (Kind::Ca, true) => (self.seconds(), CA_LIFE),
            (_, false) => (EARLIEST, CA_LIFE),
            (Kind::Leaf, true) => (self.seconds(), LEAF_LIFE),
        };
        (start.saturating_sub(EARLY), start.saturating_add(life))
    }

    fn is_in_time(&self, kind: Kind, kept: &Kept) -> bool {
        let (from, until) = kept.validity();
        if !self.now.is_known {
            return true;
        }
        let left = until.saturating_sub(self.seconds());
        // One that was made while the time was not known is valid for too long.
        let is_of_its_kind = kind == Kind::Ca || left <= LEAF_LIFE;
        from <= self.seconds() && left > LEFT && is_of_its_kind
    }

    fn random(&self, into: &mut [u8]) -> Result<(), Fault> {
        self.host.random(into).map_err(|tls::Unseeded| Fault::Unseeded)
    }

    fn new_key(&self) -> Result<SigningKey, Fault> {
        for _ in 0..TRIES {
            let mut scalar = [0; 32];
            self.random(&mut scalar)?;
            if let Ok(key) = SigningKey::from_slice(&scalar) {
                return Ok(key);
            }
        }
        Err(Fault::Unseeded)
    }

    async fn read(&self, name: &'static str) -> Result<Option<Vec<u8>>, Fault> {
        let mut bytes = vec![0; OBJECT_MAX];
        let field: [u8; OBJECT_NAME_BYTES] = abi::name::field(name);
        let request = Request { kind: RequestKind::ReadObject, target: 0, argument: 0, send: [&field, &[]] };
        match self.vmkernel.request(request, &mut bytes).await {
            Ok(Received { bytes: count, .. }) => {
                bytes.truncate(count);
                Ok(Some(bytes))
            }
            Err(Refused { status: Status::NotFound, .. }) => Ok(None),
            Err(refused) => Err(Fault::Object(name, refused.status)),
        }
    }

    async fn write(&self, name: &'static str, bytes: &[u8]) -> Result<(), Fault> {
        let field: [u8; OBJECT_NAME_BYTES] = abi::name::field(name);
        let request =
            Request { kind: RequestKind::WriteObject, target: 0, argument: 0, send: [&field, bytes] };
        match self.vmkernel.request(request, &mut []).await {
            Ok(_) => Ok(()),
            Err(refused) => Err(Fault::Object(name, refused.status)),
        }
    }
}
