//! How fast queries are answered: 10,000 series in memory, 30 samples each, one thread.
//!
//! Run with `cargo bench --bench promql`. Prints the median of the runs; fails where the instant
//! query rules are made of takes longer than it may.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::hint::black_box;
use std::time::Duration;

use tokio::time::Instant;
use watchpost::promql::eval::{self, Options};
use watchpost::promql::functions::Point;
use watchpost::promql::labels::NAME;
use watchpost::promql::memory::MemorySource;
use watchpost::promql::{Labels, parse};
use watchpost::sample::Timestamp;

const SERIES: usize = 10_000;

/// Series of one target.
const TARGET_SERIES: usize = 100;

const SAMPLES: i64 = 30;
const INTERVAL_SECONDS: i64 = 10;
const RUNS: usize = 21;

/// The longest the first query may take, on one core of a small machine.
const LIMIT: Duration = Duration::from_millis(15);

const INSTANT: [&str; 6] = [
    "sum by (target) (rate(x_total[5m]))",
    "x_total > 100",
    "max_over_time(x_total[5m])",
    "topk(10, x_total)",
    "x_total / on (id) group_left () x_total",
    "quantile by (target) (0.9, x_total)",
];

const RANGE: [&str; 2] = ["sum by (target) (rate(x_total[1m]))", "x_total * 2 > 100"];

fn main() {
    let source = source();
    let options = Options::default();
    let end = Timestamp::from_secs(SAMPLES * INTERVAL_SECONDS);
    println!("{SERIES} series of {SAMPLES} samples; median of {RUNS} runs");
    for (at, text) in INSTANT.iter().enumerate() {
        let expr = parse(text).expect("the query is right");
        let spent =
            median(|| black_box(eval::instant(&source, &expr, end, &options, &|| Ok(()))).is_ok());
        println!("{:<46} {:>8.2} ms", text, spent.as_secs_f64() * 1e3);
        assert!(at > 0 || spent < LIMIT, "{text} must take less than {LIMIT:?}");
    }
    for text in RANGE {
        let expr = parse(text).expect("the query is right");
        let between = (Timestamp::from_secs(0), end);
        let step = Duration::from_secs(INTERVAL_SECONDS.unsigned_abs());
        let spent = median(|| {
            black_box(eval::range(&source, &expr, between, step, &options, &|| Ok(()))).is_ok()
        });
        println!("{:<35} over 31 steps {:>7.2} ms", text, spent.as_secs_f64() * 1e3);
    }
}

fn median(mut run: impl FnMut() -> bool) -> Duration {
    let mut spent: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let started = Instant::now();
            assert!(run(), "the query has an answer");
            started.elapsed()
        })
        .collect();
    spent.sort_unstable();
    spent[RUNS / 2]
}

fn source() -> MemorySource {
    let mut source = MemorySource::default();
    for n in 0..SERIES {
        let (id, target) = (format!("s{n}"), format!("t{}", n / TARGET_SERIES));
        let pairs = [(NAME, "x_total"), ("id", &id), ("kind", "bench"), ("target", &target)];
        let labels = Labels::new(pairs);
        for sample in 0..=SAMPLES {
            let time = Timestamp::from_secs(sample * INTERVAL_SECONDS);
            source.insert(&labels, Point { time, value: (sample * (n as i64 % 17)) as f64 });
        }
    }
    source
}
