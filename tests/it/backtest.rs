//! `watchpost backtest` as it is typed: over files and InfluxDB.

use std::path::Path;
use std::process::{Command, Output};

use hyper::Method;
use serde_json::Value as Json;
use tempfile::TempDir;
use url::Url;
use watchpost::http_client::{HttpClient, Options, Request};

use crate::influxdb::{ANSWERS, ask_until, influxd};
use crate::support::{file, free_port, text, until_listening};

/// 2026-01-01.
const START: i64 = 1_767_225_600;

const RULES: &str = "[rule.gateway-down]\nwhen = 'target_up == 0'\nfor = '5s'\n\
    severity = 'critical'\nactions = ['ops']\n\
    [rule.rack-hot]\nmetric = 'serial_temperature_celsius'\nabove = 35\nclear_below = 32\n\
    for = '30s'\nactions = ['fan', 'ops']\n";

/// A rack that is hot twice, for a minute and for two, and a gateway that is down at the end.
fn history() -> Vec<(i64, &'static str, &'static str, f64)> {
    let hot = |second: i64| (100..160).contains(&second) || (300..420).contains(&second);
    let all = (0..600).step_by(10).map(|second| {
        let degrees = if hot(second) { 36.0 } else { 30.0 };
        let up = if second >= 550 { 0.0 } else { 1.0 };
        [
            (START + second, "serial_temperature_celsius", "rack-1", degrees),
            (START + second, "target_up", "gateway", up),
        ]
    });
    all.flatten().collect()
}

fn csv() -> String {
    let mut text = "time,metric,target,kind,value\n".to_owned();
    for (time, metric, target, value) in history() {
        text += &format!("{time},{metric},{target},k,{value}\n");
    }
    text
}

fn lines() -> String {
    let line = |(time, metric, target, value): (i64, &str, &str, f64)| {
        let (measurement, field) = metric.split_once('_').unwrap();
        format!("{measurement},target={target},kind=k {field}={value} {time}000000000\n")
    };
    history().into_iter().map(line).collect()
}

struct Typed {
    code: i32,
    out: String,
    error: String,
}

/// Types a command in a folder with the rules.
fn backtest(folder: &Path, args: &[&str]) -> Typed {
    let mut command = Command::new(env!("CARGO_BIN_EXE_watchpost"));
    let output: Output =
        command.current_dir(folder).arg("backtest").args(args).output().expect("the binary");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap_or(-1);
    Typed { code, out: text(output.stdout), error: text(output.stderr) }
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    file(folder.path(), "rules.toml", RULES);
    file(folder.path(), "h.csv", &csv());
    file(folder.path(), "h.lp", &lines());
    folder
}

#[test]
fn alerts_are_listed_with_their_times_values_reasons_and_actions() {
    let folder = folder();
    let typed = backtest(folder.path(), &["rules.toml", "--csv", "h.csv"]);
    assert_eq!((typed.code, typed.error.as_str()), (0, ""));
    for part in [
        "rack-hot {kind=\"k\",target=\"rack-1\"}  warning, 2026-01-01T00:02:10Z at 36, for 30s\n  \
         2026-01-01T00:01:40Z  pending   36 > 35\n  \
         2026-01-01T00:02:10Z  firing    held for 30s at 36 (> 35)  → fan, ops\n  \
         2026-01-01T00:02:40Z  inactive  cleared at 30 (< 32)  → fan, ops\n",
        "gateway-down {kind=\"k\",target=\"gateway\"}  critical, 2026-01-01T00:09:15Z at 0, for 35s, \
         still firing\n",
        "120 samples of 2 series in 120 polls, 2026-01-01T00:00:00Z to 2026-01-01T00:09:50Z",
    ] {
        assert!(typed.out.contains(part), "{part}\nis not in\n{}", typed.out);
    }
    let row = typed.out.lines().find(|line| line.starts_with("rack-hot  "));
    let cells: Vec<&str> = row.unwrap_or_default().split_whitespace().collect();
    assert_eq!(cells, ["rack-hot", "1", "2", "0", "2m", "1m30s", "0", "0", "8"], "{}", typed.out);
    assert!(!typed.out.contains('\u{1b}'), "no colours but on a terminal");
    let lines = backtest(folder.path(), &["rules.toml", "--lines", "h.lp"]);
    let without_speed = |text: &str| text.split(", judged in").next().map(str::to_owned);
    assert_eq!(without_speed(&lines.out), without_speed(&typed.out));
}

#[test]
fn an_expectation_decides_the_exit_code_and_says_what_was_seen() {
    let folder = folder();
    let on = ["rules.toml", "--csv", "h.csv", "--expect"];
    for (expected, code, error) in [
        ("fired=3", 0, ""),
        ("rack-hot>=2", 0, ""),
        ("none", 1, "watchpost: expected none, saw 3 alerts (gateway-down 1, rack-hot 2)\n"),
        ("gateway-down=0", 1, "watchpost: expected gateway-down=0, saw 1 alert\n"),
        ("rack-cold=0", 2, "watchpost: `--expect rack-cold=0`: there is no rule `rack-cold`;"),
    ] {
        let typed = backtest(folder.path(), &[&on[..], &[expected]].concat());
        assert_eq!(typed.code, code, "{expected}: {}", typed.error);
        assert!(typed.error.starts_with(error) && typed.error.is_empty() == error.is_empty());
    }
    let nothing = [&on[..], &["none", "--from", "2030-01-01T00:00:00Z"]].concat();
    let typed = backtest(folder.path(), &nothing);
    assert_eq!(typed.code, 1, "where nothing is judged nothing is as expected: {}", typed.error);
    let json = backtest(folder.path(), &[&on[..], &["fired=3", "--json"]].concat());
    let json: Json = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["expected"][0]["met"], true);
    let alert = &json["runs"][0]["alerts"][0];
    assert_eq!(
        (&alert["rule"], &alert["value"], &alert["firing_seconds"], &alert["labels"]["target"]),
        (&"rack-hot".into(), &36.0.into(), &30.0.into(), &"rack-1".into())
    );
    assert_eq!(alert["steps"][1]["actions"], serde_json::json!(["fan", "ops"]));
    assert_eq!(json["runs"][0]["rules"]["gateway-down"]["still_firing"], 1);
    assert_eq!((&json["samples"], &json["series"]), (&120.into(), &2.into()));
}

#[test]
fn a_sweep_tries_all_combinations_and_mistakes_are_shown_where_they_are_set() {
    let folder = folder();
    let on = ["rules.toml", "--csv", "h.csv", "--rule", "rack-hot", "--set"];
    let typed = backtest(folder.path(), &[&on[..], &["for=30s,100s,5m"]].concat());
    let rows: Vec<Vec<&str>> =
        typed.out.lines().take(4).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..5], ["for", "alerts", "still", "firing", "longest"], "{}", typed.out);
    assert_eq!(rows[1][..5], ["30s", "2", "0", "2m", "1m30s"]);
    assert_eq!(rows[2][..5], ["100s", "1", "0", "20s", "20s"]);
    assert_eq!(rows[3][..3], ["5m", "0", "0"]);
    for (set, code, error) in [
        ("above=31", 78, "rules.toml:9:15: must not be above the threshold, 31\n"),
        ("clear_below=40", 78, "--set:1:15: must not be above the threshold, 35\n"),
        ("abov=31", 78, "--set:1:1: unknown key `abov` in [rule.rack-hot]; did you mean `above`?"),
        ("above", 2, "watchpost: `--set above` is not such as above=80"),
    ] {
        let typed = backtest(folder.path(), &[&on[..], &[set]].concat());
        assert_eq!(typed.code, code, "{set}");
        assert!(typed.error.starts_with(error), "{set}: {}", typed.error);
    }
    let both = backtest(folder.path(), &[&on[..], &["above=40,50", "--expect", "none"]].concat());
    assert_eq!(both.code, 2, "{}", both.error);
}

#[test]
fn mistakes_in_rules_and_arguments_have_the_exit_codes_of_other_commands() {
    let folder = folder();
    file(folder.path(), "bad.toml", "[rule.r]\nmetric = 'a_b'\nabove = 'x'\n");
    file(folder.path(), "blind.toml", "[rule.fan]\nmetric = 'fan_state'\nequals = 0\n");
    for (args, code, part) in [
        ("bad.toml --csv h.csv", 78, "bad.toml:3:9: expected a number"),
        ("bad.toml --csv h.csv", 78, " 3 | above = 'x'\n   |         ^^^\n"),
        ("none.toml --csv h.csv", 78, "cannot read none.toml"),
        ("rules.toml --csv none.csv", 1, "cannot read none.csv: No such file"),
        ("rules.toml --csv rules.toml", 1, "rules.toml:1: the header has no column"),
        ("rules.toml --csv h.csv --rule rack", 2, "there is no rule `rack`"),
        ("rules.toml --csv h.csv --from soon", 2, "`soon` is not a time"),
        ("rules.toml --csv h.csv --lines h.lp", 2, "cannot be used with"),
        ("rules.toml --influxdb http://127.0.0.1:1", 2, "--database"),
    ] {
        let words: Vec<&str> = args.split(' ').collect();
        let typed = backtest(folder.path(), &words);
        assert_eq!(typed.code, code, "{args}: {}", typed.error);
        assert!(typed.error.contains(part), "{args}: {}", typed.error);
    }
    let typed = backtest(folder.path(), &["blind.toml", "rules.toml", "--csv", "h.csv"]);
    let note = "rule fan matched no series: that it is silent says nothing\n";
    assert!(typed.out.contains(note), "{}", typed.out);
}

#[tokio::test]
async fn influxdb_gives_what_was_written_to_it() {
    let folder = folder();
    let port = free_port();
    let data = tempfile::tempdir().unwrap();
    let Some(_server) = influxd(data.path(), port) else { return };
    until_listening(port).await;
    let base = format!("http://127.0.0.1:{port}");
    let query = [("q", "CREATE DATABASE w")];
    ask_until(Method::POST, &format!("{base}/query"), &query, ANSWERS).await;
    let url = Url::parse_with_params(&format!("{base}/write"), [("db", "w")]).unwrap();
    let mut request = Request::new(Method::POST, url);
    request.body =
        (lines() + "weather,target=x text=\"fine\",wind=3i 1767225600000000000\n").into();
    let written = HttpClient::new(Options::default()).send(request).await.unwrap();
    assert_eq!(written.status.as_u16(), 204, "{}", written.words());
    let span = ["--from", "2025-12-30T00:00:00Z", "--to", "2026-01-01T00:09:50Z"];
    let config = format!("[influxdb.main]\nurl = '{base}'\napi = 'v1'\ndatabase = 'w'\n");
    let config = text(&file(folder.path(), "config.toml", &config));
    let from_file = backtest(folder.path(), &["rules.toml", "--csv", "h.csv"]);
    let expected = from_file.out.split(", judged in").next().unwrap();
    for source in [
        &["--influxdb", &base, "--database", "w"][..],
        &["--config", &config, "--influxdb", "main"],
    ] {
        let args = [&["rules.toml"][..], source, &span[..]].concat();
        let typed = backtest(folder.path(), &args);
        assert_eq!((typed.code, typed.error.as_str()), (0, ""), "{source:?}");
        assert_eq!(typed.out.split(", judged in").next(), Some(expected), "{source:?}");
    }
    let wrong = ["rules.toml", "--influxdb", &base, "--database", "nope"];
    let typed = backtest(folder.path(), &wrong);
    assert_eq!(typed.code, 1);
    assert!(typed.error.contains("database not found: nope"), "{}", typed.error);
}
