//! A segment of the journal: its frames past whatever is damaged, and what is in them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use watchpost::journal::verify;

fuzz_target!(|segment: &[u8]| {
    let _samples = verify::bytes(segment);
    // Whatever the checksums say.
    let _samples = verify::payloads(segment);
});
