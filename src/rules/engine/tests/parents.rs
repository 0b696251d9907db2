//! Alerts that depend on others: waiting, held back, told after all.

use super::*;

/// Hosts behind a gateway; who tells of the gateway itself depends on nothing.
const HOSTS: &str = "[rule.host-down]\nmetric = 'target_up'\nequals = 0\n\
     depends_on = ['gateway']\nsettle = '10s'\nsummary = 'down'\n";

#[test]
fn an_alert_waits_for_its_parent_and_is_held_back_and_named_in_its_message() {
    let mut bench = Bench::new(HOSTS);
    bench.up("gateway", 0.0, true);
    assert_eq!(bench.up("a", 1.0, false), ["firing@1 0 == 0"], "shown, not told");
    assert_eq!(bench.up("b", 2.0, false), ["firing@2 0 == 0"]);
    assert_eq!(bench.engine.alerts()[0].held_back_by.as_deref(), Some("gateway"));
    bench.up("c", 2.5, true);
    let before = bench.out.len();
    bench.up("gateway", 3.0, false);
    assert_eq!(before, 0);
    assert_eq!(bench.tick(100.0), NONE, "held back");
    assert_eq!(bench.up("c", 101.0, false), ["firing@101 0 == 0"], "at once");
    assert_eq!(bench.up("b", 102.0, true), ["inactive@102 cleared at 1 (!= 0)"]);
    // The gateway is back, and what still fires is told once it had time to come back as well.
    let said = bench.up("gateway", 110.0, true);
    assert_eq!(said, ["inactive@110! cleared at 1 (!= 0)"]);
    assert_eq!(bench.up("c", 115.0, true), ["inactive@115 cleared at 1 (!= 0)"]);
    assert_eq!(bench.tick(119.0), NONE);
    assert_eq!(bench.tick(120.0), ["still firing@120! 0 == 0"]);
    assert_eq!(bench.up("a", 130.0, true), ["inactive@130! cleared at 1 (!= 0)"], "told");
}

#[test]
fn a_parents_message_names_what_is_held_back_by_it() {
    let mut bench = Bench::new(HOSTS);
    bench.up("gateway", 0.0, true);
    bench.up("a", 1.0, false);
    bench.up("b", 2.0, false);
    let tags = [("target", "gateway"), ("kind", "test")];
    let series = bench.catalogue.intern("target", "up", &tags);
    let batch = |seconds, value| Batch {
        target: "gateway".into(),
        time: time(seconds),
        samples: vec![Sample { series, value }],
    };
    let mut out = Vec::new();
    bench.engine.apply(&batch(3.0, 0.0), &mut out);
    let told = out.iter().find(|one| one.notify == Notify::All).expect("the gateway is told of");
    assert_eq!(told.affected, [r#"host-down (target="a")"#, r#"host-down (target="b")"#]);
    let notice = told.notice();
    let listed = r#"not told because of this: host-down (target="a"), host-down (target="b")"#;
    assert_eq!((notice.affected.len(), &*notice.description), (2, listed));
    assert_eq!(out.len(), 3, "and both are held back: {out:#?}");
}

#[test]
fn a_parent_that_is_found_up_after_the_alert_ends_the_waiting() {
    let mut bench = Bench::new(HOSTS);
    bench.up("gateway", 0.0, true);
    assert_eq!(bench.up("a", 1.0, false), ["firing@1 0 == 0"]);
    assert_eq!(bench.up("gateway", 1.0, true), NONE, "as old as the alert");
    assert_eq!(bench.up("gateway", 2.0, true), ["still firing@2! 0 == 0"]);
    // One that is known to be newer than the alert already.
    bench.up("gateway", 9.0, true);
    assert_eq!(bench.up("b", 8.0, false), ["firing@8! 0 == 0"]);
}

#[test]
fn without_a_word_of_its_parent_an_alert_is_told_once_it_has_waited() {
    let mut bench = Bench::new(HOSTS);
    assert_eq!(bench.up("a", 1.0, false), ["firing@1 0 == 0"]);
    assert_eq!(bench.tick(10.9), NONE);
    assert_eq!(bench.tick(11.0), ["still firing@11! 0 == 0"]);
    bench.up("b", 20.0, false);
    assert_eq!(bench.up("b", 25.0, true), ["inactive@25 cleared at 1 (!= 0)"], "nobody knew");
    // A verdict that comes later than the waiting took is too late, ticks or no ticks.
    bench.up("c", 30.0, false);
    assert_eq!(bench.up("gateway", 50.0, false), ["still firing@40! 0 == 0", "firing@50! 0 == 0"]);
}

#[test]
fn redundant_parents_are_down_when_all_of_them_are() {
    let rule = "[rule.r]\nmetric = 'rack_celsius'\nabove = 30\nsettle = '5s'\n\
         depends_on = { any = ['left', 'test.right'] }\n";
    let mut bench = Bench::new(rule);
    bench.up("left", 0.0, true);
    bench.up("right", 0.0, true);
    bench.up("left", 1.0, false);
    assert_eq!(bench.sample(2.0, 31.0), ["firing@2 31 > 30"]);
    assert_eq!(bench.tick(7.0), ["still firing@7! 31 > 30"], "one of two is down");
    assert_eq!(bench.sample_of("b", 8.0, 31.0), ["firing@8 31 > 30"]);
    assert_eq!(bench.up("right", 9.0, false), ["still firing@9 31 > 30"]);
    assert_eq!(bench.engine.alerts()[1].held_back_by.as_deref(), Some("left, test.right"));
    assert_eq!(bench.up("left", 20.0, true), NONE);
    assert_eq!(bench.tick(25.0), ["still firing@25! 31 > 30"]);
}

#[test]
fn a_rule_is_a_parent_while_one_of_its_alerts_fires() {
    let rules = "[rule.mains]\nmetric = 'rack_celsius'\nmatch = { target = 'ups' }\nequals = 0\n\
         for = '5s'\n[rule.hot]\nmetric = 'rack_celsius'\nabove = 30\nsettle = '10s'\n\
         depends_on = ['mains']\n";
    let mut bench = Bench::new(rules);
    assert_eq!(bench.sample(0.0, 31.0), ["firing@0 31 > 30"]);
    assert_eq!(bench.sample_of("ups", 1.0, 0.0), ["pending@1 0 == 0"]);
    // In the order of time, though heard of at once.
    assert_eq!(bench.tick(60.0), ["firing@6! held for 5s at 0 (== 0)", "still firing@6 31 > 30"]);
    bench.engine.tick(time(61.0), &mut bench.out);
    assert_eq!(bench.sample_of("ups", 70.0, 1.0), ["inactive@70! cleared at 1 (!= 0)"]);
    assert_eq!(bench.tick(80.0), ["still firing@80! 31 > 30"]);
}

#[test]
fn of_two_parents_that_are_down_one_is_told() {
    let rules = HOSTS.replace("['gateway']", "['gateway', 'core']");
    let mut bench = Bench::new(&rules);
    for target in ["gateway", "core", "a"] {
        bench.up(target, 0.0, true);
    }
    let mut said = bench.up("core", 1.0, false);
    said.extend(bench.up("gateway", 2.0, false));
    said.extend(bench.up("a", 3.0, false));
    said.extend(bench.tick(100.0));
    let told: Vec<_> = said.iter().filter(|said| said.contains('!')).collect();
    assert_eq!(told, ["firing@2! 0 == 0"], "{said:?}");
}

#[test]
fn a_parent_that_is_no_longer_watched_holds_nothing_back() {
    let mut bench = Bench::new(HOSTS);
    bench.up("gateway", 0.0, false);
    bench.up("a", 1.0, false);
    bench.out.clear();
    bench.engine.forget(|s| s.tag("target") == Some("gateway"), time(2.0), &mut bench.out);
    assert_eq!(bench.said(), ["inactive@2! the target was removed"]);
    assert_eq!(bench.tick(12.0), ["still firing@12! 0 == 0"]);
}
