//! How long range queries take over HTTP, beside Debian's prometheus and victoria-metrics where
//! they are installed: each gets the same samples by remote write, and the same questions.
//!
//! `cargo bench --bench query`

#![expect(clippy::print_stdout, reason = "a table for people")]
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hyper::Method;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE};
use prost::Message;
use tokio::time::Instant;
use url::Url;
use watchpost::http_client::{HttpClient, Options, Request};
use watchpost::sample::Clock;
use watchpost::wire::remote_write::{Label, Sample, TimeSeries, WriteRequest};

const SERIES: usize = 1_000;
const POINTS: i64 = 1_000;

/// Seconds between two samples: all of them are less than an hour old.
const STEP: i64 = 3;

/// Samples of each series in a write request.
const WRITTEN_AT_ONCE: i64 = 50;

/// A server, killed at the end.
struct Server {
    name: &'static str,
    port: u16,
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Server {
    fn start(name: &'static str, make: impl FnOnce(u16) -> Command) -> Option<Self> {
        let port = free_port();
        let mut command = make(port);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match command.spawn() {
            Ok(child) => Some(Self { name, port, child }),
            Err(error) => {
                println!("skipped: cannot start {name}: {error}");
                None
            }
        }
    }

    fn url(&self, path: &str, query: &[(&str, &str)]) -> Url {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        Url::parse_with_params(&url, query).unwrap()
    }

    async fn get(&self, client: &HttpClient, path: &str, query: &[(&str, &str)]) -> Option<usize> {
        let answer = client.send(Request::new(Method::GET, self.url(path, query))).await.ok()?;
        answer.status.is_success().then_some(answer.body.len())
    }
}

fn watchpost(folder: &Path, port: u16) -> Command {
    let state = folder.join("watchpost");
    let config = format!("state_dir = {state:?}\n[api]\nlisten = \"127.0.0.1:{port}\"\n");
    let path = folder.join("config.toml");
    std::fs::write(&path, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_watchpost"));
    command.arg("run").arg("--config").arg(path);
    command
}

fn prometheus(folder: &Path, port: u16) -> Command {
    let path = folder.join("prometheus.yml");
    std::fs::write(&path, "global:\n  scrape_interval: 1h\n").unwrap();
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", path.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--web.enable-remote-write-receiver");
    command
}

fn victoria(folder: &Path, port: u16) -> Command {
    let mut command = Command::new("victoria-metrics");
    command
        .arg(format!("-storageDataPath={}", folder.join("victoria").display()))
        .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
        .args(["-search.latencyOffset=0s", "-search.disableCache"]);
    command
}

/// A write request of a part of the samples, compressed.
fn request(start: i64, points: std::ops::Range<i64>) -> Vec<u8> {
    let label = |name: &str, value: String| Label { name: name.into(), value };
    let series = |n: usize| TimeSeries {
        labels: vec![
            label("__name__", "bench_celsius".into()),
            label("n", n.to_string()),
            label("target", format!("t{}", n / 100)),
        ],
        samples: points
            .clone()
            .map(|at| Sample {
                value: 20.0 + ((n as i64 * 7 + at * 13) % 100) as f64 / 10.0,
                timestamp: (start + at * STEP) * 1_000,
            })
            .collect(),
    };
    let message = WriteRequest { timeseries: (0..SERIES).map(series).collect() }.encode_to_vec();
    snap::raw::Encoder::new().compress_vec(&message).unwrap()
}

async fn load(server: &Server, client: &HttpClient, start: i64) {
    for from in (0..POINTS).step_by(WRITTEN_AT_ONCE as usize) {
        let body = request(start, from..from + WRITTEN_AT_ONCE);
        let mut request = Request::new(Method::POST, server.url("/api/v1/write", &[]));
        request.headers.insert(CONTENT_ENCODING, "snappy".parse().unwrap());
        request.headers.insert(CONTENT_TYPE, "application/x-protobuf".parse().unwrap());
        request.body = body.into();
        let answer = client.send(request).await.unwrap();
        assert!(answer.status.is_success(), "{}: {}", server.name, answer.words());
    }
}

/// The median of some requests, and the bytes of an answer.
async fn measure(
    server: &Server,
    client: &HttpClient,
    expression: &str,
    (start, times): (i64, usize),
) -> (Duration, usize) {
    let (from, to) = (start.to_string(), (start + (POINTS - 1) * STEP).to_string());
    let step = STEP.to_string();
    let query = [("query", expression), ("start", &from), ("end", &to), ("step", &step)];
    let mut took = Vec::new();
    let mut bytes = 0;
    for _ in 0..times {
        let began = Instant::now();
        bytes = server.get(client, "/api/v1/query_range", &query).await.unwrap();
        took.push(began.elapsed());
    }
    took.sort();
    (took[times / 2], bytes)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let servers = [
        Server::start("watchpost", |port| watchpost(folder, port)),
        Server::start("prometheus", |port| prometheus(folder, port)),
        Server::start("victoria-metrics", |port| victoria(folder, port)),
    ];
    let options =
        Options { body_bytes_max: 1 << 30, timeout: Duration::from_secs(60), ..Options::default() };
    let client = HttpClient::new(options);
    let now = Clock::system().now().as_nanos() / 1_000_000_000;
    let start = now - POINTS * STEP - 10;
    for server in servers.iter().flatten() {
        let is_up = async {
            while server.get(&client, "/api/v1/query", &[("query", "1")]).await.is_none() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), is_up).await.expect("it starts");
        load(server, &client, start).await;
    }
    println!("{SERIES} series of {POINTS} samples; medians, and the bytes of an answer");
    for (what, expression, times) in [
        ("1 series x 1,000 points", "bench_celsius{n=\"7\"}", 301),
        ("1,000 series x 1,000 points", "bench_celsius", 15),
        ("sum by (target), 1,000 points", "sum by (target) (bench_celsius)", 31),
        ("sum(rate) over 1 m, 1,000 points", "sum(rate(bench_celsius[1m]))", 15),
    ] {
        for server in servers.iter().flatten() {
            let loaded = async {
                while measure(server, &client, expression, (start, 1)).await.1 < 1_000 {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(30), loaded).await.expect("it is loaded");
            let (took, bytes) = measure(server, &client, expression, (start, times)).await;
            println!(
                "{what:34} {:18} {:9.3} ms {bytes:>10}",
                server.name,
                took.as_secs_f64() * 1e3
            );
        }
    }
}
