//! Packets of a raw ICMP socket, and what error messages quote.

#![no_main]

use libfuzzer_sys::fuzz_target;
use watchpost::wire::icmp::{self, Version};

fuzz_target!(|packet: &[u8]| {
    let message = icmp::without_ipv4_header(packet).unwrap_or(packet);
    for version in [Version::V4, Version::V6] {
        let _ = (icmp::reply(version, message), icmp::quoted(version, message));
    }
});
