//! Aggregations whose value follows from sums: a member that changes costs the same however many
//! there are.

use super::groups::{Groups, Key};
use super::node::{Cell, Context, Dirty, Presence, Updates};
use super::sum::Sum;
use super::window::moments::variance;
use crate::promql::{AggregateOp, Labels};

/// `sum`, `avg`, `count`, `group`, `stddev` and `stdvar`.
#[derive(Debug)]
pub(super) struct Aggregation {
    op: AggregateOp,
    input: u32,
    groups: Groups,
    totals: Vec<Total>,
    /// The group of each slot of the input.
    group_of: Vec<u32>,
    pub(super) dirty: Dirty,
}

#[derive(Debug, Default)]
struct Total {
    sum: Sum,
    squares: Sum,
    present: u32,
    filtered: u32,
}

impl Aggregation {
    pub(super) fn new(op: AggregateOp, input: u32, key: Key) -> Self {
        Self {
            op,
            input,
            groups: Groups::new(key),
            totals: Vec::new(),
            group_of: Vec::new(),
            dirty: Dirty::default(),
        }
    }

    pub(super) fn attach(&mut self, labels: &Labels, born: &mut Vec<Labels>) {
        let (group, new) = self.groups.place(labels);
        self.group_of.push(group);
        if let Some(labels) = new {
            self.totals.push(Total::default());
            self.dirty.grow();
            born.push(labels);
        }
    }

    #[inline]
    pub(super) fn changed(&mut self, slot: u32, old: Cell, new: Cell) {
        let group = self.group_of[slot as usize];
        let squares = matches!(self.op, AggregateOp::Stddev | AggregateOp::Stdvar);
        let sums = squares || matches!(self.op, AggregateOp::Sum | AggregateOp::Avg);
        let total = &mut self.totals[group as usize];
        if !old.is_same(new) {
            total.count(old, u32::MAX);
            total.count(new, 1);
            if sums && old.is_present() {
                total.sum.remove(old.value);
            }
            if sums && new.is_present() {
                total.sum.add(new.value);
            }
            if squares && old.is_present() && old.value.is_finite() {
                total.squares.add_product(-old.value, old.value);
            }
            if squares && new.is_present() && new.value.is_finite() {
                total.squares.add_product(new.value, new.value);
            }
        }
        self.dirty.mark(group);
    }

    #[inline]
    pub(super) fn settle(&mut self, context: &mut Context<'_>, updates: &mut Updates) {
        while let Some(group) = self.dirty.pop() {
            let cell = match self.totals[group as usize] {
                Total { present: 0, filtered: 0, .. } => Cell::MISSING,
                Total { present: 0, .. } => Cell::filtered(f64::NAN),
                _ => Cell::present(self.value(group, context)),
            };
            updates.cells.push((group, cell));
        }
    }

    #[inline]
    fn value(&mut self, group: u32, context: &Context<'_>) -> f64 {
        if !self.totals[group as usize].sum.is_sound() {
            return self.large(group, context);
        }
        let total = &self.totals[group as usize];
        let count = f64::from(total.present);
        match self.op {
            AggregateOp::Sum => total.sum.value(),
            AggregateOp::Avg => total.sum.value() / count,
            AggregateOp::Count => count,
            AggregateOp::Stddev | AggregateOp::Stdvar if total.sum.has_non_finite() => f64::NAN,
            AggregateOp::Stddev => variance(&total.sum, &total.squares, count).sqrt(),
            AggregateOp::Stdvar => variance(&total.sum, &total.squares, count),
            _ => 1.0,
        }
    }

    /// Sums that have overflowed are made anew from the members.
    #[cold]
    fn large(&mut self, group: u32, context: &Context<'_>) -> f64 {
        let slots = (0..self.group_of.len() as u32).filter(|s| self.group_of[*s as usize] == group);
        let cells = slots.map(|slot| context.cell(self.input, slot)).filter(|c| c.is_present());
        let values: Vec<f64> = cells.map(|cell| cell.value).collect();
        let (mut sum, mut squares) = (Sum::default(), Sum::default());
        for value in &values {
            sum.add(*value);
            if value.is_finite() {
                squares.add_product(*value, *value);
            }
        }
        let count = values.len() as f64;
        let total = &mut self.totals[group as usize];
        (total.sum, total.squares) = (sum, squares);
        match self.op {
            _ if sum.is_sound() => self.value(group, context),
            AggregateOp::Sum => values.iter().sum(),
            AggregateOp::Avg => values.iter().map(|value| value / count).sum(),
            _ => f64::NAN,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.totals.capacity() * size_of::<Total>()
            + self.group_of.capacity() * size_of::<u32>()
            + self.groups.bytes()
    }
}

impl Total {
    #[inline]
    fn count(&mut self, cell: Cell, by: u32) {
        match cell.presence {
            Presence::Present => self.present = self.present.wrapping_add(by),
            Presence::Filtered => self.filtered = self.filtered.wrapping_add(by),
            Presence::Missing => {}
        }
    }
}
