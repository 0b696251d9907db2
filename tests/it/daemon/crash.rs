//! What is acknowledged survives: `kill -9` at any moment, databases and connections that end at
//! any moment, a full disk. Whoever pushes counts what was answered with 204, and all of it is
//! looked for afterwards.
//!
//! `WATCHPOST_CRASH_ROUNDS` sets how often the daemon is killed; the usual run does with twenty.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use nix::sys::signal::Signal;
use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use url::Url;
use watchpost::http_client::{HttpClient, Options, Request};
use watchpost::journal::{Env, Journal, Limits, Start};
use watchpost::metrics::Metrics;
use watchpost::sample::{Catalogue, Clock};

use super::{Daemon, command, stderr, stdout};
use crate::influxdb::{ANSWERS, ask, influxd, influxql, victoria_metrics};
use crate::support::{LIMIT, free_port, until_listening};

/// Series of each push.
const SERIES: u64 = 10;

/// How often the daemon is killed.
fn rounds() -> u64 {
    let given = std::env::var("WATCHPOST_CRASH_ROUNDS").ok();
    given.map_or(20, |rounds| rounds.parse().expect("a number of rounds"))
}

/// Pushes numbers, each once.
pub(super) struct Pusher {
    client: HttpClient,
    next: u64,
    /// The time of the last push.
    millis: i64,
    /// Numbers that were answered with 204.
    acknowledged: BTreeSet<u64>,
    /// Numbers of pushes nobody answered: there or not.
    uncertain: BTreeSet<u64>,
}

impl Pusher {
    pub(super) fn new() -> Self {
        let client = HttpClient::new(Options::default());
        let (acknowledged, uncertain) = (BTreeSet::new(), BTreeSet::new());
        Self { client, next: 0, millis: 0, acknowledged, uncertain }
    }

    /// Pushes the next numbers, under a time of their own; whether that was answered well.
    pub(super) async fn push(&mut self, daemon: &Daemon) -> bool {
        let numbers: Vec<_> = (self.next..self.next + SERIES).collect();
        self.next += SERIES;
        // Each push has another time, also within a millisecond.
        self.millis = (self.millis + 1).max(Clock::system().now().as_nanos() / 1_000_000);
        let line = |n: &u64| format!("n,k={} value={n} {}\n", n % SERIES, self.millis);
        let url = format!("http://{}/write?db=w&precision=ms", daemon.address);
        let mut request = Request::new(Method::POST, Url::parse(&url).unwrap());
        request.body = numbers.iter().map(line).collect::<String>().into();
        let answer = self.client.send(request).await;
        let is_done = answer.is_ok_and(|answer| answer.status.as_u16() == 204);
        if is_done {
            self.acknowledged.extend(numbers);
        } else {
            self.uncertain.extend(numbers);
        }
        is_done
    }

    /// Pushes for a while, until the daemon is killed at the end of it.
    async fn push_and_kill(&mut self, daemon: Daemon, after: Duration) -> TempDir {
        let end = Instant::now() + after;
        while Instant::now() < end {
            assert!(self.push(&daemon).await, "{}", daemon.log());
        }
        // In the middle of a push.
        tokio::join!(self.push(&daemon), async {
            sleep(Duration::from_micros(fastrand(1_500))).await;
            daemon.signal(Signal::SIGKILL);
        });
        folder_of(daemon)
    }

    /// Says what is missing or too much among numbers that were found.
    fn check(&self, place: &str, found: &BTreeMap<u64, u64>) {
        let lost: Vec<_> = self.acknowledged.iter().filter(|n| !found.contains_key(n)).collect();
        let (some, all) = (lost.len(), self.acknowledged.len());
        assert!(lost.is_empty(), "{place}: {some} of {all} lost, the first {:?}", lost.first());
        let is_ours = |n: &u64| self.acknowledged.contains(n) || self.uncertain.contains(n);
        assert!(found.keys().all(is_ours), "{place}: numbers nobody pushed");
    }
}

/// A number below another, of no importance.
fn fastrand(below: u64) -> u64 {
    let nanos = Clock::system().now().as_nanos().unsigned_abs();
    nanos.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) % below
}

/// The folder of a daemon that is gone.
pub(super) fn folder_of(mut daemon: Daemon) -> TempDir {
    drop(daemon.child.wait());
    std::mem::replace(&mut daemon.folder, TempDir::new().unwrap())
}

/// All that was judged is in the journal, whatever ends the daemon now.
pub(super) fn all_is_kept(daemon: Daemon) {
    daemon.signal(Signal::SIGKILL);
    let folder = folder_of(daemon);
    let verified = command(&folder.path().join("config.toml"), &["journal", "verify", "--json"]);
    let report: Json = serde_json::from_str(&stdout(&verified)).unwrap();
    assert_eq!(report["ok"], true, "{report}");
    for segment in report["segments"].as_array().unwrap() {
        assert_eq!(segment["missing_samples"], 0, "{report}");
    }
}

/// How often each number is in a journal.
async fn numbers(journal: &Path) -> BTreeMap<u64, u64> {
    let (catalogue, metrics) = (Arc::new(Catalogue::default()), Arc::new(Metrics::default()));
    let clock = Arc::new(Clock::system());
    let folder = Some(journal.to_owned());
    let env = Env { folder, catalogue: catalogue.clone(), clock, metrics };
    let journal = Journal::open(env, Limits::default());
    let mut reader = journal.reader("check", Start::Oldest);
    let mut numbers = BTreeMap::new();
    while let Some(group) = reader.take().await {
        for sample in group.batches.iter().flat_map(|batch| &batch.samples) {
            if catalogue.series(sample.series).is_named("n_value") {
                *numbers.entry(sample.value as u64).or_default() += 1;
            }
        }
    }
    journal.close(LIMIT).await;
    numbers
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_or_doubled_by_kill_9_at_any_moment() {
    // A sink nobody listens to keeps all of the journal.
    let config = format!(
        "[influxdb.main]\nurl = 'http://127.0.0.1:{}'\norg = 'o'\nbucket = 'b'\n\
         [host.this]\ninterval = '100ms'\ntimeout = '90ms'\ncollect = ['load']\n",
        free_port()
    );
    let mut pusher = Pusher::new();
    let mut folder = TempDir::new().unwrap();
    super::write(folder.path(), &config);
    for round in 0..rounds() {
        let daemon = Daemon::start_in(folder).await;
        let after = Duration::from_millis(fastrand(150));
        folder = pusher.push_and_kill(daemon, after).await;
        let verified = command(&folder.path().join("config.toml"), &["journal", "verify"]);
        assert!(
            verified.status.success(),
            "round {round}: {}{}",
            stdout(&verified),
            stderr(&verified)
        );
    }
    let found = numbers(&folder.path().join("state/journal")).await;
    pusher.check("journal", &found);
    assert!(found.values().all(|times| *times == 1), "numbers there twice");
    assert!(pusher.acknowledged.len() as u64 >= rounds() * SERIES);
}

/// Passes connections on, until it is told to cut them.
struct Wire {
    port: u16,
    cut: watch::Sender<u64>,
    _tasks: JoinSet<()>,
}

impl Wire {
    async fn to(far: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (cut, cuts) = watch::channel(0);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut cuts = cuts.clone();
                cuts.mark_unchanged();
                connections.spawn(async move {
                    let Ok(mut far) = TcpStream::connect(("127.0.0.1", far)).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
        });
        Self { port, cut, _tasks: tasks }
    }

    /// Ends every connection, whatever is on its way.
    fn cut(&self) {
        self.cut.send_modify(|times| *times += 1);
    }
}

/// All numbers InfluxDB 1 has.
async fn in_influxdb(port: u16) -> BTreeMap<u64, u64> {
    let answer = influxql(port, "SELECT value FROM n", ANSWERS).await;
    let answer: Json = serde_json::from_str(&answer).unwrap();
    let rows = answer["results"][0]["series"][0]["values"].as_array().cloned().unwrap_or_default();
    count(rows.iter().map(|row| row[1].as_f64().unwrap()))
}

/// All numbers VictoriaMetrics has.
async fn in_victoria_metrics(port: u16) -> BTreeMap<u64, u64> {
    let url = format!("http://127.0.0.1:{port}");
    ask(Method::GET, &format!("{url}/internal/force_flush"), &[]).await;
    let query =
        [("match[]", "n_value"), ("start", "2025-12-31T00:00:00Z"), ("reduce_mem_usage", "1")];
    let answer = ask(Method::GET, &format!("{url}/api/v1/export"), &query).await;
    let rows = answer.lines().map(|row| serde_json::from_str::<Json>(row).unwrap());
    let values = rows.flat_map(|row| row["values"].as_array().unwrap().clone());
    // What was written twice is there twice until it is merged.
    count(values.map(|value| value.as_f64().unwrap()))
}

fn count(values: impl Iterator<Item = f64>) -> BTreeMap<u64, u64> {
    let mut numbers = BTreeMap::new();
    values.for_each(|value| *numbers.entry(value as u64).or_default() += 1);
    numbers
}

#[tokio::test]
async fn every_point_arrives_though_daemon_databases_and_connections_are_killed() {
    let (port, far) = (free_port(), TempDir::new().unwrap());
    let (victoria_port, victoria_far) = (free_port(), TempDir::new().unwrap());
    let Some(mut influx) = influxd(far.path(), port) else { return };
    let Some(mut victoria) = victoria_metrics(victoria_far.path(), victoria_port) else { return };
    influxql(port, "CREATE DATABASE w", ANSWERS).await;
    until_listening(victoria_port).await;
    let wires = [Wire::to(port).await, Wire::to(victoria_port).await];
    let config = format!(
        "[influxdb.one]\nurl = 'http://127.0.0.1:{}'\napi = 'v1'\ndatabase = 'w'\n\
         flush_interval = '20ms'\ncatch_up = 'newest'\n\
         [remote_write.two]\nurl = 'http://127.0.0.1:{}/api/v1/write'\nflush_interval = '20ms'\n",
        wires[0].port, wires[1].port
    );
    let mut pusher = Pusher::new();
    let mut folder = TempDir::new().unwrap();
    super::write(folder.path(), &config);
    for round in 0..rounds() / 2 {
        let daemon = Daemon::start_in(folder).await;
        for event in 0..4 {
            for _ in 0..1 + fastrand(40) {
                assert!(pusher.push(&daemon).await, "{}", daemon.log());
            }
            match (round + event) % 5 {
                0 | 2 => wires[fastrand(2) as usize].cut(),
                1 => influx.kill(),
                // It answers for what it has only in memory, and would lose that.
                3 => victoria.stop(),
                _ => {
                    influx.kill();
                    influx = influxd(far.path(), port).unwrap();
                    victoria.stop();
                    victoria = victoria_metrics(victoria_far.path(), victoria_port).unwrap();
                }
            }
        }
        folder = pusher.push_and_kill(daemon, Duration::from_millis(fastrand(100))).await;
    }
    influx.kill();
    victoria.stop();
    let _influx = influxd(far.path(), port);
    let _victoria = victoria_metrics(victoria_far.path(), victoria_port);
    until_listening(port).await;
    until_listening(victoria_port).await;
    let daemon = Daemon::start_in(folder).await;
    for reader in ["influxdb.one", "remote_write.two"] {
        let lag = format!("watchpost_journal_lag_samples{{reader=\"{reader}\"}}");
        let written = format!("watchpost_sink_up{{sink=\"{reader}\"}}");
        let limit = Duration::from_secs(90);
        let caught_up = async || {
            pusher.next > 0
                && daemon.metric(&written).await == 1.0
                && daemon.metric(&lag).await == 0.0
        };
        daemon.until_within(limit, &format!("{reader} has caught up"), caught_up).await;
        let lost = format!("watchpost_journal_lost_samples_total{{reader=\"{reader}\"}}");
        assert_eq!(daemon.metric(&lost).await, 0.0);
    }
    let found = in_influxdb(port).await;
    pusher.check("influxdb", &found);
    assert!(found.values().all(|times| *times == 1), "points there twice");
    // It shows what it has taken when it likes.
    let end = Instant::now() + LIMIT;
    let mut found = in_victoria_metrics(victoria_port).await;
    while Instant::now() < end && !pusher.acknowledged.iter().all(|n| found.contains_key(n)) {
        found = in_victoria_metrics(victoria_port).await;
    }
    pusher.check("victoria-metrics", &found);
    daemon.stop().await;
}

#[tokio::test]
async fn people_are_told_after_kill_9_what_they_were_not_told_before() {
    let port = free_port();
    let folder = TempDir::new().unwrap();
    super::write(
        folder.path(),
        &format!(
            "[action.ops]\nwebhook = {{ url = 'http://127.0.0.1:{port}/' }}\n\
             [rule.big]\nmetric = 'n_value'\nabove = 1000000\nactions = ['ops']\n"
        ),
    );
    let daemon = Daemon::start_in(folder).await;
    let mut pusher = Pusher::new();
    pusher.next = 2_000_000;
    assert!(pusher.push(&daemon).await);
    let kept = kept_in(&daemon);
    let waits =
        || std::fs::read_to_string(&kept).is_ok_and(|kept| kept.matches("big").count() >= 10);
    daemon.until("all notices are kept", async || waits()).await;
    daemon.signal(Signal::SIGKILL);
    let folder = folder_of(daemon);
    let receiver = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let daemon = Daemon::start_in(folder).await;
    let mut told = BTreeSet::new();
    while told.len() < 10 {
        let (mut io, _) = tokio::time::timeout(LIMIT, receiver.accept()).await.unwrap().unwrap();
        let mut heard = Vec::new();
        while !String::from_utf8_lossy(&heard).contains("\"fingerprint\"") {
            assert!(io.read_buf(&mut heard).await.unwrap() > 0);
        }
        let heard = String::from_utf8_lossy(&heard).into_owned();
        told.insert(heard.split("\"fingerprint\"").nth(1).unwrap()[..20].to_owned());
        io.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await.unwrap();
    }
    let is_empty = || std::fs::read_to_string(kept_in(&daemon)).is_ok_and(|kept| kept == "[]");
    daemon.until("nothing waits any more", async || is_empty()).await;
    daemon.stop().await;
}

fn kept_in(daemon: &Daemon) -> std::path::PathBuf {
    daemon.folder.path().join("state/outbox.json")
}

/// A small file system of its own; unmounted at the end.
struct Small(TempDir);

impl Small {
    fn mount() -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(folder.path());
        match mount.output() {
            Ok(done) if done.status.success() => Some(Self(folder)),
            Ok(failed) => {
                eprintln!("skipped: cannot mount a small disk: {}", stderr(&failed).trim());
                None
            }
            Err(error) => {
                eprintln!("skipped: cannot run mount: {error}");
                None
            }
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.0.path()).output());
    }
}

#[tokio::test]
async fn a_full_disk_stops_neither_judging_nor_sinks_and_is_recovered_from() {
    let Some(disk) = Small::mount() else { return };
    let (port, far) = (free_port(), TempDir::new().unwrap());
    let Some(_server) = influxd(far.path(), port) else { return };
    influxql(port, "CREATE DATABASE w", ANSWERS).await;
    let folder = TempDir::new_in(disk.0.path()).unwrap();
    super::write(
        folder.path(),
        &format!(
            "[influxdb.main]\nurl = 'http://127.0.0.1:{port}'\napi = 'v1'\ndatabase = 'w'\n\
             flush_interval = '20ms'\n\
             [rule.big]\nmetric = 'n_value'\nabove = 1000000\n"
        ),
    );
    let daemon = Daemon::start_in(folder).await;
    let mut pusher = Pusher::new();
    assert!(pusher.push(&daemon).await);
    let filler = disk.0.path().join("filler");
    // It ends when the disk is full.
    drop(Command::new("dd").arg("if=/dev/zero").arg(format!("of={}", filler.display())).output());
    while pusher.push(&daemon).await {}
    assert_eq!(daemon.metric("watchpost_journal_writable").await, 0.0);
    let told = daemon.log().matches("cannot keep samples in the journal").count();
    assert_eq!(told, 1);
    // What is not kept is judged and written all the same.
    pusher.next = 2_000_000;
    assert!(!pusher.push(&daemon).await);
    daemon.until("it fires", async || daemon.states().await.contains(&"big firing".into())).await;
    influxql(port, "SELECT max(value) FROM n", |answer| answer.contains("2000009")).await;
    std::fs::remove_file(&filler).unwrap();
    daemon.until("it recovers", async || pusher.push(&daemon).await).await;
    assert_eq!(daemon.metric("watchpost_journal_writable").await, 1.0);
    assert!(daemon.log().contains("the journal can be written again"), "{}", daemon.log());
    // What waited in memory while the disk was full is in the journal, too.
    all_is_kept(daemon);
}
