//! The PC side: works on datastores, and later on hosts.
fn main() {}
