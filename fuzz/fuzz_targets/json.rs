//! A JSON document, read by pointers.

#![no_main]

use libfuzzer_sys::fuzz_target;
use watchpost::wire::json::Pointers;

fuzz_target!(|document: &[u8]| {
    let pointers = Pointers::new(["/a", "/b/0", ""]).expect("these are pointers");
    drop(pointers.read(document, |_, _| {}));
});
