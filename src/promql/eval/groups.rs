//! Sorts label sets into groups that agree in some of their labels, without building new sets.

use std::hash::{Hash, Hasher};

use rustc_hash::{FxHashMap, FxHasher};

use crate::promql::expr::{Grouping, MatchLabels};
use crate::promql::labels::{Labels, NAME};

/// Which labels count.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// These.
    Only(&'a [String]),
    /// All but these and the name.
    AllBut(&'a [String]),
    /// All but these.
    Without(&'a [String]),
}

impl Wanted<'_> {
    pub(super) fn counts(self, name: &str) -> bool {
        match self {
            Self::Only(names) => names.iter().any(|known| known == name),
            Self::AllBut(names) => name != NAME && !names.iter().any(|known| known == name),
            Self::Without(names) => !names.iter().any(|known| known == name),
        }
    }
}

impl<'a> From<&'a Grouping> for Wanted<'a> {
    fn from(grouping: &'a Grouping) -> Self {
        match grouping {
            Grouping::By(names) => Self::Only(names),
            Grouping::Without(names) => Self::AllBut(names),
        }
    }
}

impl<'a> From<&'a MatchLabels> for Wanted<'a> {
    fn from(labels: &'a MatchLabels) -> Self {
        match labels {
            MatchLabels::On(names) => Self::Only(names),
            MatchLabels::Ignoring(names) => Self::AllBut(names),
        }
    }
}

/// Groups of label sets, numbered from 0 in the order they were first seen.
#[derive(Debug)]
pub(super) struct Groups<'a> {
    wanted: Wanted<'a>,
    /// The last group of each hash.
    by_hash: FxHashMap<u64, usize>,
    groups: Vec<Group>,
}

#[derive(Debug)]
struct Group {
    /// The first label set that was put into it.
    first: Labels,
    /// Another group of the same hash.
    same_hash: Option<usize>,
}

impl<'a> Groups<'a> {
    pub(super) fn new(wanted: Wanted<'a>) -> Self {
        Self { wanted, by_hash: FxHashMap::default(), groups: Vec::new() }
    }

    /// The group of a label set.
    pub(super) fn of(&mut self, labels: &Labels) -> usize {
        let mut hasher = FxHasher::default();
        self.counted(labels).for_each(|label| label.hash(&mut hasher));
        let hash = hasher.finish();
        let known = self.by_hash.get(&hash).copied();
        let mut candidate = known;
        while let Some(group) = candidate {
            if self.counted(&self.groups[group].first).eq(self.counted(labels)) {
                return group;
            }
            candidate = self.groups[group].same_hash;
        }
        self.groups.push(Group { first: labels.clone(), same_hash: known });
        self.by_hash.insert(hash, self.groups.len() - 1);
        self.groups.len() - 1
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// What the label sets of a group have in common.
    pub(super) fn labels(&self, group: usize) -> Labels {
        self.groups[group].first.filtered(|name| self.wanted.counts(name))
    }

    fn counted<'l>(&self, labels: &'l Labels) -> impl Iterator<Item = (&'l str, &'l str)> {
        let wanted = self.wanted;
        labels.iter().filter(move |(name, _)| wanted.counts(name))
    }
}
