//! One machine in QEMU: its command line, its process, its serial line.
//!
//! QEMU is started through `setpriv --pdeathsig`, so that it never outlives the program that started it, whatever
//! ends that.

use crate::board::Board;
use crate::serial::{Tap, Terminal, Transcript};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A disk of the host, by virtio-blk.
#[derive(Clone, Debug)]
pub struct HostDisk {
    /// The image file.
    pub path: PathBuf,
    /// By which `host.toml` names the disk.
    pub serial: String,
    /// Discard writes when the machine ends.
    pub snapshot: bool,
}

/// What a machine is made of.
#[derive(Clone, Debug)]
pub struct MachineConfig {
    /// The board.
    pub board: Board,
    /// PEs.
    pub cpus: u32,
    /// RAM.
    pub memory_mib: u32,
    /// QEMU's `-cpu`; the boards' own PE is a Cortex-A72.
    pub cpu: String,
    /// Whether the machine has EL2 (`virt` only).
    pub virtualization: bool,
    /// Count instructions: one a nanosecond of virtual time, waiting costs no wall time.
    pub icount: bool,
    /// The flat image that the machine enters.
    pub image: PathBuf,
    /// The image lies at this address and is entered there as at reset, and not as QEMU enters a kernel.
    pub at_reset: Option<u64>,
    /// Goes to `-initrd`.
    pub archive: Option<PathBuf>,
    /// The boot arguments in the device tree.
    pub append: String,
    /// The device tree to give; QEMU's own on `virt` when there is none.
    pub tree: Option<PathBuf>,
    /// Disks of the host (`virt` only).
    pub disks: Vec<HostDisk>,
    /// A network card on QEMU's user network (`virt` only).
    pub uplink: bool,
    /// Ports of the loopback interface that lead to ports of the host, by the user network: (here, there).
    pub forwards: Vec<(u16, u16)>,
    /// Where the serial line is copied to.
    pub log: PathBuf,
    /// Further arguments for QEMU.
    pub extra: Vec<OsString>,
}

impl MachineConfig {
    /// The board as users get it, entering `image`.
    pub fn new(board: Board, image: &Path, log: &Path) -> Self {
        Self {
            board,
            cpus: board.default_cpus(),
            memory_mib: board.default_memory_mib(),
            cpu: String::from("cortex-a72"),
            virtualization: true,
            icount: false,
            image: image.to_owned(),
            at_reset: None,
            archive: None,
            append: String::new(),
            tree: None,
            disks: Vec::new(),
            uplink: false,
            forwards: Vec::new(),
            log: log.to_owned(),
            extra: Vec::new(),
        }
    }

    /// The arguments for `qemu-system-aarch64`.
    pub fn arguments(&self) -> Result<Vec<OsString>> {
        self.board.admit(self.cpus, self.memory_mib)?;
        let mut line = Line::default();
        line.add(["-display", "none", "-monitor", "none", "-no-reboot", "-nodefaults"]);
        line.add(["-chardev", "stdio,id=console,signal=off"]);
        self.add_board(&mut line);
        if self.icount {
            line.add(["-icount", "shift=0,sleep=off", "-rtc", "base=2026-01-01,clock=vm"]);
        }
        if let Some(at) = self.at_reset {
            let image = self.image.display();
            line.add(["-device", &format!("loader,file={image},addr={at:#x},cpu-num=0,force-raw=on")]);
        } else {
            line.0.extend(["-kernel".into(), self.image.clone().into()]);
        }
        if let Some(archive) = &self.archive {
            line.0.extend(["-initrd".into(), archive.clone().into()]);
        }
        if let Some(tree) = &self.tree {
            line.0.extend(["-dtb".into(), tree.clone().into()]);
        }
        if !self.append.is_empty() {
            line.add(["-append", &self.append]);
        }
        self.add_virtio(&mut line)?;
        line.0.extend(self.extra.iter().cloned());
        Ok(line.0)
    }

    fn add_board(&self, line: &mut Line) {
        let gic = match self.board {
            Board::Raspi4b => {
                // The header's pins carry the mini UART, QEMU's second serial port.
                line.add(["-M", "raspi4b", "-serial", "null", "-serial", "chardev:console"]);
                return;
            }
            Board::VirtGicv2 => 2,
            Board::VirtGicv3 => 3,
        };
        let el2 = if self.virtualization { "on" } else { "off" };
        line.add(["-M", &format!("virt,virtualization={el2},gic-version={gic}"), "-cpu", &self.cpu]);
        line.add(["-smp", &self.cpus.to_string(), "-m", &format!("{}M", self.memory_mib)]);
        line.add(["-global", "virtio-mmio.force-legacy=false", "-serial", "chardev:console"]);
        line.add(["-device", "virtio-rng-device"]);
    }

    fn add_virtio(&self, line: &mut Line) -> Result<()> {
        if !self.board.has_virtio() {
            if !self.disks.is_empty() || self.uplink {
                bail!("{} has neither virtio disks nor a network card in QEMU", self.board);
            }
            return Ok(());
        }
        for (n, disk) in self.disks.iter().enumerate() {
            let path = disk.path.to_string_lossy().replace(',', ",,");
            let snapshot = if disk.snapshot { "on" } else { "off" };
            line.add(["-drive", &format!("if=none,id=disk{n},format=raw,snapshot={snapshot},file={path}")]);
            line.add(["-device", &format!("virtio-blk-device,drive=disk{n},serial={}", disk.serial)]);
        }
        if self.uplink {
            let forward = |(here, there): &(u16, u16)| format!(",hostfwd=tcp:127.0.0.1:{here}-:{there}");
            let forwards: String = self.forwards.iter().map(forward).collect();
            line.add(["-netdev", &format!("user,id=uplink{forwards}")]);
            line.add(["-device", "virtio-net-device,netdev=uplink"]);
        }
        Ok(())
    }
}

#[derive(Default)]
struct Line(Vec<OsString>);

impl Line {
    fn add<const N: usize>(&mut self, arguments: [&str; N]) {
        self.0.extend(arguments.map(OsString::from));
    }
}

/// A machine that runs. Dropping it ends it.
pub struct Machine {
    child: Child,
    input: ChildStdin,
    transcript: Transcript,
}

impl Machine {
    /// Starts the machine.
    pub fn start(config: &MachineConfig) -> Result<Self> {
        Self::start_with_tap(config, None)
    }

    /// Starts the machine; `tap` gets every byte of its serial line.
    pub fn start_with_tap(config: &MachineConfig, tap: Option<Tap>) -> Result<Self> {
        if let Some(folder) = config.log.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "qemu-system-aarch64"])
            .args(config.arguments()?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("can't start qemu-system-aarch64")?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("QEMU has no serial line");
        };
        let transcript = Transcript::start(output, &config.log, tap)?;
        Ok(Self { child, input, transcript })
    }

    /// Waits until the machine says `text`, and returns what came before it.
    pub fn expect(&mut self, text: &str, within: Duration) -> Result<String> {
        self.transcript.expect(text, within)
    }

    /// Waits until each of `texts` was said, at whatever time and in whatever order; returns everything said.
    pub fn expect_all(&mut self, texts: &[&str], within: Duration) -> Result<String> {
        for text in texts {
            if !self.text().contains(text) {
                self.expect(text, within)?;
            }
        }
        Ok(self.text())
    }

    /// See [`Transcript::expect_match`].
    pub fn expect_match(
        &mut self,
        what: &str,
        within: Duration,
        find: impl Fn(&str) -> Option<usize>,
    ) -> Result<String> {
        self.transcript.expect_match(what, within, find)
    }

    /// Types `text`.
    pub fn send(&mut self, text: &str) -> Result<()> {
        self.send_bytes(text.as_bytes())
    }

    /// Types these bytes.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.input.write_all(bytes).context("the machine has ended")?;
        self.input.flush().context("the machine has ended")
    }

    /// Everything said so far.
    pub fn text(&self) -> String {
        self.transcript.text()
    }

    /// Waits until the machine powers itself off.
    pub fn wait_exit(&mut self, within: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + within;
        self.transcript.wait_end(within);
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("the machine did not power off within {} s", within.as_secs());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Terminal for Machine {
    fn expect_match(
        &mut self,
        what: &str,
        within: Duration,
        find: &dyn Fn(&str) -> Option<usize>,
    ) -> Result<String> {
        self.transcript.expect_match(what, within, find)
    }

    fn send(&mut self, text: &str) -> Result<()> {
        self.send_bytes(text.as_bytes())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
