//! A file of the store: whole, and its parts as if their checksums were right.

#![no_main]

use libfuzzer_sys::fuzz_target;
use watchpost::store::segment::{read_all, read_parts};

fuzz_target!(|bytes: &[u8]| {
    drop(read_all(bytes));
    read_parts(bytes);
});
