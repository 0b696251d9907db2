//! A reply of a name server.

#![no_main]

use libfuzzer_sys::fuzz_target;
use watchpost::wire::dns::Answer;

fuzz_target!(|message: &[u8]| {
    drop(Answer::decode(message));
});
