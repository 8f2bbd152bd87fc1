use super::disk::{BUFFER_BYTES, DiskCheck};
use super::*;
use crate::sdhci::card::{BusSpeed, Cid, Csd, Scr, SdStatus};
use ports::fake::FakeMemory;
use ports::{
    BlockBackend, BlockCompletion, BlockError, BlockGeometry, BlockOp, BlockRequest, GuestMemory, Sector,
    Span, Submitted,
};
use specs::{Ipa, Pa};
use std::string::String;

use std::vec::Vec;

fn card() -> CardFacts<'static> {
    let card = Card {
        cid: Cid(0x0353_4453_4331_3647_807d_4a3e_d800_f55d),
        relative_address: 1,
        addresses_sectors: true,
        csd: Csd { sectors: 31_116_288, can_erase: true, write_protected: false },
        scr: Scr::default(),
        status: SdStatus { speed_class: 10, discard: true },
        bus_width: 4,
        speed: BusSpeed::Ddr50,
        low_voltage: true,
    };
    CardFacts {
        name: "EMMC2",
        card: Some(card),
        trouble: None,
        hertz: 50_000_000,
        dma: true,
        statistics: sdhci::Statistics { bring_ups: 1, ..sdhci::Statistics::default() },
        read: Some(DiskVerdict::Same { sum: 0x1234_5678 }),
        write: None,
    }
}

fn page(facts: &Facts<'_>) -> String {
    let mut text = String::new();
    report(facts, &mut text).unwrap();
    text
}

const PES: [PeFacts; 4] = [PeFacts { up: true, hertz: 54_000_000, apart: 3 }; 4];

const MEMORY: MemoryFacts = MemoryFacts {
    code_bytes: 420 << 10,
    writable_code_bytes: 0,
    stack_bytes: 320 << 10,
    mapped_guard_bytes: 0,
    holds: true,
};

#[test]
fn a_good_board_gives_this_page() {
    let link = Link { speed: Speed::Thousand, full_duplex: true, send_pause: true, obey_pause: true };
    let wire = genet::WireCounters { received: 120, sent: 80, wrong_fcs: 0, overflow: 0 };
    let genet = GenetFacts {
        mac: [0xdc, 0xa6, 0x32, 1, 2, 3],
        phy: 0x600d_84a2,
        link: Some(link),
        trouble: None,
        wire,
        resets: 0,
    };
    let network = NetworkFacts { uplink: UplinkFacts::Genet(genet), address: Some(Some([192, 168, 1, 7])) };
    let disk =
        DiskFacts { name: "root", sectors: 4096, read: Some(DiskVerdict::Same { sum: 1 }), write: None };
    let facts = Facts {
        version: "0.1.0",
        model: "Raspberry Pi 4 Model B Rev 1.5",
        firmware: Some(FirmwareFacts {
            date: Ok(1_700_000_000),
            board: Ok(0x00c0_3115),
            temperature: Ok(48_312),
            throttled: Ok(0),
        }),
        cards: &[card()],
        disks: &[disk],
        network: Some(network),
        entropy: Some((Health { passed: 4096, failures: 0 }, None)),
        seeded: true,
        memory: Some(MEMORY),
        pes: &PES,
        longest_task: 540,
        longest_step: 0,
    };
    let expected = "\
BRAMBLE SELF-TEST  0.1.0 on Raspberry Pi 4 Model B Rev 1.5
[ ok ] board        4B, 1.5, 4096 MiB, code c03115
[ ok ] firmware     of 1700000000 (s since 1970)
[ ok ] temperature  48.3 C
[ ok ] throttling   none
[ ok ] EMMC2        15193 MiB, SC16G rev 8.0 serial 7d4a3ed8 made 2015-05 by 03/SD
[ ok ]   bus        Ddr50, 4 bit, 50 MHz, 1.8 V, DMA, class 10
[ ok ]   faults     0 faults, 0 of the signal, 1 starts, 0 requests lost
[ ok ]   read       first, middle and last sectors, sum 12345678
[ -- ]   write      not asked for
[ ok ] disk         2 MiB, root
[ ok ]   read       first, middle and last sectors, sum 00000001
[ -- ]   write      not asked for
[ ok ] GENET        dc:a6:32:01:02:03, PHY 600d84a2
[ ok ]   link       1000 Mbit/s full duplex, flow control both ways
[ ok ]   frames     120 in, 80 out, 0 wrong FCS, 0 overflows, 0 resets
[ ok ]   DHCP       192.168.1.7
[ ok ] RNG200       4096 bytes passed the health tests
[ ok ] generator    has its seed
[ ok ] EL2 memory   420 KiB of code, 0 writable; 320 KiB of stacks, 0 of guards
[ ok ] PEs          4 of 4 up, timers 54000 kHz, 3 ticks apart
[ ok ] host tasks   longest 10 us (540 ticks)
RESULT ALL WELL
";
    let text = page(&facts);
    let (body, sum) = text.split_at(text.find("SUM").unwrap());
    assert_eq!(body, expected);
    assert_eq!(sum, std::format!("SUM {:08x}\n", !crc32(!0, body.as_bytes())));
}

#[test]
fn a_bad_board_says_what_is_expected() {
    let mut bad = card();
    bad.trouble = Some(sdhci::Trouble::Refused(sdhci::command::Fault::DataTimeout));
    let mut pes = PES;
    pes[3].up = false;
    let facts = Facts {
        version: "0.1.0",
        model: "x",
        firmware: Some(FirmwareFacts {
            date: Ok(1_500_000_000),
            board: Err(Refusal::Silent),
            temperature: Ok(85_000),
            throttled: Ok(1),
        }),
        cards: &[bad],
        disks: &[],
        network: None,
        entropy: Some((Health::default(), Some(Unhealthy::Repetition))),
        seeded: false,
        memory: Some(MemoryFacts { mapped_guard_bytes: 4096, holds: false, ..MEMORY }),
        pes: &pes,
        longest_task: 0,
        longest_step: 54,
    };
    let text = page(&facts);
    for line in [
        "[FAIL] board        the firmware does not answer; expected a revision",
        "[LOOK] throttling   under-voltage now; expected none: is the power supply strong enough?",
        "[FAIL] EMMC2        the card can't be used: the card's data did not come in time; expected a card",
        "[ -- ] network      no card that is driven",
        "[FAIL] RNG200       Repetition, 0 failures; expected healthy bits",
        "[FAIL] generator    has no seed; expected a seed",
        "[FAIL] EL2 memory   420 KiB of code, 0 writable; 320 KiB of stacks, 4 of guards; expected 0 and 0",
        "[FAIL] PEs          3 of 4 up, timers 54000 kHz, 3 ticks apart; expected all up",
        "RESULT FAILED: send this page",
    ] {
        assert!(text.contains(line), "{line}\nin\n{text}");
    }
    let longest = text.lines().map(str::len).max().unwrap();
    assert!(longest <= 120 && text.lines().count() <= 28, "one page");
}

/// A disk in a vector that may forget, change or refuse.
struct Disk {
    bytes: Vec<u8>,
    drop_writes: bool,
    flips: bool,
    fail_writes: bool,
    reads: u32,
}

impl Disk {
    fn new(sectors: usize) -> Self {
        let bytes = (0..sectors * 512).map(|n| n.to_le_bytes()[1]).collect();
        Self { bytes, drop_writes: false, flips: false, fail_writes: false, reads: 0 }
    }
}

impl BlockBackend for Disk {
    fn geometry(&self) -> BlockGeometry {
        let sectors = (self.bytes.len() / 512) as u64;
        BlockGeometry { sectors, read_only: false, block_bytes: 512, discard: false }
    }
    fn submit(&mut self, request: &BlockRequest<'_>) -> Submitted {
        let at = usize::try_from(request.sector.0).unwrap() * 512;
        match request.op {
            BlockOp::Read => {
                self.reads += 1;
                let mut bytes = self.bytes[at..at + 4096].to_vec();
                if self.flips && self.reads == 4 {
                    bytes[100] ^= 1;
                }
                request.memory.write_span(request.data[0], &bytes);
            }
            BlockOp::Write if self.fail_writes => return Submitted::Done(Err(BlockError::Io)),
            BlockOp::Write if !self.drop_writes => {
                request.memory.read_span(request.data[0], &mut self.bytes[at..at + 4096]);
            }
            _ => {}
        }
        Submitted::Done(Ok(()))
    }
    fn complete(&mut self) -> Option<BlockCompletion> {
        None
    }
}

fn check(disk: &mut Disk, writes: bool) -> DiskVerdict {
    let memory = FakeMemory::new(Ipa(0), BUFFER_BYTES as usize);
    let buffer = Span { start: Pa(FakeMemory::PA_OFFSET), bytes: BUFFER_BYTES };
    let mut check = DiskCheck::new(buffer, writes);
    check.poll(disk, &memory as &dyn GuestMemory).unwrap()
}

#[test]
fn a_good_disk_is_read_twice_and_left_as_it_was() {
    let mut disk = Disk::new(1000);
    let before = disk.bytes.clone();
    let read = check(&mut disk, false);
    assert!(read.is_good());
    assert_eq!(check(&mut disk, true), read);
    assert!(disk.bytes == before, "the old contents are back");
}

#[test]
fn a_bad_disk_is_found_out() {
    assert_eq!(check(&mut Disk::new(23), false), DiskVerdict::TooSmall);
    let mut disk = Disk::new(1000);
    disk.flips = true;
    assert_eq!(check(&mut disk, false), DiskVerdict::Differs(Sector(496)));
    let mut disk = Disk::new(1000);
    disk.drop_writes = true;
    assert_eq!(check(&mut disk, true), DiskVerdict::Differs(Sector(0)));
    let mut disk = Disk::new(1000);
    disk.fail_writes = true;
    assert_eq!(check(&mut disk, true), DiskVerdict::Failed(Sector(0), BlockError::Io));
}
