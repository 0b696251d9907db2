use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::config::Loader;
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::sample::{Catalogue, Sample, Timestamp};
use crate::sinks::http::SEARCH_REQUESTS_MAX;
use crate::sinks::{Outcome, Rejected, Sink, SinkConfig};

fn load(table: &str) -> Result<Config, String> {
    let toml = format!("[influxdb.main]\n{table}\n");
    let loaded = Loader { env: &|_| None }.load_text(Path::new("test.toml"), &toml);
    let config = loaded.map_err(|diagnostics| diagnostics.to_string())?;
    let SinkConfig::Influxdb(config) = &config.sinks[0].value else { panic!("another sink") };
    Ok(config.clone())
}

/// The settings of a table that is right.
pub(super) fn settings(table: &str) -> Settings {
    load(table).unwrap().settings
}

#[test]
fn keys_of_another_version_are_errors_that_say_so() {
    let cases = [
        ("url='http://h'", "api = \"v2\" needs the key `org`"),
        ("url='http://h'\norg='o'", "api = \"v2\" needs the key `bucket`"),
        ("url='http://h'\napi='v1'", "api = \"v1\" needs the key `database`"),
        (
            "url='http://h'\napi='v3'\ndatabase='d'\nbucket='b'",
            "`bucket` has no meaning with api = \"v3\", which takes database, token",
        ),
        (
            "url='http://h'\norg='o'\nbucket='b'\nusername='u'\npassword='p'",
            "`username` has no meaning with api = \"v2\", which takes org, bucket, token",
        ),
        ("url='http://h'\napi='v1'\ndatabase='d'\nusername='u'", "go together"),
        ("url='ftp://h'\norg='o'\nbucket='b'", "expected an http or https URL"),
        ("url='http://h'\norg='o'\nbucket=''", "`bucket` is empty"),
        ("url='http://h'\norg='o'\nbucket='b'\nbatch_points=0", "must be at least 1"),
        ("url='http://h'\norg='o'\nbucket='b'\nmax_buffer='1KiB'", "at least `batch_bytes`"),
        ("url='http://h'\norg='o'\nbucket='b'\nclient_key='x'", "go together"),
        ("url='http://h'\norg='o'\nbucket='b'\nbuckte='b'", "did you mean `bucket`?"),
    ];
    for (table, expected) in cases {
        let message = load(table).unwrap_err();
        assert!(message.contains(expected), "{table}\n{message}");
    }
}

/// Answers each write as `answer` says, given the lines of its body.
struct Server {
    url: String,
    bodies: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let written = bodies.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let (mut io, _) = listener.accept().await.unwrap();
                while let Some(body) = request(&mut io).await {
                    let answer = answer(&body);
                    if answer.starts_with("HTTP/1.1 20") {
                        written.lock().unwrap().push(body);
                    }
                    if io.write_all(answer.as_bytes()).await.is_err() || answer.is_empty() {
                        break;
                    }
                }
            }
        });
        Self { url, bodies, _tasks: tasks }
    }

    fn written(&self) -> Vec<String> {
        let bodies = self.bodies.lock().unwrap();
        bodies.iter().flat_map(|body| body.lines()).map(str::to_owned).collect()
    }
}

/// The body of the next request; `None` when there is none.
async fn request(io: &mut tokio::net::TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_lowercase();
            let length = head
                .split("content-length: ")
                .nth(1)
                .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
            if body.len() >= length {
                return Some(body.to_owned());
            }
        }
        if io.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

fn answer(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

struct Fixture {
    writer: Writer,
    catalogue: Arc<Catalogue>,
    state: tempfile::TempDir,
}

impl Fixture {
    fn new(server: &Server, more: &str) -> Self {
        let table = format!("url='{}'\ntimeout='5s'\n{more}", server.url);
        let config = load(&table).unwrap();
        let state = tempfile::tempdir().unwrap();
        let catalogue = Arc::new(Catalogue::default());
        let metrics = Arc::new(Metrics::default());
        let env = SinkEnv {
            journal: Journal::in_memory(catalogue.clone(), metrics.clone()),
            catalogue: catalogue.clone(),
            metrics,
            state_dir: state.path().to_owned(),
        };
        Self { writer: Writer::new(&config, "influxdb.main", &env), catalogue, state }
    }

    /// Lines `m,n=0 f=0 7` and so on, as many as asked for.
    fn fill(&mut self, lines: usize) {
        let sample = |n: usize| Sample {
            series: self.catalogue.intern("m", "f", &[("n", &format!("<{n}>"))]),
            value: n as f64,
        };
        let samples = (0..lines).map(sample).collect();
        let batch = Batch { target: "t".into(), time: Timestamp::from_nanos(7), samples };
        assert_eq!(self.writer.fill(&batch, 0), lines);
    }

    fn quarantined(&self) -> String {
        let path = self.state.path().join("quarantine/influxdb.main.lp");
        std::fs::read_to_string(path).unwrap_or_default()
    }
}

const V1: &str = "api='v1'\ndatabase='d'";
const V2: &str = "org='o'\nbucket='b'";
const V3: &str = "api='v3'\ndatabase='d'";

#[tokio::test]
async fn guilty_lines_are_found_and_quarantined_and_the_others_written() {
    let server = Server::start(|body| {
        let guilty = body.contains("<3>") || body.contains("<60>");
        if guilty { answer(400, "{\"error\":\"bad\nline\"}") } else { answer(204, "") }
    })
    .await;
    let mut fixture = Fixture::new(&server, V2);
    fixture.fill(100);
    let outcome = fixture.writer.write().await.unwrap();
    assert_eq!(outcome, Outcome { points: 98, rejected_lines: 2 });
    assert_eq!(server.written().len(), 98);
    assert_eq!(
        fixture.quarantined(),
        "# {\"error\":\"bad line\"}\nm,n=<3> f=3 7\n# {\"error\":\"bad line\"}\nm,n=<60> f=60 7\n"
    );
}

#[tokio::test]
async fn a_request_too_large_is_halved_until_it_fits() {
    let server = Server::start(|body| {
        if body.lines().count() > 7 { answer(413, "too large") } else { answer(204, "") }
    })
    .await;
    let mut fixture = Fixture::new(&server, V2);
    fixture.fill(100);
    assert_eq!(fixture.writer.write().await.unwrap().points, 100);
    let written = server.written();
    let numbers: Vec<_> = (0..100).map(|n| format!("m,n=<{n}> f={n} 7")).collect();
    assert_eq!(written, numbers);
    assert_eq!(fixture.quarantined(), "");
}

#[tokio::test]
async fn a_partial_write_that_dropped_every_line_is_not_searched() {
    let server = Server::start(|body| {
        let dropped = body.lines().count();
        answer(400, &format!("{{\"error\":\"partial write: too old dropped={dropped}\"}}"))
    })
    .await;
    let mut fixture = Fixture::new(&server, V1);
    fixture.fill(50);
    let outcome = fixture.writer.write().await.unwrap();
    assert_eq!(outcome, Outcome { points: 0, rejected_lines: 50 });
    assert_eq!(fixture.writer.searched, 0);
    assert_eq!(fixture.quarantined().lines().count(), 51);
}

#[tokio::test]
async fn version_3_says_which_lines_and_nothing_is_written_twice() {
    let server = Server::start(|body| {
        assert_eq!(body.lines().count(), 10);
        let data = "{\"original_line\":\"x\",\"line_number\":4,\"error_message\":\"no\"}";
        answer(
            400,
            &format!("{{\"error\":\"partial write of line protocol occurred\",\"data\":[{data}]}}"),
        )
    })
    .await;
    let mut fixture = Fixture::new(&server, V3);
    fixture.fill(10);
    let outcome = fixture.writer.write().await.unwrap();
    assert_eq!(outcome, Outcome { points: 9, rejected_lines: 1 });
    assert_eq!(fixture.quarantined(), "# no\nm,n=<3> f=3 7\n");
}

#[tokio::test]
async fn the_search_for_guilty_lines_has_an_end() {
    let server = Server::start(|_| answer(400, "no")).await;
    let mut fixture = Fixture::new(&server, V2);
    fixture.fill(2_000);
    let outcome = fixture.writer.write().await.unwrap();
    assert_eq!(outcome, Outcome { points: 0, rejected_lines: 2_000 });
    assert!(fixture.writer.searched <= SEARCH_REQUESTS_MAX + 20, "{}", fixture.writer.searched);
}

#[tokio::test]
async fn a_write_broken_in_the_middle_goes_on_where_it_was() {
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::start(move |body| {
        let call = calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        match (call, body.lines().count()) {
            (0, _) => answer(413, "too large"),
            // The connection ends without an answer.
            (2, _) => String::new(),
            (3, _) => "HTTP/1.1 503 X\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n".into(),
            _ => answer(200, ""),
        }
    })
    .await;
    let mut fixture = Fixture::new(&server, V2);
    fixture.fill(10);
    let broken = fixture.writer.write().await.unwrap_err();
    assert!(matches!(broken, Rejected::Temporary { retry_after: None, .. }), "{broken}");
    assert_eq!(server.written().len(), 5);
    let Err(Rejected::Temporary { retry_after, .. }) = fixture.writer.write().await else {
        panic!("written in spite of 503")
    };
    assert_eq!(retry_after, Some(Duration::from_secs(3)));
    assert_eq!(fixture.writer.write().await.unwrap().points, 10);
    assert_eq!(server.written().len(), 10);
}

#[test]
fn no_secret_is_printed() {
    let table = "url='http://h'\norg='o'\nbucket='b'\ntoken='hush'";
    let config = load(table).unwrap();
    let env = SinkEnv {
        catalogue: Arc::default(),
        metrics: Arc::default(),
        state_dir: "/nonexistent".into(),
        journal: Journal::in_memory(Arc::default(), Arc::default()),
    };
    let writer = Writer::new(&config, "main", &env);
    assert!(!format!("{config:?}{writer:?}").contains("hush"));
}
