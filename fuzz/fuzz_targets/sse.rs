//! Server-sent events in any pieces.

#![no_main]

use libfuzzer_sys::fuzz_target;
use watchpost::wire::sse::Parser;

fuzz_target!(|bytes: &[u8]| {
    let (mut parser, mut out) = (Parser::new(), Vec::new());
    for piece in bytes.chunks(7) {
        parser.push(piece, &mut out);
    }
});
