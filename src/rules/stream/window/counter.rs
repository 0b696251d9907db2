//! `rate`, `increase` and `delta`: the difference over the window, extrapolated to its ends.

use super::{Function, Reading, Span};
use crate::promql::functions::extrapolation::Extrapolation;
use crate::rules::stream::ring::{Point, Ring};
use crate::rules::stream::sum::Sum;

/// What counters lost by starting again from zero inside the window.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counter {
    lost: Sum,
    resets: u32,
}

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
    let difference = last.value - first.value + lost;
    let growth = (function != Function::Delta).then_some(difference);
    let bounds = (span.start, span.end);
    let to_bounds = Extrapolation::new((first, last), ring.len(), bounds, growth);
    let factor = match function {
        Function::Rate => to_bounds.per_second(bounds),
        _ => to_bounds.factor,
    };
    let mut reading = Reading::until_first_leaves(difference * factor, ring, span);
    let threshold_nanos = (to_bounds.threshold * 1e9) as i64;
    match (to_bounds.starts_far, to_bounds.ends_far) {
        (false, false) if !to_bounds.begins_at_zero => {
            reading.change_at(last.time.shifted(threshold_nanos));
        }
        (true, true) => {
            let near = first.time.shifted(span.end.as_nanos() - span.start.as_nanos());
            reading.change_at(near.shifted(-threshold_nanos));
        }
        _ => reading.drifts = true,
    }
    reading
}
