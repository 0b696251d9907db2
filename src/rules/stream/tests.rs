//! What a stream does in the open; that it means what the evaluator says is the oracle's.

mod alerts;
mod grammar;
mod oracle;
mod rig;
mod world;

use rig::Rig;

#[test]
fn a_threshold_holds_sample_by_sample() {
    let mut rig = Rig::new("t > 30");
    rig.push(0, &[("t{a=1}", 31.0), ("t{a=2}", 29.0), ("u{a=1}", 99.0)]);
    assert_eq!(rig.shown(), "{a=1} 31 | {a=2} (29)");
    rig.push(10, &[("t{a=2}", 35.0)]);
    assert_eq!(rig.shown(), "{a=1} 31 | {a=2} 35");
    rig.tick(300);
    assert_eq!(rig.shown(), "{a=1} missing | {a=2} 35");
    rig.stale(301, "t{a=2}");
    assert_eq!(rig.shown(), "{a=1} missing | {a=2} missing");
}

#[test]
fn an_aggregation_follows_its_members() {
    let mut rig = Rig::new("sum by (g) (x) > 3");
    rig.push(0, &[("x{g=a,i=1}", 1.0), ("x{g=a,i=2}", 1.5), ("x{g=b,i=1}", 7.0)]);
    assert_eq!(rig.shown(), "{g=a} (2.5) | {g=b} 7");
    rig.push(10, &[("x{g=a,i=2}", 3.0)]);
    assert_eq!(rig.shown(), "{g=a} 4 | {g=b} 7");
    rig.stale(20, "x{g=b,i=1}");
    assert_eq!(rig.shown(), "{g=a} 4 | {g=b} missing");
}

#[test]
fn a_batch_is_applied_whole_before_a_join_is_judged() {
    let mut rig = Rig::new("errors / requests > 0.5");
    rig.push(0, &[("errors{t=a}", 1.0), ("requests{t=a}", 10.0)]);
    assert_eq!(rig.shown(), "{t=a} (0.1)");
    rig.push(10, &[("errors{t=a}", 20.0), ("requests{t=a}", 100.0)]);
    assert_eq!(rig.judged, ["{t=a} (0.1)", "{t=a} (0.2)"]);
}

#[test]
fn what_is_absent_is_there_from_the_start_and_gone_with_the_first_sample() {
    let mut rig = Rig::new("absent(up{job=\"x\"})");
    rig.tick(0);
    assert_eq!(rig.shown(), "{job=x} 1");
    rig.push(1, &[("up{job=x,i=1}", 0.0)]);
    assert_eq!(rig.shown(), "{job=x} ()");
    rig.tick(301);
    assert_eq!(rig.shown(), "{job=x} 1");
}

#[test]
fn series_that_come_and_go_leave_nothing_behind() {
    let mut rig = Rig::new("sum by (g) (rate(x[1m])) > 0 or x");
    for round in 0..4_000 {
        let series = format!("x{{g={},i={round}}}", round % 7);
        rig.push(round * 10, &[(&series, 1.0)]);
    }
    assert!(rig.stream().series() < 5_000, "{}", rig.stream().series());
    assert!(rig.stream().bytes() < 2_000_000, "{}", rig.stream().bytes());
    assert!(rig.stream().outputs().count() < 3_000);
}

#[test]
fn a_rule_about_too_many_series_stops_alone() {
    let mut rig = Rig::with_most_series("x > 0", 10);
    for i in 0..20 {
        rig.push(i, &[(&format!("x{{i={i}}}"), 1.0)]);
    }
    assert_eq!(rig.stream().stopped(), Some(super::Stopped::Series { most: 10 }));
    assert_eq!(rig.stream().series(), 0);
    assert_eq!(rig.shown(), "");
}

#[test]
fn a_step_of_the_clock_moves_windows_and_timers() {
    let mut rig = Rig::new("max_over_time(x[1m]) > 0");
    rig.push(0, &[("x{i=1}", 1.0)]);
    rig.network.clock_stepped(3_600_000_000_000);
    rig.tick(3_659);
    assert_eq!(rig.shown(), "{i=1} 1");
    rig.tick(3_660);
    assert_eq!(rig.shown(), "{i=1} missing");
}

#[test]
fn a_sample_of_the_future_waits_where_the_time_is_known() {
    let mut rig = Rig::new("x > 0");
    rig.network.observe(crate::sample::Timestamp::from_secs(10));
    rig.push(5, &[("x{i=1}", 1.0)]);
    rig.push(60, &[("x{i=1}", 2.0), ("x{i=2}", 2.0)]);
    assert_eq!(rig.shown(), "{i=1} 1 | {i=2} missing");
    rig.tick(60);
    assert_eq!(rig.shown(), "{i=1} 2 | {i=2} 2");
}

#[test]
fn values_that_have_become_equal_deviate_by_nothing() {
    for (expr, shown) in
        [("stddev_over_time(x[1m])", "{i=1} 0 | {i=2} 0"), ("stddev by () (x)", "{} 0")]
    {
        let mut rig = Rig::new(expr);
        for second in (0..200).step_by(10) {
            let value = if second < 50 { 0.1 } else { 1e9 + 0.1 };
            rig.push(second, &[("x{i=1}", value), ("x{i=2}", value)]);
        }
        assert_eq!(rig.shown(), shown, "{expr}");
    }
}

#[test]
fn values_far_from_all_others_leave_no_trace() {
    let mut rig = Rig::new("stddev_over_time(x[1m])");
    rig.push(0, &[("x{i=1}", 1.0), ("x{i=2}", 1.0)]);
    rig.push(5, &[("x{i=1}", 1e200), ("x{i=2}", 1e30)]);
    for second in (10..=70).step_by(10) {
        let value = f64::from(u8::from(second % 20 == 0));
        rig.push(second, &[("x{i=1}", value), ("x{i=2}", value)]);
    }
    assert_eq!(rig.shown(), "{i=1} 0.5 | {i=2} 0.5");
}

#[test]
fn the_time_of_a_sample_is_looked_for_when_its_selector_says() {
    let mut rig = Rig::new("timestamp(x @ 100)");
    rig.push(50, &[("x{i=1}", 1.0)]);
    rig.push(200, &[("x{i=1}", 1.0), ("x{i=2}", 1.0)]);
    rig.tick(900);
    assert_eq!(rig.shown(), "{i=1} 50");
}
