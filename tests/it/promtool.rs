//! Rules judged as samples arrive against `promtool test rules`, which evaluates them at every step:
//! at each step the same alerts must fire, with the same labels.
//!
//! Each rule and its series are written once and given to both. What our engine says is what promtool
//! is told to expect, so a disagreement either way fails. Left out is what differs by design: data
//! that goes missing (here unknown, there resolved), severities and hysteresis, which promtool has not.
//! Windows begin between samples: Prometheus 2 counts a sample at the very start, 3 and we do not. So
//! they change between evaluations, which only we notice: their `for` is a multiple of the interval.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value as Json, json};
use watchpost::config::show_duration;
use watchpost::rules::testing;

use super::support::file;

/// From one sample to the next, and from one evaluation to the next.
const INTERVAL_SECONDS: usize = 10;

/// How long what is judged lasts.
const STEPS: usize = 21;

/// A rule that both can express, and what it is judged by.
struct Case {
    expression: &'static str,
    /// `for` and `keep_firing_for`, in seconds.
    hold: u32,
    keep: u32,
    series: &'static [(&'static str, &'static str)],
}

const fn case(
    expression: &'static str,
    hold: u32,
    keep: u32,
    series: &'static [(&'static str, &'static str)],
) -> Case {
    Case { expression, hold, keep, series }
}

const COMPARISONS: &[Case] = &[
    case("x_v > 5", 0, 0, &[(r#"x_v{target="a"}"#, "5x2 6x3 5 7x12")]),
    case("x_v >= 5", 30, 0, &[(r#"x_v{target="a"}"#, "4 5x1 4 5x5 4x1 5x9")]),
    case("x_v < -0.5", 25, 0, &[(r#"x_v{target="a"}"#, "1-0.25x8 0x1 -1x9")]),
    case("x_v <= 0.3", 0, 20, &[(r#"x_v{target="a"}"#, "0.1+0.1x4 0.3 0.4x3 0 1x9")]),
    case("x_v == 0", 40, 25, &[(r#"x_v{target="a"}"#, "1 0x5 1x1 0 1x4 0x6")]),
    case("x_v != 1", 20, 30, &[(r#"x_v{target="a"}"#, "1 2x4 1x1 3 1x11")]),
    case("7 <= x_v", 10, 0, &[(r#"x_v{target="a"}"#, "0+1x9 9-1x10")]),
    case(
        r#"x_v{target=~"a|b",kind!="c"} > 1"#,
        10,
        10,
        &[
            (r#"x_v{target="a",kind="d"}"#, "0 2x3 0x2 2x13"),
            (r#"x_v{target="b",kind="d"}"#, "2 0 2x3 0 2 0x13"),
            (r#"x_v{target="a",kind="c"}"#, "2x20"),
            (r#"x_v{target="ab",kind="d"}"#, "2x20"),
        ],
    ),
    // Comes and goes more often than what is told of it.
    case("x_v > 0", 0, 0, &[(r#"x_v{target="a"}"#, "0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0")]),
    case("x_v > 0", 0, 15, &[(r#"x_v{target="a"}"#, "0 1 0 1 0 0 0 1 0 1 0 0 0x8")]),
];

const PROMQL: &[Case] = &[
    case("rate(x_total[35s]) > 1", 20, 0, &[(r#"x_total{target="a"}"#, "0+5x4 40+20x6 170+1x8")]),
    // The counter starts again.
    case("increase(x_total[45s]) > 30", 0, 20, &[(r#"x_total{target="a"}"#, "0+5x5 0+15x6 90x7")]),
    case(
        "sum by (target) (rate(x_total[35s])) > 2",
        10,
        0,
        &[
            (r#"x_total{target="a",port="1"}"#, "0+5x8 40+30x4 160+5x6"),
            (r#"x_total{target="a",port="2"}"#, "0+5x20"),
            (r#"x_total{target="b",port="1"}"#, "0+21x9 189x10"),
        ],
    ),
    case(
        "sum(x_v) > 10",
        20,
        0,
        &[
            (r#"x_v{target="a"}"#, "1+1x9 10-1x10"),
            (r#"x_v{target="b"}"#, "1+1x9 10-1x10"),
            (r#"x_v{target="c"}"#, "5-1x5 0x14"),
        ],
    ),
    case(
        "count by (site) (x_up == 0) >= 2",
        0,
        10,
        &[
            (r#"x_up{target="a",site="s"}"#, "1x3 0x5 1x10"),
            (r#"x_up{target="b",site="s"}"#, "1x5 0x5 1x8"),
            (r#"x_up{target="c",site="t"}"#, "0x20"),
        ],
    ),
    case(r#"absent(x_v{target="a"})"#, 20, 0, &[(r#"x_v{target="a"}"#, "1x4 stale _x5 1x9")]),
    case(
        "x_v > 5 and on (target) x_on == 1",
        20,
        0,
        &[
            (r#"x_v{target="a",port="1"}"#, "0 6x18 6"),
            (r#"x_v{target="a",port="2"}"#, "6x9 0x10"),
            (r#"x_on{target="a"}"#, "0x2 1x10 0x1 1x4"),
        ],
    ),
    case(
        "x_v > 5 unless on (target) x_off == 1",
        10,
        10,
        &[
            (r#"x_v{target="a"}"#, "6x20"),
            (r#"x_v{target="b"}"#, "0x4 6x15"),
            (r#"x_off{target="a"}"#, "0x5 1x6 0x7"),
            (r#"x_off{target="b"}"#, "1x8 0x11"),
        ],
    ),
    case(
        "histogram_quantile(0.9, sum by (le, target) (rate(x_bucket[35s]))) > 0.5",
        10,
        0,
        &[
            (r#"x_bucket{target="a",le="0.1"}"#, "0+9x8 72x5 72+9x5"),
            (r#"x_bucket{target="a",le="1"}"#, "0+10x8 80+10x5 140+10x5"),
            (r#"x_bucket{target="a",le="+Inf"}"#, "0+10x8 80+10x5 140+10x5"),
        ],
    ),
    case(
        "predict_linear(x_free[65s], 120) < 0",
        20,
        0,
        &[(r#"x_free{target="a"}"#, "100x4 100-6x8 60+3x6")],
    ),
    case(
        "x_errors / on (target) x_requests > 0.25",
        10,
        0,
        &[(r#"x_errors{target="a"}"#, "0+1x9 9-1x10"), (r#"x_requests{target="a"}"#, "20x20")],
    ),
    case(
        "x_v > on (target) group_left () x_limit",
        0,
        0,
        &[
            (r#"x_v{target="a",port="1"}"#, "0+1x20"),
            (r#"x_v{target="a",port="2"}"#, "20-1x20"),
            (r#"x_limit{target="a"}"#, "10x9 15x10"),
        ],
    ),
    case("avg_over_time(x_v[35s]) > 3", 10, 0, &[(r#"x_v{target="a"}"#, "0 9 0x3 5x6 0x8")]),
    case("changes(x_v[55s]) >= 3", 0, 0, &[(r#"x_v{target="a"}"#, "0x3 1 0 1 0 1x12")]),
    case("x_v - x_v offset 20s > 3", 0, 15, &[(r#"x_v{target="a"}"#, "0x4 2+2x5 12x9")]),
];

impl Case {
    fn input(&self) -> Vec<Json> {
        let one = |(series, values): &(&str, &str)| json!({ "series": series, "values": values });
        self.series.iter().map(one).collect()
    }
}

/// Labels of the alerts of a rule that fire at a step.
type Firing = BTreeSet<BTreeMap<String, String>>;

/// The rules, and for each step of each an expectation that is not met where there is an alert.
fn judged(folder: &Path, cases: &[Case]) -> BTreeMap<(usize, usize), Firing> {
    let (mut rules, mut tests) = (String::new(), String::new());
    let mut asked = BTreeMap::new();
    for (n, case) in cases.iter().enumerate() {
        let Case { expression, hold, keep, series } = case;
        rules += &format!("[rule.r{n}]\nwhen = '{expression}'\n");
        let keys = [("for", hold), ("keep_firing_for", keep)];
        for (key, seconds) in keys.into_iter().filter(|(_, seconds)| **seconds > 0) {
            rules += &format!("{key} = '{seconds}s'\n");
        }
        tests +=
            &format!("[[test]]\nname = 'r{n}'\ninterval = '{INTERVAL_SECONDS}s'\nseries = {{ ");
        let written = series.iter().map(|(series, values)| format!("'{series}' = '{values}'"));
        tests += &format!("{} }}\nexpect = [\n", written.collect::<Vec<_>>().join(", "));
        for step in 0..STEPS {
            let seconds = step * INTERVAL_SECONDS;
            tests += &format!("  {{ at = '{seconds}s', alert = 'r{n}', state = 'inactive' }},\n");
            let at = show_duration(Duration::from_secs(seconds as u64));
            asked.insert(format!("r{n} inactive at {at}"), (n, step));
        }
        tests += "]\n";
    }
    file(folder, "r.toml", &rules);
    let path = file(folder, "r.test.toml", &tests);
    let report = testing::run(&path).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let firing = |found: &str| found.split("; ").filter_map(fires).collect();
    report.failures.iter().map(|one| (asked[&one.expected], firing(&one.found))).collect()
}

/// The labels of an alert, as `firing {a="b",c="d"}, value …` shows it, if it fires.
fn fires(shown: &str) -> Option<BTreeMap<String, String>> {
    // What does not begin so is the rest of a reason.
    let (state, labels) = shown.split_once(" {")?;
    let (labels, _) = labels.split_once('}')?;
    assert_ne!(state, "unknown", "the data is to have no gaps: {shown}");
    if state != "firing" {
        return None;
    }
    let pairs = labels.split(',').filter_map(|label| label.split_once('='));
    Some(pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect())
}

/// The same as promtool reads it; JSON is YAML.
fn for_promtool(
    folder: &Path,
    cases: &[Case],
    judged: &BTreeMap<(usize, usize), Firing>,
) -> PathBuf {
    let rule = |(n, case): (usize, &Case)| {
        json!({
            "alert": format!("r{n}"),
            "expr": case.expression,
            "for": format!("{}s", case.hold),
            "keep_firing_for": format!("{}s", case.keep),
        })
    };
    let rules: Vec<_> = cases.iter().enumerate().map(rule).collect();
    let rules = json!({ "groups": [{ "name": "all", "rules": rules }] });
    file(folder, "rules.json", &rules.to_string());
    let interval = format!("{INTERVAL_SECONDS}s");
    let expectation = |n: usize, step: usize| {
        let firing = judged.get(&(n, step)).into_iter().flatten();
        let alerts: Vec<_> = firing.map(|labels| json!({ "exp_labels": labels })).collect();
        json!({
            "eval_time": format!("{}s", step * INTERVAL_SECONDS),
            "alertname": format!("r{n}"),
            "exp_alerts": alerts,
        })
    };
    let test = |(n, case): (usize, &Case)| {
        let expected: Vec<_> = (0..STEPS).map(|step| expectation(n, step)).collect();
        json!({
            "name": format!("r{n}: {}", case.expression),
            "interval": interval,
            "input_series": case.input(),
            "alert_rule_test": expected,
        })
    };
    let tests: Vec<_> = cases.iter().enumerate().map(test).collect();
    let all =
        json!({ "rule_files": ["rules.json"], "evaluation_interval": interval, "tests": tests });
    file(folder, "tests.json", &all.to_string())
}

fn agrees(cases: &[Case]) {
    let folder = tempfile::tempdir().unwrap();
    let judged = judged(folder.path(), cases);
    for (n, case) in cases.iter().enumerate() {
        let fires = |step: &usize| judged.get(&(n, *step)).is_some_and(|alerts| !alerts.is_empty());
        let steps = (0..STEPS).filter(fires).count();
        assert!((1..STEPS).contains(&steps), "r{n} fires at {steps} steps: {}", case.expression);
    }
    let tests = for_promtool(folder.path(), cases, &judged);
    let output = match Command::new("promtool").args(["test", "rules"]).arg(&tests).output() {
        Ok(output) => output,
        Err(error) => return eprintln!("skipped: cannot start promtool: {error}"),
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complaint}");
}

#[test]
fn comparisons_fire_when_they_fire_in_prometheus() {
    agrees(COMPARISONS);
}

#[test]
fn promql_judged_as_samples_arrive_fires_when_it_fires_in_prometheus() {
    agrees(PROMQL);
}
