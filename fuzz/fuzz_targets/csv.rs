//! A line of comma-separated values.

#![no_main]

use libfuzzer_sys::fuzz_target;
use watchpost::wire::csv::columns;

fuzz_target!(|line: &str| {
    let _read = columns(line, b',', |_, _| {});
});
