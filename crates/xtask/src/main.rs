//! Project tasks: setup, demo, test.
fn main() {}
