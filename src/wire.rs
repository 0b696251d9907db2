//! Bytes to values and back: no I/O, no clock, no state beyond the value at hand; all of it fuzzed.

pub mod dns;
pub mod nagios;
pub mod sse;
