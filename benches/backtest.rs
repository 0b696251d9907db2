//! A backtest over a sealed store: 1,000 series of 100 targets, 10,000 polls ten seconds apart.
//!
//! Run with `cargo bench --bench backtest`. Prints samples a second on one thread: of the engine
//! alone, of the store alone, and from the store through the engine, for rules about all of the
//! series and about a tenth of them.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use watchpost::backtest::source::{Source, Wanted};
use watchpost::backtest::{Cadence, Contender, Judged, Plan, Watch};
use watchpost::config::Loader;
use watchpost::metrics::Metrics;
use watchpost::rules::{Course, Listener};
use watchpost::sample::{Batch, Catalogue, Sample, SeriesId, Timestamp};
use watchpost::store::{Limits, Store};

const TARGETS: usize = 100;
const METRICS: usize = 10;
const POLLS: usize = 10_000;
const INTERVAL_MILLIS: i64 = 10_000;
const START_MILLIS: i64 = 1_767_225_600_000;

/// Rounds of which the fastest counts.
const ROUNDS: usize = 3;

fn main() {
    let folder = tempfile::tempdir().expect("a folder for files");
    let samples = TARGETS * METRICS * POLLS;
    fill(folder.path());
    println!("{} series, {samples} samples in the store, one thread", TARGETS * METRICS);
    println!("{:<44}{:>12}{:>14}", "", "M samples/s", "ns a sample");
    let all: String = (0..METRICS).map(rule).collect();
    let windows: String = (0..METRICS)
        .map(|n| format!("[rule.w{n}]\nwhen = 'avg_over_time(m_f{n}[5m]) > 150'\n"))
        .collect();
    row("engine alone, 10 rules, a threshold a series", || engine_alone(&contender(&all)));
    let open = Opened::new(folder.path());
    row("store alone", || open.read());
    row("store and engine, the same rules", || open.run(&[contender(&all)]));
    row("store and engine, 1 rule, 100 series", || open.run(&[contender(&rule(0))]));
    let sweep: Vec<_> =
        (0..10).map(|n| contender(&all.replace("150", &(140 + n).to_string()))).collect();
    row("store and engine, a sweep of 10", || open.run(&sweep));
    row("store and engine, 10 windows of 5 min", || open.run(&[contender(&windows)]));
}

fn row(name: &str, mut run: impl FnMut() -> (u64, Duration)) {
    let rounds = (0..ROUNDS).map(|_| run());
    let (samples, time) = rounds.min_by_key(|(_, time)| *time).expect("there are rounds");
    let each = time.as_secs_f64() / samples as f64;
    println!("{name:<44}{:>12.1}{:>14.1}", 1e-6 / each, each * 1e9);
}

/// Two of a hundred values are above, so that alerts come and go.
fn rule(n: usize) -> String {
    format!("[rule.r{n}]\nmetric = 'm_f{n}'\nabove = 150\nclear_below = 140\nfor = '30s'\n")
}

fn contender(text: &str) -> Contender {
    let loader = Loader { env: &|_| None };
    let config = loader.load_text(Path::new("bench.toml"), text).expect("the rules are right");
    let reported = config.rules.iter().map(|rule| rule.name.clone()).collect();
    Contender { rules: config.rules, reported }
}

fn series(catalogue: &Catalogue) -> Vec<SeriesId> {
    let mut all = Vec::new();
    for target in 0..TARGETS {
        let target = format!("t{target}");
        for metric in 0..METRICS {
            let tags = [("target", &*target), ("kind", "bench"), ("site", "hq")];
            all.push(catalogue.intern("m", &format!("f{metric}"), &tags));
        }
    }
    all
}

/// The polls of one round, in the order of their times.
fn poll(poll: usize, series: &[SeriesId], random: &mut fastrand::Rng) -> Vec<Batch> {
    let targets = series.chunks(METRICS).enumerate();
    targets
        .map(|(target, series)| {
            let phase = target as i64 * INTERVAL_MILLIS / TARGETS as i64;
            let time = START_MILLIS + poll as i64 * INTERVAL_MILLIS + phase;
            let value = |random: &mut fastrand::Rng| (random.f64() * 1_530.0).round() / 10.0;
            let samples = series.iter().map(|one| Sample { series: *one, value: value(random) });
            Batch { target: "bench".into(), time: at(time), samples: samples.collect() }
        })
        .collect()
}

fn fill(folder: &Path) {
    let catalogue = Arc::new(Catalogue::default());
    let store = open(folder, &catalogue);
    let all = series(&catalogue);
    let mut random = fastrand::Rng::with_seed(7);
    for n in 0..POLLS {
        let batches = poll(n, &all, &mut random);
        let now = batches.last().expect("there are targets").time;
        store.append(&batches, now, n as u64 + 1);
        if n % 360 == 359 || n + 1 == POLLS {
            store.seal(now).expect("the disk takes it");
        }
    }
    let later = at(START_MILLIS + POLLS as i64 * INTERVAL_MILLIS + 3 * 86_400_000);
    store.tidy(later).expect("the disk takes it");
}

fn open(folder: &Path, catalogue: &Arc<Catalogue>) -> Store {
    Store::open(folder.into(), catalogue.clone(), limits(), &Metrics::default(), at(START_MILLIS))
        .expect("a store can be opened")
}

fn limits() -> Limits {
    let day = Duration::from_secs(86_400);
    Limits {
        raw: day * 365,
        five_minutes: day * 365,
        hour: day * 365,
        bytes: 2 << 30,
        late: Duration::from_secs(3_600),
    }
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_nanos(millis * 1_000_000)
}

/// A tenth of the polls, over and over at later times, so that they lie in memory.
fn engine_alone(contender: &Contender) -> (u64, Duration) {
    let catalogue = Arc::new(Catalogue::default());
    let all = series(&catalogue);
    let mut random = fastrand::Rng::with_seed(7);
    let batches: Vec<_> = (0..POLLS / 10).flat_map(|n| poll(n, &all, &mut random)).collect();
    let mut course = Course::new(catalogue, contender.rules.clone());
    let mut out = Vec::new();
    course.begin(Vec::new(), at(START_MILLIS), &mut out);
    let started = Instant::now();
    for batch in &batches {
        course.judge(batch, &mut out);
        out.clear();
    }
    let time = started.elapsed();
    (batches.iter().map(|batch| batch.samples.len() as u64).sum(), time)
}

struct Silent;

impl Watch for Silent {
    fn like(&self, _: &str) -> Listener {
        Listener::that(false)
    }
}

struct Opened {
    catalogue: Arc<Catalogue>,
    store: Store,
}

impl Opened {
    fn new(folder: &Path) -> Self {
        let catalogue = Arc::new(Catalogue::default());
        let now = at(START_MILLIS);
        let store = Store::open_read_only(folder, None, &catalogue, limits(), now);
        Self { store: store.expect("a store can be opened"), catalogue }
    }

    fn read(&self) -> (u64, Duration) {
        let started = Instant::now();
        let batches = self.store.batches(Timestamp::MIN, at(i64::MAX / 1_000_000), |_| true);
        let samples = batches.map(|batch| black_box(&batch).samples.len() as u64).sum();
        (samples, started.elapsed())
    }

    fn run(&self, contenders: &[Contender]) -> (u64, Duration) {
        let plan = Plan {
            catalogue: self.catalogue.clone(),
            contenders,
            from: None,
            to: None,
            cadence: Cadence::default(),
            alerts_max: 10_000,
        };
        let (series, names) = (plan.selection(), plan.names());
        let wanted = Wanted {
            from: None,
            to: None,
            series: &series,
            names: &names,
            catalogue: &self.catalogue,
            site: None,
        };
        let started = Instant::now();
        let judged: Judged =
            plan.run(Source::store(&self.store, &wanted), &mut Silent).expect("the store is read");
        let time = started.elapsed();
        assert!(judged.outcomes.iter().all(|one| one.total().series > 0), "rules see the store");
        (judged.progress.samples, time)
    }
}
