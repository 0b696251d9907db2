//! Window functions that look at the ring itself: at its ends, or at all of it each time.

use super::counter::extrapolated;
use super::{Function, Reading, Span};
use crate::promql::functions::window::{apply, idelta, irate};
use crate::promql::{self, functions::Point};
use crate::rules::stream::ring::Ring;

pub(super) fn read(function: Function, ring: &Ring, span: &Span) -> Reading {
    let (Some(first), Some(last)) = (ring.first(), ring.last()) else { return Reading::NOTHING };
    match function {
        Function::Delta => extrapolated(function, ring, span, 0.0),
        Function::Irate | Function::Idelta => instant(function, ring, span),
        Function::Last => Reading::until_leaves(last.value, last.time, span),
        Function::Present => Reading::until_leaves(1.0, last.time, span),
        Function::First => Reading::until_leaves(first.value, first.time, span),
        Function::Count => Reading::until_first_leaves(ring.len() as f64, ring, span),
        Function::Other(function) => anew(function, ring, span),
        _ => Reading::NOTHING,
    }
}

/// From the last two points.
fn instant(function: Function, ring: &Ring, span: &Span) -> Reading {
    let len = ring.len();
    if len < 2 {
        return Reading { value: None, ..Reading::until_first_leaves(0.0, ring, span) };
    }
    let pair = [ring.get(len - 2), ring.get(len - 1)];
    let value = if function == Function::Irate { irate(&pair) } else { idelta(&pair) };
    Reading { value, ..Reading::until_leaves(0.0, pair[0].time, span) }
}

/// By the evaluator's own function, from all points: it takes as long as the window is.
fn anew(function: promql::Function, ring: &Ring, span: &Span) -> Reading {
    let points: Vec<Point> = ring.iter().collect();
    let value = apply(function, &points, span.start, span.end);
    Reading { value, ..Reading::until_first_leaves(0.0, ring, span) }
}
