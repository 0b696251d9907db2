//! What those who run it see: service manager, log, metrics, API and the other commands.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Daemon, Dial, WATCHPOST, command, stderr, stdout, write};
use crate::actions::Receiver;
use crate::support::{LIMIT, Server, file, free_port, text, until_listening};

/// The next word that passes, of what a daemon tells its service manager.
fn told(socket: &UnixDatagram, passes: impl Fn(&str) -> bool) -> String {
    let mut buffer = [0; 4_096];
    loop {
        let length = socket.recv(&mut buffer).expect("a word in time");
        let word = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if passes(&word) {
            return word;
        }
        assert!(word.contains("WATCHDOG=1"), "{word} at the wrong time");
    }
}

fn is_ready(word: &str) -> bool {
    word.lines().eq(["READY=1", "STATUS=targets: 0, rules: 0"])
}

#[tokio::test]
async fn the_service_manager_is_told_of_every_step_and_fed_by_the_pipeline() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    write(folder.path(), "");
    let run = format!("WATCHDOG_PID=$$ exec {WATCHPOST} run --log-format json \"$@\"");
    let mut shell = Command::new("sh");
    shell.args(["-c", &run, "sh"]).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "300000");
    let began = Instant::now();
    let mut daemon = Daemon::start_by(&mut shell, folder).await;
    told(&socket, is_ready);
    eprintln!("from exec to ready, in a debug build: at most {:?}", began.elapsed());
    for _ in 0..3 {
        told(&socket, |word| word.contains("WATCHDOG=1"));
    }
    daemon.signal(Signal::SIGHUP);
    let word = told(&socket, |word| word.contains("RELOADING=1"));
    assert!(word.contains("MONOTONIC_USEC="), "{word}");
    told(&socket, is_ready);
    daemon.signal(Signal::SIGTERM);
    told(&socket, |word| word.contains("STOPPING=1"));
    assert_eq!(daemon.exit().await.0, 0);
}

#[tokio::test]
async fn every_log_line_is_json_whatever_happens() {
    let folder = TempDir::new().unwrap();
    let dial = Dial::new(folder.path(), "dial", "50");
    let config = format!(
        "{}[tcp.closed]\naddress = '127.0.0.1:{}'\ninterval = '100ms'\ntimeout = '90ms'\n\
         [rule.high]\nmetric = 'exec_value'\nabove = 10\nactions = ['note']\n\
         summary = \"two\\nlines \\u001b[31mand \\\"quotes\\\"\"\n[action.note]\nlog = {{}}\n",
        dial.table("dial"),
        free_port()
    );
    let mut daemon = Daemon::start(&config).await;
    daemon.until_target("tcp.closed", "down").await;
    daemon.until("it fires", async || daemon.states().await == ["high firing"]).await;
    daemon.reload("nope = 1\n", "refused").await;
    daemon.signal(Signal::SIGTERM);
    daemon.exit().await;
    let log = daemon.log();
    for line in log.lines() {
        let json: Json = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(json["level"].is_string() && json["timestamp"].is_string(), "{line}");
    }
    assert!(log.contains("refused") && log.contains("quotes"), "{log}");
}

/// A configuration with a secret in every place that takes one, none of which works.
fn secretive(folder: &Path, hook: &str) -> String {
    let closed = free_port();
    let file = text(&file(folder, "secret", "marker-file\n"));
    format!(
        "token = 'marker-api'\n\
         [mqtt.home]\nurl = 'mqtt://127.0.0.1:{closed}'\nusername = 'u'\npassword = 'marker-home'\n\
         [[mqtt.home.topic]]\nfilter = '#'\nformat = 'number'\n\
         [mqtt.other]\nurl = 'mqtt://127.0.0.1:{closed}'\nusername = 'u'\npassword = 'marker-mqtt'\n\
         [[mqtt.other.topic]]\nfilter = '#'\nformat = 'number'\n\
         [http.url]\nurl = 'http://127.0.0.1:{closed}/?key=marker-query'\n\
         [http.basic]\nurl = 'http://127.0.0.1:{closed}/'\nusername = 'u'\npassword = 'marker-basic'\n\
         [http.token]\nurl = 'http://127.0.0.1:{closed}/'\ntoken = {{ file = '{file}' }}\n\
         headers = {{ X-Key = 'marker-header' }}\n\
         [snmp.v2]\nhost = '127.0.0.1:{closed}'\ncommunity = 'marker-community'\n\
         profiles = ['system']\n\
         [snmp.v3]\nhost = '127.0.0.1:{closed}'\nversion = '3'\nuser = 'u'\nauth = 'sha1'\n\
         auth_password = 'marker-auth'\nprivacy = 'aes128'\nprivacy_password = 'marker-privacy'\n\
         profiles = ['system']\n\
         [exec.env]\ncommand = ['false']\nenv = {{ KEY = 'marker-exec' }}\n\
         [influxdb.main]\nurl = 'http://127.0.0.1:{closed}'\norg = 'o'\nbucket = 'b'\n\
         token = 'marker-influx'\nflush_interval = '50ms'\n\
         [influxdb.old]\nurl = 'http://127.0.0.1:{closed}'\napi = 'v1'\ndatabase = 'd'\n\
         username = 'u'\npassword = 'marker-password'\nflush_interval = '50ms'\n\
         [rule.down]\nmetric = 'target_up'\nequals = 0\nactions = ['refused', 'closed']\n\
         [action.refused]\nwebhook = {{ url = '{hook}/marker-hook', headers = {{ X-Key = \
         'marker-hook-header' }} }}\n\
         [action.closed]\nwebhook = {{ url = 'http://u:marker-hook-user@127.0.0.1:{closed}/\
         marker-hook-path?marker-hook-query' }}\nretries = 1\n"
    )
}

#[tokio::test]
async fn no_secret_is_logged_served_or_printed() {
    let mut tasks = JoinSet::new();
    let (receiver, hook) = Receiver::start(&mut tasks, |_| Some(403)).await;
    let folder = TempDir::new().unwrap();
    let fast = "[defaults]\ninterval = '500ms'\ntimeout = '400ms'\n";
    let config = format!("{}{fast}", secretive(folder.path(), &hook));
    write(folder.path(), &config);
    let mut command_line = Command::new(WATCHPOST);
    command_line.args(["run", "--log-format", "json", "--log-level", "watchpost=trace,info"]);
    let mut daemon = Daemon::start_by(&mut command_line, folder).await;
    let ask = async |path: &str| daemon.get_with(path, Some("marker-api")).await;
    // All but the program, which starts.
    const TARGETS_DOWN: usize = 7;
    daemon
        .until("everything has failed", async || {
            let page = ask("/api/v1/targets").await;
            let cannot_write = daemon.log().matches("cannot write, keeping the samples").count();
            page.matches("\"health\":\"down\"").count() == TARGETS_DOWN
                && receiver.got.lock().unwrap().len() >= TARGETS_DOWN
                && cannot_write >= 2
        })
        .await;
    assert!(!daemon.get("/metrics").await.contains("watchpost_"), "it wants the token");
    let mut seen = String::new();
    for path in [
        "/metrics",
        "/api/v1/targets",
        "/api/v1/alerts",
        "/api/v1/rules",
        "/api/watchpost/actions",
        "/readyz",
        "/",
    ] {
        seen += &ask(path).await;
    }
    assert!(seen.contains("watchpost_polls_total"), "{seen}");
    for args in
        [&["check", "--json"][..], &["check"], &["probe", "url"], &["probe", "v3", "--json"]]
    {
        let output = daemon.command(args);
        seen += &format!("{}{}", stdout(&output), stderr(&output));
    }
    // A mistake beside a secret shows the line, but not the secret.
    let inside = "[http.inside]\nurl = 'http://u:marker-inside@127.0.0.1/'\n[http.url]\nnope = 1";
    for wrong in [
        config.replace("password = 'marker-basic'", "password = 'marker-basic', 1"),
        config.replace("[http.url]", inside),
        config.replace("{ X-Key = 'marker-header' }", "{ X-Key = 'marker-header', X-Y = 1 }"),
    ] {
        assert_ne!(wrong, config);
        let path = write(daemon.folder.path(), &wrong);
        for args in [&["check", "--json"][..], &["check"], &["run"]] {
            let output = command(&path, args);
            assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
            seen += &format!("{}{}", stdout(&output), stderr(&output));
        }
    }
    daemon.signal(Signal::SIGHUP);
    daemon.until("it is refused", async || daemon.log().contains("is refused")).await;
    daemon.signal(Signal::SIGTERM);
    daemon.exit().await;
    seen += &daemon.log();
    let leaks: Vec<_> = seen.lines().filter(|line| line.contains("marker")).collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
}

#[tokio::test]
async fn a_probe_prints_what_one_poll_reads_and_exits_by_it() {
    let daemon = Daemon::start("").await;
    let folder = TempDir::new().unwrap();
    let path = write(
        folder.path(),
        &format!(
            "[http.page]\nurl = 'http://{}/healthz'\n[icmp.here]\nhost = '127.0.0.1'\n\
             [tcp.closed]\naddress = '127.0.0.1:{}'\n[tcp.here]\naddress = '{}'\n",
            daemon.address,
            free_port(),
            daemon.address
        ),
    );
    let output = command(&path, &["probe", "page"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stdout(&output);
    assert!(said.starts_with("http.page is up, polled in "), "{said}");
    assert!(said.contains("http_status") && said.contains(" 200\n"), "{said}");
    let output = command(&path, &["probe", "page", "--json"]);
    let json: Json = serde_json::from_str(&stdout(&output)).unwrap();
    let readings = json["readings"].as_array().unwrap_or_else(|| panic!("{json}"));
    let status = readings.iter().find(|reading| reading["name"] == "http_status").unwrap();
    assert_eq!((&status["value"], &status["labels"]["target"]), (&200.0.into(), &"page".into()));

    let output = command(&path, &["probe", "closed"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("tcp.closed is down"), "{}", stdout(&output));
    let output = command(&path, &["probe", "here"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("icmp.here"), "{}", stderr(&output));
    let output = command(&path, &["probe", "nobody"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("there is no target nobody"), "{}", stderr(&output));
    let output = command(&path, &["probe", "icmp.here"]);
    if stdout(&output).contains("permitted") {
        eprintln!("skipped: no ICMP socket may be opened here");
        return;
    }
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    assert!(stdout(&output).contains("icmp_rtt_seconds"), "{}", stdout(&output));
}

#[test]
fn the_shipped_rules_pass_their_tests() {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let output = Command::new(WATCHPOST).arg("test").arg(rules).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).ends_with(" passed, 0 failed\n"), "{}", stdout(&output));
}

#[tokio::test]
async fn promtool_accepts_the_metrics() {
    let folder = TempDir::new().unwrap();
    let dial = Dial::new(folder.path(), "dial", "50");
    let daemon = Daemon::start(&format!(
        "{}[tcp.closed]\naddress = '127.0.0.1:{}'\ninterval = '100ms'\ntimeout = '90ms'\n\
         [influxdb.main]\nurl = 'http://127.0.0.1:{}'\norg = 'o'\nbucket = 'b'\n\
         [rule.high]\nmetric = 'exec_value'\nabove = 10\nactions = ['note']\n\
         [action.note]\nlog = {{}}\n",
        dial.table("dial"),
        free_port(),
        free_port()
    ))
    .await;
    daemon.until("it fires", async || daemon.states().await == ["high firing"]).await;
    daemon.until_target("tcp.closed", "down").await;
    let page = folder.path().join("page");
    std::fs::write(&page, daemon.get("/metrics").await).unwrap();
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(std::fs::File::open(page).unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output();
    match promtool {
        Err(error) => eprintln!("skipped: cannot start promtool: {error}"),
        Ok(output) => {
            let said = format!("{}{}", stdout(&output), stderr(&output));
            assert!(output.status.success() && said.is_empty(), "{said}");
        }
    }
    daemon.stop().await;
}

#[tokio::test]
async fn the_api_has_the_fields_prometheus_has() {
    let folder = TempDir::new().unwrap();
    let dial = Dial::new(folder.path(), "dial", "50");
    let daemon = Daemon::start(&format!(
        "{}[rule.high]\nmetric = 'exec_value'\nabove = 10\nfor = '1h'\nsummary = 'high'\n",
        dial.table("dial")
    ))
    .await;
    daemon.until("it is pending", async || daemon.states().await == ["high pending"]).await;
    let has = |json: &Json, keys: &[&str]| {
        for key in keys {
            assert!(!json[key].is_null(), "no {key} in {json}");
        }
    };
    let target = daemon.target("exec.dial").await.unwrap();
    let keys = ["discoveredLabels", "labels", "scrapePool", "scrapeUrl", "globalUrl", "lastError"];
    has(&target, &keys);
    has(&target, &["lastScrape", "lastScrapeDuration", "health", "scrapeInterval"]);
    let alert = daemon.alerts().await.remove(0);
    has(&alert, &["labels", "annotations", "state", "activeAt", "value"]);
    let rules = daemon.data("rules").await;
    has(&rules["groups"][0], &["name", "file", "interval", "rules", "lastEvaluation"]);
    let rule = &rules["groups"][0]["rules"][0];
    has(rule, &["state", "name", "query", "duration", "keepFiringFor", "labels", "annotations"]);
    has(rule, &["alerts", "health", "evaluationTime", "lastEvaluation", "type"]);
    assert_eq!((&rule["state"], &rule["duration"]), (&"pending".into(), &3_600.0.into()));
    assert_eq!(rule["alerts"].as_array().unwrap().len(), 1);
    daemon.stop().await;
}

#[tokio::test]
async fn an_output_nobody_takes_ends_neither_commands_nor_the_daemon() {
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let port = free_port();
    let folder = TempDir::new().unwrap();
    let config = format!(
        "state_dir = '{}'\n[api]\nlisten = '127.0.0.1:{port}'\n\
         [tcp.closed]\naddress = '127.0.0.1:{}'\ninterval = '100ms'\ntimeout = '90ms'\n",
        text(&folder.path().join("state")),
        free_port()
    );
    let path = file(folder.path(), "config.toml", &config);
    let mut run = Command::new(WATCHPOST);
    run.arg("run").arg("--config").arg(&path).stderr(full());
    let mut daemon = Server::from(run.spawn().unwrap());
    until_listening(port).await;
    for (args, code) in [(&["probe", "closed"][..], 1), (&["check"], 0), (&["alerts"], 0)] {
        let mut command = Command::new(WATCHPOST);
        command.args(args).arg("--config").arg(&path).stdout(full());
        assert_eq!(command.output().unwrap().status.code(), Some(code), "{args:?}");
    }
    // It has logged that the target is down, in vain, and answers.
    let output = command(&path, &["alerts"]);
    assert_eq!(stdout(&output), "no alerts\n", "{}", stderr(&output));
    daemon.kill();
}
