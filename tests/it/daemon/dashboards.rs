//! The dashboards of packaging/grafana: what Grafana must be able to read, and what their panels
//! ask, asked of a daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use hyper::StatusCode;
use serde_json::Value as Json;
use url::form_urlencoded::byte_serialize;

use super::{Daemon, stderr};
use crate::support::free_port;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/grafana")
}

fn dashboards() -> Vec<Json> {
    let files = std::fs::read_dir(folder().join("dashboards")).unwrap();
    let read = |path: PathBuf| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let all: Vec<Json> = files.map(|file| read(file.unwrap().path())).collect();
    assert_eq!(all.len(), 6);
    all
}

fn list(json: &Json) -> &[Json] {
    json.as_array().map_or(&[], Vec::as_slice)
}

fn text(json: &Json) -> &str {
    json.as_str().unwrap_or_else(|| panic!("{json} is no text"))
}

#[test]
fn dashboards_are_what_their_source_makes() {
    match Command::new(folder().join("generate")).arg("--check").output() {
        Err(error) => eprintln!("skipped: cannot start packaging/grafana/generate: {error}"),
        Ok(output) => assert!(output.status.success(), "{}", stderr(&output)),
    }
}

/// Checks every dashboard against the types Grafana publishes for them, without its enums: a file
/// has their words.
const CHECK: &str = "import type { Dashboard } from '@grafana/schema';\n\
    type Json<T> = T extends string ? `${T}`\n\
      : T extends object ? { [K in keyof T]: Json<T[K]> } : T;\n";

#[test]
fn dashboards_are_of_the_type_grafana_publishes() {
    let folder = tempfile::tempdir().unwrap();
    let run = |program: &Path, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(folder.path()).output();
        output.map_err(|error| format!("cannot start {}: {error}", program.display()))
    };
    let packages = ["@grafana/schema@13.2.3", "typescript@7.0.2"];
    let install = ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", "."];
    match run(Path::new("npm"), &[&install[..], &packages].concat()) {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            eprintln!("skipped: npm cannot install {packages:?}: {}", stderr(&output));
            return;
        }
        Err(error) => {
            eprintln!("skipped: {error}");
            return;
        }
    }
    let check = |name: &str, dashboards: &[Json]| {
        let consts = (0..).zip(dashboards).map(|(number, dashboard): (usize, _)| {
            format!("export const d{number}: Json<Dashboard> = {dashboard:#};\n")
        });
        let file = format!("{name}.ts");
        std::fs::write(folder.path().join(&file), CHECK.to_owned() + &consts.collect::<String>())
            .unwrap();
        let options = "--noEmit --strict --skipLibCheck --target es2022 --module esnext \
            --moduleResolution bundler";
        let arguments: Vec<_> = options.split_whitespace().chain([&*file]).collect();
        let output = run(&folder.path().join("node_modules/.bin/tsc"), &arguments).unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let mut all = dashboards();
    let (is_right, said) = check("right", &all);
    assert!(is_right, "{said}");
    all[0]["panels"][0]["typo"] = Json::Null;
    let (is_right, said) = check("wrong", &all);
    assert!(!is_right && said.contains("typo"), "{said}");
}

/// The fields and words of Grafana's schema that a file without would not load by, or load as
/// something else.
#[test]
fn dashboards_have_the_form_grafana_reads() {
    let kinds = ["timeseries", "stat", "state-timeline", "status-history", "table", "alertlist"];
    let mut uids = BTreeSet::new();
    for dashboard in dashboards() {
        let title = text(&dashboard["title"]);
        assert!(title.starts_with("watchpost: "));
        assert!(uids.insert(text(&dashboard["uid"]).to_owned()), "{title}: uid twice");
        assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 36, "{title}");
        let variables = list(&dashboard["templating"]["list"]);
        assert_eq!(
            (&variables[0]["type"], &variables[0]["name"]),
            (&"datasource".into(), &"source".into())
        );
        let mut ids = BTreeSet::new();
        let mut taken = BTreeSet::new();
        for panel in list(&dashboard["panels"]) {
            let name = format!("{title}: {}", text(&panel["title"]));
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{name}: id twice");
            assert!(kinds.contains(&text(&panel["type"])), "{name}");
            assert_eq!(panel["datasource"]["uid"], "${source}", "{name}");
            let side = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            assert!(side("w") > 0 && side("x") + side("w") <= 24 && side("h") >= 3, "{name}");
            for x in side("x")..side("x") + side("w") {
                for y in side("y")..side("y") + side("h") {
                    assert!(taken.insert((x, y)), "{name} lies on another panel");
                }
            }
            let steps = list(&panel["fieldConfig"]["defaults"]["thresholds"]["steps"]);
            assert!(steps[0]["value"].is_null(), "{name}: the first threshold is the base");
            let values: Vec<_> = steps[1..].iter().map(|s| s["value"].as_f64().unwrap()).collect();
            assert!(values.is_sorted(), "{name}");
            let targets = list(&panel["targets"]);
            assert_eq!(targets.is_empty(), panel["type"] == "alertlist", "{name}");
            let refs: BTreeSet<_> = targets.iter().map(|target| text(&target["refId"])).collect();
            assert_eq!(refs.len(), targets.len(), "{name}: refId twice");
        }
        assert!(!ids.is_empty());
    }
}

#[test]
fn the_provisioning_names_what_the_daemon_serves() {
    let sources = folder().join("provisioning/datasources/watchpost.yaml");
    let sources = std::fs::read_to_string(sources).unwrap();
    for line in ["type: prometheus", "type: alertmanager", "type: influxdb", "uid: watchpost"] {
        assert!(sources.lines().any(|found| found.trim().ends_with(line)), "{line}");
    }
    assert!(sources.contains("url: http://127.0.0.1:9465"));
}

/// What Grafana makes of an expression before it asks.
fn filled(expression: &str) -> String {
    let plain = expression.replace("$__rate_interval", "1m").replace("$__range", "1h");
    let plain = plain.replace("$target", ".*").replace("$interface", ".*");
    assert!(!plain.contains('$'), "{plain}");
    plain
}

/// Lines of what the dashboards look at and this machine does not have, over the last minutes.
fn lines(now: i64) -> String {
    let mut lines = String::new();
    for ago in (0..24).rev() {
        let time = (now - ago * 10) * 1_000_000_000;
        let mut line = |row: &str, fields: &str| lines += &format!("{row} {fields} {time}\n");
        let count = 1_000 - ago;
        line(
            "icmp,target=gw,kind=icmp",
            "rtt_seconds=0.01,rtt_min_seconds=0.009,rtt_max_seconds=0.02,jitter_seconds=0.001,\
             loss_ratio=0.1",
        );
        line("dns,target=ns,kind=dns", "query_seconds=0.02");
        line("http,target=web,kind=http,phase=tls", "phase_seconds=0.05");
        line("tls,target=web,kind=http", "expiry_seconds=864000");
        line(
            "interface,target=sw,kind=snmp,ifName=eth0,ifAlias=uplink",
            &format!(
                "ifHCInOctets={count},ifHCOutOctets={count},ifInErrors={count},\
                 ifOutErrors={count},ifInDiscards={count},ifOperStatus=1"
            ),
        );
        line("climate,target=hall", "temperature_celsius=21,humidity_ratio=0.4,supply_volts=3.3");
        line("target,target=old,kind=tcp,reason=timeout", &format!("failures_total={count}"));
    }
    lines
}

#[tokio::test]
async fn what_every_panel_asks_is_answered_with_data() {
    let daemon = Daemon::start(&format!(
        "[defaults]\ninterval = '500ms'\ntimeout = '400ms'\n[host.this]\n\
         [tcp.open]\naddress = '127.0.0.1:{}'\n[tcp.closed]\naddress = '127.0.0.1:{}'\n\
         [rule.down]\nmetric = 'target_up'\nequals = 0\n",
        // Whatever listens; where nobody does, refusal comes as fast.
        free_port(),
        free_port()
    ))
    .await;
    let here = format!("[tcp.open]\naddress = '{}'\n[tcp.closed]", daemon.address);
    let config = std::fs::read_to_string(daemon.config_path()).unwrap();
    let start = config.find("[tcp.open]").unwrap();
    let end = config.find("[tcp.closed]").unwrap() + "[tcp.closed]".len();
    let head = config.find("[defaults]").unwrap();
    let config = format!("{}{here}{}", &config[head..start], &config[end..]);
    daemon.reload(&config, "ok").await;
    let now = daemon.data("query?query=time()").await["result"][1].as_str().unwrap().to_owned();
    let now = now.parse::<f64>().unwrap() as i64;
    let (status, body) = daemon.post("/api/v2/write?bucket=test", &[], lines(now)).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{body}");
    let mut missing: BTreeMap<String, String> = BTreeMap::new();
    for dashboard in dashboards() {
        for panel in list(&dashboard["panels"]) {
            for target in list(&panel["targets"]) {
                let name = format!("{}: {}", text(&dashboard["title"]), text(&panel["title"]));
                missing.insert(filled(text(&target["expr"])), name);
            }
        }
        for variable in list(&dashboard["templating"]["list"]) {
            if variable["type"] == "query" {
                let query = text(&variable["query"]["query"]);
                let inner = query.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap();
                let (selector, label) = inner.rsplit_once(", ").unwrap();
                let name = format!("{}: ${}", text(&dashboard["title"]), text(&variable["name"]));
                missing.insert(format!("group by ({label}) ({})", filled(selector)), name);
            }
        }
    }
    assert!(missing.len() > 40, "{missing:?}");
    daemon
        .until(&format!("all of {} expressions have data", missing.len()), async || {
            let mut left = BTreeMap::new();
            for (expression, name) in &missing {
                let encoded: String = byte_serialize(expression.as_bytes()).collect();
                let data = daemon.data(&format!("query?query={encoded}")).await;
                if list(&data["result"]).is_empty() {
                    left.insert(expression.clone(), name.clone());
                }
            }
            missing = left;
            if !missing.is_empty() {
                eprintln!("no data yet: {missing:#?}");
            }
            missing.is_empty()
        })
        .await;
    daemon.stop().await;
}
