//! The daemon through the eyes of clients written for Prometheus and Alertmanager.

use std::path::Path;
use std::process::Command;

use hyper::StatusCode;
use nix::sys::signal::Signal;
use serde_json::Value as Json;
use tempfile::TempDir;
use watchpost::sample::Clock;

use super::{Daemon, Dial, stderr, stdout};
use crate::support::{file, text};

/// What a tool prints on standard output; `None` if it is not installed, which is told.
fn tool(name: &str, args: &[&str]) -> Option<String> {
    match Command::new(name).args(args).output() {
        Err(error) => {
            eprintln!("skipped: cannot start {name}: {error}");
            None
        }
        Ok(output) => {
            assert!(output.status.success(), "{args:?}: {}{}", stdout(&output), stderr(&output));
            Some(stdout(&output))
        }
    }
}

/// Two rules about a dial that is too high; only one tells somebody.
fn high(folder: &Path) -> String {
    let dial = Dial::new(folder, "dial", "50");
    format!(
        "{}[rule.high]\nmetric = 'exec_value'\nabove = 10\nactions = ['note']\n\
         severity = 'critical'\nsummary = '{{{{ labels.target }}}} is high'\n\
         [rule.higher]\nmetric = 'exec_value'\nabove = 40\n\
         [rule.soon]\nmetric = 'exec_value'\nabove = 10\nfor = '1h'\n\
         [action.note]\nlog = {{}}\n",
        dial.table("dial")
    )
}

#[tokio::test]
async fn amtool_lists_what_fires() {
    let folder = TempDir::new().unwrap();
    let daemon = Daemon::start(&format!("token = 's3cret'\n{}", high(folder.path()))).await;
    daemon
        .until("both fire", async || {
            let page = daemon.get_with("/api/v1/alerts", Some("s3cret")).await;
            page.matches("\"state\":\"firing\"").count() == 2
        })
        .await;
    let access = "authorization:\n  type: Bearer\n  credentials: s3cret\n";
    let access = text(&file(folder.path(), "http.yml", access));
    let url = format!("http://{}", daemon.address);
    let amtool = |args: &[&str]| {
        let base = ["--alertmanager.url", &url, "--http.config.file", &access];
        tool("amtool", &[&base[..], args].concat())
    };
    let Some(all) = amtool(&["alert", "query", "-o", "json"]) else { return };
    let all: Json = serde_json::from_str(&all).unwrap();
    let mut names: Vec<_> =
        all.as_array().unwrap().iter().map(|alert| alert["labels"]["alertname"].clone()).collect();
    names.sort_by_key(ToString::to_string);
    assert_eq!(names, ["high", "higher"]);
    for (filter, summary) in [
        (&["alertname=high"][..], Some("dial is high")),
        (&["severity=~\"crit.*\"", "target=dial"], Some("dial is high")),
        (&["severity!~\"crit.*|warn.*|info\""], None),
        (&["--receiver=note"], Some("dial is high")),
    ] {
        let found = amtool(&[&["alert", "query", "-o", "json"], filter].concat()).unwrap();
        let found: Json = serde_json::from_str(&found).unwrap();
        let shown = found[0]["annotations"]["summary"].as_str();
        assert_eq!(shown, summary, "{filter:?} {found}");
    }
    assert!(amtool(&["alert", "query"]).unwrap().contains("high"));
    assert_eq!(amtool(&["silence", "query", "-q"]).unwrap().trim(), "");
    assert!(amtool(&["cluster", "show"]).unwrap().contains("disabled"));
    let groups = daemon.get_with("/api/v2/alerts/groups", Some("s3cret")).await;
    let groups: Json = serde_json::from_str(&groups).unwrap();
    assert_eq!(
        (&groups[0]["labels"]["alertname"], &groups[0]["receiver"]["name"]),
        (&"high".into(), &"note".into())
    );
    let receivers = daemon.get_with("/api/v2/receivers", Some("s3cret")).await;
    assert_eq!(receivers, r#"[{"name":"note"},{"name":"none"}]"#);
    daemon.stop().await;
}

#[tokio::test]
async fn who_comes_to_the_live_stream_may_ask_what_fires_already() {
    let folder = TempDir::new().unwrap();
    let daemon = Daemon::start(&high(folder.path())).await;
    daemon
        .until("both fire", async || {
            daemon.states().await.iter().filter(|one| one.ends_with(" firing")).count() == 2
        })
        .await;
    let mut events = daemon.events_by("/api/events?firing").await;
    events.until_heard("event: current").await;
    events.until_heard(r#"data: {"firing":2}"#).await;
    let place = |word: &str| events.heard.find(word).unwrap_or_else(|| panic!("{}", events.heard));
    // The worst first; what is pending does not fire.
    assert!(place(r#""rule":"high""#) < place(r#""rule":"higher""#));
    assert!(!events.heard.contains(r#""rule":"soon""#), "{}", events.heard);
    assert!(events.heard.contains("\nid: "), "{}", events.heard);
    daemon.stop().await;
}

/// A daemon with two known series of a minute's samples, the newest now, and the time.
async fn filled(config: &str) -> (Daemon, i64) {
    let daemon = Daemon::start(config).await;
    let now = Clock::system().now().as_nanos() / 10_000_000_000 * 10;
    let line = |ago: i64| {
        let time = (now - ago) * 1_000_000_000;
        format!("climate,room=hall celsius={ago} {time}\nclimate,room=attic celsius=40 {time}\n")
    };
    let lines: String = (0..=60).rev().step_by(10).map(line).collect();
    let (status, body) = daemon.post("/api/v2/write?bucket=home", &[], lines).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{body}");
    (daemon, now)
}

const SERIES: &str = r#"{kind="push", room="hall", target="home"}"#;

#[tokio::test]
async fn promtool_asks_in_every_way_it_knows() {
    let (daemon, now) = filled("").await;
    let url = format!("http://{}", daemon.address);
    let at = format!("--time={now}");
    let Some(said) =
        tool("promtool", &["query", "instant", &at, &url, "climate_celsius{room='hall'}"])
    else {
        return;
    };
    assert_eq!(said, format!("climate_celsius{SERIES} => 0 @[{now}]\n"));
    let said =
        tool("promtool", &["query", "instant", &at, &url, "max(climate_celsius) + 2"]).unwrap();
    assert_eq!(said, format!("{{}} => 42 @[{now}]\n"));
    let (start, end) = (format!("--start={}", now - 40), format!("--end={now}"));
    let range =
        ["query", "range", &start, &end, "--step=20s", &url, "climate_celsius{room='hall'}"];
    let said = tool("promtool", &range).unwrap();
    let values = [(40, now - 40), (20, now - 20), (0, now)].map(|(v, t)| format!("{v} @[{t}]"));
    assert_eq!(said, format!("climate_celsius{SERIES} =>\n{}\n", values.join("\n")));
    let said = tool("promtool", &["query", "series", "--match=climate_celsius", &url]).unwrap();
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(said.contains(r#"__name__="climate_celsius""#) && said.contains(r#"room="attic""#));
    let said = tool("promtool", &["query", "labels", &url, "room"]).unwrap();
    assert_eq!(said, "attic\nhall\n");
    let wrong = Command::new("promtool").args(["query", "instant", &url, "sum("]).output().unwrap();
    assert!(stderr(&wrong).contains("parse error"), "{}", stderr(&wrong));
    daemon.stop().await;
}

#[tokio::test]
async fn watchpost_query_prints_what_the_daemon_and_without_it_the_store_has() {
    let (mut daemon, now) = filled("").await;
    let shown = |daemon: &Daemon, args: &[&str]| {
        let path = daemon.config_path();
        let mut command = Command::new(super::WATCHPOST);
        command.arg("query").args(args).arg("--config").arg(path);
        // The port is not in the configuration, which says 0.
        if daemon.is_running() {
            command.arg("--url").arg(format!("http://{}", daemon.address));
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
        stdout(&output)
    };
    let (at, from, to) = (now.to_string(), (now - 60).to_string(), now.to_string());
    let instant = ["climate_celsius", "--at", &at];
    let range = ["climate_celsius", "--from", &from, "--to", &to, "--step", "10s"];
    let all = |daemon: &Daemon| {
        [
            shown(daemon, &instant),
            shown(daemon, &[&instant[..], &["--csv"]].concat()),
            shown(daemon, &[&range[..], &["--table"]].concat()),
            shown(daemon, &[&range[..], &["--csv"]].concat()),
            shown(daemon, &[&range[..], &["--json"]].concat()),
            shown(daemon, &[&range[..], &["--chart"]].concat()),
        ]
    };
    let asked = all(&daemon);
    let lines: Vec<_> = asked[0].lines().collect();
    assert_eq!(lines.len(), 2, "{}", asked[0]);
    assert!(lines.iter().any(|line| line.contains("hall") && line.ends_with("  0")), "{lines:?}");
    assert!(asked[1].starts_with("time,value,__name__,kind,room,target\n"), "{}", asked[1]);
    assert_eq!(asked[3].lines().count(), 1 + 2 * 7, "{}", asked[3]);
    let json: Json = serde_json::from_str(&asked[4]).unwrap();
    assert_eq!(json["data"]["result"][1]["values"][0][1], "60", "{json}");
    assert!(asked[5].contains("°C") && asked[5].contains("60 °C"), "{}", asked[5]);
    eprintln!("{}", asked[5]);
    daemon.signal(Signal::SIGTERM);
    daemon.exit().await;
    for (with, without) in asked.iter().zip(all(&daemon)) {
        assert_eq!(*with, without, "without the daemon it is the same");
    }
}
