//! The work behind `./bramble`.
fn main() {}
