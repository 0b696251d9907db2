use super::*;

fn window(points: &[(i64, f64)]) -> Vec<Point> {
    points
        .iter()
        .map(|(t, value)| Point { time: Timestamp::from_secs(*t), value: *value })
        .collect()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(seconds)
}

#[test]
fn a_rate_reaches_to_the_bounds_that_are_near() {
    let counter = window(&[(10, 10.0), (20, 20.0), (30, 30.0)]);
    assert_eq!(rate(&counter, at(5), at(35)), Some(1.0));
    // Only half a distance beyond the samples, where the bounds are far.
    assert_eq!(increase(&counter, at(-100), at(100)), Some(30.0));
    assert_eq!(increase(&counter[..1], at(0), at(40)), None);
}

#[test]
fn a_rate_is_rounded_as_prometheus_rounds_it() {
    let counter = window(&[(1, 100.0), (21, 101.0), (41, 103.0)]);
    assert_eq!(rate(&counter, at(0), at(60)), Some(0.075_000_000_000_000_01));
}

#[test]
fn a_counter_is_not_thought_to_have_been_below_zero() {
    let counter = window(&[(10, 1.0), (20, 11.0)]);
    assert_eq!(increase(&counter, at(0), at(20)), Some(11.0));
    assert_eq!(delta(&counter, at(0), at(20)), Some(20.0));
}

#[test]
fn a_counter_that_restarts_begins_at_zero() {
    let counter = window(&[(0, 5.0), (10, 7.0), (20, 2.0), (30, 3.0)]);
    assert_eq!(increase(&counter, at(0), at(30)), Some(5.0));
    assert_eq!(irate(&counter[..3]), Some(0.2));
    assert_eq!(idelta(&counter), Some(1.0));
    assert_eq!(resets(&counter), 1.0);
    assert_eq!(changes(&counter), 3.0);
}

#[test]
fn a_line_is_found_and_continued() {
    let line = window(&[(0, 1.0), (10, 6.0), (20, 11.0)]);
    assert_eq!(deriv(&line), Some(0.5));
    assert_eq!(predict_linear(&line, at(30), 10.0), Some(21.0));
    let flat = window(&[(0, 0.1), (10, 0.1)]);
    assert_eq!(predict_linear(&flat, at(30), 10.0), Some(0.1));
    assert_eq!(predict_linear(&flat[..1], at(30), 10.0), None);
    for odd in [f64::INFINITY, f64::NAN] {
        assert!(deriv(&window(&[(0, odd), (10, odd)])).unwrap().is_nan());
    }
}

#[test]
fn the_extreme_ignores_nan_unless_there_is_nothing_else() {
    let values = window(&[(0, f64::NAN), (10, 3.0), (20, 5.0), (30, 5.0), (40, 3.0)]);
    let of = |function| apply(function, &values, at(-1), at(40));
    assert_eq!(of(Function::MinOverTime), Some(3.0));
    assert_eq!(of(Function::MaxOverTime), Some(5.0));
    assert_eq!(of(Function::TsOfMaxOverTime), Some(30.0));
    assert_eq!(of(Function::TsOfMinOverTime), Some(40.0));
    assert_eq!(of(Function::LastOverTime), Some(3.0));
    assert_eq!(of(Function::CountOverTime), Some(5.0));
    assert!(apply(Function::MaxOverTime, &values[..1], at(-1), at(0)).unwrap().is_nan());
    assert_eq!(of(Function::Abs), None);
    assert_eq!(apply(Function::CountOverTime, &[], at(0), at(1)), None);
}

#[test]
fn smoothing_follows_a_line_exactly() {
    let line = window(&[(0, 0.0), (10, 10.0), (20, 20.0), (30, 30.0)]);
    assert_eq!(double_exponential_smoothing(&line, 0.5, 0.5), Some(30.0));
}
