//! Finishes a frame that its sender left unfinished, for a receiver that takes finished ones only: completes a
//! checksum, cuts a TCP frame into segments, puts a VLAN tag in.
//!
//! Called by: the receive half, and uplinks without offloads. Calls: `Frame::memory`.
//! Source: virtio 1.2, 5.1.6.2 (what NEEDS_CSUM and the GSO types ask for); RFC 1071 "Computing the Internet
//! Checksum"; RFC 791, 8200 and 9293 for the headers.
//! Invariants: the frame is a guest's and may change while it is read: headers are read once (rule `copy-once`); a
//! payload that changes gives a wrong checksum, which is the sender's own loss.

use ports::{Frame, Span};
use specs::virtio::net;

use crate::chain::{cut, skip};

/// Ethernet with a tag (18), IPv6 without extensions (40) or IPv4 (60), TCP (60), rounded up.
const HEADERS_MAX: usize = 160;

/// Both MAC addresses: the tag goes behind them.
const ADDRESSES: usize = 12;

/// Bytes of an IEEE 802.1Q tag.
const TAG: usize = 4;

/// The most segments that one frame is cut into, so that a sender can't make a receiver's PE work without measure.
const SEGMENTS_MAX: u32 = 1024;

/// One finished frame: `lead`, then the bytes `from..from + bytes` of the frame that was given.
pub struct Piece<'a> {
    /// Rewritten headers.
    pub lead: &'a [u8],
    /// Where the rest starts in the frame.
    pub from: u32,
    /// How long the rest is.
    pub bytes: u32,
}

impl Piece<'_> {
    /// Length of the finished frame.
    pub fn frame_bytes(&self) -> u32 {
        self.bytes.saturating_add(u32::try_from(self.lead.len()).unwrap_or(0))
    }
}

/// The headers are not what the sender says, or longer than any real ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unfinishable;

/// Hands the finished frames to `each`, in order, until it says `false`.
pub fn finish(frame: &Frame<'_>, mut each: impl FnMut(&Piece<'_>) -> bool) -> Result<(), Unfinishable> {
    let needs_checksum = frame.offload.flags & net::HDR_F_NEEDS_CSUM != 0;
    let is_long = frame.offload.gso_type != net::GSO_NONE;
    if is_long && !needs_checksum {
        return Err(Unfinishable);
    }
    if !needs_checksum && frame.offload.vlan == 0 {
        each(&Piece { lead: &[], from: 0, bytes: frame.bytes });
        return Ok(());
    }
    let mut headers = Headers::read(frame);
    if is_long {
        return Segmentation::new(frame, headers)?.run(frame, &mut each);
    }
    if needs_checksum {
        headers.complete(frame)?;
    } else {
        headers.len = headers.len.min(ADDRESSES);
    }
    let from = u32::try_from(headers.len).map_err(|_| Unfinishable)?;
    let mut tagged = [0; HEADERS_MAX + TAG];
    let lead = headers.tagged(frame.offload.vlan, &mut tagged)?;
    each(&Piece { lead, from, bytes: frame.bytes.saturating_sub(from) });
    Ok(())
}

/// The first bytes of the frame.
struct Headers {
    bytes: [u8; HEADERS_MAX],
    len: usize,
}

impl Headers {
    fn read(frame: &Frame<'_>) -> Self {
        let mut bytes = [0; HEADERS_MAX];
        let len = HEADERS_MAX.min(frame.bytes as usize);
        let mut at = 0_usize;
        for span in frame.data {
            let Some(into) = bytes.get_mut(at..len).filter(|into| !into.is_empty()) else { break };
            frame.memory.read_span(*span, into);
            at = at.saturating_add(span.bytes as usize);
        }
        Self { bytes, len }
    }

    fn get(&self, at: usize, len: usize) -> Result<&[u8], Unfinishable> {
        let end = at.checked_add(len).filter(|end| *end <= self.len).ok_or(Unfinishable)?;
        self.bytes.get(at..end).ok_or(Unfinishable)
    }

    fn array<const N: usize>(&self, at: usize) -> Result<[u8; N], Unfinishable> {
        self.get(at, N)?.try_into().map_err(|_| Unfinishable)
    }

    fn u16_at(&self, at: usize) -> Result<u16, Unfinishable> {
        Ok(u16::from_be_bytes(self.array(at)?))
    }

    fn put(&mut self, at: usize, from: &[u8]) -> Result<(), Unfinishable> {
        let end = at.checked_add(from.len()).filter(|end| *end <= self.len).ok_or(Unfinishable)?;
        self.bytes.get_mut(at..end).ok_or(Unfinishable)?.copy_from_slice(from);
        Ok(())
    }

    /// The headers with a tag, if there is one to be put in.
    fn tagged<'a>(
        &'a self,
        vlan: u16,
        into: &'a mut [u8; HEADERS_MAX + TAG],
    ) -> Result<&'a [u8], Unfinishable> {
        let headers = self.get(0, self.len)?;
        if vlan == 0 {
            return Ok(headers);
        }
        let (addresses, rest) = headers.split_at_checked(ADDRESSES).ok_or(Unfinishable)?;
        let [high, low] = vlan.to_be_bytes();
        let tag = [0x81, 0x00, high, low];
        for (to, from) in into.iter_mut().zip(addresses.iter().chain(&tag).chain(rest)) {
            *to = *from;
        }
        into.get(..headers.len().saturating_add(TAG)).ok_or(Unfinishable)
    }

    /// Completes the one checksum: its field holds the sum of the pseudo-header.
    fn complete(&mut self, frame: &Frame<'_>) -> Result<(), Unfinishable> {
        let start = usize::from(frame.offload.checksum_start);
        let field = start.saturating_add(frame.offload.checksum_offset.into());
        let end = field.saturating_add(2);
        if end > self.len {
            return Err(Unfinishable);
        }
        // Only what must be rewritten is: the rest of the frame keeps its one copy.
        self.len = end;
        let mut sum = Sum::default();
        sum.add(self.get(start, end.saturating_sub(start))?);
        let from = u32::try_from(end).map_err(|_| Unfinishable)?;
        sum.add_frame(frame, from, frame.bytes.saturating_sub(from));
        let sum = sum.finish();
        self.put(field, &sum)
    }
}

/// A TCP frame that is to be cut.
struct Segmentation {
    headers: Headers,
    is_v4: bool,
    /// Start of the IP header.
    ip: usize,
    /// Start of the TCP header.
    tcp: usize,
    sequence: u32,
    id: u16,
    flags: u8,
}

const TCP_FIN_PSH: u8 = 0x09;
const TCP_CWR: u8 = 0x80;
const TCP_PROTOCOL: u8 = 6;

impl Segmentation {
    fn new(frame: &Frame<'_>, mut headers: Headers) -> Result<Self, Unfinishable> {
        let tagged = headers.u16_at(12)? == 0x8100;
        let ip: usize = if tagged { 18 } else { 14 };
        let ether_type = headers.u16_at(ip.saturating_sub(2))?;
        let is_v4 = frame.offload.gso_type == net::GSO_TCPV4;
        let tcp = usize::from(frame.offload.checksum_start);
        let [version] = headers.array(ip)?;
        let legal = if is_v4 {
            let ip_bytes = usize::from(version & 0xf).saturating_mul(4);
            let [protocol] = headers.array(ip.saturating_add(9))?;
            ether_type == 0x0800
                && version >> 4 == 4
                && ip_bytes >= 20
                && ip.saturating_add(ip_bytes) == tcp
                && protocol == TCP_PROTOCOL
        } else {
            let [next] = headers.array(ip.saturating_add(6))?;
            ether_type == 0x86dd && version >> 4 == 6 && ip.saturating_add(40) == tcp && next == TCP_PROTOCOL
        };
        let [offset, flags] = headers.array(tcp.saturating_add(12))?;
        let tcp_bytes = usize::from(offset >> 4).saturating_mul(4);
        let len = tcp.saturating_add(tcp_bytes);
        if !legal || tcp_bytes < 20 || len > headers.len || frame.offload.gso_bytes == 0 {
            return Err(Unfinishable);
        }
        headers.len = len;
        let sequence = u32::from_be_bytes(headers.array(tcp.saturating_add(4))?);
        let id = if is_v4 { headers.u16_at(ip.saturating_add(4))? } else { 0 };
        Ok(Self { headers, is_v4, ip, tcp, sequence, id, flags })
    }

    fn run(
        mut self,
        frame: &Frame<'_>,
        each: &mut impl FnMut(&Piece<'_>) -> bool,
    ) -> Result<(), Unfinishable> {
        let headers = u32::try_from(self.headers.len).map_err(|_| Unfinishable)?;
        let payload = frame.bytes.saturating_sub(headers);
        let size = u32::from(frame.offload.gso_bytes);
        if payload.div_ceil(size.max(1)) > SEGMENTS_MAX {
            return Err(Unfinishable);
        }
        let mut done = 0;
        loop {
            let bytes = payload.saturating_sub(done).min(size);
            let last = done.saturating_add(bytes) == payload;
            let from = headers.saturating_add(done);
            self.rewrite(frame, done, bytes, last)?;
            let mut tagged = [0; HEADERS_MAX + TAG];
            let lead = self.headers.tagged(frame.offload.vlan, &mut tagged)?;
            let piece = Piece { lead, from, bytes };
            if !each(&piece) || last {
                return Ok(());
            }
            done = done.saturating_add(bytes);
        }
    }

    /// Makes the headers those of the segment that starts `done` bytes into the payload.
    fn rewrite(&mut self, frame: &Frame<'_>, done: u32, bytes: u32, last: bool) -> Result<(), Unfinishable> {
        let (ip, tcp) = (self.ip, self.tcp);
        let tcp_header = self.headers.len.saturating_sub(tcp);
        let tcp_bytes = bytes.saturating_add(u32::try_from(tcp_header).map_err(|_| Unfinishable)?);
        let ip_header = u32::try_from(tcp.saturating_sub(ip)).map_err(|_| Unfinishable)?;
        if self.is_v4 {
            let total = u16::try_from(tcp_bytes.saturating_add(ip_header)).map_err(|_| Unfinishable)?;
            self.headers.put(ip.saturating_add(2), &total.to_be_bytes())?;
            self.headers.put(ip.saturating_add(4), &self.id.to_be_bytes())?;
            self.id = self.id.wrapping_add(1);
            self.headers.put(ip.saturating_add(10), &[0, 0])?;
            let mut sum = Sum::default();
            sum.add(self.headers.get(ip, tcp.saturating_sub(ip))?);
            self.headers.put(ip.saturating_add(10), &sum.finish())?;
        } else {
            let length = u16::try_from(tcp_bytes).map_err(|_| Unfinishable)?;
            self.headers.put(ip.saturating_add(4), &length.to_be_bytes())?;
        }
        let mut flags = self.flags;
        if !last {
            flags &= !TCP_FIN_PSH;
        }
        if done != 0 {
            flags &= !TCP_CWR;
        }
        let sequence = self.sequence.wrapping_add(done);
        self.headers.put(tcp.saturating_add(4), &sequence.to_be_bytes())?;
        self.headers.put(tcp.saturating_add(13), &[flags])?;
        self.headers.put(tcp.saturating_add(16), &[0, 0])?;
        let mut sum = Sum::default();
        let (addresses, len) = if self.is_v4 { (12, 8) } else { (8, 32) };
        sum.add(self.headers.get(ip.saturating_add(addresses), len)?);
        sum.add(&tcp_bytes.to_be_bytes());
        sum.add(&[0, TCP_PROTOCOL]);
        sum.add(self.headers.get(tcp, tcp_header)?);
        let from = u32::try_from(self.headers.len).map_err(|_| Unfinishable)?;
        sum.add_frame(frame, from.saturating_add(done), bytes);
        self.headers.put(tcp.saturating_add(16), &sum.finish())
    }
}

/// The one's complement sum of RFC 1071.
#[derive(Default)]
struct Sum {
    sum: u64,
    /// An odd number of bytes was added.
    odd: bool,
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        // By words where they lie evenly: the sum of 32-bit words folds to that of 16-bit words.
        let (words, rest) = if self.odd { (&[][..], bytes) } else { bytes.as_chunks::<4>() };
        for word in words {
            self.sum = self.sum.wrapping_add(u32::from_be_bytes(*word).into());
        }
        for byte in rest {
            let value = u64::from(*byte);
            self.sum = self.sum.wrapping_add(if self.odd { value } else { value << 8 });
            self.odd = !self.odd;
        }
    }

    fn add_frame(&mut self, frame: &Frame<'_>, from: u32, bytes: u32) {
        let (mut from, mut left) = (from, bytes);
        for span in frame.data {
            let mut rest: Span = cut(skip(*span, from), left);
            from = from.saturating_sub(span.bytes);
            left = left.saturating_sub(rest.bytes);
            while rest.bytes != 0 {
                let mut part = [0; 128];
                let len = part.len().min(rest.bytes as usize);
                let into = part.get_mut(..len).unwrap_or_default();
                frame.memory.read_span(rest, into);
                self.add(into);
                rest = skip(rest, u32::try_from(len).unwrap_or(u32::MAX));
            }
        }
    }

    /// The complement, never 0: UDP reads that as "no checksum", and to the others 0xffff is the same number.
    fn finish(self) -> [u8; 2] {
        let mut sum = self.sum;
        while sum > 0xffff {
            sum = (sum & 0xffff).wrapping_add(sum >> 16);
        }
        let sum = u16::try_from(sum ^ 0xffff).unwrap_or(0);
        if sum == 0 { [0xff, 0xff] } else { sum.to_be_bytes() }
    }
}
