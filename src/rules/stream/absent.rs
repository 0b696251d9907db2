//! `absent` and `absent_over_time`: one where there is nothing.

use super::node::{Cell, Context, Dirty, Updates};

/// One slot, present while the input has none that is.
#[derive(Debug)]
pub(super) struct Absent {
    present: u32,
    pub(super) dirty: Dirty,
}

impl Absent {
    pub(super) fn new() -> Self {
        let mut dirty = Dirty::default();
        dirty.grow();
        dirty.mark(0);
        Self { present: 0, dirty }
    }

    #[inline]
    pub(super) fn changed(&mut self, old: Cell, new: Cell) {
        self.present = self.present + u32::from(new.is_present()) - u32::from(old.is_present());
        self.dirty.mark(0);
    }

    pub(super) fn settle(&mut self, _: &mut Context<'_>, updates: &mut Updates) {
        while self.dirty.pop().is_some() {
            // What is there is data: the rule does not hold, and nothing is missing.
            let there = self.present > 0;
            let cell = if there { Cell::filtered(f64::NAN) } else { Cell::present(1.0) };
            updates.cells.push((0, cell));
        }
    }

    pub(super) fn bytes(&self) -> usize {
        0
    }
}
