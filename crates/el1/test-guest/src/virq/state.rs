//! Pending, enabled and active bits.

use super::*;

/// All of it.
pub fn run(boot: &'static Boot, report: &mut Report) {
    let gic = &boot.gic;
    report.test("virq-spi", || delivered(&Line::ready(gic, FIRST)));
    report.test("virq-ppi", || delivered(&Line::ready(gic, FREE_PPI)));
    report.test("virq-disabled", || disabled(gic));
    report.test("virq-distributor-off", || distributor_off(gic));
    report.test("virq-clear-pending", || clear_pending(gic));
    report.test("virq-many", || many(gic));
    report.test("virq-repend", || repend(gic));
    report.test("virq-active", || active(gic));
    report.test("virq-set-active", || set_active(gic));
    report.test("virq-split-end", || split_end(gic));
    Line::ready(gic, FREE_PPI).set(offset::ICENABLER);
}

/// Pending once gives one interrupt, a hundred times.
fn delivered(line: &Line) -> Outcome {
    for round in 0..100 {
        let before = line.count();
        line.pend();
        ensure!(spin_until(SOON, || line.count() != before), "round {round}: not delivered");
        spin_until(5, || false);
        ensure_eq!(line.count() - before, 1, "deliveries");
        ensure!(!line.is(offset::ISPENDR), "still pending");
        ensure!(!line.is(offset::ISACTIVER), "still active");
    }
    Ok(())
}

fn disabled(gic: &Gic) -> Outcome {
    let line = Line::ready(gic, FIRST);
    line.set(offset::ICENABLER);
    let before = line.count();
    line.pend();
    ensure!(!spin_until(WHILE, || line.count() != before), "delivered while disabled");
    ensure!(line.is(offset::ISPENDR), "not pending while disabled");
    line.set(offset::ISENABLER);
    ensure!(spin_until(SOON, || line.count() != before), "not delivered when enabled");
    // Disabled after it became pending, before it is taken.
    let before = line.count();
    mask_interrupts();
    line.pend();
    line.set(offset::ICENABLER);
    unmask_interrupts();
    ensure!(!spin_until(WHILE, || line.count() != before), "delivered after it was disabled");
    line.set(offset::ISENABLER);
    ensure!(spin_until(SOON, || line.count() != before), "lost");
    Ok(())
}

fn distributor_off(gic: &Gic) -> Outcome {
    let line = Line::ready(gic, FIRST);
    let before = line.count();
    let control = gic.distributor().read32(offset::CTLR);
    gic.distributor().write32(offset::CTLR, control & !3);
    line.pend();
    let came = spin_until(WHILE, || line.count() != before);
    gic.distributor().write32(offset::CTLR, control);
    ensure!(!came, "delivered with the Distributor off");
    ensure!(spin_until(SOON, || line.count() != before), "not delivered when the Distributor is on again");
    Ok(())
}

/// A pending bit that is cleared before the interrupt is taken gives none.
fn clear_pending(gic: &Gic) -> Outcome {
    let lines = lines(gic);
    let before: Vec<u32> = lines.iter().map(Line::count).collect();
    mask_interrupts();
    for line in &lines {
        line.pend();
    }
    for (line, _) in lines.iter().zip(0..).filter(|(_, n)| n % 2 == 0) {
        line.set(offset::ICPENDR);
    }
    let still = lines.iter().filter(|line| line.is(offset::ISPENDR)).count();
    unmask_interrupts();
    spin_until(WHILE, || false);
    ensure_eq!(still, lines.len() / 2, "pending");
    for (n, line) in lines.iter().enumerate() {
        ensure_eq!(line.count() - before[n], n as u32 % 2, alloc::format!("deliveries of line {n}"));
    }
    Ok(())
}

/// More interrupts than list registers, each exactly once, twenty times.
fn many(gic: &Gic) -> Outcome {
    let lines = lines(gic);
    for round in 0..20 {
        let before: Vec<u32> = lines.iter().map(Line::count).collect();
        mask_interrupts();
        for line in &lines {
            line.pend();
        }
        unmask_interrupts();
        let done = || lines.iter().zip(&before).all(|(line, before)| line.count() != *before);
        ensure!(spin_until(SOON, done), "round {round}: some are lost");
        spin_until(10, || false);
        for (line, before) in lines.iter().zip(&before) {
            ensure_eq!(line.count() - before, 1, alloc::format!("deliveries of {}", line.intid));
        }
    }
    Ok(())
}

/// An edge that comes while the interrupt is active is taken after its end.
fn repend(gic: &Gic) -> Outcome {
    static LEFT: AtomicU32 = AtomicU32::new(0);
    let line = Line::ready(gic, FIRST);
    LEFT.store(3, Relaxed);
    start_log(|intid| {
        if LEFT.load(Relaxed) > 0 {
            LEFT.fetch_sub(1, Relaxed);
            if let Some(boot) = el1::boot::get() {
                let line = Line::new(&boot.gic, 0, intid);
                line.pend();
                let both = line.is(offset::ISPENDR) && line.is(offset::ISACTIVER);
                note(if both { intid } else { 0 });
            }
        } else {
            note(intid);
        }
    });
    let log = together(4, || line.pend());
    interrupts::set_hook(None);
    ensure!(log == [FIRST; 4], "log {log:?}");
    Ok(())
}

/// Active in the handler, not after.
fn active(gic: &Gic) -> Outcome {
    let line = Line::ready(gic, FIRST);
    start_log(|intid| {
        if let Some(boot) = el1::boot::get() {
            let line = Line::new(&boot.gic, 0, intid);
            note(u32::from(line.is(offset::ISACTIVER)) | u32::from(line.is(offset::ISPENDR)) << 1);
            note(gic::running_priority());
        }
    });
    let log = together(2, || line.pend());
    interrupts::set_hook(None);
    ensure!(
        log == [1, u32::from(USUAL_PRIORITY)],
        "in the handler: active | pending << 1, priority: {log:?}"
    );
    ensure!(!line.is(offset::ISACTIVER), "active after its end");
    ensure_eq!(gic::running_priority(), 0xff, "running priority after");
    Ok(())
}

/// Software sets the active bit: nothing is delivered until it is cleared.
fn set_active(gic: &Gic) -> Outcome {
    let line = Line::ready(gic, FIRST);
    let before = line.count();
    line.set(offset::ISACTIVER);
    ensure!(line.is(offset::ISACTIVER), "ISACTIVER does not read back");
    line.pend();
    ensure!(!spin_until(WHILE, || line.count() != before), "delivered while active");
    line.set(offset::ICACTIVER);
    ensure!(spin_until(SOON, || line.count() != before), "not delivered after ICACTIVER");
    Ok(())
}

/// EOImode 1: the end drops the priority, the deactivation is a step of its own.
fn split_end(gic: &Gic) -> Outcome {
    let (line, other) = (Line::ready(gic, FIRST), Line::ready(gic, FIRST + 1));
    gic::set_split_end(true);
    let (before, before_other) = (line.count(), other.count());
    line.pend();
    let first = spin_until(SOON, || line.count() != before);
    line.pend();
    other.pend();
    let others = spin_until(SOON, || other.count() != before_other);
    let twice = spin_until(WHILE, || line.count() != before + 1);
    let active = line.is(offset::ISACTIVER);
    gic::deactivate(FIRST + 1);
    gic::deactivate(FIRST);
    let second = spin_until(SOON, || line.count() == before + 2);
    gic::deactivate(FIRST);
    let active_after = line.is(offset::ISACTIVER);
    gic::set_split_end(false);
    ensure!(first && active, "delivered {first}, active after the priority drop {active}");
    ensure!(others, "another of the same priority is not delivered after the drop");
    ensure!(!twice, "delivered again while active");
    ensure!(second && !active_after, "after deactivation: delivered {second}, active {active_after}");
    Ok(())
}
