//! The self-test's report: one page that a person with a board can photograph or paste into an issue.
//!
//! Called by `vmkernel` for the boot argument `selftest` and the console's key; it gathers [`Facts`] from the drivers
//! (and by [`disk::DiskCheck`]), and this module says what was found, what is expected, and whether that fits. Pure: the
//! same facts give the same page. The last line is a sum over all before it, so that a copied page can be trusted.

pub mod dhcp;
pub mod disk;

use crate::genet;
use crate::mailbox::{BoardRevision, Refusal, Throttled};
use crate::partition::crc32;
use crate::phy::{Link, Speed};
use crate::rng200::{Health, Unhealthy};
use crate::sdhci::{self, card::Card};
use core::fmt::{self, Write};
use disk::DiskVerdict;

/// Whether a line is as expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// As expected.
    Good,
    /// Works, but a person should look.
    Look,
    /// Does not work.
    Bad,
    /// Not there, or not asked for.
    Absent,
}

impl Verdict {
    const fn mark(self) -> &'static str {
        match self {
            Self::Good => "[ ok ]",
            Self::Look => "[LOOK]",
            Self::Bad => "[FAIL]",
            Self::Absent => "[ -- ]",
        }
    }
}

/// What the firmware said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FirmwareFacts {
    /// Its date, in seconds since 1970.
    pub date: Result<u32, Refusal>,
    /// The board's revision.
    pub board: Result<u32, Refusal>,
    /// Thousandths of a degree.
    pub temperature: Result<u32, Refusal>,
    /// What holds the SoC back.
    pub throttled: Result<u32, Refusal>,
}

/// An SD controller and its card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CardFacts<'a> {
    /// Which controller: "EMMC2", "EMMC".
    pub name: &'a str,
    /// The card in use.
    pub card: Option<Card>,
    /// What is wrong.
    pub trouble: Option<sdhci::Trouble>,
    /// Clock.
    pub hertz: u32,
    /// By DMA, not through the data port.
    pub dma: bool,
    /// What was counted.
    pub statistics: sdhci::Statistics,
    /// The verified read.
    pub read: Option<DiskVerdict>,
    /// The verified write, when it was asked for.
    pub write: Option<DiskVerdict>,
}

/// Any other disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskFacts<'a> {
    /// Its serial number.
    pub name: &'a str,
    /// Its size.
    pub sectors: u64,
    /// The verified read.
    pub read: Option<DiskVerdict>,
    /// The verified write, when it was asked for.
    pub write: Option<DiskVerdict>,
}

/// What a GENET knows beside its link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GenetFacts {
    /// MAC address.
    pub mac: [u8; 6],
    /// The PHY's identifier.
    pub phy: u32,
    /// The link.
    pub link: Option<Link>,
    /// What is wrong.
    pub trouble: Option<genet::Trouble>,
    /// The MAC's counters.
    pub wire: genet::WireCounters,
    /// Resets of a stuck ring.
    pub resets: u32,
}

/// The uplink.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UplinkFacts {
    /// A GENET.
    Genet(GenetFacts),
    /// A virtio card, and whether its link is up.
    Virtio(bool),
}

/// The network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NetworkFacts {
    /// The uplink.
    pub uplink: UplinkFacts,
    /// The address that a DHCP server offered, when one was asked.
    pub address: Option<Option<[u8; 4]>>,
}

/// What EL2's own tables protect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryFacts {
    /// Bytes that may be executed.
    pub code_bytes: u64,
    /// Bytes that may be written and executed.
    pub writable_code_bytes: u64,
    /// Bytes of stacks that are mapped.
    pub stack_bytes: u64,
    /// Bytes of guards that are mapped.
    pub mapped_guard_bytes: u64,
    /// Whether it is all as it should be.
    pub holds: bool,
}

/// A PE's timer against the first one's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeFacts {
    /// It answered.
    pub up: bool,
    /// Ticks in a second, as its CNTFRQ says.
    pub hertz: u64,
    /// How far its count was from the first PE's, in ticks.
    pub apart: u64,
}

/// Everything that was found.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Bramble's version.
    pub version: &'a str,
    /// `model` of the device tree.
    pub model: &'a str,
    /// The mailbox, where there is one.
    pub firmware: Option<FirmwareFacts>,
    /// SD controllers.
    pub cards: &'a [CardFacts<'a>],
    /// Other disks.
    pub disks: &'a [DiskFacts<'a>],
    /// The uplink, where there is one.
    pub network: Option<NetworkFacts>,
    /// The random generator, where there is one: its health, and its last failure.
    pub entropy: Option<(Health, Option<Unhealthy>)>,
    /// The host's own generator has its seed, from wherever.
    pub seeded: bool,
    /// EL2's own memory.
    pub memory: Option<MemoryFacts>,
    /// PEs.
    pub pes: &'a [PeFacts],
    /// The longest that a driver held a PE, in ticks.
    pub longest_task: u64,
    /// The longest that the datastore's home held it, in ticks; 0 where there is no datastore.
    pub longest_step: u64,
}

/// Writes the page.
pub fn report(facts: &Facts<'_>, out: &mut impl Write) -> fmt::Result {
    let mut page = Page { out, crc: !0, worst: Verdict::Good };
    writeln!(page, "BRAMBLE SELF-TEST  {} on {}", facts.version, facts.model)?;
    firmware(&mut page, facts.firmware.as_ref())?;
    if facts.cards.is_empty() {
        page.line(Verdict::Absent, "SD", format_args!("no controller in the device tree"), "")?;
    }
    for card in facts.cards {
        storage(&mut page, card)?;
    }
    for disk in facts.disks {
        let found = format_args!("{} MiB, {}", disk.sectors / 2048, disk.name);
        page.line(Verdict::Good, "disk", found, "")?;
        checks(&mut page, disk.read, disk.write)?;
    }
    network(&mut page, facts.network.as_ref())?;
    entropy(&mut page, facts.entropy)?;
    let seeded = if facts.seeded { "has its seed" } else { "has no seed" };
    page.line(good(facts.seeded), "generator", format_args!("{seeded}"), "a seed: newer firmware gives one")?;
    memory(&mut page, facts.memory)?;
    processors(&mut page, facts.pes)?;
    let hertz = facts.pes.first().map_or(1, |pe| pe.hertz).max(1);
    let longest = facts.longest_task.saturating_mul(1_000_000) / hertz;
    let found = format_args!("longest {longest} us ({} ticks)", facts.longest_task);
    page.line(
        if longest < 1000 { Verdict::Good } else { Verdict::Look },
        "host tasks",
        found,
        "below 1000 us",
    )?;
    if facts.longest_step != 0 {
        let ticks = facts.longest_step;
        let micros = ticks.saturating_mul(1_000_000) / hertz;
        let found = format_args!("longest step {micros} us ({ticks} ticks)");
        page.line(
            if micros < 1000 { Verdict::Good } else { Verdict::Look },
            "datastore",
            found,
            "below 1000 us",
        )?;
    }
    let result = match page.worst {
        Verdict::Bad => "FAILED: send this page, see docs/pi/README.md",
        Verdict::Look => "WORKS, with something to look at",
        Verdict::Good | Verdict::Absent => "ALL WELL",
    };
    writeln!(page, "RESULT {result}")?;
    let sum = !page.crc;
    writeln!(page.out, "SUM {sum:08x}")
}

/// Sums what it passes on.
struct Page<'a, W> {
    out: &'a mut W,
    crc: u32,
    worst: Verdict,
}

impl<W: Write> Write for Page<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.crc = crc32(self.crc, text.as_bytes());
        self.out.write_str(text)
    }
}

impl<W: Write> Page<'_, W> {
    fn line(
        &mut self,
        verdict: Verdict,
        what: &str,
        found: fmt::Arguments<'_>,
        expected: &str,
    ) -> fmt::Result {
        self.worst = match (self.worst, verdict) {
            (Verdict::Bad, _) | (_, Verdict::Bad) => Verdict::Bad,
            (Verdict::Look, _) | (_, Verdict::Look) => Verdict::Look,
            (worst, _) => worst,
        };
        write!(self, "{} {what:<12} {found}", verdict.mark())?;
        if !expected.is_empty() && !matches!(verdict, Verdict::Good | Verdict::Absent) {
            write!(self, "; expected {expected}")?;
        }
        writeln!(self)
    }
}

fn memory(page: &mut Page<'_, impl Write>, facts: Option<MemoryFacts>) -> fmt::Result {
    let Some(facts) = facts else {
        return page.line(Verdict::Absent, "EL2 memory", format_args!("not looked through"), "");
    };
    let found = format_args!(
        "{} KiB of code, {} writable; {} KiB of stacks, {} of guards",
        facts.code_bytes >> 10,
        facts.writable_code_bytes >> 10,
        facts.stack_bytes >> 10,
        facts.mapped_guard_bytes >> 10
    );
    page.line(good(facts.holds), "EL2 memory", found, "0 and 0")
}

fn good(yes: bool) -> Verdict {
    if yes { Verdict::Good } else { Verdict::Bad }
}

fn firmware(page: &mut Page<'_, impl Write>, facts: Option<&FirmwareFacts>) -> fmt::Result {
    let Some(facts) = facts else {
        return page.line(Verdict::Absent, "firmware", format_args!("no mailbox in the device tree"), "");
    };
    match facts.board {
        Ok(code) => {
            let board = BoardRevision(code);
            let model = board.model().unwrap_or("of another kind");
            let found =
                format_args!("{model}, 1.{}, {} MiB, code {code:06x}", board.minor(), board.mebibytes());
            page.line(
                if board.model().is_some() { Verdict::Good } else { Verdict::Look },
                "board",
                found,
                "4B, 400 or CM4",
            )?;
        }
        Err(refusal) => page.line(Verdict::Bad, "board", format_args!("{refusal}"), "a revision")?,
    }
    match facts.date {
        // What is older misses rng-seed and tags that are used here.
        Ok(date) if date < 1_609_459_200 => {
            page.line(
                Verdict::Look,
                "firmware",
                format_args!("of {} (s since 1970)", date),
                "2021 or later: update it",
            )?;
        }
        Ok(date) => page.line(Verdict::Good, "firmware", format_args!("of {date} (s since 1970)"), "")?,
        Err(refusal) => page.line(Verdict::Bad, "firmware", format_args!("{refusal}"), "a date")?,
    }
    match facts.temperature {
        Ok(milli) => {
            let verdict = if milli < 80_000 { Verdict::Good } else { Verdict::Look };
            page.line(
                verdict,
                "temperature",
                format_args!("{}.{} C", milli / 1000, milli % 1000 / 100),
                "below 80 C",
            )?;
        }
        Err(refusal) => page.line(Verdict::Look, "temperature", format_args!("{refusal}"), "a number")?,
    }
    match facts.throttled {
        Ok(bits) => {
            let verdict = if bits == 0 { Verdict::Good } else { Verdict::Look };
            page.line(
                verdict,
                "throttling",
                format_args!("{}", Throttled(bits)),
                "none: is the power supply strong enough?",
            )
        }
        Err(refusal) => page.line(Verdict::Look, "throttling", format_args!("{refusal}"), "none"),
    }
}

fn storage(page: &mut Page<'_, impl Write>, facts: &CardFacts<'_>) -> fmt::Result {
    if let Some(trouble) = facts.trouble {
        let verdict = if trouble == sdhci::Trouble::NoCard { Verdict::Absent } else { Verdict::Bad };
        return page.line(verdict, facts.name, format_args!("{trouble}"), "a card");
    }
    let Some(card) = facts.card else {
        return page.line(
            Verdict::Bad,
            facts.name,
            format_args!("no end of the search for a card"),
            "a card",
        );
    };
    let mebibytes = card.csd.sectors / 2048;
    page.line(Verdict::Good, facts.name, format_args!("{mebibytes} MiB, {}", card.cid), "")?;
    let fast = card.bus_width == 4 && facts.hertz >= 50_000_000;
    let volts = if card.low_voltage { "1.8 V" } else { "3.3 V" };
    let way = if facts.dma { "DMA" } else { "no DMA" };
    let found = format_args!(
        "{:?}, {} bit, {} MHz, {volts}, {way}, class {}",
        card.speed,
        card.bus_width,
        facts.hertz / 1_000_000,
        card.status.speed_class
    );
    page.line(if fast { Verdict::Good } else { Verdict::Look }, "  bus", found, "4 bit at 50 MHz or more")?;
    let counts = &facts.statistics;
    let found = format_args!(
        "{} faults, {} of the signal, {} starts, {} requests lost",
        counts.faults, counts.signal_faults, counts.bring_ups, counts.lost_requests
    );
    let verdict = match (counts.lost_requests, counts.faults) {
        (0, 0) => Verdict::Good,
        (0, _) => Verdict::Look,
        _ => Verdict::Bad,
    };
    page.line(verdict, "  faults", found, "0: try another card or supply")?;
    checks(page, facts.read, facts.write)
}

fn checks(
    page: &mut Page<'_, impl Write>,
    read: Option<DiskVerdict>,
    write: Option<DiskVerdict>,
) -> fmt::Result {
    for (name, verdict) in [("  read", read), ("  write", write)] {
        match verdict {
            Some(found @ DiskVerdict::NotOurs) => {
                page.line(Verdict::Absent, name, format_args!("{found}"), "")?;
            }
            Some(found) => {
                page.line(good(found.is_good()), name, format_args!("{found}"), "the same bytes twice")?
            }
            None => page.line(Verdict::Absent, name, format_args!("not asked for"), "")?,
        }
    }
    Ok(())
}

fn network(page: &mut Page<'_, impl Write>, facts: Option<&NetworkFacts>) -> fmt::Result {
    let Some(facts) = facts else {
        return page.line(Verdict::Absent, "network", format_args!("no card that is driven"), "");
    };
    match &facts.uplink {
        UplinkFacts::Genet(genet) => wire(page, genet)?,
        UplinkFacts::Virtio(up) => {
            let link = if *up { "link up" } else { "no link" };
            page.line(good(*up), "virtio-net", format_args!("{link}"), "a link")?;
        }
    }
    match facts.address {
        Some(Some([a, b, c, d])) => page.line(Verdict::Good, "  DHCP", format_args!("{a}.{b}.{c}.{d}"), ""),
        Some(None) => page.line(Verdict::Look, "  DHCP", format_args!("no answer"), "an address"),
        None => page.line(Verdict::Absent, "  DHCP", format_args!("not asked for"), ""),
    }
}

fn wire(page: &mut Page<'_, impl Write>, facts: &GenetFacts) -> fmt::Result {
    let [a, b, c, d, e, f] = facts.mac;
    let found = format_args!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}, PHY {:08x}", facts.phy);
    page.line(good(facts.phy & 0xffff_fff0 == 0x600d_84a0), "GENET", found, "PHY 600d84a2")?;
    match (facts.link, facts.trouble) {
        (Some(link), _) => {
            let best = link.speed == Speed::Thousand && link.full_duplex;
            let verdict = if best { Verdict::Good } else { Verdict::Look };
            page.line(verdict, "  link", format_args!("{link}"), "1000 Mbit/s: try another cable")?;
        }
        (None, Some(trouble)) => page.line(Verdict::Bad, "  link", format_args!("{trouble}"), "a link")?,
        (None, None) => page.line(Verdict::Bad, "  link", format_args!("none"), "a link")?,
    }
    let wire = facts.wire;
    let found = format_args!(
        "{} in, {} out, {} wrong FCS, {} overflows, {} resets",
        wire.received, wire.sent, wire.wrong_fcs, wire.overflow, facts.resets
    );
    let clean = wire.wrong_fcs == 0 && facts.resets == 0;
    let verdict = if clean { Verdict::Good } else { Verdict::Look };
    page.line(verdict, "  frames", found, "no wrong FCS, no resets")
}

fn entropy(page: &mut Page<'_, impl Write>, facts: Option<(Health, Option<Unhealthy>)>) -> fmt::Result {
    match facts {
        None => page.line(Verdict::Absent, "RNG200", format_args!("not in the device tree"), ""),
        Some((health, None)) => {
            let found = format_args!("{} bytes passed the health tests", health.passed);
            page.line(good(health.passed >= 1024 && health.failures == 0), "RNG200", found, "1024 or more")
        }
        Some((health, Some(failure))) => {
            let found = format_args!("{failure:?}, {} failures", health.failures);
            page.line(Verdict::Bad, "RNG200", found, "healthy bits")
        }
    }
}

fn processors(page: &mut Page<'_, impl Write>, pes: &[PeFacts]) -> fmt::Result {
    let up = pes.iter().filter(|pe| pe.up).count();
    let hertz = pes.first().map_or(0, |pe| pe.hertz);
    let apart = pes.iter().filter(|pe| pe.up).map(|pe| pe.apart).max().unwrap_or(0);
    let same = pes.iter().filter(|pe| pe.up).all(|pe| pe.hertz == hertz);
    // A microsecond: what it takes to ask another PE for its count, and less than any timer of ours.
    let together = apart <= hertz / 1_000_000 + 1;
    let verdict = match (up == pes.len() && up > 0, same && together) {
        (false, _) => Verdict::Bad,
        (true, false) => Verdict::Look,
        (true, true) => Verdict::Good,
    };
    let found = format_args!("{up} of {} up, timers {} kHz, {apart} ticks apart", pes.len(), hertz / 1000);
    page.line(verdict, "PEs", found, "all up, 54000 kHz on a Pi 4, within 1 us")
}

#[cfg(test)]
mod tests;
