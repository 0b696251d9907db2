//! How fast the engine judges: 1,000 short-form rules over 10,000 series, one thread.
//!
//! Run with `cargo bench --bench engine`. Prints samples a second, nanoseconds and allocations a
//! sample; fails where a sample that changes nothing allocates.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::alloc::System;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::time::Instant;
use watchpost::config::Loader;
use watchpost::rules::{Engine, Transition};
use watchpost::sample::{Batch, Catalogue, Sample, SeriesId, Timestamp};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SERIES: usize = 10_000;
const RULES: usize = 1_000;
const ROUNDS: usize = 400;

/// A batch of each target, ten series each.
const BATCH_SAMPLES: usize = 10;

/// One way the rules may lie over the series.
struct Case {
    name: &'static str,
    /// The rule of this number, without its name.
    rule: fn(usize) -> String,
    /// How many series of 100 hold, and so fire.
    firing_percent: usize,
}

const CASES: [Case; 4] = [
    Case {
        name: "a rule for each 10 series, none holds",
        rule: |n| format!("metric = 'sensor_value'\nmatch = {{ group = 'g{n}' }}\nabove = 95"),
        firing_percent: 0,
    },
    Case {
        name: "a rule for each 10 series, 1 % fire",
        rule: |n| {
            format!(
                "metric = 'sensor_value'\nmatch = {{ group = 'g{n}' }}\nabove = 95\n\
                 clear_below = 90\nfor = '5m'"
            )
        },
        firing_percent: 1,
    },
    Case {
        name: "conditions of all kinds, 1 % fire",
        rule: |n| {
            let condition = match n % 4 {
                0 => "above = 95",
                1 => "outside = [-1, 95]",
                2 => "not_equals = 0",
                _ => "below = -1",
            };
            format!("metric = 'sensor_value'\nmatch = {{ group = 'g{n}' }}\n{condition}")
        },
        firing_percent: 1,
    },
    Case {
        name: "10 rules for each series, 1 % fire",
        rule: |n| {
            let above = 95 + n % 10;
            format!("metric = 'sensor_value'\nmatch = {{ rack = 'r{}' }}\nabove = {above}", n / 10)
        },
        firing_percent: 1,
    },
];

fn main() {
    println!("{RULES} rules over {SERIES} series, batches of {BATCH_SAMPLES} samples");
    println!("{:<40} {:>10} {:>8} {:>8} {:>8}", "", "samples/s", "ns", "allocs", "judged");
    for case in &CASES {
        run(case);
    }
}

fn run(case: &Case) {
    let catalogue = Arc::new(Catalogue::default());
    let series: Vec<SeriesId> = (0..SERIES).map(|n| intern(&catalogue, n)).collect();
    let mut engine = Engine::new(catalogue, rules(case));
    let mut batches = batches(case, &series);
    let mut out: Vec<Transition> = Vec::new();
    // Long enough for every `for` to be over, without a gap that would count as missing data.
    for second in (0..=400).step_by(100) {
        apply(&mut engine, &mut batches, second, &mut out);
        engine.tick(Timestamp::from_secs(second), &mut out);
    }
    out.clear();
    let judged = engine.evaluations();
    let region = Region::new(ALLOCATOR);
    let started = Instant::now();
    for round in 0..ROUNDS {
        apply(&mut engine, &mut batches, 401 + round as i64, &mut out);
    }
    let spent = started.elapsed();
    let allocations = region.change().allocations;
    assert!(black_box(&out).is_empty(), "nothing changes in the steady state");
    let samples = (ROUNDS * SERIES) as f64;
    println!(
        "{:<40} {:>9.1}M {:>8.1} {:>8.3} {:>8.1}",
        case.name,
        samples / spent.as_secs_f64() / 1e6,
        spent.as_secs_f64() * 1e9 / samples,
        allocations as f64 / samples,
        (engine.evaluations() - judged) as f64 / samples,
    );
    assert_eq!(allocations, 0, "a sample that changes nothing allocates nothing");
}

fn apply(engine: &mut Engine, batches: &mut [Batch], second: i64, out: &mut Vec<Transition>) {
    for batch in batches {
        batch.time = Timestamp::from_secs(second);
        engine.apply(batch, out);
    }
}

fn intern(catalogue: &Catalogue, n: usize) -> SeriesId {
    let (id, group, rack) = (format!("s{n}"), format!("g{}", n / 10), format!("r{}", n / 100));
    let target = format!("t{}", n / BATCH_SAMPLES);
    let tags = [
        ("target", &*target),
        ("kind", "bench"),
        ("id", &*id),
        ("group", &*group),
        ("rack", &*rack),
    ];
    catalogue.intern("sensor", "value", &tags)
}

fn rules(case: &Case) -> Vec<Arc<watchpost::config::Named<watchpost::rules::RuleConfig>>> {
    let text: String = (0..RULES).map(|n| format!("[rule.r{n}]\n{}\n", (case.rule)(n))).collect();
    let loader = Loader { env: &|_| None };
    loader.load_text(Path::new("bench.toml"), &text).expect("the rules are right").rules
}

fn batches(case: &Case, series: &[SeriesId]) -> Vec<Batch> {
    let value = |n: usize| if n % 100 < case.firing_percent { 200.0 } else { 0.0 };
    let sample = |(n, series): (usize, &SeriesId)| Sample { series: *series, value: value(n) };
    let samples: Vec<Sample> = series.iter().enumerate().map(sample).collect();
    samples
        .chunks(BATCH_SAMPLES)
        .map(|samples| Batch {
            target: "bench".into(),
            time: Timestamp::default(),
            samples: samples.to_vec(),
        })
        .collect()
}
