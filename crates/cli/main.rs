//! The `capsmith` command line.
fn main() {}
