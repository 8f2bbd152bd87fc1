//! A connection under TLS as a stream: `Read` and `Write` over any stream that has both.
//!
//! Called by: hostd, which hands it to [`crate::serve()`]. A read or write that is dropped has taken nothing: what came
//! or is to go is kept in the session.

use super::Config;
use super::session::{Broken, Progress, RECORD, Session};
use crate::port::Platform;
use core::fmt;
use embedded_io_async::{Error, ErrorKind, ErrorType, Read, Write};

/// Why there is nothing more to read or write.
#[derive(Clone, PartialEq, Debug)]
pub enum Fault<E> {
    /// The connection below failed.
    Stream(E),
    /// It ended without the peer having said so: what came may be cut.
    Cut,
    /// The peer broke the protocol, or there is nothing that both sides speak.
    Protocol(rustls::Error),
    /// A message of the handshake is longer than any that makes sense.
    TooLong,
}

impl<E> From<Broken> for Fault<E> {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Protocol(error) => Self::Protocol(error),
            Broken::TooLong => Self::TooLong,
        }
    }
}

impl<E: fmt::Debug> fmt::Display for Fault<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(error) => write!(f, "the connection failed: {error:?}"),
            Self::Cut => f.write_str("the connection was cut"),
            Self::Protocol(error) => write!(f, "TLS: {error}"),
            Self::TooLong => f.write_str("a message of the handshake is too long"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for Fault<E> {}

impl<E: Error> Error for Fault<E> {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Stream(error) => error.kind(),
            Self::Cut => ErrorKind::ConnectionAborted,
            Self::Protocol(_) | Self::TooLong => ErrorKind::InvalidData,
        }
    }
}

/// A connection under TLS.
pub struct Tls<S> {
    stream: S,
    session: Session,
}

impl<S: Read + Write> Tls<S> {
    /// Accepts a client: the handshake, whose curves and signature are computed where they hold up nobody.
    pub async fn accept<P: Platform>(
        platform: &P,
        config: &Config,
        stream: S,
    ) -> Result<Self, Fault<S::Error>> {
        let session = Session::new(config.clone()).map_err(Fault::Protocol)?;
        let mut this = Self { stream, session };
        loop {
            this.receive().await?;
            let mut session = this.session;
            let result;
            (session, result) = platform
                .compute(move || {
                    let result = session.advance();
                    (session, result)
                })
                .await;
            this.session = session;
            // What it has to say, an alert maybe, goes out first.
            let sent = this.transmit().await;
            result?;
            sent?;
            if this.session.progress() != Progress::Handshake {
                return Ok(this);
            }
        }
    }

    /// Says that nothing more comes from here, and has it sent. The connection below stays open.
    pub async fn close(&mut self) -> Result<(), Fault<S::Error>> {
        let result = self.session.close();
        self.transmit().await?;
        result.map_err(Into::into)
    }

    /// The connection below.
    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Waits for bytes of the peer.
    async fn receive(&mut self) -> Result<(), Fault<S::Error>> {
        match self.stream.read(self.session.room()).await.map_err(Fault::Stream)? {
            0 => Err(Fault::Cut),
            bytes => {
                self.session.fill(bytes);
                Ok(())
            }
        }
    }

    /// Sends what is to be sent.
    async fn transmit(&mut self) -> Result<(), Fault<S::Error>> {
        if self.session.outgoing().is_empty() {
            return Ok(());
        }
        while !self.session.outgoing().is_empty() {
            match self.stream.write(self.session.outgoing()).await.map_err(Fault::Stream)? {
                0 => return Err(Fault::Cut),
                bytes => self.session.sent(bytes),
            }
        }
        self.stream.flush().await.map_err(Fault::Stream)
    }
}

impl<S: ErrorType> ErrorType for Tls<S> {
    type Error = Fault<S::Error>;
}

impl<S: Read + Write> Read for Tls<S> {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, Self::Error> {
        loop {
            let bytes = self.session.read(into);
            if bytes > 0 || into.is_empty() {
                return Ok(bytes);
            }
            if self.session.progress() == Progress::PeerClosed {
                return Ok(0);
            }
            let result = self.session.advance();
            self.transmit().await?;
            match result {
                // What came before the fault is read first.
                Err(_) if self.session.has_plain() => {}
                Err(broken) => return Err(broken.into()),
                Ok(()) if self.session.has_plain() || self.session.progress() == Progress::PeerClosed => {}
                Ok(()) => self.receive().await?,
            }
        }
    }
}

impl<S: Read + Write> Write for Tls<S> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        self.transmit().await?;
        let bytes = bytes.get(..RECORD).unwrap_or(bytes);
        self.session.write(bytes)?;
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), Self::Error> {
        self.transmit().await
    }
}
