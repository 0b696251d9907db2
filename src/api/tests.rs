//! The API over real connections, before a daemon made of fixed answers.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::{Config, Loader, Secret};
use crate::events::{Event, TargetEvent};
use crate::pollers::Reason;
use crate::promql::memory::MemorySource;
use crate::rules::explain::{Explanation, Question};
use crate::rules::{Labels, Severity, State as AlertState};

/// Longer than anything here may take, on a machine that is busy.
pub(super) const LIMIT: Duration = Duration::from_secs(20);

/// A daemon with fixed answers.
#[derive(Default)]
pub(super) struct Fixed {
    targets: Vec<TargetView>,
    alerts: Option<Vec<Alert>>,
    rules: Vec<RuleView>,
    actions: crate::actions::ActionBoard,
    waits: Vec<Wait>,
}

impl Daemon for Fixed {
    fn targets(&self) -> Vec<TargetView> {
        self.targets.clone()
    }
    async fn alerts(&self) -> Option<Vec<Alert>> {
        self.alerts.clone()
    }
    async fn explain(&self, question: Question) -> Option<Option<Explanation>> {
        let engine = crate::rules::Engine::new(Arc::default(), config().rules);
        Some(engine.explain(&question, Timestamp::from_secs(60)))
    }
    fn rules(&self) -> Vec<RuleView> {
        self.rules.clone()
    }
    fn actions(&self) -> Vec<crate::actions::ActionStatus> {
        self.actions.status()
    }
    async fn waits_for(&self) -> Vec<Wait> {
        self.waits.clone()
    }
}

/// Takes pushes to a pipeline that has ended.
fn ingest(metrics: &Metrics) -> Ingest {
    let (handle, _) = crate::pipeline::handle();
    let clock = Arc::new(Clock::system());
    Ingest::new(&config(), Arc::default(), clock, handle, metrics)
}

/// A server that ends with the test.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) metrics: Arc<Metrics>,
    events: Events,
    access: Arc<Access>,
    closing: CancellationToken,
    tasks: JoinSet<()>,
}

impl Server {
    async fn start(daemon: Fixed, token: Option<&str>) -> Self {
        Self::over(Arc::new(MemorySource::default()), daemon, token).await
    }

    pub(super) async fn over(
        history: Arc<dyn History>,
        daemon: Fixed,
        token: Option<&str>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (metrics, events) = (Arc::<Metrics>::default(), Events::default());
        let api = Api {
            daemon: Arc::new(daemon),
            metrics: metrics.clone(),
            events: events.clone(),
            ingest: Arc::new(ingest(&metrics)),
            history,
            clock: Arc::new(Clock::system()),
        };
        let access = Arc::new(Access::new(address, token.map(Secret::new)));
        let closing = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let shutdown = closing.clone().cancelled_owned();
        tasks.spawn(api.server().serve(listener, access.clone(), shutdown));
        Self { address, metrics, events, access, closing, tasks }
    }

    /// What comes back for these bytes until the connection ends.
    pub(super) async fn raw(&self, request: &str) -> String {
        let talk = async {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            String::from_utf8(answer).unwrap()
        };
        tokio::time::timeout(LIMIT, talk).await.unwrap()
    }

    /// Status and body.
    pub(super) async fn get(&self, path: &str, headers: &str) -> (u16, String) {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        let answer = self.raw(&request).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    pub(super) async fn data(&self, path: &str) -> Value {
        let (status, body) = self.get(path, "").await;
        assert_eq!(status, 200, "{body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["status"], "success");
        answer["data"].clone()
    }

    /// A client of the live stream, past its first frame.
    async fn listen(&self) -> BufReader<TcpStream> {
        self.listen_with("").await
    }

    async fn listen_with(&self, header: &str) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!(
            "GET /api/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut stream = BufReader::new(stream);
        line_with(&mut stream, "retry: ").await;
        stream
    }
}

/// Reads on until a line has this in it.
async fn line_with(stream: &mut BufReader<TcpStream>, part: &str) -> String {
    let search = async {
        loop {
            let mut line = String::new();
            let read = stream.read_line(&mut line).await.unwrap();
            assert!(read > 0, "the stream ended before `{part}`");
            if line.contains(part) {
                return line;
            }
        }
    };
    tokio::time::timeout(LIMIT, search).await.unwrap()
}

fn config() -> Config {
    let text = "[host.here]
        tags.rack = 'a1'
        [rule.hot]
        metric = 'serial_temperature_celsius'
        above = 30
        for = '5s'
        severity = 'critical'
        summary = '{{ labels.target }} is hot'
        [rule.cold]
        metric = 'serial_temperature_celsius'
        below = 5";
    let loaded = Loader { env: &|_| None }.load_text(Path::new("/etc/x.toml"), text);
    loaded.unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn target_view(up: Option<bool>, error: Option<PollError>) -> TargetView {
    let target = config().targets[0].clone();
    let last_poll = up.map(|_| Timestamp::from_secs(1_000));
    TargetView { target, up, error, last_poll, took: Duration::from_millis(5) }
}

fn rule(name: &str) -> Arc<Named<RuleConfig>> {
    config().rules.iter().find(|rule| &*rule.name == name).unwrap().clone()
}

fn firing(rule: Arc<Named<RuleConfig>>) -> Alert {
    let labels: Labels = [("target".to_owned(), "<b>".to_owned())].into();
    Alert {
        rule,
        labels: Arc::new(labels),
        state: AlertState::Firing,
        severity: Severity::Critical,
        since: Timestamp::from_secs(60),
        value: Some(31.4),
        reason: "31.4 > 30".to_owned(),
        flapping: false,
        held_back_by: None,
    }
}

fn view(name: &str, file: &str) -> RuleView {
    RuleView { rule: rule(name), file: file.into() }
}

#[tokio::test]
async fn rules_are_grouped_by_file_and_found_by_what_is_asked() {
    let places = [("a", "rules/two.toml"), ("b", "config.toml"), ("c", "config.toml")];
    let named = |(name, file): (&str, &str)| {
        let rule = Named { name: name.into(), value: rule("hot").value.clone() };
        RuleView { rule: Arc::new(rule), file: file.into() }
    };
    let rules = places.map(named).to_vec();
    let daemon = Fixed { alerts: Some(Vec::new()), rules, ..Fixed::default() };
    let server = Server::start(daemon, None).await;
    let found = async |query: &str| {
        let query = query.replace('{', "%7B").replace('}', "%7D").replace('"', "%22");
        let groups = server.data(&format!("/api/v1/rules{query}")).await["groups"].clone();
        let of = |group: &Value| {
            let rules = group["rules"].as_array().unwrap();
            let names: Vec<_> = rules.iter().map(|rule| rule["name"].as_str().unwrap()).collect();
            format!(
                "{} {} {}",
                group["name"].as_str().unwrap(),
                group["file"].as_str().unwrap(),
                names.join(",")
            )
        };
        groups.as_array().unwrap().iter().map(of).collect::<Vec<_>>()
    };
    let (config, two) = ("config config.toml b,c".to_owned(), "two rules/two.toml a".to_owned());
    for query in [
        "",
        "?type=alert",
        "?match[]={severity=\"critical\"}",
        "?match[]={severity=~\"crit.*\",x=\"\"}",
    ] {
        assert_eq!(found(query).await, [config.clone(), two.clone()], "{query}");
    }
    for query in [
        "?file[]=rules/two.toml",
        "?rule_group[]=two",
        "?rule_name[]=a",
        "?file=rules/two.toml&rule_name=a",
    ] {
        assert_eq!(found(query).await, std::slice::from_ref(&two), "{query}");
    }
    for query in [
        "?type=record",
        "?file[]=x",
        "?rule_group[]=x",
        "?match[]={severity=\"info\"}",
        "?match[]=up",
    ] {
        assert_eq!(found(query).await, [""; 0], "{query}");
    }
    let either = "?match[]={severity=\"info\"}&match[]={severity=\"critical\"}";
    assert_eq!(found(either).await.len(), 2, "one of the selectors is enough");
    assert_eq!(found("?group_limit=1").await, std::slice::from_ref(&config));
    let next = server.data("/api/v1/rules?group_limit=1").await["groupNextToken"].clone();
    let next = next.as_str().unwrap();
    assert_eq!(found(&format!("?group_limit=1&group_next_token={next}")).await, [two]);
    assert!(server.data("/api/v1/rules?group_limit=2").await["groupNextToken"].is_null());
    for query in [
        "type=x",
        "match[]=%7B",
        "match[]=1%2B1",
        "group_limit=0",
        "group_limit=x",
        "group_next_token=config.toml",
        "group_limit=1&group_next_token=x",
    ] {
        let (status, body) = server.get(&format!("/api/v1/rules?{query}"), "").await;
        assert_eq!(status, 400, "{query}");
        assert!(body.contains("\"errorType\":\"bad_data\""), "{body}");
    }
}

#[tokio::test]
async fn readiness_names_what_it_waits_for_and_liveness_asks_nothing() {
    let waits = vec![Wait { what: "engine".to_owned(), why: "has not answered".to_owned() }];
    let server = Server::start(Fixed { waits, ..Fixed::default() }, Some("t")).await;
    assert_eq!(server.get("/healthz", "").await, (200, "ok\n".to_owned()));
    let (status, body) = server.get("/readyz", "").await;
    assert_eq!(status, 503);
    assert!(body.contains(r#""waits_for":[{"what":"engine","why":"has not answered"}]"#), "{body}");

    let ready = Server::start(Fixed::default(), Some("t")).await;
    assert_eq!(ready.get("/readyz", "").await.0, 200);
}

#[tokio::test]
async fn targets_alerts_and_rules_have_prometheus_shapes() {
    let error = PollError::new(Reason::Timeout, "no answer from 192.0.2.1");
    let daemon = Fixed {
        targets: vec![target_view(Some(false), Some(error)), target_view(None, None)],
        alerts: Some(vec![firing(rule("hot"))]),
        rules: vec![view("hot", "rules/room.toml"), view("cold", "rules/room.toml")],
        ..Fixed::default()
    };
    let server = Server::start(daemon, None).await;
    let targets = server.data("/api/v1/targets").await;
    let first = &targets["activeTargets"][0];
    assert_eq!(first["health"], "down");
    assert_eq!(first["lastError"], "timeout: no answer from 192.0.2.1");
    assert_eq!(first["scrapePool"], "host");
    assert_eq!(first["labels"]["target"], "here");
    assert_eq!(first["labels"]["rack"], "a1");
    assert_eq!(first["lastScrape"], "1970-01-01T00:16:40.000Z");
    assert_eq!(first["scrapeInterval"], "10s");
    assert_eq!(targets["activeTargets"][1]["health"], "unknown");
    let none = server.data("/api/v1/targets?scrapePool=icmp").await;
    assert_eq!(none["activeTargets"].as_array().unwrap().len(), 0);

    let alerts = server.data("/api/v1/alerts").await;
    let alert = &alerts["alerts"][0];
    assert_eq!(alert["labels"]["alertname"], "hot");
    assert_eq!(alert["labels"]["severity"], "critical");
    assert_eq!(alert["annotations"]["reason"], "31.4 > 30");
    assert_eq!(alert["annotations"]["summary"], "<b> is hot");
    assert_eq!((&alert["state"], &alert["value"]), (&"firing".into(), &"3.14e+01".into()));

    let groups = server.data("/api/v1/rules").await["groups"].clone();
    assert_eq!(groups[0]["rules"][0]["state"], "firing");
    assert_eq!(groups[0]["rules"][0]["alerts"][0], *alert);
    assert_eq!(groups[0]["rules"][0]["query"], "serial_temperature_celsius > 30");
    assert_eq!(groups[0]["rules"][0]["duration"], 5.0);
    assert_eq!(groups[0]["rules"][1]["state"], "inactive");
    let one = server.data("/api/v1/rules?rule_name[]=cold&exclude_alerts=true").await;
    assert_eq!(one["groups"][0]["rules"][0]["name"], "cold");
    let version = server.data("/api/v1/status/buildinfo").await["version"].clone();
    assert!(version.as_str().unwrap().starts_with("3."), "{version}");
}

#[tokio::test]
async fn an_engine_that_does_not_answer_is_said_to_not_answer() {
    let server = Server::start(Fixed::default(), None).await;
    let (status, body) = server.get("/api/v1/alerts", "").await;
    assert_eq!(status, 503);
    assert!(body.contains(r#""errorType":"unavailable""#), "{body}");
}

#[tokio::test]
async fn everything_but_health_and_the_empty_page_wants_the_token() {
    let daemon = Fixed { alerts: Some(Vec::new()), ..Fixed::default() };
    let server = Server::start(daemon, Some("s3cret")).await;
    let paths = [
        "/metrics",
        "/api/events",
        "/api/v1/targets",
        "/api/v1/alerts",
        "/api/v1/rules",
        "/api/watchpost/actions",
    ];
    for path in paths {
        assert_eq!(server.get(path, "").await.0, 401, "{path}");
        assert_eq!(server.get(&format!("{path}?token=s3cret"), "").await.0, 401, "{path}");
    }
    for path in ["/", "/page.js", "/page.css", "/healthz", "/readyz"] {
        assert_eq!(server.get(path, "").await.0, 200, "{path}");
    }
    let authorized = "Authorization: Bearer s3cret\r\n";
    assert_eq!(server.get("/metrics", authorized).await.0, 200);
    assert_eq!(server.get("/api/v1/rules", authorized).await.0, 200);
}

#[tokio::test]
async fn a_rebound_name_and_a_foreign_page_are_refused() {
    let server = Server::start(Fixed::default(), None).await;
    let rebound = "GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert!(server.raw(rebound).await.starts_with("HTTP/1.1 421 "));
    assert_eq!(server.get("/metrics", "Origin: http://evil.example\r\n").await.0, 403);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_errors_in_json() {
    let server = Server::start(Fixed::default(), None).await;
    let (status, body) = server.get("/api/v1/nothing", "").await;
    assert_eq!((status, body.contains("not_found")), (404, true));
    let post = "POST /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert!(server.raw(post).await.starts_with("HTTP/1.1 405 "));
}

#[tokio::test]
async fn every_answer_forbids_framing_sniffing_and_foreign_code() {
    let server = Server::start(Fixed::default(), None).await;
    for path in ["/", "/metrics", "/nothing"] {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = server.raw(&request).await;
        assert!(answer.contains("content-security-policy: default-src 'none'; script-src 'self';"));
        assert!(answer.contains("frame-ancestors 'none'"));
        assert!(answer.contains("x-content-type-options: nosniff"));
        assert!(!answer.to_lowercase().contains("access-control"));
    }
}

#[tokio::test]
async fn an_overlong_header_is_refused() {
    let server = Server::start(Fixed::default(), None).await;
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(400_000));
    // The connection may be reset while the rest is still being sent.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let mut answer = Vec::new();
    let talk = async {
        drop(stream.write_all(long.as_bytes()).await);
        drop(stream.read_to_end(&mut answer).await);
    };
    tokio::time::timeout(LIMIT, talk).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert_eq!(server.get("/healthz", "").await.0, 200);
}

fn target_event(context: &str) -> Event {
    Event::Target(Arc::new(TargetEvent {
        target: "here".into(),
        kind: "host",
        up: false,
        reason: Some("timeout"),
        context: Some(context.to_owned()),
        at: "1970-01-01T00:00:00Z".to_owned(),
    }))
}

#[tokio::test]
async fn the_live_stream_tells_what_happens_and_ends_at_shutdown() {
    let mut server = Server::start(Fixed::default(), None).await;
    let mut stream = server.listen().await;
    server.events.publish(target_event("a\nb"));
    assert_eq!(line_with(&mut stream, "event:").await, "event: target\n");
    let data = line_with(&mut stream, "data:").await;
    let event: Value = serde_json::from_str(data.trim_start_matches("data: ")).unwrap();
    assert_eq!((&event["context"], &event["up"]), (&"a\nb".into(), &false.into()));

    server.closing.cancel();
    tokio::time::timeout(LIMIT, server.tasks.join_next()).await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "the stream was not ended in order: {rest:?}");
}

#[tokio::test]
async fn another_token_is_demanded_at_once_and_of_the_live_stream_too() {
    let server = Server::start(Fixed::default(), Some("one")).await;
    let [one, two] = ["one", "two"].map(|token| format!("Authorization: Bearer {token}\r\n"));
    let mut stream = server.listen_with(&one).await;
    server.access.demand(Some(Secret::new("one")));
    server.events.publish(target_event("first"));
    line_with(&mut stream, "first").await;
    server.access.demand(Some(Secret::new("two")));
    let mut rest = String::new();
    let ended = tokio::time::timeout(LIMIT, stream.read_to_string(&mut rest)).await;
    assert!(ended.is_ok_and(|read| read.is_ok()) && rest.ends_with("0\r\n\r\n"), "{rest:?}");
    assert_eq!(server.get("/metrics", &one).await.0, 401);
    assert_eq!(server.get("/metrics", &two).await.0, 200);
    let mut stream = server.listen_with(&two).await;
    server.events.publish(target_event("second"));
    line_with(&mut stream, "second").await;
    server.access.demand(None);
    assert_eq!(server.get("/metrics", "").await.0, 200);
}

#[tokio::test]
async fn an_answer_under_way_ends_before_its_connection_when_the_listener_does() {
    let mut server = Server::start(Fixed::default(), None).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let form = "query=1%2B1";
    let head = format!(
        "POST /api/v1/query HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nExpect: 100-continue\r\n\r\n",
        form.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut stream = BufReader::new(stream);
    // It asks for the body once a handler reads it.
    line_with(&mut stream, "100 Continue").await;
    server.closing.cancel();
    stream.write_all(form.as_bytes()).await.unwrap();
    let mut rest = String::new();
    tokio::time::timeout(LIMIT, stream.read_to_string(&mut rest)).await.unwrap().unwrap();
    assert!(rest.contains("200 OK") && rest.contains("connection: close"), "{rest}");
    tokio::time::timeout(LIMIT, server.tasks.join_next()).await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_client_that_is_too_slow_is_cut_off_and_the_loss_is_counted() {
    let server = Server::start(Fixed::default(), None).await;
    let mut stream = server.listen().await;
    let long = "x".repeat(64 << 10);
    let lost = || server.metrics.counter("watchpost_api_events_lost_total", "", &[]).get();
    // It reads nothing: first the kernel's buffers fill, then the queue.
    let flood = async {
        for _ in 0..4_096 {
            server.events.publish(target_event(&long));
            tokio::task::yield_now().await;
        }
        let mut end = Vec::new();
        stream.read_to_end(&mut end).await.unwrap();
    };
    tokio::time::timeout(LIMIT, flood).await.unwrap();
    assert!(lost() > 0);
}

#[tokio::test]
async fn clients_of_the_live_stream_are_bounded_and_places_come_back() {
    let server = Server::start(Fixed::default(), None).await;
    let mut clients = Vec::new();
    for _ in 0..events::CLIENTS_MAX {
        clients.push(server.listen().await);
    }
    assert_eq!(server.get("/api/events", "").await.0, 503);
    clients.pop();
    let again = async {
        let taken = server.metrics.gauge("watchpost_api_event_clients", "", &[]);
        while taken.get() >= events::CLIENTS_MAX as f64 {
            tokio::task::yield_now().await;
        }
        server.listen().await
    };
    tokio::time::timeout(LIMIT, again).await.unwrap();
}

#[tokio::test]
async fn a_client_that_comes_back_gets_what_it_missed_once() {
    let server = Server::start(Fixed::default(), None).await;
    let mut stream = server.listen().await;
    server.events.publish(target_event("first"));
    let line = line_with(&mut stream, "id: ").await;
    line_with(&mut stream, "first").await;
    drop(stream);
    server.events.publish(target_event("second"));
    let id = line.trim().strip_prefix("id: ").unwrap();
    let mut stream = server.listen_with(&format!("Last-Event-ID: {id}\r\n")).await;
    let line = line_with(&mut stream, "\"context\"").await;
    assert!(line.contains("second"), "{line}");
    server.events.publish(target_event("third"));
    let line = line_with(&mut stream, "\"context\"").await;
    assert!(line.contains("third"), "{line}");
}

#[tokio::test]
async fn a_rule_is_explained_and_a_question_that_is_none_is_refused() {
    let server = Server::start(Fixed::default(), None).await;
    let name = &config().rules[0].name;
    let (status, body) = server.get(&format!("/api/watchpost/explain?rule={name}"), "").await;
    assert_eq!(status, 200);
    assert!(body.contains("did not fire because there is no series"), "{body}");
    for (query, status) in [
        ("", 400),
        ("?rule=none-such", 404),
        (&*format!("?rule={name}&label=x"), 400),
        (&*format!("?rule={name}&at=tomorrow"), 400),
    ] {
        let (found, body) = server.get(&format!("/api/watchpost/explain{query}"), "").await;
        assert_eq!(found, status, "{query}: {body}");
    }
}
