//! `label_replace` and `label_join`: other labels, decided once when a slot appears.

use super::node::{Context, Dirty, Updates};
use crate::promql::Labels;
use crate::promql::selector::Anchored;

/// A slot for each slot of the input.
#[derive(Debug)]
pub(super) struct Relabel {
    change: Change,
    input: u32,
    pub(super) dirty: Dirty,
}

/// What is done to labels.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    /// Nothing: a node of its own for stages that not all readers of the input mean.
    Keep,
    Replace {
        to: String,
        replacement: String,
        from: String,
        regex: Anchored,
    },
    Join {
        to: String,
        separator: String,
        from: Vec<String>,
    },
}

impl Relabel {
    pub(super) fn new(change: Change, input: u32) -> Self {
        Self { change, input, dirty: Dirty::default() }
    }

    pub(super) fn attach(&mut self, labels: &Labels, born: &mut Vec<Labels>) {
        self.dirty.grow();
        born.push(match &self.change {
            Change::Keep => labels.clone(),
            Change::Replace { to, replacement, from, regex } => {
                replace(labels, to, replacement, from, regex)
            }
            Change::Join { to, separator, from } => join(labels, to, separator, from),
        });
    }

    #[inline]
    pub(super) fn changed(&mut self, slot: u32) {
        self.dirty.mark(slot);
    }

    pub(super) fn settle(&mut self, context: &mut Context<'_>, updates: &mut Updates) {
        while let Some(slot) = self.dirty.pop() {
            updates.cells.push((slot, context.cell(self.input, slot)));
        }
    }

    pub(super) fn bytes(&self) -> usize {
        0
    }
}

/// promql/functions.go, `label_replace`: nothing where the expression does not match.
fn replace(labels: &Labels, to: &str, replacement: &str, from: &str, regex: &Anchored) -> Labels {
    let value = labels.get(from).unwrap_or_default();
    let Some(captures) = regex.regex().captures(value) else { return labels.clone() };
    let mut new = String::new();
    captures.expand(replacement, &mut new);
    labels.with(to, &new)
}

fn join(labels: &Labels, to: &str, separator: &str, from: &[String]) -> Labels {
    let values: Vec<&str> = from.iter().map(|name| labels.get(name).unwrap_or_default()).collect();
    labels.with(to, &values.join(separator))
}
