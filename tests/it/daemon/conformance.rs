//! Prometheus' own suite through all of the daemon: pushed by remote write, kept in the journal,
//! sealed in part, and asked for by HTTP.
//!
//! Of each load one half goes to a daemon that is then killed; what its journal has is sealed into
//! a segment, and the other half goes to a daemon started on that. Halves are of time in turns, so
//! that windows reach from the head into a segment, and of every other sample, so that the second
//! half is late everywhere.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use nix::sys::signal::Signal;
use prost::Message;
use serde_json::Value as Json;
use url::Url;
use url::form_urlencoded::Serializer;
use watchpost::config;
use watchpost::http_client::{HttpClient, Options, Request};
use watchpost::journal::read_folder;
use watchpost::metrics::Metrics;
use watchpost::promql::functions::Point;
use watchpost::promql::{AnswerValue, Labels};
use watchpost::sample::{Catalogue, Clock, Timestamp};
use watchpost::store::Store;
use watchpost::wire::remote_write::{Label, Sample, TimeSeries, WriteRequest};

use super::Daemon;
use super::crash::folder_of;
use crate::promql::script::{Place, Said, Series, Times, time};
use crate::promql::suite;
use crate::support::LIMIT;

/// The suite's times begin in 1970.
const CONFIG: &str = "[store]\nlate_window = '36500d'\n";

#[tokio::test]
async fn prometheus_own_suite_passes_through_journal_store_and_http() {
    for folder in suite::folders() {
        suite::run(&folder, Remote::default).await;
    }
}

/// A daemon, once there is something to ask.
struct Remote {
    client: HttpClient,
    daemon: Option<Daemon>,
    /// How many there have been.
    daemons: usize,
}

impl Default for Remote {
    fn default() -> Self {
        let client = HttpClient::new(Options { timeout: LIMIT, ..Options::default() });
        Self { client, daemon: None, daemons: 0 }
    }
}

impl Place for Remote {
    async fn clear(&mut self) {
        self.daemon = None;
    }

    async fn load(&mut self, series: Vec<Series>) {
        if let Some(daemon) = &self.daemon {
            return self.push(daemon, series).await;
        }
        self.daemons += 1;
        let is_by_time = self.daemons % 2 == 1;
        let (sealed, unsealed) = halves(series, is_by_time);
        let is_nothing_sealed = sealed.iter().all(|(_, points)| points.is_empty());
        let first = Daemon::start(CONFIG).await;
        self.push(&first, sealed).await;
        first.signal(Signal::SIGKILL);
        let folder = folder_of(first);
        seal(&folder.path().join("state"));
        let daemon = Daemon::start_in(folder).await;
        self.push(&daemon, unsealed).await;
        let segments = daemon.metric("watchpost_store_segments{tier=\"raw\"}").await;
        assert!(segments == 1.0 || is_nothing_sealed, "{segments} segments");
        self.daemon = Some(daemon);
    }

    async fn ask(&mut self, text: &str, times: Times) -> Result<Said, String> {
        let mut form = Serializer::new(String::new());
        form.append_pair("query", text);
        let path = match times {
            Times::Instant(at) => {
                form.append_pair("time", &at.to_string());
                "query"
            }
            Times::Range(start, end, step) => {
                for (name, value) in [("start", start), ("end", end), ("step", step)] {
                    form.append_pair(name, &value.to_string());
                }
                "query_range"
            }
        };
        if self.daemon.is_none() {
            self.daemon = Some(Daemon::start(CONFIG).await);
        }
        let daemon = self.daemon.as_ref().expect("it was started");
        let kind = "application/x-www-form-urlencoded";
        let url = format!("http://{}/api/v1/{path}", daemon.address);
        let answer = self.send(&url, &[(CONTENT_TYPE, kind)], form.finish().into()).await;
        match (said(&answer), times) {
            // Prometheus' API refuses it, too; its evaluator finds nothing.
            (Err(why), Times::Range(start, end, _)) if end < start => {
                assert!(why.ends_with("end timestamp must not be before start time"), "{why}");
                let value = AnswerValue::Matrix(Vec::new());
                Ok(Said { value, warnings: Vec::new(), infos: Vec::new() })
            }
            (said, _) => said,
        }
    }
}

impl Remote {
    async fn push(&self, daemon: &Daemon, series: Vec<Series>) {
        let message = WriteRequest { timeseries: series.iter().map(encoded).collect() };
        let body = snap::raw::Encoder::new().compress_vec(&message.encode_to_vec()).unwrap();
        let headers = [(CONTENT_ENCODING, "snappy"), (CONTENT_TYPE, "application/x-protobuf")];
        let url = format!("http://{}/api/v1/write", daemon.address);
        let answer = self.send(&url, &headers, body).await;
        assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    }

    async fn send(&self, url: &str, headers: &[(HeaderName, &str)], body: Vec<u8>) -> Bytes {
        let mut request = Request::new(Method::POST, Url::parse(url).unwrap());
        for (name, value) in headers {
            request.headers.insert(name.clone(), value.parse().unwrap());
        }
        request.body = body.into();
        self.client.send(request).await.expect("an answer").body
    }
}

fn encoded((labels, points): &Series) -> TimeSeries {
    let label = |(name, value): (&str, &str)| Label { name: name.into(), value: value.into() };
    let sample =
        |point: &Point| Sample { value: point.value, timestamp: point.time.as_nanos() / 1_000_000 };
    TimeSeries {
        labels: labels.iter().map(label).collect(),
        samples: points.iter().map(sample).collect(),
    }
}

/// The half of the samples that is to be sealed, and the other one.
fn halves(series: Vec<Series>, is_by_time: bool) -> (Vec<Series>, Vec<Series>) {
    let newest = series.iter().flat_map(|(_, points)| points).map(|point| point.time).max();
    let middle = newest.unwrap_or_default().as_nanos() / 2;
    let split = |(labels, points): Series| {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for (at, point) in points.into_iter().enumerate() {
            let is_first = if is_by_time { point.time.as_nanos() <= middle } else { at % 2 == 1 };
            if is_first { &mut first } else { &mut second }.push(point);
        }
        ((labels.clone(), first), (labels, second))
    };
    series.into_iter().map(split).unzip()
}

/// Seals what the journal has.
fn seal(state: &Path) {
    let catalogue = Arc::new(Catalogue::default());
    let now = Clock::system().now();
    let mut limits = config::Store::default().limits();
    limits.late = now.since(Timestamp::from_nanos(0));
    let folder = state.join("store");
    let store = Store::open(folder, catalogue.clone(), limits, &Metrics::default(), now).unwrap();
    read_folder(&state.join("journal"), catalogue, store.sealed_to(), |group| {
        store.append(&group.batches, now, group.end);
    })
    .unwrap();
    store.seal(now).unwrap();
    assert!(store.sealed_to() > 0 || store.taken_to() == 0);
}

/// What an answer says.
fn said(answer: &[u8]) -> Result<Said, String> {
    let answer: Json = serde_json::from_slice(answer).expect("JSON");
    if answer["status"] != "success" {
        return Err(answer["error"].as_str().expect("an error").to_owned());
    }
    let notes = |name: &str| {
        let all = answer[name].as_array().map_or(&[][..], Vec::as_slice);
        all.iter().map(|note| note.as_str().unwrap().to_owned()).collect()
    };
    let data = &answer["data"];
    let result = &data["result"];
    let series = || result.as_array().unwrap().iter();
    let value = match data["resultType"].as_str().unwrap() {
        "scalar" => AnswerValue::Scalar(point(result)),
        "string" => AnswerValue::String(point_time(result), result[1].as_str().unwrap().to_owned()),
        "vector" => {
            AnswerValue::Vector(series().map(|one| (labels(one), point(&one["value"]))).collect())
        }
        "matrix" => {
            let points = |one: &Json| one["values"].as_array().unwrap().iter().map(point).collect();
            AnswerValue::Matrix(series().map(|one| (labels(one), points(one))).collect())
        }
        other => panic!("a result of the type {other}"),
    };
    Ok(Said { value, warnings: notes("warnings"), infos: notes("infos") })
}

fn labels(series: &Json) -> Labels {
    let metric = series["metric"].as_object().unwrap();
    Labels::new(metric.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())))
}

fn point(pair: &Json) -> Point {
    Point { time: point_time(pair), value: pair[1].as_str().unwrap().parse().unwrap() }
}

fn point_time(pair: &Json) -> Timestamp {
    time(pair[0].as_f64().unwrap())
}
