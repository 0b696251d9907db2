//! The query API over real connections.

use std::collections::BTreeSet;
use std::io::Read;
use std::ops::ControlFlow;
use std::sync::{Mutex, mpsc};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::api::tests::{Fixed, LIMIT, Server};
use crate::promql::functions::Point;
use crate::promql::memory::MemorySource;
use crate::promql::source::{SeriesSet, Source, Window};
use crate::promql::{Labels, Selector};

/// `up` of three targets, a counter, and a metric with many series, from 0 to 600 s.
fn series() -> MemorySource {
    let mut source = MemorySource::default();
    let mut add = |labels: &[(&str, &str)], value: &dyn Fn(i64) -> f64| {
        let labels = Labels::new(labels.iter().copied());
        for step in 0..=60 {
            let point = Point { time: Timestamp::from_secs(step * 10), value: value(step) };
            source.insert(&labels, point);
        }
    };
    for target in ["a", "b", "c"] {
        add(&[("__name__", "target_up"), ("target", target)], &|_| 1.0);
    }
    add(&[("__name__", "http_requests_total"), ("target", "a")], &|step| step as f64 * 5.0);
    for n in 0..200 {
        add(&[("__name__", "many"), ("n", &n.to_string())], &|step| step as f64 + 0.5);
    }
    source
}

async fn server() -> Server {
    Server::over(Arc::new(series()), Fixed::default(), None).await
}

impl Server {
    /// Status and answer.
    async fn json(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.get(path, "").await;
        (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
    }

    async fn post(&self, path: &str, form: &str) -> Value {
        let answer = self
            .raw(&format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: \
                 {}\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n{form}",
                form.len()
            ))
            .await;
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// Head and body of a range query's answer, however large.
    async fn whole(&self, query: &str, headers: &str) -> (String, Vec<u8>) {
        // Version 1.0 has no chunks.
        let request =
            format!("GET /api/v1/query_range?{query} HTTP/1.0\r\nHost: localhost\r\n{headers}\r\n");
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        let at = answer.windows(4).position(|part| part == b"\r\n\r\n").unwrap();
        (String::from_utf8(answer[..at].to_vec()).unwrap(), answer[at + 4..].to_vec())
    }

    fn ended(&self, ending: &str) -> u64 {
        self.metrics.counter("watchpost_queries_total", "", &[("ending", ending)]).get()
    }
}

#[tokio::test]
async fn instant_queries_have_prometheus_shapes() {
    let server = server().await;
    // What Grafana asks to see whether a data source works.
    assert_eq!(
        server.data("/api/v1/query?query=1%2B1&time=4").await,
        json!({ "resultType": "scalar", "result": [4, "2"] })
    );
    assert_eq!(
        server.data("/api/v1/query?query=%22text%22&time=1.5").await,
        json!({ "resultType": "string", "result": [1.5, "text"] })
    );
    let vector = json!({ "resultType": "vector", "result": [
        { "metric": { "__name__": "target_up", "target": "a" }, "value": [100, "1"] },
    ] });
    let query = "query=target_up%7Btarget=%22a%22%7D&time=1970-01-01T00:01:40Z";
    assert_eq!(server.data(&format!("/api/v1/query?{query}")).await, vector);
    assert_eq!(server.post("/api/v1/query", query).await["data"], vector);
    let matrix = server.data("/api/v1/query?query=target_up%5B20s%5D&time=100").await;
    assert_eq!(matrix["resultType"], "matrix");
    assert_eq!(matrix["result"][0]["values"], json!([[90, "1"], [100, "1"]]));
    let now = server.data("/api/v1/query?query=time()").await;
    assert!(now["result"][0].as_f64().unwrap() > 1e9, "{now}");
    let late = "/api/v1/query?query=target_up&time=700";
    assert_eq!(server.data(late).await["result"].as_array().unwrap().len(), 3);
    let late = format!("{late}&lookback_delta=1m");
    assert_eq!(server.data(&late).await["result"], json!([]));
}

#[tokio::test]
async fn range_queries_have_prometheus_shapes() {
    let server = server().await;
    let query = "query=rate(http_requests_total%5B1m%5D)&start=120&end=240&step=1m";
    let expected = json!({ "resultType": "matrix", "result": [
        { "metric": { "target": "a" }, "values": [[120, "0.5"], [180, "0.5"], [240, "0.5"]] },
    ] });
    assert_eq!(server.data(&format!("/api/v1/query_range?{query}")).await, expected);
    assert_eq!(server.post("/api/v1/query_range", query).await["data"], expected);
    let limited = "/api/v1/query_range?query=many&start=0&end=60&step=30&limit=2";
    let (_, answer) = server.json(limited).await;
    assert_eq!(answer["data"]["result"].as_array().unwrap().len(), 2);
    assert_eq!(answer["warnings"], json!([TRUNCATED]));
    let (_, answer) = server.json("/api/v1/query?query=rate(many%5B1m%5D)&time=100").await;
    let info = answer["infos"][0].as_str().unwrap_or_else(|| panic!("{answer}"));
    assert!(info.contains("might not be a counter"), "{info}");
}

#[tokio::test]
async fn what_is_wrong_is_said_in_prometheus_words_and_codes() {
    let server = server().await;
    for (path, status, kind, said) in [
        ("query", 400, "bad_data", "invalid parameter \"query\": 1:1: parse error"),
        ("query?query=sum(", 400, "bad_data", "parse error"),
        ("query?query=1&time=x", 400, "bad_data", "invalid parameter \"time\": cannot parse"),
        ("query?query=1&timeout=x", 400, "bad_data", "invalid parameter \"timeout\""),
        ("query?query=1&lookback_delta=-1s", 400, "bad_data", "lookback_delta"),
        ("query_range?query=1&start=0&end=9", 400, "bad_data", "invalid parameter \"step\""),
        ("query_range?query=1&end=9&step=1", 400, "bad_data", "invalid parameter \"start\""),
        ("query_range?query=1&start=9&end=0&step=1", 400, "bad_data", "must not be before start"),
        ("query_range?query=1&start=0&end=9&step=0", 400, "bad_data", "zero or negative"),
        ("query_range?query=1&start=0&end=11001&step=1", 400, "bad_data", "11,000 points"),
        ("query_range?query=up%5B5m%5D&start=0&end=9&step=1", 422, "execution", "range"),
        ("query?query=1&timeout=0", 503, "timeout", "timed out"),
        ("series", 400, "bad_data", "no match[] parameter provided"),
        ("series?match[]=%7B%7D", 400, "bad_data", "match[]"),
        ("labels?start=9&end=0", 400, "bad_data", "must not be before start"),
        ("label/U__a_2e/values", 400, "bad_data", "invalid label name"),
    ] {
        let (answered, body) = server.json(&format!("/api/v1/{path}")).await;
        assert_eq!((answered, body["errorType"].as_str()), (status, Some(kind)), "{path} {body}");
        assert!(body["error"].as_str().unwrap().contains(said), "{path} {body}");
    }
    let (_, steps) = server.whole("query=1&start=0&end=11000&step=1", "").await;
    let steps: Value = serde_json::from_slice(&steps).unwrap();
    assert_eq!(steps["data"]["result"][0]["values"].as_array().unwrap().len(), 11_001);
    let deep = format!("/api/v1/query?query={}1", "(".repeat(10_000));
    assert_eq!(server.json(&deep).await.0, 400);
    let text = server.post("/api/v1/query", &format!("query=1&x={}", "x".repeat(70_000))).await;
    assert_eq!(text["errorType"], "bad_data", "{text}");
}

#[tokio::test]
async fn series_labels_and_values_are_listed() {
    let server = server().await;
    let series = server.data("/api/v1/series?match[]=target_up&match[]=%7Btarget=%22a%22%7D").await;
    let names: Vec<_> =
        series.as_array().unwrap().iter().map(|one| one["__name__"].clone()).collect();
    assert_eq!(names, ["http_requests_total", "target_up", "target_up", "target_up"]);
    assert_eq!(server.data("/api/v1/labels").await, json!(["__name__", "n", "target"]));
    let some = server.post("/api/v1/labels", "match[]=target_up&start=0&end=100").await;
    assert_eq!(some["data"], json!(["__name__", "target"]));
    for times in ["start=9000", "end=-1", "start=9000&end=9001"] {
        for what in ["labels", "label/target/values", "series?match[]=target_up"] {
            let joint = if what.contains('?') { '&' } else { '?' };
            let listed = server.data(&format!("/api/v1/{what}{joint}{times}")).await;
            assert_eq!(listed, json!([]), "{what} {times}: there was nothing then");
        }
    }
    let then = server.data("/api/v1/label/target/values?start=10&end=20").await;
    assert_eq!(then, json!(["a", "b", "c"]));
    let names = server.data("/api/v1/label/__name__/values").await;
    assert_eq!(names, json!(["http_requests_total", "many", "target_up"]));
    let targets = server.data("/api/v1/label/target/values?match[]=http_requests_total").await;
    assert_eq!(targets, json!(["a"]));
    assert_eq!(server.data("/api/v1/label/U__target/values").await, json!(["a", "b", "c"]));
    let (_, limited) = server.json("/api/v1/label/n/values?limit=3").await;
    assert_eq!(
        (&limited["data"], &limited["warnings"][0]),
        (&json!(["0", "1", "10"]), &TRUNCATED.into())
    );
    let about = server.data("/api/v1/metadata?metric=http_requests_total").await;
    assert_eq!(
        about,
        json!({ "http_requests_total": [{ "type": "counter", "help": "", "unit": "" }] })
    );
    let exemplars = "/api/v1/query_exemplars?query=test&start=1700000000000&end=1700000000001";
    assert_eq!(server.data(exemplars).await, json!([]));
    assert_eq!(server.data("/api/v1/format_query?query=a%2B%20b").await, json!("a + b"));
    for path in ["/-/healthy", "/-/ready"] {
        assert_eq!(server.get(path, "").await.0, 200, "{path}");
    }
}

#[tokio::test]
async fn a_large_answer_is_sent_in_pieces_and_packed_if_that_is_wanted() {
    let server = server().await;
    let query = "query=many&start=0&end=600&step=1";
    let request = format!(
        "GET /api/v1/query_range?{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    );
    let chunked = server.raw(&request).await;
    assert!(chunked.contains("transfer-encoding: chunked"), "{}", &chunked[..500]);
    let (_, plain) = server.whole(query, "").await;
    let (head, packed) = server.whole(query, "Accept-Encoding: br, gzip;q=0.5\r\n").await;
    assert!(head.contains("content-encoding: gzip"), "{head}");
    assert!(packed.len() < plain.len() / 2, "{} of {}", packed.len(), plain.len());
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
    assert!(unpacked == plain);
    let answer: Value = serde_json::from_slice(&unpacked).unwrap();
    assert_eq!(answer["data"]["result"].as_array().unwrap().len(), 200);
    assert_eq!(answer["data"]["result"][7]["values"].as_array().unwrap().len(), 601);
}

/// Has nothing, and waits for a word before each time it says so.
#[derive(Debug)]
struct Slow(Mutex<mpsc::Receiver<()>>);

impl Source for Slow {
    fn select(&self, _: &Selector, _: Window, _: &mut SeriesSet) -> Result<(), EvalError> {
        // At the end of the test there are no more words.
        self.0.lock().unwrap().recv().ok();
        Ok(())
    }
}

impl History for Slow {
    fn series(
        &self,
        _: &Selector,
        _: Option<(Timestamp, Timestamp)>,
        _: &mut dyn FnMut(Labels) -> ControlFlow<()>,
    ) {
    }
    fn label_names(&self) -> BTreeSet<String> {
        BTreeSet::new()
    }
    fn label_values(&self, _: &str) -> BTreeSet<String> {
        BTreeSet::new()
    }
}

#[tokio::test]
async fn a_query_ends_when_its_client_leaves_or_its_time_is_over() {
    let (go_on, wait) = mpsc::sync_channel(1);
    let server = Server::over(Arc::new(Slow(Mutex::new(wait))), Fixed::default(), None).await;
    let terms: Vec<_> = (0..150).map(|n| format!("x{n}")).collect();
    let request = format!(
        "GET /api/v1/query?query={} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        terms.join("%20or%20")
    );
    let mut client = TcpStream::connect(server.address).await.unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    let running = server.metrics.gauge("watchpost_queries_running", "", &[]);
    let is_running = async {
        while running.get() < 1.0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, is_running).await.unwrap();
    drop(client);
    let is_canceled = async {
        while server.ended("canceled") == 0 {
            // Full means that it is at it.
            _ = go_on.try_send(());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LIMIT, is_canceled).await.unwrap();

    let path = format!("/api/v1/query?query={}&timeout=50ms", terms.join("%20or%20"));
    let words = async {
        loop {
            _ = go_on.try_send(());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let (status, body) = tokio::select! {
        answer = server.get(&path, "") => answer,
        () = words => unreachable!("it has no end"),
    };
    assert_eq!((status, body.contains(r#""errorType":"timeout""#)), (503, true), "{body}");
    // It is counted after it is answered.
    let is_counted = async {
        while server.ended("timeout") == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LIMIT, is_counted).await.unwrap();
    assert_eq!(server.ended("timeout"), 1);
}
