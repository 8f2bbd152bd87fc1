//! `./bramble bench host`: what managing a host costs.
//!
//! Four boots. One as users have it (4 PEs, 2 GiB, no VMs) says what memory is taken, and makes the host's keys. One counts
//! instructions (`-icount shift=0`, one PE: a nanosecond each) while a client works on the API through QEMU's user network;
//! the client's time is not in the figures, since PEs sleep meanwhile and only busy time is counted. Two count, without a
//! network, how a VM is started and how idle an idle host is.

use super::rows::{self, Row};
use super::{Figures, machine};
use crate::run::{quiet, step};
use crate::{build, install};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use system::cli::{Cli, free_port, said_after};
use system::https::Client;
use system::scene::{self, Scene};
use system::store::StoreImage;
use system::{Artifacts, Board, HostDisk, Machine};

/// Wall time until a run is given up.
const LIMIT: Duration = Duration::from_secs(600);
const PASSWORD: &str = "a word from the bench";
/// How often a thing is done; a figure is the mean.
const TIMES: u32 = 8;
/// VMs of a list; uploads, and bytes of each.
const VMS: usize = 100;
const UPLOADS: u32 = 8;
const UPLOAD: usize = 4 << 20;

/// Rows, their units and targets.
const ROWS: [(&str, &str, Option<f64>); 10] = [
    ("host_memory_mb", "MB", Some(64.0)),
    ("hostd_memory_mb", "MiB", Some(24.0)),
    ("image_mb", "MB", Some(5.0)),
    ("entry_to_api_ms", "ms", Some(1500.0)),
    ("tls_handshake", "instructions", None),
    ("tls_resumed", "instructions", None),
    ("get_100_vms", "instructions", None),
    ("idle_percent", "% of a PE", Some(0.1)),
    ("upload_vs_cipher_and_digest", "times", Some(1.6)),
    ("power_on_ms", "ms", Some(50.0)),
];

/// Measures and prints the table; fails when a target is missed.
pub fn bench(at: &Artifacts, as_json: bool) -> Result<ExitCode> {
    install::ensure(at, &[])?;
    build::test_guests(at)?;
    build::image(at)?;
    quiet(build::cargo(at).args(["build", "--quiet", "--package", "bramblectl"]))?;
    let mut figures = Figures::new();
    let image = std::fs::metadata(at.image())?.len();
    figures.insert("image_mb".into(), image as f64 / 1e6);
    let desk = step("make a datastore", || Desk::new(at))?;
    step("measure the host's memory", || desk.memory(&mut figures))?;
    step("measure the API", || desk.requests(&mut figures))?;
    step("measure a VM's start", || power_on(&mut figures))?;
    step("measure an idle host", || idle(&mut figures))?;
    std::fs::remove_file(&desk.store.path)?;
    let rows = ROWS.map(|(name, unit, target)| Row { name: name.to_owned(), unit, target });
    rows::print(&rows, &figures, &BTreeMap::new(), as_json);
    for row in &rows {
        ensure!(figures.contains_key(&row.name), "{} was not measured", row.name);
    }
    let missed = rows.iter().any(|row| row.target.is_some_and(|target| figures[&row.name] > target));
    Ok(if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A host that counts instructions.
fn counted(name: &str) -> Scene {
    let mut scene = scene::on(Board::VirtGicv3, name);
    let ours = machine(Board::VirtGicv3, &scene.config.image, &scene.config.log);
    scene.config = system::MachineConfig { append: String::new(), ..ours };
    scene
}

/// A host's datastore, and a client of its API.
struct Desk {
    store: StoreImage,
    cli: Cli,
    port: u16,
}

impl Desk {
    fn new(at: &Artifacts) -> Result<Self> {
        std::fs::create_dir_all(at.run())?;
        let store = StoreImage::make(&at.run().join("bench-host.img"), 512)?;
        let record: PathBuf = at.run().join("bench-host.record");
        for number in 0..VMS {
            let text = format!(
                "[[vm]]\nname = \"vm-{number:03}\"\nvcpus = 2\nmemory = \"512MiB\"\nautostart = false\n\
                 [vm.boot]\nfirmware = \"edk2.fd\"\n[[vm.disk]]\nvolume = \"vm-{number:03}\"\n[[vm.nic]]\n"
            );
            std::fs::write(&record, text)?;
            store.import(&record, &format!("object:vm:vm-{number:03}"))?;
        }
        std::fs::remove_file(record)?;
        Ok(Self { store, cli: Cli::new(&at.run().join("bench-contexts.json")), port: free_port(0)? })
    }

    fn attach(&self, scene: &mut Scene) {
        let (path, serial) = (self.store.path.clone(), String::from("store"));
        scene.config.disks.push(HostDisk { path, serial, snapshot: false });
        scene.config.uplink = true;
        scene.config.forwards = vec![(self.port, 443)];
    }

    fn memory(&self, figures: &mut Figures) -> Result<()> {
        let mut scene = scene::on(Board::VirtGicv3, "bench-host-memory").cpus(4).memory_mib(2048).menu();
        scene.config.append = String::new();
        self.attach(&mut scene);
        let mut machine = scene.start()?;
        self.cli.trust(&mut machine, self.port)?;
        self.cli.log_in_first(&machine, PASSWORD)?;
        let host = self.cli.json(&["host", "show"])?;
        let bytes = |field: &str| host[field].as_f64().with_context(|| format!("no {field} in {host}"));
        figures.insert("host_memory_mb".into(), (bytes("host_bytes")? + bytes("hostd_bytes")?) / 1e6);
        figures.insert("hostd_memory_mb".into(), bytes("hostd_bytes")? / f64::from(1 << 20));
        Ok(())
    }

    fn requests(&self, figures: &mut Figures) -> Result<()> {
        let mut scene = counted("bench-host-api");
        self.attach(&mut scene);
        // Waiting takes real time: the client is outside.
        scene.config.icount = false;
        scene.config.extra = ["-icount", "shift=0,sleep=on"].map(Into::into).to_vec();
        scene.config.append = String::from("hostd.bench hostd.address=10.0.2.15/24,10.0.2.2");
        let mut machine = scene.start()?;
        machine.expect("hostd: https://10.0.2.15/", LIMIT)?;
        let said = machine.text();
        let line = said.lines().rfind(|line| line.contains("hostd: https://")).unwrap_or_default();
        figures.insert("entry_to_api_ms".into(), at_seconds(line)? * 1000.0);
        let alone = said_after(&machine, "bench: cipher and digest of ")?;
        let numbers: Vec<f64> = alone.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [bytes, took] = numbers[..] else { anyhow::bail!("no measurement: {alone}") };
        let fingerprint = said_after(&machine, "CA certificate, SHA-256: ")?;
        let secret = self.cli.run(&["token", "create", "bench", "--role", "administrator"], "")?;
        let lines = format!("Authorization: Bearer {}\r\n", secret.trim());
        let heads: Vec<String> =
            (0..UPLOADS).map(|number| self.begin_upload(&number.to_string())).collect::<Result<_>>()?;
        // One connection each.
        let mut host = Busy { machine, served: 1 + UPLOADS, busy: 0.0 };
        host.look()?;
        let root: (&str, &[u8]) = ("GET /api/v1 HTTP/1.1", b"");
        let full = host.mean(TIMES, |_| Client::new(self.port, &fingerprint)?.session(&[root], ""))?;
        let client = Client::new(self.port, &fingerprint)?;
        // It has no ticket before.
        host.mean(1, |_| client.session(&[root], ""))?;
        let resumed = host.mean(TIMES, |_| client.session(&[root], ""))?;
        let request = host.mean(TIMES, |_| client.session(&[root, root], ""))? - resumed;
        let connection = resumed - request;
        figures.insert("tls_handshake".into(), full - request);
        figures.insert("tls_resumed".into(), connection);
        let vms: (&str, &[u8]) = ("GET /api/v1/vms?limit=1000 HTTP/1.1", b"");
        let listed = host.mean(TIMES, |_| client.session(&[vms], &lines))?;
        figures.insert("get_100_vms".into(), listed - connection);
        let body = vec![0xa5; UPLOAD];
        let send = |turn: u32| client.session(&[(heads[turn as usize].as_str(), &body)], &lines);
        let upload = host.mean(UPLOADS, send)?;
        let per_byte = (upload - connection) / UPLOAD as f64;
        figures.insert("upload_vs_cipher_and_digest".into(), per_byte / (took / bytes));
        Ok(())
    }

    /// Begins an upload; the head of the request that sends it.
    fn begin_upload(&self, name: &str) -> Result<String> {
        let new = serde_json::json!({ "name": format!("image:{name}"), "bytes": UPLOAD });
        let file = self.store.path.with_extension("json");
        std::fs::write(&file, new.to_string())?;
        let begun = self.cli.json(&["api", "post", "/api/v1/uploads", "--body", &file.display().to_string()]);
        std::fs::remove_file(file)?;
        let begun = begun?;
        let id = begun["id"].as_str().context("no upload")?;
        Ok(format!("PATCH /api/v1/uploads/{id} HTTP/1.1\r\nUpload-Offset: 0"))
    }
}

/// A host that says how busy it was.
struct Busy {
    machine: Machine,
    /// Connections served so far.
    served: u32,
    /// Nanoseconds until then.
    busy: f64,
}

impl Busy {
    /// Waits until it says so of all connections; how much more it is than the last time.
    fn look(&mut self) -> Result<f64> {
        self.machine.expect(&format!("bench: {} served, busy for ", self.served), LIMIT)?;
        let said = self.machine.expect(" ns", LIMIT)?;
        let busy: f64 = said.trim_end_matches(" ns").parse().with_context(|| format!("no number: {said}"))?;
        let more = busy - self.busy;
        self.busy = busy;
        Ok(more)
    }

    /// The instructions of one of so many connections.
    fn mean(&mut self, times: u32, mut connection: impl FnMut(u32) -> Result<()>) -> Result<f64> {
        for turn in 0..times {
            connection(turn)?;
        }
        self.served += times;
        Ok(self.look()? / f64::from(times))
    }
}

/// When a line of the host's log was said: `[    0.002788] …`.
fn at_seconds(line: &str) -> Result<f64> {
    let stamp =
        line.trim_start().strip_prefix('[').and_then(|rest| rest.split(']').next()?.trim().parse().ok());
    stamp.with_context(|| format!("no time in {line:?}"))
}

/// From the request, which hostd makes right after one that is refused, to the answer that the VM was started.
fn power_on(figures: &mut Figures) -> Result<()> {
    let mut scene = counted("bench-host-power").test_guest("steady", 1, "steady")?;
    scene.config.append = String::from("hostd.power=steady");
    let mut machine = scene.start()?;
    machine.expect("hostd: PowerOn: Ok", LIMIT)?;
    let text = machine.text();
    let said = |words: &str| text.lines().rfind(|line| line.contains(words)).context("no line of a start");
    let (asked, started) = (said("hostd: Reset: Conflict")?, said("hostd: PowerOn: Ok")?);
    figures.insert("power_on_ms".into(), (at_seconds(started)? - at_seconds(asked)?) * 1000.0);
    Ok(())
}

fn idle(figures: &mut Figures) -> Result<()> {
    let mut scene = counted("bench-host-idle");
    scene.config.append = String::from("hostd.idle");
    let mut machine = scene.start()?;
    machine.expect("idle: busy for ", LIMIT)?;
    let said = machine.expect(" ns", LIMIT)?;
    let busy: f64 = said.trim_end_matches(" ns").parse().with_context(|| format!("no number: {said}"))?;
    // Of ten seconds.
    figures.insert("idle_percent".into(), busy / 10e9 * 100.0);
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_line_says_when() {
        assert_eq!(super::at_seconds("[    1.881532] hostd: x").unwrap(), 1.881_532);
        assert!(super::at_seconds("hostd: x").is_err());
    }
}
