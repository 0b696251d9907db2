//! The samples of one series that a window holds, and those it will hold.

use std::collections::VecDeque;

pub(super) use crate::promql::functions::Point;
use crate::sample::Timestamp;

/// Points in order of time: first those inside the window, then those whose time has not come,
/// because the selector has an offset or they are from the future.
#[derive(Debug, Default)]
pub(super) struct Ring {
    points: VecDeque<Point>,
    inside: u32,
}

/// Where an arriving point went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placed {
    /// Behind all others, or among those whose time has not come.
    Ahead,
    /// Among those inside the window: what was made of them must be made anew.
    Inside,
}

impl Ring {
    /// How many are inside.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.inside as usize
    }

    pub(super) fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// One inside, from the oldest.
    #[inline]
    pub(super) fn get(&self, index: usize) -> Point {
        self.points[index]
    }

    #[inline]
    pub(super) fn first(&self) -> Option<Point> {
        (self.inside > 0).then(|| self.points[0])
    }

    #[inline]
    pub(super) fn last(&self) -> Option<Point> {
        self.inside.checked_sub(1).map(|last| self.points[last as usize])
    }

    /// Those inside, oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = Point> + ExactSizeIterator + '_ {
        self.points.range(..self.inside as usize).copied()
    }

    /// The first whose time has not come.
    #[inline]
    pub(super) fn next(&self) -> Option<Point> {
        self.points.get(self.inside as usize).copied()
    }

    /// The first outside has come in.
    #[inline]
    pub(super) fn enter(&mut self) {
        self.inside += 1;
    }

    /// The oldest has left.
    #[inline]
    pub(super) fn leave(&mut self) {
        self.points.pop_front();
        self.inside -= 1;
    }

    /// Lets all out again, to come in anew.
    pub(super) fn reset(&mut self) {
        self.inside = 0;
    }

    /// Takes a point in at its place; of two with one time the last counts.
    #[inline]
    pub(super) fn insert(&mut self, point: Point) -> Placed {
        if self.points.back().is_none_or(|last| last.time < point.time) {
            self.points.push_back(point);
            return Placed::Ahead;
        }
        self.insert_late(point)
    }

    #[cold]
    fn insert_late(&mut self, point: Point) -> Placed {
        let place = self.points.partition_point(|known| known.time < point.time);
        let inside = place < self.inside as usize;
        if self.points[place].time == point.time {
            self.points[place] = point;
        } else {
            self.points.insert(place, point);
            self.inside += u32::from(inside);
        }
        if inside { Placed::Inside } else { Placed::Ahead }
    }

    /// Takes out the point of a time.
    pub(super) fn remove(&mut self, at: Timestamp) -> Option<Placed> {
        let place = self.points.binary_search_by_key(&at, |point| point.time).ok()?;
        self.points.remove(place);
        let inside = place < self.inside as usize;
        self.inside -= u32::from(inside);
        Some(if inside { Placed::Inside } else { Placed::Ahead })
    }

    pub(super) fn shift(&mut self, nanos: i64) {
        self.points.iter_mut().for_each(|point| point.time = point.time.shifted(nanos));
    }

    /// Gives its memory back where it holds nothing.
    pub(super) fn release(&mut self) {
        if self.points.is_empty() {
            self.points = VecDeque::new();
        }
    }

    /// The room it takes on the heap.
    #[inline]
    pub(super) fn bytes(&self) -> usize {
        self.points.capacity() * size_of::<Point>()
    }
}
