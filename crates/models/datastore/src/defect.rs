//! Defects made on purpose, for the simulator to find. No other build has them.

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Defect {
    /// The root is written without a flush before it.
    RootUnflushed,
    /// Blocks that the last checkpoint freed are handed out at once.
    ReusedEarly,
    /// The end of the log is believed without a look at the data that it names.
    LogBelieved,
    /// A FLUSH is acknowledged before the device's flush is done.
    FlushAhead,
    /// A transaction that is cut off counts.
    TornTransaction,
    /// A read's checksums are not looked at.
    ReadUnchecked,
}

impl Defect {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::RootUnflushed,
        Self::ReusedEarly,
        Self::LogBelieved,
        Self::FlushAhead,
        Self::TornTransaction,
        Self::ReadUnchecked,
    ];
}

impl core::str::FromStr for Defect {
    type Err = alloc::string::String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|defect| alloc::format!("{defect:?}") == name);
        found.ok_or_else(|| alloc::format!("the defects are {:?}", Self::ALL))
    }
}
