//! The daemon through the eyes of clients written for Prometheus and Alertmanager.

use std::path::Path;
use std::process::Command;

use serde_json::Value as Json;
use tempfile::TempDir;

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
