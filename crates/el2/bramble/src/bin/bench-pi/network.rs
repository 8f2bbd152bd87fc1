//! Frames of 1,514 bytes to and from a GENET, beyond the one copy of their bytes.

use crate::devices::Wire;
use crate::{cost, row, storage};
use alloc::boxed::Box;
use drivers::genet::{Config, Genet, registers};
use drivers::hardware::{Dma, DmaBuffer};
use el2::dma::HostDma;
use el2::ram::HostMemory;
use el2::screen::Screen;
use ports::{Delivered, Frame, FrameSink, GuestMemory, Offload, Span};
use specs::{Ipa, IpaRange, Pa};

const DMA: HostDma = HostDma { limit: Pa(1 << 32), offset: 0 };
const FRAME: u32 = 1514;
/// Frames of one interrupt, as `INTRL2`'s moderation gives them.
const BATCH: u32 = 8;

/// Prints the rows.
pub fn measure(screen: &mut Screen) {
    let wire: &'static Wire = Box::leak(Box::default());
    let config = Config { mac: [2, 0, 0, 0, 0, 1], phy_address: 1, ticks_per_second: 1_000_000 };
    let mut driver = Genet::new(wire, &DMA, config).expect("memory for the driver");
    let mut now = 0;
    while driver.link().is_none() {
        now = driver.poll(now).unwrap_or(now).max(now + 1);
        assert!(now < 100_000_000, "{:?}", driver.trouble());
    }
    send(screen, &mut driver);
    receive(screen, wire, &mut driver);
}

fn send(screen: &mut Screen, driver: &mut Genet<&'static Wire, HostDma>) {
    let (ram, _) = storage::guest_ram();
    let part = |at: u64, bytes: u32| {
        let range = IpaRange::new(Ipa(0x4000_0000 + at), bytes.into()).expect("a range");
        ram.resolve(range).expect("RAM")
    };
    // As Linux gives them: headers and payload apart.
    let data = [part(0, 66), part(4096, FRAME - 66)];
    let frame = Frame { data: &data, bytes: FRAME, offload: Offload::default(), memory: &ram };
    let all = cost(|_| assert!(driver.deliver(&frame) == Delivered::Yes, "a frame was not sent"));
    let target = DMA.allocate(2048).expect("memory");
    let into = [target.span(64, 66), target.span(130, FRAME - 66)].map(|span| span.expect("a span"));
    let copy = cost(|_| {
        for (into, from) in into.iter().zip(&data) {
            ram.copy_span(*into, *from);
        }
    });
    row(screen, "genet_frame_tx", all.beyond(copy));
    row(screen, "genet_frame_copy", copy);
}

fn receive(screen: &mut Screen, wire: &'static Wire, driver: &mut Genet<&'static Wire, HostDma>) {
    // What the device writes in front of each frame.
    let length = FRAME + 2 + u32::try_from(registers::STATUS_BYTES).unwrap_or(0);
    let word = length << registers::LENGTH_SHIFT | registers::SOP | registers::EOP;
    for n in 0..u64::from(registers::DESCRIPTORS) {
        let status = Span { start: Pa(wire.buffers.get() + n * 2048), bytes: 4 };
        HostMemory.write_span(status, &word.to_le_bytes());
    }
    let mut seen = 0;
    let mut batch = cost(|_| {
        wire.arrived.set((wire.arrived.get() + BATCH) & 0xffff);
        driver.receive(&HostMemory, 16, |frame| seen += frame.bytes);
    });
    assert!(seen >= FRAME * BATCH * 512, "frames were not received");
    batch.calls *= u64::from(BATCH);
    row(screen, "genet_frame_rx", batch);
}
