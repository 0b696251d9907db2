//! Bytes to values and back: no I/O, no clock, no state beyond the value at hand; all of it fuzzed.

pub mod csv;
pub mod dns;
pub mod icmp;
pub mod json;
pub mod key_value;
pub mod line_protocol;
pub mod lines;
pub mod nagios;
pub mod nmea;
pub mod oid;
pub mod remote_write;
pub mod sse;
pub mod topic;
pub mod usm;
pub mod value;
