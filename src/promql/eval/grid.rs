//! The value of an expression at every step: a number a step, or a row of numbers a series.

use std::time::Duration;

use super::nanos;
use crate::promql::labels::Labels;
use crate::sample::{STALE, Timestamp, is_stale};

/// The times an expression is evaluated at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Steps {
    /// The first.
    pub(super) start: Timestamp,
    /// Nanoseconds from one to the next; above zero.
    pub(super) step: i64,
    /// How many; zero is none.
    pub(super) count: usize,
}

impl Steps {
    /// From start to end, both included; `None`: more than can be counted.
    pub(super) fn between(start: Timestamp, end: Timestamp, step: Duration) -> Option<Self> {
        let step = nanos(step).max(1);
        let length = end.as_nanos().checked_sub(start.as_nanos())?;
        let count = if length < 0 { 0 } else { usize::try_from(length / step).ok()? + 1 };
        Some(Self { start, step, count })
    }

    /// The time of a step.
    pub(super) fn time(self, at: usize) -> Timestamp {
        let at = i64::try_from(at).unwrap_or(i64::MAX);
        self.start.shifted(self.step.saturating_mul(at))
    }

    /// The last one; the first where there is none.
    pub(super) fn end(self) -> Timestamp {
        self.time(self.count.saturating_sub(1))
    }

    /// All of them.
    pub(super) fn times(self) -> impl Iterator<Item = Timestamp> {
        (0..self.count).map(move |at| self.time(at))
    }
}

/// What an expression yields at every step.
#[derive(Debug)]
pub(super) enum Value {
    /// A number a step.
    Scalar(Vec<f64>),
    /// A row a series.
    Vector(Grid),
}

/// Whose row it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Key {
    /// The labels, with the name even where it will be dropped.
    pub(super) labels: Labels,
    /// Whether the name is dropped from the answer. Not before: functions of labels may still
    /// use it, and two metrics are still two.
    pub(super) drops_name: bool,
}

/// Rows of numbers, one a series. No value at a step is the stale mark, which no computation
/// yields and no series has for a value.
#[derive(Debug)]
pub(super) struct Grid {
    pub(super) keys: Vec<Key>,
    values: Vec<f64>,
    steps: usize,
}

impl Grid {
    pub(super) fn with_capacity(rows: usize, steps: usize) -> Self {
        Self { keys: Vec::with_capacity(rows), values: Vec::with_capacity(rows * steps), steps }
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> usize {
        self.keys.len()
    }

    /// Adds a row of a function of the step; a row without any value is not added.
    pub(super) fn push(&mut self, key: Key, value: impl FnMut(usize) -> Option<f64>) {
        let before = self.values.len();
        self.values.extend((0..self.steps).map(value).map(|value| value.unwrap_or(STALE)));
        if self.values[before..].iter().all(|value| is_stale(*value)) {
            self.values.truncate(before);
        } else {
            self.keys.push(key);
        }
    }

    /// Adds a row without values, to be [set](Self::set); its number.
    pub(super) fn push_empty(&mut self, key: Key) -> usize {
        self.keys.push(key);
        self.values.resize(self.values.len() + self.steps, STALE);
        self.keys.len() - 1
    }

    /// A value, if there is one.
    #[inline]
    pub(super) fn get(&self, row: usize, step: usize) -> Option<f64> {
        let value = self.values[row * self.steps + step];
        (!is_stale(value)).then_some(value)
    }

    pub(super) fn set(&mut self, row: usize, step: usize, value: f64) {
        self.values[row * self.steps + step] = value;
    }

    /// The rows and their values, the stale mark for none.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &[f64])> {
        // Without steps there are no rows either.
        self.keys.iter().zip(self.values.chunks_exact(self.steps.max(1)))
    }

    /// The rows that have a value at a step.
    pub(super) fn at(&self, step: usize) -> impl Iterator<Item = (usize, f64)> {
        (0..self.rows()).filter_map(move |row| self.get(row, step).map(|value| (row, value)))
    }

    /// Every value replaced by another quantity made of it: names are dropped.
    pub(super) fn mapped(mut self, to: impl Fn(f64) -> f64) -> Self {
        for value in self.values.iter_mut().filter(|value| !is_stale(**value)) {
            *value = to(*value);
        }
        self.keys.iter_mut().for_each(|key| key.drops_name = true);
        self
    }

    /// Every value replaced by one made of it and its step, or left out.
    pub(super) fn mapped_by_step(
        mut self,
        drops_name: bool,
        to: impl Fn(usize, f64) -> Option<f64>,
    ) -> Self {
        for row in self.values.chunks_exact_mut(self.steps.max(1)) {
            for (step, value) in row.iter_mut().enumerate() {
                if !is_stale(*value) {
                    *value = to(step, *value).unwrap_or(STALE);
                }
            }
        }
        self.keys.iter_mut().for_each(|key| key.drops_name |= drops_name);
        self
    }

    /// In another order of rows.
    pub(super) fn ordered(self, order: &[usize]) -> Self {
        let mut sorted = Self::with_capacity(self.rows(), self.steps);
        for row in order {
            sorted.push(self.keys[*row].clone(), |step| self.get(*row, step));
        }
        sorted
    }
}
