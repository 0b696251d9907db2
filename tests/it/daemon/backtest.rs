//! A backtest over what a daemon keeps, beside it: what happened live happens again.

use std::process::Command;

use hyper::StatusCode;
use serde_json::Value as Json;
use watchpost::sample::Clock;

use super::{Daemon, WATCHPOST};

/// Rules that go by samples alone: what is pushed late is judged at its own time, but timers run by
/// the clock.
const RULES: &str = "[rule.hot]\nmetric = 'climate_temperature_celsius'\nabove = 30\n\
    clear_below = 28\n\
    [rule.often]\nmetric = 'climate_temperature_celsius'\nabove = 30\nat_least = '2 of 3'\n\
    [rule.levels]\nmetric = 'climate_temperature_celsius'\nwarning = { above = 28 }\n\
    critical = { above = 32 }\n";

/// A sample a second, up to now.
const DEGREES: [f64; 12] = [20.0, 21.0, 31.0, 32.0, 33.0, 31.0, 29.0, 27.0, 31.0, 27.5, 31.0, 31.5];

#[tokio::test]
async fn over_store_and_journal_the_same_happens_as_did_live() {
    let daemon = Daemon::start(RULES).await;
    let now = Clock::system().now().as_nanos() / 1_000_000;
    for (second, value) in DEGREES.iter().enumerate() {
        let time = now - 12_000 + second as i64 * 1_000;
        let line = format!("climate,target=hall temperature_celsius={value} {time}\n");
        let (status, body) = daemon.post("/write?db=home&precision=ms", &[], line).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{body}");
    }
    let mut live = Vec::new();
    for rule in ["hot", "often", "levels"] {
        let answer = daemon.get(&format!("/api/watchpost/explain?rule={rule}")).await;
        let answer: Json = serde_json::from_str(&answer).unwrap();
        let happened = answer["journal"].as_array().unwrap().iter();
        let one = |one: &Json| {
            let words = ["at", "to", "reason"].map(|key| one[key].as_str().unwrap().to_owned());
            (words[0].clone(), rule.to_owned(), words[1].clone(), words[2].clone())
        };
        live.extend(
            happened.filter(|one| one["from"] != "pending" || one["to"] == "firing").map(one),
        );
    }
    live.sort();
    let mut command = Command::new(WATCHPOST);
    command.args(["backtest", "--json", "--from", "-5m", "--config"]).arg(daemon.config_path());
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), errors.as_str()), (Some(0), ""));
    let json: Json = serde_json::from_slice(&output.stdout).unwrap();
    let mut again = Vec::new();
    for alert in json["runs"][0]["alerts"].as_array().unwrap() {
        for step in alert["steps"].as_array().unwrap() {
            let words = ["at", "to", "reason"].map(|key| step[key].as_str().unwrap().to_owned());
            let [at, to, reason] = words;
            again.push((at, alert["rule"].as_str().unwrap().to_owned(), to, reason));
        }
    }
    again.sort();
    // What never fired is not listed.
    live.retain(|(_, _, to, _)| to != "pending");
    again.retain(|(_, _, to, _)| to != "pending");
    let fired =
        |rule: &str| again.iter().filter(|(_, of, to, _)| of == rule && to == "firing").count();
    assert_eq!((fired("hot"), fired("often")), (3, 2), "{again:?}");
    assert_eq!(again, live);
    daemon.stop().await;
}
