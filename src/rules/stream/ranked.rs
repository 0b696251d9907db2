//! Aggregations whose value is found in the order of the members.

use super::groups::{Groups, Key};
use super::members::Members;
use super::node::{Cell, Context, Dirty, Updates};
use super::stage::Operand;
use super::window::ordered::quantile;
use crate::promql::{AggregateOp, Labels};

/// `min`, `max` and `quantile`.
#[derive(Debug)]
pub(super) struct Ranked {
    op: AggregateOp,
    parameter: Operand,
    groups: Groups,
    members: Vec<Members>,
    /// The group of each slot of the input.
    group_of: Vec<u32>,
    pub(super) dirty: Dirty,
}

impl Ranked {
    pub(super) fn new(op: AggregateOp, parameter: Operand, key: Key) -> Self {
        Self {
            op,
            parameter,
            groups: Groups::new(key),
            members: Vec::new(),
            group_of: Vec::new(),
            dirty: Dirty::default(),
        }
    }

    pub(super) fn attach(&mut self, labels: &Labels, born: &mut Vec<Labels>) {
        let (group, new) = self.groups.place(labels);
        self.group_of.push(group);
        if let Some(labels) = new {
            self.members.push(Members::default());
            self.dirty.grow();
            born.push(labels);
        }
    }

    #[inline]
    pub(super) fn changed(&mut self, slot: u32, old: Cell, new: Cell) {
        let group = self.group_of[slot as usize];
        self.members[group as usize].change(slot, old, new);
        self.dirty.mark(group);
    }

    pub(super) fn settle(&mut self, context: &mut Context<'_>, updates: &mut Updates) {
        let parameter = self.parameter.value(context.at, context.inputs);
        while let Some(group) = self.dirty.pop() {
            let members = &self.members[group as usize];
            let (all, numbers) = (members.sorted(), members.numbers());
            let cell = if all.is_empty() {
                members.absence()
            } else {
                // Of values that are no numbers there is no least, unless there are no others.
                let value = match self.op {
                    AggregateOp::Min => numbers.first().map(|member| member.0),
                    AggregateOp::Max => numbers.last().map(|member| member.0),
                    _ => Some(quantile(parameter, all.len(), |place| all[place].0)),
                };
                Cell::present(value.unwrap_or(f64::NAN))
            };
            updates.cells.push((group, cell));
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.members.capacity() * size_of::<Members>()
            + self.members.iter().map(Members::bytes).sum::<usize>()
            + self.group_of.capacity() * size_of::<u32>()
            + self.groups.bytes()
    }
}
