//! rustls' state machine with the buffers around it. Bytes in, bytes out, no waiting.
//!
//! Called by: [`super::stream`]. Bounds: what the peer sent and what is not worked on yet is one record at most
//! ([`INCOMING_MAX`]), which a handshake message has to fit in as well; what was decrypted and not read yet is what these
//! bytes hold; what is to be sent is one record of ours and what rustls adds to it.

use alloc::vec::Vec;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};

/// The longest record on the wire (RFC 8446, 5.2), and what rustls allows beyond.
const INCOMING_MAX: usize = 5 + 16_384 + 2_048;
/// Room for incoming bytes at first, and whenever all of them were worked on.
const INCOMING: usize = 2_048;
/// Most bytes of one record of ours.
pub const RECORD: usize = 8 * 1024;
/// What a record takes beside its bytes: header, type, tag.
const RECORD_MORE: usize = 5 + 1 + 16;

/// How far a session has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// The peer has to say something first.
    Handshake,
    /// Both sides may send.
    Open,
    /// The peer has said that it sends no more.
    PeerClosed,
}

/// Why a session can't go on.
#[derive(Clone, PartialEq, Debug)]
pub enum Broken {
    /// The peer broke the protocol, or there is nothing that both sides speak. It was told by an alert.
    Protocol(rustls::Error),
    /// A message of the handshake is longer than any that makes sense.
    TooLong,
}

/// What to do as soon as both sides may send.
enum Wish<'a> {
    Nothing,
    Send(&'a [u8]),
    Close,
}

/// One connection's state.
pub struct Session {
    connection: UnbufferedServerConnection,
    incoming: Vec<u8>,
    filled: usize,
    plain: Vec<u8>,
    taken: usize,
    /// To be sent.
    outgoing: Vec<u8>,
    sent: usize,
    progress: Progress,
    broken: Option<Broken>,
}

impl Session {
    pub fn new(config: super::Config) -> Result<Self, rustls::Error> {
        Ok(Self {
            connection: UnbufferedServerConnection::new(config.0)?,
            incoming: Vec::new(),
            filled: 0,
            plain: Vec::new(),
            taken: 0,
            outgoing: Vec::new(),
            sent: 0,
            progress: Progress::Handshake,
            broken: None,
        })
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Room for bytes from the peer; empty: what is there has to be worked on first.
    pub fn room(&mut self) -> &mut [u8] {
        if self.filled == self.incoming.len() {
            // Who sends more than a little sends whole records: no growing by steps, each of them a copy.
            let bytes = if self.filled == 0 { INCOMING } else { INCOMING_MAX };
            self.incoming.resize(bytes, 0);
        }
        self.incoming.get_mut(self.filled..).unwrap_or_default()
    }

    /// The peer's next `bytes` bytes are in the room.
    pub fn fill(&mut self, bytes: usize) {
        self.filled = self.filled.saturating_add(bytes).min(self.incoming.len());
    }

    /// Takes bytes that the peer sent.
    pub fn read(&mut self, into: &mut [u8]) -> usize {
        let ready = self.plain.get(self.taken..).unwrap_or_default();
        let bytes = ready.len().min(into.len());
        if let (Some(into), Some(ready)) = (into.get_mut(..bytes), ready.get(..bytes)) {
            into.copy_from_slice(ready);
        }
        self.taken = self.taken.saturating_add(bytes);
        if self.taken >= self.plain.len() {
            self.plain = Vec::new();
            self.taken = 0;
        }
        bytes
    }

    /// Whether there are bytes to be read.
    pub fn has_plain(&self) -> bool {
        !self.plain.is_empty()
    }

    /// What is to be sent.
    pub fn outgoing(&self) -> &[u8] {
        self.outgoing.get(self.sent..).unwrap_or_default()
    }

    /// The next `bytes` bytes of it were sent.
    pub fn sent(&mut self, bytes: usize) {
        self.sent = self.sent.saturating_add(bytes);
        if self.sent >= self.outgoing.len() {
            self.outgoing = Vec::new();
            self.sent = 0;
        }
    }

    /// Works on what the peer sent, as far as it goes.
    pub fn advance(&mut self) -> Result<(), Broken> {
        self.work(Wish::Nothing)
    }

    /// Encrypts bytes, at most [`RECORD`]. The handshake is over.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.work(Wish::Send(bytes))
    }

    /// Says that nothing more comes from here, if both sides may send.
    pub fn close(&mut self) -> Result<(), Broken> {
        self.work(Wish::Close)
    }

    fn work(&mut self, mut wish: Wish<'_>) -> Result<(), Broken> {
        while self.broken.is_none() {
            match self.step(&mut wish) {
                Step::More => {}
                Step::Blocked if self.filled < INCOMING_MAX => return Ok(()),
                Step::Blocked => self.broken = Some(Broken::TooLong),
                Step::Error(error) => self.fail(error),
            }
        }
        self.broken.clone().map_or(Ok(()), Err)
    }

    /// Ends the session; the alert is left to be sent. Nothing is heard after that.
    fn fail(&mut self, error: rustls::Error) {
        self.broken = Some(Broken::Protocol(error));
        while self.connection.wants_write() {
            if !matches!(self.step(&mut Wish::Nothing), Step::More) {
                break;
            }
        }
    }

    fn step(&mut self, wish: &mut Wish<'_>) -> Step {
        let incoming = self.incoming.get_mut(..self.filled).unwrap_or_default();
        let UnbufferedStatus { mut discard, state, .. } = self.connection.process_tls_records(incoming);
        let step = match state {
            Err(error) => Step::Error(error),
            Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                match traffic.next_record() {
                    None => break Step::More,
                    Some(Err(error)) => break Step::Error(error),
                    Some(Ok(record)) => {
                        discard = discard.saturating_add(record.discard);
                        self.plain.extend_from_slice(record.payload);
                    }
                }
            },
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                append(&mut self.outgoing, 0, |room| data.encode(room).map_err(more_to_encode))
            }
            // It is sent before the peer is heard again.
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                Step::More
            }
            Ok(ConnectionState::BlockedHandshake) => {
                self.progress = Progress::Handshake;
                Step::Blocked
            }
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                if self.progress == Progress::Handshake {
                    self.progress = Progress::Open;
                }
                match core::mem::replace(wish, Wish::Nothing) {
                    Wish::Nothing => Step::Blocked,
                    Wish::Send(bytes) => {
                        append(&mut self.outgoing, bytes.len().saturating_add(RECORD_MORE), |room| {
                            traffic.encrypt(bytes, room).map_err(more_to_encrypt)
                        })
                    }
                    Wish::Close => append(&mut self.outgoing, RECORD_MORE, |room| {
                        traffic.queue_close_notify(room).map_err(more_to_encrypt)
                    }),
                }
            }
            Ok(ConnectionState::PeerClosed) => {
                self.progress = Progress::PeerClosed;
                Step::More
            }
            // Closed by both; early data are never agreed to.
            Ok(_) => Step::Blocked,
        };
        self.discard(discard);
        step
    }

    fn discard(&mut self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let bytes = bytes.min(self.filled);
        self.incoming.copy_within(bytes..self.filled, 0);
        self.filled = self.filled.saturating_sub(bytes);
        if self.filled == 0 {
            self.incoming = Vec::new();
        }
    }
}

enum Step {
    More,
    Blocked,
    Error(rustls::Error),
}

/// Has `encode` write behind what is there already; it says how many bytes it wrote, or how many it needs.
fn append(
    outgoing: &mut Vec<u8>,
    expected: usize,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
) -> Step {
    let start = outgoing.len();
    let mut room = expected;
    // Once with what is expected, once with what it says.
    for _ in 0..2 {
        outgoing.resize(start.saturating_add(room), 0);
        match encode(outgoing.get_mut(start..).unwrap_or_default()) {
            Ok(written) => {
                outgoing.truncate(start.saturating_add(written));
                return Step::More;
            }
            Err(Some(needed)) => room = needed,
            Err(None) => break,
        }
    }
    outgoing.truncate(start);
    Step::Error(rustls::Error::EncryptError)
}

fn more_to_encode(error: EncodeError) -> Option<usize> {
    match error {
        EncodeError::InsufficientSize(size) => Some(size.required_size),
        EncodeError::AlreadyEncoded => None,
    }
}

fn more_to_encrypt(error: EncryptError) -> Option<usize> {
    match error {
        EncryptError::InsufficientSize(size) => Some(size.required_size),
        EncryptError::EncryptExhausted => None,
    }
}
