//! A scene: a board, guests, and what they are expected to say. The tests read like the scene they set.

use crate::archive::{host_disk, image_disk, nic, vm};
use crate::machine::HostDisk;
use crate::serial::Terminal;
use crate::{ArchiveBuilder, Artifacts, Board, Machine, MachineConfig, console, tree};
use anyhow::{Context, Result};
use api::host::{ConsoleMode, Disk, Vm};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

/// Tells a hung guest from a slow machine; nothing is asserted about time.
pub const BOOT: Duration = Duration::from_secs(900);
/// The same for the answer to a command.
pub const ANSWER: Duration = Duration::from_secs(120);

/// A host and its guests, not yet started.
pub struct Scene {
    at: Artifacts,
    name: String,
    /// The machine, for what the methods do not say.
    pub config: MachineConfig,
    /// Its boot archive.
    pub archive: ArchiveBuilder,
}

/// A scene on `board`; `name` (the test's) is the name of its log.
pub fn on(board: Board, name: &str) -> Scene {
    let at = Artifacts::here();
    let name = format!("{name}-{board}");
    let mut config = MachineConfig::new(board, &at.image(), &at.run().join(format!("{name}.log")));
    config.append = String::from("bramble.exit");
    if board == Board::Raspi4b {
        config.tree = Some(at.pi4_tree());
    } else {
        config.memory_mib = 2048;
    }
    let mut archive = ArchiveBuilder::new();
    archive.document.host.console = ConsoleMode::Merged;
    Scene { at, name, config, archive }
}

impl Scene {
    /// One stream at a time on the serial line, as people have it; needed to type into a guest.
    pub fn menu(mut self) -> Self {
        self.archive.document.host.console = ConsoleMode::Menu;
        self
    }

    /// Another number of PEs.
    pub fn cpus(mut self, cpus: u32) -> Self {
        self.config.cpus = cpus;
        self
    }

    /// More or less memory.
    pub fn memory_mib(mut self, size: u32) -> Self {
        self.config.memory_mib = size;
        self
    }

    /// Another PE than the boards' own Cortex-A72.
    pub fn cpu(mut self, cpu: &str) -> Self {
        self.config.cpu = cpu.to_owned();
        self
    }

    /// A network card of the host.
    pub fn uplink(mut self) -> Self {
        self.config.uplink = true;
        self
    }

    /// A VM that boots the test guest with these behaviours.
    pub fn test_guest(self, name: &str, vcpus: u8, behaviours: &str) -> Result<Self> {
        let mut guest = vm(name, vcpus, 64);
        guest.boot.kernel = Some(String::from("test-guest"));
        guest.boot.command_line = Some(format!("bramble.test={behaviours}"));
        let path = self.at.test_guest("test-guest");
        self.vm(guest, &[("test-guest", path)])
    }

    /// A VM with the small Debian guest: log in as root. Its address comes from the uplink's server, or is
    /// 10.9.0.1, 10.9.0.2… where there is none.
    pub fn small(self, name: &str) -> Result<Self> {
        self.small_with(name, Vec::new())
    }

    /// The same with disks.
    pub fn small_with(self, name: &str, disks: Vec<Disk>) -> Result<Self> {
        let mut guest = vm(name, 2, 256);
        guest.boot.kernel = Some(String::from("cloud-kernel"));
        guest.boot.initrd = Some(String::from("small-initrd"));
        let mut command_line = format!("console=ttyAMA0 hostname={name}");
        if !self.config.uplink {
            command_line.push_str(&format!(" address=10.9.0.{}/24", self.archive.document.vms.len() + 1));
        }
        guest.boot.command_line = Some(command_line);
        guest.nics.push(nic());
        guest.disks = disks;
        let files = ["cloud-kernel", "small-initrd"].map(|file| (file, self.at.guest(file)));
        self.vm(guest, &files)
    }

    /// A VM that starts with firmware, from a file of the guests: `edk2.fd` or `u-boot.bin`.
    pub fn firmware(self, name: &str, file: &str, memory_mib: u32, disks: Vec<Disk>) -> Result<Self> {
        let mut guest = vm(name, 2, memory_mib);
        guest.boot.firmware = Some(file.to_owned());
        guest.disks = disks;
        let path = self.at.guest(file);
        self.vm(guest, &[(file, path)])
    }

    /// A disk of the host from a file of the guests, whose writes are forgotten; on a board without disks, the same
    /// in RAM.
    pub fn disk_of(&mut self, file: &str, read_only: bool) -> Result<Disk> {
        let path = self.at.guest(file);
        if self.config.board.has_virtio() {
            self.config.disks.push(HostDisk { path, serial: file.to_owned(), snapshot: true });
            return Ok(Disk { read_only, ..host_disk(file) });
        }
        self.archive.file(file, &path)?;
        Ok(image_disk(file, read_only))
    }

    /// A file of this scene's own.
    pub fn file(&self, name: &str) -> Result<PathBuf> {
        fs::create_dir_all(self.at.run())?;
        Ok(self.at.run().join(format!("{}-{name}", self.name)))
    }

    /// A VM with a whole Debian, its disk the host's where the board has one, else in RAM: log in as root.
    pub fn debian(mut self, name: &str) -> Result<Self> {
        let mut guest = vm(name, 2, if self.config.board.has_virtio() { 512 } else { 256 });
        guest.boot.kernel = Some(String::from("debian-kernel"));
        guest.boot.initrd = Some(String::from("debian-initrd"));
        guest.boot.command_line = Some(format!("console=ttyAMA0 root=/dev/vda systemd.hostname={name}"));
        guest.nics.push(nic());
        let mut files: Vec<_> =
            ["debian-kernel", "debian-initrd"].map(|file| (file, self.at.guest(file))).into();
        let root = self.at.guest("debian-root.img");
        if self.config.board.has_virtio() {
            guest.disks.push(host_disk(name));
            self.config.disks.push(HostDisk { path: root, serial: name.to_owned(), snapshot: true });
        } else {
            guest.disks.push(image_disk("debian-root.img", false));
            files.push(("debian-root.img", root));
        }
        self.vm(guest, &files)
    }

    /// Any VM, with the files that it names.
    pub fn vm(mut self, vm: Vm, files: &[(&str, std::path::PathBuf)]) -> Result<Self> {
        for (name, path) in files {
            self.archive.file(name, path)?;
        }
        self.archive.vm(vm);
        Ok(self)
    }

    /// Starts the machine.
    pub fn start(mut self) -> Result<Machine> {
        fs::create_dir_all(self.at.run())?;
        let path = self.at.run().join(format!("{}.cpio", self.name));
        self.archive.write(&path)?;
        self.config.archive = Some(path);
        seed(&mut self.config)?;
        Machine::start(&self.config)
    }
}

/// Gives the machine's own device tree, where it has one, a seed.
pub fn seed(config: &mut MachineConfig) -> Result<()> {
    let Some(tree) = &config.tree else { return Ok(()) };
    let mut seed = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut seed)?;
    let seeded = tree::with_seed(&fs::read(tree).with_context(|| format!("no {}", tree.display()))?, &seed)?;
    let to = config.log.with_extension("dtb");
    fs::write(&to, seeded)?;
    config.tree = Some(to);
    Ok(())
}

/// Chooses the guest on the console's menu and logs in as root, who needs no password.
pub fn log_in(machine: &mut Machine, guest: &str) -> Result<()> {
    console::select(machine, guest)?;
    log_in_at(machine)
}

/// Logs in at a console that is there.
pub fn log_in_at(terminal: &mut impl Terminal) -> Result<()> {
    terminal.expect("login:", BOOT)?;
    terminal.send("root\r")?;
    terminal.expect("#", ANSWER).context("no shell after the login")?;
    // Answers must not be mistaken for the echo of questions, nor have the kernel's lines in their midst.
    shell(terminal, "stty -echo; dmesg -n 1")?;
    Ok(())
}

/// Goes back to a guest that has a shell; what its ring repeats is past.
pub fn turn_to(machine: &mut Machine, guest: &str) -> Result<()> {
    static TURN: AtomicU32 = AtomicU32::new(1000);
    console::select(machine, guest)?;
    let turn = TURN.fetch_add(1, Ordering::Relaxed);
    machine.send(&format!("echo turn-$(({turn} + 1000))-\r"))?;
    machine.expect(&format!("turn-{}-", turn + 1000), ANSWER)?;
    Ok(())
}

/// Ends the selected guest by a command of its own; the host says so in its log.
pub fn power_off(machine: &mut Machine, guest: &str, command: &str) -> Result<()> {
    machine.send(&format!("{command}\r"))?;
    console::select(machine, "host log")?;
    machine.expect(&format!("{guest}: off"), ANSWER)?;
    Ok(())
}

/// A server on this machine's loopback that gives one line back, reversed, and ends; its port.
pub fn answer_once() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    // Whoever connects sees a failure as an answer that does not come.
    thread::spawn(move || -> Result<()> {
        let (mut stream, _) = listener.accept()?;
        let mut line = String::new();
        BufReader::new(stream.try_clone()?).read_line(&mut line)?;
        let reversed: String = line.trim().chars().rev().collect();
        stream.write_all(format!("{reversed}\n").as_bytes())?;
        Ok(())
    });
    Ok(port)
}

/// The address that the selected guest's card has got.
pub fn address(machine: &mut Machine) -> Result<Ipv4Addr> {
    let ask = "while ! ip -4 -o addr show scope global | grep -q inet; do sleep 0.2; done; \
               ip -4 -o addr show scope global | tr -s ' ' | cut -d' ' -f4";
    let said = shell(machine, ask)?;
    let address = said.split_whitespace().find_map(|word| word.split_once('/')?.0.parse().ok());
    address.with_context(|| format!("no address in {said:?}"))
}

/// Copies a file, leaving holes where it has them.
pub fn copy_sparse(from: &Path, to: &Path) -> Result<()> {
    let copy = Command::new("cp").args(["--sparse=always", "--reflink=auto"]).arg(from).arg(to).status()?;
    anyhow::ensure!(copy.success(), "can't copy {}", from.display());
    Ok(())
}

/// Runs a command in the shell of the selected guest and returns what it said.
pub fn shell(terminal: &mut impl Terminal, command: &str) -> Result<String> {
    terminal.send(&format!("{command}; echo status-$?-\r"))?;
    // With an echo the text of the command comes first: `$?` in it is no number.
    let said = terminal.expect_match("the end of the command", ANSWER, &|text| {
        let from = text
            .match_indices("status-")
            .find(|(at, _)| text[at + 7..].starts_with(|c: char| c.is_ascii_digit()))?
            .0;
        text[from + 7..].find('-').map(|length| from + 7 + length + 1)
    });
    let said = said.with_context(|| format!("{command}: no answer"))?;
    let (text, status) = said.rsplit_once("status-").unwrap_or((&said, ""));
    anyhow::ensure!(status == "0-", "{command}: exit status {status}\n{text}");
    Ok(text.to_owned())
}
