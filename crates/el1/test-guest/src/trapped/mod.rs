//! Every system register that a hypervisor traps or hides: what must work works, what the ID registers hide is
//! undefined, and nothing stops the guest.
//!
//! Arm ARM C5.3 (encodings), D24.2 (ID registers), D24.3 (debug registers). Made at run time with `el1::instruction`.

mod hidden;

use crate::harness::{Outcome, Report};
use crate::{ensure, ensure_eq};
use alloc::format;
use alloc::string::String;
use el1::boot::Boot;
use el1::exceptions::class;
use el1::instruction::{self, Encoding, execute, read, write};
use hidden::{DFR0, PFR0};

const fn register(op0: u8, op1: u8, crn: u8, crm: u8, op2: u8) -> Encoding {
    Encoding::new(op0, op1, crn, crm, op2)
}

/// Registers of EL2 and EL3, and EL1's under their EL12 names.
const ABOVE: &[Encoding] = &[
    register(3, 4, 1, 1, 0),   // HCR_EL2
    register(3, 4, 1, 0, 0),   // SCTLR_EL2
    register(3, 4, 2, 1, 0),   // VTTBR_EL2
    register(3, 4, 2, 1, 2),   // VTCR_EL2
    register(3, 4, 5, 2, 0),   // ESR_EL2
    register(3, 4, 12, 0, 0),  // VBAR_EL2
    register(3, 4, 14, 0, 3),  // CNTVOFF_EL2
    register(3, 4, 14, 1, 0),  // CNTHCTL_EL2
    register(3, 4, 12, 11, 0), // ICH_HCR_EL2
    register(3, 4, 12, 12, 0), // ICH_LR0_EL2
    register(3, 4, 0, 0, 5),   // VMPIDR_EL2
    register(3, 5, 1, 0, 0),   // SCTLR_EL12
    register(3, 5, 12, 0, 0),  // VBAR_EL12
    register(3, 6, 1, 0, 0),   // SCTLR_EL3
    register(3, 6, 1, 1, 0),   // SCR_EL3
];

/// All of it.
pub fn run(boot: &'static Boot, report: &mut Report) {
    report.test("id-registers", id_registers);
    report.test("id-reserved-zero", id_reserved);
    report.test("id-writes-undefined", id_writes);
    hidden::run(report);
    report.test("el2-undefined", above);
    report.test("debug-registers", debug);
    report.test("cache-operations", cache_operations);
    report.test("tlb-operations", tlb_operations);
    report.test("plain-registers", plain);
    report.test("reserved-encodings", reserved_encodings);
    if boot.gic.version() == 3 {
        report.test("icc-registers", icc);
    }
}

fn expect(register: Encoding) -> Result<u64, String> {
    read(register).map_err(|e| format!("{register:?} gives {e:x?}"))
}

fn undefined(word: u32) -> Outcome {
    match execute(word, 0) {
        Ok(value) => Err(format!("{word:#010x} gives {value:#x}")),
        Err(exception) if exception.is_undefined() => Ok(()),
        Err(exception) => Err(format!("{word:#010x} gives {exception:x?}")),
    }
}

fn id_registers() -> Outcome {
    // MIDR, MPIDR, REVIDR.
    for op2 in [0, 5, 6] {
        expect(register(3, 0, 0, 0, op2))?;
    }
    for crm in 1..8 {
        for op2 in 0..8 {
            expect(register(3, 0, 0, crm, op2))?;
        }
    }
    // CCSIDR, CLIDR, AIDR, CSSELR, CTR, DCZID.
    for register in [
        register(3, 1, 0, 0, 0),
        register(3, 1, 0, 0, 1),
        register(3, 1, 0, 0, 7),
        register(3, 2, 0, 0, 0),
        register(3, 3, 0, 0, 1),
        register(3, 3, 0, 0, 7),
    ] {
        expect(register)?;
    }
    let pfr0 = expect(PFR0)?;
    ensure!(pfr0 & 0xf != 0 && pfr0 & 0xf0 != 0, "ID_AA64PFR0_EL1 {pfr0:#x}: no EL0 or no EL1");
    ensure_eq!(pfr0 >> 8 & 0xf, 0, "PFR0.EL2: nested virtualization is not shown");
    Ok(())
}

/// Slots that no version of the architecture has given a name.
fn id_reserved() -> Outcome {
    for (crm, op2) in
        [(3, 7), (4, 3), (4, 6), (5, 3), (5, 6), (5, 7), (6, 4), (6, 5), (6, 6), (7, 5), (7, 6), (7, 7)]
    {
        ensure_eq!(expect(register(3, 0, 0, crm, op2))?, 0, format!("reserved ID register {crm}, {op2}"));
    }
    Ok(())
}

fn id_writes() -> Outcome {
    for crm in [4, 5, 6, 7] {
        undefined(register(3, 0, 0, crm, 0).msr())?;
    }
    undefined(register(3, 0, 0, 0, 0).msr())
}

fn above() -> Outcome {
    for register in ABOVE {
        undefined(register.mrs())?;
        undefined(register.msr())?;
    }
    Ok(())
}

/// Debug registers work or read as zero; a write does not stop the guest.
fn debug() -> Outcome {
    let dfr0 = expect(DFR0)?;
    for (field, first) in [(dfr0 >> 12 & 0xf, 4), (dfr0 >> 20 & 0xf, 6)] {
        for n in 0..=field as u8 {
            for op2 in [first, first + 1] {
                let register = register(2, 0, 0, n, op2);
                expect(register)?;
                write(register, 0).map_err(|e| format!("{register:?} gives {e:x?}"))?;
            }
        }
    }
    let mdscr = register(2, 0, 0, 2, 2);
    expect(mdscr)?;
    write(mdscr, 0).map_err(|e| format!("MDSCR_EL1: {e:x?}"))?;
    // OSLAR, OSDLR, CLAIMCLR: writes; OSLSR, OSDLR, CLAIMSET, CLAIMCLR, MDRAR: reads.
    for (crm, op2) in [(0, 4), (3, 4)] {
        let register = register(2, 0, 1, crm, op2);
        write(register, 0).map_err(|e| format!("{register:?} gives {e:x?}"))?;
    }
    for register in [
        register(2, 0, 1, 1, 4),
        register(2, 0, 1, 3, 4),
        register(2, 0, 7, 8, 6),
        register(2, 0, 7, 9, 6),
        register(2, 0, 1, 0, 0),
    ] {
        expect(register)?;
    }
    // DBGPRCR_EL1, DBGAUTHSTATUS_EL1: QEMU's PEs have none.
    for register in [register(2, 0, 1, 4, 4), register(2, 0, 7, 14, 6)] {
        let _ = read(register);
    }
    Ok(())
}

fn cache_operations() -> Outcome {
    let address = ABOVE.as_ptr() as u64;
    let operations: [(u32, u64); 11] = [
        (0xd508_751f, 0),       // ic iallu
        (0xd508_711f, 0),       // ic ialluis
        (0xd50b_7520, address), // ic ivau
        (0xd50b_7a20, address), // dc cvac
        (0xd50b_7b20, address), // dc cvau
        (0xd50b_7e20, address), // dc civac
        (0xd508_7640, 0),       // dc isw
        (0xd508_7a40, 0),       // dc csw
        (0xd508_7e40, 0),       // dc cisw
        (0xd508_7800, address), // at s1e1r
        (0xd508_7840, address), // at s1e0r
    ];
    for (word, operand) in operations {
        execute(word, operand).map_err(|e| format!("{word:#010x} gives {e:x?}"))?;
    }
    Ok(())
}

fn tlb_operations() -> Outcome {
    for (word, operand) in [
        (0xd508_871f, 0),       // tlbi vmalle1
        (0xd508_831f, 0),       // tlbi vmalle1is
        (0xd508_8720, 0x40000), // tlbi vae1
        (0xd508_8320, 0x40000), // tlbi vae1is
        (0xd508_8740, 1),       // tlbi aside1
        (0xd508_8760, 0x40000), // tlbi vaae1
    ] {
        execute(word, operand).map_err(|e| format!("{word:#010x} gives {e:x?}"))?;
    }
    // For EL2: undefined here.
    undefined(0xd50c_871f)?; // tlbi alle2
    undefined(0xd50c_879f)?; // tlbi alle1
    Ok(())
}

/// Registers of EL1 that may be trapped: they work.
fn plain() -> Outcome {
    // ACTLR, CPACR, AFSR0, AFSR1, AMAIR, CONTEXTIDR, CNTKCTL.
    for register in [
        register(3, 0, 1, 0, 1),
        register(3, 0, 1, 0, 2),
        register(3, 0, 5, 1, 0),
        register(3, 0, 5, 1, 1),
        register(3, 0, 10, 3, 0),
        register(3, 0, 13, 0, 1),
        register(3, 0, 14, 1, 0),
    ] {
        let value = expect(register)?;
        write(register, value).map_err(|e| format!("{register:?} gives {e:x?}"))?;
    }
    let tpidr = register(3, 3, 13, 0, 2);
    write(tpidr, 0x1234_5678_9abc_def0).map_err(|e| format!("{e:x?}"))?;
    ensure_eq!(expect(tpidr)?, 0x1234_5678_9abc_def0, "TPIDR_EL0");
    // WFE with an event set, SEV, YIELD, unallocated hints: go on.
    for word in [0xd503_209f, 0xd503_205f, 0xd503_203f, 0xd503_2fff_u32] {
        execute(word, 0).map_err(|e| format!("{word:#010x} gives {e:x?}"))?;
    }
    // HVC and SMC with a number that is no convention: an answer or an exception, not the end.
    for word in [0xd400_0022, 0xd41f_ffe2_u32] {
        let _ = execute(word, 0);
    }
    match execute(0xd420_0000, 0) {
        Err(exception) if exception.class() == class::BREAKPOINT => Ok(()),
        other => Err(format!("BRK gives {other:x?}")),
    }
}

/// The whole IMPLEMENTATION DEFINED space and what lies beside it: value or undefined, and the guest goes on.
fn reserved_encodings() -> Outcome {
    let mut answered = 0;
    for op1 in [0, 1, 2, 3, 4, 6, 7] {
        for crn in [11, 15] {
            for crm in 0..16 {
                for op2 in 0..8 {
                    match read(register(3, op1, crn, crm, op2)) {
                        Ok(_) => answered += 1,
                        Err(e) if e.is_undefined() || e.class() == class::SYSTEM_REGISTER => {}
                        Err(e) => return Err(format!("S3_{op1}_C{crn}_C{crm}_{op2} gives {e:x?}")),
                    }
                }
            }
        }
    }
    ensure!(answered < 1792, "all of them answer");
    ensure!(!instruction::is_allowed(register(3, 0, 12, 0, 0).msr()), "VBAR_EL1 could be written");
    Ok(())
}

fn icc() -> Outcome {
    // BPR0, BPR1, CTLR, HPPIR0, HPPIR1, IAR0, IGRPEN0, IGRPEN1, PMR, RPR, SRE, AP0R0, AP1R0.
    for (crn, crm, op2) in [
        (12, 8, 3),
        (12, 12, 3),
        (12, 12, 4),
        (12, 8, 2),
        (12, 12, 2),
        (12, 8, 0),
        (12, 12, 6),
        (12, 12, 7),
        (4, 6, 0),
        (12, 11, 3),
        (12, 12, 5),
        (12, 8, 4),
        (12, 9, 0),
    ] {
        expect(register(3, 0, crn, crm, op2))?;
    }
    let sre = register(3, 0, 12, 12, 5);
    write(sre, 0).map_err(|e| format!("ICC_SRE_EL1: {e:x?}"))?;
    ensure!(expect(sre)? & 1 == 1, "ICC_SRE_EL1.SRE can be cleared");
    // SGIs of group 0 and of the other security state: nothing happens.
    for (crm, op2) in [(11, 6), (11, 7)] {
        write(register(3, 0, 12, crm, op2), 1 << 24 | 1).map_err(|e| format!("ICC_SGI: {e:x?}"))?;
    }
    Ok(())
}
