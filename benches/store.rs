//! The store on workload W: 100 targets of 100 series each, 1,000 polls ten seconds apart, written in
//! the order of polls, as fast as it goes.
//!
//! Run with `cargo bench --bench store`. Prints ingest, size, memory, queries, reopening, and the
//! longest an append took while sealing went on.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use watchpost::metrics::Metrics;
use watchpost::sample::{Batch, Catalogue, Sample, SeriesId, Timestamp};
use watchpost::store::{Limits, Range, Store};

const TARGETS: usize = 100;
const METRICS: usize = 100;
const POLLS: usize = 1_000;
const INTERVAL_MILLIS: i64 = 10_000;
const START_MILLIS: i64 = 1_700_000_000_000;

fn main() {
    let folder = tempfile::tempdir().expect("a folder for files");
    let catalogue = Arc::new(Catalogue::default());
    let mut workload = Workload::new(&catalogue);
    let store = Arc::new(open(folder.path(), &catalogue));
    println!("{} series, {} samples", TARGETS * METRICS, TARGETS * METRICS * POLLS);
    let ingested = ingest(&store, &mut workload);
    let samples = (TARGETS * METRICS * POLLS) as f64;
    println!("ingest                      {:>8.2} M samples/s", samples / ingested.seconds / 1e6);
    println!("longest append              {:>8.2} ms", ingested.longest.as_secs_f64() * 1e3);
    println!(
        "resident, at most           {:>8.1} MB, {:.1} without the workload's",
        peak(),
        peak() - ingested.before
    );
    println!(
        "on disk                     {:>8.3} bytes a sample",
        size(folder.path()) as f64 / samples
    );
    queries(&store, &workload.series);
    drop(store);
    let fresh = Arc::new(Catalogue::default());
    let started = Instant::now();
    let store = open(folder.path(), &fresh);
    println!("reopen                      {:>8.2} ms", started.elapsed().as_secs_f64() * 1e3);
    let later = at(START_MILLIS + POLLS as i64 * INTERVAL_MILLIS + 3 * 86_400_000);
    let started = Instant::now();
    store.seal(later).expect("the disk takes it");
    store.tidy(later).expect("the disk takes it");
    println!("a day joined and summed up  {:>8.2} s", started.elapsed().as_secs_f64());
    store.expire(later);
    println!(
        "then on disk                {:>8.3} bytes a sample",
        size(folder.path()) as f64 / samples
    );
    for (tier, bytes) in [("raw", 0), ("5m", 0), ("1h", 0)] {
        let bytes = files(folder.path(), tier) + bytes;
        println!("  {tier:<3}                       {:>8.3}", bytes as f64 / samples);
    }
}

fn open(folder: &Path, catalogue: &Arc<Catalogue>) -> Store {
    let day = Duration::from_secs(86_400);
    let limits = Limits {
        raw: day * 30,
        five_minutes: day * 120,
        hour: day * 730,
        bytes: 2 << 30,
        late: Duration::from_secs(3_600),
    };
    Store::open(folder.into(), catalogue.clone(), limits, &Metrics::default(), at(START_MILLIS))
        .expect("a store can be opened")
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_nanos(millis * 1_000_000)
}

struct Ingested {
    seconds: f64,
    longest: Duration,
    before: f64,
}

/// Appends from one thread while another seals when the head is full, as in the daemon.
fn ingest(store: &Arc<Store>, workload: &mut Workload) -> Ingested {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .expect("a runtime");
    let stop = tokio_util::sync::CancellationToken::new();
    let clock = Arc::new(watchpost::sample::Clock::starting_at(at(START_MILLIS)));
    let sealing = watchpost::store::run(store.clone(), clock, |_| {}, stop.clone());
    let sealing = runtime.handle().block_on(async { tokio::task::JoinSet::from_iter([sealing]) });
    let (mut spent, mut longest, mut end) = (Duration::ZERO, Duration::ZERO, 0);
    let before = resident();
    for poll in 0..POLLS {
        let batches = workload.poll(poll);
        let started = Instant::now();
        for batch in &batches {
            let one = Instant::now();
            end += batch.samples.len() as u64;
            store.append(std::slice::from_ref(batch), batch.time, end);
            longest = longest.max(one.elapsed());
        }
        runtime.block_on(store.room());
        spent += started.elapsed();
    }
    let started = Instant::now();
    let last = at(START_MILLIS + POLLS as i64 * INTERVAL_MILLIS);
    store.seal(last).expect("the disk takes it");
    spent += started.elapsed();
    stop.cancel();
    drop(sealing);
    Ingested { seconds: spent.as_secs_f64(), longest, before }
}

fn queries(store: &Store, series: &[SeriesId]) {
    let end = START_MILLIS + POLLS as i64 * INTERVAL_MILLIS;
    let all = Range::new(at(START_MILLIS - 1_000), at(end));
    let last = Range::new(at(end - 600_000), at(end));
    let thousand: Vec<_> = series.chunks(METRICS).flat_map(|s| s[..10].to_vec()).collect();
    let targets: Vec<_> = series[..1_000].to_vec();
    let cases: [(&str, &[SeriesId], &Range, usize); 4] = [
        ("1 series, all", &series[5_555..5_556], &all, 1_000),
        ("1,000 series, all, 10 targets", &targets, &all, 1_000_000),
        ("1,000 series, all, 100 targets", &thousand, &all, 1_000_000),
        ("1,000 series, last 10 min", &thousand, &last, 60_000),
    ];
    for (name, series, range, least) in cases {
        let mut times = Vec::new();
        for _ in 0..20 {
            let started = Instant::now();
            let read = store.read(series, range).expect("no limit");
            times.push(started.elapsed().as_secs_f64() * 1e3);
            let points: usize = read.iter().map(Vec::len).sum();
            assert!(points + 2 * series.len() >= least, "{points} of {least}");
        }
        times.sort_by(f64::total_cmp);
        println!("{name:<34} {:>8.3} ms, the fastest {:.3}", times[10], times[0]);
    }
}

fn size(folder: &Path) -> u64 {
    files(folder, "")
}

fn files(folder: &Path, prefix: &str) -> u64 {
    let entries = std::fs::read_dir(folder).expect("the folder is there").flatten();
    let named = entries.filter(|e| e.file_name().to_string_lossy().starts_with(prefix));
    named.map(|entry| entry.metadata().map_or(0, |m| m.len())).sum()
}

fn status(key: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kilobytes.unwrap_or_default() / 1e3
}

fn peak() -> f64 {
    status("VmHWM:")
}

fn resident() -> f64 {
    status("VmRSS:")
}

/// What a series is like.
#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Up,
    Celsius,
    Latency,
    Percent,
    Full,
    Gauge,
}

/// 25 % counters, 15 % constants, 15 % temperatures, 15 % latencies, 15 % percentages, 10 % numbers
/// of full precision, 5 % small integers.
fn kind(metric: usize) -> Kind {
    match metric % 20 {
        0..5 => Kind::Counter,
        5..8 => Kind::Up,
        8..11 => Kind::Celsius,
        11..14 => Kind::Latency,
        14..17 => Kind::Percent,
        17..19 => Kind::Full,
        _ => Kind::Gauge,
    }
}

struct Workload {
    random: fastrand::Rng,
    series: Vec<SeriesId>,
    /// What each has come to.
    at: Vec<f64>,
}

impl Workload {
    fn new(catalogue: &Catalogue) -> Self {
        let mut random = fastrand::Rng::with_seed(42);
        let mut series = Vec::new();
        for target in 0..TARGETS {
            let target = format!("host-{target:03}");
            for metric in 0..METRICS {
                let field = format!("metric_{metric:03}");
                let tags = [("target", &*target), ("kind", "bench"), ("site", "hq")];
                series.push(catalogue.intern("bench", &field, &tags));
            }
        }
        let at = (0..series.len()).map(|n| match kind(n % METRICS) {
            Kind::Counter => (random.f64() * 1e9).floor(),
            Kind::Celsius => 200.0 + random.f64() * 200.0,
            Kind::Percent => random.f64() * 10_000.0,
            _ => random.f64() * 100.0,
        });
        let at = at.collect();
        Self { random, series, at }
    }

    /// The batches of one round of polls.
    fn poll(&mut self, poll: usize) -> Vec<Batch> {
        let mut batches = Vec::with_capacity(TARGETS);
        for target in 0..TARGETS {
            let jitter = self.random.i64(-3..=15);
            let phase = target as i64 * INTERVAL_MILLIS / TARGETS as i64;
            let time = START_MILLIS + poll as i64 * INTERVAL_MILLIS + phase + jitter;
            let samples = (0..METRICS).map(|metric| {
                let n = target * METRICS + metric;
                Sample { series: self.series[n], value: self.value(n) }
            });
            let samples = samples.collect();
            batches.push(Batch { target: "bench".into(), time: at(time), samples });
        }
        batches
    }

    fn value(&mut self, n: usize) -> f64 {
        let random = &mut self.random;
        let noise = normal(random);
        let state = &mut self.at[n];
        match kind(n % METRICS) {
            Kind::Counter => {
                let rate = 100.0 * (n % 50 + 1) as f64;
                *state += (rate + noise * rate * 0.1).max(0.0).round();
                *state
            }
            Kind::Up => 1.0,
            Kind::Celsius => {
                *state += (noise * 0.6).round();
                *state / 10.0
            }
            Kind::Latency => (((noise * 0.5).exp() * (n % 40 + 1) as f64) * 1e3).round() / 1e3,
            Kind::Percent => {
                *state = (*state + (noise * 20.0).round()).clamp(0.0, 10_000.0);
                *state / 100.0
            }
            Kind::Full => noise * 1e3 + random.f64(),
            Kind::Gauge => (random.f64() * 6.0).floor(),
        }
    }
}

fn normal(random: &mut fastrand::Rng) -> f64 {
    let (u, v) = (random.f64().max(f64::MIN_POSITIVE), random.f64());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}
