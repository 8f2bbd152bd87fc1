//! The rows of the table and their targets.

use super::Figures;
use serde_json::json;
use std::collections::BTreeMap;

/// What the loop over the branch history adds to each entry from a guest on a Cortex-A72 (docs/errata.md). It is on by
/// default, and part of every target below.
const HISTORY: f64 = 27.0;

/// An operation: how often it enters EL2 from a guest, and its targets without [`HISTORY`].
struct Operation(&'static str, f64, Option<f64>, Option<f64>);

const OPERATIONS: [Operation; 16] = [
    Operation("hvc_psci_version", 1.0, Some(110.0), Some(110.0)),
    Operation("hvc_unknown_4b000000", 1.0, None, None),
    Operation("sysreg_id_aa64pfr0", 1.0, Some(120.0), Some(120.0)),
    Operation("sysreg_id_aa64mmfr0", 1.0, None, None),
    Operation("gicd_typer_read", 1.0, Some(165.0), Some(165.0)),
    Operation("gicr_typer_read", 1.0, Some(200.0), None),
    Operation("gicd_isenabler1_write", 1.0, Some(190.0), Some(190.0)),
    Operation("eoi_spurious", 0.0, None, None),
    Operation("uart_flag_read", 1.0, Some(165.0), Some(165.0)),
    // The flag register, then the data register.
    Operation("console_byte", 2.0, Some(360.0), Some(360.0)),
    Operation("self_sgi_to_eoi", 1.0, Some(330.0), Some(400.0)),
    Operation("vtimer_latency_spin", 1.0, Some(140.0), Some(140.0)),
    // The interrupt comes while EL2 waits.
    Operation("vtimer_latency_wfi", 0.0, Some(150.0), Some(150.0)),
    // An SGI and a WFI of each vCPU.
    Operation("vcpu_pingpong_wfi_roundtrip", 4.0, Some(1700.0), Some(1700.0)),
    Operation("ram_first_touch_4k", 0.0, Some(10.0), Some(10.0)),
    Operation("ram_second_touch_4k", 0.0, None, None),
];

/// Rows of their own: name, unit, target.
const SINGLE: [(&str, &str, f64); 7] = [
    ("vtimer_latency_wfi@switched", "instructions", 450.0),
    ("vcpu_pingpong_wfi_roundtrip@2pe", "instructions", 1300.0),
    ("ram_first_touch_4k@empty", "instructions", 230.0),
    ("image", "KiB", 5000.0 * 1000.0 / 1024.0),
    ("el2_memory_4pe_2gib", "KiB", 16.0 * 1024.0),
    ("entry_to_guest", "ms", 10.0),
    ("entry_to_guest_debian", "ms", 60.0),
];

/// A row of a table.
pub struct Row {
    /// What was measured.
    pub name: String,
    /// In what.
    pub unit: &'static str,
    /// At most this is wanted.
    pub target: Option<f64>,
}

/// The rows of Bramble as a whole.
pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for Operation(name, entries, target, on_gicv2) in OPERATIONS {
        let [target, on_gicv2] = [target, on_gicv2].map(|target| Some(target? + entries * HISTORY));
        rows.push(Row { name: name.to_owned(), unit: "instructions", target });
        rows.push(Row { name: format!("{name}@gicv2"), unit: "instructions", target: on_gicv2 });
    }
    rows.extend(SINGLE.map(|(name, unit, target)| Row { name: name.to_owned(), unit, target: Some(target) }));
    rows
}

/// Prints the table; every row is better when lower.
pub fn print(rows: &[Row], bramble: &Figures, peers: &BTreeMap<&str, Figures>, as_json: bool) {
    let has = |row: &Row| {
        bramble.contains_key(&row.name) || peers.values().any(|peer| peer.contains_key(&row.name))
    };
    let rows: Vec<&Row> = rows.iter().filter(|row| has(row)).collect();
    if as_json {
        let rows: Vec<_> = rows.iter().map(|row| as_value(row, bramble, peers)).collect();
        println!("{}", json!({ "rows": rows }));
        return;
    }
    let head: String = peers.keys().map(|name| format!("{name:>10}")).collect();
    println!("{:<36} {:>10} {:>9}    {head}  unit", "operation", "Bramble", "target");
    for row in &rows {
        let ours = bramble.get(&row.name).copied();
        let mark = match (ours, row.target) {
            (Some(ours), Some(target)) if ours > target => " !",
            _ => "  ",
        };
        let others: String = peers.values().map(|peer| cell(peer.get(&row.name).copied(), 10)).collect();
        println!("{:<36} {} {}{mark}  {others}  {}", row.name, cell(ours, 10), cell(row.target, 9), row.unit);
    }
    println!("! marks what misses its target. Lower is better everywhere.");
}

fn cell(value: Option<f64>, width: usize) -> String {
    let digits = |value: f64| if value < 10.0 { 3 } else { 1 };
    let shown = |value: f64| {
        let text = format!("{value:.*}", digits(value));
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let text = value.map_or_else(|| String::from("–"), shown);
    format!("{text:>width$}")
}

fn as_value(row: &Row, bramble: &Figures, peers: &BTreeMap<&str, Figures>) -> serde_json::Value {
    let others: BTreeMap<&str, Option<f64>> =
        peers.iter().map(|(name, peer)| (*name, peer.get(&row.name).copied())).collect();
    json!({
        "name": row.name,
        "unit": row.unit,
        "bramble": bramble.get(&row.name),
        "target": row.target,
        "better": "lower",
        "peers": others,
    })
}
