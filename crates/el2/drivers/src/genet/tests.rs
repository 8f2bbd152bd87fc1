#![allow(clippy::cast_possible_truncation, reason = "small numbers of tests")]

use super::*;
use crate::model::genet::{GenetModel, internet_checksum};
use crate::model::memory::{FakeDma, TwoViews, span};
use ports::{Delivered, Frame, FrameSink, Offload};
use proptest::prelude::*;
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

const DATA: usize = 0x18_0000;

struct Bench {
    memory: Rc<TwoViews>,
    dma: FakeDma,
    model: Rc<GenetModel>,
    driver: Genet<Rc<GenetModel>, FakeDma>,
    now: u64,
}

impl Bench {
    fn new(set: impl FnOnce(&GenetModel)) -> Self {
        let memory = TwoViews::new(0x20_0000, DATA);
        let dma = FakeDma(memory.clone());
        let model = GenetModel::new(memory.clone());
        set(&model);
        let config = Config { mac: [2, 1, 2, 3, 4, 5], phy_address: 1, ticks_per_second: 1_000_000 };
        let driver = Genet::new(model.clone(), &dma, config).unwrap();
        Self { memory, dma, model, driver, now: 0 }
    }

    fn up() -> Self {
        let mut bench = Self::new(|_| {});
        bench.pass(50_000);
        assert!(bench.driver.link().is_some());
        bench
    }

    /// Time passes, the driver is polled when it asks to be.
    fn pass(&mut self, microseconds: u64) {
        let end = self.now + microseconds;
        while self.now < end {
            let Some(deadline) = self.driver.poll(self.now) else { break };
            self.model.run();
            self.now = deadline.clamp(self.now + 1, end);
        }
        self.now = end;
    }

    fn send(&mut self, data: &[u8], cut: usize, offload: Offload) -> Delivered {
        self.memory.pe_write(DATA, &data[..cut]);
        self.memory.pe_write(DATA + 0x1000, &data[cut..]);
        let spans = [span(DATA, cut), span(DATA + 0x1000, data.len() - cut)];
        let bytes = data.len() as u32;
        self.driver.deliver(&Frame { data: &spans, bytes, offload, memory: &self.dma })
    }

    fn sent(&self) -> Vec<Vec<u8>> {
        self.model.run();
        self.model.sent.borrow_mut().drain(..).collect()
    }

    fn received(&mut self) -> Vec<(Vec<u8>, Offload)> {
        let mut frames = vec![];
        let memory = self.memory.clone();
        loop {
            let more = self.driver.receive(&self.dma, 32, |frame| {
                let mut bytes = vec![0; frame.bytes as usize];
                memory.pe_read(frame.data[0].start.0 as usize, &mut bytes);
                frames.push((bytes, frame.offload));
            });
            if !more {
                return frames;
            }
        }
    }
}

fn frame(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| (n * 5 % 256) as u8).collect()
}

#[test]
#[cfg_attr(miri, ignore = "a megabyte of buffers; another test shows the path")]
fn the_mac_is_set_up_and_the_link_comes_up() {
    let bench = Bench::up();
    let link = bench.driver.link().unwrap();
    assert_eq!((link.speed, link.full_duplex, bench.driver.trouble()), (Speed::Thousand, true, None));
    let command = bench.model.word(registers::UMAC_CMD);
    assert_eq!(command, 0x1b, "gigabit, promiscuous, both ways, PAUSE both ways");
    assert_eq!(bench.model.word(registers::UMAC_MAC0), 0x0201_0203);
    assert_eq!(bench.model.word(registers::UMAC_MAC1), 0x0405);
    assert_eq!(bench.model.word(registers::EXT_RGMII_OOB_CTRL), 0x1_0050);
    assert_eq!(
        bench.model.word(registers::RBUF_ENERGY_CTRL) | bench.model.word(registers::TBUF_ENERGY_CTRL),
        0
    );
    assert_eq!(bench.driver.phy_id(), 0x600d_84a2);
}

#[test]
fn frames_go_out_and_come_in() {
    let mut bench = Bench::up();
    for bytes in [14, 60, 777, 1514] {
        let data = frame(bytes);
        assert_eq!(bench.send(&data, bytes / 2, Offload::default()), Delivered::Yes);
        let sent = bench.sent();
        let mut padded = data.clone();
        padded.resize(bytes.max(60), 0);
        assert_eq!(sent, [padded]);
        assert!(bench.model.receive(&data) && bench.model.interrupts());
        bench.pass(1);
        let valid = Offload { flags: 2, ..Offload::default() };
        assert_eq!(bench.received(), [(data, valid)]);
        assert!(!bench.model.interrupts());
    }
    assert_eq!((bench.memory.lost.get(), bench.memory.stray.get()), (0, 0));
}

#[test]
#[cfg_attr(miri, ignore = "a megabyte of buffers; another test shows the path")]
fn a_tag_is_put_in_and_a_checksum_computed() {
    let mut bench = Bench::up();
    let data = frame(100);
    let offload =
        Offload { flags: 1, checksum_start: 34, checksum_offset: 6, vlan: 0x123, ..Offload::default() };
    assert_eq!(bench.send(&data, 7, offload), Delivered::Yes);
    let sent = bench.sent().remove(0);
    assert_eq!((&sent[..12], &sent[12..16]), (&data[..12], &[0x81, 0, 1, 0x23][..]));
    assert_eq!((&sent[16..44], &sent[46..]), (&data[12..40], &data[42..]));
    assert_eq!(internet_checksum(&data[34..]).to_be_bytes(), sent[44..46]);
    // The next frame in the same place asks for none.
    for _ in 0..256 {
        assert_eq!(bench.send(&data, 7, Offload::default()), Delivered::Yes);
        bench.model.run();
    }
    assert_eq!(bench.sent().pop(), Some(data));
}

#[test]
#[cfg_attr(miri, ignore = "a megabyte of buffers; another test shows the path")]
fn what_is_no_frame_for_the_wire_is_refused() {
    let mut bench = Bench::up();
    let plain = Offload::default();
    assert_eq!(bench.send(&frame(13), 1, plain), Delivered::Refused);
    assert_eq!(bench.send(&frame(1519), 1, plain), Delivered::Refused);
    assert_eq!(bench.send(&frame(100), 1, Offload { gso_type: 9, ..plain }), Delivered::Refused);
    let outside = Offload { flags: 1, checksum_start: 90, checksum_offset: 16, ..plain };
    assert_eq!(bench.send(&frame(100), 1, outside), Delivered::Refused);
    let cut = Frame { data: &[span(DATA, 50)], bytes: 100, offload: plain, memory: &bench.dma.clone() };
    assert_eq!(bench.driver.deliver(&cut), Delivered::Refused);
    assert_eq!((bench.driver.statistics().refused, bench.sent().len()), (5, 0));
}

/// Ethernet, IPv4 and TCP headers before 4,000 bytes, to be cut at 1,400.
#[test]
#[cfg_attr(miri, ignore = "a megabyte of buffers; another test shows the path")]
fn a_long_tcp_frame_is_cut() {
    let mut bench = Bench::up();
    let mut data = frame(54 + 4000);
    data[12..20].copy_from_slice(&[8, 0, 0x45, 0, 0x0f, 0xc8, 0, 1]);
    data[20..24].copy_from_slice(&[0, 0, 64, 6]);
    data[46] = 0x50;
    let offload = Offload {
        flags: 1,
        gso_type: 1,
        header_bytes: 54,
        gso_bytes: 1400,
        checksum_start: 34,
        checksum_offset: 16,
        vlan: 7,
    };
    assert_eq!(bench.send(&data, 2000, offload), Delivered::Yes);
    let sent = bench.sent();
    assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>(), [1458, 1458, 1258]);
    let payload: Vec<u8> = sent.iter().flat_map(|frame| frame[58..].to_vec()).collect();
    assert_eq!(payload, data[54..]);
    assert!(sent.iter().all(|frame| frame[12..16] == [0x81, 0, 0, 7]));
}

#[test]
#[cfg_attr(miri, ignore = "a megabyte of buffers; another test shows the path")]
fn a_full_ring_drops_and_counts() {
    let mut bench = Bench::up();
    bench.model.stuck.set(true);
    for _ in 0..256 {
        assert_eq!(bench.send(&frame(60), 1, Offload::default()), Delivered::Yes);
    }
    assert_eq!(bench.send(&frame(60), 1, Offload::default()), Delivered::NoBuffer);
    bench.model.stuck.set(false);
    bench.model.run();
    assert_eq!(bench.send(&frame(60), 1, Offload::default()), Delivered::Yes);
    for _ in 0..300 {
        bench.model.receive(&frame(60));
    }
    bench.pass(1_100_000);
    let statistics = bench.driver.statistics();
    assert_eq!((statistics.no_room, statistics.overruns), (1, 44));
    assert_eq!(bench.received().len(), 256);
}

#[test]
#[cfg_attr(miri, ignore = "a megabyte of buffers; another test shows the path")]
fn a_stuck_ring_is_reset_and_works_again() {
    let mut bench = Bench::up();
    bench.model.stuck.set(true);
    bench.send(&frame(60), 1, Offload::default());
    bench.pass(2_500_000);
    assert!(bench.driver.statistics().resets >= 1);
    bench.model.stuck.set(false);
    bench.pass(50_000);
    bench.sent();
    assert_eq!(bench.send(&frame(99), 1, Offload::default()), Delivered::Yes);
    assert_eq!(bench.sent(), [frame(99)]);
    let resets = bench.driver.statistics().resets;
    bench.model.wrong_index.set(5000);
    while bench.driver.statistics().resets == resets {
        bench.pass(1);
    }
    bench.model.wrong_index.set(0);
    bench.pass(100_000);
    assert_eq!(bench.send(&frame(98), 1, Offload::default()), Delivered::Yes);
    assert_eq!(bench.sent(), [frame(98)]);
    assert!(bench.model.receive(&frame(70)));
    assert_eq!(bench.received().len(), 1);
}

#[test]
#[cfg_attr(miri, ignore = "a megabyte of buffers; another test shows the path")]
fn a_link_that_flaps_or_is_lost_is_followed() {
    let mut bench = Bench::up();
    bench.model.phy.cable.set(false);
    bench.pass(1_100_000);
    assert_eq!((bench.driver.link(), bench.driver.trouble()), (None, Some(Trouble::NoLink)));
    assert_eq!(bench.send(&frame(60), 1, Offload::default()), Delivered::Refused);
    assert_eq!(bench.model.word(registers::EXT_RGMII_OOB_CTRL) & registers::RGMII_LINK, 0);
    bench.model.phy.cable.set(true);
    bench.model.phy.partner_1000.set(0);
    bench.model.phy.partner.set(0x0081);
    bench.pass(1_100_000);
    assert_eq!(bench.driver.link().map(|link| (link.speed, link.full_duplex)), Some((Speed::Hundred, false)));
    assert_eq!(bench.model.word(registers::UMAC_CMD), 0x1000_0517);
    assert_eq!(bench.send(&frame(60), 1, Offload::default()), Delivered::Yes);
    assert_eq!(bench.driver.statistics().resets, 0);
}

#[test]
#[cfg_attr(miri, ignore = "a megabyte of buffers; another test shows the path")]
fn what_is_not_there_is_named() {
    let mut bench = Bench::new(|model| model.revision.set(0x0500_0000));
    assert_eq!(bench.driver.poll(0), None);
    assert_eq!(bench.driver.trouble(), Some(Trouble::Version(0x0500_0000)));
    let mut bench = Bench::new(|model| model.runs_on.set(true));
    bench.pass(1_000_000);
    assert_eq!(bench.driver.trouble(), Some(Trouble::Stuck));
    for set in
        [|model: &GenetModel| model.phy.absent.set(true), |model: &GenetModel| model.mdio_stuck.set(true)]
    {
        let mut bench = Bench::new(set);
        bench.pass(100_000);
        assert_eq!(bench.driver.trouble(), Some(Trouble::NoPhy));
        bench.model.phy.absent.set(false);
        bench.model.mdio_stuck.set(false);
        bench.pass(6_000_000);
        assert_eq!(bench.driver.trouble(), None);
    }
}

#[test]
#[cfg_attr(miri, ignore = "a megabyte of buffers; another test shows the path")]
fn frames_received_damaged_are_dropped() {
    let mut bench = Bench::up();
    for damage in [2, 1, 0x4000, 0x2000, 0x10, 0x0fff_0000, 0x0042_0000] {
        bench.model.damage.set(damage);
        bench.model.receive(&frame(64));
    }
    bench.model.receive(&frame(64));
    let frames = bench.received();
    // A length that was changed to another possible one is shown as it is.
    assert!(frames.len() <= 2 && frames.last().unwrap().0 == frame(64));
    assert!(bench.driver.statistics().damaged >= 6);
}

/// Register accesses per frame: on a Pi each costs a hundred nanoseconds or more.
#[test]
#[cfg_attr(miri, ignore = "a megabyte of buffers; another test shows the path")]
fn a_frame_costs_two_writes_out_and_next_to_nothing_in() {
    let mut bench = Bench::up();
    bench.model.accesses.set(0);
    bench.send(&frame(1514), 700, Offload::default());
    assert_eq!(bench.model.accesses.get(), 2);
    for _ in 0..32 {
        bench.model.receive(&frame(1514));
    }
    bench.model.accesses.set(0);
    assert_eq!(bench.received().len(), 32);
    assert_eq!(bench.model.accesses.get(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 40 }))]

    #[test]
    fn frames_keep_their_order_and_bytes(
        lengths in prop::collection::vec((14usize..1519, any::<bool>(), any::<u8>()), 1..if cfg!(miri) { 4 } else { 80 }),
    ) {
        let mut bench = Bench::up();
        let (mut out, mut into) = (vec![], vec![]);
        for (bytes, outward, seed) in lengths {
            let data: Vec<u8> = frame(bytes).iter().map(|byte| byte ^ seed).collect();
            if outward {
                prop_assert_eq!(bench.send(&data, bytes / 3, Offload::default()), Delivered::Yes);
                let mut padded = data;
                padded.resize(bytes.max(60), 0);
                out.push(padded);
            } else {
                prop_assert!(bench.model.receive(&data));
                into.push(data);
            }
            bench.pass(seed.into());
        }
        prop_assert_eq!(bench.sent(), out);
        let frames: Vec<Vec<u8>> = bench.received().into_iter().map(|(bytes, _)| bytes).collect();
        prop_assert_eq!(frames, into);
        prop_assert_eq!((bench.memory.lost.get(), bench.memory.stray.get()), (0, 0));
    }
}
