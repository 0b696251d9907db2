//! Whatever happens, histories are sound.

use proptest::prelude::*;

use super::*;
use crate::rules::Labels;

/// What happens to series 0–2, one after the other.
#[derive(Debug, Clone)]
enum Happening {
    Sample(usize, f64),
    Stale(usize),
    Step(i64),
}

fn happening() -> impl Strategy<Value = (u32, Happening)> {
    let what = prop_oneof![
        8 => (0..3usize, 28..38i32).prop_map(|(s, v)| Happening::Sample(s, f64::from(v))),
        2 => (0..3usize).prop_map(Happening::Stale),
        1 => (-400..400i64).prop_map(Happening::Step),
    ];
    // Mostly small steps of time, now and then a gap beyond the lookback.
    (prop_oneof![9 => 0..40u32, 1 => 200..700u32], what)
}

/// None of them is told to be flapping, so that what is told can be foretold.
const RULES: &str = "
    [rule.plain]\nmetric = 'rack_celsius'\nabove = 33\nflap_detection = false\n
    [rule.slow]\nmetric = 'rack_celsius'\nabove = 33\nclear_below = 31\nfor = '45s'
    flap_detection = false\n
    [rule.sticky]\nmetric = 'rack_celsius'\nbelow = 30\nfor = '20s'\nkeep_firing_for = '90s'
    flap_detection = false\n
    [rule.silent]\nmetric = 'rack_celsius'\nabove = 35\nfor = '30s'\non_missing = 'fire'
    flap_detection = false\n
    [rule.gone]\nmetric = 'rack_celsius'\noutside = [30, 35]\non_missing = 'clear'
    flap_detection = false\n
";

/// One alert's transitions in order.
type Histories = std::collections::BTreeMap<(String, Labels), Vec<Transition>>;

fn histories(out: &[Transition]) -> Histories {
    let mut all = Histories::new();
    for transition in out {
        let alert = &transition.alert;
        let key = (alert.rule.name.to_string(), (*alert.labels).clone());
        all.entry(key).or_default().push(transition.clone());
    }
    all
}

/// Runs it all, with a tick before a happening where `ticks` says so.
fn run(happenings: &[(u32, Happening)], ticks: &[bool], steps: bool) -> Bench {
    let mut bench = Bench::new(RULES);
    let mut now = 0.0;
    for ((wait, happening), tick) in happenings.iter().zip(ticks) {
        now += f64::from(*wait);
        if *tick {
            // Just before: at one time samples count before the clock does.
            bench.engine.tick(time(now).shifted(-1), &mut bench.out);
        }
        let (series, value) = match happening {
            Happening::Sample(series, value) => (*series, *value),
            Happening::Stale(series) => (*series, STALE),
            Happening::Step(seconds) if steps => {
                bench.engine.clock_stepped(seconds * 1_000_000_000);
                now += *seconds as f64;
                continue;
            }
            Happening::Step(_) => continue,
        };
        let batch = bench.batch(["a", "b", "c"][series], now, value);
        bench.engine.apply(&batch, &mut bench.out);
        let (timers, alerts) = bench.engine.alerts.sizes();
        assert!(timers <= alerts);
        assert!(alerts <= 3 * 5, "one alert for a rule and a series");
    }
    bench.engine.tick(time(now + 10_000.0), &mut bench.out);
    bench
}

fn check(history: &[Transition], ordered: bool) -> Result<(), TestCaseError> {
    let (mut state, mut told) = (State::Inactive, false);
    for pair in history.windows(2) {
        prop_assert!(!ordered || pair[0].at <= pair[1].at, "{pair:?}");
    }
    for one in history {
        prop_assert_eq!(one.from, state);
        let to = one.alert.state;
        prop_assert_ne!(one.from, to);
        prop_assert!(!ordered || one.alert.since <= one.at);
        if one.notify != Notify::Nobody {
            // A problem is told once, and only what was told recovers.
            prop_assert_eq!(to, if told { State::Inactive } else { State::Firing });
            told = !told;
        }
        prop_assert!(to != State::Firing || told, "firing is told");
        prop_assert!(to != State::Inactive || !told, "the end of what was told is told");
        state = to;
    }
    Ok(())
}

proptest! {
    #[test]
    fn histories_are_sound(
        happenings in prop::collection::vec(happening(), 0..80),
        ticks in prop::collection::vec(any::<bool>(), 80),
    ) {
        let bench = run(&happenings, &ticks, true);
        // A step back of the clock takes times back with it.
        let ordered = !happenings.iter().any(|(_, h)| matches!(h, Happening::Step(_)));
        let histories = histories(&bench.out);
        for history in histories.values() {
            check(history, ordered)?;
        }
        let active = histories.values().filter(|h| h.last().unwrap().alert.state != State::Inactive);
        prop_assert_eq!(bench.engine.alerts().len(), active.count());
    }

    #[test]
    fn ticks_decide_when_it_is_heard_and_not_what_happens(
        happenings in prop::collection::vec(happening(), 0..80),
        ticks in prop::collection::vec(any::<bool>(), 80),
    ) {
        let one = run(&happenings, &ticks, false);
        let other = run(&happenings, &[false; 80], false);
        prop_assert_eq!(histories(&one.out), histories(&other.out));
    }

    #[test]
    fn samples_of_one_time_are_judged_alike_in_one_batch_and_in_many(
        rows in prop::collection::vec((1..60u32, prop::array::uniform3(28..38i32)), 0..40),
    ) {
        let (mut whole, mut split) = (Bench::new(RULES), Bench::new(RULES));
        let mut now = 0.0;
        for (wait, values) in rows {
            now += f64::from(wait);
            let one = |bench: &Bench, n: usize| {
                bench.batch(["a", "b", "c"][n], now, f64::from(values[n]))
            };
            let mut all = one(&whole, 0);
            all.samples.extend((1..3).flat_map(|n| one(&whole, n).samples));
            whole.engine.apply(&all, &mut whole.out);
            for n in [2, 0, 1] {
                let batch = one(&split, n);
                split.engine.apply(&batch, &mut split.out);
            }
        }
        prop_assert_eq!(histories(&whole.out), histories(&split.out));
    }
}
