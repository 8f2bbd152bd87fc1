//! Order, mask, preemption and binary point.

use super::*;

/// All of it.
pub fn run(boot: &'static Boot, report: &mut Report) {
    let gic = &boot.gic;
    report.test("virq-priority-order", || order(gic));
    report.test("virq-equal-priority", || equal(gic));
    report.test("virq-priority-mask", || mask(gic));
    report.test("virq-highest-pending", || highest(gic));
    report.test("virq-preempts", || nested(gic, 0, 0x80, 0x40, true));
    report.test("virq-equal-does-not-preempt", || nested(gic, 0, 0x80, 0x80, false));
    report.test("virq-lower-does-not-preempt", || nested(gic, 0, 0x80, 0xa0, false));
    report.test("virq-binary-point", || {
        // Only bit 7 of a priority preempts: ICC_BPR1 7 for group 1, GICC_BPR 6 for group 0.
        let point = if gic.version() == 3 { 7 } else { 6 };
        nested(gic, point, 0x60, 0x20, false)?;
        nested(gic, point, 0xa0, 0x20, true)
    });
}

/// The most urgent first, whatever the order they came in, with more of them than list registers.
fn order(gic: &Gic) -> Outcome {
    let lines = lines(gic);
    // Priorities 0x10, 0x18, … 0x88, dealt out by a stride that is prime to their number.
    for (n, line) in lines.iter().enumerate() {
        line.set_priority(0x10 + 8 * (n * 5 % lines.len()) as u8);
    }
    let mut expected: Vec<(u8, u32)> = lines.iter().map(|line| (line.priority(), line.intid)).collect();
    expected.sort_unstable();
    start_log(note);
    let log = together(lines.len(), || lines.iter().for_each(Line::pend));
    interrupts::set_hook(None);
    let expected: Vec<u32> = expected.into_iter().map(|(_, intid)| intid).collect();
    ensure!(log == expected, "order {log:?}, expected {expected:?}");
    Ok(())
}

/// Of equal priorities each comes exactly once (the order is the GIC's own).
fn equal(gic: &Gic) -> Outcome {
    let lines = lines(gic);
    start_log(note);
    let mut log = together(lines.len(), || lines.iter().rev().for_each(Line::pend));
    interrupts::set_hook(None);
    log.sort_unstable();
    let expected: Vec<u32> = lines.iter().map(|line| line.intid).collect();
    ensure!(log == expected, "{log:?}");
    Ok(())
}

fn mask(gic: &Gic) -> Outcome {
    let line = Line::ready(gic, FIRST);
    let urgent = Line::ready(gic, FIRST + 1);
    urgent.set_priority(0x20);
    let (before, before_urgent) = (line.count(), urgent.count());
    gic::set_priority_mask(u32::from(USUAL_PRIORITY));
    line.pend();
    let at_mask = spin_until(WHILE, || line.count() != before);
    urgent.pend();
    let over = spin_until(SOON, || urgent.count() != before_urgent);
    let pending = line.is(offset::ISPENDR);
    gic::set_priority_mask(gic::OPEN_MASK);
    ensure!(!at_mask, "a priority equal to the mask is delivered");
    ensure!(over, "a priority over the mask is not delivered");
    ensure!(pending, "not pending behind the mask");
    ensure!(spin_until(SOON, || line.count() != before), "lost behind the mask");
    Ok(())
}

fn highest(gic: &Gic) -> Outcome {
    let lines = lines(gic);
    lines[7].set_priority(0x30);
    mask_interrupts();
    lines.iter().for_each(Line::pend);
    let first = gic::highest_pending();
    lines.iter().for_each(|line| line.set(offset::ICPENDR));
    let none = gic::highest_pending();
    unmask_interrupts();
    ensure_eq!(first, lines[7].intid, "highest pending");
    ensure_eq!(none, gic::SPURIOUS, "highest pending of none");
    Ok(())
}

/// In the handler of `FIRST` (priority `outer`) `FIRST + 1` (priority `inner`) becomes pending, interrupts let in.
fn nested(gic: &Gic, binary_point: u32, outer: u8, inner: u8, preempts: bool) -> Outcome {
    let (low, high) = (Line::ready(gic, FIRST), Line::ready(gic, FIRST + 1));
    low.set_priority(outer);
    high.set_priority(inner);
    gic::set_binary_point(binary_point);
    start_log(|intid| {
        note(intid);
        if let (FIRST, Some(boot)) = (intid, el1::boot::get()) {
            let inner = Line::new(&boot.gic, 0, FIRST + 1);
            let before = inner.count();
            inner.pend();
            unmask_interrupts();
            spin_until(WHILE, || inner.count() != before);
            mask_interrupts();
        }
        note(intid | EXIT);
    });
    let log = together(4, || low.pend());
    interrupts::set_hook(None);
    gic::set_binary_point(0);
    let inside = [FIRST, FIRST + 1, (FIRST + 1) | EXIT, FIRST | EXIT];
    let after = [FIRST, FIRST | EXIT, FIRST + 1, (FIRST + 1) | EXIT];
    ensure!(log == if preempts { inside } else { after }, "{outer:#x} then {inner:#x}: {log:x?}");
    Ok(())
}
