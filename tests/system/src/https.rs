//! A client of the host's API: HTTPS with the CA that the host's console names, as a user would pin it.

use anyhow::{Context, Result, ensure};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, RootCertStore, SignatureScheme,
};
use rustls::{StreamOwned, client::WebPkiServerVerifier};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

/// The host's name in its certificate.
const NAME: &str = "bramble.local";
/// Tells a hung host from a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A client that trusts one CA, whose fingerprint it was given; it remembers tickets.
pub struct Client {
    config: Arc<ClientConfig>,
    port: u16,
}

/// An answer.
pub struct Answer {
    /// Status line and headers.
    pub head: String,
    /// What follows.
    pub body: String,
    /// Whether the connection began anew or with a ticket.
    pub kind: HandshakeKind,
}

/// Takes a chain whose last certificate has the fingerprint, and which holds from there.
#[derive(Debug)]
struct Pinned {
    fingerprint: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let refuse = |what: String| rustls::Error::General(what);
        let ca = chain.last().ok_or_else(|| refuse("the host does not send its CA".into()))?;
        let found: String = Sha256::digest(ca).iter().map(|byte| format!("{byte:02x}")).collect();
        if found != self.fingerprint {
            return Err(refuse(format!("CA {found} instead of {}", self.fingerprint)));
        }
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .build()
            .map_err(|error| refuse(error.to_string()))?;
        verifier.verify_server_cert(leaf, &[], name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl Client {
    /// For the host behind this port of the loopback interface, whose console named this CA.
    pub fn new(port: u16, fingerprint: &str) -> Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let pinned = Pinned { fingerprint: fingerprint.into(), provider: provider.clone() };
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(pinned))
            .with_no_client_auth();
        Ok(Self { config: Arc::new(config), port })
    }

    /// One request, on a connection of its own. `head`: its lines, without the last, empty one.
    pub fn request(&self, head: &str, body: &str) -> Result<Answer> {
        let mut tls = self.connect()?;
        let bytes = body.len();
        let head =
            format!("{head}\r\nHost: {NAME}\r\nConnection: close\r\nContent-Length: {bytes}\r\n\r\n{body}");
        tls.write_all(head.as_bytes())?;
        tls.flush()?;
        let mut text = String::new();
        // An end without close_notify is an error here.
        tls.read_to_string(&mut text).context("the host's answer")?;
        let kind = tls.conn.handshake_kind().context("a handshake")?;
        let (head, body) = text.split_once("\r\n\r\n").context("a head")?;
        ensure!(head.starts_with("HTTP/1.1 "), "{head}");
        Ok(Answer { head: head.into(), body: body.into(), kind })
    }

    /// A connection, after its handshake has begun.
    fn connect(&self) -> Result<StreamOwned<ClientConnection, TcpStream>> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let connection = ClientConnection::new(self.config.clone(), ServerName::try_from(NAME)?)?;
        Ok(StreamOwned::new(connection, stream))
    }

    /// A connection that stays.
    pub fn open(&self) -> Result<Link> {
        self.connect().map(Link)
    }

    /// Requests one after the other on one connection; each has to be answered by success. `lines`: of each head.
    pub fn session(&self, requests: &[(&str, &[u8])], lines: &str) -> Result<()> {
        let mut tls = self.connect()?;
        for (number, (head, body)) in requests.iter().enumerate() {
            let last = if number + 1 == requests.len() { "Connection: close\r\n" } else { "" };
            let bytes = body.len();
            let head = format!("{head}\r\nHost: {NAME}\r\n{lines}{last}Content-Length: {bytes}\r\n\r\n");
            tls.write_all(head.as_bytes())?;
            tls.write_all(body)?;
            tls.flush()?;
            let status = take_answer(&mut tls)?;
            ensure!((200..300).contains(&status), "{status} to {head}");
        }
        // The host closes it.
        tls.read_to_end(&mut Vec::new()).context("the end of a connection")?;
        Ok(())
    }
}

/// A connection on which one request follows another, or that becomes a WebSocket.
pub struct Link(StreamOwned<ClientConnection, TcpStream>);

impl Link {
    /// Our port, as the host sees it.
    pub fn port(&self) -> Result<u16> {
        Ok(self.0.sock.local_addr()?.port())
    }

    /// Sends a request, whose first line this is, with more lines and a body of JSON; the status of its answer.
    pub fn ask(&mut self, first: &str, lines: &str, body: &str) -> Result<u16> {
        let length = body.len();
        let json = "Content-Type: application/json\r\n";
        let head = format!("{first}\r\nHost: {NAME}\r\n{lines}{json}Content-Length: {length}\r\n\r\n{body}");
        self.0.write_all(head.as_bytes())?;
        self.0.flush()?;
        take_answer(&mut self.0)
    }

    /// Makes it a WebSocket to a path.
    pub fn websocket(&mut self, path: &str, lines: &str) -> Result<()> {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {NAME}\r\n{lines}Connection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        self.0.write_all(head.as_bytes())?;
        self.0.flush()?;
        let head = take_head(&mut self.0)?;
        ensure!(head.starts_with("http/1.1 101 "), "{head}");
        Ok(())
    }

    /// Sends one byte in a frame.
    pub fn send(&mut self, byte: u8) -> Result<()> {
        // Binary, whole; masked, by zeros (RFC 6455, 5.2).
        self.0.write_all(&[0x82, 0x81, 0, 0, 0, 0, byte])?;
        Ok(self.0.flush()?)
    }

    /// What is in the next frame.
    pub fn next_frame(&mut self) -> Result<Vec<u8>> {
        let mut head = [0; 2];
        self.0.read_exact(&mut head)?;
        let mut bytes = usize::from(head[1]);
        if bytes == 126 {
            self.0.read_exact(&mut head)?;
            bytes = usize::from(u16::from_be_bytes(head));
        }
        let mut payload = vec![0; bytes];
        self.0.read_exact(&mut payload)?;
        Ok(payload)
    }
}

fn take_head(tls: &mut impl Read) -> Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        tls.read_exact(&mut byte).context("the host's answer")?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).to_lowercase())
}

/// Reads one answer that says how long it is; its status.
fn take_answer(tls: &mut impl Read) -> Result<u16> {
    let head = take_head(tls)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.context("an answer without a length")?];
    tls.read_exact(&mut body)?;
    status.with_context(|| format!("no answer: {head}"))
}

/// The same by plain HTTP; the answer as it came.
pub fn plain(port: u16, head: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "{head}\r\nHost: {NAME}\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
