//! What an expression costs a sample through all of the engine: one thread, 10,000 series, windows
//! of 5 minutes at 10 s.
//!
//! Run with `cargo bench --bench stream`. Prints nanoseconds and allocations a sample, memory, and
//! how long a sample takes to a transition with 1,000 mixed rules.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::alloc::System;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::time::Instant;
use watchpost::config::Loader;
use watchpost::rules::{Engine, RuleConfig};
use watchpost::sample::{Batch, Catalogue, Sample, SeriesId, Timestamp};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SERIES: usize = 10_000;

/// Series of a target, and so samples of a batch.
const BATCH_SAMPLES: usize = 10;

/// Seconds between two polls.
const INTERVAL: i64 = 10;

/// Rounds before measuring: more than a window holds.
const WARM_UP: i64 = 40;
const ROUNDS: i64 = 60;

/// What an expression may cost, in nanoseconds a sample.
const CASES: [(&str, &str, f64); 23] = [
    ("threshold + for", "m_x > 1e18", 30.0),
    ("rate", "rate(m_total[5m]) > 1e18", 120.0),
    ("increase", "increase(m_total[5m]) > 1e18", 120.0),
    ("delta", "delta(m_x[5m]) > 1e18", 120.0),
    ("irate", "irate(m_x[5m]) > 1e18", 120.0),
    ("idelta", "idelta(m_x[5m]) > 1e18", 120.0),
    ("deriv", "deriv(m_x[5m]) > 1e18", 120.0),
    ("predict_linear", "predict_linear(m_x[5m], 3600) > 1e18", 120.0),
    ("avg_over_time", "avg_over_time(m_x[5m]) > 1e18", 120.0),
    ("min_over_time", "min_over_time(m_x[5m]) > 1e18", 120.0),
    ("max_over_time", "max_over_time(m_x[5m]) > 1e18", 120.0),
    ("sum_over_time", "sum_over_time(m_x[5m]) > 1e18", 120.0),
    ("count_over_time", "count_over_time(m_x[5m]) > 1e18", 120.0),
    ("last_over_time", "last_over_time(m_x[5m]) > 1e18", 120.0),
    ("present_over_time", "present_over_time(m_x[5m]) > 1e18", 120.0),
    ("stddev_over_time", "stddev_over_time(m_x[5m]) > 1e18", 120.0),
    ("quantile_over_time", "quantile_over_time(0.9, m_x[5m]) > 1e18", 120.0),
    ("changes", "changes(m_x[5m]) > 1e18", 120.0),
    ("resets", "resets(m_x[5m]) > 1e18", 120.0),
    ("sum by (target) (rate)", "sum by (target) (rate(m_total[5m])) > 1e18", 150.0),
    ("sum by (target)", "sum by (target) (m_x) > 1e18", 150.0),
    ("max by (target)", "max by (target) (m_x) > 1e18", 150.0),
    ("ratio join of two metrics", "m_x / m_y > 1e18", 60.0),
];

fn main() {
    println!("{SERIES} series, a sample each {INTERVAL} s, windows of 5 m, one thread");
    println!(
        "{:<28} {:>8} {:>8} {:>8} {:>8} {:>10} {:>8}",
        "", "ns", "fastest", "at most", "allocs", "MB", "settled"
    );
    for (name, expr, most) in CASES {
        run(name, expr, most);
    }
    latency();
}

fn run(name: &str, expr: &str, most: f64) {
    let catalogue = Arc::new(Catalogue::default());
    let fields: &[&str] = match expr {
        _ if expr.contains("m_y") => &["x", "y"],
        _ if expr.contains("m_total") => &["total"],
        _ => &["x"],
    };
    let fill = if fields == ["total"] { count } else { fill };
    let series: Vec<SeriesId> = (0..SERIES)
        .map(|n| intern(&catalogue, n / fields.len(), fields[n % fields.len()]))
        .collect();
    let rule = format!("[rule.r]\nwhen = '{expr}'\nfor = '5m'\n");
    let before = Region::new(ALLOCATOR);
    let mut engine = Engine::new(catalogue, rules(&rule));
    let mut batches = batches(&series);
    let mut out = Vec::new();
    for round in 0..WARM_UP {
        fill(&mut batches, round);
        batches.iter().for_each(|batch| engine.apply(batch, &mut out));
    }
    let change = before.change();
    let memory = change.bytes_allocated as f64 - change.bytes_deallocated as f64;
    let settled = engine.evaluations();
    let mut spent = Vec::with_capacity(ROUNDS as usize);
    let region = Region::new(ALLOCATOR);
    for round in WARM_UP..WARM_UP + ROUNDS {
        fill(&mut batches, round);
        let started = Instant::now();
        for batch in &batches {
            engine.apply(batch, &mut out);
        }
        spent.push(started.elapsed());
    }
    // The median round, and the fastest: in some of them the machine did something else.
    spent.sort_unstable();
    let nanos = |spent: Duration| spent.as_secs_f64() * 1e9 / SERIES as f64;
    let (median, fastest) = (nanos(spent[spent.len() / 2]), nanos(spent[0]));
    let allocations = region.change().allocations;
    assert!(out.is_empty(), "nothing changes in the steady state");
    let samples = (ROUNDS as usize * SERIES) as f64;
    println!(
        "{name:<28} {median:>8.1} {fastest:>8.1} {most:>8.0} {:>8.4} {:>10.2} {:>8.2}",
        allocations as f64 / samples,
        memory / 1e6,
        (engine.evaluations() - settled) as f64 / samples,
    );
}

/// 1,000 rules of all shapes; each round a tenth of the targets crosses a threshold.
fn latency() {
    const RULES: usize = 1_000;
    let catalogue = Arc::new(Catalogue::default());
    let series: Vec<SeriesId> = (0..SERIES).map(|n| intern(&catalogue, n, "x")).collect();
    let text: String = (0..RULES)
        .map(|n| {
            let target = format!("target=\"t{n}\"");
            let expr = match n % 5 {
                0 => format!("m_x{{{target}}} > 1e6"),
                1 => format!("max_over_time(m_x{{{target}}}[5m]) > 1e6"),
                2 => format!("sum by (target) (m_x{{{target}}}) > 1e7"),
                3 => format!("rate(m_x{{{target}}}[5m]) > 1e6"),
                _ => format!("m_x{{{target}}} / on (id) m_x{{{target}}} > 2"),
            };
            format!("[rule.r{n}]\nwhen = '{expr}'\n")
        })
        .collect();
    let mut engine = Engine::new(catalogue, rules(&text));
    let mut batches = batches(&series);
    let mut out = Vec::new();
    for round in 0..WARM_UP {
        fill(&mut batches, round);
        batches.iter().for_each(|batch| engine.apply(batch, &mut out));
    }
    let (mut waits, mut transitions) = (Vec::new(), 0);
    let mut spent = Duration::ZERO;
    for round in WARM_UP..WARM_UP + 50 {
        fill(&mut batches, round);
        for (n, batch) in batches.iter_mut().enumerate() {
            if (n as i64 + round) % 10 == 0 {
                batch.samples.iter_mut().for_each(|sample| sample.value += 1e9);
            }
        }
        for batch in &batches {
            out.clear();
            let started = Instant::now();
            engine.apply(batch, &mut out);
            let wait = started.elapsed();
            spent += wait;
            if !out.is_empty() {
                waits.push(wait);
                transitions += out.len();
            }
        }
    }
    waits.sort_unstable();
    let samples = (50 * SERIES) as f64;
    let at = |part: f64| waits[((waits.len() - 1) as f64 * part) as usize];
    println!(
        "{RULES} mixed rules: {transitions} transitions; from a batch to its transitions p50 {:?} \
         p99 {:?} max {:?}; {:.0} ns a sample, so {:.1} % of a core at 100,000 samples/s",
        at(0.5),
        at(0.99),
        at(1.0),
        spent.as_secs_f64() * 1e9 / samples,
        spent.as_secs_f64() / samples * 1e5 * 100.0,
    );
}

/// Values that rise and fall.
fn fill(batches: &mut [Batch], round: i64) {
    each(batches, round, |noise| noise + round as f64);
}

/// Counters, unevenly fast.
fn count(batches: &mut [Batch], round: i64) {
    each(batches, round, |noise| noise + round as f64 * 1_000.0 + 1e6);
}

fn each(batches: &mut [Batch], round: i64, value: impl Fn(f64) -> f64) {
    for batch in batches {
        batch.time = Timestamp::from_secs(1_700_000_000 + round * INTERVAL);
        for sample in &mut batch.samples {
            let n = sample.series.index() as i64;
            sample.value = value(((n * 7919 + round * 104_729) % 1_000) as f64);
        }
    }
}

fn intern(catalogue: &Catalogue, n: usize, field: &str) -> SeriesId {
    let (id, target) = (format!("s{n}"), format!("t{}", n / BATCH_SAMPLES));
    catalogue.intern("m", field, &[("target", &target), ("kind", "bench"), ("id", &id)])
}

fn rules(text: &str) -> Vec<Arc<watchpost::config::Named<RuleConfig>>> {
    let loader = Loader { env: &|_| None };
    loader.load_text(Path::new("bench.toml"), text).expect("the rules are right").rules
}

fn batches(series: &[SeriesId]) -> Vec<Batch> {
    let sample = |series: &SeriesId| Sample { series: *series, value: 0.0 };
    series
        .chunks(BATCH_SAMPLES)
        .map(|chunk| Batch {
            target: "bench".into(),
            time: Timestamp::default(),
            samples: chunk.iter().map(sample).collect(),
        })
        .collect()
}
