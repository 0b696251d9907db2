//! Severities, samples that must hold together, alerts that flap.

use super::*;
use crate::rules::Severity;

const HOTTER: &str = "[rule.hot]\nmetric = 'rack_celsius'\n\
     warning = { above = 35, clear_below = 32 }\ncritical = { above = 45, clear_below = 42 }\n\
     flap_detection = false\n";

#[test]
fn one_alert_gets_worse_and_milder_and_people_hear_what_is_news() {
    let mut bench = Bench::new(HOTTER);
    let severity = |bench: &Bench| bench.engine.alerts()[0].severity;
    assert_eq!(bench.sample(0.0, 36.0), ["firing@0! 36 > 35"]);
    assert_eq!(severity(&bench), Severity::Warning);
    assert_eq!(bench.sample(1.0, 44.0), NONE, "its own hysteresis has not begun");
    assert_eq!(bench.sample(2.0, 46.0), ["still firing@2! 46 > 45"]);
    assert_eq!(severity(&bench), Severity::Critical);
    assert_eq!(bench.sample(3.0, 43.0), NONE);
    assert_eq!(
        bench.sample(4.0, 41.0),
        ["still firing@4 no longer critical at 41 (< 42), still > 35"],
        "shown, not told"
    );
    assert_eq!(severity(&bench), Severity::Warning);
    assert_eq!(bench.sample(5.0, 47.0), ["still firing@5 47 > 45"], "people think it still is");
    assert_eq!(bench.sample(6.0, 20.0), ["inactive@6! cleared at 20 (< 32)"]);
    assert_eq!(bench.sample(7.0, 50.0), ["firing@7! 50 > 45"], "at once with the worst");
}

#[test]
fn each_severity_has_to_hold_for_as_long_as_the_rule_says() {
    let mut bench = Bench::new(&format!("{HOTTER}for = '30s'\n"));
    assert_eq!(bench.sample(0.0, 36.0), ["pending@0 36 > 35"]);
    assert_eq!(bench.sample(20.0, 46.0), NONE);
    assert_eq!(bench.tick(30.0), ["firing@30! held for 30s at 46 (> 35)"]);
    assert_eq!(bench.tick(49.0), NONE);
    assert_eq!(bench.tick(50.0), ["still firing@50! held for 30s at 46 (> 45)"]);
    // A spike that does not last makes nothing worse.
    let mut bench = Bench::new(&format!("{HOTTER}for = '30s'\n"));
    bench.sample(0.0, 36.0);
    bench.tick(30.0);
    bench.out.clear();
    bench.sample(31.0, 50.0);
    bench.sample(40.0, 36.0);
    assert_eq!(bench.tick(100.0), NONE);
    bench.sample(101.0, 50.0);
    let said = bench.sample(110.0, STALE);
    assert!(said[0].starts_with("unknown@110 data missing"), "{said:?}");
    assert_eq!(bench.sample(135.0, 50.0), ["firing@135 data is back at 50"]);
    assert_eq!(bench.tick(165.0), ["still firing@165! held for 30s at 50 (> 45)"], "a gap");
}

#[test]
fn severities_in_promql_mean_the_same() {
    let mut bench = Bench::new(
        "[rule.r]\nwarning = 'rack_celsius > 35'\n\
         critical = { when = 'rack_celsius >= 45', clear = 'rack_celsius < 40' }\n",
    );
    assert_eq!(bench.sample(0.0, 45.0), ["firing@0! 45 >= 45"]);
    assert_eq!(bench.sample(1.0, 41.0), NONE);
    assert_eq!(
        bench.sample(2.0, 39.0),
        ["still firing@2 no longer critical at 39 (< 40), still > 35"]
    );
    assert_eq!(bench.sample(3.0, 35.0), ["inactive@3! cleared at 35 (<= 35)"]);
}

#[test]
fn so_many_of_the_last_samples_must_hold() {
    let rule = "[rule.r]\nmetric = 'rack_celsius'\nabove = 30\nat_least = '3 of 5'\n";
    let mut bench = Bench::new(rule);
    let mut found = String::new();
    for (second, value) in [31, 20, 31, 20, 31, 20, 31, 20, 20, 31].into_iter().enumerate() {
        let said = bench.sample(second as f64, f64::from(value));
        assert!(said.len() <= 1, "{said:?}");
        found.push(said.first().map_or('.', |said| said.chars().next().unwrap()));
    }
    // 3 of 5 at the fifth; 2 of 5 at the sixth, 3 of 5 at the seventh, …
    assert_eq!(found, "....fifi..");
    let mut bench = Bench::new(rule);
    bench.sample(0.0, 31.0);
    bench.sample(1.0, 32.0);
    assert_eq!(bench.sample(2.0, STALE), NONE, "a gap is no sample");
    assert_eq!(bench.sample(3.0, 33.0), ["firing@3! 33 > 30 in 3 of 5 samples"]);
    bench.sample(4.0, 20.0);
    bench.sample(5.0, 20.0);
    assert_eq!(bench.sample(6.0, 20.0), ["inactive@6! cleared at 20 (<= 30 in 3 of 5 samples)"]);
    for second in 7..40 {
        bench.sample(f64::from(second), 20.0);
    }
    assert_eq!(bench.engine.alerts.sizes().0, 0, "nothing is kept of a series at rest");
}

#[test]
fn samples_that_hold_count_no_more_once_the_data_is_missing_for_good() {
    let mut bench =
        Bench::new("[rule.r]\nmetric = 'rack_celsius'\nabove = 30\nat_least = '2 of 3'\n");
    bench.sample(0.0, 31.0);
    assert_eq!(bench.tick(300.0), NONE);
    assert_eq!(bench.engine.next_tick(), None);
    assert_eq!(bench.sample(301.0, 31.0), NONE);
    assert_eq!(bench.sample(302.0, 31.0), ["firing@302! 31 > 30 in 2 of 3 samples"]);
}

#[test]
fn an_alert_that_flaps_is_told_once_more_and_again_when_it_is_calm() {
    let mut bench = Bench::new("[rule.r]\nmetric = 'rack_celsius'\nabove = 30\n");
    let mut told = Vec::new();
    let mut second = 0.0;
    for _ in 0..15 {
        for value in [31.0, 20.0] {
            told.extend(bench.sample(second, value));
            second += 1.0;
        }
    }
    let to_people = |said: &&String| !said.contains("!world") && said.contains('!');
    let people: Vec<&String> = told.iter().filter(to_people).collect();
    // Three pairs, then the message, in the seventh change.
    assert_eq!(people.len(), 7, "{people:#?}");
    assert_eq!(
        people[6],
        "firing@6! 31 > 30; flapping: 40 % of the last states changed, more is told once it is calm"
    );
    assert_eq!(told.len(), 30, "the state is shown, and the world is told");
    assert!(told[7..].iter().all(|said| said.contains("!world")), "{told:#?}");
    let mut calm = Vec::new();
    for _ in 0..20 {
        calm.extend(bench.sample(second, 31.0));
        second += 1.0;
    }
    assert_eq!(calm[0], "firing@30!world 31 > 30");
    assert_eq!(calm.len(), 2, "{calm:?}");
    assert!(calm[1].contains("!people no longer flapping: firing at 31, 21 %"), "{calm:?}");
    assert_eq!(
        bench.sample(second, 20.0),
        [format!("inactive@{second}! cleared at 20 (<= 30)")],
        "as ever"
    );
}

#[test]
fn what_flapped_and_ends_for_good_is_told_to_have_ended() {
    let mut bench = Bench::new("[rule.r]\nmetric = 'rack_celsius'\nabove = 30\n");
    for second in 0..21 {
        bench.sample(f64::from(second), if second % 2 == 0 { 31.0 } else { 20.0 });
    }
    bench.out.clear();
    assert!(bench.engine.alerts()[0].flapping);
    assert_eq!(bench.sample(21.0, 20.0), ["inactive@21!world cleared at 20 (<= 30)"]);
    let said = bench.tick(321.0);
    let end = "still inactive@321!people no longer flapping: there is no data any more";
    assert_eq!(said, [end]);
    assert_eq!(bench.engine.alerts.sizes().0, 0);
    // And by a reload.
    for second in 400..421 {
        bench.sample(f64::from(second), if second % 2 == 0 { 31.0 } else { 20.0 });
    }
    bench.sample(421.0, 20.0);
    bench.engine.reload(vec![], time(422.0), &mut bench.out);
    assert_eq!(bench.said(), ["still inactive@422!people rule reloaded: it was removed"]);
}

#[test]
fn flap_detection_can_be_left_out() {
    let rule = "[rule.r]\nmetric = 'rack_celsius'\nabove = 30\nflap_detection = false\n";
    let mut bench = Bench::new(rule);
    for second in 0..40 {
        let said = bench.sample(f64::from(second), if second % 2 == 0 { 31.0 } else { 20.0 });
        assert!(said[0].contains("! "), "{said:?}");
    }
    assert!(bench.engine.alerts().is_empty() && bench.engine.next_tick().is_none());
}

#[test]
fn a_target_that_is_down_is_the_reason_its_data_is_missing() {
    let mut bench = Bench::new("[rule.r]\nmetric = 'rack_celsius'\nabove = 30\n");
    bench.sample(0.0, 31.0);
    bench.up("a", 1.0, false);
    let said = bench.sample(1.0, STALE);
    assert_eq!(said, [format!("unknown@1 target down, data missing since {}", time(1.0))]);
}
