//! Xen: the suite's hypervisor, with the benchmark as its only domain ("dom0less").
//!
//! The domain is described in the device tree; its kernel lies in memory where the tree says (Xen's
//! docs/misc/arm/device-tree/booting.txt).

use super::{Figures, figures, machine};
use crate::guests::Guests;
use crate::run::{command, quiet};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use system::{Artifacts, Board, Machine, MachineConfig};

const LIMIT: Duration = Duration::from_secs(300);
/// Away from Xen and from the device tree.
const KERNEL_AT: u64 = 0x4a00_0000;

/// The operations on a GICv3, one PE, two vCPUs.
pub fn measure(at: &Artifacts, guests: &Guests<'_>) -> Result<Figures> {
    let xen = guests.xen()?;
    let kernel = at.test_guest("test-guest");
    let folder = at.run();
    let mut config = machine(Board::VirtGicv3, &xen, &folder.join("bench-xen.log"));
    config.memory_mib = 2048;
    config.tree = Some(tree(&config, &kernel, &folder)?);
    let loader = format!("loader,file={},addr={KERNEL_AT:#x},force-raw=on", kernel.display());
    config.extra.extend(["-device".into(), loader.into()]);
    let mut machine = Machine::start(&config)?;
    machine.expect("TESTS DONE", LIMIT)?;
    Ok(figures(&machine.text()))
}

/// QEMU's own tree with the domain added.
fn tree(config: &MachineConfig, kernel: &Path, folder: &Path) -> Result<PathBuf> {
    let (dumped, source, to) = (folder.join("xen-0.dtb"), folder.join("xen.dts"), folder.join("xen.dtb"));
    let size = fs::metadata(kernel).context("no test guest")?.len();
    let mut dump = config.clone();
    dump.extra.extend(["-machine".into(), format!("dumpdtb={}", dumped.display()).into()]);
    quiet(command("qemu-system-aarch64", dump.arguments()?).stdin(std::process::Stdio::null()))?;
    let text = quiet(command("dtc", ["-q", "-I", "dtb", "-O", "dts"]).arg(&dumped))?;
    let domain = format!(
        "/ {{ chosen {{\n\
           xen,xen-bootargs = \"dtuart=/pl011@9000000 console=dtuart sched=credit2\";\n\
           #address-cells = <2>;\n #size-cells = <2>;\n\
           domU1 {{\n\
             compatible = \"xen,domain\";\n #address-cells = <2>;\n #size-cells = <2>;\n\
             memory = <0 {memory_kib:#x}>;\n cpus = <2>;\n vpl011;\n\
             module@{KERNEL_AT:x} {{\n\
               compatible = \"multiboot,kernel\", \"multiboot,module\";\n\
               reg = <0 {KERNEL_AT:#x} 0 {size:#x}>;\n\
               bootargs = \"bramble.test=bench\";\n\
             }};\n\
           }};\n\
         }}; }};\n",
        memory_kib = 256 << 10,
    );
    // A second root node is merged with the first.
    fs::write(&source, text + &domain)?;
    quiet(command("dtc", ["-q", "-I", "dts", "-O", "dtb", "-o"]).arg(&to).arg(&source))?;
    Ok(to)
}
