//! Why there is an alert, and why there is none.

use super::*;
use crate::rules::explain::{Explanation, Question};

fn ask(bench: &Bench, rule: &str, at: Option<f64>, now: f64) -> Explanation {
    let question = Question { rule: rule.into(), labels: [].into(), at: at.map(time) };
    bench.engine.explain(&question, time(now)).expect("the rule is there")
}

#[test]
fn what_did_not_fire_says_why() {
    let mut bench = Bench::new(HOT);
    let none = ask(&bench, "hot", None, 0.0);
    assert_eq!(
        none.outcome.as_deref(),
        Some("did not fire because there is no series rack_celsius")
    );
    bench.sample(0.0, 28.0);
    let quiet = ask(&bench, "hot", None, 5.0);
    let one = &quiet.alerts[0];
    assert_eq!(one.outcome, "did not fire because 28 is not > 35");
    let seen = one.seen.as_ref().unwrap();
    assert_eq!((seen.value, seen.age_seconds), (Some(28.0), 5.0));
    let condition = &one.conditions[0];
    assert_eq!((condition.holds, condition.clears), (Some(false), Some(true)));
    bench.sample(10.0, 36.0);
    let pending = &ask(&bench, "hot", None, 12.0).alerts[0];
    let waits = "did not fire yet: pending for 2.0s of 30s because 36 > 35";
    let fires = format!("{waits}; it fires at {}", time(40.0));
    assert_eq!(pending.outcome, fires);
    bench.sample(20.0, STALE);
    let stale = &ask(&bench, "hot", None, 21.0).alerts[0];
    assert_eq!((stale.state, stale.seen.as_ref().unwrap().value), (State::Unknown, None));
    assert!(
        bench
            .engine
            .explain(&Question { rule: "no".into(), labels: [].into(), at: None }, time(0.0))
            .is_none()
    );
}

#[test]
fn what_happened_is_remembered_and_near_misses_are_named() {
    let mut bench = Bench::new(HOT);
    bench.sample(0.0, 36.0);
    bench.sample(10.0, 34.0);
    bench.sample(20.0, 36.0);
    bench.tick(50.0);
    bench.sample(60.0, 20.0);
    let now = ask(&bench, "hot", None, 61.0);
    let journal: Vec<_> = now.journal.iter().map(|one| (one.to, one.near_miss)).collect();
    assert_eq!(
        journal,
        [
            (State::Pending, false),
            (State::Inactive, true),
            (State::Pending, false),
            (State::Firing, false),
            (State::Inactive, false)
        ]
    );
    let then = ask(&bench, "hot", Some(55.0), 61.0);
    assert_eq!((then.alerts[0].state, then.journal.len()), (State::Firing, 4));
    assert!(then.alerts[0].outcome.contains("held for 30s at 36 (> 35)"));
    assert!(
        ask(&bench, "hot", Some(-5.0), 61.0).outcome.unwrap().contains("nothing is remembered")
    );
}

#[test]
fn counted_samples_and_parents_are_part_of_the_answer() {
    let mut bench = Bench::new(
        "[rule.r]\nmetric = 'rack_celsius'\nabove = 30\nat_least = '3 of 5'\n\
         depends_on = ['gateway']\n",
    );
    bench.sample(0.0, 31.0);
    bench.sample(1.0, 20.0);
    let outcome = &ask(&bench, "r", None, 2.0).alerts[0].outcome;
    let counted = "1 of the last 5 samples were > 30, and 3 are needed; the last is 20";
    assert_eq!(*outcome, format!("did not fire because {counted}"));
    bench.up("gateway", 2.0, false);
    bench.sample(2.0, 31.0);
    bench.sample(3.0, 31.0);
    let outcome = &ask(&bench, "r", None, 4.0).alerts[0].outcome;
    assert!(outcome.contains("nobody is told because of gateway"), "{outcome}");
}

#[test]
fn too_few_samples_of_at_least_are_remembered_once_as_a_near_miss() {
    let rule = "[rule.r]\nmetric = 'rack_celsius'\nabove = 30\nat_least = '3 of 5'\n";
    let mut bench = Bench::new(rule);
    // One is not near; two are, once, however the window empties; three fire, which is none.
    let values =
        [31, 20, 20, 20, 20, 20, 31, 31, 20, 20, 20, 20, 20, 31, 31, 31, 20, 20, 20, 20, 20, 20];
    for (place, value) in values.into_iter().enumerate() {
        bench.sample(place as f64, f64::from(value));
    }
    let said = |answer: &Explanation| {
        let one = |one: &crate::rules::explain::Happened| {
            format!("{} {} {}", one.to, one.near_miss, one.reason)
        };
        answer.journal.iter().map(one).collect::<Vec<_>>()
    };
    let near = "inactive true 2 of the last 5 samples were > 30, and 3 are needed";
    let now = ask(&bench, "r", None, 30.0);
    assert_eq!(
        said(&now),
        [
            near,
            "firing false 31 > 30 in 3 of 5 samples",
            "inactive false cleared at 20 (<= 30 in 3 of 5 samples)"
        ]
    );
    let then = ask(&bench, "r", Some(12.0), 30.0);
    assert_eq!(said(&then), [near]);
    // They do not push out what did happen.
    for round in 0..100 {
        for (place, value) in [31, 31, 20, 20, 20, 20, 20].into_iter().enumerate() {
            bench.sample(f64::from(round * 10 + 100) + place as f64, f64::from(value));
        }
    }
    let journal = ask(&bench, "r", None, 2_000.0).journal;
    let misses = journal.iter().filter(|one| one.near_miss).count();
    assert_eq!((journal.len(), misses), (66, 64));
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut bench = Bench::new("[rule.r]\nmetric = 'rack_celsius'\nabove = 30\n");
    for second in 0..1_000 {
        bench.sample(f64::from(second), if second % 2 == 0 { 31.0 } else { 20.0 });
    }
    assert_eq!(ask(&bench, "r", None, 1_000.0).journal.len(), 256);
}
