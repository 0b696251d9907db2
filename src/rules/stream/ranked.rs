//! Aggregations whose value is found in the order of the members.

use super::groups::{Grouped, Key};
use super::members::Members;
use super::node::{Cell, Context, Dirty, Updates};
use super::stage::Operand;
use crate::promql::functions::statistics::quantile_of_sorted;
use crate::promql::{AggregateOp, Labels};

/// `min`, `max` and `quantile`.
#[derive(Debug)]
pub(super) struct Ranked {
    op: AggregateOp,
    parameter: Operand,
    groups: Grouped<Members>,
    pub(super) dirty: Dirty,
}

impl Ranked {
    pub(super) fn new(op: AggregateOp, parameter: Operand, key: Key) -> Self {
        Self { op, parameter, groups: Grouped::new(key), dirty: Dirty::default() }
    }

    pub(super) fn attach(&mut self, labels: &Labels, born: &mut Vec<Labels>) {
        born.extend(self.groups.attach(labels, &mut self.dirty, Members::default));
    }

    #[inline]
    pub(super) fn changed(&mut self, slot: u32, old: Cell, new: Cell) {
        let (group, members) = self.groups.of(slot);
        members.change(slot, old, new);
        self.dirty.mark(group);
    }

    pub(super) fn settle(&mut self, context: &mut Context<'_>, updates: &mut Updates) {
        let parameter = self.parameter.value(context.at, context.inputs);
        while let Some(group) = self.dirty.pop() {
            let members = self.groups.get(group);
            let (all, numbers) = (members.sorted(), members.numbers());
            let cell = if all.is_empty() {
                members.absence()
            } else {
                // Of values that are no numbers there is no least, unless there are no others.
                let value = match self.op {
                    AggregateOp::Min => numbers.first().map(|member| member.0),
                    AggregateOp::Max => numbers.last().map(|member| member.0),
                    _ => Some(quantile_of_sorted(parameter, all.len(), |place| all[place].0)),
                };
                Cell::present(value.unwrap_or(f64::NAN))
            };
            updates.cells.push((group, cell));
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.groups.bytes(Members::bytes)
    }
}
