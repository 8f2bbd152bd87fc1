#![allow(clippy::cast_possible_truncation, reason = "small numbers of tests")]

use super::card::BusSpeed;
use super::*;
use crate::model::memory::{FakeDma, TwoViews, span};
use crate::model::sd_card::SdCard;
use crate::model::sdhci::{QEMU_ARASAN, SdhciModel};
use ports::{Sector, Span, Token};
use proptest::prelude::*;
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

const PI: Quirks = Quirks::EMMC2;
const ARASAN: Quirks = Quirks::ARASAN;
/// Where tests keep data that devices reach, and data that they don't.
const NEAR: usize = 0x10_0000;
const FAR: usize = 0x20_0000;

struct Bench {
    memory: Rc<TwoViews>,
    dma: FakeDma,
    model: Rc<SdhciModel>,
    driver: Sdhci<Rc<SdhciModel>, FakeDma>,
    /// Longest run of steps without a pause in time.
    grants: bool,
}

impl Bench {
    fn with(card: Option<SdCard>, quirks: Quirks, set: impl FnOnce(&SdhciModel)) -> Self {
        let memory = TwoViews::new(0x30_0000, FAR);
        let dma = FakeDma(memory.clone());
        let model = SdhciModel::new(memory.clone(), card);
        set(&model);
        let config = Config { quirks, ticks_per_second: 1_000_000 };
        let driver = Sdhci::new(model.clone(), dma.clone(), config).unwrap();
        Self { memory, dma, model, driver, grants: true }
    }

    fn pi(card: SdCard) -> Self {
        let mut bench = Self::with(Some(card), PI, |_| {});
        bench.settle();
        bench
    }

    /// Polls as the PE's loop does: at the deadline, or 5 µs later where the interrupt line is up.
    fn turn(&mut self) -> bool {
        let now = self.model.now.get();
        let deadline = self.driver.poll(now);
        if let Some(change) = self.driver.wants() {
            match change {
                SlotChange::Signal1V8 => self.model.board_1v8.set(self.grants),
                SlotChange::Signal3V3 => self.model.board_1v8.set(false),
                SlotChange::PowerOff | SlotChange::PowerOn => {}
            }
            self.driver.answer(self.grants);
        }
        let soon = now + 5;
        match deadline {
            Some(deadline) => self.model.now.set(if self.model.interrupts() {
                soon
            } else {
                deadline.max(now + 1).min(now + 1000)
            }),
            None if self.model.interrupts() => self.model.now.set(soon),
            None => return false,
        }
        true
    }

    fn settle(&mut self) {
        for _ in 0..20_000 {
            self.turn();
            if self.driver.is_settled() {
                return;
            }
        }
        panic!("no end in {:?}", self.driver.phase);
    }

    fn submit(&mut self, token: u32, op: BlockOp, sector: u64, data: &[Span]) -> Submitted {
        let request =
            BlockRequest { token: Token(token), op, sector: Sector(sector), data, memory: &self.dma };
        self.driver.submit(&request)
    }

    /// One request to its end.
    fn run(&mut self, op: BlockOp, sector: u64, data: &[Span]) -> Result<(), BlockError> {
        match self.submit(7, op, sector, data) {
            Submitted::Done(result) => return result,
            Submitted::InFlight => {}
            Submitted::Full => panic!("full"),
        }
        for _ in 0..100_000 {
            self.turn();
            if let Some(completion) = self.driver.complete() {
                assert_eq!(completion.token, Token(7));
                return completion.result;
            }
        }
        panic!("no completion in {:?}", self.driver.phase);
    }

    fn fill(&self, at: usize, bytes: usize, seed: u8) -> Vec<u8> {
        let data: Vec<u8> = (0..bytes).map(|n| seed.wrapping_add((n % 251) as u8)).collect();
        self.memory.pe_write(at, &data);
        data
    }

    fn bytes(&self, at: usize, bytes: usize) -> Vec<u8> {
        let mut data = vec![0; bytes];
        self.memory.pe_read(at, &mut data);
        data
    }

    fn on_card(&self, sector: u64, sectors: usize) -> Vec<u8> {
        let card = self.model.card.borrow();
        let blocks = &card.as_ref().unwrap().blocks;
        (0..sectors as u64).flat_map(|n| blocks.get(&(sector + n)).copied().unwrap_or([0; 512])).collect()
    }

    fn card<T>(&self, with: impl FnOnce(&mut SdCard) -> T) -> T {
        with(self.model.card.borrow_mut().as_mut().unwrap())
    }
}

fn other_card() -> SdCard {
    let mut card = SdCard::new(1 << 20);
    card.cid = 5 << 100;
    card
}

#[test]
fn a_card_is_brought_up_at_high_speed_and_four_bits() {
    let bench = Bench::pi(SdCard::new(1 << 22));
    let card = *bench.driver.card().unwrap();
    assert_eq!((card.csd.sectors, card.bus_width, card.speed), (1 << 22, 4, BusSpeed::High));
    assert!(card.addresses_sectors && card.status.discard && !card.low_voltage);
    assert_eq!((bench.model.hertz(), bench.driver.trouble()), (50_000_000, None));
    let geometry = bench.driver.geometry();
    assert!(geometry.sectors == 1 << 22 && !geometry.read_only && geometry.discard);
}

#[test]
fn a_uhs_card_goes_to_1v8_where_the_board_grants_it() {
    let high = |model: &SdhciModel| model.capabilities_high.set(registers::capability::HIGH_DDR50);
    let mut bench = Bench::with(Some(SdCard::fast()), PI, high);
    bench.settle();
    let card = *bench.driver.card().unwrap();
    assert_eq!((card.low_voltage, card.speed, bench.model.hertz()), (true, BusSpeed::Ddr50, 50_000_000));

    let sdr50 = |model: &SdhciModel| model.capabilities_high.set(registers::capability::HIGH_SDR50);
    let mut bench = Bench::with(Some(SdCard::fast()), PI, sdr50);
    bench.settle();
    assert_eq!((bench.driver.card().unwrap().speed, bench.model.hertz()), (BusSpeed::Sdr50, 100_000_000));

    let mut bench = Bench::with(Some(SdCard::fast()), PI, high);
    bench.grants = false;
    bench.settle();
    let card = *bench.driver.card().unwrap();
    assert_eq!((card.low_voltage, card.speed), (false, BusSpeed::High));
    assert_eq!(bench.driver.trouble(), None);
}

#[test]
fn the_fastest_modes_are_tuned_first() {
    use registers::capability::{HIGH_DDR50, HIGH_SDR50, HIGH_SDR104, HIGH_TUNES_SDR50};
    let offers = |bits: u32| move |model: &SdhciModel| model.capabilities_high.set(bits);
    for (bits, speed, tuned) in [
        (HIGH_SDR104 | HIGH_SDR50 | HIGH_DDR50, BusSpeed::Sdr104, 11),
        (HIGH_SDR50 | HIGH_TUNES_SDR50, BusSpeed::Sdr50, 11),
        (HIGH_SDR50, BusSpeed::Sdr50, 0),
    ] {
        let mut bench = Bench::with(Some(SdCard::fast()), PI, offers(bits));
        bench.settle();
        assert_eq!((bench.driver.card().unwrap().speed, bench.model.tuned.get()), (speed, tuned));
        bench.run(BlockOp::Write, 0, &[span(NEAR, 4096)]).unwrap();
        assert_eq!(bench.driver.statistics().faults, 0);
    }
}

#[test]
fn a_card_that_can_not_be_tuned_is_driven_slower() {
    let mut bench = Bench::with(Some(SdCard::fast()), PI, |model| {
        model.capabilities_high.set(registers::capability::HIGH_SDR104);
        model.faults.never_tunes.set(true);
    });
    bench.settle();
    let card = *bench.driver.card().unwrap();
    assert_eq!((card.speed, card.low_voltage, bench.model.tuned.get()), (BusSpeed::High, false, 40));
    bench.run(BlockOp::Read, 0, &[span(NEAR, 4096)]).unwrap();
}

#[test]
fn what_comes_without_a_command_does_not_interrupt_for_ever() {
    let mut bench = Bench::pi(SdCard::new(1 << 22));
    bench.model.raise_now(registers::status::TRANSFER);
    assert!(bench.model.interrupts());
    bench.driver.poll(bench.model.now.get());
    assert!(!bench.model.interrupts());
    bench.run(BlockOp::Read, 0, &[span(NEAR, 4096)]).unwrap();
}

#[test]
fn a_poll_moves_few_blocks_through_the_port() {
    let mut bench =
        Bench::with(Some(SdCard::new(1 << 22)), ARASAN, |model| model.capabilities.set(QEMU_ARASAN));
    bench.settle();
    let data = [span(NEAR, 65_536)];
    assert_eq!(bench.submit(1, BlockOp::Write, 0, &data), Submitted::InFlight);
    let mut most = 0;
    while bench.driver.complete().is_none() {
        bench.model.accesses.set(0);
        bench.turn();
        most = most.max(bench.model.accesses.get());
    }
    assert!((2048..2200).contains(&most), "{most} register accesses in one poll");
}

#[test]
fn an_old_card_counts_bytes() {
    let mut bench = Bench::pi(SdCard::small());
    assert_eq!(bench.driver.card().unwrap().csd.sectors, 131_072);
    let data = bench.fill(NEAR, 1024, 3);
    bench.run(BlockOp::Write, 1000, &[span(NEAR, 1024)]).unwrap();
    assert_eq!(bench.on_card(1000, 2), data);
    assert!(bench.card(|card| card.log.iter().any(|(index, argument)| (*index, *argument) == (25, 512_000))));
}

#[test]
fn data_goes_direct_and_back() {
    let mut bench = Bench::pi(SdCard::new(1 << 22));
    let data = bench.fill(NEAR, 8192, 9);
    let spans = [span(NEAR, 4096), span(NEAR + 0x2000, 4096)];
    bench.memory.pe_write(NEAR + 0x2000, &data[4096..]);
    bench.run(BlockOp::Write, 77, &spans).unwrap();
    assert_eq!(bench.on_card(77, 16), data);
    bench.memory.pe_write(NEAR, &[0; 0x3000]);
    bench.run(BlockOp::Read, 77, &spans).unwrap();
    assert_eq!(bench.bytes(NEAR, 4096), data[..4096]);
    assert_eq!(bench.bytes(NEAR + 0x2000, 4096), data[4096..]);
    assert_eq!(bench.driver.statistics().sectors_bounced, 0);
    assert_eq!((bench.memory.lost.get(), bench.memory.stray.get()), (0, 0));
}

#[test]
fn what_dma_does_not_reach_is_bounced() {
    let mut bench = Bench::pi(SdCard::new(1 << 22));
    // Far memory, more than the bounce buffer holds.
    let data = bench.fill(FAR, 150_016, 1);
    bench.run(BlockOp::Write, 0, &[span(FAR, 150_016)]).unwrap();
    assert_eq!(bench.on_card(0, 293), data);
    // Half cache lines are not read into directly, but written from.
    bench.run(BlockOp::Read, 3, &[span(NEAR + 4, 512)]).unwrap();
    assert_eq!(bench.bytes(NEAR + 4, 512), data[1536..2048]);
    assert_eq!(bench.driver.statistics().sectors_bounced, 294);
    bench.run(BlockOp::Write, 900, &[span(NEAR + 4, 512)]).unwrap();
    assert_eq!(bench.driver.statistics().sectors_bounced, 294);
    assert_eq!(bench.on_card(900, 1), data[1536..2048]);
    assert_eq!((bench.memory.lost.get(), bench.memory.stray.get()), (0, 0));
}

#[test]
fn the_port_serves_where_there_is_no_dma() {
    let mut bench =
        Bench::with(Some(SdCard::new(1 << 22)), ARASAN, |model| model.capabilities.set(QEMU_ARASAN));
    bench.settle();
    assert!(!bench.driver.uses_dma());
    let data = bench.fill(FAR, 100 * 512, 5);
    bench.run(BlockOp::Write, 10, &[span(FAR, 100 * 512)]).unwrap();
    assert_eq!(bench.on_card(10, 100), data);
    bench.run(BlockOp::Read, 10, &[span(NEAR, 50 * 512)]).unwrap();
    assert_eq!(bench.bytes(NEAR, 50 * 512), data[..50 * 512]);
    bench.run(BlockOp::WriteZeroes { sectors: 100 }, 10, &[]).unwrap();
    assert_eq!(bench.on_card(10, 100), vec![0; 51_200]);
}

#[test]
fn zeros_and_discards() {
    let mut bench = Bench::pi(SdCard::new(1 << 22));
    bench.fill(NEAR, 4096, 5);
    bench.run(BlockOp::Write, 0, &[span(NEAR, 4096)]).unwrap();
    bench.run(BlockOp::WriteZeroes { sectors: 1001 }, 1, &[]).unwrap();
    assert_eq!(bench.on_card(1, 7), vec![0; 7 * 512]);
    assert_ne!(bench.on_card(0, 1), vec![0; 512]);
    bench.run(BlockOp::Discard { sectors: 100_000 }, 0, &[]).unwrap();
    assert_eq!(bench.card(|card| card.erased.clone()), [(0, 65_535), (65_536, 99_999)]);
    assert!(bench.card(|card| card.log.contains(&(38, 1))));
    bench.run(BlockOp::Flush, 0, &[]).unwrap();
}

#[test]
fn requests_outside_the_card_and_writes_to_a_protected_one_are_refused() {
    let mut bench = Bench::pi(SdCard::new(1 << 22));
    let data = [span(NEAR, 1024)];
    assert_eq!(bench.run(BlockOp::Read, (1 << 22) - 1, &data), Err(BlockError::OutOfRange));
    assert_eq!(bench.run(BlockOp::Read, u64::MAX, &data), Err(BlockError::OutOfRange));
    assert_eq!(bench.run(BlockOp::Read, 0, &[span(NEAR, 100)]), Err(BlockError::Unsupported));
    bench.model.write_enabled.set(false);
    assert!(bench.driver.geometry().read_only);
    assert_eq!(bench.run(BlockOp::Write, 0, &data), Err(BlockError::ReadOnly));
    assert_eq!(bench.run(BlockOp::Discard { sectors: 1 }, 0, &[]), Err(BlockError::ReadOnly));
    bench.run(BlockOp::Read, 0, &data).unwrap();
    let mut card = SdCard::new(1 << 22);
    card.write_protected = true;
    let bench = Bench::pi(card);
    assert!(bench.driver.geometry().read_only);
}

#[test]
fn a_fault_is_tried_again_and_the_data_is_right() {
    type Switch = fn(&SdhciModel);
    let faults: [(Switch, u32); 6] = [
        (|model| model.faults.data_crc.set(1), 1),
        (|model| model.faults.data_timeout.set(2), 2),
        (|model| model.faults.adma.set(1), 1),
        (|model| model.faults.unheard.set(1), 1),
        (|model| model.faults.command_crc.set(1), 1),
        (|model| model.faults.silent.set(1), 1),
    ];
    for (switch, expected) in faults {
        let mut bench = Bench::pi(SdCard::new(1 << 22));
        let data = bench.fill(NEAR, 65_536, 5);
        switch(&bench.model);
        bench.run(BlockOp::Write, 5, &[span(NEAR, 65_536)]).unwrap();
        switch(&bench.model);
        bench.fill(NEAR, 65_536, 50);
        bench.run(BlockOp::Read, 5, &[span(NEAR, 65_536)]).unwrap();
        assert_eq!(bench.bytes(NEAR, 65_536), data);
        let statistics = bench.driver.statistics();
        assert_eq!((statistics.faults, statistics.lost_requests), (2 * expected, 0));
        assert_eq!(bench.memory.lost.get(), 0);
    }
}

#[test]
fn a_bad_line_is_driven_slower() {
    let mut bench = Bench::pi(SdCard::new(1 << 22));
    let data = bench.fill(NEAR, 4096, 5);
    bench.model.faults.good_hertz.set(Some(13_000_000));
    bench.run(BlockOp::Write, 5, &[span(NEAR, 4096)]).unwrap();
    assert_eq!((bench.on_card(5, 8), bench.model.hertz()), (data, 12_500_000));
    assert_eq!(bench.driver.hertz(), 12_500_000);
    assert_eq!(bench.driver.statistics().lost_requests, 0);
}

#[test]
fn a_hopeless_request_fails_and_the_next_one_works() {
    let mut bench = Bench::pi(SdCard::new(1 << 22));
    bench.model.faults.data_timeout.set(5);
    assert_eq!(bench.run(BlockOp::Read, 5, &[span(NEAR, 4096)]), Err(BlockError::Io));
    assert_eq!(bench.driver.statistics().lost_requests, 1);
    bench.run(BlockOp::Read, 5, &[span(NEAR, 4096)]).unwrap();
}

#[test]
fn a_controller_that_hangs_ends_in_a_named_trouble() {
    type Switch = fn(&SdhciModel);
    let hangs: [Switch; 3] = [
        |model| model.faults.stuck_reset.set(true),
        |model| model.faults.unstable.set(true),
        |model| model.faults.silent.set(u32::MAX),
    ];
    for hang in hangs {
        let mut bench = Bench::with(Some(SdCard::new(1 << 22)), PI, hang);
        bench.settle();
        assert_eq!(bench.driver.trouble(), Some(Trouble::Refused(Fault::Silent)));
        assert_eq!(bench.run(BlockOp::Read, 0, &[span(NEAR, 512)]), Err(BlockError::Io));
    }
}

#[test]
fn a_card_that_answers_nonsense_is_refused_by_name() {
    type Change = fn(&mut SdCard);
    let changes: [(Change, Fault); 4] = [
        (|card| card.csd_override = Some(3 << 126), card::Nonsense::CsdStructure(3).into()),
        (|card| card.scr_override = Some([0x70; 8]), card::Nonsense::ScrStructure(7).into()),
        (|card| card.rca_override = Some(0), card::Nonsense::RelativeAddress.into()),
        (|card| card.busy_41 = u32::MAX, Fault::Voltage),
    ];
    for (change, fault) in changes {
        let mut card = SdCard::new(1 << 22);
        change(&mut card);
        let bench = Bench::pi(card);
        assert_eq!(bench.driver.trouble(), Some(Trouble::Refused(fault)));
        assert_eq!(bench.driver.geometry().sectors, 0);
    }
}

#[test]
fn no_card_is_looked_for_again_without_a_detect_line() {
    let mut bench = Bench::with(None, PI, |_| {});
    bench.settle();
    assert_eq!(bench.driver.trouble(), Some(Trouble::NoCard));
    bench.model.card.replace(Some(SdCard::new(1 << 22)));
    for _ in 0..10_000 {
        bench.turn();
    }
    assert!(bench.driver.card().is_some());
}

#[test]
fn a_card_taken_out_and_put_back_works_and_another_one_is_not_touched() {
    let detect = Quirks::default();
    let mut bench = Bench::with(Some(SdCard::new(1 << 22)), detect, |_| {});
    bench.settle();
    assert_eq!(bench.submit(1, BlockOp::Read, 0, &[span(NEAR, 4096)]), Submitted::InFlight);
    assert_eq!(bench.submit(2, BlockOp::Read, 8, &[span(NEAR, 4096)]), Submitted::InFlight);
    let card = bench.model.put_card(None);
    while bench.turn() {}
    let ends: Vec<_> = core::iter::from_fn(|| bench.driver.complete()).map(|end| end.result).collect();
    // The first may have got through before.
    assert_eq!((ends.len(), ends[1]), (2, Err(BlockError::Io)));
    assert_eq!(bench.driver.trouble(), Some(Trouble::NoCard));
    bench.model.put_card(Some(other_card()));
    while bench.turn() {}
    assert!(matches!(bench.driver.trouble(), Some(Trouble::OtherCard(_))));
    assert_eq!(bench.run(BlockOp::Write, 0, &[span(NEAR, 512)]), Err(BlockError::Io));
    bench.model.put_card(None);
    while bench.turn() {}
    let mut card = card.unwrap();
    card.power_cycle();
    bench.model.put_card(Some(card));
    while bench.turn() {}
    assert_eq!(bench.driver.trouble(), None);
    bench.run(BlockOp::Write, 0, &[span(NEAR, 512)]).unwrap();
    assert_eq!(bench.run(BlockOp::Flush, 0, &[]), Ok(()));
}

#[test]
fn another_card_is_used_once_adopted() {
    let mut bench = Bench::pi(SdCard::new(1 << 22));
    bench.model.put_card(Some(other_card()));
    // Without a detect line the change shows at the next command: the new card is not selected and stays silent.
    assert_eq!(bench.run(BlockOp::Read, 0, &[span(NEAR, 512)]), Err(BlockError::Io));
    bench.settle();
    assert_eq!(bench.driver.geometry().sectors, 0);
    bench.driver.adopt();
    assert_eq!(bench.driver.geometry().sectors, 1 << 20);
    bench.run(BlockOp::Read, 0, &[span(NEAR, 512)]).unwrap();
}

#[test]
fn a_full_pool_is_back_pressure() {
    let mut bench = Bench::pi(SdCard::new(1 << 22));
    for token in 0..queue::SLOTS {
        assert_eq!(bench.submit(token as u32, BlockOp::Read, 0, &[span(NEAR, 512)]), Submitted::InFlight);
    }
    assert_eq!(bench.submit(99, BlockOp::Read, 0, &[span(NEAR, 512)]), Submitted::Full);
    while bench.turn() {}
    let order: Vec<u32> = core::iter::from_fn(|| bench.driver.complete()).map(|end| end.token.0).collect();
    assert_eq!(order, (0..queue::SLOTS as u32).collect::<Vec<_>>());
}

/// Register accesses of a 4 KiB read: on a Pi each costs a hundred nanoseconds or more.
#[test]
fn a_small_request_costs_few_register_accesses() {
    let mut bench = Bench::pi(SdCard::new(1 << 22));
    bench.model.accesses.set(0);
    bench.run(BlockOp::Read, 0, &[span(NEAR, 4096)]).unwrap();
    // Present State, ADMA address, argument 2, block, argument, command; status twice, clear, response; and the
    // polls before the interrupt.
    assert!(bench.model.accesses.get() <= 13, "{}", bench.model.accesses.get());
}

#[derive(Debug, Clone)]
enum Act {
    Write { sector: u64, sectors: usize, seed: u8, far: bool },
    Read { sector: u64, sectors: usize, far: bool },
    Zero { sector: u64, sectors: u32 },
    Fault { kind: u8, count: u32 },
}

fn act() -> impl Strategy<Value = Act> {
    let run = || (0u64..200, 1usize..40);
    prop_oneof![
        (run(), any::<u8>(), any::<bool>()).prop_map(|((sector, sectors), seed, far)| Act::Write {
            sector,
            sectors,
            seed,
            far
        }),
        (run(), any::<bool>()).prop_map(|((sector, sectors), far)| Act::Read { sector, sectors, far }),
        run().prop_map(|(sector, sectors)| Act::Zero { sector, sectors: sectors as u32 }),
        (0u8..5, 1u32..8).prop_map(|(kind, count)| Act::Fault { kind, count }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 60 }))]

    /// Whatever fails on the way: a request that succeeded did what it says, and memory views never mix.
    #[test]
    fn what_succeeded_is_true(acts in prop::collection::vec(act(), 1..if cfg!(miri) { 4 } else { 20 }), by_port: bool) {
        let quirks = if by_port { ARASAN } else { PI };
        let mut bench = Bench::with(Some(SdCard::new(1 << 12)), quirks, |_| {});
        bench.settle();
        for act in acts {
            let at = |far: bool| if far { FAR } else { NEAR };
            match act {
                Act::Write { sector, sectors, seed, far } => {
                    let data = bench.fill(at(far), sectors * 512, seed);
                    if bench.run(BlockOp::Write, sector, &[span(at(far), sectors * 512)]).is_ok() {
                        prop_assert_eq!(bench.on_card(sector, sectors), data);
                    }
                }
                Act::Read { sector, sectors, far } => {
                    if bench.run(BlockOp::Read, sector, &[span(at(far), sectors * 512)]).is_ok() {
                        prop_assert_eq!(bench.bytes(at(far), sectors * 512), bench.on_card(sector, sectors));
                    }
                }
                Act::Zero { sector, sectors } => {
                    if bench.run(BlockOp::WriteZeroes { sectors }, sector, &[]).is_ok() {
                        prop_assert_eq!(bench.on_card(sector, sectors as usize), vec![0; sectors as usize * 512]);
                    }
                }
                Act::Fault { kind, count } => {
                    let faults = &bench.model.faults;
                    [&faults.data_crc, &faults.data_timeout, &faults.unheard, &faults.silent, &faults.command_crc]
                        [usize::from(kind)].set(count);
                }
            }
        }
        prop_assert_eq!((bench.memory.lost.get(), bench.memory.stray.get()), (0, 0));
    }
}
