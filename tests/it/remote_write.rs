//! The remote-write sink against Prometheus and VictoriaMetrics.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use serde_json::Value as Json;
use tempfile::TempDir;
use watchpost::journal::Journal;
use watchpost::metrics::Metrics;
use watchpost::sample::{Batch, Catalogue, Clock, STALE, Sample, Timestamp};
use watchpost::sinks::{SinkEnv, Sinks};

use crate::influxdb::{ask, ask_until, victoria_metrics};
use crate::support::{LIMIT, Server, config, file, free_port, until_within};

fn prometheus(folder: &Path, port: u16) -> Option<Server> {
    let config = file(folder, "prometheus.yml", "global: {}\n");
    Server::start(
        Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--web.enable-remote-write-receiver"),
    )
}

struct Fixture {
    sinks: Sinks,
    journal: Journal,
    catalogue: Arc<Catalogue>,
    metrics: Arc<Metrics>,
    state: TempDir,
    now: i64,
}

impl Fixture {
    fn new(port: u16) -> Self {
        let config = config(&format!(
            "[remote_write.main]\nurl = 'http://127.0.0.1:{port}/api/v1/write'\n\
             flush_interval = '50ms'\nbatch_points = 100\n"
        ));
        let (catalogue, metrics) = (Arc::new(Catalogue::default()), Arc::new(Metrics::default()));
        let state = TempDir::new().unwrap();
        let journal = Journal::in_memory(catalogue.clone(), metrics.clone());
        let env = SinkEnv {
            catalogue: catalogue.clone(),
            metrics: metrics.clone(),
            state_dir: state.path().to_owned(),
            journal: journal.clone(),
        };
        let now = Clock::system().now().as_nanos() / 1_000_000_000;
        Self { sinks: Sinks::start(&config.sinks, env), journal, catalogue, metrics, state, now }
    }

    /// Values of two series, `seconds` before now.
    fn append(&self, seconds: i64, value: f64) {
        let sample = |n: &str| Sample {
            series: self.catalogue.intern("m", "f", &[("n", n), ("target", "a \"b\"\n")]),
            value,
        };
        let samples = vec![sample("1"), sample("2")];
        let time = Timestamp::from_secs(self.now - seconds);
        self.journal.append(&Arc::new(vec![Batch { target: "t".into(), time, samples }]));
    }

    async fn until(&self, name: &str, value: u64) {
        let name = format!("watchpost_sink_{name}{{sink=\"remote_write.main\"}} ");
        let is_so = || {
            let page = self.metrics.render();
            let line = page.lines().find_map(|line| line.strip_prefix(&name));
            line.is_some_and(|number| number.parse::<u64>().unwrap() >= value)
        };
        let what = || format!("{name}is {value}: {}", self.metrics.render());
        until_within(Duration::from_secs(60), what, is_so).await;
    }
}

/// Times and values of a series, by a query over the last minutes.
async fn values(port: u16, n: &str, len: usize) -> Vec<(i64, String)> {
    let url = format!("http://127.0.0.1:{port}/api/v1/query");
    let query = format!("m_f{{n=\"{n}\",target=\"a \\\"b\\\"\\n\"}}[10m]");
    let read = |answer: &str| -> Vec<(i64, String)> {
        let answer: Json = serde_json::from_str(answer).unwrap_or_default();
        let values = answer["data"]["result"][0]["values"].as_array().cloned().unwrap_or_default();
        let one = |value: &Json| (value[0].as_i64().unwrap(), value[1].as_str().unwrap().into());
        values.iter().map(one).collect()
    };
    let is_enough = |answer: &str| read(answer).len() >= len;
    read(&ask_until(Method::GET, &url, &[("query", &query)], is_enough).await)
}

async fn everything_arrives(fixture: &Fixture, port: u16, mut start: impl FnMut() -> bool) -> bool {
    for n in 0..200 {
        fixture.append(300 - n, n as f64 / 4.0);
    }
    fixture.until("retries_total", 1).await;
    if !start() {
        return false;
    }
    fixture.until("written_points_total", 400).await;
    for n in ["1", "2"] {
        let values = values(port, n, 200).await;
        let expected: Vec<_> =
            (0..200).map(|n| (fixture.now - 300 + n, (n as f64 / 4.0).to_string())).collect();
        assert_eq!(values, expected);
    }
    true
}

#[tokio::test]
async fn prometheus_gets_everything_and_late_samples_cost_no_others() {
    let (port, folder) = (free_port(), TempDir::new().unwrap());
    let fixture = Fixture::new(port);
    let mut server = None;
    let start = || {
        server = prometheus(folder.path(), port);
        server.is_some()
    };
    if !everything_arrives(&fixture, port, start).await {
        return;
    }
    // In one request: old ones, and one that is new.
    fixture.append(250, -1.0);
    fixture.append(240, -1.0);
    fixture.append(10, 77.0);
    fixture.until("written_points_total", 402).await;
    fixture.until("rejected_lines_total", 4).await;
    let got = values(port, "1", 201).await;
    assert_eq!(got.last(), Some(&(fixture.now - 10, "77".into())));
    assert!(!fixture.state.path().join("quarantine").exists());
    // A stale mark ends the series at once.
    let url = format!("http://127.0.0.1:{port}/api/v1/query");
    let now = ask(Method::GET, &url, &[("query", "count(m_f)")]).await;
    assert!(now.contains(r#""2""#), "{now}");
    fixture.append(0, STALE);
    fixture.until("written_points_total", 404).await;
    let later = (fixture.now + 1).to_string();
    let query = [("query", "count(m_f)"), ("time", &*later)];
    ask_until(Method::GET, &url, &query, |answer| answer.contains(r#""result":[]"#)).await;
    fixture.sinks.close(LIMIT).await;
}

#[tokio::test]
async fn victoria_metrics_gets_everything() {
    let (port, folder) = (free_port(), TempDir::new().unwrap());
    let fixture = Fixture::new(port);
    let mut server = None;
    let start = || {
        server = victoria_metrics(folder.path(), port);
        server.is_some()
    };
    if everything_arrives(&fixture, port, start).await {
        fixture.sinks.close(LIMIT).await;
    }
}
