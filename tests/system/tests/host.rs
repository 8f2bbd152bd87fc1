//! A host from its first login on, as its owner works on it: by `bramblectl`, through QEMU's user network. QEMU is killed in
//! between, and hostd again and again.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use system::cli::{Cli, RemoteConsole, free_port};
use system::scene::{ANSWER, BOOT, Scene, log_in_at, on, shell};
use system::serial::Terminal;
use system::store::StoreImage;
use system::{Artifacts, Board, HostDisk, Machine};

const PASSWORD: &str = "four words will do";
const HER_PASSWORD: &str = "five words are even better";
/// Bytes of the file that is uploaded in pieces.
const BLOB: usize = 16 << 20;
/// Ends of hostd in the second boot, each while a console is attached and a file is uploaded.
const ENDS: &str = "panic,exit,memory,fault,hang";
/// More connections than there may be before a login.
const STRANGERS: usize = 9;
/// Connections of the first generation of the second boot, more than what is looked at before; then of each.
const AFTER: &str = "60,6";

/// Generations that end so: with `BRAMBLE_LONG` a hundred.
fn kills() -> u32 {
    if std::env::var_os("BRAMBLE_LONG").is_some() { 100 } else { 5 }
}

/// A host, its owner's `bramblectl`, and what lies around.
struct House {
    name: &'static str,
    store: StoreImage,
    cli: Cli,
    viewer: Cli,
    port: u16,
    blob: PathBuf,
    sha256: String,
}

impl House {
    /// A card as an owner makes it: a datastore with the kernel and the initrd that VMs boot.
    fn new(name: &'static str) -> Result<Self> {
        let scene = on(Board::VirtGicv3, name);
        let store = StoreImage::make(&scene.file("store.img")?, 3072)?;
        for name in ["debian-kernel", "debian-initrd"] {
            store.import(&Artifacts::here().guest(name), &format!("object:file:{name}"))?;
        }
        let blob = scene.file("blob")?;
        let bytes = random(BLOB)?;
        fs::write(&blob, &bytes)?;
        let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let (cli, viewer) = (Cli::new(&scene.file("contexts.json")?), Cli::new(&scene.file("viewer.json")?));
        Ok(Self { name, store, cli, viewer, port: free_port(0)?, blob, sha256 })
    }

    fn scene(&self) -> Result<Scene> {
        let mut scene = on(Board::VirtGicv3, self.name).cpus(2).menu().uplink();
        scene.config.append = String::new();
        scene.config.forwards = vec![(self.port, 443)];
        let (path, serial) = (self.store.path.clone(), String::from("store"));
        scene.config.disks.push(HostDisk { path, serial, snapshot: false });
        Ok(scene)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.store.path.with_file_name(format!("{}-{name}", self.name))
    }

    fn path(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }

    /// The first login with the password of the console, which has to be changed; a viewer is made, and refused.
    fn first_login(&self, machine: &mut Machine) -> Result<String> {
        let fingerprint = self.cli.trust(machine, self.port)?;
        let refused = self.cli.refused(&["login"], "a guess\n")?;
        ensure!(refused.contains("wrong"), "{refused}");
        self.cli.log_in_first(machine, PASSWORD)?;
        let first = system::cli::said_after(machine, "first login: user admin, password ")?;
        self.cli.refused(&["login"], &format!("{first}\n"))?;
        let lines = format!("{HER_PASSWORD} 1\n{HER_PASSWORD} 1\n");
        self.cli.run(&["user", "create", "vera", "--role", "viewer"], &lines)?;
        self.viewer.trust(machine, self.port)?;
        let lines = format!("{HER_PASSWORD} 1\n{HER_PASSWORD}\n{HER_PASSWORD}\n");
        self.viewer.run(&["login", "--user", "vera"], &lines)?;
        let refused = self.viewer.refused(&["storage", "create", "mine", "64M"], "")?;
        ensure!(refused.contains("operator"), "{refused}");
        let chain = self.cli.run(&["audit", "list"], "")?;
        let stands = chain.lines().any(|line| line.contains("\"vera\"") && line.contains("refused"));
        ensure!(stands, "the refusal is not in the chain:\n{chain}");
        Ok(fingerprint)
    }

    /// How far the only upload is.
    fn offset(&self) -> Result<Option<u64>> {
        Ok(self.cli.json(&["storage", "uploads"])?[0]["offset"].as_u64())
    }

    /// An upload is cut in the middle; the same command goes on with it, and what comes back is what was sent.
    fn upload_after_a_cut(&self) -> Result<()> {
        let blob = self.blob.display().to_string();
        let mut cut = self.cli.start(&["storage", "upload", &blob, "iso:blob"])?;
        let deadline = Instant::now() + BOOT;
        while self.offset()?.unwrap_or(0) == 0 {
            ensure!(Instant::now() < deadline, "the upload does not begin");
            ensure!(cut.try_wait()?.is_none(), "the upload ended: {}", said(cut.stderr.take())?);
        }
        cut.kill()?;
        cut.wait()?;
        let offset = self.offset()?.context("it was whole before it could be cut")?;
        ensure!(offset > 0 && offset < BLOB as u64, "cut at {offset}");
        let upload = self.cli.json(&["storage", "upload", &blob, "iso:blob"])?;
        ensure!(upload["sha256"] == self.sha256.as_str(), "{upload}");
        let back = self.file("back");
        self.cli.run(&["storage", "download", "iso:blob", &back.display().to_string()], "")?;
        ensure!(fs::read(&back)? == fs::read(&self.blob)?, "the download is another file");
        Ok(fs::remove_file(back)?)
    }

    /// Debian's disk, as a qcow2 file, becomes a volume, and a VM boots from it to its prompt.
    fn debian(&self) -> Result<RemoteConsole> {
        let image = self.path("debian.qcow2");
        let root = Artifacts::here().guest("debian-root.img");
        let mut convert = Command::new("qemu-img");
        convert.args(["convert", "-f", "raw", "-O", "qcow2"]).arg(root).arg(&image);
        ensure!(convert.status()?.success(), "qemu-img failed");
        self.cli.run(&["import", &image, "debian"], "")?;
        fs::remove_file(&image)?;
        self.make_vm("debian")?;
        self.cli.run(&["vm", "start", "debian"], "")?;
        let mut console = self.cli.console("debian", &self.file("debian.log"))?;
        log_in_at(&mut console)?;
        Ok(console)
    }

    fn make_vm(&self, name: &str) -> Result<()> {
        let line = format!("console=ttyAMA0 root=/dev/vda systemd.hostname={name}");
        let boot = ["--kernel", "debian-kernel", "--initrd", "debian-initrd", "--command-line", &line];
        let size = ["--vcpus", "2", "--memory", "512MiB", "--volume", name, "--autostart", "false"];
        self.cli.run(&[&["vm", "create", name], &boot[..], &size[..]].concat(), "").map(drop)
    }

    /// A snapshot is taken, the guest broken, the VM reverted, and a clone made: both are whole.
    fn snapshot_break_revert_clone(&self, mut console: RemoteConsole) -> Result<()> {
        shell(&mut console, "echo precious > /root/kept && sync")?;
        self.cli.run(&["vm", "snapshot", "debian", "good"], "")?;
        shell(&mut console, "rm -r /root/kept /usr/lib/systemd /etc && sync")?;
        self.cli.run(&["vm", "stop", "--now", "debian"], "")?;
        drop(console);
        self.cli.run(&["vm", "revert", "debian", "good"], "")?;
        // Another name, since its console still has the login of before.
        let line = "console=ttyAMA0 root=/dev/vda systemd.hostname=reverted";
        self.cli.run(&["vm", "edit", "debian", "--command-line", line], "")?;
        self.cli.run(&["storage", "clone", "debian", "twin"], "")?;
        self.make_vm("twin")?;
        self.cli.run(&["vm", "edit", "twin", "--iso", "blob"], "")?;
        for name in ["debian", "twin"] {
            self.cli.run(&["vm", "start", name], "")?;
        }
        for (name, host) in [("debian", "reverted"), ("twin", "twin")] {
            let mut console = self.cli.console(name, &self.file(&format!("{name}.log")))?;
            console.expect(host, BOOT)?;
            log_in_at(&mut console).with_context(|| format!("{name} is broken"))?;
            let said = shell(&mut console, "cat /root/kept; hostname")?;
            ensure!(said.contains("precious") && said.contains(host), "{said}");
            if name == "twin" {
                self.cd(&mut console)?;
            }
        }
        Ok(())
    }

    /// The uploaded file is the guest's CD, byte by byte and not to be written, and stays what it is.
    fn cd(&self, console: &mut RemoteConsole) -> Result<()> {
        let said = shell(console, "sha256sum /dev/vdb; cat /sys/block/vdb/ro")?;
        ensure!(said.contains(&self.sha256) && said.lines().any(|line| line.trim() == "1"), "{said}");
        let refused = self.cli.refused(&["storage", "delete-object", "iso:blob"], "")?;
        ensure!(refused.contains("has it as a CD"), "{refused}");
        Ok(())
    }

    /// The chain as a file holds without the host, and not with one byte changed; its head.
    fn audit(&self) -> Result<String> {
        let file = self.path("chain.jsonl");
        let said = self.cli.run(&["audit", "export", &file], "")?;
        let head = said.trim().rsplit_once("head ").context("no head")?.1.to_owned();
        self.cli.run(&["audit", "verify", &file, "--head", &head], "")?;
        let mut bytes = fs::read(&file)?;
        let at = bytes.windows(4).position(|word| word == b"vera").context("vera is not in the chain")?;
        bytes[at] = b'w';
        fs::write(&file, bytes)?;
        let refused = self.cli.refused(&["audit", "verify", &file], "")?;
        ensure!(refused.contains("was changed"), "{refused}");
        Ok(head)
    }

    /// After QEMU was killed: the CA is the same, and nothing that was acknowledged is lost.
    fn all_is_there(&self, machine: &mut Machine, fingerprint: &str, head: &str) -> Result<()> {
        let told = system::cli::said_after(machine, "CA certificate, SHA-256: ")?;
        ensure!(told == fingerprint, "another CA: {told}");
        let names = |list: &Value| -> Vec<String> {
            let items = list.as_array().into_iter().flatten();
            items.filter_map(|item| item["name"].as_str().map(str::to_owned)).collect()
        };
        for (arguments, wanted) in [
            (&["vm", "list"][..], &["debian", "twin"][..]),
            (&["vm", "snapshots", "debian"], &["good"]),
            (&["storage", "volumes"], &["debian", "last", "twin"]),
            (&["storage", "objects", "--prefix", "iso:"], &["iso:blob"]),
            (&["user", "list"], &["admin", "vera"]),
        ] {
            let found = names(&self.cli.json(arguments)?);
            for name in wanted {
                ensure!(found.iter().any(|found| found == name), "{arguments:?}: {name} is not in {found:?}");
            }
        }
        let file = self.path("chain.jsonl");
        self.cli.run(&["audit", "export", &file], "")?;
        let said = self.cli.run(&["audit", "verify", &file, "--head", head], "")?;
        ensure!(said.contains("the chain holds"), "{said}");
        Ok(fs::remove_file(file)?)
    }

    /// hostd ends by each of its ends while a console is attached and a file is uploaded: both go on.
    fn hostd_dies(&self, machine: &mut Machine) -> Result<()> {
        let logins = self.logins()?;
        let steady = self.file("steady.log");
        let mut console = self.cli.console("steady", &steady)?;
        console.expect("STEADY ", ANSWER)?;
        let blob = self.blob.display().to_string();
        let begin = || self.cli.start(&["--json", "storage", "upload", &blob, "image:again"]);
        let mut upload = begin()?;
        for generation in 1..=kills() {
            if upload.try_wait()?.is_some() {
                self.check_upload(upload)?;
                upload = begin()?;
            }
            let ended = format!("hostd: generation {generation} ended: ");
            let deadline = Instant::now() + BOOT;
            // Each connection that it has served brings its end nearer.
            while !machine.text().contains(&ended) {
                ensure!(Instant::now() < deadline, "generation {generation} does not end");
                let _ = self.cli.run(&["host", "version"], "");
            }
            machine.expect(&format!("hostd: generation {} runs", generation + 1), BOOT)?;
        }
        self.check_upload(upload)?;
        // What the guest says now reaches the console, and nothing before it is missing.
        let said = console.text().len();
        let deadline = Instant::now() + ANSWER;
        while console.text()[said..].matches("STEADY ").count() < 3 {
            ensure!(Instant::now() < deadline, "the console does not go on");
            console.expect("STEADY ", ANSWER)?;
        }
        ensure!(lines_in_turn(&console.text())? > 10, "the guest said little");
        ensure!(self.logins()? == logins, "somebody had to log in again");
        self.bundle()
    }

    /// The support bundle tells how each generation ended.
    fn bundle(&self) -> Result<()> {
        let bundle = self.path("bundle.tar");
        self.cli.run(&["support-bundle", &bundle], "")?;
        let unpacked = Command::new("tar").args(["-xOf", &bundle, "crashes.json"]).output()?;
        ensure!(unpacked.status.success(), "{}", String::from_utf8_lossy(&unpacked.stderr));
        let crashes: Value = serde_json::from_slice(&unpacked.stdout)?;
        let crashes = crashes.as_array().context("no list of crashes")?;
        let reasons: Vec<_> = crashes.iter().rev().filter_map(|crash| crash["reason"].as_str()).collect();
        // As `ENDS` has them, again and again; eight are kept.
        let ends = ["panic", "wanted", "memory", "fault", "hang"].into_iter().cycle().take(kills() as usize);
        let ends: Vec<_> = ends.collect();
        ensure!(reasons.len() == ends.len().min(8) && ends.ends_with(&reasons), "{reasons:?}");
        ensure!(
            crashes.iter().all(|crash| crash["registers"]["x"].as_array().is_some_and(|x| x.len() == 31)),
            "{crashes:?}"
        );
        Ok(fs::remove_file(bundle)?)
    }

    /// The upload ends well, and the host has every byte.
    fn check_upload(&self, upload: Child) -> Result<()> {
        let output = upload.wait_with_output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the upload: {errors}");
        let upload: Value = serde_json::from_slice(&output.stdout)?;
        ensure!(upload["sha256"] == self.sha256.as_str(), "{upload}");
        Ok(())
    }

    /// Logins that the chain has.
    fn logins(&self) -> Result<usize> {
        let chain = self.cli.run(&["audit", "list"], "")?;
        Ok(chain.matches("\"what\":\"login\"").count())
    }

    /// Clients that say nothing, or hardly anything, keep nobody out.
    fn crowd(&self) -> Result<()> {
        let clients = if std::env::var_os("BRAMBLE_LONG").is_some() { 2000 } else { 500 };
        let mut crowd: Vec<TcpStream> = Vec::new();
        for number in 0..clients {
            // QEMU's own queue is of one connection, and the next one would wait a second for room: who came before has
            // arrived when the oldest is shown out for him.
            if let Some(at) = crowd.len().checked_sub(STRANGERS) {
                crowd[at].set_read_timeout(Some(ANSWER))?;
                // Cut or closed, as long as it ends.
                let end = crowd[at].read(&mut [0; 1]);
                ensure!(
                    !matches!(&end, Err(error) if error.kind() == ErrorKind::WouldBlock),
                    "client {at} stays"
                );
            }
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            if number % 2 == 0 {
                // The start of a handshake that never goes on; who was shown out already does not matter.
                let _ = stream.write_all(&[0x16, 3, 1]);
            }
            crowd.push(stream);
        }
        self.cli.run(&["login"], &format!("{PASSWORD}\n")).context("the crowd keeps the owner out")?;
        self.cli.run(&["vm", "list"], "")?;
        Ok(())
    }

    /// Whoever can put `reset-admin = true` on the boot partition gets in, and the chain says how.
    fn password_lost(&self) -> Result<()> {
        let mut scene = self.scene()?;
        scene.archive.document.host.reset_admin = true;
        let mut machine = scene.start()?;
        machine.expect("first login: user admin, password ", BOOT)?;
        machine.expect("\n", ANSWER)?;
        let refused = self.cli.refused(&["login"], &format!("{PASSWORD}\n"))?;
        ensure!(refused.contains("wrong"), "{refused}");
        self.cli.log_in_first(&machine, HER_PASSWORD)?;
        let chain = self.cli.run(&["audit", "list"], "")?;
        ensure!(chain.contains("someone at the host (reset-admin in host.toml)"), "{chain}");
        Ok(())
    }
}

/// The lines of the guest `steady` from the first whole one on: numbered without a gap.
fn lines_in_turn(text: &str) -> Result<u64> {
    let mut last: Option<u64> = None;
    let mut lines = 0;
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    for line in whole.lines().filter_map(|line| line.split_once("STEADY ")).map(|(_, line)| line.trim()) {
        let number: u64 =
            line.split(' ').next().and_then(|number| number.parse().ok()).context("a number")?;
        ensure!(last.is_none_or(|last| number == last + 1), "line {number} follows {last:?}");
        (last, lines) = (Some(number), lines + 1);
    }
    Ok(lines)
}

fn said(pipe: Option<impl Read>) -> Result<String> {
    let mut text = String::new();
    pipe.context("no pipe")?.read_to_string(&mut text)?;
    Ok(text)
}

fn random(bytes: usize) -> Result<Vec<u8>> {
    let mut random = vec![0; bytes];
    fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(random)
}

fn remove(paths: &[&Path]) {
    for path in paths {
        // Some are removed already.
        let _ = fs::remove_file(path);
    }
}

#[test]
fn from_the_first_login_through_kills_of_qemu_and_hostd() -> Result<()> {
    let house = House::new("host")?;
    let time = Instant::now();
    let mut step = Duration::ZERO;
    let mut told = |what: &str| {
        println!("{what}: {:.1} s", (time.elapsed() - step).as_secs_f64());
        step = time.elapsed();
    };
    let mut machine = house.scene()?.start()?;
    machine.expect("datastore ", BOOT)?;
    let fingerprint = house.first_login(&mut machine)?;
    told("first login, a viewer");
    house.upload_after_a_cut()?;
    told("upload after a cut");
    let console = house.debian()?;
    told("Debian's image, uploaded, imported, booted");
    house.snapshot_break_revert_clone(console)?;
    told("snapshot, break, revert, clone");
    let head = house.audit()?;
    // The last that is acknowledged.
    house.cli.run(&["storage", "create", "last", "64M"], "")?;
    drop(machine);
    house.store.check()?;
    told("audit, kill of QEMU, check of the datastore");
    let mut scene = house.scene()?.test_guest("steady", 1, "steady")?;
    scene.config.append = format!("hostd.kill={ENDS} hostd.kills={} hostd.after={AFTER}", kills());
    let mut machine = scene.start()?;
    machine.expect("datastore ", BOOT)?;
    house.all_is_there(&mut machine, &fingerprint, &head)?;
    told("all is there");
    house.hostd_dies(&mut machine)?;
    told("hostd died again and again");
    house.crowd()?;
    told("a crowd");
    drop(machine);
    house.password_lost()?;
    told("a lost password");
    house.store.check()?;
    remove(&[
        &house.store.path,
        &house.blob,
        &house.file("debian.log"),
        &house.file("twin.log"),
        &house.file("steady.log"),
    ]);
    Ok(())
}

#[test]
fn an_uploaded_installer_shows_its_first_screen() -> Result<()> {
    let house = House::new("installer")?;
    house.store.import(&Artifacts::here().guest("edk2.fd"), "object:file:edk2.fd")?;
    let mut machine = house.scene()?.start()?;
    machine.expect("datastore ", BOOT)?;
    house.cli.trust(&mut machine, house.port)?;
    house.cli.log_in_first(&machine, PASSWORD)?;
    let iso = Artifacts::here().guest("installer.iso").display().to_string();
    // A CD as it was uploaded: no copy is made of it.
    house.cli.run(&["storage", "upload", &iso, "iso:installer"], "")?;
    let size = ["--vcpus", "2", "--memory", "512MiB", "--iso", "installer", "--firmware", "edk2.fd"];
    house.cli.run(&[&["vm", "create", "installer"], &size[..]].concat(), "")?;
    house.cli.run(&["vm", "start", "installer"], "")?;
    let mut console = house.cli.console("installer", &house.file("installer.log"))?;
    console.expect("Select a language", BOOT)?;
    console.expect("English", ANSWER)?;
    drop(machine);
    remove(&[&house.store.path, &house.blob, &house.file("installer.log")]);
    Ok(())
}
