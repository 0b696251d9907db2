//! What a window function keeps of the points inside, so that one coming in or going out costs the
//! same however many there are.

use super::counter::Counter;
use super::extreme::Extreme;
use super::line::Line;
use super::moments::Moments;
use super::ordered::Ordered;
use super::{Function, Reading, Span};
use crate::rules::stream::ring::Ring;

/// What is kept for one series.
#[derive(Debug)]
pub(super) enum Accumulator {
    /// The ring itself says all.
    Nothing,
    Counter(Counter),
    Moments(Moments),
    Extreme(Extreme),
    Ordered(Ordered),
    Line(Box<Line>),
    /// How many neighbours differ.
    Steps(u32),
}

impl Accumulator {
    pub(super) fn new(function: Function) -> Self {
        match function {
            Function::Rate | Function::Increase => Self::Counter(Counter::default()),
            Function::Sum | Function::Avg | Function::Stddev | Function::Stdvar => {
                Self::Moments(Moments::default())
            }
            Function::Min | Function::Max => Self::Extreme(Extreme::default()),
            Function::Quantile(_) => Self::Ordered(Ordered::default()),
            Function::Deriv | Function::PredictLinear(_) => Self::Line(Box::default()),
            Function::Changes | Function::Resets => Self::Steps(0),
            _ => Self::Nothing,
        }
    }

    /// The first point outside comes in.
    #[inline]
    pub(super) fn enter(&mut self, function: Function, ring: &Ring) {
        let Some(point) = ring.next() else { return };
        match self {
            Self::Nothing => {}
            Self::Counter(counter) => counter.enter(ring.last(), point),
            Self::Moments(moments) => moments.enter(point.value, function.is_square()),
            Self::Extreme(extreme) => extreme.enter(ring, point.value, function == Function::Max),
            Self::Ordered(ordered) => ordered.insert(point.value),
            Self::Line(line) => line.enter(ring.last(), point),
            Self::Steps(steps) => {
                let stepped =
                    ring.last().is_some_and(|last| steps_at(function, last.value, point.value));
                *steps += u32::from(stepped);
            }
        }
    }

    /// The oldest goes out.
    #[inline]
    pub(super) fn leave(&mut self, function: Function, ring: &Ring) {
        let Some(point) = ring.first() else { return };
        let next = (ring.len() > 1).then(|| ring.get(1));
        match self {
            Self::Nothing => {}
            Self::Counter(counter) => counter.leave(point, next),
            Self::Moments(moments) => moments.leave(point.value, function.is_square()),
            Self::Extreme(extreme) => extreme.leave(),
            Self::Ordered(ordered) => ordered.remove(point.value),
            Self::Line(line) => line.leave(point, next),
            Self::Steps(steps) => {
                let stepped = next.is_some_and(|next| steps_at(function, point.value, next.value));
                *steps -= u32::from(stepped);
            }
        }
    }

    /// Nothing is inside any more.
    pub(super) fn clear(&mut self, function: Function) {
        *self = Self::new(function);
    }

    /// Whether it can be relied on; if not, it must be made anew.
    pub(super) fn is_sound(&self) -> bool {
        match self {
            Self::Line(line) => line.is_sound(),
            _ => true,
        }
    }

    /// The function's value. There is at least one point inside.
    pub(super) fn read(&self, function: Function, ring: &Ring, span: &Span) -> Reading {
        match self {
            Self::Nothing => super::tail::read(function, ring, span),
            Self::Counter(counter) => counter.read(function, ring, span),
            Self::Moments(moments) => {
                Reading::until_first_leaves(moments.read(function, ring), ring, span)
            }
            Self::Extreme(extreme) => extreme.read(ring, span),
            Self::Ordered(ordered) => {
                let Function::Quantile(q) = function else { return Reading::NOTHING };
                Reading::until_first_leaves(ordered.quantile(q.0), ring, span)
            }
            Self::Line(line) => line.read(function, ring, span),
            Self::Steps(steps) => Reading::until_first_leaves(f64::from(*steps), ring, span),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Extreme(extreme) => extreme.bytes(),
            Self::Ordered(ordered) => ordered.bytes(),
            Self::Line(_) => size_of::<Line>(),
            _ => 0,
        }
    }
}

#[inline]
fn steps_at(function: Function, before: f64, after: f64) -> bool {
    if function == Function::Changes {
        before != after && !(before.is_nan() && after.is_nan())
    } else {
        after < before
    }
}
