//! A host's serial line, whatever drives it.
//!
//! Called by the vmkernel's console (log, guests' rings, menu) and by the panic screen. Implemented by `pl011` and
//! `mini_uart`. All is by `&self`, so that a panic can write without a lock; lines of two PEs may then mix.

/// What came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// A byte.
    Byte(u8),
    /// The line was held low, or a byte was damaged: nothing to use.
    Broken,
    /// Bytes before this one were lost; this is the one that came after.
    AfterLoss(u8),
}

/// A serial line. Never waits unless told how long.
pub trait Serial {
    /// Hands over as many of `bytes` as the transmitter has place for now; how many.
    fn put(&self, bytes: &[u8]) -> usize;

    /// The next thing that came in.
    fn receive(&self) -> Option<Received>;

    /// Raises the interrupt when something comes in. What came before need not raise it: call [`Serial::receive`] until
    /// it gives nothing, once. From then on the line stays up while something is there, so that a handler may stop
    /// early, and there is nothing to acknowledge.
    fn enable_receive_interrupt(&self);

    /// Writes all of `bytes`, asking at most `polls` times for place for each: for the panic screen, on a line that may
    /// be dead. How many went out.
    fn put_patiently(&self, bytes: &[u8], polls: u32) -> usize {
        let mut sent = 0_usize;
        let mut left = bytes;
        let mut patience = polls;
        while !left.is_empty() && patience > 0 {
            let now = self.put(left);
            patience = if now == 0 { patience.saturating_sub(1) } else { polls };
            sent = sent.saturating_add(now);
            left = left.get(now..).unwrap_or(&[]);
        }
        sent
    }
}
