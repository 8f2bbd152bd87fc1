//! Guest RAM: zero at first touch, the same with the MMU and caches on and off.

use crate::harness::{Outcome, Report};
use crate::{ensure, ensure_eq};
use el1::boot::Boot;
use el1::{instruction, mmu};

const PAGE: usize = 4096;
/// Read word by word; of the rest the ends of each page.
const WHOLE: usize = 8 << 20;
/// What the caches test writes.
const PART: usize = 256 << 10;

/// All of it. The zero test comes first, before anything else touched spare RAM.
pub fn run(boot: &'static Boot, report: &mut Report) {
    report.test("ram-zero", || zero(boot));
    report.test("ram-holds", || holds(boot));
    report.test("ram-caches-off", || caches_off(boot));
    report.test("ram-set-way", || set_way(boot));
}

/// Never written, so zero, whatever the pages held before this VM. (Some tests ran before: only what is far up.)
pub fn zero(boot: &'static Boot) -> Outcome {
    let spare = boot.spare.part(boot.spare.bytes() / 2, (boot.spare.bytes() / 2) & !(PAGE - 1));
    for offset in (0..WHOLE.min(spare.bytes())).step_by(8) {
        let word = spare.read64(offset);
        ensure!(word == 0, "{:#x} holds {word:#x}", spare.base() + offset);
    }
    for page in (0..spare.bytes()).step_by(PAGE) {
        for offset in [page, page + PAGE / 2, page + PAGE - 8] {
            let word = spare.read64(offset);
            ensure!(word == 0, "{:#x} holds {word:#x}", spare.base() + offset);
        }
    }
    Ok(())
}

/// Each page keeps its own number: no two are the same frame. The last quarter stays untouched.
fn holds(boot: &'static Boot) -> Outcome {
    let spare = boot.spare.part(0, boot.spare.bytes() / 2);
    let value = |page: usize| (page as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for page in (0..spare.bytes() - PAGE).step_by(PAGE) {
        spare.write64(page + 64, value(page));
    }
    for page in (0..spare.bytes() - PAGE).step_by(PAGE) {
        ensure_eq!(spare.read64(page + 64), value(page), alloc::format!("page {page:#x}"));
    }
    Ok(())
}

/// Written through the caches and cleaned, read past them; and the other way round.
fn caches_off(boot: &'static Boot) -> Outcome {
    let part = boot.spare.part(2 << 20, PART);
    let fill = |seed: u64| {
        for offset in (0..PART).step_by(8) {
            part.write64(offset, seed ^ offset as u64);
        }
    };
    let differs =
        |seed: u64| (0..PART).step_by(8).find(|offset| part.read64(*offset) != seed ^ *offset as u64);
    fill(0xaaaa_0000_0000);
    mmu::clean(part.base(), PART);
    mmu::off();
    let first = differs(0xaaaa_0000_0000);
    fill(0x5555_0000_0000);
    mmu::on();
    mmu::clean(part.base(), PART);
    let second = differs(0x5555_0000_0000);
    ensure!(first.is_none(), "cached, then not: {first:x?}");
    ensure!(second.is_none(), "not cached, then cached: {second:x?}");
    Ok(())
}

/// DC CISW over every set and way of every level, as firmware does: nothing is lost.
fn set_way(boot: &'static Boot) -> Outcome {
    let part = boot.spare.part(4 << 20, PART);
    for offset in (0..PART).step_by(8) {
        part.write64(offset, offset as u64 + 1);
    }
    let mut operations = 0;
    for level in 0..2 {
        for set in 0..256u64 {
            for way in 0..4u64 {
                let operand = way << 30 | set << 6 | level << 1;
                // DC ISW, CSW, CISW.
                for word in [0xd508_7640, 0xd508_7a40, 0xd508_7e40] {
                    instruction::execute(word, operand).map_err(|e| alloc::format!("{word:#x}: {e:x?}"))?;
                    operations += 1;
                }
            }
        }
    }
    mmu::off();
    let wrong = (0..PART).step_by(8).find(|offset| part.read64(*offset) != *offset as u64 + 1);
    mmu::on();
    ensure!(wrong.is_none(), "after {operations} operations the word at {wrong:x?} differs");
    Ok(())
}
