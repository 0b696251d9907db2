//! `topk` and `bottomk`: members that stay what they are, as long as they are among the first.

use super::groups::{Grouped, Key};
use super::members::Members;
use super::node::{Cell, Context, Dirty, Updates};
use super::stage::Operand;
use crate::promql::Labels;

/// A slot for each slot of the input.
#[derive(Debug)]
pub(super) struct Top {
    greatest: bool,
    parameter: Operand,
    input: u32,
    groups: Grouped<Group>,
    pub(super) dirty: Dirty,
}

#[derive(Debug, Default)]
struct Group {
    members: Members,
    /// The slots that were among the first.
    chosen: Vec<u32>,
    /// Those that have changed since.
    touched: Vec<u32>,
}

impl Top {
    pub(super) fn new(greatest: bool, parameter: Operand, input: u32, key: Key) -> Self {
        let (groups, dirty) = (Grouped::new(key), Dirty::default());
        Self { greatest, parameter, input, groups, dirty }
    }

    pub(super) fn attach(&mut self, labels: &Labels, born: &mut Vec<Labels>) {
        self.groups.attach(labels, &mut self.dirty, Group::default);
        born.push(labels.clone());
    }

    #[inline]
    pub(super) fn changed(&mut self, slot: u32, old: Cell, new: Cell) {
        let (place, group) = self.groups.of(slot);
        group.members.change(slot, old, new);
        group.touched.push(slot);
        self.dirty.mark(place);
    }

    pub(super) fn settle(&mut self, context: &mut Context<'_>, updates: &mut Updates) {
        let k = self.parameter.value(context.at, context.inputs);
        // What is not a number, or below one, chooses nothing.
        let k = if k >= 1.0 { k as usize } else { 0 };
        while let Some(place) = self.dirty.pop() {
            let group = self.groups.get_mut(place);
            // Those that were chosen before may not be so now; those that are, are set below.
            for slot in group.chosen.drain(..).chain(group.touched.drain(..)) {
                let cell = context.cell(self.input, slot);
                let left_out = if cell.is_present() { Cell::filtered(cell.value) } else { cell };
                updates.cells.push((slot, left_out));
            }
            let (all, numbers) = (group.members.sorted(), group.members.numbers());
            let others = &all[..all.len() - numbers.len()];
            let mut choose = |member: &(f64, u32)| {
                group.chosen.push(member.1);
                updates.cells.push((member.1, Cell::present(member.0)));
            };
            if self.greatest {
                numbers.iter().rev().chain(others).take(k).for_each(&mut choose);
            } else {
                numbers.iter().chain(others).take(k).for_each(&mut choose);
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.groups.bytes(|group| {
            group.members.bytes()
                + (group.chosen.capacity() + group.touched.capacity()) * size_of::<u32>()
        })
    }
}
