//! Scripted pollers under a paused clock: no I/O is in play, so virtual time is exact.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, advance};

use super::task::Task;
use super::*;
use crate::config::Loader;
use crate::pollers::{AnyPoller, Cadence, PollError, Poller, Reason};
use crate::sample::{Clock, Readings, Timestamp, is_stale};

/// What a scripted poll does.
#[derive(Clone)]
enum Act {
    Read(f64),
    Fail(Reason),
    /// Reads, and fails without having handed it on.
    ReadAndFail(f64),
    Hang,
    Panic,
}

/// A poller that only does what it is told, and counts how often it was made.
struct Scripted(Arc<Mutex<VecDeque<Act>>>);

impl Poller for Scripted {
    async fn poll(&mut self, out: &mut Readings) -> Result<(), PollError> {
        let act = self.0.lock().unwrap().pop_front().unwrap_or(Act::Hang);
        match act {
            Act::Read(value) => out.push("x", "value", value),
            Act::Fail(reason) => return Err(PollError::new(reason, "as told")),
            Act::ReadAndFail(value) => {
                out.push("y", "value", value);
                out.cut();
                return Err(PollError::new(Reason::Refused, "as told"));
            }
            Act::Hang => std::future::pending().await,
            Act::Panic => panic!("as told"),
        }
        Ok(())
    }
}

struct Bench {
    env: Arc<Env>,
    bus: mpsc::Receiver<Vec<Batch>>,
    status: Arc<Status>,
    tasks: JoinSet<()>,
}

fn targets(toml: &str) -> Vec<Arc<Target>> {
    Loader { env: &|_| None }.load_text(Path::new("test.toml"), toml).unwrap().targets
}

fn bench() -> Bench {
    let (sender, bus) = mpsc::channel(64);
    let clock = Arc::new(Clock::starting_at(Timestamp::from_secs(0)));
    let env = Arc::new(Env {
        catalogue: Arc::default(),
        shared: Arc::new(Shared::new(clock)),
        metrics: Arc::default(),
        events: Events::default(),
        bus: sender,
        started: Instant::now(),
    });
    let target = targets("[host.t]\n").remove(0);
    let status = Arc::new(Status::new(target));
    Bench { env, bus, status, tasks: JoinSet::new() }
}

impl Bench {
    fn run(&mut self, cadence: Cadence, acts: &[Act]) -> Arc<Mutex<u32>> {
        let script = Arc::new(Mutex::new(acts.iter().cloned().collect::<VecDeque<_>>()));
        let made = Arc::new(Mutex::new(0));
        let count = made.clone();
        let counts = Arc::new(Counts::new(&self.env.metrics, "host"));
        let kin = Arc::new(Kin { env: self.env.clone(), counts, grid: Arc::default() });
        let mut task = Task::new(kin, self.status.clone(), cadence);
        self.tasks.spawn(async move {
            let make = |_: &Task| {
                *count.lock().unwrap() += 1;
                Box::new(Scripted(script.clone())) as Box<dyn AnyPoller>
            };
            task.run(&make).await;
        });
        made
    }

    /// The next batches, as `name value` without the tags every series has.
    async fn next(&mut self) -> Vec<String> {
        let batches = self.bus.recv().await.unwrap();
        let word = |value: f64| if is_stale(value) { "stale".into() } else { value.to_string() };
        let one = |s: &crate::sample::Sample| {
            let series = self.env.catalogue.series(s.series);
            let reason = series.tag("reason").map_or(String::new(), |r| format!("{{{r}}}"));
            format!("{}{reason} {}", series.name(), word(s.value))
        };
        batches.iter().flat_map(|b| b.samples.iter().map(one)).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_poll_is_data_and_ends_the_other_series() {
    let mut bench = bench();
    bench.run(
        Cadence::OnBeat,
        &[Act::Read(5.0), Act::Fail(Reason::Refused), Act::Hang, Act::Read(6.0)],
    );
    assert_eq!(bench.next().await, ["x_value 5", "target_up 1", "target_poll_seconds 0"]);
    assert_eq!(
        bench.next().await,
        [
            "target_up 0",
            "target_failures_total{refused} 1",
            "target_poll_seconds 0",
            "x_value stale"
        ]
    );
    assert_eq!(
        bench.next().await,
        [
            "target_up 0",
            "target_failures_total{timeout} 1",
            "target_failures_total{refused} 1",
            "target_poll_seconds 2"
        ]
    );
    assert_eq!(bench.next().await[0], "x_value 6");
}

#[tokio::test(start_paused = true)]
async fn polls_keep_their_beat_whatever_a_poll_takes() {
    let mut bench = bench();
    bench.run(Cadence::OnBeat, &[Act::Hang, Act::Hang, Act::Read(1.0)]);
    bench.next().await;
    let first = Instant::now();
    bench.next().await;
    assert_eq!(first.elapsed(), Duration::from_secs(10));
    bench.next().await;
    assert_eq!(first.elapsed(), Duration::from_secs(18));
}

#[tokio::test(start_paused = true)]
async fn a_poller_that_panics_is_made_anew() {
    let mut bench = bench();
    let made = bench.run(Cadence::OnBeat, &[Act::Panic, Act::Read(1.0)]);
    assert!(bench.next().await.contains(&"target_failures_total{bug} 1".into()));
    assert!(bench.next().await.contains(&"x_value 1".into()));
    assert_eq!(*made.lock().unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn silence_is_a_failed_poll_and_listening_goes_on() {
    let mut bench = bench();
    let quiet = Some(Duration::from_secs(30));
    bench.run(Cadence::OnArrival { quiet }, &[Act::Read(1.0), Act::Hang, Act::Read(2.0)]);
    assert_eq!(bench.next().await, ["x_value 1", "target_up 1"]);
    for _ in 0..2 {
        assert_eq!(bench.next().await, ["target_up 1"], "still up, every ten seconds");
    }
    let silent = bench.next().await;
    let failed = Instant::now();
    assert_eq!(
        silent,
        ["target_up 0", "target_failures_total{timeout} 1", "x_value stale"],
        "who is told that a series ends knows that its target is down"
    );
    assert_eq!(bench.next().await[0], "x_value 2");
    assert_eq!(failed.elapsed(), Duration::ZERO, "the silence was wait enough");
}

#[tokio::test(start_paused = true)]
async fn what_was_read_before_a_failure_stands_before_it() {
    let mut bench = bench();
    let acts = [Act::Read(1.0), Act::ReadAndFail(2.0)];
    bench.run(Cadence::OnArrival { quiet: None }, &acts);
    assert_eq!(bench.next().await, ["x_value 1", "target_up 1"]);
    let failed = bench.next().await;
    let expected =
        ["y_value 2", "target_up 0", "target_failures_total{refused} 1", "x_value stale"];
    assert_eq!(failed, expected);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_fails_is_tried_again_after_a_while() {
    let mut bench = bench();
    let acts = [Act::Fail(Reason::Refused), Act::Fail(Reason::Refused), Act::Read(1.0)];
    bench.run(Cadence::OnArrival { quiet: None }, &acts);
    for failure in 1..=2 {
        let said = bench.next().await;
        assert_eq!(said[1], format!("target_failures_total{{refused}} {failure}"));
        let failed = Instant::now();
        if failure == 2 {
            assert_eq!(bench.next().await[0], "x_value 1");
            assert!(failed.elapsed() >= Duration::from_millis(500));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_bus_makes_polling_wait_and_loses_nothing() {
    let mut bench = bench();
    let acts: Vec<_> = (0..100).map(|i| Act::Read(f64::from(i))).collect();
    bench.run(Cadence::OnArrival { quiet: None }, &acts);
    advance(Duration::from_secs(1)).await;
    for i in 0..100 {
        assert_eq!(bench.next().await[0], format!("x_value {i}"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_update_leaves_alone_what_did_not_change() {
    let Bench { env, mut bus, .. } = bench();
    let mut supervisor = Supervisor::new(Arc::into_inner(env).unwrap());
    let before = targets("[host.a]\n[host.b]\n[host.c]\n");
    let after = targets("[host.a]\n[host.b]\ninterval = \"5s\"\n[host.d]\n");
    let change = supervisor.update(&before).await;
    assert_eq!((change.started, change.stopped, change.kept), (3, 0, 0));
    let change = supervisor.update(&after).await;
    assert_eq!((change.started, change.stopped, change.kept), (2, 2, 1));
    assert_eq!(change.removed.iter().map(|t| t.id()).collect::<Vec<_>>(), ["host.c"]);
    let ids: Vec<_> = supervisor.board().snapshots().iter().map(|s| s.target.id()).collect();
    assert_eq!(ids, ["host.a", "host.b", "host.d"]);
    supervisor.close().await;
    while bus.recv().await.is_some() {}
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_polled_on_the_beat_waits_in_little_room() {
    let Bench { env, .. } = bench();
    let target = targets("[icmp.t]\nhost = \"127.0.0.1\"\n").remove(0);
    let counts = Arc::new(Counts::new(&env.metrics, "icmp"));
    let kin = Arc::new(Kin { env, counts, grid: Arc::default() });
    let task = Task::new(kin, Arc::new(Status::new(target)), Cadence::OnBeat);
    // With what tokio adds, 512 bytes: ten thousand must fit into 40 MB beside all else.
    let bytes = size_of_val(&life(task));
    assert!(bytes <= 424, "{bytes} bytes");
}
