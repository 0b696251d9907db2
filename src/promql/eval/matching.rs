//! Operators between two vectors: finds the series that belong together, at every step.

use rustc_hash::{FxHashMap, FxHashSet};

use super::binary::{changes_quantity, combined};
use super::grid::{Grid, Key, Steps};
use super::groups::{Groups, Wanted};
use super::{EvalError, Evaluator};
use crate::promql::expr::{Binary, Cardinality};
use crate::promql::labels::{Labels, METADATA};
use crate::promql::operator::BinaryOp;

/// A side that is not there, and filled.
const NONE: usize = usize::MAX;

/// A side of the operator, by how many of it may belong to one of the other.
struct Side<'a> {
    grid: &'a Grid,
    /// The match group of each row.
    groups: Vec<usize>,
    fill: Option<f64>,
}

/// A matching under way.
struct Match<'a> {
    binary: &'a Binary,
    many: Side<'a>,
    one: Side<'a>,
    groups: Groups<'a>,
    /// The rows of the result by the labels they have, and by the rows they are made of.
    by_labels: FxHashMap<Labels, usize>,
    by_rows: FxHashMap<(usize, usize), usize>,
    result: Grid,
    values_max: usize,
}

impl Evaluator<'_> {
    /// An arithmetic operator or a comparison between two vectors.
    pub(super) fn matched(
        &self,
        binary: &Binary,
        left: &Grid,
        right: &Grid,
        steps: Steps,
    ) -> Result<Grid, EvalError> {
        let mut groups = Groups::new(Wanted::from(&binary.matching.on));
        let mut side = |grid: &Grid| grid.keys.iter().map(|key| groups.of(&key.labels)).collect();
        let (left_groups, right_groups) = (side(left), side(right));
        let left = Side { grid: left, groups: left_groups, fill: None };
        let right = Side { grid: right, groups: right_groups, fill: None };
        let (many, one) = if swapped(binary) { (right, left) } else { (left, right) };
        // With `group_right`, too, `fill_left` is for the side with many: so Prometheus has it.
        let many = Side { fill: binary.matching.fill_left, ..many };
        let one = Side { fill: binary.matching.fill_right, ..one };
        let mut matching = Match {
            binary,
            result: self.grid(many.grid.rows().min(one.grid.rows()), steps)?,
            many,
            one,
            groups,
            by_labels: FxHashMap::default(),
            by_rows: FxHashMap::default(),
            values_max: self.options.limits.values_max / steps.count.max(1),
        };
        for step in 0..steps.count {
            (self.check)()?;
            matching.step(step)?;
        }
        Ok(matching.result)
    }
}

/// Whether the right side is the one with many.
fn swapped(binary: &Binary) -> bool {
    matches!(binary.matching.cardinality, Cardinality::OneToMany(_))
}

impl Match<'_> {
    fn step(&mut self, step: usize) -> Result<(), EvalError> {
        let mut ones = vec![NONE; self.groups.len()];
        for (row, _) in self.one.grid.at(step) {
            let group = self.one.groups[row];
            if ones[group] != NONE {
                return Err(self.duplicate(group, row, ones[group]));
            }
            ones[group] = row;
        }
        let mut matched = vec![false; self.groups.len()];
        // Rows of the result that have a value at this step, kept or not.
        let mut taken = FxHashSet::default();
        for row in 0..self.many.grid.rows() {
            let Some(many) = self.many.grid.get(row, step) else { continue };
            let group = self.many.groups[row];
            let other = ones[group];
            let found = (other != NONE).then(|| self.one.grid.get(other, step)).flatten();
            let Some(one) = found.or(self.one.fill) else { continue };
            let one_to_one = self.binary.matching.cardinality == Cardinality::OneToOne;
            if one_to_one && matched[group] {
                return Err(failed(
                    "multiple matches for labels: many-to-one matching must be explicit \
                     (group_left/group_right)",
                ));
            }
            matched[group] = true;
            let to = self.row(row, other, group)?;
            if !taken.insert(to) {
                return Err(failed(
                    "multiple matches for labels: grouping labels must ensure unique matches",
                ));
            }
            self.combine(to, step, many, one);
        }
        if let Some(many) = self.many.fill {
            let alone = (0..ones.len()).filter(|group| ones[*group] != NONE && !matched[*group]);
            for group in alone.collect::<Vec<_>>() {
                let Some(one) = self.one.grid.get(ones[group], step) else { continue };
                let to = self.row(NONE, ones[group], group)?;
                self.combine(to, step, many, one);
            }
        }
        Ok(())
    }

    fn combine(&mut self, to: usize, step: usize, many: f64, one: f64) {
        let (left, right) = if swapped(self.binary) { (one, many) } else { (many, one) };
        if let Some(value) = combined(self.binary.op, self.binary.returns_bool, left, right) {
            self.result.set(to, step, value);
        }
    }

    /// The row of the result for two rows, either of which may be filled.
    fn row(&mut self, many: usize, one: usize, group: usize) -> Result<usize, EvalError> {
        if let Some(known) = self.by_rows.get(&(many, one)) {
            return Ok(*known);
        }
        let key = self.key(many, one, group);
        let row = match self.by_labels.get(&key.labels) {
            Some(known) => *known,
            None if self.result.rows() >= self.values_max => {
                return Err(EvalError::TooManyValues(self.values_max));
            }
            None => {
                let row = self.result.push_empty(key.clone());
                self.by_labels.insert(key.labels, row);
                row
            }
        };
        self.by_rows.insert((many, one), row);
        Ok(row)
    }

    fn key(&self, many: usize, one: usize, group: usize) -> Key {
        let key_of = |side: &Side<'_>, row: usize| match side.grid.keys.get(row) {
            Some(key) => key.clone(),
            None => Key { labels: self.groups.labels(group), drops_name: false },
        };
        let (many, one) = (key_of(&self.many, many), key_of(&self.one, one));
        let arithmetic = matches!(self.binary.op, BinaryOp::Arithmetic(_));
        let matching = &self.binary.matching;
        let counts = Wanted::from(&matching.on);
        let kept = |name: &str| {
            let of_metric = METADATA.contains(&name);
            let counts = match counts {
                Wanted::AllBut(names) => !names.iter().any(|known| known == name),
                only => only.counts(name),
            };
            !(arithmetic && of_metric) && (matching.cardinality != Cardinality::OneToOne || counts)
        };
        let mut labels = many.labels.filtered(kept);
        if let Cardinality::ManyToOne(names) | Cardinality::OneToMany(names) = &matching.cardinality
        {
            for name in names {
                labels = labels.with(name, one.labels.get(name).unwrap_or_default());
            }
        }
        Key { labels, drops_name: many.drops_name || changes_quantity(self.binary) }
    }

    fn duplicate(&self, group: usize, row: usize, other: usize) -> EvalError {
        let side = if swapped(self.binary) { "left" } else { "right" };
        let labels = |row: usize| &self.one.grid.keys[row].labels;
        failed(&format!(
            "found duplicate series for the match group {} on the {side} hand-side of the \
             operation: [{}, {}];many-to-many matching not allowed: matching labels must be \
             unique on one side",
            self.groups.labels(group),
            labels(row),
            labels(other),
        ))
    }
}

fn failed(message: &str) -> EvalError {
    EvalError::Failed(message.to_owned())
}
