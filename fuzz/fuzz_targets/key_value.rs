//! Pairs of key and value.

#![no_main]

use libfuzzer_sys::fuzz_target;
use watchpost::wire::key_value::pairs;

fuzz_target!(|text: &str| {
    assert!(pairs(text).count() <= text.len());
});
