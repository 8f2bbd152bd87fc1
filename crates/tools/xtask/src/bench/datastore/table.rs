//! The rows, and how they are printed.

use serde_json::json;

/// A row: a figure of ours, or a ratio to a peer's.
pub struct Row {
    name: String,
    unit: &'static str,
    bramble: f64,
    target: Option<f64>,
    lower: bool,
    /// Operations per second: ours, and the peer's with its name.
    peer: Option<(&'static str, f64, f64)>,
}

impl Row {
    /// Less is better.
    pub fn lower(name: &str, unit: &'static str, target: Option<f64>, bramble: f64) -> Self {
        Self { name: name.to_owned(), unit, bramble, target, lower: true, peer: None }
    }

    /// More is better.
    pub fn higher(name: &str, unit: &'static str, bramble: f64) -> Self {
        Self { name: name.to_owned(), unit, bramble, target: None, lower: false, peer: None }
    }

    /// Operations per second of (ours, theirs), as a ratio.
    pub fn ratio(
        name: &str,
        place: &str,
        target: Option<f64>,
        peer: &'static str,
        (ours, theirs): (f64, f64),
    ) -> Self {
        let peer = Some((peer, ours, theirs));
        Self {
            name: format!("{name}@{place}"),
            unit: "×",
            bramble: ours / theirs,
            target,
            lower: false,
            peer,
        }
    }

    fn misses(&self) -> bool {
        self.target.is_some_and(
            |target| {
                if self.lower { self.bramble > target } else { self.bramble < target }
            },
        )
    }

    /// The row as a line of the table.
    pub fn line(&self) -> String {
        let target = self.target.map_or_else(|| String::from("–"), |target| target.to_string());
        let mark = if self.misses() { " !" } else { "  " };
        let peer = self.peer.map_or_else(String::new, |(name, ours, theirs)| {
            format!("  ({ours:.0} to {theirs:.0} operations/s of {name})")
        });
        format!("{:<46} {:>10.3} {target:>8}{mark}  {}{peer}", self.name, self.bramble, self.unit)
    }

    fn value(&self) -> serde_json::Value {
        let peers = self.peer.map(|(name, ours, theirs)| {
            json!({ name: 1.0, "operations_per_second": { "bramble": ours, name: theirs } })
        });
        json!({
            "name": self.name,
            "unit": self.unit,
            "bramble": self.bramble,
            "target": self.target,
            "better": if self.lower { "lower" } else { "higher" },
            "peers": peers.unwrap_or_else(|| json!({})),
        })
    }
}

/// Prints the table, or JSON.
pub fn print(rows: &[Row], as_json: bool) {
    if as_json {
        let rows: Vec<_> = rows.iter().map(Row::value).collect();
        return println!("{}", json!({ "rows": rows }));
    }
    println!("{:<46} {:>10} {:>8}    unit", "row", "Bramble", "target");
    rows.iter().for_each(|row| println!("{}", row.line()));
    println!("! marks what misses its target.");
}

#[cfg(test)]
mod tests {
    use super::Row;

    #[test]
    fn a_row_knows_which_way_is_better() {
        assert!(Row::lower("a", "blocks", Some(20.0), 21.0).misses());
        assert!(!Row::lower("a", "blocks", Some(20.0), 20.0).misses());
        assert!(Row::ratio("a", "ram", Some(1.0), "raw", (9.0, 10.0)).misses());
        assert!(!Row::ratio("a", "ram", None, "raw", (1.0, 10.0)).misses());
    }
}
