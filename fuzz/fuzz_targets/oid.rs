//! An object identifier, as text and as bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use watchpost::wire::oid::{Oid, show};

fuzz_target!(|bytes: &[u8]| {
    let _shown = show(bytes);
    if let Some(oid) = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<Oid>().ok()) {
        assert_eq!(show(oid.as_bytes()).parse::<Oid>().ok(), Some(oid));
    }
});
