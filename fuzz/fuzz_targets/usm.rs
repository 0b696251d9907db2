//! A report of an SNMPv3 engine.

#![no_main]

use libfuzzer_sys::fuzz_target;
use watchpost::wire::usm::message_id;

fuzz_target!(|message: &[u8]| {
    let _id = message_id(message);
});
