//! Why a rule fires or does not, asked of a running daemon: now, at a time before, and after a
//! restart that forgot what happened.

use hyper::StatusCode;
use nix::sys::signal::Signal;
use serde_json::Value as Json;
use tempfile::TempDir;
use watchpost::sample::Clock;

use super::{Daemon, stderr, stdout};

const RULES: &str = r#"
[rule.hot]
metric = "climate_celsius"
above = 80
clear_below = 75
for = "10m"

[rule.load]
when = 'avg_over_time(climate_celsius[1m]) / on (room) climate_limit > 0.9'

[rule.often]
metric = "climate_celsius"
match = { room = "attic" }
above = 80
at_least = "3 of 5"
"#;

/// Ten minutes of three rooms, a sample every ten seconds: the hall was at 79.2 seven minutes ago
/// and is at 71 else, the attic was at 85 for two samples, the cellar is hot since 100 s ago.
async fn filled() -> (Daemon, i64) {
    let daemon = Daemon::start(RULES).await;
    let now = Clock::system().now().as_nanos() / 10_000_000_000 * 10;
    let lines = (0..=600).rev().step_by(10).map(|ago: i64| {
        let time = (now - ago) * 1_000_000_000;
        let hall = if ago == 420 { 79.2 } else { 71.0 };
        let attic = if ago == 200 || ago == 190 { 85 } else { 60 };
        let cellar = if ago <= 100 { 85 } else { 60 };
        format!(
            "climate,room=hall celsius={hall},limit=100 {time}\n\
             climate,room=attic celsius={attic} {time}\nclimate,room=cellar celsius={cellar} {time}\n"
        )
    });
    let (status, body) =
        daemon.post("/api/v2/write?bucket=home", &[], lines.collect::<String>()).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{body}");
    (daemon, now)
}

impl Daemon {
    /// What `watchpost explain` prints.
    fn explain(&self, args: &[&str]) -> String {
        let url = format!("http://{}", self.address);
        let output = self.command(&[&["explain", "--url", &url], args].concat());
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        let shown = stdout(&output);
        // For who reads the test's output: this is what people see.
        eprintln!("$ watchpost explain {}\n{shown}", args.join(" "));
        shown
    }
}

/// Every one of these is in the text.
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

#[tokio::test]
async fn explain_says_why_live_and_of_a_time_before() {
    let (daemon, now) = filled().await;
    let hall = daemon.explain(&["hot", "room=hall"]);
    says(
        &hall,
        &[
            "inactive {kind=\"push\", room=\"hall\", target=\"home\"}",
            "did not fire because 71 is not > 80; in the hour before the nearest was 79.2, 7m",
            "> 80 does not hold; ends at < 75, which holds",
            "  climate_celsius > 80",
            "    climate_celsius     71",
            "    80                  80",
        ],
    );
    let live = daemon.explain(&["load"]);
    says(
        &live,
        &[
            "did not fire because 0.71 is not > 0.9",
            "avg_over_time(climate_celsius[1m]) / on (room) climate_limit",
            "6 samples, the last 71",
            "climate_limit",
            "  100  ",
        ],
    );
    let often = daemon.explain(&["often"]);
    says(&often, &["2 of the last 5 samples were > 80, and 3 are needed (near miss)"]);

    let before = |ago: i64| (now - ago).to_string();
    let then = daemon.explain(&["often", "--at", &before(190)]);
    says(&then, &["2 of the last 5 samples were > 80, and 3 are needed; the last is 85"]);
    let pending = daemon.explain(&["hot", "room=cellar", "--at", &before(50)]);
    says(
        &pending,
        &["did not fire yet: pending for 50s of 10m because 85 > 80", "it fires at", "0.0s before"],
    );
    let early = daemon.explain(&["hot", "room=cellar", "--at", &before(150)]);
    says(&early, &["did not fire because 60 is not > 80"]);
    // One that nothing was kept of, and times that make no sense.
    let none = daemon.explain(&["hot", "--at", &before(7_200)]);
    says(&none, &["there is no data: climate_celsius has no sample in the hour before"]);
    let url = format!("http://{}", daemon.address);
    for wrong in [&["hot", "--at", "4000000000"][..], &["hot", "--at", "noon"], &["cold"]] {
        let output = daemon.command(&[&["explain", "--url", &url], wrong].concat());
        assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    }
    daemon.stop().await;
}

#[tokio::test]
async fn after_a_restart_the_past_is_judged_again_from_the_store() {
    let (mut daemon, now) = filled().await;
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.exit().await.0, 0);
    let folder = std::mem::replace(&mut daemon.folder, TempDir::new().unwrap());
    let again = Daemon::start_in(folder).await;
    let at = (now - 50).to_string();
    let json = again.explain(&["hot", "--json", "--at", &at]);
    let answer: Json = serde_json::from_str(&json).unwrap();
    let state = |room: &str| {
        let alerts = answer["alerts"].as_array().unwrap().iter();
        let found = alerts.clone().find(|one| one["labels"]["room"] == room);
        found.unwrap_or_else(|| panic!("no {room} in {answer:#}")).clone()
    };
    assert_eq!(state("cellar")["state"], "pending");
    assert!(state("cellar")["outcome"].as_str().unwrap().contains("pending for 50s of 10m"));
    assert_eq!(state("hall")["state"], "inactive");
    assert_eq!(state("hall")["seen"]["value"], 71.0);
    assert_eq!(state("hall")["nearest"]["value"], 79.2);
    let parts = &answer["expressions"][0]["parts"];
    assert_eq!(parts[0]["expr"], "climate_celsius");
    assert_eq!(parts[0]["values"].as_array().unwrap().len(), 3);
    assert_eq!((&parts[1]["expr"], &parts[1]["values"][0]["value"]), (&"80".into(), &80.0.into()));
    assert_eq!(answer["expressions"][1]["what"], "clear");
    again.stop().await;
}
