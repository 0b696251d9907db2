//! What survives a restart, and that nobody hears of anything twice.

use std::collections::BTreeMap;

use super::*;
use crate::rules::Saved;

/// What is kept, as whoever keeps it does: by key, through its bytes.
#[derive(Default)]
struct Keeper(BTreeMap<Arc<str>, Vec<u8>>);

impl Keeper {
    fn keep(&mut self, bench: &mut Bench) {
        for (key, saved) in bench.engine.unsaved() {
            match saved {
                Some(saved) => drop(self.0.insert(key, serde_json::to_vec(&saved).unwrap())),
                None => drop(self.0.remove(&key)),
            }
        }
    }

    /// Another engine, as after a restart at that time.
    fn restart(&self, rules: &str, seconds: f64) -> Bench {
        let mut bench = Bench::new(rules);
        let saved: Vec<Saved> =
            self.0.values().map(|bytes| serde_json::from_slice(bytes).unwrap()).collect();
        bench.engine.restore(saved, time(seconds), &mut bench.out);
        bench
    }
}

#[test]
fn a_firing_alert_is_not_told_again_and_its_end_is() {
    let (mut bench, mut keeper) = (Bench::new(HOT), Keeper::default());
    bench.sample(0.0, 36.0);
    bench.tick(30.0);
    keeper.keep(&mut bench);
    assert_eq!(keeper.0.len(), 1);
    let mut bench = keeper.restart(HOT, 100.0);
    assert_eq!(bench.said(), NONE);
    let alert = &bench.engine.alerts()[0];
    assert_eq!((alert.state, alert.since), (State::Firing, time(0.0)));
    assert_eq!(bench.sample(101.0, 36.0), NONE);
    keeper.keep(&mut bench);
    assert_eq!(bench.sample(110.0, 20.0), ["inactive@110! cleared at 20 (< 32)"]);
    bench.tick(500.0);
    keeper.keep(&mut bench);
    assert!(keeper.0.is_empty(), "what is at rest is not kept");
}

#[test]
fn a_pending_alert_goes_on_by_the_time_of_its_samples() {
    let (mut bench, mut keeper) = (Bench::new(HOT), Keeper::default());
    bench.sample(0.0, 36.0);
    keeper.keep(&mut bench);
    let mut bench = keeper.restart(HOT, 50.0);
    assert_eq!(bench.tick(60.0), NONE, "nobody knows whether it held meanwhile");
    assert_eq!(bench.engine.alerts()[0].since, time(0.0));
    assert_eq!(bench.sample(61.0, 37.0), ["firing@61! held for 30s at 37 (> 35)"]);
    let mut bench = keeper.restart(HOT, 50.0);
    assert_eq!(bench.sample(61.0, 34.0), ["inactive@61 34 is no longer > 35"]);
    let mut bench = keeper.restart(HOT, 10.0);
    assert_eq!(bench.sample(11.0, 37.0), NONE);
    assert_eq!(bench.tick(30.0), ["firing@30! held for 30s at 37 (> 35)"]);
}

#[test]
fn a_firing_alert_without_data_becomes_unknown_by_the_usual_lookback() {
    let (mut bench, mut keeper) = (Bench::new(HOT), Keeper::default());
    bench.sample(0.0, 36.0);
    bench.tick(30.0);
    keeper.keep(&mut bench);
    let mut bench = keeper.restart(HOT, 1_000.0);
    assert_eq!(bench.tick(1_299.0), NONE);
    let said = bench.tick(1_300.0);
    assert_eq!(said, [format!("unknown@1300 data missing since {}", time(1_000.0))]);
    assert_eq!(bench.sample(1_400.0, 36.0), ["firing@1400 data is back at 36"]);
}

#[test]
fn alerts_of_rules_that_changed_meanwhile_end_and_who_heard_of_them_hears_it() {
    let rules = format!("{HOT}[rule.any]\nmetric = 'rack_celsius'\nabove = 30\nactions = []\n");
    let (mut bench, mut keeper) = (Bench::new(&rules), Keeper::default());
    bench.sample(0.0, 36.0);
    keeper.keep(&mut bench);
    let changed = rules.replace("above = 30", "above = 31").replace("above = 35", "above = 34");
    let mut bench = keeper.restart(&changed, 10.0);
    assert_eq!(
        bench.said(),
        ["inactive@10! rule reloaded: it has changed", "inactive@10 rule reloaded: it has changed"]
    );
    keeper.keep(&mut bench);
    assert!(keeper.0.is_empty());
    assert_eq!(bench.sample(11.0, 20.0), NONE);
}

#[test]
fn alerts_of_rules_that_are_gone_end_for_whom_they_named() {
    let rule = "[rule.r]\nmetric = 'rack_celsius'\nabove = 30\nactions = ['ops']\n";
    let (mut bench, mut keeper) = (Bench::new(rule), Keeper::default());
    bench.sample(0.0, 36.0);
    keeper.keep(&mut bench);
    let bench = keeper.restart(HOT, 10.0);
    let [end] = &bench.out[..] else { panic!("{:?}", bench.out) };
    let alert = &end.alert;
    assert_eq!((&*alert.rule.name, alert.state, end.notify), ("r", State::Inactive, Notify::All));
    assert_eq!(alert.rule.value.actions[0].value, "ops");
    assert_eq!(alert.labels["target"], "a");
}

#[test]
fn what_flaps_what_waits_and_what_counts_samples_goes_on() {
    let rules = "[rule.some]\nmetric = 'rack_celsius'\nabove = 30\nat_least = '2 of 3'\n\
         [rule.flaps]\nmetric = 'rack_celsius'\nabove = 30\n\
         [rule.waits]\nmetric = 'rack_celsius'\nmatch = { target = 'b' }\nabove = 30\n\
         depends_on = ['gateway']\nsettle = '10s'\n";
    let (mut bench, mut keeper) = (Bench::new(rules), Keeper::default());
    for second in 0..9 {
        bench.sample(f64::from(second), if second % 2 == 0 { 20.0 } else { 31.0 });
    }
    bench.up("gateway", 9.0, false);
    bench.sample_of("b", 9.0, 31.0);
    bench.sample(10.0, 31.0);
    keeper.keep(&mut bench);
    let mut bench = keeper.restart(rules, 20.0);
    let flapping = bench.engine.alerts().into_iter().find(|one| &*one.rule.name == "flaps");
    assert!(flapping.is_some_and(|alert| alert.flapping));
    // The gateway has not been heard of since; b waits for it anew.
    let of_rule = |said: Vec<String>| said.into_iter().filter(|s| s.contains("still")).collect();
    let said: Vec<String> = of_rule(bench.sample_of("b", 21.0, 31.0));
    assert_eq!(said, NONE);
    assert_eq!(bench.up("gateway", 22.0, false).len(), 1, "held back again");
    let said = bench.sample(23.0, 20.0);
    assert!(said.iter().all(|said| said.starts_with("inactive@23!world cleared at 20")));
    assert_eq!(said.len(), 2, "the counted samples fired, and flapped as well: {said:?}");
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    const RULES: &str = "
        [rule.plain]\nmetric = 'rack_celsius'\nabove = 33\nflap_detection = false\n
        [rule.slow]\nmetric = 'rack_celsius'\nwarning = { above = 33, clear_below = 31 }
        critical = { above = 35 }\nfor = '20s'\nflap_detection = false\n
        [rule.kept]\nmetric = 'rack_celsius'\nabove = 33\nkeep_firing_for = '20s'
        flap_detection = false\n
        [rule.silent]\nmetric = 'rack_celsius'\nabove = 35\nfor = '30s'\non_missing = 'fire'
        flap_detection = false\n
    ";

    proptest! {
        /// A restart right after a sample changes nothing, where nothing is due before the next.
        #[test]
        fn a_restart_changes_nothing_that_is_told(
            values in prop::collection::vec(28..38i32, 1..60),
            restarts in prop::collection::vec(any::<bool>(), 60),
        ) {
            let (mut whole, mut parts) = (Bench::new(RULES), Bench::new(RULES));
            let mut keeper = Keeper::default();
            for (n, (value, restart)) in values.iter().zip(restarts).enumerate() {
                let (now, value) = (n as f64 * 10.0, f64::from(*value));
                if restart && n > 0 {
                    keeper.keep(&mut parts);
                    parts = keeper.restart(RULES, now - 10.0);
                    prop_assert!(parts.out.is_empty());
                }
                let mut said = [whole.sample(now, value), parts.sample(now, value)];
                // What is due between two samples is heard of at its time, or after a restart with
                // the next sample.
                said.iter_mut().flatten().for_each(|said| {
                    let (state, reason) = said.split_once('@').unwrap();
                    *said = format!("{state} {}", reason.contains('!'));
                });
                prop_assert_eq!(&said[0], &said[1]);
            }
        }
    }
}
