//! syncyte
fn main() {}
