//! The store on workload W: 100 targets of 100 series each, 1,000 polls ten seconds apart, written in
//! the order of polls, as fast as it goes.
//!
//! Run with `cargo bench --bench store`. Prints ingest, size, memory, queries, reopening, and the
//! longest an append took while sealing went on.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use watchpost::journal::{self, Journal};
use watchpost::metrics::Metrics;
use watchpost::sample::{Batch, Catalogue, Clock, Sample, SeriesId, Timestamp};
use watchpost::store::{Limits, Range, Store};

const TARGETS: usize = 100;
const METRICS: usize = 100;
const POLLS: usize = 1_000;
const INTERVAL_MILLIS: i64 = 10_000;
const START_MILLIS: i64 = 1_700_000_000_000;

fn main() {
    let folder = tempfile::tempdir().expect("a folder for files");
    let (store_dir, journal_dir) = (folder.path().join("store"), folder.path().join("journal"));
    let catalogue = Arc::new(Catalogue::default());
    let mut workload = Workload::new(&catalogue);
    let samples = (TARGETS * METRICS * POLLS) as f64;
    println!("{} series, {samples} samples", TARGETS * METRICS);
    let before = resident();
    let store = Arc::new(open(&store_dir, &catalogue));
    let journal = open_journal(&journal_dir, &catalogue);
    let ingested = ingest(&store, &journal, &mut workload);
    let speed = samples / ingested.seconds / 1e6;
    let of_cpu = ingested.cpu_seconds * 1e9 / samples;
    println!("ingest with the journal       {speed:>8.2} M samples/s, {of_cpu:.0} ns of CPU each");
    println!("resident, at most             {:>8.1} MB, of which before {before:.1}", peak());
    println!(
        "on disk                       {:>8.3} bytes a sample",
        size(&store_dir) as f64 / samples
    );
    queries(&store, &workload.series);
    drop(store);
    reopen(&store_dir, &journal, samples);
    stalls();
    replay();
}

/// How long an append takes at most while the head is sealed over and over.
fn stalls() {
    let folder = tempfile::tempdir().expect("a folder for files");
    let catalogue = Arc::new(Catalogue::default());
    let mut workload = Workload::new(&catalogue);
    let store = open(folder.path(), &catalogue);
    let polls: Vec<Vec<Batch>> = (0..250).map(|poll| workload.poll(poll)).collect();
    let (mut all, done) = (Vec::new(), std::sync::atomic::AtomicBool::new(false));
    let relaxed = std::sync::atomic::Ordering::Relaxed;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(relaxed) {
                store.seal(at(START_MILLIS)).expect("the disk takes it");
            }
        });
        for batch in polls.iter().flatten() {
            let started = Instant::now();
            store.append(std::slice::from_ref(batch), batch.time, 0);
            all.push(started.elapsed().as_secs_f64() * 1e6);
        }
        done.store(true, relaxed);
    });
    all.sort_by(f64::total_cmp);
    let of = |share: f64| all[((all.len() - 1) as f64 * share) as usize];
    println!(
        "append of 100 samples while sealing: median {:.1} µs, 99.9 % {:.0} µs, at most {:.0} µs",
        of(0.5),
        of(0.999),
        of(1.0)
    );
}

/// A restart with an hour of journal: 3.6 million samples.
fn replay() {
    let folder = tempfile::tempdir().expect("a folder for files");
    let (store_dir, journal_dir) = (folder.path().join("store"), folder.path().join("journal"));
    let catalogue = Arc::new(Catalogue::default());
    let mut workload = Workload::new(&catalogue);
    let runtime = runtime();
    let journal = open_journal(&journal_dir, &catalogue);
    // What nobody has yet to read is not kept.
    let unread = journal.reader_at("store", 0);
    for poll in 0..360 {
        workload.poll(poll).into_iter().for_each(|batch| {
            journal.append(&Arc::new(vec![batch]));
        });
        runtime.block_on(journal.room());
    }
    runtime.block_on(journal.close(Duration::from_secs(10)));
    drop((unread, journal));
    let fresh = Arc::new(Catalogue::default());
    let started = Instant::now();
    let store = open(&store_dir, &fresh);
    let journal = open_journal(&journal_dir, &fresh);
    let mut reader = journal.reader_at("store", store.sealed_to());
    store.catch_up(&mut reader, &Clock::starting_at(at(START_MILLIS + 3_600_000)));
    println!("start with an hour of journal {:>8.0} ms", started.elapsed().as_secs_f64() * 1e3);
    let hour = Range::new(at(START_MILLIS - 1_000), at(START_MILLIS + 4_000_000));
    let series = fresh.intern(
        "bench",
        "metric_000",
        &[("target", "host-000"), ("kind", "bench"), ("site", "hq")],
    );
    assert_eq!(store.read(&[series], &hour).expect("no limit")[0].len(), 360);
}

fn reopen(folder: &Path, journal: &Journal, samples: f64) {
    let fresh = Arc::new(Catalogue::default());
    let started = Instant::now();
    let store = open(folder, &fresh);
    println!("reopen, all sealed            {:>8.2} ms", started.elapsed().as_secs_f64() * 1e3);
    assert_eq!(store.sealed_to(), journal.end());
    let later = at(START_MILLIS + POLLS as i64 * INTERVAL_MILLIS + 3 * 86_400_000);
    let started = Instant::now();
    store.seal(later).expect("the disk takes it");
    store.tidy(later).expect("the disk takes it");
    println!("joined and summed up in       {:>8.2} s", started.elapsed().as_secs_f64());
    for tier in ["raw", "5m", "1h"] {
        let bytes = files(folder, tier) as f64;
        println!("  {tier:<3}                         {:>8.3} bytes a sample", bytes / samples);
    }
}

fn open_journal(folder: &Path, catalogue: &Arc<Catalogue>) -> Journal {
    let env = journal::Env {
        folder: Some(folder.into()),
        catalogue: catalogue.clone(),
        clock: Arc::new(Clock::starting_at(at(START_MILLIS))),
        metrics: Arc::default(),
    };
    Journal::open(env, watchpost::config::Store::default().journal_limits())
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_time().build().expect("a runtime")
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
    /// Of all threads, without the making of the samples.
    cpu_seconds: f64,
}

/// CPU time of the process so far, the kernel's part included.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Appends to the journal from one thread; the store's task reads it and seals on others.
fn ingest(store: &Arc<Store>, journal: &Journal, workload: &mut Workload) -> Ingested {
    let runtime = runtime();
    let stop = CancellationToken::new();
    let last = at(START_MILLIS + POLLS as i64 * INTERVAL_MILLIS);
    let clock = Arc::new(Clock::starting_at(last));
    let reader = journal.reader_at("store", 0);
    let mut tasks = JoinSet::new();
    tasks.spawn_on(store.clone().run(reader, clock, stop.clone()), runtime.handle());
    let mut spent = Duration::ZERO;
    let (cpu_before, mut making) = (cpu_seconds(), Duration::ZERO);
    for poll in 0..POLLS {
        let started = Instant::now();
        let batches = workload.poll(poll);
        making += started.elapsed();
        let started = Instant::now();
        for batch in batches {
            journal.append(&Arc::new(vec![batch]));
        }
        runtime.block_on(journal.room());
        spent += started.elapsed();
    }
    let started = Instant::now();
    while store.taken_to() < journal.end() {
        runtime.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
    }
    stop.cancel();
    runtime.block_on(tasks.join_next());
    store.seal(last).expect("the disk takes it");
    spent += started.elapsed();
    let cpu_seconds = cpu_seconds() - cpu_before - making.as_secs_f64();
    Ingested { seconds: spent.as_secs_f64(), cpu_seconds }
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
            Kind::Celsius => 200.0 + (random.f64() * 200.0).floor(),
            Kind::Percent => (random.f64() * 10_000.0).floor(),
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
