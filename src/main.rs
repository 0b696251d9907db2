//! The command: arguments, logging, exit codes.

fn main() {}
