use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::config::Loader;
use crate::sample::{Catalogue, STALE, Sample, Timestamp};
use crate::sinks::{Rejected, SinkConfig};
use crate::wire::remote_write::time_series;

fn load(table: &str) -> Result<Config, String> {
    let toml = format!("[remote_write.main]\n{table}\n");
    let loaded = Loader { env: &|_| None }.load_text(Path::new("test.toml"), &toml);
    let config = loaded.map_err(|diagnostics| diagnostics.to_string())?;
    match &config.sinks[0].value {
        SinkConfig::RemoteWrite(config) => Ok(config.clone()),
        SinkConfig::Influxdb(_) => panic!("another sink"),
    }
}

const NO_LIMIT: Limit = Limit { points: usize::MAX, bytes: usize::MAX };

/// A field, its tags and its value.
type Word<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);

fn batch(catalogue: &Catalogue, millis: i64, values: &[Word<'_>]) -> Batch {
    let sample = |(field, tags, value): &Word<'_>| Sample {
        series: catalogue.intern("m", field, tags),
        value: *value,
    };
    let time = Timestamp::from_nanos(millis * 1_000_000 + 7);
    Batch { target: "t".into(), time, samples: values.iter().map(sample).collect() }
}

#[test]
fn a_request_is_what_prometheus_reads() {
    let catalogue = Arc::new(Catalogue::default());
    let mut encoder = Encoder::new(catalogue.clone());
    let mut lines = Lines::default();
    let tags: &[(&str, &str)] = &[("Zone", "é\n"), ("a-b", "1"), ("a_b", "2"), ("1st", "x")];
    let first = batch(&catalogue, -5, &[("f", tags, 1.5), ("g h", &[], STALE)]);
    assert_eq!(encoder.encode(&first, 0, NO_LIMIT, &mut lines), 2);
    assert_eq!(lines.len(), 2);
    let read: Vec<_> = time_series(&lines.text).collect::<Result<_, _>>().unwrap();
    let labels = |at: usize| {
        let labels = read[at].labels.iter();
        labels.map(|l| format!("{}={}", l.name, l.value)).collect::<Vec<_>>()
    };
    assert_eq!(labels(0), ["Zone=é\n", "_1st=x", "__name__=m_f", "a_b=1"]);
    assert_eq!(labels(1), ["__name__=m_g_h"]);
    assert_eq!((read[0].samples[0].value, read[0].samples[0].timestamp), (1.5, -5));
    assert_eq!(read[1].samples[0].value.to_bits(), STALE.to_bits());
    // Each line alone is a request.
    let second = &lines.text[lines.bytes(&(1..2))];
    let alone: Vec<_> = time_series(second).collect::<Result<_, _>>().unwrap();
    assert_eq!((alone.len(), &alone[0].labels), (1, &read[1].labels));
    assert_eq!(encoder::shown(second), "{__name__=\"m_g_h\"} NaN -5\n");
}

#[test]
fn of_two_samples_in_a_millisecond_one_is_sent() {
    let catalogue = Arc::new(Catalogue::default());
    let mut encoder = Encoder::new(catalogue.clone());
    let mut lines = Lines::default();
    for (millis, value) in [(1, 1.0), (1, 2.0), (2, 3.0)] {
        let batch = batch(&catalogue, millis, &[("f", &[], value)]);
        encoder.encode(&batch, 0, NO_LIMIT, &mut lines);
    }
    let values = |lines: &Lines| -> Vec<f64> {
        time_series(&lines.text).map(|series| series.unwrap().samples[0].value).collect()
    };
    assert_eq!(values(&lines), [2.0, 3.0]);
    encoder.begin();
    let mut lines = Lines::default();
    for (millis, value) in [(2, 4.0), (3, 5.0)] {
        let batch = batch(&catalogue, millis, &[("f", &[], value)]);
        encoder.encode(&batch, 0, NO_LIMIT, &mut lines);
    }
    assert_eq!(values(&lines), [5.0]);
}

#[test]
fn encoding_goes_on_where_the_limit_ended_it() {
    let catalogue = Arc::new(Catalogue::default());
    let mut encoder = Encoder::new(catalogue.clone());
    let fields: Vec<_> = (0..10).map(|n| format!("f{n}")).collect();
    let values: Vec<_> = fields.iter().map(|field| (field.as_str(), &[][..], 1.0)).collect();
    let batch = batch(&catalogue, 1, &values);
    let (mut at, mut rounds, mut all) = (0, 0, 0);
    while at < 10 {
        encoder.begin();
        let mut lines = Lines::default();
        at = encoder.encode(&batch, at, Limit { points: 3, bytes: 1_000 }, &mut lines);
        all += lines.len();
        rounds += 1;
    }
    assert_eq!((rounds, all), (4, 10));
}

#[test]
fn answers_are_told_apart() {
    let config = load("url='http://u:p@h/write'").unwrap();
    let writer = RemoteWrite {
        url: config.settings.url.clone(),
        headers: HeaderMap::new(),
        encoder: Encoder::new(Arc::default()),
    };
    let judged = |status: u16, body: &'static str| {
        let headers = [("retry-after".parse().unwrap(), "7".parse().unwrap())];
        let headers = headers.into_iter().collect();
        writer
            .judge(&Response { status: status.try_into().unwrap(), headers, body: body.into() }, 3)
    };
    assert_eq!(judged(204, ""), Verdict::Written);
    assert_eq!(judged(400, "out of order sample"), Verdict::Late("out of order sample".into()));
    assert_eq!(judged(400, "invalid label"), Verdict::Lines("invalid label".into()));
    assert_eq!(judged(413, "x"), Verdict::TooLarge("x".into()));
    for (status, seconds) in [(429, 7), (503, 7), (404, 30), (401, 30), (301, 30)] {
        let Verdict::Later(Rejected::Temporary { message, retry_after }) = judged(status, "")
        else {
            panic!("{status} is not kept")
        };
        assert_eq!(retry_after, Some(Duration::from_secs(seconds)), "{status}");
        assert!(message.starts_with("POST http://h/write: "), "{message}");
    }
}

#[test]
fn mistakes_are_told_and_secrets_are_sent_not_shown() {
    for (table, expected) in [
        ("url='ftp://h'", "expected an http or https URL"),
        ("url='http://h'\nusername='u'", "go together"),
        ("url='http://h'\nusername='u'\npassword='p'\ntoken='t'", "either `token`"),
        ("url='http://h'\nheaders={ 'a b' = 'x' }", "`a b` is not a header"),
        ("url='http://h'\nbatch_points=0", "must be from 1 to 100000"),
    ] {
        let message = load(table).unwrap_err();
        assert!(message.contains(expected), "{table}\n{message}");
    }
    let config = load("url='http://h'\ntoken='hush'\nheaders={ X-Scope-OrgID = 'me' }").unwrap();
    let headers = config.settings.header_map();
    assert_eq!(headers[AUTHORIZATION], "Bearer hush");
    assert_eq!(headers["x-scope-orgid"], "me");
    assert_eq!(headers[CONTENT_ENCODING], "snappy");
    assert!(!format!("{config:?}{headers:?}").contains("hush"));
}
