//! KVM: the suite's kernel and its QEMU for arm64, inside the emulated machine.

use super::{Figures, figures, machine};
use crate::guests::Guests;
use anyhow::Result;
use std::time::Duration;
use system::{Artifacts, Board, Machine};

/// Wall time until the peer is given up.
const LIMIT: Duration = Duration::from_secs(420);

/// The operations on a GICv3, one PE, two vCPUs.
pub fn measure(at: &Artifacts, guests: &Guests<'_>) -> Result<Figures> {
    let initrd = guests.kvm_host()?;
    let mut config = machine(Board::VirtGicv3, &at.guest("cloud-kernel"), &at.run().join("bench-kvm.log"));
    config.memory_mib = 2048;
    config.archive = Some(initrd);
    // Without a seed the kernel of the host starves for entropy, and every figure is off.
    config.append =
        String::from("console=ttyAMA0 quiet nokaslr random.trust_bootloader=on random.trust_cpu=on");
    let mut machine = Machine::start(&config)?;
    machine.expect("TESTS DONE", LIMIT)?;
    Ok(figures(&machine.text()))
}
