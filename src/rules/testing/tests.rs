use std::path::PathBuf;

use super::*;

/// Writes rules and tests into a folder and runs them.
fn run_in(folder: &Path, rules: &str, tests: &str) -> Result<FileReport, String> {
    std::fs::write(folder.join("r.toml"), rules).unwrap();
    std::fs::write(folder.join("r.test.toml"), tests).unwrap();
    run(&folder.join("r.test.toml")).map_err(|diagnostics| diagnostics.to_string())
}

const RULES: &str = r#"
[rule.gateway-down]
when = 'target_up{target="gateway"} == 0'
for = "5s"
summary = "{{ labels.target }} does not answer"
actions = ["ops", "fan-on"]
"#;

const SERIES: &str = r#"
acts = ["fan-on"]
interval = "10s"
[[test]]
name = "a silent gateway alerts"
series = { 'target_up{target="gateway"}' = "1x2 0x2 1 stale" }
"#;

#[test]
fn a_file_whose_expectations_are_met_passes() {
    let folder = tempfile::tempdir().unwrap();
    let tests = format!(
        "{SERIES}{}",
        r#"
expect = [
    { at = "0s", alert = "gateway-down", state = "inactive" },
    { at = "30s", alert = "gateway-down", state = "pending", count = 1 },
    { at = "34s", alert = "gateway-down", state = "pending", value = 0 },
    { at = "35s", alert = "gateway-down", state = "firing", labels = { target = "gateway" },
      reason = "held for 5s at 0", summary = "gateway does not answer" },
    { at = "5m", alert = "gateway-down", state = "inactive" },
]
actions = [
    { at = "35s", action = "ops", alert = "gateway-down", state = "firing" },
    { at = "35s", action = "fan-on", alert = "gateway-down", state = "firing" },
    { action = "ops", alert = "gateway-down", state = "inactive", labels = { target = "gateway" } },
]
"#
    );
    let report = run_in(folder.path(), RULES, &tests).unwrap();
    assert_eq!((report.passed, report.failed), (1, 0), "{:?}", report.failures);
}

#[test]
fn what_is_not_met_is_shown_with_its_line_and_what_happened() {
    let folder = tempfile::tempdir().unwrap();
    let tests = format!(
        "{SERIES}{}",
        "expect = [\n  { at = '31s', alert = 'gateway-down', state = 'firing' },\n]\n\
         actions = [{ action = 'ops', alert = 'gateway-down', state = 'firing' }]\n"
    );
    let report = run_in(folder.path(), RULES, &tests).unwrap();
    assert_eq!((report.passed, report.failed), (0, 1));
    let [state, action] = &report.failures[..] else { panic!("{:?}", report.failures) };
    assert_eq!(state.line, 8);
    assert_eq!(
        state.to_string(),
        "a silent gateway alerts\n    \
         expected  gateway-down firing at 31s\n    \
         found     pending {target=\"gateway\"}, value 0, 0 == 0\n    \
         history   30s pending {target=\"gateway\"}: 0 == 0"
    );
    assert_eq!(action.expected, "no action but those listed");
    assert_eq!(action.found, "fan-on at 35s (gateway-down firing)");
}

#[test]
fn mistakes_in_the_file_are_shown_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    for (line, message) in [
        (
            "expect = [{ at = '1s', alert = 'gateway-up', state = 'firing' }]",
            "did you mean `gateway-down`?",
        ),
        ("expect = [{ at = '1s', alert = 'gateway-down', state = 'fire' }]", "7:"),
        ("expect = [{ alert = 'gateway-down', state = 'firing' }]", "lacks the key `at`"),
        ("[[test]]\nname = 'x'\nseries = { 'a b' = '1' }", "9:20: `a b` is not a series"),
        ("[[test]]\nname = 'x'\nseries = { 'a_b{c!=\"d\"}' = '1' }", "its labels need `=`"),
        ("[[test]]\nname = 'x'\nseries = { a_b = '1y' }", "9:18: `1y` is not a value"),
        ("expectt = []", "unknown key `expectt`"),
    ] {
        let tests = format!("{SERIES}{line}\n");
        let found = run_in(folder.path(), RULES, &tests).expect_err(line);
        assert!(found.contains(message), "{line}\n{found}");
    }
    let found = run_in(folder.path(), "[rule.r]\nabove = 1\n", SERIES).unwrap_err();
    assert!(found.contains("r.toml:1:1: [rule.r] needs `metric`"), "{found}");
}

#[test]
fn every_shipped_rule_is_tested_and_passes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let tests = find(std::slice::from_ref(&folder));
    let (mut files, mut failed) = (0, Vec::new());
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.to_string_lossy().into_owned();
        if name.ends_with(".test.toml") || !name.ends_with(".toml") {
            continue;
        }
        files += 1;
        let test = PathBuf::from(name.replace(".toml", ".test.toml"));
        assert!(tests.contains(&test), "{name} has no tests");
        let report = run(&test).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
        failed.extend(report.failures.iter().map(ToString::to_string));
        let written = std::fs::read_to_string(&test).unwrap();
        let loader = crate::config::Loader { env: &|_| None };
        for rule in loader.load_rules(&path).unwrap() {
            let fires = written.lines().any(|line| {
                line.contains(&format!("\"{}\"", rule.name)) && line.contains("\"firing\"")
            });
            assert!(fires, "no test of {} makes it fire", rule.name);
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(files >= 8, "the library is there");
}

#[test]
fn severities_flapping_parents_samples_and_restarts_can_be_tested() {
    let folder = tempfile::tempdir().unwrap();
    let rules = r#"
[rule.down]
metric = "target_up"
equals = 0
depends_on = ["gateway"]
settle = "5s"
actions = ["ops"]
[rule.load]
metric = "host_cpu_ratio"
warning = { above = 0.7, clear_below = 0.6 }
critical = { above = 0.9 }
at_least = "2 of 3"
actions = ["ops"]
[rule.flaps]
metric = "door_open"
equals = 1
actions = ["ops", "lock"]
"#;
    let tests = r#"
acts = ["lock"]
interval = "10s"
[[test]]
name = "one message for two hosts"
series = { 'target_up{target="gateway",kind="icmp"}' = "1 0x9 1x4", 'target_up{target="a",kind="icmp"}' = "1 1 0x12", 'target_up{target="b",kind="icmp"}' = "1 0x9 1x4" }
expect = [
    { at = "25s", alert = "down", state = "firing", held_back = true, count = 2 },
    { at = "25s", alert = "down", labels = { target = "gateway" }, state = "firing", held_back = false },
    { at = "116s", alert = "down", state = "firing", held_back = false, count = 1 },
]
actions = [
    { at = "10s", action = "ops", alert = "down", state = "firing", labels = { target = "gateway" } },
    { at = "110s", action = "ops", alert = "down", state = "inactive", affected = 1 },
    { at = "115s", action = "ops", alert = "down", state = "firing", labels = { target = "a" } },
]
[[test]]
name = "a load that grows, over a restart"
restarts = ["35s"]
series = { 'host_cpu_ratio{target="this"}' = "0.1 0.8 0.1 0.8 0.95 0.95 0.1x4" }
expect = [
    { at = "10s", alert = "load", state = "inactive" },
    { at = "35s", alert = "load", state = "firing", severity = "warning" },
    { at = "55s", alert = "load", state = "firing", severity = "critical" },
    { at = "90s", alert = "load", state = "inactive" },
]
actions = [
    { at = "30s", action = "ops", alert = "load", state = "firing", severity = "warning" },
    { at = "50s", action = "ops", alert = "load", state = "firing", severity = "critical" },
    { at = "70s", action = "ops", alert = "load", state = "inactive" },
]
[[test]]
name = "a door that swings"
series = { 'door_open{target="hall"}' = "1 0 1 0 1 0 1 0 1 0" }
expect = [
    { at = "50s", alert = "flaps", state = "inactive" },
    { at = "60s", alert = "flaps", state = "firing", flapping = true, reason = "flapping: 40 %" },
]
"#;
    let report = run_in(folder.path(), rules, tests).unwrap_or_else(|wrong| panic!("{wrong}"));
    let failures: Vec<_> = report.failures.iter().map(ToString::to_string).collect();
    assert_eq!((report.passed, report.failed), (3, 0), "{}", failures.join("\n"));
}
