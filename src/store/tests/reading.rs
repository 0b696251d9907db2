//! What is read: groups, late samples, tiers, batches.

use super::*;
use crate::history::History;
use crate::promql::eval::{self, AnswerValue, Options};
use crate::promql::functions::Point;
use crate::promql::labels::Labels;
use crate::promql::memory::MemorySource;
use crate::promql::source::{SeriesSet, Source, Summary, Window};
use crate::promql::{ExprKind, Selector, parse};

#[test]
fn a_row_with_holes_gives_what_is_there() {
    let mut bench = Bench::new(limits());
    for poll in 0..100 {
        bench.now += 10_000;
        let fields = if poll % 10 == 3 { 0b0101 } else { 0b1111 };
        bench.write(0, fields, bench.now, f64::from(poll));
    }
    bench.assert_same(0, i64::MAX / 1_000_000);
    assert_eq!(bench.store.state().head.rows().filter(|r| !r.is_empty()).count(), 1);
}

#[test]
fn series_that_stop_coming_together_part() {
    let mut bench = Bench::new(limits());
    bench.now += 10_000;
    bench.write(0, 0b1111, bench.now, 1.0);
    for poll in 0..200 {
        bench.now += 10_000;
        bench.write(0, 0b0001, bench.now, f64::from(poll));
    }
    let state = bench.store.state();
    let cells: usize = state.head.rows().map(|rows| rows.cells_len()).sum();
    drop(state);
    assert!(cells < 300, "{cells} cells for 204 samples");
    bench.assert_same(0, i64::MAX / 1_000_000);
}

#[test]
fn what_is_too_old_or_ahead_is_refused_and_counted() {
    let late = Duration::from_secs(3_600);
    let mut bench = Bench::new(Limits { late, ..limits() });
    bench.write(0, 0b1111, bench.now, 1.0);
    let before = bench.model.clone();
    bench.write(0, 0b0001, bench.now - HOUR - 1, 2.0);
    bench.write(0, 0b0001, bench.now + HOUR, 2.0);
    bench.model = before;
    bench.write(0, 0b0001, bench.now - HOUR, 3.0);
    bench.assert_same(0, i64::MAX / 1_000_000);
    assert_eq!(bench.store.counts.refused.get(), 2);
    assert_eq!(bench.store.counts.late.get(), 1);
}

#[test]
fn a_clock_that_was_ahead_and_was_put_right_binds_nobody() {
    let late = Duration::from_secs(3_600);
    let mut bench = Bench::new(Limits { late, ..limits() });
    bench.now += 1_000 * DAY;
    bench.write(0, 0b1111, bench.now, 1.0);
    bench.now -= 1_000 * DAY;
    for poll in 0..3 {
        bench.now += 10_000;
        bench.write(0, 0b1111, bench.now, f64::from(poll));
    }
    assert_eq!(bench.store.counts.refused.get(), 0);
    bench.store.seal(at(bench.now)).unwrap();
    bench.assert_same(0, i64::MAX / 1_000_000);
}

#[test]
fn of_two_samples_of_one_time_the_later_counts_wherever_the_first_is() {
    let mut bench = Bench::new(limits());
    let time = bench.now;
    bench.write(0, 0b1111, time, 1.0);
    bench.write(0, 0b0001, time, 2.0);
    bench.assert_same(time, time);
    bench.store.seal(at(bench.now)).unwrap();
    bench.write(0, 0b0001, time, 3.0);
    bench.assert_same(time, time);
    bench.store.seal(at(bench.now)).unwrap();
    bench.write(0, 0b0001, time, 4.0);
    bench.store.seal(at(bench.now)).unwrap();
    bench.assert_same(time, time);
    bench.store.tidy(at(bench.now + 2_000 * DAY)).unwrap();
    bench.assert_same(time, time);
}

#[test]
fn more_samples_than_a_query_may_read_are_an_error() {
    let mut bench = Bench::new(limits());
    for _ in 0..100 {
        bench.now += 1_000;
        bench.write(0, 0b0001, bench.now, 1.0);
    }
    let range = |samples_max| Range { samples_max, ..Range::new(at(0), at(bench.now)) };
    let series = [bench.series(0, 0)];
    assert_eq!(bench.store.read(&series, &range(99)), Err(TooManySamples(99)));
    assert!(bench.store.read(&series, &range(100)).is_ok());
    bench.store.seal(at(bench.now)).unwrap();
    assert_eq!(bench.store.read(&series, &range(99)), Err(TooManySamples(99)));
}

/// Two days of polls a minute apart, the tidying after each, and then no raw samples any more.
fn two_days_gone(five_minutes: Duration) -> Bench {
    let hour = Duration::from_secs(400 * 86_400);
    let raw = Duration::from_secs(10 * 86_400);
    let late = Duration::from_secs(3_600);
    let mut bench = Bench::new(Limits { five_minutes, hour, raw, late, ..limits() });
    for minute in 0..2 * 1_440 {
        bench.write(0, 0b1111, bench.now, f64::from(minute));
        bench.now += 60_000;
        if minute % 60 == 59 {
            bench.store.seal(at(bench.now)).unwrap();
        }
    }
    bench.now += 2 * HOUR;
    bench.write(1, 0b0001, bench.now, 1.0);
    bench.store.seal(at(bench.now)).unwrap();
    bench.store.tidy(at(bench.now)).unwrap();
    bench
}

#[test]
fn what_is_older_than_samples_are_kept_is_read_from_sums() {
    let mut bench = two_days_gone(Duration::from_secs(100 * 86_400));
    let start = 20_000 * DAY;
    let segments = |bench: &Bench| -> Vec<_> {
        let state = bench.store.state();
        state.segments.iter().map(|s| (s.meta.tier.as_str(), s.meta.samples)).collect()
    };
    let (five, hour) = (288 * 4, 24 * 4);
    let tiers = [("5m", five), ("5m", five), ("1h", hour), ("1h", hour)];
    let joined = segments(&bench);
    // Two days, what was sealed at midnight and so on the third, and what came then.
    assert_eq!(joined.len(), 4 + 4, "{joined:?}");
    assert_eq!(joined[4..], tiers);
    bench.assert_same(0, i64::MAX / 1_000_000);

    bench.now += 11 * DAY;
    bench.store.expire(at(bench.now));
    assert_eq!(segments(&bench), tiers);
    let series = [bench.series(0, 0), bench.series(0, 3)];
    let range = Range::new(at(start), at(start + 2 * DAY));
    let read = |summary| bench.store.read(&series, &Range { summary, ..range }).unwrap();
    let mean = read(Summary::Mean);
    assert_eq!(mean[0].len(), 576);
    assert_eq!(mean[0][0], (start + 299_999, 2.0));
    assert_eq!(read(Summary::Min)[0][1].1, 5.0);
    assert_eq!(read(Summary::Max)[0][1].1, 9.0);
    assert_eq!(read(Summary::Count)[1][1].1, 5.0);
    // A counter has its last value, and so the right increase.
    assert_eq!(mean[1][1], (start + 599_999, 9.0 + 3.0));
    bench.reopen();
    bench.store.expire(at(bench.now + 100 * DAY));
    let read = |bench: &Bench| {
        let series = [bench.series(0, 0), bench.series(0, 3)];
        bench.store.read(&series, &range).unwrap()
    };
    let hours = read(&bench);
    assert_eq!(hours[0].len(), 576);
    assert_eq!(hours[0][12], (start + HOUR + 299_999, 89.5));
    assert_eq!(hours[1][12], (start + HOUR + 299_999, 62.0 + 5.0));
    bench.store.expire(at(bench.now + 500 * DAY));
    assert_eq!(read(&bench), [Points::new(), Points::new()]);
}

/// What a query yields from `from` on, in steps; the times in milliseconds, the values to nine
/// digits.
fn asked(
    source: &dyn Source,
    text: &str,
    (from, to, step): (i64, i64, i64),
) -> BTreeMap<String, Vec<(i64, String)>> {
    let (expr, step) = (parse(text).unwrap(), Duration::from_millis(step as u64));
    let times = (at(from), at(to));
    let answer = eval::range(source, &expr, times, step, &Options::default(), &|| Ok(())).unwrap();
    let AnswerValue::Matrix(series) = answer.value else { panic!("{text} is no matrix") };
    let points = |points: Vec<Point>| {
        points.iter().map(|p| (millis(p.time), format!("{:.9e}", p.value))).collect()
    };
    series.into_iter().map(|(labels, all)| (labels.to_string(), points(all))).collect()
}

#[test]
fn functions_of_windows_of_sums_yield_what_they_yield_of_samples() {
    let mut bench = two_days_gone(Duration::from_secs(100 * 86_400));
    let start = 20_000 * DAY;
    let mut memory = MemorySource::default();
    for (time, batch) in bench.journal.iter().map(|(_, batch)| (batch.time, batch)) {
        for Sample { series, value } in &batch.samples {
            let labels = Labels::of_series(&bench.catalogue.series(*series));
            memory.insert(&labels, Point { time, value: *value });
        }
    }
    let compare = |bench: &Bench, memory: &MemorySource, ranges: &[&str], times| {
        for function in ["min", "max", "sum", "avg", "count"] {
            for range in ranges {
                let text = format!("{function}_over_time(m_b{{target='t0'}}[{range}])");
                let wanted = asked(memory, &text, times);
                assert_eq!(wanted.len(), 1, "{text}");
                assert_eq!(asked(&bench.store, &text, times), wanted, "{text}");
            }
        }
        for range in ranges {
            let text = format!("m_failures_total{{target='t0'}} - m_failures_total offset {range}");
            assert_eq!(asked(&bench.store, &text, times), asked(memory, &text, times), "{text}");
        }
    };
    // A sample at the moment between two rows is in the later one.
    let to_days_end = |step| (start + DAY - 1, start + 2 * DAY - 1, step);
    compare(&bench, &memory, &["5m", "1h", "7h"], to_days_end(300_000));
    bench.now += 11 * DAY;
    bench.store.expire(at(bench.now));
    compare(&bench, &memory, &["5m", "10m", "1h", "7h"], to_days_end(300_000));
    // Samples, and sums of what is before them.
    for _ in 0..60 {
        bench.write(0, 0b1111, bench.now, 7.5);
        let point = Point { time: at(bench.now), value: 7.5 };
        for (series, n) in [("m_a", 0.0), ("m_b", 1.0), ("m_c", 2.0), ("m_failures_total", 3.0)] {
            let labels = [("__name__", series), ("target", "t0"), ("kind", "test")];
            let value = point.value + n;
            memory.insert(&Labels::new(labels), Point { value, ..point });
        }
        bench.now += 60_000;
    }
    compare(&bench, &memory, &["12d"], (bench.now - 1, bench.now - 1, 1));
    bench.store.expire(at(bench.now + 100 * DAY));
    compare(&bench, &memory, &["1h", "7h"], to_days_end(HOUR));
}

#[test]
fn a_tier_kept_no_longer_than_a_finer_one_is_not_made() {
    let bench = two_days_gone(Duration::from_secs(86_400));
    let state = bench.store.state();
    assert!(state.segments.iter().all(|s| s.meta.tier != Tier::FiveMinutes));
    assert_eq!(state.segments.iter().filter(|s| s.meta.tier == Tier::Hour).count(), 2);
}

#[test]
fn batches_come_in_the_order_of_time_from_everywhere() {
    let mut bench = Bench::new(limits());
    let start = bench.now;
    for poll in 0..1_000 {
        bench.now += 7_000;
        bench.write(poll % TARGETS, 0b1111, bench.now, poll as f64);
        if poll % 400 == 0 {
            bench.store.seal(at(bench.now)).unwrap();
        }
    }
    bench.write(0, 0b0001, bench.now - 100_001, 5.0);
    bench.assert_same(start + 70_000, bench.now);
    let batches: Vec<_> = bench.store.batches(at(start), at(bench.now), |_| true).collect();
    assert!(batches.iter().all(|batch| batch.target.starts_with('t')));
    assert_eq!(batches.len(), 1_001, "a poll is one batch, and what came late another");
}

fn selector(text: &str) -> Selector {
    match parse(text).unwrap().kind {
        ExprKind::Selector(selector) => selector,
        other => panic!("{text} is {other:?}"),
    }
}

fn select(source: &dyn Source, text: &str, window: Window) -> BTreeMap<String, Vec<(i64, u64)>> {
    let mut found = SeriesSet::new(1_000_000);
    source.select(&selector(text), window, &mut found).unwrap();
    let points = |points: &[Point]| -> Vec<_> {
        points.iter().map(|p| (p.time.as_nanos(), p.value.to_bits())).collect()
    };
    let all: BTreeMap<_, _> = found.iter().map(|(l, p)| (l.to_string(), points(p))).collect();
    assert_eq!(all.len(), found.len(), "a series is added once");
    all
}

fn series(
    history: &dyn History,
    text: &str,
    between: Option<(Timestamp, Timestamp)>,
) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    history.series(&selector(text), between, &mut |labels| {
        *found.entry(labels.to_string()).or_default() += 1;
        std::ops::ControlFlow::Continue(())
    });
    found
}

#[test]
fn selectors_find_what_they_find_in_memory() {
    let mut bench = Bench::new(limits());
    for poll in 0..600 {
        bench.now += 10_000;
        bench.write(poll % TARGETS, 0b1111, bench.now, poll as f64);
        if poll == 400 {
            bench.store.seal(at(bench.now)).unwrap();
        }
    }
    // Two ways to part one name, and a series that has no field.
    let mut memory = MemorySource::default();
    let twins = [("m_x", "y"), ("m", "x_y"), ("up", "")];
    for (seconds, (measurement, field)) in twins.into_iter().enumerate() {
        let series = bench.catalogue.intern(measurement, field, &[("target", "t1")]);
        let (time, value) = (at(bench.now + 1_000 * seconds as i64), seconds as f64);
        let samples = vec![Sample { series, value }];
        bench.store.append(&[Batch { target: "t1".into(), time, samples }], time, 0);
        let labels = Labels::of_series(&bench.catalogue.series(series));
        memory.insert(&labels, Point { time, value });
    }
    for (target, field) in (0..TARGETS).flat_map(|t| (0..FIELDS).map(move |f| (t, f))) {
        let series = bench.catalogue.series(bench.series(target, field));
        let words = series.to_string();
        for ((_, time), value) in bench.model.iter().filter(|((known, _), _)| *known == words) {
            memory.insert(&Labels::of_series(&series), Point { time: at(*time), value: *value });
        }
    }
    for text in [
        "m_a",
        "m_x_y",
        "up",
        r#"{target="t1"}"#,
        r#"m_a{target="t1"}"#,
        r#"m_a{target!="t1"}"#,
        r#"{__name__=~"m_.*", target=~"t[12]"}"#,
        r#"m_a{nope=""}"#,
        r#"m_a{nope!=""}"#,
        r#"{kind=~".+", target!~"t0|t2"}"#,
        r#"m_nope"#,
        r#"{__name__="m_b"}"#,
    ] {
        for (after, until) in [(0, bench.now + 10_000), (bench.now - 3_000_000, bench.now - 1_000)]
        {
            let window = Window { after: at(after), until: at(until), summary: Summary::default() };
            let found = select(&bench.store, text, window);
            assert_eq!(found, select(&memory, text, window), "{text}");
        }
        let start = 20_000 * DAY;
        let sealed = (start + 1_000_000, start + 1_100_000);
        let spans = [(0, start - 1), (0, bench.now + DAY), sealed, (bench.now, bench.now + 10_000)];
        let spans = spans.map(|(from, to)| Some((at(from), at(to))));
        for between in [None].into_iter().chain(spans) {
            let found = series(&bench.store, text, between);
            assert_eq!(found, series(&memory, text, between), "{text} {between:?}");
        }
    }
    assert_eq!(bench.store.label_names(), memory.label_names());
    for label in memory.label_names() {
        assert_eq!(bench.store.label_values(&label), memory.label_values(&label));
    }
}

#[test]
fn a_source_stops_where_there_is_no_more_room() {
    let mut bench = Bench::new(limits());
    for _ in 0..100 {
        bench.now += 1_000;
        bench.write(0, 0b1111, bench.now, 1.0);
    }
    let window = Window { after: at(0), until: at(bench.now), summary: Summary::default() };
    let all = selector(r#"{target="t0"}"#);
    for (room, fits) in [(399, false), (400, true)] {
        let mut found = SeriesSet::new(room);
        let selected = bench.store.select(&all, window, &mut found);
        assert_eq!(selected.is_ok(), fits);
    }
}
