//! The host's API over TLS, through QEMU's user network, as a client that has pinned the CA of the console.

use anyhow::{Context, Result, ensure};
use rustls::HandshakeKind;
use std::time::Duration;
use system::cli::free_port;
use system::https::{self, Client};
use system::scene::{ANSWER, BOOT, Scene, on};
use system::{Board, Machine};

/// Long enough for five seconds of silence on a slow machine, and for the back-off.
const NEXT: Duration = Duration::from_secs(180);

/// A scene whose host is reached by 443 and 80; the ports here.
fn reached(mut scene: Scene, arguments: &str) -> Result<(Scene, u16, u16)> {
    let (secure, plain) = (free_port(0)?, free_port(0)?);
    scene.config.uplink = true;
    scene.config.forwards = vec![(secure, 443), (plain, 80)];
    scene.config.append = format!("{} {arguments}", scene.config.append);
    Ok((scene, secure, plain))
}

/// The CA that the console names, once the API answers.
fn fingerprint(machine: &mut Machine) -> Result<String> {
    machine.expect("hostd: CA certificate, SHA-256: ", BOOT)?;
    let line = machine.expect("\r\n", ANSWER)?;
    machine.expect("hostd: https://10.0.2.15/", ANSWER)?;
    Ok(line.trim().to_owned())
}

/// Asks for what there is without a login, twice: the second connection saves the signature.
fn answers(client: &Client) -> Result<()> {
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let answer = client.request("GET /api/v1 HTTP/1.1", "")?;
        ensure!(answer.head.starts_with("HTTP/1.1 200 "), "{}", answer.head);
        ensure!(answer.body.starts_with('{') && answer.body.ends_with('}'), "{}", answer.body);
        ensure!(answer.kind == kind, "{:?} instead of {kind:?}", answer.kind);
    }
    Ok(())
}

fn answers_after_each_of(board: Board, ends: &[&str]) -> Result<()> {
    let arguments = match ends {
        [] => String::new(),
        ends => format!("hostd.kill={} hostd.after=2", ends.join(",")),
    };
    let scene = on(board, "api").cpus(2).test_guest("steady", 1, "steady")?;
    let (scene, secure, plain) = reached(scene, &arguments)?;
    let mut machine = scene.start()?;
    for generation in 1..=ends.len() + 1 {
        machine
            .expect(&format!("hostd: generation {generation} runs"), NEXT)
            .with_context(|| format!("generation {generation}"))?;
        let client = Client::new(secure, &fingerprint(&mut machine)?)?;
        answers(&client).with_context(|| format!("generation {generation}"))?;
    }
    let text = https::plain(plain, "GET /ui/?a=b HTTP/1.1")?;
    ensure!(text.starts_with("HTTP/1.1 301 "), "{text}");
    ensure!(text.contains("\r\nLocation: https://bramble.local/ui/?a=b\r\n"), "{text}");
    // Who trusts another CA is not talked into this one.
    let other = Client::new(secure, &"0".repeat(64))?;
    ensure!(other.request("GET / HTTP/1.1", "").is_err(), "a foreign CA was taken");
    Ok(())
}

#[test]
fn it_answers_again_after_each_end_gicv3() -> Result<()> {
    answers_after_each_of(Board::VirtGicv3, &["panic", "exit", "memory", "fault", "hang"])
}

#[test]
fn it_answers_on_gicv2() -> Result<()> {
    answers_after_each_of(Board::VirtGicv2, &[])
}

/// Where instructions are counted (a nanosecond each; waiting takes real time): what the computing of a handshake takes,
/// and how much of it a ticket saves. Shown by `-- --nocapture`.
#[test]
fn a_resumed_handshake_takes_less() -> Result<()> {
    let scene = on(Board::VirtGicv3, "api-handshake").cpus(1).test_guest("steady", 1, "steady")?;
    let (mut scene, secure, _) = reached(scene, "hostd.handshakes")?;
    scene.config.extra = ["-icount", "shift=0,sleep=on"].map(Into::into).to_vec();
    let mut machine = scene.start()?;
    let client = Client::new(secure, &fingerprint(&mut machine)?)?;
    answers(&client)?;
    let mut took = [0; 2];
    for took in &mut took {
        machine.expect("hostd: handshake: ", ANSWER)?;
        let said = machine.expect(" us on", ANSWER)?;
        *took = said.split(' ').next().context("a number")?.parse::<u64>()?;
    }
    let [full, resumed] = took;
    println!("tls_handshake {full} thousand instructions, tls_resumed {resumed} thousand instructions");
    ensure!(resumed < full, "a ticket saves nothing: {took:?}");
    Ok(())
}
