//! The `capn` command.

fn main() {}
