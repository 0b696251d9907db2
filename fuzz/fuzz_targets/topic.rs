//! A topic filter, and a topic it is compared with.

#![no_main]

use libfuzzer_sys::fuzz_target;
use watchpost::wire::topic::Filter;

fuzz_target!(|texts: (&str, &str)| {
    if let Ok(filter) = texts.0.parse::<Filter>() {
        let _matches = filter.matches(texts.1);
    }
});
