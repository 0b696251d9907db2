//! Slots of an input, put together by some of their labels.

use rustc_hash::FxHashMap;

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

/// The room labels take; their texts are the catalogue's.
pub(super) fn labels_bytes(labels: &Labels) -> usize {
    labels.len() * size_of::<crate::promql::labels::Label>() + 2 * size_of::<usize>()
}
