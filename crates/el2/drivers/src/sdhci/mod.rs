//! SDHCI.
pub mod card;
