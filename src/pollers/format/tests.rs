//! Formats against payloads, good and bad; and configurations against the messages they deserve.

use std::path::PathBuf;
use std::sync::Arc;

use toml::de::DeTable;

use super::*;
use crate::config::Diagnostics;
use crate::config::read::FromTable;
use crate::sample::{Catalogue, Clock, Readings, TargetTags, Timestamp, Written};

/// Reads the keys of a payload, or tells every mistake in them.
fn payload(text: &str) -> Result<Payload, Vec<String>> {
    let mut diagnostics = Diagnostics::default();
    let file = diagnostics.add_source(PathBuf::from("test.toml"), text.to_owned());
    let env = |_: &str| None;
    let mut cx = Context { diagnostics: &mut diagnostics, file, folder: PathBuf::new(), env: &env };
    let parsed = DeTable::parse(text).unwrap();
    let node = toml::Spanned::new(0..text.len(), toml::de::DeValue::Table(parsed.into_inner()));
    let mut table = Table::new(&node, "serial.test", &mut cx).unwrap();
    let read = Payload::from_table(&mut table);
    table.finish();
    let shown = diagnostics.to_string();
    let told = shown.lines().filter_map(|line| line.strip_prefix("test.toml:"));
    let message = |line: &str| line.splitn(3, ':').nth(2).map(|text| text.trim().to_owned());
    let mistakes: Vec<_> = told.filter_map(message).collect();
    if mistakes.is_empty() { Ok(read.unwrap()) } else { Err(mistakes) }
}

/// What a payload comes to under a configuration: the readings, and what was rejected.
fn read(config: &str, payload_bytes: &[u8]) -> (Vec<String>, Option<Reject>) {
    let catalogue = Arc::new(Catalogue::default());
    let tags = TargetTags { target: "t".into(), tags: Arc::default() };
    let clock = Arc::new(Clock::starting_at(Timestamp::from_secs(1)));
    let mut out = Readings::new(catalogue.clone(), clock, tags);
    let mut plan = Plan::new(&payload(config).unwrap(), "serial", []);
    let row = out.row(&plan.measurement, &[]);
    let rejected = plan.write(payload_bytes, row, &[], &mut out).err();
    let batches = out.finish(Written::News);
    let samples = batches.iter().flat_map(|batch| &batch.samples);
    let words = samples.map(|s| format!("{} {}", catalogue.series(s.series), s.value));
    (words.collect(), rejected)
}

#[test]
fn every_format_is_read() {
    let fields = |at: &str| format!("fields = {{ h_ratio = {{ at = {at}, scale = 0.01 }} }}");
    for (config, line) in [
        ("format = 'number'\nfield = 'h_ratio'\nscale = 0.01".to_owned(), " 40\r"),
        ("format = 'text'\nfield = 'h_ratio'\nmap = { LOW = 0.4 }".to_owned(), "LOW"),
        (format!("format = 'json'\n{}", fields("'/h'")), r#"{"t":1,"h":"40"}"#),
        (format!("format = 'csv'\n{}", fields("2")), "1,40,3"),
        (
            format!("format = 'csv'\nseparator = ';'\ncolumns = ['t', 'h']\n{}", fields("'h'")),
            "1;\"40\"",
        ),
        (format!("format = 'key_value'\n{}", fields("'h'")), "t=1 h=40 %"),
        (
            format!("format = 'regex'\npattern = 'hum (?<h>[0-9.]+)'\n{}", fields("'h'")),
            "x hum 40%",
        ),
    ] {
        let expected = (vec!["serial_h_ratio{} 0.4".to_owned()], None);
        assert_eq!(read(&config, line.as_bytes()), expected, "{config}: {line}");
    }
    assert_eq!(
        read("format = 'influx'", b"climate,room=hall t=21.5,ok=t,s=\"x\" 17\nclimate h=40i"),
        (
            vec![
                "climate_t{room=\"hall\"} 21.5".into(),
                "climate_ok{room=\"hall\"} 1".into(),
                "climate_h{} 40".into()
            ],
            None
        )
    );
}

/// As [`read`], with tags.
fn read_tagged(config: &str, tags: &[(&str, &str)], line: &[u8]) -> (Vec<String>, Option<bool>) {
    let catalogue = Arc::new(Catalogue::default());
    let target = TargetTags { target: "t".into(), tags: Arc::default() };
    let clock = Arc::new(Clock::starting_at(Timestamp::from_secs(1)));
    let mut out = Readings::new(catalogue.clone(), clock, target);
    let payload = payload(config).unwrap();
    let tags: Vec<_> = tags
        .iter()
        .map(|(name, text)| (name.to_string(), text.parse::<TagText>().unwrap().at_topic("a/b")))
        .collect();
    tags.iter().for_each(|(_, text)| payload.check_tag(text).unwrap());
    let mut plan = Plan::new(&payload, "serial", tags.iter().map(|(_, text)| text));
    let row = plan.row(&tags, &mut out);
    let taken = plan.write(line, row, &tags, &mut out).ok();
    let batches = out.finish(Written::News);
    let samples = batches.iter().flat_map(|batch| &batch.samples);
    let words = samples.map(|s| format!("{} {}", catalogue.series(s.series), s.value));
    (words.collect(), taken.map(|taken| taken.lacks_tag))
}

#[test]
fn tags_are_read_in_every_format_that_has_places() {
    let json = "format = 'json'\nfields = { t = '/t' }";
    let csv = "format = 'csv'\ncolumns = ['t', 'id']\nfields = { t = 1 }";
    let key_value = "format = 'key_value'\nfields = { t = 't' }";
    let regex = "format = 'regex'\npattern = '(?<id>\\w+)?:(?<t>\\d+)'\nfields = { t = 't' }";
    for (config, tag, line) in [
        (json, "{/a/id}", r#"{"t":5,"a":{"id":"ev1x"}}"#),
        (json, "ev{/id}x", r#"{"id":1.0,"t":5}"#),
        (csv, "{id}", "5, ev1x"),
        (csv, "{#2}", "5,\"ev1x\""),
        (key_value, "{id}", "id=ev1x t=5"),
        (regex, "{id}", "ev1x:5"),
        ("format = 'number'\nfield = 't'", "ev1x", "5"),
    ] {
        let expected = (vec!["serial_t{tag=\"ev1x\"} 5".to_owned()], Some(false));
        assert_eq!(read_tagged(config, &[("tag", tag)], line.as_bytes()), expected, "{line}");
    }
    for (config, tag, line) in [
        (json, "ev{/id}", r#"{"t":5}"#),
        (json, "ev{/id}", r#"{"t":5,"id":null}"#),
        (json, "ev{/id}", r#"{"t":5,"id":{"a":1}}"#),
        (json, "ev{/id}", r#"{"t":5,"id":""}"#),
        (csv, "ev{id}", "5"),
        (key_value, "{id}", "t=5"),
        (regex, "{id}", ":5"),
    ] {
        let tags = [("tag", tag), ("level", "{1}")];
        let expected = (vec!["serial_t{level=\"b\"} 5".to_owned()], Some(true));
        assert_eq!(read_tagged(config, &tags, line.as_bytes()), expected, "{line}");
    }
    let tags = [("a", "{/a}"), ("b", "{1}"), ("c", "{/b}{/a}")];
    assert_eq!(
        read_tagged(json, &tags, br#"{"b":false,"t":5,"a":-3}"#).0,
        [r#"serial_t{a="-3",b="b",c="false-3"} 5"#]
    );
    let influx = read_tagged("format = 'influx'", &[("b", "{1}")], b"climate,room=hall t=1");
    assert_eq!(influx.0, [r#"climate_t{b="b",room="hall"} 1"#]);
}

#[test]
fn hostile_tags_are_bounded_and_escaped() {
    let json = "format = 'json'\nfields = { t = '/t' }";
    let long = format!(r#"{{"t":5,"id":"{}"}}"#, "x".repeat(100_000));
    assert_eq!(read_tagged(json, &[("id", "{/id}")], long.as_bytes()).0, [""; 0]);
    let controls = br#"{"t":5,"id":"a\n b=1,\u0000\"\\\u001b[31m"}"#;
    let (words, taken) = read_tagged(json, &[("id", "{/id}")], controls);
    assert_eq!((words.len(), taken), (1, Some(false)));
    assert!(!words[0].contains('\n'), "{words:?}");
}

#[test]
fn words_stand_for_numbers_and_true_for_one() {
    let config = "format = 'json'\nmap = { ON = 1, OFF = 0 }\n\
        fields = { fan = '/f', door = { at = '/d', map = { open = 1 } }, up = '/u' }";
    let words = |text: &str| read(config, text.as_bytes());
    assert_eq!(
        words(r#"{"f":"OFF","d":"open","u":true}"#),
        (vec!["serial_door{} 1".into(), "serial_fan{} 0".into(), "serial_up{} 1".into()], None)
    );
    assert_eq!(
        words(r#"{"f":"ON","d":"ajar"}"#),
        (vec!["serial_fan{} 1".into()], Some(Reject::Number))
    );
}

#[test]
fn of_the_sentences_of_an_instrument_those_that_are_wanted_are_taken() {
    let config = "format = 'nmea'\nfields = { speed_knots = 'RMC.7', depth_metres = 'DBT.depth', \
        valid = { at = 'RMC.2', map = { A = 1, V = 0 } } }";
    let rmc = b"$GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*6A\r";
    let expected = vec!["serial_speed_knots{} 22.4".into(), "serial_valid{} 1".into()];
    assert_eq!(read(config, rmc), (expected, None));
    let other = b"$GPVTG,054.7,T,034.4,M,005.5,N,010.2,K*48";
    assert_eq!(read(config, other), (vec![], None), "a sentence nobody asked for is fine");
    let loose = format!("{config}\nchecksum = false");
    assert_eq!(read(&loose, b"$SDDBT,,f,11.1,M").0, ["serial_depth_metres{} 11.1"]);
    let wrong = [
        (&b"$SDDBT,,f,11.1,M"[..], Reject::Syntax),
        (b"$GPVTG,054.7,T,034.4,M,005.6,N,010.2,K*48", Reject::Syntax),
        (b"021,A*00", Reject::Syntax),
        (b"$GPVTG,\xff*48", Reject::Encoding),
        (b"$SDDBT,,f,deep,M*7A", Reject::Number),
    ];
    for (line, reason) in wrong {
        assert_eq!(read(config, line), (vec![], Some(reason)), "{line:?}");
    }
}

#[test]
fn what_makes_no_sense_is_rejected_by_reason() {
    let json = "format = 'json'\nfields = { t = '/t' }";
    let csv = "format = 'csv'\nfields = { t = 2 }";
    let regex = "format = 'regex'\npattern = 't=(?<t>.*)'\nfields = { t = 't' }";
    for (config, line, reason) in [
        (json, &b"{\"t\":"[..], Reject::Syntax),
        (json, b"{\"x\":1}", Reject::Missing),
        (json, b"{\"t\":null}", Reject::Missing),
        (json, b"{\"t\":\"warm\"}", Reject::Number),
        (csv, b"1,\"2", Reject::Syntax),
        (csv, b"1", Reject::Missing),
        (csv, b"\xff,1", Reject::Encoding),
        (csv, b"1,nan", Reject::Number),
        (regex, b"nothing", Reject::Syntax),
        (regex, b"t=x", Reject::Number),
        ("format = 'number'", b"21.5 C", Reject::Number),
        ("format = 'number'", b"", Reject::Number),
        ("format = 'key_value'\nfields = { t = 't' }", b"h=1", Reject::Missing),
        ("format = 'influx'", b"climate", Reject::Syntax),
        ("format = 'influx'", b"", Reject::Missing),
    ] {
        assert_eq!(read(config, line), (vec![], Some(reason)), "{config}: {line:?}");
    }
}

#[test]
fn mistakes_are_told_exactly() {
    for (config, mistake) in [
        (
            "format = 'jsn'\nfields = { t = '/t' }",
            "`jsn` is not one of number, text, json, csv, key_value, regex, nmea, influx; did you mean `json`?",
        ),
        (
            "format = 'json'",
            "the format `json` needs `fields`: which are wanted, and where they are",
        ),
        ("format = 'json'\nfields = { t = 't' }", "the JSON pointer `t` must begin with `/`"),
        (
            "format = 'json'\nfields = { t = 1 }",
            "expected a JSON pointer such as \"/t\", found a number",
        ),
        ("format = 'csv'\nfields = { t = 0 }", "columns count from 1"),
        (
            "format = 'csv'\nfields = { t = 't' }",
            "`t` is a column's name, and there are no `columns`; name them, or give the column's number",
        ),
        (
            "format = 'csv'\ncolumns = ['temp']\nfields = { t = 'tmp' }",
            "`tmp` is not one of temp; did you mean `temp`?",
        ),
        (
            "format = 'csv'\nseparator = ', '\nfields = { t = 1 }",
            "must be one ASCII character, and neither a quote nor a line end",
        ),
        ("format = 'regex'\nfields = { t = 't' }", "the format `regex` needs a `pattern`"),
        (
            "format = 'regex'\npattern = '(?<x>.)'\nfields = { t = 't' }",
            "`pattern` has no group `t`; write it as (?<t>…)",
        ),
        (
            "format = 'text'",
            "the format `text` needs a `map` of words to numbers, such as { ON = 1, OFF = 0 }",
        ),
        (
            "format = 'json'\nfield = 'x'\nfields = { t = '/t' }",
            "`field` goes with the format `number` or `text`, not `json`",
        ),
        (
            "format = 'number'\nfields = { t = '/t' }",
            "`fields` goes with the format `json`, `csv`, `key_value`, `regex` or `nmea`, not `number`",
        ),
        (
            "format = 'nmea'\nfields = { t = 'GGA.hight' }",
            "GGA has latitude, longitude, altitude, hdop, quality, satellites, or fields by number",
        ),
        ("format = 'nmea'\nfields = { t = 7 }", "expected a name, found a number"),
        (
            "format = 'csv'\nchecksum = true\nfields = { t = 1 }",
            "`checksum` goes with the format `nmea`, not `csv`",
        ),
        (
            "format = 'key_value'\nfields = { t = { at = 't', scal = 2 } }",
            "unknown key `scal` in [fields]; did you mean `scale`?",
        ),
    ] {
        assert_eq!(payload(config), Err(vec![mistake.to_owned()]), "{config}");
    }
}
