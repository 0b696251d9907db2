//! Actions against a web server, real programs and a real notification service.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State as Kept;
use axum::http::{HeaderMap, StatusCode};
use axum::serve::ListenerExt;
use serde_json::Value as Json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;
use watchpost::actions::{Actions, Notice};
use watchpost::metrics::Metrics;
use watchpost::notify;
use watchpost::rules::{Severity, State};
use watchpost::tls::Tls;

use crate::support::{LIMIT, Server, config, shared, text, until};

fn notice(fingerprint: &str, state: State) -> Arc<Notice> {
    let labels: BTreeMap<_, _> = [("target".into(), "gateway; rm -rf /".into())].into();
    Arc::new(Notice {
        flapping: false,
        affected: Vec::new(),
        rule: "gateway-down".into(),
        state,
        severity: Severity::Critical,
        labels: Arc::new(labels),
        value: Some(0.0),
        reason: "0 == 0".into(),
        summary: "<b>gateway</b> does not answer".into(),
        description: String::new(),
        since: "2026-01-01T00:00:00.000Z".into(),
        at: "2026-01-01T00:00:05.000Z".into(),
        fingerprint: fingerprint.into(),
    })
}

fn start(text: &str) -> Actions {
    Actions::start(&config(text).actions, shared(), Arc::new(Metrics::default()))
}

/// What came of the last try of an action, once there is one.
async fn outcome(actions: &Actions, name: &str) -> (bool, String) {
    let last = || actions.status().into_iter().find(|status| &*status.name == name)?.last;
    until("a try has ended", || last().is_some()).await;
    let last = last().expect("it was there");
    (last.ok, last.outcome)
}

/// A receiver of webhooks: keeps what it gets and answers by a script.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) got: Arc<Mutex<Vec<Json>>>,
    connections: Arc<AtomicUsize>,
    /// The status of the n-th request; without one it never answers.
    script: Arc<dyn Fn(usize) -> Option<u16> + Send + Sync>,
}

impl Receiver {
    pub(crate) async fn start(
        tasks: &mut JoinSet<()>,
        script: impl Fn(usize) -> Option<u16> + Send + Sync + 'static,
    ) -> (Self, String) {
        let receiver =
            Self { got: Arc::default(), connections: Arc::default(), script: Arc::new(script) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let connections = receiver.connections.clone();
        let listener = listener.tap_io(move |_| {
            connections.fetch_add(1, Ordering::SeqCst);
        });
        let app = Router::new().fallback(answer).with_state(receiver.clone());
        tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });
        (receiver, url)
    }

    fn got(&self) -> Vec<(String, String)> {
        let got = self.got.lock().unwrap();
        let word = |json: &Json, key: &str| json[key].as_str().unwrap().to_owned();
        got.iter().map(|json| (word(json, "fingerprint"), word(json, "state"))).collect()
    }
}

async fn answer(Kept(receiver): Kept<Receiver>, body: String) -> (StatusCode, HeaderMap) {
    let nth = {
        let mut got = receiver.got.lock().unwrap();
        got.push(serde_json::from_str(&body).unwrap());
        got.len()
    };
    let Some(status) = (receiver.script)(nth) else { return std::future::pending().await };
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", "1".parse().unwrap());
    (StatusCode::from_u16(status).unwrap(), headers)
}

fn pair(fingerprint: &str, state: &str) -> (String, String) {
    (fingerprint.into(), state.into())
}

#[tokio::test]
async fn a_webhook_is_tried_again_in_order_after_a_503() {
    let mut tasks = JoinSet::new();
    let (receiver, url) =
        Receiver::start(&mut tasks, |nth| if nth == 1 { Some(503) } else { Some(204) }).await;
    let actions = start(&format!("[action.ops]\nwebhook = {{ url = '{url}' }}\nconcurrency = 1"));
    actions.fire("ops", &notice("a", State::Firing));
    actions.recover("ops", &notice("a", State::Inactive));
    actions.fire("ops", &notice("b", State::Firing));
    until("all is delivered", || receiver.got().len() == 4).await;
    let expected =
        [pair("a", "firing"), pair("b", "firing"), pair("a", "firing"), pair("a", "inactive")];
    assert_eq!(receiver.got(), expected);
    actions.close(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn webhooks_share_a_connection_that_is_kept() {
    let mut tasks = JoinSet::new();
    let (receiver, url) = Receiver::start(&mut tasks, |_| Some(200)).await;
    let actions = start(&format!("[action.ops]\nwebhook = {{ url = '{url}' }}"));
    for n in 1..=20 {
        actions.fire("ops", &notice(&n.to_string(), State::Firing));
        until("it is delivered", || {
            actions.status()[0].last.as_ref().is_some_and(|last| last.fingerprint == n.to_string())
        })
        .await;
    }
    assert_eq!(receiver.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_webhook_that_hangs_delays_no_other_action_nor_the_end() {
    let mut tasks = JoinSet::new();
    let (hanging, hanging_url) = Receiver::start(&mut tasks, |_| None).await;
    let (answering, url) = Receiver::start(&mut tasks, |_| Some(200)).await;
    let actions = start(&format!(
        "[action.hangs]\nwebhook = {{ url = '{hanging_url}' }}\ntimeout = '60s'\nconcurrency = 1\n\
         [action.works]\nwebhook = {{ url = '{url}' }}\n"
    ));
    for n in 0..10 {
        actions.fire("hangs", &notice(&n.to_string(), State::Firing));
        actions.fire("works", &notice(&n.to_string(), State::Firing));
    }
    until("the other has got all", || answering.got().len() == 10).await;
    until("the hanging one has got its first", || hanging.got().len() == 1).await;
    let status = actions.status();
    assert_eq!((status[0].running, status[0].waiting), (1, 9));
    let closing = Instant::now();
    actions.close(Duration::from_millis(200)).await;
    assert!(closing.elapsed() < Duration::from_secs(5), "{:?}", closing.elapsed());
}

#[tokio::test]
async fn a_webhook_that_is_gone_is_given_up_on_at_once_and_its_url_not_shown() {
    let mut tasks = JoinSet::new();
    let (receiver, url) = Receiver::start(&mut tasks, |_| Some(410)).await;
    let actions = start(&format!("[action.ops]\nwebhook = {{ url = '{url}/hunter2' }}"));
    actions.fire("ops", &notice("a", State::Firing));
    actions.recover("ops", &notice("a", State::Inactive));
    let (ok, said) = outcome(&actions, "ops").await;
    assert_eq!((ok, said.as_str()), (false, "webhook at 127.0.0.1 answered 410 Gone"));
    actions.close(Duration::from_secs(5)).await;
    assert_eq!(receiver.got(), [pair("a", "firing")], "nobody heard of it, so it does not end");
}

#[tokio::test]
async fn a_changed_action_keeps_what_waits() {
    let mut tasks = JoinSet::new();
    let (hanging, hanging_url) = Receiver::start(&mut tasks, |_| None).await;
    let (answering, url) = Receiver::start(&mut tasks, |_| Some(200)).await;
    let webhook =
        |url: &str| format!("[action.ops]\nwebhook = {{ url = '{url}' }}\ntimeout = '1s'");
    let mut actions = start(&(webhook(&hanging_url) + "\nconcurrency = 1"));
    actions.fire("ops", &notice("a", State::Firing));
    actions.fire("ops", &notice("b", State::Firing));
    until("the old one is asked", || hanging.got().len() == 1).await;
    actions.update(&config(&webhook(&url)).actions);
    // `b` waited; `a` was under way, failed, and is tried again by the new configuration.
    until("the new one has got both", || answering.got().len() == 2).await;
    assert_eq!(answering.got(), [pair("b", "firing"), pair("a", "firing")]);
    actions.update(&[]);
    assert!(actions.status().is_empty());
}

/// Whether no process of this number runs; one that somebody else has to reap does not.
fn ended(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

#[tokio::test]
async fn a_program_is_told_of_the_alert_and_no_shell_sees_it() {
    let folder = tempfile::tempdir().unwrap();
    let out = text(&folder.path().join("out"));
    let actions = start(&format!(
        r#"[action.do]
        exec = {{ command = ["/bin/sh", "-c", 'printf "%s|" "$@" > {out}.new; env | sort >> {out}.new; cat >> {out}.new; mv {out}.new {out}', "sh", "{{{{ labels.target }}}}", "{{{{ value }}}}"] }}"#
    ));
    actions.fire("do", &notice("a", State::Firing));
    let (ok, said) = outcome(&actions, "do").await;
    assert!(ok, "{said}");
    let told = std::fs::read_to_string(&out).unwrap();
    assert!(told.starts_with("gateway; rm -rf /|0|"), "{told}");
    for line in [
        "WATCHPOST_LABEL_TARGET=gateway; rm -rf /",
        "WATCHPOST_STATE=firing",
        "WATCHPOST_SEVERITY=critical",
        "WATCHPOST_VALUE=0",
        "WATCHPOST_RULE=gateway-down",
        r#""fingerprint":"a""#,
    ] {
        assert!(told.contains(line), "{line} in {told}");
    }
    assert!(!told.contains("CARGO"), "the environment is clean: {told}");
}

#[tokio::test]
async fn a_program_that_forks_and_ignores_sigterm_is_killed_with_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let out = text(&folder.path().join("pids"));
    let actions = start(&format!(
        r#"[action.do]
        retries = 0
        exec = {{ timeout = "300ms", command = ["/bin/sh", "-c", '''
            trap "" TERM
            (trap "" TERM; while :; do sleep 600; done) &
            echo $! $$ > {out}
            while :; do sleep 600; done'''] }}"#
    ));
    let began = Instant::now();
    actions.fire("do", &notice("a", State::Firing));
    let (ok, said) = outcome(&actions, "do").await;
    assert!(!ok && said.contains("took longer than 300ms and was ended"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let pids = std::fs::read_to_string(&out).unwrap();
    for pid in pids.split_whitespace() {
        until("the program and its child are gone", || ended(pid)).await;
    }
    assert_eq!(pids.split_whitespace().count(), 2);
}

#[tokio::test]
async fn a_program_may_tidy_up_when_it_takes_too_long() {
    let actions = start(
        r#"[action.do]
        retries = 0
        exec = { timeout = "200ms", command = ["/bin/sh", "-c", 'trap "echo tidied up; exit 1" TERM; sleep 600 & wait'] }"#,
    );
    actions.fire("do", &notice("a", State::Firing));
    let (_, said) = outcome(&actions, "do").await;
    assert!(said.ends_with(": tidied up"), "{said}");
}

#[tokio::test]
async fn stopping_ends_a_program_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let out = text(&folder.path().join("pid"));
    let actions = start(&format!(
        r#"[action.do]
        exec = {{ timeout = "60s", command = ["/bin/sh", "-c", "echo $$ > {out}.new; mv {out}.new {out}; sleep 600"] }}"#
    ));
    actions.fire("do", &notice("a", State::Firing));
    until("it runs", || Path::new(&out).exists()).await;
    actions.close(Duration::from_millis(100)).await;
    let pid = std::fs::read_to_string(&out).unwrap();
    until("it is gone", || ended(pid.trim())).await;
}

#[tokio::test]
async fn a_program_that_fails_or_is_not_there_says_so() {
    let actions = start(
        "[action.fails]\nexec = { command = ['/bin/sh', '-c', 'echo no route >&2; exit 3'] }\n\
         [action.missing]\nexec = { command = ['/nonexistent/program'] }",
    );
    actions.fire("fails", &notice("a", State::Firing));
    actions.fire("missing", &notice("a", State::Firing));
    let (_, said) = outcome(&actions, "fails").await;
    assert_eq!(said, "/bin/sh: exit status 3: no route");
    let (_, said) = outcome(&actions, "missing").await;
    assert!(said.starts_with("cannot run /nonexistent/program: No such file"), "{said}");
}

#[tokio::test]
async fn a_program_that_asks_for_another_try_gets_one() {
    let folder = tempfile::tempdir().unwrap();
    let out = text(&folder.path().join("tries"));
    let actions = start(&format!(
        "[action.busy]\nretries = 1\n\
         exec = {{ command = ['/bin/sh', '-c', 'echo try >> {out}; exit 75'] }}"
    ));
    actions.fire("busy", &notice("a", State::Firing));
    let (ok, said) = outcome(&actions, "busy").await;
    assert!(!ok && said.contains("exit status 75"), "{said}");
    until("it was tried twice", || {
        std::fs::read_to_string(&out).unwrap_or_default() == "try\ntry\n"
    })
    .await;
}

#[tokio::test]
async fn the_live_stream_is_followed_across_its_ends() {
    let frame = |severity: Severity| {
        let mut notice = Notice::clone(&notice("a", State::Firing));
        notice.severity = severity;
        let data = serde_json::to_string(&notice).unwrap();
        format!("id: {severity:?}\nevent: alert\ndata: {data}\n\n")
    };
    let stream = ": watchpost\nretry: 10\n\nevent: target\ndata: {}\n\n".to_owned()
        + &frame(Severity::Info)
        + &frame(Severity::Warning);
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    let app = Router::new().route(
        "/api/events",
        axum::routing::get(async move |headers: HeaderMap| {
            assert_eq!(headers["authorization"], "Bearer hunter2");
            // Who comes back says what was the last it had.
            let is_back = counted.fetch_add(1, Ordering::SeqCst) > 0;
            let last = headers.get("last-event-id").map(|id| id.to_str().unwrap().to_owned());
            assert_eq!(last.as_deref(), is_back.then_some("Warning"));
            stream
        }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });
    let settings = notify::Settings {
        url,
        token: Some(watchpost::config::Secret::new("hunter2")),
        tls: Tls::default(),
        min_severity: Severity::Warning,
    };
    let shown = Mutex::new(Vec::new());
    let listen = notify::listen(&settings, |notice| shown.lock().unwrap().push(notice.severity));
    tokio::select! {
        _ = listen => panic!("it goes on"),
        () = until("it has connected twice", || shown.lock().unwrap().len() == 2) => {}
    }
    assert_eq!(*shown.lock().unwrap(), [Severity::Warning, Severity::Warning]);
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

/// Says to the test below, run in a session of its own, where it finds the screen's log.
const SESSION: &str = "WATCHPOST_TEST_SESSION";

/// A session bus that starts no services by itself, so that there can be a session without any.
const BUS: &str = r#"<busconfig><type>session</type><listen>unix:tmpdir=/tmp</listen>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/>
</policy></busconfig>"#;

/// The part of the next test that runs inside a desktop session: `zbus` finds the session by the
/// environment of the process, which a test must not change.
#[tokio::test]
async fn inside_a_desktop_session() {
    let Some(log) = std::env::var_os(SESSION) else { return };
    let actions = start("[action.desk]\ndesktop = {}");
    actions.fire("desk", &notice("a", State::Firing));
    let (ok, said) = outcome(&actions, "desk").await;
    assert!(!ok && said.contains("no notification service runs in this session"), "{said}");
    drop(actions);

    let log_file = std::fs::File::create(&log).unwrap();
    let dunst = Command::new("dunst").arg("-print").stdout(log_file).stderr(Stdio::null()).spawn();
    let mut dunst = dunst.unwrap();
    let shown = || std::fs::read_to_string(&log).unwrap_or_default();
    let actions = start("[action.desk]\ndesktop = {}");
    actions.fire("desk", &notice("a", State::Firing));
    until("the alert is shown", || shown().contains("summary: 'gateway-down: critical'")).await;
    assert!(shown().contains("body: '&lt;b&gt;gateway&lt;/b&gt; does not answer"), "{}", shown());
    assert!(shown().contains("urgency: CRITICAL"), "{}", shown());
    actions.recover("desk", &notice("a", State::Inactive));
    until("its end is shown", || shown().contains("summary: 'gateway-down: over'")).await;
    let ids: Vec<String> =
        shown().lines().filter(|line| line.starts_with("\tid: ")).map(str::to_owned).collect();
    assert_eq!(ids.len(), 2, "{}", shown());
    assert_eq!(ids[0], ids[1], "the end takes the place of the beginning");

    let mut other = Notice::clone(&notice("b", State::Firing));
    other.severity = Severity::Warning;
    let stream = format!("event: alert\ndata: {}\n\n", serde_json::to_string(&other).unwrap());
    // Only who asks is told what fires already: at its first connection, not when it is back.
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = asked.clone();
    let answer = async move |uri: axum::http::Uri| {
        heard.lock().unwrap().push(uri.query().map(str::to_owned));
        if uri.query().is_some() { stream } else { String::new() }
    };
    let app = Router::new().route("/api/events", axum::routing::get(answer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });
    let mut command = Command::new(env!("CARGO_BIN_EXE_watchpost"));
    let command_runs = Server::start(command.args(["notify", "--url", &url]));
    until("the command shows it, too", || shown().contains("'gateway-down: warning'")).await;
    until("it is back", || asked.lock().unwrap().len() > 1).await;
    assert_eq!(asked.lock().unwrap()[..2], [Some("firing".to_owned()), None]);
    drop(command_runs);
    dunst.kill().unwrap();
    dunst.wait().unwrap();
}

#[tokio::test]
async fn notices_are_shown_on_a_desktop() {
    let folder = tempfile::tempdir().unwrap();
    let number = folder.path().join("display");
    let file = std::fs::File::create(&number).unwrap();
    let mut xvfb = Command::new("Xvfb");
    xvfb.args(["-displayfd", "1", "-screen", "0", "640x480x24"]);
    let screen = match xvfb.stdout(file).stderr(Stdio::null()).stdin(Stdio::null()).spawn() {
        Ok(child) => Server::from(child),
        Err(error) => return eprintln!("skipped: cannot start Xvfb: {error}"),
    };
    for program in ["dunst", "dbus-run-session"] {
        if Command::new(program).arg("--version").output().is_err() {
            return eprintln!("skipped: no {program}");
        }
    }
    let bus = folder.path().join("bus.conf");
    std::fs::write(&bus, BUS).unwrap();
    let display = || std::fs::read_to_string(&number).unwrap_or_default();
    until("the screen is there", || display().ends_with('\n')).await;
    let session = tokio::process::Command::new("dbus-run-session")
        .arg("--config-file")
        .arg(&bus)
        .arg("--")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "actions::inside_a_desktop_session", "--nocapture"])
        .env(SESSION, folder.path().join("log"))
        .env("DISPLAY", format!(":{}", display().trim()))
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(LIMIT * 3, session).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{said}");
    drop(screen);
}
