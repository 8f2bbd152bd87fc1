//! A connection to a host: plain to the loopback, else TLS 1.3 with the CA that is pinned, and no other.

use anyhow::{Context as _, Result, bail, ensure};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme, StreamOwned,
};
use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Whom a connection under TLS trusts.
pub enum Trust<'c> {
    /// The CA that is pinned, as PEM, and no other.
    Pinned(Option<&'c str>),
    /// Anyone: to ask for a CA, which is then held against a fingerprint.
    Anyone,
}

/// Both kinds.
pub enum Connection {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// Where a host is: `https://name[:port]`, or `http://127.0.0.1:port`.
pub struct Address {
    pub authority: String,
    /// The host's name in its certificate, where it is not the address's: behind a forwarded port.
    pub server_name: Option<String>,
    host: String,
    port: u16,
    pub is_tls: bool,
}

impl Address {
    /// Reads one.
    pub fn parse(url: &str) -> Result<Self> {
        let (is_tls, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => bail!("{url} is no address of a host: write https://NAME or https://NAME:PORT"),
        };
        let authority = rest.trim_end_matches('/').to_owned();
        ensure!(!authority.contains('/'), "{url} has a path: an address ends after the name or the port");
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && !port.contains(']') => {
                (host, port.parse().with_context(|| format!("{port} is no port"))?)
            }
            _ => (authority.as_str(), if is_tls { 443 } else { 80 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_loopback =
            host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        ensure!(is_tls || is_loopback, "plain HTTP is for this machine's own hostd only: write https://");
        Ok(Self { host, port, is_tls, authority, server_name: None })
    }
}

impl Trust<'_> {
    /// What connections have in common, the host's tickets among it: the next handshake with one is short.
    pub fn config(&self) -> Result<Arc<ClientConfig>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?;
        let config = match self {
            Self::Anyone => {
                config.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider)))
            }
            Self::Pinned(ca) => {
                let ca =
                    ca.context("no CA is pinned for this host: add it anew, with --fingerprint or --ca")?;
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
                    roots.add(certificate.context("the pinned CA is no certificate")?)?;
                }
                config.with_root_certificates(roots)
            }
        };
        Ok(Arc::new(config.with_no_client_auth()))
    }
}

impl Connection {
    /// Connects; without a configuration not under TLS.
    pub fn open(address: &Address, config: Option<Arc<ClientConfig>>) -> Result<Self> {
        let at = (address.host.as_str(), address.port);
        let socket = TcpStream::connect(at).with_context(|| {
            format!("can't reach {}: is the host on, and this its address?", address.authority)
        })?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(60)))?;
        let Some(config) = config else { return Ok(Self::Plain(socket)) };
        let name = ServerName::try_from(address.server_name.as_ref().unwrap_or(&address.host).clone())?;
        let client = ClientConnection::new(config, name)?;
        Ok(Self::Tls(Box::new(StreamOwned::new(client, socket))))
    }

    /// Reads give up after so long, without losing anything.
    pub fn set_patience(&self, time: Duration) -> Result<()> {
        let socket = match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &stream.sock,
        };
        Ok(socket.set_read_timeout(Some(time))?)
    }
}

impl Read for Connection {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(into),
            Self::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// Takes any certificate. What comes over such a connection is worth nothing until it is held against a fingerprint.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General(String::from("TLS 1.2 is not spoken")))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn addresses_are_read_and_plain_http_stays_on_this_machine() {
        let address = Address::parse("https://attic.local:8443/").expect("an address");
        assert_eq!((address.host.as_str(), address.port, address.is_tls), ("attic.local", 8443, true));
        assert_eq!(Address::parse("https://attic").expect("an address").port, 443);
        assert_eq!(Address::parse("https://[2001:db8::1]").expect("an address").host, "2001:db8::1");
        assert_eq!(Address::parse("http://[::1]:80").expect("an address").host, "::1");
        assert!(Address::parse("http://127.0.0.1:8480").is_ok());
        assert!(Address::parse("http://192.0.2.1:8480").is_err());
        assert!(Address::parse("attic").is_err());
        assert!(Address::parse("https://attic/api").is_err());
    }
}
