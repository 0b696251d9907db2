//! The processor time a sample costs from the pipeline through the journal to the database, for our
//! sink, and for the
//! `influxdb2` crate's writer, against VictoriaMetrics where it is installed.
//!
//! `cargo bench --bench influxdb_writer`; the bound is 0.3 µs a point. Without VictoriaMetrics the
//! other side is a thread that throws away what it reads, whose own time is then counted too.

#![expect(clippy::print_stdout, reason = "a table for people")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use influxdb2::Client;
use influxdb2::models::DataPoint;
use tokio::time::Instant;
use watchpost::config::Loader;
use watchpost::journal::{self, Journal, Limits};
use watchpost::metrics::Metrics;
use watchpost::sample::{Batch, Catalogue, Clock, Sample, Timestamp};
use watchpost::sinks::{SinkEnv, Sinks};

/// Points of one measurement; enough that a tick of the processor clock is nothing.
const POINTS: usize = 2_000_000;

/// Points the crate writes in one measurement; it is slower.
const CRATE_POINTS: usize = 500_000;

/// Targets, each with as many series as there are in a batch.
const TARGETS: usize = 100;

/// Series of a target.
const SERIES: usize = 10;

/// Points of a request.
const REQUEST: usize = 5_000;

const START: i64 = 1_767_225_600_000_000_000;

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// User and system time of this process.
fn processor_time() -> Duration {
    let stat = procfs::process::Process::myself().and_then(|p| p.stat()).expect("there is /proc");
    Duration::from_secs_f64((stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64)
}

fn victoria_metrics() -> Option<(Killed, String, tempfile::TempDir)> {
    let port = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
    let folder = tempfile::tempdir().ok()?;
    let child = Command::new("victoria-metrics")
        .arg(format!("-storageDataPath={}", folder.path().display()))
        .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
        .arg("-retentionPeriod=100y")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    Some((Killed(child), format!("127.0.0.1:{port}"), folder))
}

/// Reads requests and answers 204, for ever.
fn devourer() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || devour(stream));
        }
    });
    address
}

fn devour(mut stream: std::net::TcpStream) {
    let mut buffer = vec![0; 1 << 20];
    let mut pending = Vec::new();
    while let Ok(read) = stream.read(&mut buffer) {
        if read == 0 {
            return;
        }
        pending.extend_from_slice(&buffer[..read]);
        if is_complete(&pending) {
            pending.clear();
            if stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").is_err() {
                return;
            }
        }
    }
}

fn is_complete(request: &[u8]) -> bool {
    let Some(end) = request.windows(4).position(|w| w == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
    match head.split_once("content-length: ") {
        Some((_, rest)) => {
            let length: usize = rest.lines().next().and_then(|l| l.parse().ok()).unwrap_or(0);
            request.len() >= end + 4 + length
        }
        None => request.ends_with(b"0\r\n\r\n"),
    }
}

/// Batches as targets give them, each a poll of ten series, all fields of their own row.
fn batches(catalogue: &Catalogue, points: usize) -> Vec<Arc<Vec<Batch>>> {
    let series: Vec<Vec<_>> = (0..TARGETS)
        .map(|target| {
            let name = format!("target-{target}");
            let one = |n: usize| {
                let sensor = format!("sensor-{n}");
                let tags = [("kind", "serial"), ("target", &*name), ("sensor", &*sensor)];
                catalogue.intern("climate", "temperature_celsius", &tags)
            };
            (0..SERIES).map(one).collect()
        })
        .collect();
    (0..points / SERIES)
        .map(|n| {
            let sample = |(i, series): (usize, &_)| Sample {
                series: *series,
                value: 20.0 + (n + i) as f64 / 128.0,
            };
            let samples = series[n % TARGETS].iter().enumerate().map(sample).collect();
            let time = Timestamp::from_nanos(START + (n / TARGETS) as i64 * 1_000_000_000);
            Arc::new(vec![Batch { target: "t".into(), time, samples }])
        })
        .collect()
}

async fn ours(address: &str, more: &str) -> (Duration, Duration) {
    let toml = format!(
        "[influxdb.main]\nurl = \"http://{address}\"\norg = \"o\"\nbucket = \"b\"\n\
         batch_points = {REQUEST}\n{more}"
    );
    let loader = Loader { env: &|_| None };
    let config = loader.load_text("bench.toml".as_ref(), &toml).expect("a good configuration");
    let catalogue = Arc::new(Catalogue::default());
    let batches = batches(&catalogue, POINTS);
    let state = tempfile::tempdir().expect("a temporary folder");
    let metrics = Arc::new(Metrics::default());
    let env = journal::Env {
        folder: Some(state.path().join("journal")),
        catalogue: catalogue.clone(),
        clock: Arc::new(Clock::system()),
        metrics: metrics.clone(),
    };
    let journal = Journal::open(env, Limits::default());
    let env = SinkEnv {
        catalogue,
        metrics: metrics.clone(),
        state_dir: state.path().to_owned(),
        journal: journal.clone(),
    };
    let written = metrics.counter(
        "watchpost_sink_written_points_total",
        "Samples written.",
        &[("sink", "influxdb.main")],
    );
    let sinks = Sinks::start(&config.sinks, env);
    let (cpu, started) = (processor_time(), Instant::now());
    for batch in &batches {
        // As the pipeline does.
        if !journal.has_room() {
            journal.room().await;
        }
        journal.append(batch);
    }
    sinks.close(Duration::from_secs(120)).await;
    assert_eq!(written.get(), POINTS as u64, "all points arrive");
    (processor_time() - cpu, started.elapsed())
}

async fn crates(address: &str) -> (Duration, Duration) {
    let client = Client::new(format!("http://{address}"), "o", "t");
    let (cpu, started) = (processor_time(), Instant::now());
    for request in 0..CRATE_POINTS / REQUEST {
        let points: Vec<_> = (0..REQUEST)
            .map(|n| {
                let n = request * REQUEST + n;
                DataPoint::builder("climate")
                    .tag("kind", "serial")
                    .tag("target", format!("target-{}", n % TARGETS))
                    .tag("sensor", format!("sensor-{}", n / TARGETS % SERIES))
                    .field("temperature_celsius", 20.0 + n as f64 / 128.0)
                    .timestamp(START + (n / TARGETS / SERIES) as i64 * 1_000_000_000)
                    .build()
                    .expect("a good point")
            })
            .collect();
        client.write("b", stream::iter(points)).await.expect("a write that works");
    }
    (processor_time() - cpu, started.elapsed())
}

async fn ready(address: &str) {
    for _ in 0..500 {
        if tokio::net::TcpStream::connect(address).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nobody listens at {address}");
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let server = victoria_metrics();
    let address = server.as_ref().map_or_else(devourer, |(_, address, _)| address.clone());
    println!("against {}", if server.is_some() { "VictoriaMetrics" } else { "a devourer" });
    ready(&address).await;
    println!("writer              | µs CPU a point | points/s");
    let show = |name: &str, points: usize, (cpu, wall): (Duration, Duration)| {
        let micros = cpu.as_secs_f64() * 1e6 / points as f64;
        println!("{name:<19} | {micros:>14.3} | {:>8.0}", points as f64 / wall.as_secs_f64());
    };
    show("watchpost", POINTS, ours(&address, "").await);
    show("watchpost, gzip", POINTS, ours(&address, "gzip = true").await);
    show("influxdb2's write()", CRATE_POINTS, crates(&address).await);
}
