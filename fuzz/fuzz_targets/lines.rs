//! Bytes of a serial port, cut into lines in any pieces.

#![no_main]

use libfuzzer_sys::fuzz_target;
use watchpost::wire::lines::Lines;

fuzz_target!(|bytes: &[u8]| {
    let mut lines = Lines::new(b'\n', 64);
    for piece in bytes.chunks(7) {
        lines.feed(piece, |_| {});
    }
});
