//! The same series and the same expressions, answered here and by a real Prometheus.
//!
//! Debian's is of version 2, whose windows include their start and whose names are dropped at once:
//! times are off the samples', and no query asks for a name that will be dropped.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hyper::Method;
use serde_json::Value as Json;
use url::Url;
use watchpost::http_client::{self, HttpClient, Request};
use watchpost::promql::eval::{self, Options};
use watchpost::promql::functions::Point;
use watchpost::promql::labels::NAME;
use watchpost::promql::memory::MemorySource;
use watchpost::promql::{AnswerValue, Labels, parse};
use watchpost::sample::Timestamp;

use super::queries;
use crate::support::{LIMIT, Server, free_port, until_listening};

/// The first sample: a whole hour, so that blocks begin there.
const START_SECONDS: i64 = 1_700_002_800;

/// An hour of samples, 15 s apart.
const SAMPLES: i64 = 240;
const INTERVAL_SECONDS: i64 = 15;

/// Times that are not those of samples.
const FIRST_MILLIS: i64 = (START_SECONDS + 2400) * 1000 + 7_123;
const STEP_MILLIS: i64 = 47_000;
const STEPS: i64 = 12;

#[tokio::test]
async fn a_real_prometheus_gives_the_same_answers() {
    let folder = tempfile::tempdir().unwrap();
    let source = source();
    let Some((_server, url)) = start(folder.path(), &source).await else { return };
    let client = client();
    let mut counts = BTreeMap::<&str, usize>::new();
    let mut wrong = Vec::new();
    for (query, steps) in queries::all().iter().flat_map(|query| [(query, 1), (query, STEPS)]) {
        let theirs = ask(&client, &url, query, steps).await;
        let outcome = match (theirs, answer(&source, query, steps)) {
            (Err(_), Err(_)) => "both refuse",
            (Ok(theirs), Ok(ours)) if same(&theirs, &ours) => "same answer",
            // Fixed in version 3.
            _ if query.contains("atan2") => "the name is kept by atan2 in version 2",
            (theirs, ours) => {
                let (theirs, ours) = (shown(&theirs), shown(&ours));
                wrong.push(format!("{query} ({steps} steps)\n  theirs {theirs}\n  ours   {ours}"));
                "different"
            }
        };
        *counts.entry(outcome).or_default() += 1;
    }
    eprintln!("compared with a real Prometheus: {counts:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Series of the kinds there are: gauges, counters that restart, histograms, gaps.
fn source() -> MemorySource {
    let mut source = MemorySource::default();
    let mut random = fastrand::Rng::with_seed(7);
    for instance in ["host:10000", "host:10001", "host:10002"] {
        let base = [("instance", instance), ("job", "demo")];
        let labels = |name: &str, more: &[(&str, &str)]| {
            Labels::new(base.iter().chain(more).copied().chain([(NAME, name)]))
        };
        for kind in ["buffers", "cached", "free", "used"] {
            let level = random.f64() * 1e9;
            let value = |_: i64| level + random.f64() * 1e8;
            add(&mut source, &labels("demo_memory_usage_bytes", &[("type", kind)]), value);
        }
        for mode in ["idle", "system", "user"] {
            let mut total = random.f64() * 100.0;
            let counter = labels("demo_cpu_usage_seconds_total", &[("mode", mode)]);
            add(&mut source, &counter, |at| {
                total = if at % 97 == 60 { 0.0 } else { total + random.f64() * 15.0 };
                total
            });
        }
        let mut used = random.f64() * 1e9;
        add(&mut source, &labels("demo_disk_usage_bytes", &[]), |_| {
            used += 1e6 + random.f64() * 1e5;
            used
        });
        add(&mut source, &labels("demo_num_cpus", &[]), |_| 4.0);
        add(&mut source, &labels("demo_batch_last_success_timestamp_seconds", &[]), |at| {
            (START_SECONDS + at / 8 * 120) as f64
        });
        let mut counts = [0.0; 5];
        for at in 0..SAMPLES {
            let mut below = 0.0;
            for (bucket, le) in ["0.1", "0.2", "0.5", "1.0", "+Inf"].into_iter().enumerate() {
                below += random.f64();
                counts[bucket] += below;
                let name = "demo_api_request_duration_seconds_bucket";
                let point = Point { time: time_of(at), value: counts[bucket] };
                source.insert(&labels(name, &[("le", le), ("path", "/api")]), point);
            }
        }
    }
    let sometimes = Labels::new([(NAME, "demo_intermittent_metric"), ("instance", "host:10000")]);
    for at in (0..SAMPLES).filter(|at| at / 30 % 2 == 0) {
        source.insert(&sometimes, Point { time: time_of(at), value: at as f64 });
    }
    source
}

fn add(source: &mut MemorySource, labels: &Labels, mut value: impl FnMut(i64) -> f64) {
    for at in 0..SAMPLES {
        source.insert(labels, Point { time: time_of(at), value: value(at) });
    }
}

fn time_of(sample: i64) -> Timestamp {
    Timestamp::from_secs(START_SECONDS + sample * INTERVAL_SECONDS)
}

/// A Prometheus with these series; `None` where it is not installed.
async fn start(folder: &Path, source: &MemorySource) -> Option<(Server, String)> {
    let (input, data) = (folder.join("series.txt"), folder.join("data"));
    std::fs::write(&input, open_metrics(source)).unwrap();
    let made = Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics", "--quiet"])
        .args([&input, &data])
        .output();
    let made = match made {
        Ok(made) => made,
        Err(error) => {
            eprintln!("skipped: cannot start promtool: {error}");
            return None;
        }
    };
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let config = folder.join("prometheus.yml");
    std::fs::write(&config, "global: {}\n").unwrap();
    let port = free_port();
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", data.display()))
        .arg("--storage.tsdb.retention.time=50y")
        .arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let server = Server::start(&mut command)?;
    until_listening(port).await;
    let url = format!("http://127.0.0.1:{port}");
    let ready = Url::parse(&format!("{url}/-/ready")).unwrap();
    let end = tokio::time::Instant::now() + LIMIT;
    loop {
        match client().send(Request::new(Method::GET, ready.clone())).await {
            Ok(answer) if answer.status.is_success() => return Some((server, url)),
            _ => assert!(tokio::time::Instant::now() < end, "Prometheus does not become ready"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn client() -> HttpClient {
    HttpClient::new(http_client::Options { body_bytes_max: 64 << 20, ..Default::default() })
}

fn open_metrics(source: &MemorySource) -> String {
    let mut text = String::new();
    for (labels, points) in source.iter() {
        for point in points {
            let seconds = point.time.as_nanos() / 1_000_000_000;
            let shown = labels.to_string().replace(", ", ",");
            writeln!(text, "{shown} {} {seconds}", point.value).unwrap();
        }
    }
    text + "# EOF\n"
}

/// Values in milliseconds by labels; one step is an instant query.
type Found = BTreeMap<BTreeMap<String, String>, Vec<(i64, f64)>>;

async fn ask(client: &HttpClient, server: &str, query: &str, steps: i64) -> Result<Found, String> {
    let seconds = |millis: i64| format!("{}.{:03}", millis / 1000, millis % 1000);
    let first = seconds(FIRST_MILLIS);
    let last = seconds(FIRST_MILLIS + STEP_MILLIS * (steps - 1));
    let mut url = Url::parse(&format!("{server}/api/v1/query")).unwrap();
    url.query_pairs_mut().append_pair("query", query);
    if steps == 1 {
        url.query_pairs_mut().append_pair("time", &first);
    } else {
        url.set_path("/api/v1/query_range");
        url.query_pairs_mut()
            .append_pair("start", &first)
            .append_pair("end", &last)
            .append_pair("step", &seconds(STEP_MILLIS));
    }
    let answer = client.send(Request::new(Method::GET, url)).await.unwrap();
    let json: Json = serde_json::from_slice(&answer.body).unwrap();
    if json["status"] != "success" {
        return Err(json["error"].to_string());
    }
    let result = &json["data"]["result"];
    if json["data"]["resultType"] == "scalar" {
        return Ok(Found::from([(BTreeMap::new(), vec![point_of(result)])]));
    }
    let series = result.as_array().unwrap().iter().map(|series| {
        let labels = serde_json::from_value(series["metric"].clone()).unwrap();
        let points = match &series["values"] {
            Json::Array(points) => points.iter().map(point_of).collect(),
            _ => vec![point_of(&series["value"])],
        };
        (labels, points)
    });
    Ok(series.collect())
}

fn point_of(point: &Json) -> (i64, f64) {
    let millis = (point[0].as_f64().unwrap() * 1000.0).round() as i64;
    (millis, point[1].as_str().unwrap().parse().unwrap())
}

fn answer(source: &MemorySource, query: &str, steps: i64) -> Result<Found, String> {
    let time = |millis: i64| Timestamp::from_nanos(millis * 1_000_000);
    let expr = parse(query).map_err(|error| error.to_string())?;
    let options = Options::default();
    let last = time(FIRST_MILLIS + STEP_MILLIS * (steps - 1));
    let step = Duration::from_millis(STEP_MILLIS.unsigned_abs());
    let first = time(FIRST_MILLIS);
    let answer = match steps {
        1 => eval::instant(source, &expr, first, &options, &|| Ok(())),
        _ => eval::range(source, &expr, (first, last), step, &options, &|| Ok(())),
    };
    let series = match answer.map_err(|error| error.to_string())?.value {
        AnswerValue::Scalar(point) => vec![(Labels::default(), vec![point])],
        AnswerValue::String(..) => Vec::new(),
        AnswerValue::Vector(samples) => {
            samples.into_iter().map(|(labels, point)| (labels, vec![point])).collect()
        }
        AnswerValue::Matrix(series) => series,
    };
    let series = series.into_iter().map(|(labels, points)| {
        let labels = labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let millis = |point: &Point| (point.time.as_nanos() / 1_000_000, point.value);
        (labels.collect(), points.iter().map(millis).collect())
    });
    Ok(series.collect())
}

fn same(theirs: &Found, ours: &Found) -> bool {
    let close = |a: f64, b: f64| {
        (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
    };
    theirs.len() == ours.len()
        && theirs.iter().zip(ours).all(|((a, theirs), (b, ours))| {
            let points = theirs.iter().zip(ours);
            a == b && theirs.len() == ours.len() && { points }
                .all(|((t, a), (u, b))| t == u && close(*a, *b))
        })
}

fn shown(found: &Result<Found, String>) -> String {
    format!("{found:?}").chars().take(700).collect()
}
