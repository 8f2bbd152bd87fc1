//! Certificates: what they say, and whether one that is kept says it still. RFC 5280.
//!
//! Called by: [`super`]. The CA's name constraints are critical: who steals its key can speak for this host's names and
//! for addresses that are nobody's on the Internet, not for anyone's bank.

use super::{Kind, Names};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;
use core::time::Duration;
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{DerSignature, SigningKey, VerifyingKey};
use p256::pkcs8::EncodePublicKey;
use sha2::{Digest, Sha256};
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder, CertificateBuilder};
use x509_cert::certificate::{Certificate, TbsCertificate};
use x509_cert::der::asn1::{Ia5String, ObjectIdentifier, OctetString};
use x509_cert::der::{DateTime, Decode, Encode};
use x509_cert::ext::pkix::constraints::name::GeneralSubtree;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, NameConstraints,
    SubjectAltName, SubjectKeyIdentifier,
};
use x509_cert::ext::{Extension, ToExtension};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{SubjectPublicKeyInfoOwned, SubjectPublicKeyInfoRef};
use x509_cert::time::{Time, Validity};

/// Anything that goes wrong while a certificate is made; it does not with names that were checked.
pub type Fault = x509_cert::builder::Error;

/// id-kp-serverAuth.
const SERVER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");

/// Networks that are nobody's on the Internet: RFC 1918, 3927, 6598, 4193, 4291. Address, bits.
const PRIVATE_V4: [(Ipv4Addr, u32); 6] = [
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
];
const PRIVATE_V6: [(Ipv6Addr, u32); 2] =
    [(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7), (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10)];

/// Whether the CA may name this address.
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            PRIVATE_V4.iter().any(|(network, bits)| address.to_bits() & mask_v4(*bits) == network.to_bits())
        }
        IpAddr::V6(address) => {
            PRIVATE_V6.iter().any(|(network, bits)| address.to_bits() & mask_v6(*bits) == network.to_bits())
        }
    }
}

fn mask_v4(bits: u32) -> u32 {
    u32::MAX.checked_shl(32_u32.saturating_sub(bits)).unwrap_or(0)
}

fn mask_v6(bits: u32) -> u128 {
    u128::MAX.checked_shl(128_u32.saturating_sub(bits)).unwrap_or(0)
}

/// One to be made.
pub struct Wanted<'a> {
    pub kind: Kind,
    pub names: &'a Names,
    /// The CA's host name.
    pub ca: &'a str,
    /// The public half of its key.
    pub key: &'a VerifyingKey,
    /// Seconds since 1970.
    pub from: u64,
    pub until: u64,
    pub serial: [u8; 16],
}

/// Makes it, signed by the CA; in DER.
pub fn make(wanted: &Wanted<'_>, ca: &SigningKey) -> Result<Vec<u8>, Fault> {
    // A serial number is positive and not 0.
    let mut serial = wanted.serial;
    if let Some(first) = serial.first_mut() {
        *first = *first & 0x7f | 1;
    }
    let validity = Validity::new(at(wanted.from)?, at(wanted.until)?);
    let key = key_info(wanted.key)?;
    let profile = Profile { wanted, issuer: ca_name(wanted.ca)?, subject: subject(wanted)? };
    let builder = CertificateBuilder::new(profile, SerialNumber::new(&serial)?, validity, key)?;
    Ok(builder.build::<_, DerSignature>(ca)?.to_der()?)
}

fn at(seconds: u64) -> Result<Time, Fault> {
    Ok(Time::from(DateTime::from_unix_duration(Duration::from_secs(seconds))?))
}

fn key_info(key: &VerifyingKey) -> Result<SubjectPublicKeyInfoOwned, Fault> {
    let der = key.to_public_key_der()?;
    Ok(SubjectPublicKeyInfoOwned::from_der(der.as_bytes())?)
}

fn ca_name(host: &str) -> Result<Name, Fault> {
    Ok(Name::from_str(&format!("CN={host} host CA,O=Bramble"))?)
}

fn subject(wanted: &Wanted<'_>) -> Result<Name, Fault> {
    match wanted.kind {
        Kind::Ca => ca_name(wanted.ca),
        Kind::Leaf => Ok(Name::from_str(&format!("CN={},O=Bramble", wanted.names.host))?),
    }
}

struct Profile<'a> {
    wanted: &'a Wanted<'a>,
    issuer: Name,
    subject: Name,
}

impl BuilderProfile for Profile<'_> {
    fn get_issuer(&self, _: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        key: SubjectPublicKeyInfoRef<'_>,
        issuer_key: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> Result<Vec<Extension>, Fault> {
        let subject = tbs.subject();
        let mut all = vec![
            SubjectKeyIdentifier(key_identifier(&key)?).to_extension(subject, &[])?,
            AuthorityKeyIdentifier {
                key_identifier: Some(key_identifier(&issuer_key)?),
                ..AuthorityKeyIdentifier::default()
            }
            .to_extension(subject, &[])?,
        ];
        match self.wanted.kind {
            Kind::Ca => {
                all.push(
                    BasicConstraints { ca: true, path_len_constraint: Some(0) }.to_extension(subject, &[])?,
                );
                all.push(KeyUsage(KeyUsages::KeyCertSign.into()).to_extension(subject, &[])?);
                all.push(constraints(self.wanted.names)?.to_extension(subject, &[])?);
            }
            Kind::Leaf => {
                all.push(
                    BasicConstraints { ca: false, path_len_constraint: None }.to_extension(subject, &[])?,
                );
                all.push(KeyUsage(KeyUsages::DigitalSignature.into()).to_extension(subject, &[])?);
                all.push(ExtendedKeyUsage(vec![SERVER]).to_extension(subject, &[])?);
                all.push(SubjectAltName(alternatives(self.wanted.names)?).to_extension(subject, &[])?);
            }
        }
        Ok(all)
    }
}

/// RFC 7093, 2, method 1.
fn key_identifier(key: &SubjectPublicKeyInfoRef<'_>) -> Result<OctetString, Fault> {
    let digest = Sha256::digest(key.subject_public_key.raw_bytes());
    Ok(OctetString::new(digest.get(..20).unwrap_or_default())?)
}

fn dns(name: String) -> Result<GeneralName, Fault> {
    Ok(GeneralName::DnsName(Ia5String::new(&name)?))
}

fn constraints(names: &Names) -> Result<NameConstraints, Fault> {
    let subtree = |base| GeneralSubtree { base, minimum: 0, maximum: None };
    let mut permitted = vec![subtree(dns(names.host.clone())?), subtree(dns(names.local())?)];
    for (network, bits) in PRIVATE_V4 {
        let bytes = [network.octets(), mask_v4(bits).to_be_bytes()].concat();
        permitted.push(subtree(GeneralName::IpAddress(OctetString::new(bytes)?)));
    }
    for (network, bits) in PRIVATE_V6 {
        let bytes = [network.octets(), mask_v6(bits).to_be_bytes()].concat();
        permitted.push(subtree(GeneralName::IpAddress(OctetString::new(bytes)?)));
    }
    Ok(NameConstraints { permitted_subtrees: Some(permitted), excluded_subtrees: None })
}

/// Its own names, and those of its addresses that the CA may name.
fn alternatives(names: &Names) -> Result<Vec<GeneralName>, Fault> {
    let mut all = vec![dns(names.host.clone())?, dns(names.local())?];
    all.extend(names.addresses.iter().copied().filter(|address| is_private(*address)).map(GeneralName::from));
    Ok(all)
}

/// A certificate that is kept.
pub struct Kept(Certificate);

impl Kept {
    /// From DER.
    pub fn read(der: &[u8]) -> Option<Self> {
        Certificate::from_der(der).ok().map(Self)
    }

    /// Whether it is for this key, and signed by that one.
    pub fn belongs_to(&self, key: &VerifyingKey, ca: &VerifyingKey) -> bool {
        let tbs = self.0.tbs_certificate();
        let is_ours = key_info(key).is_ok_and(|info| info == *tbs.subject_public_key_info());
        let signature = self.0.signature().as_bytes().and_then(|bytes| DerSignature::from_bytes(bytes).ok());
        let (Ok(signed), Some(signature)) = (tbs.to_der(), signature) else { return false };
        is_ours && ca.verify(&signed, &signature).is_ok()
    }

    /// Seconds since 1970 at which its time begins and ends.
    pub fn validity(&self) -> (u64, u64) {
        let validity = self.0.tbs_certificate().validity();
        (validity.not_before.to_unix_duration().as_secs(), validity.not_after.to_unix_duration().as_secs())
    }

    /// Whether a CA is the one of these names.
    pub fn constrains_to(&self, names: &Names) -> bool {
        let found = self.0.tbs_certificate().get_extension::<NameConstraints>();
        matches!((found, constraints(names)), (Ok(Some((true, found))), Ok(wanted)) if found == wanted)
    }

    /// Whether a leaf is for all of these names.
    pub fn names(&self, names: &Names) -> bool {
        let found = self.0.tbs_certificate().get_extension::<SubjectAltName>();
        matches!((found, alternatives(names)), (Ok(Some((_, found))), Ok(wanted))
            if wanted.iter().all(|name| found.0.contains(name)))
    }

    /// Its names and addresses, to be read.
    pub fn shown_names(&self) -> Vec<String> {
        let Ok(Some((_, found))) = self.0.tbs_certificate().get_extension::<SubjectAltName>() else {
            return Vec::new();
        };
        found.0.iter().filter_map(shown).collect()
    }
}

fn shown(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(String::from(name.as_str())),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| IpAddr::V4(bytes.into()));
            let v6 = || <[u8; 16]>::try_from(bytes).map(|bytes| IpAddr::V6(bytes.into()));
            v4.or_else(|_| v6()).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}
