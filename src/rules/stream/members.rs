//! The members of a group in the order of their values.

use std::cmp::Ordering;

use super::node::{Cell, Presence};
use crate::promql::functions::statistics::nan_first;

/// Members that are present, ordered by value, then by slot; what is not a number comes first.
/// A member that changes moves from its place to its new one: the search is logarithmic, and what
/// lies in between is moved by one in memory.
#[derive(Debug, Default)]
pub(super) struct Members {
    sorted: Vec<(f64, u32)>,
    filtered: u32,
}

impl Members {
    #[inline]
    pub(super) fn change(&mut self, slot: u32, old: Cell, new: Cell) {
        if old.is_same(new) {
            return;
        }
        match old.presence {
            Presence::Filtered => self.filtered -= 1,
            Presence::Present | Presence::Missing => {}
        }
        match new.presence {
            Presence::Filtered => self.filtered += 1,
            Presence::Present | Presence::Missing => {}
        }
        match (old.is_present(), new.is_present()) {
            (true, true) => self.shift(self.place(old.value, slot), (new.value, slot)),
            (true, false) => {
                self.sorted.remove(self.place(old.value, slot));
            }
            (false, true) => {
                let place = self.place(new.value, slot);
                self.sorted.insert(place, (new.value, slot));
            }
            (false, false) => {}
        }
    }

    fn shift(&mut self, from: usize, member: (f64, u32)) {
        let to = self.place(member.0, member.1);
        if to > from {
            self.sorted[from..to].rotate_left(1);
            self.sorted[to - 1] = member;
        } else {
            self.sorted[to..=from].rotate_right(1);
            self.sorted[to] = member;
        }
    }

    fn place(&self, value: f64, slot: u32) -> usize {
        self.sorted.partition_point(|(known, other)| {
            nan_first(known, &value).then(other.cmp(&slot)) == Ordering::Less
        })
    }

    /// In order, what is not a number first.
    pub(super) fn sorted(&self) -> &[(f64, u32)] {
        &self.sorted
    }

    /// In order, without what is not a number.
    pub(super) fn numbers(&self) -> &[(f64, u32)] {
        &self.sorted[self.sorted.partition_point(|(value, _)| value.is_nan())..]
    }

    /// What a group without present members is.
    pub(super) fn absence(&self) -> Cell {
        if self.filtered > 0 { Cell::filtered(f64::NAN) } else { Cell::MISSING }
    }

    pub(super) fn bytes(&self) -> usize {
        self.sorted.capacity() * size_of::<(f64, u32)>()
    }
}
