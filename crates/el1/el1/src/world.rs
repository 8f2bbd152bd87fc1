//! The calls of a world to the vmkernel: `abi::call`, by HVC with a buffer in memory that no Rust object lives in.
//!
//! Called by: hostd; the panic handler. Calls: the vmkernel. SMC Calling Convention (DEN0028) 2.6-2.9.
//! The resource: HVC with a function of the vendor's range, which reads or writes the memory that it is told. Invariant:
//! that memory is a [`Window`], or the buffer of last words, whose bytes are atomics.
//! Concurrency: calls may be made by any vCPU at any time; a buffer is the caller's to guard.

use crate::boot;
use crate::window::Window;
use abi::{Call, ExitReason, Status};
use core::arch::asm;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU8, Ordering};

/// Whether this machine is a world's: its device tree has a call queue.
pub fn is_one() -> bool {
    boot::get().is_some_and(|boot| boot.devices(abi::request::COMPATIBLE).next().is_some())
}

/// Makes a call with `buffer` and up to three arguments: its values, or how it failed.
///
/// The vmkernel takes buffers in memory only that was touched before: a write to the window does.
pub fn call(call: Call, buffer: Option<Window>, arguments: [u64; 3]) -> Result<[u64; 3], Status> {
    let (base, bytes) = buffer.map_or((0, 0), |window| (window.base(), window.bytes()));
    issue(call, base as u64, bytes as u64, arguments)
}

fn issue(call: Call, address: u64, bytes: u64, arguments: [u64; 3]) -> Result<[u64; 3], Status> {
    let [third, fourth, fifth] = arguments;
    let mut x: [u64; 4] = [u64::from(call as u32), address, bytes, third];
    // SAFETY: SMCCC 2.9: the callee keeps x18-x30 and spoils at most x0-x17, which are named. What it writes is memory
    // of a window, which aliases no Rust object (invariant of `Window`); it reads that, or the buffer of last words.
    unsafe {
        asm!("hvc #0", inout("x0") x[0], inout("x1") x[1], inout("x2") x[2], inout("x3") x[3],
            inout("x4") fourth => _, inout("x5") fifth => _, out("x6") _, out("x7") _, out("x8") _, out("x9") _,
            out("x10") _, out("x11") _, out("x12") _, out("x13") _, out("x14") _, out("x15") _, out("x16") _,
            out("x17") _, options(nostack))
    };
    match Status::from_raw(x[0] as i64) {
        Some(Status::Ok) => Ok([x[1], x[2], x[3]]),
        Some(status) => Err(status),
        None => Err(Status::Invalid),
    }
}

static LAST_WORDS: [AtomicU8; abi::record::WORDS_BYTES] =
    [const { AtomicU8::new(0) }; abi::record::WORDS_BYTES];

/// Writes to [`LAST_WORDS`]; what does not fit is dropped.
struct Words(usize);

impl Write for Words {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if let Some(place) = LAST_WORDS.get(self.0) {
                place.store(byte, Ordering::Relaxed);
                self.0 += 1;
            }
        }
        Ok(())
    }
}

/// Ends the world with these words. Comes back where the vmkernel refuses.
pub fn exit(reason: ExitReason, words: fmt::Arguments<'_>) -> Status {
    let mut last = Words(0);
    // Writing them does not fail.
    let _ = last.write_fmt(words);
    let address = LAST_WORDS.as_ptr() as u64;
    match issue(Call::Exit, address, last.0 as u64, [reason as u64, 0, 0]) {
        Ok(_) => Status::Ok,
        Err(status) => status,
    }
}

/// For the panic handler: the end of a world, if this is one.
pub(crate) fn last_words(info: &core::panic::PanicInfo<'_>) {
    if is_one() {
        let memory = crate::heap::is_exhausted();
        let _ = exit(if memory { ExitReason::Memory } else { ExitReason::Panic }, format_args!("{info}"));
    }
}
