use proptest::prelude::*;

use super::*;

fn sentence(body: &str) -> String {
    format!("${body}*{:02X}", checksum(body))
}

/// What is at a place of a sentence; infinite where it makes no sense.
fn read(place: &str, body: &str) -> Option<f64> {
    let line = sentence(body);
    let sentence = Sentence::parse(&line, true).unwrap();
    let value = place.parse::<Place>().unwrap().read(&sentence)?;
    Some(value.number().unwrap_or(f64::INFINITY))
}

#[test]
fn sentences_of_real_instruments_are_read() {
    // As receivers print them in their manuals and on the usual pages about NMEA 0183.
    for line in [
        "$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47",
        "$GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*6A",
        "$GPGSV,2,1,08,01,40,083,46,02,17,308,41,12,07,344,39,14,22,228,45*75",
        "$GPVTG,054.7,T,034.4,M,005.5,N,010.2,K*48",
        "!AIVDM,1,1,,A,14eG;o@034o8sd<L9i:a;WF>062D,0*7D",
        "\\s:rx1,c:1000*00\\$GPVTG,054.7,T,034.4,M,005.5,N,010.2,K*48",
    ] {
        assert!(Sentence::parse(line, true).is_ok(), "{line}");
    }
    assert_eq!(Sentence::parse("$GPVTG,1*48", true), Err(NmeaError::WrongChecksum));
    assert_eq!(Sentence::parse("$GPVTG,1", true), Err(NmeaError::NoChecksum));
    assert_eq!(Sentence::parse("$GPVTG,1", false).unwrap().field(1), Some("1"));
    assert_eq!(Sentence::parse("$GPVTG,1*48", false), Err(NmeaError::WrongChecksum));
    for line in ["", "$", "$*00", "$gp,1*13", "GPVTG,1*48", "\\s:x", "$G,1", "$\u{e9}\u{e9},1"] {
        assert!(Sentence::parse(line, false).is_err(), "{line}");
    }
    for digits in ["4", "4 ", "+4", "048", "4G"] {
        assert!(Sentence::parse(&format!("$GPVTG,1*{digits}"), false).is_err(), "{digits}");
    }
}

#[test]
fn places_are_read_in_base_units_or_as_sent() {
    let rmc = "GPRMC,123519,A,4807.038,N,01131.000,W,022.4,084.4,230394,003.1,W";
    for (place, body, expected) in [
        ("RMC.7", rmc, 22.4),
        ("GPRMC.7", rmc, 22.4),
        ("RMC.speed", rmc, 22.4 * 1852.0 / 3600.0),
        ("RMC.latitude", rmc, 48.0 + 7.038 / 60.0),
        ("RMC.longitude", rmc, -(11.0 + 31.0 / 60.0)),
        ("GGA.altitude", "GNGGA,1,4807.038,S,01131.0,E,1,08,0.9,545.4,M,46.9,M,,", 545.4),
        ("GGA.quality", "GNGGA,1,,,,,0,00,,,M,,M,,", 0.0),
        ("MWV.relative_speed", "WIMWV,214.8,R,10,K,A", 10.0 / 3.6),
        ("MWV.relative_angle", "WIMWV,214.8,R,10,K,A", 214.8),
        ("HDT.heading", "HEHDT,274.07,T", 274.07),
        ("DBT.depth", "SDDBT,36.41,f,11.10,M,5.99,F", 11.1),
        ("MTW.temperature", "YXMTW,17.75,C", 17.75),
        ("MDA.pressure", "WIMDA,29.7,I,1.0058,B,20.8,C,,,42,,7.5,C,0,T,,,,,3.5,M", 100_580.0),
        ("MDA.humidity", "WIMDA,29.7,I,1.0058,B,20.8,C,,,42,,7.5,C,0,T,,,,,3.5,M", 0.42),
        ("XDR.BARO", "IIXDR,P,1.02481,B,BARO,C,19.5,C,AIR", 102_481.0),
        ("XDR.AIR", "IIXDR,P,1.02481,B,BARO,C,19.5,C,AIR", 19.5),
        ("XDR.RH", "WIXDR,H,48,P,RH", 0.48),
        ("XDR.P0", "WIXDR,P,101325,P,P0", 101_325.0),
        ("XDR.2", "IIXDR,P,1.02481,B,BARO", 1.02481),
        ("PGRME.1", "PGRME,15.0,M,45.0,M,25.0,M", 15.0),
    ] {
        let read = read(place, body).unwrap();
        assert!((read - expected).abs() <= 1e-9 * expected.abs(), "{place}: {read}");
    }
}

#[test]
fn what_is_not_there_or_not_valid_is_not_read() {
    for (place, body) in [
        ("RMC.speed", "GPRMC,123519,V,4807.038,N,01131.000,E,022.4,,230394,,"),
        ("RMC.latitude", "GPRMC,,A,,,,,,,,,"),
        ("GPRMC.7", "GNRMC,1,A,,,,,3,,,,"),
        ("RME.1", "PGRME,15.0,M"),
        ("GGA.latitude", "GPGGA,1,4807.038,N,01131.0,E,0,00,,,M,,M,,"),
        ("MWV.true_speed", "WIMWV,214.8,R,10,K,A"),
        ("MWV.relative_speed", "WIMWV,214.8,R,10,K,V"),
        ("XDR.OUT", "IIXDR,C,19.5,C,IN"),
        ("XDR.OUT", "IIXDR,C,,C,OUT"),
        ("XDR.OUT", "IIXDR,C,19.5,C"),
        ("HDT.9", "HEHDT,274.07,T"),
    ] {
        assert_eq!(read(place, body), None, "{place} {body}");
    }
    for (place, body) in [
        ("RMC.latitude", "GPRMC,1,A,9900.0,N,01131.000,E,1,,1,,"),
        ("RMC.latitude", "GPRMC,1,A,4860.0,N,01131.000,E,1,,1,,"),
        ("RMC.latitude", "GPRMC,1,A,4807.0,X,01131.000,E,1,,1,,"),
        ("RMC.latitude", "GPRMC,1,A,4807.0,,01131.000,E,1,,1,,"),
        ("RMC.latitude", "GPRMC,1,A,-4807.0,N,01131.000,E,1,,1,,"),
        ("MWV.relative_speed", "WIMWV,214.8,R,10,X,A"),
        ("HDT.heading", "HEHDT,north,T"),
        ("XDR.OUT", "IIXDR,C,warm,C,OUT"),
    ] {
        assert_eq!(read(place, body), Some(f64::INFINITY), "{place} {body}");
    }
}

#[test]
fn a_place_that_is_none_is_told() {
    for (place, told) in [
        ("RMC", "`RMC` is no place in a sentence, such as RMC.speed, GPRMC.7 or XDR.NAME"),
        ("rmc.7", "`rmc.7` is no place in a sentence, such as RMC.speed, GPRMC.7 or XDR.NAME"),
        ("RMC.0", "`RMC.0`: fields count from 1"),
        ("RMC.spede", "RMC has latitude, longitude, speed, course, or fields by number"),
        ("GPRMC.x", "GPRMC has latitude, longitude, speed, course, or fields by number"),
        ("PGRME.error", "PGRME has no fields with names here; give their numbers"),
    ] {
        assert_eq!(place.parse::<Place>(), Err(told.to_owned()));
    }
}

#[test]
fn quantities_are_called_once() {
    let mut names: Vec<_> = quantities().iter().map(|q| (q.sentence, q.name)).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);
}

proptest! {
    #[test]
    fn any_text_is_a_sentence_or_none(line in "[$!*\\\\A-Z0-9,.a-f é]{0,90}", loose: bool) {
        if let Ok(sentence) = Sentence::parse(&line, !loose) {
            for quantity in quantities() {
                let place = format!("{}.{}", quantity.sentence, quantity.name);
                let _read = place.parse::<Place>().unwrap().read(&sentence);
            }
        }
    }

    #[test]
    fn fields_read_back(fields in proptest::collection::vec("[ -)+-~]{0,8}", 1..20)) {
        let fields: Vec<_> = fields.iter().map(|field| field.replace(',', ";")).collect();
        let line = sentence(&format!("WIXYZ,{}", fields.join(",")));
        let sentence = Sentence::parse(&line, true).unwrap();
        for (at, field) in fields.iter().enumerate() {
            let expected = Some(field.trim()).filter(|field| !field.is_empty());
            prop_assert_eq!(sentence.field(at + 1), expected);
        }
    }

    #[test]
    fn one_wrong_character_is_noticed(body in "GPRMC,[A-Z0-9,.]{1,60}", at in 0usize..60, bit in 0u8..7) {
        let mut bytes = sentence(&body).into_bytes();
        let at = 1 + at % body.len();
        bytes[at] ^= 1 << bit;
        let line = String::from_utf8(bytes).unwrap();
        prop_assert!(Sentence::parse(&line, true).is_err(), "{}", line);
    }

    #[test]
    fn positions_read_back(degrees in 0u32..90, minutes in 0.0f64..59.999, south: bool) {
        let body = format!("GPGLL,{degrees:02}{minutes:07.4},{},,,1,A", if south { "S" } else { "N" });
        let expected = (f64::from(degrees) + minutes / 60.0) * if south { -1.0 } else { 1.0 };
        let read = read("GLL.latitude", &body).unwrap();
        prop_assert!((read - expected).abs() < 1e-5, "{} {}", read, expected);
    }
}
