//! What a window function keeps of the points inside, so that one coming in or going out costs the
//! same however many there are.

use super::counter::Counter;
use super::extreme::Extreme;
use super::line::Line;
use super::moments;
use super::ordered::Ordered;
use super::{Function, Reading, Span};
use crate::rules::stream::ring::Ring;
use crate::rules::stream::spread::Spread;
use crate::rules::stream::sum::Sum;
use crate::rules::stream::tight;

/// What a function keeps of each series, by its slot.
#[derive(Debug)]
pub(super) struct Accumulators {
    function: Function,
    kept: Kept,
}

/// All series keep the same, so that each takes no more room than its function needs.
#[derive(Debug)]
enum Kept {
    /// The ring itself says all.
    Nothing,
    Counter(Vec<Counter>),
    Sum(Vec<Sum>),
    Spread(Vec<Spread>),
    Extreme(Vec<Extreme>),
    Ordered(Vec<Ordered>),
    Line(Vec<Line>),
    /// How many neighbours differ.
    Steps(Vec<u32>),
}

/// Does the same to whatever is kept.
macro_rules! each {
    ($kept:expr, $all:ident => $do:expr, $nothing:expr) => {
        match $kept {
            Kept::Nothing => $nothing,
            Kept::Counter($all) => $do,
            Kept::Sum($all) => $do,
            Kept::Spread($all) => $do,
            Kept::Extreme($all) => $do,
            Kept::Ordered($all) => $do,
            Kept::Line($all) => $do,
            Kept::Steps($all) => $do,
        }
    };
}

impl Accumulators {
    pub(super) fn new(function: Function) -> Self {
        let kept = match function {
            Function::Rate | Function::Increase => Kept::Counter(Vec::new()),
            Function::Sum | Function::Avg => Kept::Sum(Vec::new()),
            Function::Stddev | Function::Stdvar => Kept::Spread(Vec::new()),
            Function::Min | Function::Max => Kept::Extreme(Vec::new()),
            Function::Quantile(_) => Kept::Ordered(Vec::new()),
            Function::Deriv | Function::PredictLinear(_) => Kept::Line(Vec::new()),
            Function::Changes | Function::Resets => Kept::Steps(Vec::new()),
            _ => Kept::Nothing,
        };
        Self { function, kept }
    }

    /// There is one slot more.
    pub(super) fn grow(&mut self) {
        each!(&mut self.kept, all => tight::push(all, Default::default()), ());
    }

    /// Nothing is inside any more.
    pub(super) fn clear(&mut self, slot: u32) {
        each!(&mut self.kept, all => all[slot as usize] = Default::default(), ());
    }

    /// There are no slots any more.
    pub(super) fn clear_all(&mut self) {
        *self = Self::new(self.function);
    }

    /// The first point outside comes in.
    #[inline]
    pub(super) fn enter(&mut self, slot: u32, ring: &Ring) {
        let Some(point) = ring.next() else { return };
        let slot = slot as usize;
        match &mut self.kept {
            Kept::Nothing => {}
            Kept::Counter(all) => all[slot].enter(ring.last(), point),
            Kept::Sum(all) => all[slot].add(point.value),
            Kept::Spread(all) => all[slot].add(point.value),
            Kept::Extreme(all) => {
                all[slot].enter(ring, point.value, self.function == Function::Max);
            }
            Kept::Ordered(all) => all[slot].insert(point.value),
            Kept::Line(all) => all[slot].enter(ring.last(), point),
            Kept::Steps(all) => {
                let last = ring.last();
                let steps =
                    last.is_some_and(|last| steps_at(self.function, last.value, point.value));
                all[slot] += u32::from(steps);
            }
        }
    }

    /// The oldest goes out.
    #[inline]
    pub(super) fn leave(&mut self, slot: u32, ring: &Ring) {
        let Some(point) = ring.first() else { return };
        let next = (ring.len() > 1).then(|| ring.get(1));
        let slot = slot as usize;
        match &mut self.kept {
            Kept::Nothing => {}
            Kept::Counter(all) => all[slot].leave(point, next),
            Kept::Sum(all) => all[slot].remove(point.value),
            Kept::Spread(all) => all[slot].remove(point.value),
            Kept::Extreme(all) => all[slot].leave(),
            Kept::Ordered(all) => all[slot].remove(point.value),
            Kept::Line(all) => all[slot].leave(point, next),
            Kept::Steps(all) => {
                let steps =
                    next.is_some_and(|next| steps_at(self.function, point.value, next.value));
                all[slot] -= u32::from(steps);
            }
        }
    }

    /// Whether it can be relied on; if not, it must be made anew.
    #[inline]
    pub(super) fn is_sound(&self, slot: u32, ring: &Ring) -> bool {
        match &self.kept {
            Kept::Line(all) => all[slot as usize].is_sound(ring),
            Kept::Spread(all) => all[slot as usize].is_sound(),
            _ => true,
        }
    }

    /// The function's value. There is at least one point inside.
    #[inline]
    pub(super) fn read(&self, slot: u32, ring: &Ring, span: &Span) -> Reading {
        let (slot, function) = (slot as usize, self.function);
        let value = match &self.kept {
            Kept::Nothing => return super::tail::read(function, ring, span),
            Kept::Counter(all) => return all[slot].read(function, ring, span),
            Kept::Extreme(all) => return all[slot].read(ring, span),
            Kept::Line(all) => return all[slot].read(function, ring, span),
            Kept::Sum(all) => moments::sum(&all[slot], function, ring),
            Kept::Spread(all) => moments::deviation(&all[slot], function, ring),
            Kept::Ordered(all) => all[slot].read(function),
            Kept::Steps(all) => f64::from(all[slot]),
        };
        Reading::until_first_leaves(value, ring, span)
    }

    /// The room all slots take, without what they have on the heap.
    pub(super) fn bytes(&self) -> usize {
        fn room<T>(all: &Vec<T>) -> usize {
            all.capacity() * size_of::<T>()
        }
        each!(&self.kept, all => room(all), 0)
    }

    /// What a slot has on the heap.
    #[inline]
    pub(super) fn heap_bytes(&self, slot: u32) -> usize {
        match &self.kept {
            Kept::Extreme(all) => all[slot as usize].bytes(),
            Kept::Ordered(all) => all[slot as usize].bytes(),
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
