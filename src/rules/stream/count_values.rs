//! `count_values`: a slot for each value that a group's members have had.

use rustc_hash::FxHashMap;

use super::groups::{Groups, Key};
use super::node::{Cell, Context, Dirty, Presence, Updates};
use crate::promql::Labels;

/// Counts members by value.
#[derive(Debug)]
pub(super) struct CountValues {
    label: String,
    groups: Groups,
    group_labels: Vec<Labels>,
    group_of: Vec<u32>,
    /// By group and the value's bits; those of one text are one.
    tally_of: FxHashMap<(u32, u64), u32>,
    tallies: Vec<Tally>,
    /// How many of the tallies have their slot.
    born: usize,
    pub(super) dirty: Dirty,
}

#[derive(Debug)]
struct Tally {
    count: u32,
    group: u32,
    value: f64,
}

impl CountValues {
    pub(super) fn new(label: String, key: Key) -> Self {
        Self {
            label,
            groups: Groups::new(key),
            group_labels: Vec::new(),
            group_of: Vec::new(),
            tally_of: FxHashMap::default(),
            tallies: Vec::new(),
            born: 0,
            dirty: Dirty::default(),
        }
    }

    pub(super) fn attach(&mut self, labels: &Labels) {
        let (group, new) = self.groups.place(labels);
        self.group_of.push(group);
        self.group_labels.extend(new);
    }

    pub(super) fn changed(&mut self, slot: u32, old: Cell, new: Cell) {
        let group = self.group_of[slot as usize];
        for (cell, by) in [(old, u32::MAX), (new, 1)] {
            if cell.presence != Presence::Present {
                continue;
            }
            let tally = self.tally(group, cell.value);
            let count = &mut self.tallies[tally as usize].count;
            *count = count.wrapping_add(by);
            self.dirty.mark(tally);
        }
    }

    fn tally(&mut self, group: u32, value: f64) -> u32 {
        let bits = if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
        *self.tally_of.entry((group, bits)).or_insert_with(|| {
            self.tallies.push(Tally { count: 0, group, value });
            self.dirty.grow();
            self.tallies.len() as u32 - 1
        })
    }

    pub(super) fn settle(&mut self, _: &mut Context<'_>, updates: &mut Updates) {
        for tally in &self.tallies[self.born..] {
            let text = text_of(tally.value);
            updates.born.push(self.group_labels[tally.group as usize].with(&self.label, &text));
        }
        self.born = self.tallies.len();
        while let Some(tally) = self.dirty.pop() {
            let count = self.tallies[tally as usize].count;
            let cell = match count {
                0 => Cell::filtered(0.0),
                count => Cell::present(f64::from(count)),
            };
            updates.cells.push((tally, cell));
        }
    }

    /// How many slots no member has the value of any more.
    pub(super) fn dead(&self) -> usize {
        self.tallies.iter().filter(|tally| tally.count == 0).count()
    }

    pub(super) fn len(&self) -> usize {
        self.tallies.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.tallies.capacity() * size_of::<Tally>()
            + self.tally_of.capacity() * (size_of::<((u32, u64), u32)>() + 1)
            + self.group_of.capacity() * size_of::<u32>()
            + self.group_labels.capacity() * size_of::<Labels>()
            + self.groups.bytes()
    }
}

/// A value as the text of a label: all its digits, and no exponent.
fn text_of(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    value.to_string()
}
