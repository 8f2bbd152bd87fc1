//! Messages of DNS: read with bounds, written without compression. RFC 1035, 4 "Messages"; RFC 6762, 18.
//!
//! A name's pointers lead backwards only, so reading one ends; what is longer than a name may be is none.

use alloc::vec::Vec;

/// Most questions, and most records, that a message is read for.
const QUESTIONS_MAX: u16 = 32;
const RECORDS_MAX: u16 = 64;
/// Of a name with its lengths (RFC 1035, 2.3.4).
const NAME_MAX: usize = 255;

/// Types.
pub const A: u16 = 1;
pub const PTR: u16 = 12;
pub const TXT: u16 = 16;
pub const AAAA: u16 = 28;
pub const SRV: u16 = 33;
pub const NSEC: u16 = 47;
pub const ANY: u16 = 255;
/// Class.
pub const IN: u16 = 1;
/// Of a question: an answer to the asker alone will do. Of a record: it replaces others.
pub const TOP: u16 = 0x8000;
/// Flags of a response: QR and AA.
pub const RESPONSE: u16 = 0x8400;

/// Labels in lower case, from the host to the root.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Name(pub Vec<Vec<u8>>);

impl Name {
    pub fn of(labels: &[&str]) -> Self {
        Self(labels.iter().map(|label| label.bytes().collect()).collect())
    }

    pub fn write(&self, into: &mut Vec<u8>) {
        for label in &self.0 {
            // Labels that were read or made here have at most 63 bytes.
            let label = label.get(..63).unwrap_or(label);
            into.push(u8::try_from(label.len()).unwrap_or(0));
            into.extend_from_slice(label);
        }
        into.push(0);
    }
}

/// A question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    pub name: Name,
    pub kind: u16,
    pub class: u16,
    pub wants_unicast: bool,
}

/// What a record says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Data {
    /// Another name.
    Name(Name),
    Bytes(Vec<u8>),
}

/// A record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    pub name: Name,
    pub kind: u16,
    pub class: u16,
    pub ttl: u32,
    pub data: Data,
}

/// A message, as far as it is needed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    pub id: u16,
    pub is_response: bool,
    pub questions: Vec<Question>,
    /// Of the answer section.
    pub answers: Vec<Record>,
}

impl Message {
    /// `None`: it is no message, or one of another kind, or longer than any that makes sense.
    pub fn read(packet: &[u8]) -> Option<Self> {
        let mut reader = Reader { packet, at: 0 };
        let (id, flags) = (reader.u16()?, reader.u16()?);
        let [questions, answers, ..] = [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?];
        // Another opcode or a code for an error: not for us (RFC 6762, 18.3, 18.11).
        if flags & 0x780f != 0 || questions > QUESTIONS_MAX || answers > RECORDS_MAX {
            return None;
        }
        let questions = (0..questions).map(|_| reader.question()).collect::<Option<_>>()?;
        let answers = (0..answers).map(|_| reader.record()).collect::<Option<_>>()?;
        Some(Self { id, is_response: flags & 0x8000 != 0, questions, answers })
    }
}

struct Reader<'a> {
    packet: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let bytes = self.packet.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.bytes(2)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
    }

    fn u32(&mut self) -> Option<u32> {
        self.bytes(4)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
    }

    fn question(&mut self) -> Option<Question> {
        let (name, kind, class) = (self.name()?, self.u16()?, self.u16()?);
        Some(Question { name, kind, class: class & !TOP, wants_unicast: class & TOP != 0 })
    }

    fn record(&mut self) -> Option<Record> {
        let (name, kind, class, ttl) = (self.name()?, self.u16()?, self.u16()?, self.u32()?);
        let bytes = usize::from(self.u16()?);
        let start = self.at;
        let data = self.bytes(bytes)?;
        let data = if kind == PTR {
            Data::Name(Reader { packet: self.packet, at: start }.name()?)
        } else {
            Data::Bytes(data.to_vec())
        };
        Some(Record { name, kind, class: class & !TOP, ttl, data })
    }

    fn name(&mut self) -> Option<Name> {
        let mut name = Name::default();
        let mut length = 1_usize;
        // Where labels are read; and what a pointer has to lie before.
        let (mut inner, mut limit) = (Reader { packet: self.packet, at: self.at }, self.at);
        let mut end = None;
        loop {
            let first = *inner.bytes(1)?.first()?;
            match first >> 6 {
                0 if first == 0 => break,
                0 => {
                    let label = inner.bytes(first.into())?;
                    length = length.checked_add(label.len())?.checked_add(1)?;
                    if length > NAME_MAX {
                        return None;
                    }
                    name.0.push(label.to_ascii_lowercase());
                }
                3 => {
                    let low = *inner.bytes(1)?.first()?;
                    let target = usize::from(first & 0x3f) << 8 | usize::from(low);
                    end.get_or_insert(inner.at);
                    if target >= limit {
                        return None;
                    }
                    (inner.at, limit) = (target, target);
                }
                _ => return None,
            }
        }
        self.at = end.unwrap_or(inner.at);
        Some(name)
    }
}

/// A message being written.
pub struct Writer(pub Vec<u8>);

impl Writer {
    /// With these counts of questions, answers, authorities and additional records.
    pub fn new(id: u16, flags: u16, counts: [usize; 4]) -> Self {
        let mut writer = Self(Vec::new());
        writer.u16(id);
        writer.u16(flags);
        counts.into_iter().for_each(|count| writer.u16(u16::try_from(count).unwrap_or(u16::MAX)));
        writer
    }

    fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub fn question(&mut self, question: &Question) {
        question.name.write(&mut self.0);
        self.u16(question.kind);
        self.u16(question.class | if question.wants_unicast { TOP } else { 0 });
    }

    /// `class` with [`TOP`] where it replaces others.
    pub fn record(&mut self, record: &Record) {
        record.name.write(&mut self.0);
        self.u16(record.kind);
        self.u16(record.class);
        self.0.extend_from_slice(&record.ttl.to_be_bytes());
        let mut data = Vec::new();
        match &record.data {
            Data::Name(name) => name.write(&mut data),
            Data::Bytes(bytes) => data.extend_from_slice(bytes),
        }
        self.u16(u16::try_from(data.len()).unwrap_or(0));
        self.0.extend_from_slice(&data);
    }
}
