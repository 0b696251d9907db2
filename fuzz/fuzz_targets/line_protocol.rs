//! InfluxDB's line protocol.

#![no_main]

use libfuzzer_sys::fuzz_target;
use watchpost::wire::line_protocol::lines;

fuzz_target!(|text: &str| {
    assert!(lines(text).count() <= text.len() + 1);
});
