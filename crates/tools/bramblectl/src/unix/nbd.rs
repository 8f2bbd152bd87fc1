//! A volume by NBD: fixed newstyle negotiation, simple replies, one client at a time.
//!
//! Standard: the NBD protocol (NetworkBlockDevice/nbd, doc/proto.md), "Fixed newstyle negotiation" and "Transmission".

use super::session::{PIECE, Session};
use anyhow::{Result, bail};
use datastore::{Error, Op, Target};
use std::io::{Read, Write};

const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
const REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const SIMPLE_MAGIC: u32 = 0x6744_6698;
/// HAS_FLAGS, SEND_FLUSH, SEND_FUA, SEND_TRIM, SEND_WRITE_ZEROES
const FLAGS: u16 = 1 | 4 | 8 | 32 | 64;
const READ_ONLY: u16 = 2;
const MAX_LENGTH: u32 = 32 << 20;

fn take<const N: usize>(stream: &mut impl Read) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Serves one client until it disconnects.
pub fn serve(stream: &mut (impl Read + Write), session: &mut Session, target: Target) -> Result<()> {
    let read_only = !matches!(target, Target::Volume(_)) || session.store.read_only().is_some();
    let flags = if read_only { FLAGS | READ_ONLY } else { FLAGS };
    if !negotiate(stream, session.size(target) / 512 * 512, flags)? {
        return Ok(());
    }
    while transmit(stream, session, target)? {}
    Ok(())
}

fn reply(stream: &mut impl Write, option: u32, kind: u32, data: &[u8]) -> Result<()> {
    let mut out = Vec::new();
    out.extend_from_slice(&REPLY_MAGIC.to_be_bytes());
    out.extend_from_slice(&option.to_be_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&u32::try_from(data.len())?.to_be_bytes());
    out.extend_from_slice(data);
    Ok(stream.write_all(&out)?)
}

/// True: transmission begins.
fn negotiate(stream: &mut (impl Read + Write), size: u64, flags: u16) -> Result<bool> {
    stream.write_all(b"NBDMAGICIHAVEOPT")?;
    stream.write_all(&3u16.to_be_bytes())?;
    let no_zeroes = u32::from_be_bytes(take(stream)?) & 2 != 0;
    loop {
        if u64::from_be_bytes(take(stream)?) != OPTION_MAGIC {
            bail!("the client does not speak NBD");
        }
        let option = u32::from_be_bytes(take(stream)?);
        let length = u32::from_be_bytes(take(stream)?);
        if length > 4096 {
            bail!("the client's option is too long");
        }
        let mut data = vec![0; length as usize];
        stream.read_exact(&mut data)?;
        match option {
            1 => {
                stream.write_all(&size.to_be_bytes())?;
                stream.write_all(&flags.to_be_bytes())?;
                stream.write_all(&[0; 124][..if no_zeroes { 0 } else { 124 }])?;
                return Ok(true);
            }
            2 => {
                reply(stream, option, 1, &[])?;
                return Ok(false);
            }
            3 => {
                reply(stream, option, 2, &0u32.to_be_bytes())?;
                reply(stream, option, 1, &[])?;
            }
            6 | 7 => {
                let mut export = 0u16.to_be_bytes().to_vec();
                export.extend_from_slice(&size.to_be_bytes());
                export.extend_from_slice(&flags.to_be_bytes());
                reply(stream, option, 3, &export)?;
                let mut sizes = 3u16.to_be_bytes().to_vec();
                for bytes in [512u32, 4096, MAX_LENGTH] {
                    sizes.extend_from_slice(&bytes.to_be_bytes());
                }
                reply(stream, option, 3, &sizes)?;
                reply(stream, option, 1, &[])?;
                if option == 7 {
                    return Ok(true);
                }
            }
            _ => reply(stream, option, 0x8000_0001, &[])?,
        }
    }
}

fn code(error: Error) -> u32 {
    match error {
        Error::ReadOnly(_) => 1,
        Error::NoSpace => 28,
        Error::OutOfRange | Error::BadRequest => 22,
        _ => 5,
    }
}

/// One request; false: the client is gone.
fn transmit(stream: &mut (impl Read + Write), session: &mut Session, target: Target) -> Result<bool> {
    let mut magic = [0; 4];
    if stream.read_exact(&mut magic).is_err() {
        return Ok(false);
    }
    if u32::from_be_bytes(magic) != REQUEST_MAGIC {
        bail!("the client sent no request");
    }
    let flags = u16::from_be_bytes(take(stream)?);
    let command = u16::from_be_bytes(take(stream)?);
    let cookie: [u8; 8] = take(stream)?;
    let offset = u64::from_be_bytes(take(stream)?);
    let length = u32::from_be_bytes(take(stream)?);
    if command == 2 {
        return Ok(false);
    }
    let moves = command < 2;
    if moves && length > MAX_LENGTH {
        bail!("the client asks for {length} bytes at once");
    }
    let mut data = Vec::new();
    if command == 1 {
        data.resize(length as usize, 0);
        stream.read_exact(&mut data)?;
    }
    let aligned = offset % 512 == 0 && length % 512 == 0;
    let mut result = if aligned { Ok(()) } else { Err(Error::BadRequest) };
    if result.is_ok() {
        result = perform(session, target, command, offset, u64::from(length), &mut data);
    }
    if result.is_ok() && flags & 1 != 0 && command != 0 {
        result = session.request(target, Op::Flush, &[], &mut Vec::new());
    }
    let mut out = SIMPLE_MAGIC.to_be_bytes().to_vec();
    out.extend_from_slice(&result.map_or_else(code, |()| 0).to_be_bytes());
    out.extend_from_slice(&cookie);
    if command == 0 && result.is_ok() {
        out.extend_from_slice(&data);
    }
    stream.write_all(&out)?;
    Ok(true)
}

fn perform(
    session: &mut Session,
    target: Target,
    command: u16,
    offset: u64,
    length: u64,
    data: &mut Vec<u8>,
) -> Result<(), Error> {
    match command {
        0 => {
            for at in (0..length).step_by(PIECE) {
                let n = (length - at).min(PIECE as u64) as usize;
                session.read(target, offset + at, n, data)?;
            }
            Ok(())
        }
        1 => {
            for (i, piece) in data.chunks(PIECE).enumerate() {
                session.write(target, offset + (i * PIECE) as u64, piece)?;
            }
            Ok(())
        }
        3 => session.request(target, Op::Flush, &[], &mut Vec::new()),
        4 => session.request(target, Op::Discard { sector: offset / 512, sectors: length / 512 }, &[], data),
        6 => zero(session, target, offset, length),
        _ => Err(Error::BadRequest),
    }
}

/// Whole blocks are discarded, which zeroes them; the rest is written.
pub fn zero(session: &mut Session, target: Target, offset: u64, length: u64) -> Result<(), Error> {
    let (first, end) = (offset.next_multiple_of(4096), (offset + length) / 4096 * 4096);
    if first >= end {
        return session.write(target, offset, &vec![0; length as usize]);
    }
    let op = Op::Discard { sector: first / 512, sectors: (end - first) / 512 };
    session.request(target, op, &[], &mut Vec::new())?;
    if first > offset {
        session.write(target, offset, &vec![0; (first - offset) as usize])?;
    }
    if offset + length > end {
        session.write(target, end, &vec![0; (offset + length - end) as usize])?;
    }
    Ok(())
}
