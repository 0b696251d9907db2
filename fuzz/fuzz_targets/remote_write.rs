//! Prometheus remote write, as sent and uncompressed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use watchpost::wire::remote_write::{time_series, uncompressed};

fuzz_target!(|body: &[u8]| {
    assert!(time_series(body).count() <= body.len() + 1);
    if let Ok(message) = uncompressed(body, 1 << 16) {
        assert!(time_series(&message).count() <= message.len() + 1);
    }
});
