use super::*;
use crate::config::Loader;
use crate::rules::{Notify, State};
use crate::sample::{STALE, Sample};

/// An engine, and its transitions in words.
struct Bench {
    catalogue: Arc<Catalogue>,
    engine: Engine,
    out: Vec<Transition>,
}

fn rules(text: &str) -> Vec<Arc<Named<RuleConfig>>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.toml");
    std::fs::write(&path, text).unwrap();
    Loader { env: &|_| None }.load_rules(&path).unwrap_or_else(|wrong| panic!("{wrong}"))
}

fn time(seconds: f64) -> Timestamp {
    Timestamp::from_secs(1_000_000_000).shifted((seconds * 1e9) as i64)
}

impl Bench {
    fn new(text: &str) -> Self {
        let catalogue = Arc::new(Catalogue::default());
        let engine = Engine::new(catalogue.clone(), rules(text));
        Self { catalogue, engine, out: Vec::new() }
    }

    fn batch(&self, target: &str, seconds: f64, value: f64) -> Batch {
        let series =
            self.catalogue.intern("rack", "celsius", &[("target", target), ("kind", "test")]);
        let samples = vec![Sample { series, value }];
        Batch { target: target.into(), time: time(seconds), samples }
    }

    fn sample(&mut self, seconds: f64, value: f64) -> Vec<String> {
        self.sample_of("a", seconds, value)
    }

    fn sample_of(&mut self, target: &str, seconds: f64, value: f64) -> Vec<String> {
        let batch = self.batch(target, seconds, value);
        self.engine.apply(&batch, &mut self.out);
        self.said()
    }

    /// Whether a target answers.
    fn up(&mut self, target: &str, seconds: f64, up: bool) -> Vec<String> {
        let tags = [("target", target), ("kind", "test")];
        let series = self.catalogue.intern("target", "up", &tags);
        let samples = vec![Sample { series, value: f64::from(u8::from(up)) }];
        let batch = Batch { target: target.into(), time: time(seconds), samples };
        self.engine.apply(&batch, &mut self.out);
        self.said()
    }

    fn tick(&mut self, seconds: f64) -> Vec<String> {
        self.engine.tick(time(seconds), &mut self.out);
        self.said()
    }

    /// `firing@5! held for 5s at 36`: state, time, whether people are told, why.
    fn said(&mut self) -> Vec<String> {
        let start = time(0.0);
        let one = |t: Transition| {
            let at = t.at.since(start).as_secs_f64();
            let told = match t.notify {
                Notify::Nobody => "",
                Notify::All => "!",
                Notify::World => "!world",
                Notify::People => "!people",
            };
            let from = if t.from == t.alert.state { "still " } else { "" };
            format!("{from}{}@{at}{told} {}", t.alert.state, t.alert.reason)
        };
        self.out.drain(..).map(one).collect()
    }
}

const HOT: &str =
    "[rule.hot]\nmetric = 'rack_celsius'\nabove = 35\nclear_below = 32\nfor = '30s'\n";
const NONE: [&str; 0] = [];

#[test]
fn what_holds_is_pending_then_firing_then_clears_with_its_value() {
    let mut bench = Bench::new(HOT);
    assert_eq!(bench.sample(0.0, 35.0), NONE);
    assert_eq!(bench.sample(10.0, 36.0), ["pending@10 36 > 35"]);
    assert_eq!(bench.sample(20.0, 37.5), NONE);
    assert_eq!(bench.tick(39.9), NONE);
    assert_eq!(bench.tick(40.0), ["firing@40! held for 30s at 37.5 (> 35)"]);
    assert_eq!(bench.sample(50.0, 33.0), NONE);
    assert_eq!(bench.sample(60.0, 31.0), ["inactive@60! cleared at 31 (< 32)"]);
    assert!(bench.engine.alerts().is_empty());
    assert_eq!(bench.tick(360.0), NONE, "what happened of late is forgotten");
    assert_eq!((bench.engine.next_tick(), bench.engine.alerts.sizes().0), (None, 0));
}

#[test]
fn without_for_it_fires_at_once_and_a_recovery_of_nothing_is_not_told() {
    let mut bench = Bench::new("[rule.r]\nmetric = 'rack_celsius'\nabove = 30\n");
    assert_eq!(bench.sample(0.0, 31.4), ["firing@0! 31.4 > 30"]);
    assert_eq!(bench.sample(1.0, 30.0), ["inactive@1! cleared at 30 (<= 30)"]);
    let mut bench = Bench::new(HOT);
    assert_eq!(bench.sample(0.0, 36.0), ["pending@0 36 > 35"]);
    assert_eq!(bench.sample(1.0, 34.0), ["inactive@1 34 is no longer > 35"]);
}

#[test]
fn hysteresis_holds_between_its_two_thresholds() {
    for (rule, values, firing) in [
        ("above = 35\nclear_below = 32", [34.0, 36.0, 33.0, 32.0, 31.9, 33.0], "011100"),
        ("above = 35", [35.0, 36.0, 35.0, 36.0, 34.0, 36.0], "010101"),
        ("below = 10\nclear_above = 12", [11.0, 9.0, 11.0, 12.0, 12.1, 11.0], "011100"),
        ("outside = [1, 2]", [1.0, 0.5, 2.0, 2.5, 1.5, 1.0], "010100"),
        ("equals = 0", [1.0, 0.0, 0.0, 1.0, 0.0, 2.0], "011010"),
        ("not_equals = 0", [1.0, 0.0, 0.0, 1.0, 0.0, 2.0], "100101"),
    ] {
        let mut bench = Bench::new(&format!("[rule.r]\nmetric = 'rack_celsius'\n{rule}\n"));
        let mut found = String::new();
        for (second, value) in values.into_iter().enumerate() {
            bench.sample(second as f64, value);
            found.push(if bench.engine.alerts().is_empty() { '0' } else { '1' });
        }
        assert_eq!(found, firing, "{rule}");
    }
}

#[test]
fn for_that_is_over_when_a_sample_comes_counts_the_sample_first() {
    let mut bench = Bench::new(HOT);
    bench.sample(0.0, 36.0);
    assert_eq!(bench.sample(30.0, 35.0), ["inactive@30 35 is no longer > 35"]);
    bench.sample(40.0, 36.0);
    assert_eq!(bench.sample(70.0, 37.0), ["firing@70! held for 30s at 37 (> 35)"]);
    bench.sample(80.0, 20.0);
    bench.sample(90.0, 36.0);
    // Nobody ticked at 120: it fired all the same.
    assert_eq!(
        bench.sample(121.0, 20.0),
        ["firing@120! held for 30s at 36 (> 35)", "inactive@121! cleared at 20 (< 32)"]
    );
}

#[test]
fn what_clears_goes_on_firing_for_as_long_as_it_was_told_to() {
    let mut bench =
        Bench::new(&format!("{HOT}keep_firing_for = '1m'\n").replace("for = '30s'\n", ""));
    assert_eq!(bench.sample(0.0, 36.0), ["firing@0! 36 > 35"]);
    assert_eq!(bench.sample(10.0, 30.0), NONE);
    assert_eq!(bench.sample(20.0, 33.0), NONE, "only `when` ends the clearing");
    assert_eq!(bench.sample(30.0, 36.0), NONE);
    assert_eq!(bench.tick(70.0), NONE);
    assert_eq!(bench.sample(80.0, 30.0), NONE);
    assert_eq!(bench.sample(100.0, 29.0), NONE);
    assert_eq!(bench.tick(140.0), ["inactive@140! cleared at 30 (< 32), kept firing for 1m"]);
}

#[test]
fn missing_data_is_neither_a_problem_nor_a_recovery() {
    let mut bench = Bench::new(HOT);
    bench.sample(0.0, 36.0);
    bench.tick(30.0);
    bench.out.clear();
    let gone = |second: f64| format!("data missing since {}", time(second));
    assert_eq!(bench.sample(31.0, STALE), [format!("unknown@31 {}", gone(31.0))]);
    assert_eq!(bench.sample(32.0, STALE), NONE);
    assert_eq!(bench.sample(40.0, 36.5), ["firing@40 data is back at 36.5"]);
    // No mark this time: the last sample counts for five minutes.
    assert_eq!(bench.tick(339.9), NONE);
    assert_eq!(bench.tick(340.0), [format!("unknown@340 {}", gone(40.0))]);
    assert_eq!(bench.engine.alerts()[0].value, Some(36.5));
    assert_eq!(bench.engine.next_tick(), None);
    assert_eq!(bench.sample(1_000.0, 20.0), ["inactive@1000! cleared at 20 (< 32)"]);
}

#[test]
fn the_time_between_rare_polls_is_not_missing_data() {
    let mut bench = Bench::new(&HOT.replace("30s", "15m"));
    bench.engine.polled_every("test.a", Duration::from_secs(600));
    assert_eq!(bench.sample(0.0, 36.0), ["pending@0 36 > 35"]);
    assert_eq!(bench.sample(600.0, 36.0), NONE);
    assert_eq!(bench.tick(900.0), ["firing@900! held for 15m at 36 (> 35)"]);
    assert_eq!(bench.tick(2_099.0), NONE);
    assert!(bench.tick(2_100.0)[0].starts_with("unknown@2100 data missing"));
}

#[test]
fn a_gap_while_pending_starts_it_again() {
    let mut bench = Bench::new(HOT);
    bench.sample(0.0, 36.0);
    let said = bench.sample(20.0, STALE);
    assert!(said[0].starts_with("unknown@20 data missing since"), "{said:?}");
    assert_eq!(bench.sample(25.0, 36.0), ["pending@25 36 > 35"]);
    assert_eq!(bench.tick(54.0), NONE);
    assert_eq!(bench.tick(55.0), ["firing@55! held for 30s at 36 (> 35)"]);
    bench.sample(60.0, 20.0);
    bench.sample(70.0, 36.0);
    bench.sample(80.0, STALE);
    assert_eq!(bench.sample(90.0, 20.0), ["inactive@90 20 is no longer > 35"], "nobody knew");
}

#[test]
fn missing_data_clears_where_that_is_wanted() {
    let mut bench = Bench::new(&format!("{HOT}on_missing = 'clear'\n"));
    bench.sample(0.0, 36.0);
    bench.tick(30.0);
    let reason = format!("data missing since {}", time(31.0));
    assert_eq!(bench.sample(31.0, STALE), [format!("inactive@31! {reason}")]);
    assert_eq!(bench.sample(40.0, 36.0), ["pending@40 36 > 35"]);
    let reason = format!("data missing since {}", time(41.0));
    assert_eq!(bench.sample(41.0, STALE), [format!("inactive@41 {reason}")]);
}

#[test]
fn missing_data_fires_where_that_is_wanted() {
    let mut bench = Bench::new(&format!("{HOT}on_missing = 'fire'\n"));
    assert_eq!(bench.sample(0.0, 20.0), NONE);
    assert!(bench.engine.alerts().is_empty());
    let reason = format!("data missing since {}", time(10.0));
    assert_eq!(bench.sample(10.0, STALE), [format!("pending@10 {reason}")]);
    assert_eq!(bench.tick(40.0), [format!("firing@40! {reason}, for 30s")]);
    // Between the thresholds: but it was not the value that fired.
    assert_eq!(bench.sample(50.0, 33.0), ["inactive@50! data is back at 33"]);
    // Silence without a mark.
    let reason = format!("data missing since {}", time(50.0));
    assert_eq!(bench.tick(350.0), [format!("pending@350 {reason}")]);
    assert_eq!(bench.sample(360.0, 36.0), NONE, "for another reason, but it still holds");
    assert_eq!(bench.tick(380.0), ["firing@380! held for 30s at 36 (> 35)"]);
    assert_eq!(bench.sample(390.0, 33.0), NONE);
    assert_eq!(bench.sample(400.0, STALE), NONE);
    assert_eq!(bench.sample(410.0, 33.0), NONE, "the value fired it, and has not cleared");
}

#[test]
fn late_and_doubled_samples_and_those_from_the_future_have_their_effect() {
    let mut bench = Bench::new("[rule.r]\nmetric = 'rack_celsius'\nabove = 30\n");
    bench.sample(10.0, 20.0);
    assert_eq!(bench.sample(9.0, 40.0), NONE, "late");
    assert_eq!(bench.engine.late(), 1);
    assert_eq!(bench.sample(10.0, 40.0), ["firing@10! 40 > 30"], "the last of two counts");
    assert_eq!(bench.sample(9.5, STALE), NONE);
    assert_eq!(bench.sample(3_600.0, 20.0).len(), 2, "it went unknown before, then cleared");
    assert_eq!(bench.sample(20.0, 40.0), NONE, "its series is an hour ahead");
    // Another series is judged at its own time.
    let other = bench.batch("b", 20.0, 40.0);
    bench.engine.apply(&other, &mut bench.out);
    assert_eq!(bench.said(), ["firing@20! 40 > 30"]);
}

#[test]
fn a_step_of_the_clock_leaves_what_is_left_of_timers() {
    let mut bench = Bench::new(HOT);
    bench.sample(0.0, 36.0);
    bench.engine.clock_stepped(3_600_000_000_000);
    assert_eq!(bench.tick(3_629.0), NONE);
    assert_eq!(bench.tick(3_630.0), ["firing@3630! held for 30s at 36 (> 35)"]);
    bench.engine.clock_stepped(-3_600_000_000_000);
    assert_eq!(bench.sample(31.0, 20.0), ["inactive@31! cleared at 20 (< 32)"]);
}

#[test]
fn a_reload_keeps_the_alerts_and_timers_of_rules_that_did_not_change() {
    let other = "[rule.any]\nmetric = 'rack_celsius'\nabove = 30\n";
    let mut bench = Bench::new(&format!("{HOT}{other}"));
    assert_eq!(bench.sample(0.0, 36.0), ["firing@0! 36 > 30", "pending@0 36 > 35"]);
    let reload = |bench: &mut Bench, text: &str, second: f64| {
        bench.engine.reload(rules(text), time(second), &mut bench.out);
        bench.said()
    };
    let moved = format!("[rule.new]\nmetric = 'rack_celsius'\nabove = 33\n{other}\n\n{HOT}");
    assert_eq!(reload(&mut bench, &moved, 5.0), NONE);
    assert_eq!(bench.sample(6.0, 36.0), ["firing@6! 36 > 33"]);
    assert_eq!(bench.tick(30.0), ["firing@30! held for 30s at 36 (> 35)"]);
    let changed = moved.replace("above = 35", "above = 34");
    assert_eq!(reload(&mut bench, &changed, 40.0), ["inactive@40! rule reloaded: it has changed"]);
    assert_eq!(bench.sample(41.0, 36.0), ["pending@41 36 > 34"]);
    assert_eq!(reload(&mut bench, other, 50.0).len(), 2, "one was pending, one was told");
    assert_eq!(bench.engine.next_tick().is_some(), bench.engine.alerts().len() == 1);
}

#[test]
fn a_target_that_is_no_longer_watched_takes_its_alerts_along() {
    let mut bench = Bench::new("[rule.r]\nmetric = 'rack_celsius'\nabove = 30\n");
    bench.sample(0.0, 36.0);
    bench.engine.forget(|series| series.tag("target") == Some("b"), time(1.0), &mut bench.out);
    assert_eq!(bench.said(), NONE);
    bench.engine.forget(|series| series.tag("target") == Some("a"), time(1.0), &mut bench.out);
    assert_eq!(bench.said(), ["inactive@1! the target was removed"]);
    assert_eq!(bench.sample(0.5, 36.0), ["firing@0.5! 36 > 30"], "it may come back");
}

#[test]
fn a_rule_judges_its_own_series_and_labels_its_alerts() {
    let mut bench = Bench::new(
        "[rule.r]\nwhen = 'rack_celsius{target=~\"a|c\"} > 30'\nlabels = { team = 'net' }\n\
         severity = 'critical'\nsummary = '{{ labels.target }} at {{ value }}'\n\
         description = '{{ labels.nope }}'\n",
    );
    let other = bench.batch("b", 0.0, 99.0);
    bench.engine.apply(&other, &mut bench.out);
    assert_eq!((bench.said(), bench.engine.evaluations()), (vec![], 0));
    let own = bench.batch("a", 0.0, 99.0);
    bench.engine.apply(&own, &mut bench.out);
    let notice = bench.out[0].notice();
    let labels: Vec<_> = notice.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(labels, ["kind=test", "target=a", "team=net"]);
    assert_eq!(notice.summary, "a at 99");
    assert!(
        notice
            .description
            .starts_with("r firing: 99 > 30 (kind=\"test\", target=\"a\", team=\"net\")")
    );
    assert!(notice.description.contains("undefined"), "{}", notice.description);
    assert_eq!(bench.engine.alerts()[0].notice(time(1.0)).fingerprint, notice.fingerprint);
}

mod explain;
mod parents;
mod properties;
mod restart;
mod states;
mod streams;
