//! Numbers of vectors and vectors of numbers: `scalar(…)` and `vector(…)`.

use super::node::{Cell, Context, Dirty, Updates};
use super::stage::Operand;

/// `scalar(x)`: the value of the only element, else NaN.
#[derive(Debug)]
pub(super) struct ScalarOf {
    input: u32,
    present: u32,
    /// The exclusive or of the present slots: where there is one, it is that.
    which: u32,
    pub(super) dirty: Dirty,
}

impl ScalarOf {
    pub(super) fn new(input: u32) -> Self {
        let mut dirty = Dirty::default();
        dirty.grow();
        dirty.mark(0);
        Self { input, present: 0, which: 0, dirty }
    }

    #[inline]
    pub(super) fn changed(&mut self, slot: u32, old: Cell, new: Cell) {
        if old.is_present() != new.is_present() {
            self.which ^= slot;
            self.present = if new.is_present() { self.present + 1 } else { self.present - 1 };
        }
        self.dirty.mark(0);
    }

    pub(super) fn settle(&mut self, context: &mut Context<'_>, updates: &mut Updates) {
        while self.dirty.pop().is_some() {
            let only = (self.present == 1).then(|| context.cell(self.input, self.which).value);
            updates.cells.push((0, Cell::present(only.unwrap_or(f64::NAN))));
        }
    }

    pub(super) fn bytes(&self) -> usize {
        0
    }
}

/// `vector(1)`: a number as the value of no labels.
#[derive(Debug)]
pub(super) struct VectorOf {
    operand: Operand,
    pub(super) dirty: Dirty,
}

impl VectorOf {
    pub(super) fn new(operand: Operand) -> Self {
        let mut dirty = Dirty::default();
        dirty.grow();
        dirty.mark(0);
        Self { operand, dirty }
    }

    pub(super) fn settle(&mut self, context: &mut Context<'_>, updates: &mut Updates) {
        while self.dirty.pop().is_some() {
            let value = self.operand.value(context.at, context.inputs);
            updates.cells.push((0, Cell::present(value)));
        }
    }

    pub(super) fn bytes(&self) -> usize {
        0
    }
}
