use std::path::Path;

use super::*;
use crate::config::Loader;

fn load(rule: &str) -> Result<RuleConfig, String> {
    let text = format!("[rule.r]\n{rule}\n[action.ops]\nlog = {{}}\n");
    let loader = Loader { env: &|_| None };
    loader
        .load_text(Path::new("t.toml"), &text)
        .map(|config| config.rules[0].value.clone())
        .map_err(|diagnostics| diagnostics.to_string())
}

#[test]
fn both_forms_become_one_plan() {
    for (rule, plan, end) in [
        ("metric = 'a_b'\nabove = 30", "a_b > 30", "<= 30"),
        ("metric = 'a_b'\nabove = 35\nclear_below = 32", "a_b > 35", "< 32"),
        ("metric = 'a_b'\nbelow = 3.5\nclear_above = 4", "a_b < 3.5", "> 4"),
        ("metric = 'a_b'\noutside = [1, 2]", "a_b < 1 or a_b > 2", "not outside 1 to 2"),
        ("metric = 'a_b'\nequals = 0", "a_b == 0", "!= 0"),
        ("metric = 'a_b'\nnot_equals = 200", "a_b != 200", "== 200"),
        (
            "metric = 'a_b'\nmatch = { target = 'rack-*', site = 'hq' }\nequals = 1",
            r#"a_b{site="hq",target=~"rack-.*"} == 1"#,
            "!= 1",
        ),
        ("when = 'a_b{target=\"gw\"} == 0'", r#"a_b{target="gw"} == 0"#, "!= 0"),
        ("when = '35 <= a_b'\nclear = 'a_b < 32'", "a_b >= 35", "< 32"),
        ("when = 'rate(a_b[5m]) > 3'", "rate(a_b[5m]) > 3", "<= 3"),
        ("when = 'a_b   and c_d'\nclear = 'a_b < 1'", "a_b and c_d", "< 1"),
        ("warning = 'a_b > 1'\ncritical = 'c_d > 1'", "(a_b > 1) or (c_d > 1)", "<= 1"),
    ] {
        let config = load(rule).expect(rule);
        assert_eq!(config.plan.to_string(), plan);
        assert_eq!(config.plan.words()[0].2, end);
    }
}

#[test]
fn every_key_is_read() {
    let config = load(
        "metric = 'a_b'\nabove = 1\nfor = '5m'\nkeep_firing_for = '1m'\non_missing = 'fire'\n\
         severity = 'critical'\nlabels = { team = 'net' }\nsummary = '{{ labels.target }}'\n\
         description = '{{ value | round(1) }}'\nactions = ['ops']\non_clear = []",
    )
    .unwrap();
    assert_eq!(config.at_least, None);
    assert_eq!((config.flap_detection, config.settle), (true, SETTLE));
    assert_eq!(config.hold, Duration::from_secs(300));
    assert_eq!(config.keep_firing_for, Duration::from_secs(60));
    assert_eq!(config.on_missing, OnMissing::Fire);
    assert_eq!(config.severity(), Severity::Critical);
    assert_eq!(config.labels["team"], "net");
    assert_eq!(config.summary.unwrap().source(), "{{ labels.target }}");
    assert_eq!(config.actions[0].value, "ops");
    assert_eq!(config.on_clear, Some(vec![]));
}

#[test]
fn every_mistake_is_named_where_it_is() {
    for (rule, message) in [
        ("severity = 'info'", "t.toml:1:1: [rule.r] needs `metric` with a condition, or `when`"),
        ("metric = 'a_b'", "t.toml:1:1: [rule.r] has a metric but no condition"),
        ("metric = 'a_b'\nabove = 1\nbelow = 0", "4:9: a rule has one condition, and `above`"),
        ("metric = 'a_b'\nabove = 1\nwhen = 'a_b > 1'", "4:8: `when` says it all"),
        ("metric = 'a_b > 1'\nabove = 1", "2:10: `a_b > 1` is not the name of a series"),
        ("metric = 'a_b'\nabove = nan", "3:9: must be a finite number"),
        ("metric = 'a_b'\nabove = inf", "3:9: must be a finite number"),
        (
            "metric = 'a_b'\noutside = [2, 1]",
            "3:11: the first number must be the lower one: [1, 2]",
        ),
        ("metric = 'a_b'\noutside = [2]", "3:11: is two numbers"),
        ("metric = 'a_b'\nabove = 1\nclear_above = 2", "4:15: what is `above` clears below"),
        ("metric = 'a_b'\nbelow = 1\nclear_below = 0", "4:15: what is `below` clears above"),
        ("metric = 'a_b'\nabove = 1\nclear_below = 2", "4:15: must not be above the threshold, 1"),
        ("metric = 'a_b'\nbelow = 1\nclear_above = 0", "4:15: must not be below the threshold, 1"),
        ("metric = 'a_b'\nequals = 1\nclear_above = 0", "4:15: goes with `above` or `below` only"),
        ("metric = 'a_b'\nabove = 1\nclear = 'a_b < 1'", "4:9: belongs to `when`"),
        ("when = 'a_b > 1'\nabove = 1", "3:9: `above` belongs to the short form"),
        ("when = 'a_b > 30'\nclear = 'a_b < 40'", "3:9: at 30 both `when` and `clear`"),
        ("when = '1 + 1'", "2:8: a rule needs a selector to judge"),
        ("when = 'a_b >'", "2:8: not PromQL"),
        ("when = 'a_b > 1'\nfor = '5'", "3:7: "),
        ("when = 'a_b > 1'\non_missing = 'keeep'", "did you mean `keep`?"),
        ("when = 'a_b > 1'\nlabels = { target = 'x' }", "the label `target` is set by watchpost"),
        ("when = 'a_b > 1'\nlabels = { 'a b' = 'x' }", "`a b` is not the name of a label"),
        ("when = 'a_b > 1'\nsummary = '{{ labels.'", "3:11: not a template"),
        ("when = 'a_b > 1'\nsummary = '{{ valeu }}'", "3:11: the template's `valeu` is not one of"),
        ("when = 'a_b > 1'\nsummary = '{{ summary }}'", "3:11: cannot contain `summary`"),
        ("when = 'a_b > 1'\nactions = ['opps']", "3:12: there is no [action.opps]; did you mean"),
        ("when = 'a_b > 1'\nsummery = 'x'", "3:1: unknown key `summery` in [rule.r]; did you mean"),
    ] {
        let found = load(rule).expect_err(rule);
        assert!(found.contains(message), "{rule}\n{found}\nlacks {message}");
    }
}
