//! `rate`, `increase` and `delta`: the difference over the window, extrapolated to its ends.

use super::{Function, Reading, Span};
use crate::rules::stream::ring::{Point, Ring};
use crate::rules::stream::sum::Sum;

/// What counters lost by starting again from zero inside the window.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counter {
    lost: Sum,
    resets: u32,
}

/// How far beyond the mean distance of samples a window's end is still taken to belong to the
/// series (promql/functions.go, extrapolatedRate).
const THRESHOLD: f64 = 1.1;

impl Counter {
    #[inline]
    pub(super) fn enter(&mut self, last: Option<Point>, point: Point) {
        if let Some(last) = last
            && point.value < last.value
        {
            self.lost.add(last.value);
            self.resets += 1;
        }
    }

    #[inline]
    pub(super) fn leave(&mut self, point: Point, next: Option<Point>) {
        if let Some(next) = next
            && next.value < point.value
        {
            self.lost.remove(point.value);
            self.resets -= 1;
        }
    }

    pub(super) fn read(&self, function: Function, ring: &Ring, span: &Span) -> Reading {
        let lost = if self.resets == 0 {
            0.0
        } else if self.lost.is_sound() {
            self.lost.value()
        } else {
            let pairs = ring.iter().zip(ring.iter().skip(1));
            pairs.filter(|(a, b)| b.value < a.value).map(|(a, _)| a.value).sum()
        };
        extrapolated(function, ring, span, lost)
    }
}

/// The extrapolated difference. Its value stands still while both ends of the window are near
/// samples, or both are far; in between it drifts.
pub(super) fn extrapolated(function: Function, ring: &Ring, span: &Span, lost: f64) -> Reading {
    let (Some(first), Some(last), 2..) = (ring.first(), ring.last(), ring.len()) else {
        return Reading { value: None, ..Reading::until_first_leaves(0.0, ring, span) };
    };
    let is_counter = function != Function::Delta;
    let difference = last.value - first.value + lost;
    let sampled = seconds(last.time.as_nanos() - first.time.as_nanos());
    let mut to_start = seconds(first.time.as_nanos() - span.start.as_nanos());
    let mut to_end = seconds(span.end.as_nanos() - last.time.as_nanos());
    let distance = sampled / (ring.len() - 1) as f64;
    let threshold = distance * THRESHOLD;
    let (starts_far, ends_far) = (to_start >= threshold, to_end >= threshold);
    if starts_far {
        to_start = distance / 2.0;
    }
    let mut stops_at_zero = false;
    if is_counter && difference > 0.0 && first.value >= 0.0 {
        let to_zero = sampled * (first.value / difference);
        if to_zero < to_start {
            to_start = to_zero;
            stops_at_zero = true;
        }
    }
    if ends_far {
        to_end = distance / 2.0;
    }
    let mut factor = (sampled + to_start + to_end) / sampled;
    if function == Function::Rate {
        factor /= seconds(span.end.as_nanos() - span.start.as_nanos());
    }
    let mut reading = Reading::until_first_leaves(difference * factor, ring, span);
    let threshold_nanos = (threshold * 1e9) as i64;
    match (starts_far, ends_far) {
        (false, false) if !stops_at_zero => reading.change_at(last.time.shifted(threshold_nanos)),
        (true, true) => {
            let near = first.time.shifted(span.end.as_nanos() - span.start.as_nanos());
            reading.change_at(near.shifted(-threshold_nanos));
        }
        _ => reading.drifts = true,
    }
    reading
}

fn seconds(nanos: i64) -> f64 {
    nanos as f64 / 1e9
}
