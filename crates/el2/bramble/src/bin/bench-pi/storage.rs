//! SD requests at queue depth 1, from the submission to the completion, with their data in a guest's RAM.

use crate::devices::Card;
use crate::{cost, row};
use alloc::boxed::Box;
use drivers::hardware::Dma;
use drivers::sdhci::controller::Quirks;
use drivers::sdhci::{Config, Sdhci};
use el2::dma::HostDma;
use el2::ram::GuestRam;
use el2::screen::Screen;
use ports::{BlockBackend, BlockOp, BlockRequest, GuestMemory, Sector, Span, Token};
use specs::{Ipa, IpaRange, Pa};

/// What the BCM2711 reaches, and QEMU's `virt` has its RAM in.
const DMA: HostDma = HostDma { limit: Pa(1 << 32), offset: 0 };

/// Memory of a guest, touched.
pub fn guest_ram() -> (GuestRam, IpaRange) {
    let range = IpaRange::new(Ipa(0x4000_0000), 4 << 20).expect("a constant range");
    let ram = GuestRam::reserve(range).expect("memory for a guest");
    for at in [0x4000_0000, 0x4020_0000] {
        ram.write(Ipa(at), &[1]).expect("RAM");
    }
    (ram, range)
}

/// Prints the rows.
pub fn measure(screen: &mut Screen) {
    let card: &'static Card = Box::leak(Box::default());
    let config = Config { quirks: Quirks::EMMC2, ticks_per_second: 1_000_000 };
    let mut driver = Sdhci::new(card, DMA, config).expect("memory for the driver");
    let mut now = 0;
    while !driver.is_settled() {
        now = driver.poll(now).unwrap_or(now).max(now + 1);
        if driver.wants().is_some() {
            driver.answer(false);
        }
    }
    assert!(driver.card().is_some(), "{:?}", driver.trouble());
    let (ram, _) = guest_ram();
    let span = |bytes| ram.resolve(IpaRange::new(Ipa(0x4000_0000), bytes).expect("a range")).expect("RAM");
    let mut request = |op, span: Span| {
        let data = [span];
        cost(|n| {
            let sector = Sector(n * 256);
            let request = BlockRequest { token: Token(1), op, sector, data: &data, memory: &ram };
            driver.submit(&request);
            loop {
                now += 1;
                driver.poll(now);
                if let Some(end) = driver.complete() {
                    assert!(end.result.is_ok(), "a request failed");
                    break;
                }
            }
        })
    };
    row(screen, "sd_read_4k", request(BlockOp::Read, span(4096)));
    row(screen, "sd_write_4k", request(BlockOp::Write, span(4096)));
    let whole = request(BlockOp::Read, span(128 << 10));
    let both_ways = span(128 << 10);
    let caches = cost(|_| {
        core::hint::black_box(DMA.span_for_device_write(both_ways));
        DMA.span_from_device(both_ways);
    });
    row(screen, "sd_read_128k", whole.beyond(caches));
    row(screen, "sd_read_128k_caches", caches);
}
