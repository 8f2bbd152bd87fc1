//! Verified by others: webpki, in a TLS client, and openssl where it is installed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

extern crate std;

use super::certificate::{Wanted, is_private, make};
use super::*;
use crate::fake;
use crate::fake::TlsHost;
use alloc::sync::Arc;
use core::time::Duration;
use proptest::prelude::*;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{CertificateError, RootCertStore};

const NOW: u64 = 1_800_000_000;

fn known(unix_seconds: u64) -> Now {
    Now { unix_seconds, is_known: true }
}

fn names(host: &str, addresses: &[&str]) -> Names {
    let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
    Names::new(host, &addresses).unwrap()
}

struct Bench {
    fake: fake::Host,
    host: &'static TlsHost,
}

impl Bench {
    fn new() -> Self {
        Self { fake: fake::Host::default(), host: TlsHost::new() }
    }

    fn find(&self, names: &Names, now: Now) -> Found {
        self.fake.time.run(find(&self.fake, self.host, names, now)).unwrap().unwrap()
    }

    fn object(&self, name: &str) -> Vec<u8> {
        let mut bytes = vec![0; OBJECT_MAX];
        let field: [u8; OBJECT_NAME_BYTES] = abi::name::field(name);
        let request = Request { kind: RequestKind::ReadObject, target: 0, argument: 0, send: [&field, &[]] };
        let received = self.fake.time.run(self.fake.request(request, &mut bytes)).unwrap().unwrap();
        bytes.truncate(received.bytes);
        bytes
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        let field: [u8; OBJECT_NAME_BYTES] = abi::name::field(name);
        let request =
            Request { kind: RequestKind::WriteObject, target: 0, argument: 0, send: [&field, bytes] };
        self.fake.time.run(self.fake.request(request, &mut [])).unwrap().unwrap();
    }
}

/// How a client that trusts the CA takes a leaf under a name at a time.
fn verify(ca: &[u8], leaf: &[u8], name: &str, at: u64) -> Result<(), CertificateError> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.to_vec().into()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let at = UnixTime::since_unix_epoch(Duration::from_secs(at));
    match verifier.verify_server_cert(&leaf.to_vec().into(), &[], &name, &[], at) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InvalidCertificate(error)) => Err(error),
        Err(other) => panic!("{other}"),
    }
}

use alloc::borrow::ToOwned;
use core::panic;

#[test]
fn clients_that_trust_the_ca_take_the_leaf_under_each_of_its_names_and_no_other() {
    let bench = Bench::new();
    let found = bench.find(&names("esx0", &["10.0.2.15", "fe80::5054:ff:fe00:1", "8.8.8.8"]), known(NOW));
    let leaf = &found.identity.chain[0];
    assert_eq!(found.identity.chain[1], found.ca);
    for name in ["esx0", "esx0.local", "10.0.2.15", "fe80::5054:ff:fe00:1"] {
        assert_eq!(verify(&found.ca, leaf, name, NOW), Ok(()), "{name}");
    }
    for name in ["esx1", "local", "x.esx0.local", "10.0.2.16", "8.8.8.8"] {
        let refused = verify(&found.ca, leaf, name, NOW);
        assert!(
            matches!(refused, Err(CertificateError::NotValidForNameContext { .. })),
            "{name}: {refused:?}"
        );
    }
    // A day early for clocks that are late, and a year.
    assert_eq!(verify(&found.ca, leaf, "esx0", NOW - DAY), Ok(()));
    assert!(matches!(
        verify(&found.ca, leaf, "esx0", NOW - DAY - 1),
        Err(CertificateError::NotValidYetContext { .. })
    ));
    assert_eq!(verify(&found.ca, leaf, "esx0", NOW + YEAR), Ok(()));
    assert!(matches!(
        verify(&found.ca, leaf, "esx0", NOW + YEAR + 1),
        Err(CertificateError::ExpiredContext { .. })
    ));
}

/// Who has stolen the CA's key signs what he likes; clients refuse names that are not this host's.
#[test]
fn the_cas_constraints_hold_for_what_is_signed_with_its_key() {
    let bench = Bench::new();
    let found = bench.find(&names("esx0", &[]), known(NOW));
    let ca = SigningKey::from_pkcs8_der(&bench.object("host:ca.key")).unwrap();
    let sign = |host: &str| {
        let names = names(host, &[]);
        let key = ca.verifying_key();
        let wanted = Wanted {
            kind: Kind::Leaf,
            names: &names,
            ca: "esx0",
            key,
            from: NOW,
            until: NOW + DAY,
            serial: [7; 16],
        };
        make(&wanted, &ca).unwrap()
    };
    assert_eq!(verify(&found.ca, &sign("esx0"), "esx0", NOW), Ok(()));
    let refused = verify(&found.ca, &sign("bank"), "bank", NOW);
    assert!(
        matches!(&refused, Err(CertificateError::Other(other)) if std::format!("{other:?}").contains("NameConstraint")),
        "{refused:?}"
    );
}

#[test]
fn what_is_kept_is_used_again() {
    let bench = Bench::new();
    let names = names("esx0", &["10.0.2.15"]);
    let first = bench.find(&names, known(NOW));
    assert!(first.is_new);
    let again = bench.find(&names, known(NOW + 300 * DAY));
    assert!(!again.is_new);
    assert_eq!(again.identity.chain, first.identity.chain);
    assert_eq!(first.fingerprint(), again.fingerprint());
    assert_eq!(first.fingerprint().len(), 64);
}

#[test]
fn the_leaf_is_renewed_in_time_and_for_new_names() {
    let bench = Bench::new();
    let one = names("esx0", &["10.0.2.15"]);
    let first = bench.find(&one, known(NOW));
    let start = NOW + YEAR;
    assert!(!bench.find(&one, known(start - LEFT - 1)).is_new);
    let second = bench.find(&one, known(start - LEFT));
    assert!(second.is_new && second.ca == first.ca && second.identity.chain[0] != first.identity.chain[0]);
    assert_eq!(verify(&first.ca, &second.identity.chain[0], "esx0", start + 300 * DAY), Ok(()));
    let third = bench.find(&names("esx0", &["10.0.2.15", "192.168.1.4"]), known(start));
    assert!(third.is_new && third.ca == first.ca);
    assert_eq!(verify(&first.ca, &third.identity.chain[0], "192.168.1.4", start), Ok(()));
    // Another host name is another CA: the old one can't speak for it.
    let fourth = bench.find(&names("esx1", &[]), known(start));
    assert!(fourth.is_new && fourth.ca != first.ca);
    // After ten years the CA is another one, too.
    let fifth = bench.find(&names("esx1", &[]), known(start + CA_LIFE));
    assert!(fifth.ca != fourth.ca);
}

#[test]
fn while_the_time_is_not_known_no_client_finds_the_leaf_too_old_or_too_young() {
    let bench = Bench::new();
    let names = names("esx0", &[]);
    let unknown = Now { unix_seconds: 0, is_known: false };
    let first = bench.find(&names, unknown);
    for at in [EARLIEST, NOW, NOW + 5 * YEAR] {
        assert_eq!(verify(&first.ca, &first.identity.chain[0], "esx0", at), Ok(()));
    }
    assert!(!bench.find(&names, unknown).is_new, "at the next start it is still the same");
    // Once the time is known, its certificate is one of a year, of the same CA.
    let second = bench.find(&names, known(NOW));
    assert!(second.is_new && second.ca == first.ca);
    assert!(matches!(
        verify(&first.ca, &second.identity.chain[0], "esx0", NOW + 2 * YEAR),
        Err(CertificateError::ExpiredContext { .. })
    ));
    // Time that is wrong and known is not below what it can be.
    let bench = Bench::new();
    let found = bench.find(&names, known(5));
    assert_eq!(verify(&found.ca, &found.identity.chain[0], "esx0", EARLIEST), Ok(()));
}

#[test]
fn what_is_kept_and_damaged_or_of_another_is_made_anew() {
    let names = names("esx0", &[]);
    let other = Bench::new();
    other.find(&names, known(NOW));
    for name in ["host:ca.key", "host:ca.crt", "host:tls.key", "host:tls.crt"] {
        let bench = Bench::new();
        // Other numbers than the other host's.
        crate::tls::Host::random(bench.host, &mut [0; 7]).unwrap();
        bench.find(&names, known(NOW));
        let good = bench.object(name);
        let mut bad = good.clone();
        let last = bad.len() - 1;
        bad[last] ^= 1;
        for bytes in [&[][..], &good[..last], &bad, &other.object(name), &[0x30; 4000]] {
            bench.put(name, bytes);
            let found = bench.find(&names, known(NOW));
            assert!(found.is_new, "{name}");
            assert_eq!(verify(&found.ca, &found.identity.chain[0], "esx0", NOW), Ok(()), "{name}");
            assert!(!bench.find(&names, known(NOW)).is_new, "{name}");
        }
    }
}

#[test]
fn host_names_are_one_label() {
    for good in ["a", "esx0", "a-b", &"x".repeat(63)] {
        assert!(Names::new(good, &[]).is_some(), "{good}");
    }
    for bad in ["", "-a", "a-", "a.b", "A", "a b", "ä", "a,O=x", "*", &"x".repeat(64)] {
        assert!(Names::new(bad, &[]).is_none(), "{bad}");
    }
}

#[test]
fn private_addresses() {
    for (address, expected) in [
        ("10.255.255.255", true),
        ("11.0.0.0", false),
        ("172.31.0.1", true),
        ("172.32.0.1", false),
        ("192.168.0.1", true),
        ("127.0.0.1", true),
        ("100.127.255.255", true),
        ("100.128.0.0", false),
        ("fd00::1", true),
        ("fe80::1", true),
        ("2001:db8::1", false),
    ] {
        assert_eq!(is_private(address.parse().unwrap()), expected, "{address}");
    }
}

#[test]
fn openssl_agrees() {
    use std::process::Command;
    if Command::new("openssl").arg("version").output().is_err() {
        std::eprintln!("openssl is not installed: webpki alone has verified");
        return;
    }
    let bench = Bench::new();
    let found = bench.find(&names("esx0", &["10.0.2.15"]), known(NOW));
    let folder = std::env::temp_dir().join(std::format!("bramble-identity-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = |name: &str| folder.join(name);
    std::fs::write(path("ca.der"), &found.ca).unwrap();
    std::fs::write(path("leaf.der"), &found.identity.chain[0]).unwrap();
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").current_dir(&folder).args(arguments).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), alloc::string::String::from_utf8_lossy(&text).into_owned())
    };
    for name in ["ca", "leaf"] {
        let (der, pem) = (std::format!("{name}.der"), std::format!("{name}.pem"));
        let (done, text) = openssl(&["x509", "-inform", "DER", "-in", &der, "-out", &pem]);
        assert!(done, "{text}");
    }
    let at = std::format!("{NOW}");
    let verify = ["verify", "-x509_strict", "-attime", &at, "-purpose", "sslserver", "-CAfile", "ca.pem"];
    for (name, expected) in [("esx0", true), ("esx0.local", true), ("esx1", false)] {
        let (done, text) = openssl(&[&verify[..], &["-verify_hostname", name, "leaf.pem"]].concat());
        assert_eq!(done, expected, "{name}: {text}");
    }
    let (done, text) = openssl(&[&verify[..], &["-verify_ip", "10.0.2.15", "leaf.pem"]].concat());
    assert!(done, "{text}");
    let (_, text) = openssl(&["x509", "-in", "ca.pem", "-noout", "-text"]);
    assert!(text.contains("X509v3 Name Constraints: critical"), "{text}");
    std::fs::remove_dir_all(&folder).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Objects of any bytes are no reason to fail.
    #[test]
    fn any_bytes_may_be_kept(bytes in proptest::collection::vec(any::<u8>(), 0..200), which in 0..4_usize) {
        let bench = Bench::new();
        let names = names("esx0", &[]);
        bench.find(&names, known(NOW));
        bench.put(["host:ca.key", "host:ca.crt", "host:tls.key", "host:tls.crt"][which], &bytes);
        prop_assert!(bench.find(&names, known(NOW)).is_new);
    }
}
