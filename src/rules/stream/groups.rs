//! Slots of an input, put together by some of their labels.

use rustc_hash::FxHashMap;

use super::node::Dirty;
use crate::promql::Labels;
use crate::promql::expr::{Grouping, MatchLabels};
use crate::promql::labels::NAME;

/// Which labels make a group.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Key {
    Only(Vec<String>),
    /// All but these and the name.
    Without(Vec<String>),
}

impl From<&Grouping> for Key {
    fn from(grouping: &Grouping) -> Self {
        match grouping {
            Grouping::By(names) => Self::Only(names.clone()),
            Grouping::Without(names) => Self::Without(names.clone()),
        }
    }
}

impl From<&MatchLabels> for Key {
    fn from(labels: &MatchLabels) -> Self {
        match labels {
            MatchLabels::On(names) => Self::Only(names.clone()),
            MatchLabels::Ignoring(names) => Self::Without(names.clone()),
        }
    }
}

impl Key {
    pub(super) fn of(&self, labels: &Labels) -> Labels {
        match self {
            Self::Only(names) => labels.filtered(|name| names.iter().any(|known| known == name)),
            Self::Without(names) => {
                labels.filtered(|name| name != NAME && !names.iter().any(|known| known == name))
            }
        }
    }
}

/// Groups by their labels, numbered from 0.
#[derive(Debug)]
pub(super) struct Groups {
    key: Key,
    index: FxHashMap<Labels, u32>,
}

impl Groups {
    pub(super) fn new(key: Key) -> Self {
        Self { key, index: FxHashMap::default() }
    }

    /// The group of a slot with these labels, and the group's labels where it is new.
    pub(super) fn place(&mut self, labels: &Labels) -> (u32, Option<Labels>) {
        let next = self.index.len() as u32;
        let labels = self.key.of(labels);
        if let Some(group) = self.index.get(&labels) {
            return (*group, None);
        }
        self.index.insert(labels.clone(), next);
        (next, Some(labels))
    }

    /// The room it takes, the labels of its groups included, roughly.
    pub(super) fn bytes(&self) -> usize {
        let entry = size_of::<(Labels, u32)>() + 1;
        let one = self.index.keys().next().map_or(0, labels_bytes);
        self.index.capacity() * entry + self.index.len() * one
    }
}

/// Groups of an input's slots, with what is kept of each.
#[derive(Debug)]
pub(super) struct Grouped<T> {
    groups: Groups,
    /// By group.
    kept: Vec<T>,
    /// The newest slot of each group.
    newest: Vec<u32>,
    /// The group of each slot of the input.
    group_of: Vec<u32>,
    /// The slot of its group that came before each slot; of the first the slot itself.
    before: Vec<u32>,
}

impl<T> Grouped<T> {
    pub(super) fn new(key: Key) -> Self {
        let (newest, group_of, before) = (Vec::new(), Vec::new(), Vec::new());
        Self { groups: Groups::new(key), kept: Vec::new(), newest, group_of, before }
    }

    /// The input has a slot more. Where its group is new, that is a unit more to settle, and its
    /// labels are returned.
    pub(super) fn attach(
        &mut self,
        labels: &Labels,
        dirty: &mut Dirty,
        empty: impl FnOnce() -> T,
    ) -> Option<Labels> {
        let slot = self.group_of.len() as u32;
        let (group, new) = self.groups.place(labels);
        self.group_of.push(group);
        if new.is_some() {
            self.kept.push(empty());
            self.newest.push(slot);
            dirty.grow();
        }
        self.before.push(std::mem::replace(&mut self.newest[group as usize], slot));
        new
    }

    /// The group of a slot.
    #[inline]
    pub(super) fn of(&mut self, slot: u32) -> (u32, &mut T) {
        let group = self.group_of[slot as usize];
        (group, &mut self.kept[group as usize])
    }

    #[inline]
    pub(super) fn get(&self, group: u32) -> &T {
        &self.kept[group as usize]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, group: u32) -> &mut T {
        &mut self.kept[group as usize]
    }

    /// The slots of a group, the newest first.
    pub(super) fn slots(&self, group: u32) -> impl Iterator<Item = u32> {
        let before = |slot: &u32| Some(self.before[*slot as usize]).filter(|before| before != slot);
        std::iter::successors(self.newest.get(group as usize).copied(), before)
    }

    /// The room it takes, and what is kept of a group has on the heap.
    pub(super) fn bytes(&self, heap_bytes: impl Fn(&T) -> usize) -> usize {
        self.kept.capacity() * size_of::<T>()
            + self.kept.iter().map(heap_bytes).sum::<usize>()
            + (self.newest.capacity() + self.group_of.capacity() + self.before.capacity())
                * size_of::<u32>()
            + self.groups.bytes()
    }
}

/// The room labels take; their texts are the catalogue's.
pub(super) fn labels_bytes(labels: &Labels) -> usize {
    labels.len() * size_of::<crate::promql::labels::Label>() + 2 * size_of::<usize>()
}
