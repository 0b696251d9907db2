//! `histogram_quantile` and `histogram_fraction` of classic histograms: the buckets of a group,
//! read together.

use super::groups::{Groups, Key};
use super::node::{Cell, Context, Dirty, Presence, Updates};
use super::stage::Operand;
use crate::promql::Labels;
use crate::promql::functions::histogram;

/// What is read from the buckets.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Question {
    Quantile(Operand),
    Fraction(Operand, Operand),
}

/// A slot for each set of labels without `le`.
#[derive(Debug)]
pub(super) struct Histogram {
    question: Question,
    input: u32,
    groups: Groups,
    /// By group: upper bounds and slots of the input.
    members: Vec<Vec<(f64, u32)>>,
    /// [`NO_GROUP`] for what is no bucket.
    group_of: Vec<u32>,
    scratch: Vec<histogram::Bucket>,
    pub(super) dirty: Dirty,
}

/// Not a bucket: `le` is absent or no number.
const NO_GROUP: u32 = u32::MAX;

impl Histogram {
    pub(super) fn new(question: Question, input: u32) -> Self {
        Self {
            question,
            input,
            groups: Groups::new(Key::Without(vec!["le".to_owned()])),
            members: Vec::new(),
            group_of: Vec::new(),
            scratch: Vec::new(),
            dirty: Dirty::default(),
        }
    }

    pub(super) fn attach(&mut self, labels: &Labels, born: &mut Vec<Labels>) {
        let slot = self.group_of.len() as u32;
        let Some(bound) = labels.get("le").and_then(histogram::bound) else {
            self.group_of.push(NO_GROUP);
            return;
        };
        let (group, new) = self.groups.place(labels);
        if let Some(labels) = new {
            self.members.push(Vec::new());
            self.dirty.grow();
            born.push(labels);
        }
        let members = &mut self.members[group as usize];
        let place = members.partition_point(|(known, _)| *known <= bound);
        members.insert(place, (bound, slot));
        self.group_of.push(group);
    }

    #[inline]
    pub(super) fn changed(&mut self, slot: u32) {
        let group = self.group_of[slot as usize];
        if group != NO_GROUP {
            self.dirty.mark(group);
        }
    }

    pub(super) fn settle(&mut self, context: &mut Context<'_>, updates: &mut Updates) {
        while let Some(group) = self.dirty.pop() {
            self.scratch.clear();
            let mut best = Presence::Missing;
            for (upper, slot) in &self.members[group as usize] {
                let cell = context.cell(self.input, *slot);
                best = best.max(cell.presence);
                if cell.is_present() {
                    let bucket = histogram::Bucket { upper: *upper, count: cell.value };
                    self.scratch.push(bucket);
                }
            }
            let number = |operand: &Operand| operand.value(context.at, context.inputs);
            let cell = match (best, &self.question) {
                (Presence::Missing, _) => Cell::MISSING,
                (Presence::Filtered, _) => Cell::filtered(f64::NAN),
                (Presence::Present, Question::Quantile(q)) => {
                    Cell::present(histogram::quantile(number(q), &mut self.scratch).value)
                }
                (Presence::Present, Question::Fraction(lower, upper)) => Cell::present(
                    histogram::fraction(number(lower), number(upper), &mut self.scratch),
                ),
            };
            updates.cells.push((group, cell));
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let members = self.members.iter().map(|m| m.capacity() * size_of::<(f64, u32)>());
        members.sum::<usize>() + self.group_of.capacity() * size_of::<u32>() + self.groups.bytes()
    }
}
