//! What is kept of the series, in an answer.

use std::path::Path;

use super::*;
use crate::config::Loader;
use crate::promql::functions::Point;
use crate::promql::memory::MemorySource;
use crate::promql::{EvalError, Labels as SeriesLabels};
use crate::rules::Engine;
use crate::sample::{Catalogue, STALE};

const START: i64 = 1_000_000_000;

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_secs(START + seconds)
}

/// Samples of `rack_celsius` every ten seconds, by target.
fn source(targets: &[(&str, &[f64])]) -> MemorySource {
    let mut source = MemorySource::default();
    for (target, values) in targets {
        let labels = SeriesLabels::new([
            ("__name__", "rack_celsius"),
            ("target", *target),
            ("kind", "test"),
        ]);
        for (place, value) in values.iter().enumerate() {
            let at = time(10 * i64::try_from(place).unwrap());
            source.insert(&labels, Point { time: at, value: *value });
        }
    }
    source
}

fn rules(text: &str) -> Vec<Arc<Named<RuleConfig>>> {
    let loader = Loader { env: &|_| None };
    loader.load_text(Path::new("t.toml"), text).unwrap_or_else(|wrong| panic!("{wrong}")).rules
}

/// Of an engine that has seen nothing, as after a restart.
fn ask(text: &str, source: &MemorySource, labels: &[(&str, &str)], at: i64) -> Explanation {
    let rules = rules(text);
    let engine = Engine::new(Arc::new(Catalogue::default()), rules.clone());
    let labels = labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let question = Question { rule: rules[0].name.to_string(), labels, at: Some(time(at)) };
    let mut answer = engine.explain(&question, time(100_000)).unwrap();
    let cx = Context { source, rules: &rules, targets: &[], check: &|| Ok(()) };
    complete(&mut answer, &question, time(100_000), &cx);
    answer
}

#[test]
fn a_time_that_is_past_is_judged_again_from_what_is_kept() {
    let hot = "[rule.hot]\nmetric = 'rack_celsius'\nabove = 80\nclear_below = 75\nfor = '2m'\n";
    let source = source(&[
        ("a", &[79.2, 70.0, 70.5, 71.0]),
        (
            "b",
            &[
                60.0, 60.0, 81.0, 82.0, 83.0, 84.0, 85.0, 86.0, 87.0, 88.0, 89.0, 90.0, 91.0, 92.0,
                93.0, 94.0,
            ],
        ),
    ]);
    let then = ask(hot, &source, &[], 60);
    let outcomes: Vec<_> =
        then.alerts.iter().map(|one| (one.state, one.outcome.as_str())).collect();
    let fires = format!(
        "did not fire yet: pending for 40s of 2m because 81 > 80; it fires at {}",
        time(140)
    );
    assert_eq!(
        outcomes,
        [
            (State::Pending, fires.as_str()),
            (
                State::Inactive,
                "did not fire because 71 is not > 80; in the hour before the nearest was 79.2, 1m before"
            ),
        ]
    );
    let condition = &then.alerts[1].conditions[0];
    assert_eq!((condition.when.as_str(), condition.clear.as_str()), ("> 80", "< 75"));
    let later = ask(hot, &source, &[("target", "b")], 145);
    assert_eq!((later.alerts.len(), later.alerts[0].state), (1, State::Firing));
    assert!(later.alerts[0].outcome.contains("held for 2m at 93 (> 80)"), "{later:?}");
}

#[test]
fn too_few_samples_a_parent_and_missing_data_say_so() {
    let few = "[rule.few]\nmetric = 'rack_celsius'\nabove = 80\nat_least = '3 of 5'\n";
    let data = source(&[("a", &[70.0, 81.0, 70.0, 85.0, 70.0])]);
    let outcome = &ask(few, &data, &[], 40).alerts[0].outcome;
    let counted = "2 of the last 5 samples were > 80, and 3 are needed; the last is 70";
    assert!(outcome.contains(counted), "{outcome}");
    let gone = &ask(few, &data, &[], 40 + 840);
    assert!(
        gone.alerts[0].outcome.contains("the last sample, 70, was 14m before"),
        "{}",
        gone.alerts[0].outcome
    );
    let none = ask("[rule.r]\nwhen = 'rate(other_thing[5m]) > 1'\n", &data, &[], 40);
    let said = "did not fire because there is no data: other_thing[5m] has no samples";
    assert_eq!(none.outcome.as_deref(), Some(said), "{none:?}");
    let plain = ask("[rule.r]\nwhen = 'other_thing > 1'\n", &data, &[], 40);
    assert!(plain.outcome.unwrap().contains("other_thing has no sample in the hour before"));

    let parent = "[rule.child]\nmetric = 'rack_celsius'\nabove = 80\ndepends_on = ['rule.up']\n\
                  [rule.up]\nmetric = 'rack_celsius'\nmatch = { target = 'p' }\nbelow = 5\n";
    let data = source(&[("a", &[70.0, 81.0, 82.0]), ("p", &[1.0, 1.0, 1.0])]);
    let held = ask(parent, &data, &[("target", "a")], 30);
    assert!(held.alerts[0].outcome.contains("nobody is told because of"), "{held:?}");
}

#[test]
fn each_part_of_an_expression_says_what_it_yields_then() {
    let ratio = "[rule.r]\nwhen = 'sum by (target) (rate(rack_celsius[1m])) / 2 > 80'\n\
                 labels = { team = 'net' }\n";
    let values: Vec<f64> = (0..20).map(|n| f64::from(n) * 10.0).collect();
    let source = source(&[("a", &values), ("b", &[1.0, 2.0, STALE])]);
    let then = ask(ratio, &source, &[("target", "a"), ("team", "net")], 190);
    let mut shown = Vec::new();
    fn walk(part: &Part, depth: usize, shown: &mut Vec<String>) {
        let values: Vec<_> = part.values.iter().map(|one| one.value).collect();
        shown.push(format!("{}{} {values:?}+{}", "-".repeat(depth), part.expr, part.more));
        part.parts.iter().for_each(|part| walk(part, depth + 1, shown));
    }
    walk(&then.expressions[0].part, 0, &mut shown);
    assert_eq!(
        shown,
        [
            "sum by (target) (rate(rack_celsius[1m])) / 2 > 80 []+0",
            "-sum by (target) (rate(rack_celsius[1m])) / 2 [0.5]+0",
            "--sum by (target) (rate(rack_celsius[1m])) [1.0]+0",
            "---rate(rack_celsius[1m]) [1.0]+0",
            "----rack_celsius[1m] [190.0]+0",
            "--2 [2.0]+0",
            "-80 [80.0]+0",
        ]
    );
    let window = &then.expressions[0].part.parts[0].parts[0].parts[0].parts[0].values[0];
    assert_eq!((window.samples, window.age_seconds), (Some(6), Some(0.0)));
    assert!(then.alerts[0].outcome.contains("0.5 is not > 80"), "{then:?}");
    // One that has ended is shown with what it was.
    let plain = "[rule.r]\nmetric = 'rack_celsius'\nabove = 80\n";
    let then = ask(plain, &source, &[("target", "b")], 50);
    let series = &then.expressions[0].part.parts[0].values[0];
    assert_eq!((series.counts, series.value, series.age_seconds), (false, 2.0, Some(40.0)));
    assert_eq!(then.expressions[0].part.parts[0].more, 1);
}

#[test]
fn what_cannot_be_read_is_said_and_what_is_much_is_counted() {
    let rule = rules("[rule.r]\nmetric = 'rack_celsius'\nabove = 80\n");
    let many: Vec<String> = (0..25).map(|n| format!("t{n}")).collect();
    let many: Vec<(&str, &[f64])> = many.iter().map(|name| (name.as_str(), &[1.0][..])).collect();
    let source = source(&many);
    let engine = Engine::new(Arc::new(Catalogue::default()), rule.clone());
    let question = Question { rule: "r".into(), labels: [].into(), at: Some(time(5)) };
    let mut answer = engine.explain(&question, time(5)).unwrap();
    let late = || Err(EvalError::Stopped("too late".into()));
    let cx = Context { source: &source, rules: &rule, targets: &[], check: &late };
    complete(&mut answer.clone(), &question, time(5), &cx);
    let mut stopped = answer.clone();
    complete(&mut stopped, &question, time(5), &cx);
    assert!(stopped.notes.iter().any(|note| note.contains("too late")), "{stopped:?}");
    assert!(stopped.expressions[0].part.failed.is_some());
    let cx = Context { check: &|| Ok(()), ..cx };
    complete(&mut answer, &question, time(5), &cx);
    let series = &answer.expressions[0].part.parts[0];
    assert_eq!((series.values.len(), series.more, answer.alerts.len()), (10, 15, 25));
    let sum = promql(&format!("1{}", " + 1".repeat(80)));
    let labels = Labels::new();
    let anatomy = Anatomy { source: &source, check: &|| Ok(()), labels: &labels, now: time(5) };
    fn count(part: &Part) -> (usize, usize) {
        let below = part.parts.iter().map(count);
        below.fold((1, part.parts_more), |a, b| (a.0 + b.0, a.1 + b.1))
    }
    let (there, left_out) = count(&anatomy.of(&sum));
    assert_eq!(there, 64);
    assert!(left_out > 0);
}

fn promql(text: &str) -> crate::promql::Expr {
    crate::promql::parse(text).unwrap()
}

#[test]
fn spans_of_time_are_short() {
    for (seconds, text) in
        [(0.04, "0.0s"), (9.9, "9.9s"), (9.96, "10s"), (840.4, "14m"), (90_061.0, "1d1h1m")]
    {
        assert_eq!(ago(seconds), text);
    }
}
