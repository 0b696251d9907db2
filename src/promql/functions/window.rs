//! Functions of the samples of one series in a window.
//!
//! A window is a slice in the order of time that never contains the stale mark, and begins after
//! the window's start: `start < time <= end`. `None` means: no result for this series.

use super::extrapolation::Extrapolation;
use super::statistics::{Mean, Moments, Sum, quantile};
use crate::promql::Function;
use crate::sample::Timestamp;

/// A sample of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// When.
    pub time: Timestamp,
    /// The value.
    pub value: f64,
}

/// What a function that takes a window and nothing else makes of it; the window's bounds matter
/// to those that extrapolate. `None` for a function that is none of these, too.
#[must_use]
pub fn apply(
    function: Function,
    window: &[Point],
    start: Timestamp,
    end: Timestamp,
) -> Option<f64> {
    let (first, last) = (window.first()?, window.last()?);
    Some(match function {
        Function::Rate => return rate(window, start, end),
        Function::Increase => return increase(window, start, end),
        Function::Delta => return delta(window, start, end),
        Function::Irate => return irate(window),
        Function::Idelta => return idelta(window),
        Function::Deriv => return deriv(window),
        Function::AvgOverTime => avg(window),
        Function::SumOverTime => sum(window),
        Function::MinOverTime => extreme(window, |new, best| new < best).value,
        Function::MaxOverTime => extreme(window, |new, best| new > best).value,
        Function::CountOverTime => count(window),
        Function::PresentOverTime => 1.0,
        Function::FirstOverTime => first.value,
        Function::LastOverTime => last.value,
        Function::StdvarOverTime => moments(window).variance(),
        Function::StddevOverTime => moments(window).variance().sqrt(),
        Function::MadOverTime => median_deviation(window),
        Function::Changes => changes(window),
        Function::Resets => resets(window),
        Function::TsOfFirstOverTime => first.time.as_secs_f64(),
        Function::TsOfLastOverTime => last.time.as_secs_f64(),
        Function::TsOfMinOverTime => extreme(window, |new, best| new <= best).time.as_secs_f64(),
        Function::TsOfMaxOverTime => extreme(window, |new, best| new >= best).time.as_secs_f64(),
        _ => return None,
    })
}

/// `rate`: the increase of a counter per second, extrapolated to the window's bounds.
#[must_use]
pub fn rate(window: &[Point], start: Timestamp, end: Timestamp) -> Option<f64> {
    let (growth, extrapolation) = growth(window, (start, end))?;
    Some(growth * extrapolation.per_second((start, end)))
}

/// `increase`: how much a counter grew, extrapolated to the window's bounds. A value below the one
/// before is a counter that began again at zero.
#[must_use]
pub fn increase(window: &[Point], start: Timestamp, end: Timestamp) -> Option<f64> {
    let (growth, extrapolation) = growth(window, (start, end))?;
    Some(growth * extrapolation.factor)
}

/// How much a counter grew between its samples.
fn growth(window: &[Point], bounds: (Timestamp, Timestamp)) -> Option<(f64, Extrapolation)> {
    let (first, last) = two(window)?;
    let restarts: f64 = window
        .windows(2)
        .filter(|pair| pair[1].value < pair[0].value)
        .map(|pair| pair[0].value)
        .sum();
    let growth = last.value - first.value + restarts;
    Some((growth, Extrapolation::new((first, last), window.len(), bounds, Some(growth))))
}

/// `delta`: how much a gauge changed, extrapolated to the window's bounds.
#[must_use]
pub fn delta(window: &[Point], start: Timestamp, end: Timestamp) -> Option<f64> {
    let (first, last) = two(window)?;
    let extrapolation = Extrapolation::new((first, last), window.len(), (start, end), None);
    Some((last.value - first.value) * extrapolation.factor)
}

/// `irate`: per second, between the last two samples.
#[must_use]
pub fn irate(window: &[Point]) -> Option<f64> {
    let [.., before, last] = window else { return None };
    let restarted = last.value < before.value;
    let growth = if restarted { last.value } else { last.value - before.value };
    Some(growth / seconds(last.time, before.time))
}

/// `idelta`: the difference of the last two samples.
#[must_use]
pub fn idelta(window: &[Point]) -> Option<f64> {
    let [.., before, last] = window else { return None };
    Some(last.value - before.value)
}

/// `deriv`: the slope per second of the line that fits best.
#[must_use]
pub fn deriv(window: &[Point]) -> Option<f64> {
    let (first, _) = two(window)?;
    Some(regression(window, first.time).0)
}

/// `predict_linear`: where that line will be, seconds from `now`, the time of evaluation.
#[must_use]
pub fn predict_linear(window: &[Point], now: Timestamp, ahead_seconds: f64) -> Option<f64> {
    two(window)?;
    let (slope, value_now) = regression(window, now);
    Some(slope * ahead_seconds + value_now)
}

/// Slope per second, and value at a time, of the line that fits best.
#[must_use]
pub fn regression(window: &[Point], zero: Timestamp) -> (f64, f64) {
    let Some(first) = window.first() else { return (f64::NAN, f64::NAN) };
    // What is not a number differs from itself here (promql/functions.go, linearRegression).
    if window.iter().all(|point| point.value == first.value) {
        // Exact, where the formula would only be near.
        return if first.value.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first.value) };
    }
    // From the means on: sums of whole products lose digits where points lie close together.
    let [mut sum_x, mut sum_y, mut sum_xy, mut sum_xx] = [Sum::default(); 4];
    for point in window {
        sum_x.add(seconds(point.time, zero));
        sum_y.add(point.value);
    }
    let (x, y) = (sum_x.value() / count(window), sum_y.value() / count(window));
    for point in window {
        let from_x = seconds(point.time, zero) - x;
        sum_xy.add(from_x * (point.value - y));
        sum_xx.add(from_x * from_x);
    }
    let slope = sum_xy.value() / sum_xx.value();
    (slope, y - slope * x)
}

/// `quantile_over_time`; `scratch` is overwritten.
#[must_use]
pub fn quantile_over_time(phi: f64, window: &[Point], scratch: &mut Vec<f64>) -> Option<f64> {
    if window.is_empty() {
        return None;
    }
    scratch.clear();
    scratch.extend(window.iter().map(|point| point.value));
    Some(quantile(phi, scratch))
}

/// `double_exponential_smoothing`: Holt's, with factors for the level and the trend.
#[must_use]
pub fn double_exponential_smoothing(window: &[Point], level: f64, trend: f64) -> Option<f64> {
    two(window)?;
    let (mut before, mut smoothed) = (f64::NAN, window[0].value);
    let mut slope = window[1].value - window[0].value;
    for (at, point) in window.iter().enumerate().skip(1) {
        if at > 1 {
            slope = trend * (smoothed - before) + (1.0 - trend) * slope;
        }
        before = smoothed;
        smoothed = level * point.value + (1.0 - level) * (smoothed + slope);
    }
    Some(smoothed)
}

/// `sum_over_time`
#[must_use]
pub fn sum(window: &[Point]) -> f64 {
    let mut sum = Sum::default();
    window.iter().for_each(|point| sum.add(point.value));
    sum.value()
}

/// `avg_over_time`; NaN of an empty window.
#[must_use]
pub fn avg(window: &[Point]) -> f64 {
    let mut mean = Mean::default();
    window.iter().for_each(|point| mean.add(point.value));
    mean.value()
}

/// What `stdvar_over_time` and `stddev_over_time` are made of.
#[must_use]
pub fn moments(window: &[Point]) -> Moments {
    window.iter().map(|point| point.value).collect()
}

/// `changes`: how often the value was another than before.
#[must_use]
pub fn changes(window: &[Point]) -> f64 {
    count_pairs(window, |before, after| !same(before, after))
}

/// `resets`: how often it was below the one before.
#[must_use]
pub fn resets(window: &[Point]) -> f64 {
    count_pairs(window, |before, after| after < before)
}

/// `mad_over_time`: the median of the distances from the median; NaN where any value is.
fn median_deviation(window: &[Point]) -> f64 {
    if window.iter().any(|point| point.value.is_nan()) {
        return f64::NAN;
    }
    let mut values: Vec<f64> = window.iter().map(|point| point.value).collect();
    let median = quantile(0.5, &mut values);
    values.iter_mut().for_each(|value| *value = (*value - median).abs());
    quantile(0.5, &mut values)
}

/// The point that is better than all others; a NaN is worse than anything.
fn extreme(window: &[Point], better: impl Fn(f64, f64) -> bool) -> Point {
    let mut best = window[0];
    for point in &window[1..] {
        if better(point.value, best.value) || best.value.is_nan() {
            best = *point;
        }
    }
    best
}

#[expect(clippy::cast_precision_loss, reason = "no window holds 2^52 samples")]
fn count(window: &[Point]) -> f64 {
    window.len() as f64
}

#[expect(clippy::cast_precision_loss, reason = "no window holds 2^52 samples")]
fn count_pairs(window: &[Point], counts: impl Fn(f64, f64) -> bool) -> f64 {
    window.windows(2).filter(|pair| counts(pair[0].value, pair[1].value)).count() as f64
}

/// First and last of at least two samples.
fn two(window: &[Point]) -> Option<(Point, Point)> {
    match window {
        [first, .., last] => Some((*first, *last)),
        _ => None,
    }
}

#[expect(clippy::float_cmp, reason = "equal is equal")]
fn same(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan())
}

/// Seconds from `from` to `to`; negative where `to` is before.
#[inline]
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "below a microsecond only beyond 285 years")]
pub fn seconds(to: Timestamp, from: Timestamp) -> f64 {
    to.as_nanos().wrapping_sub(from.as_nanos()) as f64 / 1e9
}

#[cfg(test)]
mod tests;
