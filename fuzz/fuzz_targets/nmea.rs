//! A sentence of NMEA 0183, and every quantity that could be in it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use watchpost::wire::nmea::{Place, Sentence, quantities};

fuzz_target!(|line: &str| {
    let Ok(sentence) = Sentence::parse(line, false) else { return };
    for quantity in quantities() {
        let place = format!("{}.{}", quantity.sentence, quantity.name);
        let _read = place.parse::<Place>().map(|place| place.read(&sentence));
    }
    let _read = "XDR.A".parse::<Place>().map(|place| place.read(&sentence));
});
