//! `min` and `max` over time: a queue of what may still become the extreme.

use std::collections::VecDeque;

use super::{Reading, Span};
use crate::rules::stream::ring::Ring;

/// The points that no later one outdoes, by how many have gone before them; the first is the
/// extreme. What is not a number is not among them.
#[derive(Debug, Default)]
pub(super) struct Extreme {
    candidates: VecDeque<u32>,
    /// How many points have left, so that a number stays a point's while others go.
    gone: u32,
}

impl Extreme {
    /// `value` comes in behind the points of `ring`.
    #[inline]
    pub(super) fn enter(&mut self, ring: &Ring, value: f64, is_max: bool) {
        if value.is_nan() {
            return;
        }
        while let Some(last) = self.candidates.back() {
            let other = ring.get(last.wrapping_sub(self.gone) as usize).value;
            if (is_max && other > value) || (!is_max && other < value) {
                break;
            }
            self.candidates.pop_back();
        }
        self.candidates.push_back(self.gone.wrapping_add(ring.len() as u32));
    }

    #[inline]
    pub(super) fn leave(&mut self) {
        if self.candidates.front() == Some(&self.gone) {
            self.candidates.pop_front();
        }
        self.gone = self.gone.wrapping_add(1);
    }

    pub(super) fn read(&self, ring: &Ring, span: &Span) -> Reading {
        match self.candidates.front() {
            Some(first) => {
                let point = ring.get(first.wrapping_sub(self.gone) as usize);
                Reading::until_leaves(point.value, point.time, span)
            }
            None => Reading::until_last_leaves(f64::NAN, ring, span),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.candidates.capacity() * size_of::<u32>()
    }
}
