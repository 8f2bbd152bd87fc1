//! What `./bramble bench host` asks of hostd, by the boot argument `hostd.bench`. Where QEMU counts instructions, a
//! nanosecond is one.
//!
//! Called by: [`crate::drill`]. It says what a record's cipher and a digest take alone, then, whenever more connections were
//! served, for how long the PEs were busy until then.

use crate::server::SERVED;
use crate::vmkernel::Vmkernel;
use abi::Call;
use abi::record::HostUse;
use alloc::vec;
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use core::sync::atomic::Ordering;
use embassy_time::{Duration, Timer};
use sha2::{Digest, Sha256};

/// Bytes of a TLS record, and how many of them are measured.
const RECORD: usize = 16 * 1024;
const RECORDS: u64 = 16;
/// When what a start brings with it is over.
const SETTLED: Duration = Duration::from_secs(2);
/// Looks are rare: each is a little work of its own.
const LOOK: Duration = Duration::from_millis(250);

/// Goes on for ever.
pub async fn run(vmkernel: &Vmkernel) {
    Timer::after(SETTLED).await;
    cipher_and_digest(vmkernel);
    let mut told = 0;
    loop {
        Timer::after(LOOK).await;
        let served = SERVED.load(Ordering::Relaxed);
        if served != told {
            told = served;
            match busy(vmkernel) {
                Some(busy) => vmkernel.log(format_args!("bench: {served} served, busy for {busy} ns")),
                None => vmkernel.log(format_args!("bench: the vmkernel does not say how busy it is")),
            }
        }
    }
}

/// For how long PEs did not sleep, all of them together.
pub fn busy(vmkernel: &Vmkernel) -> Option<u64> {
    let mut bytes = [0; HostUse::BYTES];
    vmkernel.call(Call::GetHostUse, &mut bytes, [0; 3]).ok()?;
    let told = HostUse::from_bytes(&bytes);
    Some((told.at * told.pes).saturating_sub(told.idle_time))
}

fn cipher_and_digest(vmkernel: &Vmkernel) {
    let mut record = vec![0x5a_u8; RECORD];
    let cipher = ChaCha20Poly1305::new(&[7; 32].into());
    let mut digest = Sha256::new();
    let before = vmkernel.time().uptime;
    for _ in 0..RECORDS {
        // The same key stream again and again: it is what it takes that counts.
        let tag = cipher.encrypt_inout_detached(&[1; 12].into(), &[], record.as_mut_slice().into());
        assert!(tag.is_ok(), "a record is short enough");
        digest.update(&record);
    }
    let took = vmkernel.time().uptime - before;
    let sum = digest.finalize();
    let bytes = RECORD as u64 * RECORDS;
    vmkernel.log(format_args!("bench: cipher and digest of {bytes} bytes took {took} ns ({:02x})", sum[0]));
}
