//! The one serial line, shared by the host log and the guests' consoles.
//!
//! Each stream has a ring of 64 KiB. One stream is selected: its bytes go out as they come, and input goes to it.
//! Ctrl-] opens the menu. In merged mode every guest's complete lines go out too, each after `NAME| `.
//! Lock order: a stream's ring → the line. Nothing here waits for the hardware longer than one character takes.

mod serial;

use crate::ring::Ring;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use api::host::ConsoleMode;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use drivers::board::UartNode;
use ports::ByteSink;
use serial::Serial;
use specs::{Intid, PeId};
use spin::{Mutex, RwLock};

/// Ctrl-].
const ESCAPE: u8 = 0x1d;

/// Writes a line to the host log.
#[macro_export]
macro_rules! log {
    ($console:expr, $($argument:tt)*) => { $console.log(format_args!($($argument)*)) };
}

/// The line and its streams.
#[derive(Debug)]
pub struct Console {
    line: Arc<Line>,
    streams: RwLock<Vec<Arc<Stream>>>,
    menu: Mutex<Option<String>>,
    wishes: Mutex<VecDeque<Wish>>,
    intid: Option<Intid>,
    started_at: u64,
}

/// What a key of the menu asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// The self-test's page.
    SelfTest,
    /// A datastore in free space.
    Datastore,
    /// Somebody is here: a new administrator's password.
    Presence,
}

/// The serial line.
#[derive(Debug)]
struct Line {
    serial: Mutex<Option<Serial>>,
    selected: AtomicUsize,
    merged: AtomicBool,
}

impl Line {
    fn put(&self, bytes: &[u8]) {
        if let Some(serial) = self.serial.lock().as_mut() {
            serial.put(bytes);
        }
    }
}

/// One stream: the host log, or a guest's console.
#[derive(Debug)]
pub struct Stream {
    name: String,
    number: usize,
    ring: Mutex<Ring>,
    /// Typed, and waiting for room in the guest's UART.
    held: Mutex<VecDeque<u8>>,
    line: Arc<Line>,
}

/// What is typed beyond this while the guest reads nothing is lost.
const HELD: usize = 4096;

impl Stream {
    /// Its number in the menu.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Position after the last byte.
    pub fn end(&self) -> u64 {
        self.ring.lock().end()
    }

    /// Copies what follows position `from`: the position of the first byte given, how many, and the end's position.
    pub fn read(&self, from: u64, into: &mut [u8]) -> (u64, usize, u64) {
        let ring = self.ring.lock();
        let (first, count) = ring.read(from, into);
        (first, count, ring.end())
    }

    /// Gives what was typed, `byte` last, to `receive` until that has no more room.
    pub fn offer(&self, byte: Option<u8>, mut receive: impl FnMut(u8) -> bool) {
        let mut held = self.held.lock();
        if held.len() < HELD {
            held.extend(byte);
        }
        while held.front().is_some_and(|byte| receive(*byte)) {
            held.pop_front();
        }
    }

    /// A line of the host's own in a guest's stream.
    pub fn host_line(&self, text: &str) {
        self.put(format!("\r\n[host] {text}\r\n").as_bytes());
    }
}

impl ByteSink for Stream {
    #[inline]
    fn put(&self, bytes: &[u8]) {
        let mut ring = self.ring.lock();
        for byte in bytes {
            ring.push(*byte);
            if *byte == b'\n' && self.number != 0 && self.line.merged.load(Ordering::Relaxed) {
                self.put_merged(&mut ring);
            }
        }
        if self.line.selected.load(Ordering::Relaxed) == self.number {
            self.line.put(bytes);
        }
    }
}

impl Stream {
    /// Writes the line that just ended after the stream's name.
    #[inline(never)]
    fn put_merged(&self, ring: &mut Ring) {
        if self.line.selected.load(Ordering::Relaxed) == self.number {
            ring.mark();
            return;
        }
        let mut text = Vec::with_capacity(128);
        text.extend_from_slice(self.name.as_bytes());
        text.extend_from_slice(b"| ");
        ring.since_mark(|byte| {
            if byte != b'\r' && byte != b'\n' {
                text.push(byte);
            }
        });
        text.extend_from_slice(b"\r\n");
        self.line.put(&text);
    }
}

impl Console {
    /// With the host log as the first stream.
    pub fn new(uart: Option<UartNode>, started_at: u64) -> Self {
        let serial = uart.and_then(Serial::new);
        let line = Arc::new(Line {
            serial: Mutex::new(serial),
            selected: AtomicUsize::new(0),
            merged: AtomicBool::new(false),
        });
        let console = Self {
            line,
            streams: RwLock::new(Vec::new()),
            menu: Mutex::new(None),
            wishes: Mutex::default(),
            intid: uart.and_then(|uart| uart.intid).map(Intid),
            started_at,
        };
        console.add_stream("host log");
        console
    }

    /// The stream with this name; it is made when there is none. A VM that waits for its disk has its streams already.
    pub fn add_stream(&self, name: &str) -> Arc<Stream> {
        let mut streams = self.streams.write();
        if let Some(stream) = streams.iter().find(|stream| stream.name == name) {
            return stream.clone();
        }
        let stream = Arc::new(Stream {
            name: String::from(name),
            number: streams.len(),
            ring: Mutex::new(Ring::default()),
            held: Mutex::new(VecDeque::new()),
            line: self.line.clone(),
        });
        streams.push(stream.clone());
        stream
    }

    /// How the line is shared.
    pub fn set_mode(&self, mode: ConsoleMode) {
        self.line.merged.store(mode == ConsoleMode::Merged, Ordering::Relaxed);
    }

    /// The streams of a VM: PL011 and virtio.
    pub fn streams_of(&self, name: &str) -> [Arc<Stream>; 2] {
        [name, &format!("{name}/hvc0")].map(|name| self.add_stream(name))
    }

    /// The host log.
    pub fn host_log(&self) -> Option<Arc<Stream>> {
        self.streams.read().first().cloned()
    }

    /// Writes a line to the host log, after the time since boot.
    pub fn log(&self, text: fmt::Arguments<'_>) {
        let ticks = el2::regs::counter().saturating_sub(self.started_at);
        let micros = u128::from(ticks) * 1_000_000 / u128::from(el2::regs::counter_hz());
        let line = format!("[{:5}.{:06}] {text}\r\n", micros / 1_000_000, micros % 1_000_000);
        if let Some(stream) = self.streams.read().first() {
            stream.put(line.as_bytes());
        }
        let selected = self.line.selected.load(Ordering::Relaxed);
        if selected != 0 && self.line.merged.load(Ordering::Relaxed) {
            self.line.put(line.as_bytes());
        }
    }

    /// Writes a page to the host log as it is: its last line is a sum over the text.
    pub fn page(&self, text: &str) {
        let text = text.replace('\n', "\r\n");
        if let Some(stream) = self.streams.read().first() {
            stream.put(text.as_bytes());
        }
        let selected = self.line.selected.load(Ordering::Relaxed);
        if selected != 0 && self.line.merged.load(Ordering::Relaxed) {
            self.line.put(text.as_bytes());
        }
    }

    /// Bytes past every lock, for the panic screen: another PE may hold one and never give it back.
    pub fn force(&self, text: fmt::Arguments<'_>) {
        if let Some(mut serial) = self.line.serial.try_lock()
            && let Some(serial) = serial.as_mut()
        {
            serial.put(format!("{text}\r\n").as_bytes());
        }
    }

    /// From now on input raises an interrupt on this PE; what is there already is to be taken now.
    pub fn listen(&self, pe: PeId) {
        if let Some(serial) = self.line.serial.lock().as_mut() {
            serial.listen();
        }
        if let Some(intid) = self.intid {
            el2::gic::enable_spi(intid, pe);
        }
    }

    /// Whether an interrupt is the line's.
    pub fn is_interrupt(&self, intid: Intid) -> bool {
        self.intid == Some(intid)
    }

    /// Takes what was typed; `deliver(stream, byte)` gives it to a guest.
    pub fn take_input(&self, deliver: impl Fn(usize, u8)) {
        // A bounded number at a time: the line can't hold the PE.
        for _ in 0..64 {
            let byte = self.line.serial.lock().as_mut().and_then(Serial::get);
            let Some(byte) = byte else { return };
            if !self.steer(byte) {
                deliver(self.line.selected.load(Ordering::Relaxed), byte);
            }
        }
    }

    /// The menu's part of the input; whether it took the byte.
    fn steer(&self, byte: u8) -> bool {
        let mut menu = self.menu.lock();
        match (&mut *menu, byte) {
            (None, ESCAPE) => {
                *menu = Some(String::new());
                self.show_menu();
            }
            (None, _) => return false,
            (Some(digits), ESCAPE) => {
                digits.clear();
                self.show_menu();
            }
            (Some(digits), b'0'..=b'9') => {
                digits.push(char::from(byte));
                self.line.put(&[byte]);
                let count = self.streams.read().len();
                let chosen = digits.parse::<usize>().unwrap_or(usize::MAX);
                // One digit is enough where no longer number fits.
                if chosen.saturating_mul(10) >= count {
                    *menu = None;
                    self.select(chosen);
                }
            }
            (Some(digits), b'\r' | b'\n') => {
                let chosen = digits.parse().unwrap_or(usize::MAX);
                *menu = None;
                self.select(chosen);
            }
            (Some(_), b't' | b'd' | b'p') => {
                *menu = None;
                self.wishes.lock().push_back(match byte {
                    b't' => Wish::SelfTest,
                    b'd' => Wish::Datastore,
                    _ => Wish::Presence,
                });
                self.select(0);
            }
            (Some(_), _) => {
                *menu = None;
                self.line.put(b"\r\n");
            }
        }
        true
    }

    /// The next wish of who sits at the line.
    pub fn take_wish(&self) -> Option<Wish> {
        self.wishes.lock().pop_front()
    }

    fn show_menu(&self) {
        let mut text = String::from("\r\n");
        for stream in self.streams.read().iter() {
            text.push_str(&format!("{} {}\r\n", stream.number, stream.name));
        }
        text.push_str("t self-test\r\nd make a datastore, where there is none\r\n");
        text.push_str("p ask for a new administrator's password\r\nnumber, Enter: ");
        self.line.put(text.as_bytes());
    }

    /// Shows a stream from the start of its ring.
    fn select(&self, number: usize) {
        let Some(stream) = self.streams.read().get(number).cloned() else {
            return self.line.put(b"\r\nno such number\r\n");
        };
        let mut ring = stream.ring.lock();
        self.line.selected.store(number, Ordering::Relaxed);
        self.line.put(format!("\r\n--- {} ---\r\n", stream.name).as_bytes());
        ring.all(|bytes| self.line.put(bytes));
        ring.mark();
    }
}
