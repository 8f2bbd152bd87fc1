//! An SD card: commands in, answers and blocks out. Source: SD Physical Layer Simplified Specification 6.00, 4.8 "Card
//! State Transition Table", 4.7.4, 4.10, 5. What a card would not answer, it does not answer.

use std::collections::BTreeMap;
use std::vec::Vec;

const ILLEGAL: u32 = 1 << 22;
const OUT_OF_RANGE: u32 = 1 << 31;
const WP_VIOLATION: u32 = 1 << 26;
const ERASE_SEQUENCE: u32 = 1 << 28;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Idle = 0,
    Ready = 1,
    Ident = 2,
    Standby = 3,
    Transfer = 4,
    Data = 5,
    Receive = 6,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    Short(u32),
    Long(u128),
}

pub struct SdCard {
    pub sectors: u64,
    pub blocks: BTreeMap<u64, [u8; 512]>,
    pub cid: u128,
    /// SDHC or SDXC: addresses count sectors; CSD version 2.
    pub high_capacity: bool,
    /// Knows CMD8.
    pub version_2: bool,
    pub knows_cmd23: bool,
    pub four_bit: bool,
    /// Functions of CMD6's group 1.
    pub functions: u8,
    /// Accepts 1.8 V.
    pub accepts_1v8: bool,
    pub write_protected: bool,
    pub discards: bool,
    /// Times that ACMD41 answers "busy".
    pub busy_41: u32,
    /// Times that CMD13 says "not ready".
    pub unready: u32,
    /// Replaces the CSD.
    pub csd_override: Option<u128>,
    /// Replaces the SCR.
    pub scr_override: Option<[u8; 8]>,
    /// Replaces CMD3's answer.
    pub rca_override: Option<u32>,
    pub state: State,
    pub switching_to_1v8: bool,
    pub low_voltage: bool,
    pub function: u8,
    pub wide: bool,
    pub erased: Vec<(u64, u64)>,
    /// Commands seen, in order.
    pub log: Vec<(u8, u32)>,
    /// Set by CMD23 for the next transfer.
    pub count: Option<u32>,
    app: bool,
    illegal: bool,
    position: u64,
    reply: Vec<u8>,
    erase: (Option<u64>, Option<u64>),
    errors: u32,
}

impl SdCard {
    pub fn new(sectors: u64) -> Self {
        Self {
            sectors,
            blocks: BTreeMap::new(),
            cid: 0x0353_4453_4331_3647_807d_4a3e_d800_f55d,
            high_capacity: true,
            version_2: true,
            knows_cmd23: true,
            four_bit: true,
            functions: 0x03,
            accepts_1v8: false,
            write_protected: false,
            discards: true,
            busy_41: 2,
            unready: 0,
            csd_override: None,
            scr_override: None,
            rca_override: None,
            state: State::Idle,
            switching_to_1v8: false,
            low_voltage: false,
            function: 0,
            wide: false,
            erased: Vec::new(),
            log: Vec::new(),
            count: None,
            app: false,
            illegal: false,
            position: 0,
            reply: Vec::new(),
            erase: (None, None),
            errors: 0,
        }
    }

    /// An old card of 64 MiB: version 1.10, byte addresses.
    pub fn small() -> Self {
        Self {
            high_capacity: false,
            version_2: false,
            knows_cmd23: false,
            discards: false,
            ..Self::new(131_072)
        }
    }

    /// A UHS-I card.
    pub fn fast() -> Self {
        Self { functions: 0x1f, accepts_1v8: true, ..Self::new(1 << 25) }
    }

    /// Power off and on.
    pub fn power_cycle(&mut self) {
        self.state = State::Idle;
        self.switching_to_1v8 = false;
        self.low_voltage = false;
        self.function = 0;
        self.wide = false;
        self.app = false;
        self.illegal = false;
        self.errors = 0;
    }

    fn status(&mut self) -> u32 {
        let illegal = if core::mem::take(&mut self.illegal) { ILLEGAL } else { 0 };
        let errors = core::mem::take(&mut self.errors);
        let ready = if self.unready > 0 {
            self.unready -= 1;
            0
        } else {
            1 << 8
        };
        illegal | errors | (self.state as u32) << 9 | ready | u32::from(self.app) << 5
    }

    fn csd(&self) -> u128 {
        if let Some(csd) = self.csd_override {
            return csd;
        }
        let classes = 0x5b5u128 << 84;
        let protect = u128::from(self.write_protected) << 12;
        if self.high_capacity {
            1 << 126 | classes | 9 << 80 | u128::from(self.sectors / 1024 - 1) << 48 | protect
        } else {
            // C_SIZE_MULT 7: units of 512 blocks.
            classes | 9 << 80 | u128::from(self.sectors / 512 - 1) << 62 | 7 << 47 | protect
        }
    }

    fn scr(&self) -> [u8; 8] {
        let widths = if self.four_bit { 0x5 } else { 0x1 };
        let spec = if self.version_2 { 0x02 } else { 0x01 };
        let spec3 = if self.version_2 { 0x80 } else { 0 };
        self.scr_override.unwrap_or([
            spec,
            0x30 | widths,
            spec3,
            if self.knows_cmd23 { 2 } else { 0 },
            0,
            0,
            0,
            0,
        ])
    }

    fn sector(&self, argument: u32) -> u64 {
        if self.high_capacity { argument.into() } else { u64::from(argument) / 512 }
    }

    /// A command; `None`: the card stays silent.
    pub fn command(&mut self, index: u8, argument: u32) -> Option<Answer> {
        self.log.push((index, argument));
        let app = core::mem::take(&mut self.app);
        let answer = if app { self.application(index, argument) } else { self.basic(index, argument) };
        if answer.is_none() && index != 0 {
            self.illegal = true;
        }
        answer
    }

    fn basic(&mut self, index: u8, argument: u32) -> Option<Answer> {
        use State::{Data, Ident, Idle, Ready, Receive, Standby, Transfer};
        match (index, self.state) {
            (0, _) => {
                let (low, errors) = (self.low_voltage, self.errors);
                self.power_cycle();
                self.low_voltage = low;
                self.errors = errors;
                None
            }
            (8, Idle) if self.version_2 => Some(Answer::Short(argument & 0xfff)),
            (55, _) if self.state == Idle || argument >> 16 == self.rca() => {
                self.app = true;
                let status = self.status();
                Some(Answer::Short(status | 1 << 5))
            }
            (11, Ready) if self.accepts_1v8 => {
                self.switching_to_1v8 = true;
                Some(Answer::Short(self.status()))
            }
            (2, Ready) => {
                self.state = Ident;
                Some(Answer::Long(self.cid))
            }
            (3, Ident | Standby) => {
                self.state = Standby;
                let published = self.rca_override.unwrap_or(0x1234);
                Some(Answer::Short(published << 16 | 0x500))
            }
            (9, Standby) => Some(Answer::Long(self.csd())),
            (7, Standby) => {
                let status = self.status();
                self.state = Transfer;
                Some(Answer::Short(status))
            }
            (13, Standby | Transfer | Data | Receive) => Some(Answer::Short(self.status())),
            (12, Data | Receive) => {
                let status = self.status();
                self.state = Transfer;
                Some(Answer::Short(status))
            }
            (6, Transfer) if self.functions != 0 => Some(self.switch(argument)),
            (19, Transfer) if self.low_voltage => Some(self.reply_with(std::vec![0xa5; 64])),
            (16, Transfer) => Some(Answer::Short(self.status())),
            (17 | 18, Transfer) => self.start(argument, Data),
            (24 | 25, Transfer) => self.start(argument, Receive),
            (23, Transfer) if self.knows_cmd23 => {
                self.count = Some(argument);
                Some(Answer::Short(self.status()))
            }
            (32, Transfer) => {
                self.erase = (Some(self.sector(argument)), None);
                Some(Answer::Short(self.status()))
            }
            (33, Transfer) => {
                self.erase.1 = Some(self.sector(argument));
                Some(Answer::Short(self.status()))
            }
            (38, Transfer) => Some(self.erase_now()),
            _ => None,
        }
    }

    fn rca(&self) -> u32 {
        self.rca_override.unwrap_or(0x1234)
    }

    fn application(&mut self, index: u8, argument: u32) -> Option<Answer> {
        match (index, self.state) {
            (41, State::Idle) => {
                let busy = self.busy_41 > 0;
                self.busy_41 = self.busy_41.saturating_sub(1);
                let high = if self.high_capacity && argument & 1 << 30 != 0 { 1 << 30 } else { 0 };
                let low = if self.accepts_1v8 && !self.low_voltage && argument & 1 << 24 != 0 {
                    1 << 24
                } else {
                    0
                };
                if busy {
                    return Some(Answer::Short(0x00ff_8000));
                }
                self.state = State::Ready;
                Some(Answer::Short(1 << 31 | 0x00ff_8000 | high | low))
            }
            (51, State::Transfer) => Some(self.reply_with(self.scr().to_vec())),
            (13, State::Transfer) => {
                let mut status = std::vec![0; 64];
                status[8] = 4;
                status[24] = if self.discards { 2 } else { 0 };
                Some(self.reply_with(status))
            }
            (6, State::Transfer) if self.four_bit || argument == 0 => {
                self.wide = argument == 2;
                Some(Answer::Short(self.status()))
            }
            _ => None,
        }
    }

    fn reply_with(&mut self, bytes: Vec<u8>) -> Answer {
        let status = self.status();
        self.reply = bytes;
        self.state = State::Data;
        Answer::Short(status)
    }

    fn switch(&mut self, argument: u32) -> Answer {
        let function = (argument & 0xf) as u8;
        let known = function == 0xf || self.functions & 1 << function != 0;
        let allowed = function < 2 || function == 0xf || self.low_voltage;
        let mut status = std::vec![0; 64];
        status[13] = self.functions;
        status[16] = if known && allowed { function } else { 0xf };
        if argument >> 31 == 1 && known && allowed {
            self.function = function;
        }
        self.reply_with(status)
    }

    fn start(&mut self, argument: u32, state: State) -> Option<Answer> {
        self.position = self.sector(argument);
        let writes = state == State::Receive;
        if self.position >= self.sectors {
            return Some(Answer::Short(self.status() | OUT_OF_RANGE));
        }
        if writes && self.write_protected {
            return Some(Answer::Short(self.status() | WP_VIOLATION));
        }
        let status = self.status();
        self.state = state;
        Some(Answer::Short(status))
    }

    fn erase_now(&mut self) -> Answer {
        let (Some(first), Some(last)) = core::mem::take(&mut self.erase) else {
            return Answer::Short(self.status() | ERASE_SEQUENCE);
        };
        if last < first || last >= self.sectors {
            return Answer::Short(self.status() | OUT_OF_RANGE);
        }
        self.erased.push((first, last));
        self.blocks.retain(|sector, _| *sector < first || *sector > last);
        Answer::Short(self.status())
    }

    /// The next block that the card sends; `None` where it sends none.
    pub fn send(&mut self, bytes: usize) -> Option<Vec<u8>> {
        if self.state != State::Data {
            return None;
        }
        if !self.reply.is_empty() {
            self.state = State::Transfer;
            let reply = core::mem::take(&mut self.reply);
            return (reply.len() == bytes).then_some(reply);
        }
        if self.position >= self.sectors {
            self.errors |= OUT_OF_RANGE;
            return None;
        }
        let block = self.blocks.get(&self.position).map_or(std::vec![0; 512], |block| block.to_vec());
        self.position += 1;
        Some(block)
    }

    /// Takes a block; `false` where it takes none.
    pub fn receive(&mut self, bytes: &[u8]) -> bool {
        if self.state != State::Receive || self.position >= self.sectors {
            self.errors |= OUT_OF_RANGE;
            return false;
        }
        self.blocks.insert(self.position, bytes.try_into().expect("a block of 512 bytes"));
        self.position += 1;
        true
    }

    /// The transfer's last block moved: a single block, or the count of CMD23.
    pub fn end_of_count(&mut self) {
        self.count = None;
        self.state = State::Transfer;
    }
}
