//! What clients push, by HTTP: judged as polls are, and answered as the servers answer that these
//! clients were written for.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, HeaderName};
use hyper::{Method, StatusCode};
use influxdb2::Client;
use influxdb2::models::DataPoint;
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use url::Url;
use watchpost::http_client::{HttpClient, Options, Request};

use super::Daemon;
use crate::support::{LIMIT, Server, file, free_port, text};

/// A rule about a series that is only pushed.
const RULE: &str = "[rule.hot]\nmetric = 'climate_temperature_celsius'\nabove = 30\n";

impl Daemon {
    pub(super) async fn post(
        &self,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: impl Into<Vec<u8>>,
    ) -> (StatusCode, String) {
        let url = Url::parse(&format!("http://{}{path}", self.address)).unwrap();
        let mut request = Request::new(Method::POST, url);
        for (name, value) in headers {
            request.headers.insert(name.clone(), value.parse().unwrap());
        }
        request.body = body.into().into();
        let client = HttpClient::new(Options { timeout: LIMIT, ..Options::default() });
        let answer = client.send(request).await.expect("an answer");
        (answer.status, String::from_utf8(answer.body.to_vec()).unwrap())
    }
}

fn gzip(plain: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::Write::write_all(&mut encoder, plain.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn a_pushed_line_is_judged_like_a_poll_before_it_is_answered() {
    let daemon = Daemon::start(RULE).await;
    let line = "climate,room=hall temperature_celsius=31.5\n";
    let (status, body) = daemon.post("/api/v2/write?bucket=home&org=o", &[], line).await;
    assert_eq!((status, body.as_str()), (StatusCode::NO_CONTENT, ""));
    let alert = daemon.alerts().await.remove(0);
    assert_eq!((&alert["state"], &alert["value"]), (&"firing".into(), &"3.15e+01".into()));
    let labels = &alert["labels"];
    assert_eq!(
        (&labels["target"], &labels["kind"], &labels["room"]),
        (&"home".into(), &"push".into(), &"hall".into())
    );
    let gzipped = gzip("climate,room=hall temperature_celsius=20i\n");
    let headers = [(CONTENT_ENCODING, "gzip")];
    let (status, _) = daemon.post("/write?db=home&precision=ms", &headers, gzipped).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(daemon.alerts().await, Vec::<Json>::new());
    daemon.stop().await;
}

#[tokio::test]
async fn a_push_wrong_in_part_is_told_in_influxdbs_words_and_the_rest_is_taken() {
    let daemon = Daemon::start(RULE).await;
    let lines = "climate temperature_celsius=31\nclimate temperature_celsius=\nclimate\n";
    let (status, body) = daemon.post("/write?db=home", &[], lines).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let said = "partial write: unable to parse line 2: a field lacks its value dropped=2";
    assert_eq!(json(&body), json!({ "error": said }));
    assert_eq!(daemon.states().await, ["hot firing"], "the good line was taken");
    let (status, body) = daemon.post("/api/v2/write?bucket=b&precision=s", &[], "m v=1 1\n").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let body = json(&body);
    assert_eq!(body["code"], "invalid");
    let message = body["message"].as_str().unwrap();
    assert!(message.starts_with("partial write: the time 1970-01-01T00:00:01.000Z is more than"));
    for (path, sent, status) in [
        ("/write", "m v=1", 400),
        ("/write?db=d&precision=years", "m v=1", 400),
        ("/api/v2/write?org=o", "m v=1", 400),
        ("/api/v2/write?bucket=b&precision=h", "m v=1", 400),
        ("/api/v1/write", "no snappy", 400),
        ("/write?db=d", &"m v=1\n".repeat(100_001), 413),
        ("/write?db=d", &"#".repeat((8 << 20) + 1), 413),
        ("/write?db=d", "", 204),
    ] {
        let headers: &[_] =
            if path == "/api/v1/write" { &[(CONTENT_ENCODING, "snappy")] } else { &[] };
        let (answered, body) = daemon.post(path, headers, sent).await;
        assert_eq!(answered.as_u16(), status, "{path} {body}");
        assert!(status == 204 || json(&body).is_object(), "{body}");
    }
    assert_eq!(daemon.metric("watchpost_ingest_refused_total{reason=\"syntax\"}").await, 2.0);
    assert_eq!(daemon.metric("watchpost_ingest_refused_total{reason=\"time\"}").await, 1.0);
    daemon.stop().await;
}

#[tokio::test]
async fn a_token_is_asked_for_in_every_way_clients_show_one() {
    let daemon = Daemon::start("token = 's3cret'\n").await;
    let push = async |path: &str, shown: &str| {
        let headers = [(AUTHORIZATION, shown)];
        daemon.post(path, if shown.is_empty() { &[] } else { &headers }, "m v=1").await.0
    };
    for shown in ["Token s3cret", "Bearer s3cret", "Basic dXNlcjpzM2NyZXQ="] {
        assert_eq!(push("/api/v2/write?bucket=b", shown).await, StatusCode::NO_CONTENT, "{shown}");
    }
    assert_eq!(push("/write?db=d&u=me&p=s3cret", "").await, StatusCode::NO_CONTENT);
    for (path, shown) in
        [("/write?db=d", ""), ("/write?db=d&p=other", ""), ("/api/v2/write?bucket=b&p=s3cret", "")]
    {
        assert_eq!(push(path, shown).await, StatusCode::UNAUTHORIZED, "{path}");
    }
    assert_eq!(push("/api/v2/write?bucket=b", "Token other").await, StatusCode::UNAUTHORIZED);
    daemon.stop().await;
}

#[tokio::test]
async fn the_influxdb2_crate_pushes_into_it() {
    let daemon = Daemon::start(&format!("token = 's3cret'\n{RULE}")).await;
    let client = Client::new(format!("http://{}", daemon.address), "home", "s3cret");
    let point = |room: usize| {
        DataPoint::builder("climate")
            .tag("room", format!("room {room},=\""))
            .field("temperature_celsius", room as f64)
            .field("samples", i64::MAX)
            .field("note", "a text")
            .field("open", true)
            .build()
            .unwrap()
    };
    let points: Vec<_> = (0..1_000).map(point).collect();
    client.write("sensors", stream::iter(points)).await.unwrap();
    let page = daemon.get_with("/metrics", Some("s3cret")).await;
    for line in ["watchpost_ingest_samples_total 3000", "watchpost_ingest_texts_total 1000"] {
        assert!(page.lines().any(|found| found == line), "{page}");
    }
    let alerts = json(&daemon.get_with("/api/v1/alerts", Some("s3cret")).await);
    let alerts = alerts["data"]["alerts"].as_array().unwrap();
    assert_eq!(alerts.len(), 1_000 - 31);
    assert!(alerts.iter().any(|alert| alert["labels"]["room"] == "room 999,=\""));

    let wrong = Client::new(format!("http://{}", daemon.address), "home", "other");
    let refused = wrong.write("sensors", stream::iter(vec![point(1)])).await.unwrap_err();
    assert!(refused.to_string().contains("401"), "{refused}");
    daemon.stop().await;
}

/// A prometheus that scrapes this address and writes to it.
fn prometheus(folder: &Path, daemon: &Daemon) -> Option<Server> {
    let address = daemon.address;
    let config = format!(
        "global:\n  scrape_interval: 1s\n  external_labels:\n    region: north\n\
         scrape_configs:\n- job_name: watchpost\n  static_configs:\n  - targets: ['{address}']\n\
         - job_name: closed\n  static_configs:\n  - targets: ['127.0.0.1:{}']\n\
         remote_write:\n- url: http://{address}/api/v1/write\n  queue_config:\n    \
         batch_send_deadline: 200ms\n",
        free_port()
    );
    let config = file(folder, "prometheus.yml", &config);
    Server::start(
        Command::new("prometheus")
            .arg(format!("--config.file={}", text(&config)))
            .arg(format!("--storage.tsdb.path={}", text(&folder.join("data"))))
            .arg(format!("--web.listen-address=127.0.0.1:{}", free_port())),
    )
}

#[tokio::test]
async fn a_prometheus_writes_to_it_and_its_series_are_judged() {
    let daemon = Daemon::start(
        "[rule.gone]\nmetric = 'up'\nmatch = { job = 'closed', region = 'north' }\nequals = 0\n\
         [rule.there]\nmetric = 'watchpost_build_info'\nmatch = { job = 'watchpost' }\nequals = 1\n",
    )
    .await;
    let folder = TempDir::new().unwrap();
    let Some(mut server) = prometheus(folder.path(), &daemon) else { return };
    daemon
        .until_within(Duration::from_secs(60), "its series are judged", async || {
            let mut states = daemon.states().await;
            states.sort();
            states == ["gone firing", "there firing"]
        })
        .await;
    let refused = daemon.get("/metrics").await;
    let refused: Vec<_> =
        refused.lines().filter(|line| line.starts_with("watchpost_ingest_refused")).collect();
    assert!(refused.iter().all(|line| line.ends_with(" 0")), "{refused:?}");
    server.kill();
    daemon.stop().await;
}
