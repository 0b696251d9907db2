use std::sync::Mutex;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::worker::Worker;
use super::*;
use crate::journal::{CatchUp, Journal};
use crate::sample::{Sample, Timestamp};

/// Keeps what it is told to write, or fails as the script says.
struct Scripted {
    shared: Arc<Script>,
    filled: Vec<f64>,
}

#[derive(Default)]
struct Script {
    /// What the next writes answer; when there is nothing left, they work.
    answers: Mutex<Vec<Rejected>>,
    written: Mutex<Vec<(Instant, Vec<f64>)>>,
    tried: Notify,
}

impl Sink for Scripted {
    fn fill(&mut self, batch: &Batch, from: usize) -> usize {
        const MOST: usize = 10;
        let room = MOST - self.filled.len();
        let take = room.min(batch.samples.len() - from);
        self.filled.extend(batch.samples[from..from + take].iter().map(|s| s.value));
        from + take
    }

    async fn write(&mut self) -> Result<Outcome, Rejected> {
        self.shared.tried.notify_one();
        if let Some(answer) = self.shared.answers.lock().unwrap().pop() {
            return Err(answer);
        }
        let points = self.filled.len() as u64;
        let filled = std::mem::take(&mut self.filled);
        self.shared.written.lock().unwrap().push((Instant::now(), filled));
        Ok(Outcome { points, rejected_lines: 0 })
    }
}

struct Fixture {
    env: SinkEnv,
    script: Arc<Script>,
    metrics: Arc<Metrics>,
    started: Instant,
    tasks: JoinSet<()>,
}

fn batches(values: std::ops::Range<u32>) -> Arc<Vec<Batch>> {
    let series = Catalogue::default().intern("m", "f", &[]);
    let samples = values.map(|n| Sample { series, value: f64::from(n) }).collect();
    Arc::new(vec![Batch { target: "t".into(), time: Timestamp::from_secs(1), samples }])
}

impl Fixture {
    fn start(answers: Vec<Rejected>) -> Self {
        let metrics = Arc::new(Metrics::default());
        let catalogue = Arc::new(Catalogue::default());
        let journal = Journal::in_memory(catalogue.clone(), metrics.clone());
        let state_dir = std::path::PathBuf::new();
        let env = SinkEnv { catalogue, metrics: metrics.clone(), state_dir, journal };
        let script = Arc::new(Script::default());
        *script.answers.lock().unwrap() = answers;
        let mut fixture =
            Self { env, script, metrics, started: Instant::now(), tasks: JoinSet::new() };
        fixture.spawn();
        fixture
    }

    fn spawn(&mut self) {
        let age = Duration::from_secs(1);
        let pace = Pace { points: 5, age, catch_up: CatchUp::Oldest, memory_bytes: 0 };
        let worker = Worker::new(&"influxdb.main".into(), pace, &self.env);
        let shared = self.script.clone();
        let make = move || Scripted { shared: shared.clone(), filled: Vec::new() };
        self.tasks.spawn(worker.run(make));
    }

    fn append(&self, values: std::ops::Range<u32>) {
        self.env.journal.append(&batches(values));
    }

    fn written(&self) -> Vec<(u64, usize)> {
        let written = self.script.written.lock().unwrap();
        let millis = |at: &Instant| (*at - self.started).as_millis() as u64;
        written.iter().map(|(at, values)| (millis(at), values.len())).collect()
    }

    fn values(&self) -> Vec<f64> {
        self.script.written.lock().unwrap().iter().flat_map(|(_, v)| v.clone()).collect()
    }

    async fn end(&mut self) {
        self.env.journal.end_reader("influxdb.main");
        while let Some(ended) = self.tasks.join_next().await {
            assert!(ended.as_ref().is_ok_and(|()| true) || ended.unwrap_err().is_cancelled());
        }
    }

    fn has(&self, line: &str) -> bool {
        let page = self.metrics.render();
        let has = page.contains(&line.replace("{}", "{sink=\"influxdb.main\"}"));
        if !has {
            eprintln!("{page}");
        }
        has
    }
}

#[tokio::test(start_paused = true)]
async fn samples_are_written_by_number_or_by_age() {
    let mut fixture = Fixture::start(Vec::new());
    fixture.append(0..2);
    tokio::time::sleep(Duration::from_millis(600)).await;
    fixture.append(2..4);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(fixture.written(), [(1_000, 4)]);
    fixture.append(4..10);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(fixture.written(), [(1_000, 4), (1_200, 6)]);
    assert_eq!(fixture.values(), (0..10).map(f64::from).collect::<Vec<_>>());
    assert!(fixture.has("watchpost_sink_written_points_total{} 10\n"));
    let lag = "watchpost_journal_lag_samples{reader=\"influxdb.main\"} 0\n";
    assert!(fixture.has(lag));
    fixture.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_large_batch_is_written_in_pieces_and_in_order() {
    let mut fixture = Fixture::start(Vec::new());
    fixture.append(0..33);
    fixture.end().await;
    assert_eq!(fixture.values(), (0..33).map(f64::from).collect::<Vec<_>>());
    assert_eq!(fixture.written().iter().map(|w| w.1).collect::<Vec<_>>(), [10, 10, 10, 3]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_delays_and_loses_nothing() {
    let asked = Duration::from_secs(90);
    let mut fixture = Fixture::start(vec![
        Rejected::Temporary { message: "busy".into(), retry_after: Some(asked) },
        Rejected::Permanent("odd".into()),
        Rejected::temporary("down"),
    ]);
    for n in 0..100 {
        fixture.append(n..n + 1);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert!(fixture.written()[0].0 > 90_000, "{:?}", fixture.written()[0]);
    assert_eq!(fixture.values(), (0..100).map(f64::from).collect::<Vec<_>>());
    assert!(fixture.has("watchpost_sink_retries_total{} 3\n"));
    assert!(fixture.has("watchpost_sink_up{} 1\n"));
    assert!(fixture.has("watchpost_sink_lag_seconds{} 0\n"));
    fixture.end().await;
}

#[tokio::test(start_paused = true)]
async fn at_the_bound_the_oldest_go_but_not_those_being_written() {
    let mut fixture = Fixture::start(vec![Rejected::temporary("down")]);
    fixture.append(0..5);
    fixture.script.tried.notified().await;
    fixture.env.journal.set_memory_max(1_000);
    let labels = [("reader", "influxdb.main")];
    let lost = fixture.metrics.counter("watchpost_journal_lost_samples_total", "", &labels);
    for n in 1..100 {
        fixture.append(n * 5..n * 5 + 5);
    }
    fixture.end().await;
    let values = fixture.values();
    assert!((10..40).contains(&values.len()), "{}", values.len());
    assert_eq!(values[..5], [0.0, 1.0, 2.0, 3.0, 4.0]);
    assert_eq!(values.last(), Some(&499.0));
    assert_eq!(lost.get(), 500 - values.len() as u64);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_replaced_in_the_middle_of_a_write_loses_nothing() {
    let mut fixture = Fixture::start(vec![Rejected::temporary("down")]);
    fixture.append(0..25);
    fixture.script.tried.notified().await;
    fixture.tasks.abort_all();
    fixture.spawn();
    fixture.end().await;
    assert_eq!(fixture.values(), (0..25).map(f64::from).collect::<Vec<_>>());
}
