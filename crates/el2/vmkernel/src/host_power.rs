//! The host ends or restarts, because a world asked for it: first its VMs, then the machine.
//!
//! Called by: [`crate::desk`] (the wish), [`crate::home`] (time goes by), on the home. What guests and worlds were told is
//! safe is on the disk already, so nothing is left to be written but what VMs' firmware kept at last.

use crate::home::HomeShared;
use crate::host::Host;
use crate::log;
use crate::vm::{Vm, Wanted};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Whoever asked can still be answered.
const GRACE_MILLIS: u64 = 300;
/// VMs whose power buttons were pressed have so long.
const POLITE_SECONDS: u64 = 30;
/// And then so long to be gone.
const PATIENCE_SECONDS: u64 = 5;
/// How often it is looked whether they are.
const LOOK_MILLIS: u64 = 50;

/// How far it is.
#[derive(Debug)]
pub struct Ending {
    restart: bool,
    /// Until when VMs may turn themselves off.
    polite_until: u64,
    /// Not before.
    earliest: u64,
    latest: u64,
}

/// Begins; false where it has begun already.
pub fn begin(host: &'static Host, restart: bool, polite: bool) -> bool {
    let (now, hertz) = (el2::regs::counter(), el2::regs::counter_hz());
    let seconds = |seconds: u64| hertz.saturating_mul(seconds);
    let polite_until = now.saturating_add(if polite { seconds(POLITE_SECONDS) } else { 0 });
    {
        let mut ending = host.ending.lock();
        if ending.is_some() {
            return false;
        }
        *ending = Some(Ending {
            restart,
            polite_until,
            earliest: now.saturating_add(hertz / 1000 * GRACE_MILLIS),
            latest: polite_until.saturating_add(seconds(PATIENCE_SECONDS)),
        });
    }
    let what = if restart { "restarts" } else { "turns itself off" };
    log!(host.console, "host: {what}, as hostd was asked to");
    if polite {
        for vm in guests(host) {
            HomeShared::press(host, vm);
        }
    }
    HomeShared::wake(host);
    true
}

/// Whether no VM may start any more.
pub fn is_ending(host: &Host) -> bool {
    host.ending.lock().is_some()
}

fn guests(host: &Host) -> Vec<Arc<Vm>> {
    host.vms.lock().iter().filter(|vm| vm.world.is_none()).cloned().collect()
}

/// Goes on; when to look again.
pub fn look(host: &Host) -> u64 {
    let Some((restart, polite_until, earliest, latest)) = host
        .ending
        .lock()
        .as_ref()
        .map(|ending| (ending.restart, ending.polite_until, ending.earliest, ending.latest))
    else {
        return u64::MAX;
    };
    let now = el2::regs::counter();
    let guests = guests(host);
    if !guests.is_empty() && now >= polite_until {
        guests.iter().for_each(|vm| crate::vm::stop(vm, Wanted::Off));
    }
    let is_quiet = guests.is_empty() && !host.home.is_any_unsaved();
    if now >= earliest
        && (is_quiet || now >= latest)
        && let Some(devices) = host.devices.get()
    {
        log!(host.console, "host: {}", if restart { "restart" } else { "off" });
        devices.services.lock().end(restart);
        log!(host.console, "host: this board can't do that by itself: do it by hand");
        *host.ending.lock() = None;
        return u64::MAX;
    }
    now.saturating_add(el2::regs::counter_hz() / 1000 * LOOK_MILLIS)
}
