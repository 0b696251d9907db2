//! Rules in PromQL that is more than a comparison with a number, through all of the engine.

use super::*;

fn tags<'a>(target: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [("target", target), ("kind", "test")].into_iter().chain(more.iter().copied()).collect()
}

impl Bench {
    fn batch_of(&self, target: &str, seconds: f64, values: &[(&str, f64)]) -> Batch {
        let sample = |(field, value): &(&str, f64)| Sample {
            series: self.catalogue.intern("net", field, &tags(target, &[])),
            value: *value,
        };
        let samples = values.iter().map(sample).collect();
        Batch { target: target.into(), time: time(seconds), samples }
    }

    fn values(&mut self, target: &str, seconds: f64, values: &[(&str, f64)]) -> Vec<String> {
        let batch = self.batch_of(target, seconds, values);
        self.engine.apply(&batch, &mut self.out);
        self.said()
    }
}

const RATIO: &str = "[rule.errors]\nwhen = 'net_errors / net_requests > 0.5'\nfor = '20s'\n";

#[test]
fn a_ratio_fires_after_its_time_and_says_at_what_value_it_cleared() {
    let mut bench = Bench::new(RATIO);
    assert!(bench.values("a", 0.0, &[("errors", 1.0), ("requests", 10.0)]).is_empty());
    let said = bench.values("a", 10.0, &[("errors", 8.0), ("requests", 10.0)]);
    assert_eq!(said, ["pending@10 0.8 > 0.5"]);
    assert!(bench.values("a", 20.0, &[("errors", 9.0), ("requests", 10.0)]).is_empty());
    assert_eq!(bench.tick(30.0), ["firing@30! held for 20s at 0.9 (> 0.5)"]);
    let said = bench.values("a", 40.0, &[("errors", 1.0), ("requests", 10.0)]);
    assert_eq!(said, ["inactive@40! cleared at 0.1 (<= 0.5)"]);
    assert!(bench.engine.alerts().is_empty());
}

#[test]
fn data_gone_missing_is_neither_problem_nor_recovery() {
    let mut bench = Bench::new("[rule.r]\nwhen = 'max by (target) (net_load) > 5'\n");
    assert_eq!(bench.values("a", 0.0, &[("load", 7.0)]), ["firing@0! 7 > 5"]);
    let said = bench.values("a", 10.0, &[("load", STALE)]);
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("unknown@10 data missing since"), "{said:?}");
    assert_eq!(bench.values("a", 20.0, &[("load", 8.0)]), ["firing@20 data is back at 8"]);
}

#[test]
fn a_window_that_empties_is_noticed_at_that_very_time() {
    let text = "[rule.r]\nwhen = 'max_over_time(net_load[1m]) > 5'\non_missing = 'clear'\n";
    let mut bench = Bench::new(text);
    assert_eq!(bench.values("a", 0.5, &[("load", 7.0)]), ["firing@0.5! 7 > 5"]);
    assert_eq!(bench.engine.next_tick(), Some(time(60.5)));
    let said = bench.tick(100.0);
    assert!(said[0].starts_with("inactive@60.5! "), "{said:?}");
}

#[test]
fn hysteresis_and_severities_may_be_about_other_series() {
    let mut bench = Bench::new(
        "[rule.r]\nwarning = { when = 'net_load > 5', clear = 'net_calm == 1' }\n\
         critical = 'net_load > 8 and net_users > 0'\n",
    );
    let quiet = [("calm", 0.0), ("users", 1.0)];
    let with = |load: f64| [quiet[0], quiet[1], ("load", load)];
    assert_eq!(bench.values("a", 0.0, &with(6.0)), ["firing@0! 6 > 5"]);
    let said = bench.values("a", 10.0, &with(9.0));
    assert!(said[0].contains("firing@10!"), "{said:?}");
    let said = bench.values("a", 20.0, &with(1.0));
    assert!(said[0].starts_with("still firing@20"), "not critical any more: {said:?}");
    assert!(bench.values("a", 30.0, &with(1.0)).is_empty(), "it is not calm yet");
    let said = bench.values("a", 40.0, &[("calm", 1.0), ("users", 1.0), ("load", 1.0)]);
    assert!(said[0].starts_with("inactive@40! cleared at 1"), "{said:?}");
}

#[test]
fn what_is_absent_fires_without_any_sample() {
    let mut bench = Bench::new("[rule.r]\nwhen = 'absent(net_load{target=\"a\"})'\nfor = '1m'\n");
    assert!(bench.engine.next_tick().is_some());
    assert_eq!(bench.tick(0.0).len(), 1);
    assert_eq!(bench.engine.alerts()[0].labels.get("target").map(String::as_str), Some("a"));
    let said = bench.tick(60.0);
    assert!(said[0].starts_with("firing@60!"), "{said:?}");
    let said = bench.values("a", 70.0, &[("load", 1.0)]);
    assert!(said[0].starts_with("inactive@70!"), "{said:?}");
}

#[test]
fn a_reload_keeps_the_windows_of_unchanged_rules() {
    let rule = "[rule.r]\nwhen = 'increase(net_errors[1m]) > 5'\n";
    let mut bench = Bench::new(rule);
    bench.values("a", 0.0, &[("errors", 0.0)]);
    let more = format!("[rule.first]\nwhen = 'sum(net_load) > 1'\n{rule}");
    bench.engine.reload(rules(&more), time(5.0), &mut bench.out);
    let said = bench.values("a", 10.0, &[("errors", 100.0), ("load", 0.0)]);
    assert!(said[0].starts_with("firing@10!"), "{said:?}");
    let changed = "[rule.r]\nwhen = 'increase(net_errors[2m]) > 5'\n";
    bench.engine.reload(rules(changed), time(12.0), &mut bench.out);
    assert_eq!(bench.said(), ["inactive@12! rule reloaded: it has changed"]);
    assert!(bench.values("a", 20.0, &[("errors", 200.0)]).is_empty(), "one sample is no increase");
}

#[test]
fn a_rule_about_too_many_series_is_stopped_with_an_alert_about_itself() {
    let text = "[rule.r]\nwhen = 'sum(net_load) > 1000'\nmax_series = 3\nseverity = 'critical'\n";
    let mut bench = Bench::new(text);
    for target in ["a", "b", "c"] {
        assert!(bench.values(target, 0.0, &[("load", 1.0)]).is_empty());
    }
    let said = bench.values("d", 1.0, &[("load", 1.0)]);
    assert!(said[0].starts_with("firing@1!"), "{said:?}");
    let alerts = bench.engine.alerts();
    let label = alerts[0].labels.get("rule_stopped").map(String::as_str);
    assert_eq!(label, Some("about more than 3 series"));
    let usage = bench.engine.usage();
    assert!(usage[0].stopped && usage[0].series == 0, "{usage:?}");
    assert!(bench.values("a", 2.0, &[("load", 5000.0)]).is_empty());
}

#[test]
fn alerts_of_expressions_survive_a_restart_untold() {
    let mut bench = Bench::new(RATIO);
    bench.values("a", 0.0, &[("errors", 8.0), ("requests", 10.0)]);
    assert_eq!(bench.tick(20.0).len(), 1);
    let saved: Vec<Saved> =
        bench.engine.unsaved().into_iter().filter_map(|(_, saved)| saved).collect();
    assert_eq!(saved.len(), 1);
    let mut next = Bench::new(RATIO);
    next.engine.restore(saved, time(30.0), &mut next.out);
    // Nothing was replayed: it is not known whether it still holds, and nobody is told.
    assert_eq!(next.said().len(), 1);
    assert_eq!(next.engine.alerts()[0].state, State::Unknown);
    let said = next.values("a", 31.0, &[("errors", 8.0), ("requests", 10.0)]);
    assert_eq!(said, ["firing@31 data is back at 0.8"]);
    let said = next.values("a", 41.0, &[("errors", 0.0), ("requests", 10.0)]);
    assert_eq!(said, ["inactive@41! cleared at 0 (<= 0.5)"]);
}

#[test]
fn windows_are_full_again_after_a_restart_and_nobody_hears_of_it() {
    let text = "[rule.r]\nwhen = 'sum_over_time(net_load[1m]) > 25'\nfor = '10s'\n";
    let mut bench = Bench::new(text);
    let polls = [0.0, 10.0, 20.0].map(|seconds| (seconds, &[("load", 10.0)][..]));
    for (seconds, values) in polls {
        bench.values("a", seconds, values);
    }
    let saved: Vec<Saved> =
        bench.engine.unsaved().into_iter().filter_map(|(_, saved)| saved).collect();
    assert_eq!(saved.len(), 1);
    let mut next = Bench::new(text);
    assert_eq!(next.engine.reach(), Some(Duration::from_secs(60)));
    for (seconds, values) in polls {
        let batch = next.batch_of("a", seconds, values);
        next.engine.replay(&batch);
    }
    next.engine.restore(saved, time(22.0), &mut next.out);
    assert!(next.said().is_empty());
    assert_eq!(next.engine.alerts()[0].state, State::Pending);
    assert_eq!(next.tick(31.0), ["firing@30! held for 10s at 30 (> 25)"]);
}

#[test]
fn a_target_that_is_removed_takes_its_alerts_along() {
    let mut bench = Bench::new("[rule.r]\nwhen = 'rate(net_errors[1m]) >= 0'\n");
    bench.values("a", 0.0, &[("errors", 0.0)]);
    bench.values("a", 10.0, &[("errors", 1.0)]);
    let gone = |series: &Series| series.tag("target") == Some("a");
    bench.engine.forget(gone, time(11.0), &mut bench.out);
    assert_eq!(bench.said(), ["inactive@11! the target was removed"]);
}
