//! The InfluxDB sink against InfluxDB 1.6, VictoriaMetrics and, for what those cannot be made to
//! do, a server by script.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use serde_json::Value as Json;
use url::Url;
use watchpost::http_client::{HttpClient, Options, Request};
use watchpost::journal::Journal;
use watchpost::metrics::Metrics;
use watchpost::sample::{Batch, Catalogue, Sample, Timestamp};
use watchpost::sinks::{SinkEnv, Sinks};

use crate::support::{LIMIT, Server, config, until_within};

/// 2026-01-01: recent enough for every retention.
const START: i64 = 1_767_225_600_000_000_000;

/// A sink that found nobody may wait for half a minute before it looks again.
const BACKOFF_LIMIT: Duration = Duration::from_secs(60);

/// A port nobody listens on at the moment.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(crate) fn influxd(folder: &Path, port: u16) -> Option<Server> {
    let rpc = free_port();
    let path = |name: &str| folder.join(name).display().to_string();
    let settings = format!(
        "reporting-disabled = true\nbind-address = \"127.0.0.1:{rpc}\"\n\
         [meta]\ndir = {:?}\n[data]\ndir = {:?}\nwal-dir = {:?}\n\
         [http]\nbind-address = \"127.0.0.1:{port}\"\n[monitor]\nstore-enabled = false\n",
        path("meta"),
        path("data"),
        path("wal")
    );
    let file = folder.join("influxdb.conf");
    std::fs::write(&file, settings).unwrap();
    Server::start(Command::new("influxd").arg("-config").arg(file))
}

pub(crate) fn victoria_metrics(folder: &Path, port: u16) -> Option<Server> {
    Server::start(
        Command::new("victoria-metrics")
            .arg(format!("-storageDataPath={}", folder.display()))
            .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
            .args(["-search.latencyOffset=0s", "-retentionPeriod=100y"]),
    )
}

/// The first answer, as text.
pub(crate) async fn ask(method: Method, url: &str, query: &[(&str, &str)]) -> String {
    ask_until(method, url, query, |_| true).await
}

/// Asks until the answer, as text, is enough.
pub(crate) async fn ask_until(
    method: Method,
    url: &str,
    query: &[(&str, &str)],
    is_enough: impl Fn(&str) -> bool,
) -> String {
    let url = Url::parse_with_params(url, query).unwrap();
    let client = HttpClient::new(Options { body_bytes_max: 64 << 20, ..Options::default() });
    let end = tokio::time::Instant::now() + LIMIT;
    let mut last = String::new();
    while tokio::time::Instant::now() < end {
        match client.send(Request::new(method.clone(), url.clone())).await {
            Ok(response) => last = String::from_utf8_lossy(&response.body).into_owned(),
            Err(error) => last = error.to_string(),
        }
        if is_enough(&last) {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("waited in vain for more than {last}");
}

struct Fixture {
    sinks: Sinks,
    journal: Journal,
    catalogue: Arc<Catalogue>,
    metrics: Arc<Metrics>,
    state: tempfile::TempDir,
}

impl Fixture {
    fn new(table: &str) -> Self {
        let config = config(&format!("[influxdb.main]\nflush_interval = \"50ms\"\n{table}\n"));
        let (catalogue, metrics) = (Arc::new(Catalogue::default()), Arc::new(Metrics::default()));
        let state = tempfile::tempdir().unwrap();
        let journal = Journal::in_memory(catalogue.clone(), metrics.clone());
        let env = SinkEnv {
            catalogue: catalogue.clone(),
            metrics: metrics.clone(),
            state_dir: state.path().to_owned(),
            journal: journal.clone(),
        };
        Self { sinks: Sinks::start(&config.sinks, env), journal, catalogue, metrics, state }
    }

    /// One value of `m,n=tag f=value`, at a nanosecond after the start.
    fn offer(&self, tag: &str, nanos: i64, value: f64) {
        let series = self.catalogue.intern("m", "f", &[("n", tag)]);
        let time = Timestamp::from_nanos(START + nanos);
        let batch = Batch { target: "t".into(), time, samples: vec![Sample { series, value }] };
        self.journal.append(&Arc::new(vec![batch]));
    }

    fn counted(&self, name: &str) -> f64 {
        let page = self.metrics.render();
        let names = [
            format!("watchpost_sink_{name}{{sink=\"influxdb.main\"}} "),
            format!("watchpost_journal_{name}{{reader=\"influxdb.main\"}} "),
            format!("watchpost_journal_{name} "),
        ];
        let line = page
            .lines()
            .find_map(|line| names.iter().find_map(|name| line.strip_prefix(name.as_str())));
        line.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
    }

    async fn until(&self, name: &str, value: f64) {
        let what = || format!("{name} is {value}: {}", self.metrics.render());
        until_within(BACKOFF_LIMIT, what, || self.counted(name) >= value).await;
    }
}

pub(crate) const ANSWERS: fn(&str) -> bool = |answer| answer.starts_with("{\"results\"");

pub(crate) async fn influxql(port: u16, query: &str, is_enough: impl Fn(&str) -> bool) -> String {
    let url = format!("http://127.0.0.1:{port}/query");
    ask_until(Method::POST, &url, &[("db", "w"), ("q", query)], is_enough).await
}

#[tokio::test]
async fn influxdb_1_absent_at_start_then_without_database_then_down_gets_everything_once() {
    let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
    let fixture =
        Fixture::new(&format!("url = \"http://127.0.0.1:{port}\"\napi = \"v1\"\ndatabase = \"w\""));
    for n in 0..1_000 {
        fixture.offer(["a b,c=d\n", "naïve\\"][n as usize % 2], n, n as f64 / 4.0);
    }
    fixture.until("retries_total", 1.0).await;
    let Some(mut server) = influxd(folder.path(), port) else { return };
    influxql(port, "CREATE DATABASE w", ANSWERS).await;
    let count = "SELECT count(f), sum(f) FROM m";
    fixture.until("written_points_total", 1_000.0).await;
    influxql(port, count, |answer| answer.contains(",1000,124875]")).await;
    server.kill();
    for n in 1_000..2_000 {
        fixture.offer("later", n, 1.0);
    }
    fixture.until("retries_total", fixture.counted("retries_total") + 1.0).await;
    assert!(fixture.counted("lag_seconds") > 0.0);
    let _server = influxd(folder.path(), port);
    fixture.until("written_points_total", 2_000.0).await;
    influxql(port, count, |answer| answer.contains(",2000,125875]")).await;
    let tags = influxql(port, "SHOW TAG VALUES WITH KEY = n", |a| a.contains("later")).await;
    assert!(tags.contains(r#"["n","a b,c=d_"]"#) && tags.contains(r#"["n","naïve/"]"#), "{tags}");
    assert_eq!(fixture.counted("lost_samples_total"), 0.0);
    fixture.sinks.close(LIMIT).await;
}

#[tokio::test]
async fn influxdb_1_refuses_a_line_which_is_quarantined_with_its_words() {
    let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
    let Some(_server) = influxd(folder.path(), port) else { return };
    influxql(port, "CREATE DATABASE w", ANSWERS).await;
    // The field is an integer for the server already, so a float cannot be written.
    let write = format!("http://127.0.0.1:{port}/write");
    let mut taken =
        Request::new(Method::POST, Url::parse_with_params(&write, [("db", "w")]).unwrap());
    taken.body = format!("poison,n=x f=1i {START}\n").into();
    let client = HttpClient::new(Options::default());
    assert_eq!(client.send(taken).await.unwrap().status.as_u16(), 204);
    let fixture =
        Fixture::new(&format!("url = \"http://127.0.0.1:{port}\"\napi = \"v1\"\ndatabase = \"w\""));
    let mut samples = Vec::new();
    for n in 0..50 {
        let name = if n == 30 { "poison" } else { "m" };
        let series = fixture.catalogue.intern(name, "f", &[("n", &n.to_string())]);
        samples.push(Sample { series, value: 0.5 });
    }
    let time = Timestamp::from_nanos(START + 1);
    fixture.journal.append(&Arc::new(vec![Batch { target: "t".into(), time, samples }]));
    fixture.until("rejected_lines_total", 1.0).await;
    influxql(port, "SELECT count(f) FROM m", |answer| answer.contains(",49]")).await;
    let kept = fixture.state.path().join("quarantine/influxdb.main.lp");
    let kept = std::fs::read_to_string(kept).unwrap();
    assert!(kept.contains("field type conflict"), "{kept}");
    assert!(kept.ends_with(&format!("poison,n=30 f=0.5 {}\n", START + 1)), "{kept}");
    fixture.sinks.close(LIMIT).await;
}

async fn victoria_gets_everything(table: &str) {
    let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
    let fixture = Fixture::new(&format!("url = \"http://127.0.0.1:{port}\"\n{table}"));
    for n in 0..1_000 {
        // VictoriaMetrics keeps milliseconds.
        fixture.offer("a b,c=d\"\\", n * 1_000_000, n as f64 / 4.0);
    }
    fixture.until("retries_total", 1.0).await;
    let Some(_server) = victoria_metrics(folder.path(), port) else { return };
    fixture.until("written_points_total", 1_000.0).await;
    let url = format!("http://127.0.0.1:{port}/api/v1/export");
    let query = [("match[]", "m_f"), ("start", "2025-12-31T00:00:00Z")];
    let all = ask_until(Method::GET, &url, &query, |answer| {
        serde_json::from_str::<Json>(answer)
            .is_ok_and(|row| row["values"].as_array().is_some_and(|v| v.len() >= 1_000))
    })
    .await;
    let row: Json = serde_json::from_str(&all).unwrap();
    assert_eq!(row["metric"]["n"], "a b,c=d\"/");
    let values: Vec<_> = row["values"].as_array().unwrap().iter().map(|v| v.as_f64()).collect();
    assert_eq!(values, (0..1_000).map(|n| Some(f64::from(n) / 4.0)).collect::<Vec<_>>());
    fixture.sinks.close(LIMIT).await;
}

#[tokio::test]
async fn victoria_metrics_takes_version_2() {
    victoria_gets_everything("org = \"o\"\nbucket = \"b\"\ntoken = \"t\"").await;
}

#[tokio::test]
async fn victoria_metrics_takes_version_1_compressed() {
    victoria_gets_everything("api = \"v1\"\ndatabase = \"d\"\ngzip = true").await;
}

#[tokio::test]
async fn what_is_queued_is_written_on_closing() {
    let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
    let Some(_server) = victoria_metrics(folder.path(), port) else { return };
    let url = format!("http://127.0.0.1:{port}/api/v1/export");
    ask_until(Method::GET, &url, &[("match[]", "m_f")], str::is_empty).await;
    let fixture =
        Fixture::new(&format!("url = \"http://127.0.0.1:{port}\"\norg = \"o\"\nbucket = \"b\"\n"));
    for n in 0..20_000 {
        fixture.offer("x", n * 1_000_000, 1.0);
    }
    let Fixture { sinks, metrics, .. } = fixture;
    sinks.close(LIMIT).await;
    drop(metrics);
    let query = [("match[]", "m_f"), ("start", "2025-12-31T00:00:00Z")];
    ask_until(Method::GET, &url, &query, |answer| answer.matches(",1").count() >= 20_000 - 1).await;
}

#[tokio::test]
async fn the_bound_is_kept_while_nobody_listens_and_closing_does_not_hang() {
    let fixture = Fixture::new(&format!(
        "url = \"http://127.0.0.1:{}\"\norg = \"o\"\nbucket = \"b\"\nbatch_bytes = \"10KiB\"\n\
         max_buffer = \"20KiB\"",
        free_port()
    ));
    for n in 0..1_000 {
        fixture.offer("x", n, 1.0);
        assert!(fixture.counted("memory_bytes") <= 20.0 * 1_024.0);
    }
    fixture.until("lost_samples_total", 500.0).await;
    tokio::time::timeout(LIMIT, fixture.sinks.close(Duration::from_millis(50))).await.unwrap();
}
