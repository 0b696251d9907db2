//! The output of a plugin.

#![no_main]

use libfuzzer_sys::fuzz_target;
use watchpost::wire::nagios::parse;

fuzz_target!(|output: &str| {
    drop(parse(output));
});
