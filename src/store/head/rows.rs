//! Rows of series that come together, in little room: most of what is measured is what it was
//! before.
//!
//! The newest row lies open. Of each row before it only those cells are kept that differ from the
//! row after it; so they are found from the newest on, which is what is asked for most. It knows
//! neither batches nor clocks.

use std::sync::Arc;

use super::super::Points;
use super::super::block::{ABSENT, is_absent};
use crate::sample::SeriesId;

/// Cells whose difference one word tells.
const WORD_CELLS: usize = u64::BITS as usize;

/// Rows there is room for at first, and at least each time there is more needed.
const ROOM_ROWS: usize = 4;

/// A time a row, and a cell a row and series.
#[derive(Debug, Default)]
pub(in crate::store) struct Rows {
    pub(in crate::store) series: Arc<[SeriesId]>,
    times: Vec<i64>,
    /// The newest row; empty where there is none.
    newest: Box<[f64]>,
    /// For each row but the newest: those of its cells that differ from the row after it, then a
    /// bit a series that says which those are.
    older: Vec<u64>,
}

/// What a row before the newest differs in from the row after it.
struct Difference<'a> {
    cells: &'a [u64],
    bits: &'a [u64],
}

impl Difference<'_> {
    /// The cell of a column, if it differs.
    fn cell(&self, column: usize) -> Option<f64> {
        let (word, bit) = (column / WORD_CELLS, column % WORD_CELLS);
        if self.bits[word] >> bit & 1 == 0 {
            return None;
        }
        let before = count(&self.bits[..word]);
        let below = self.bits[word] & ((1 << bit) - 1);
        Some(f64::from_bits(self.cells[before + below.count_ones() as usize]))
    }

    /// Makes of the row after it the row itself.
    fn apply(&self, row: &mut [f64]) {
        let mut cells = self.cells.iter();
        for (bits, row) in self.bits.iter().zip(row.chunks_mut(WORD_CELLS)) {
            let mut bits = *bits;
            while bits != 0 {
                let cell = cells.next().expect("a cell for every bit");
                row[bits.trailing_zeros() as usize] = f64::from_bits(*cell);
                bits &= bits - 1;
            }
        }
    }
}

fn count(bits: &[u64]) -> usize {
    bits.iter().map(|word| word.count_ones() as usize).sum()
}

impl Rows {
    pub(in crate::store) fn new(series: Arc<[SeriesId]>) -> Self {
        Self { series, ..Self::default() }
    }

    pub(in crate::store) fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// The times of the rows, the oldest first.
    pub(in crate::store) fn times(&self) -> &[i64] {
        &self.times
    }

    /// How many cells there are, holes among them.
    pub(in crate::store) fn cells_len(&self) -> usize {
        self.times.len() * self.series.len()
    }

    /// What it takes in memory, nearly.
    pub(super) fn bytes(&self) -> usize {
        8 * (self.times.len() + self.newest.len() + self.older.len())
    }

    /// Begins a row that is later than all others, without cells, and gives out the row that was
    /// the newest; [`Rows::close`] is to be told it.
    pub(super) fn begin(&mut self, time: i64, before: &mut Vec<f64>) {
        debug_assert!(self.times.last().is_none_or(|last| *last < time), "rows are in order");
        before.clear();
        before.extend_from_slice(&self.newest);
        if self.times.len() == self.times.capacity() {
            self.times.reserve_exact((self.times.len() / 4).max(ROOM_ROWS));
        }
        self.times.push(time);
        if self.newest.is_empty() {
            self.newest = vec![ABSENT; self.series.len()].into();
        } else {
            self.newest.fill(ABSENT);
        }
    }

    /// Opens the newest row again, as if it had just begun; its cells are those it has.
    pub(super) fn reopen(&mut self, before: &mut Vec<f64>) {
        before.clear();
        if self.times.len() > 1 {
            before.extend_from_slice(&self.newest);
            let (start, difference) = self.difference(self.older.len());
            difference.apply(before);
            self.older.truncate(start);
        }
    }

    /// Sets a cell of the newest row, and returns what it was.
    pub(super) fn set(&mut self, column: usize, value: f64) -> f64 {
        std::mem::replace(&mut self.newest[column], value)
    }

    /// Ends work at the newest row: from here on it can be read.
    pub(super) fn close(&mut self, before: &[f64]) {
        if before.is_empty() {
            return;
        }
        let differ = |(a, b): (&f64, &f64)| a.to_bits() != b.to_bits();
        let cells = before.iter().zip(&self.newest).filter(|(a, b)| differ((a, b))).count();
        let words = before.len().div_ceil(WORD_CELLS);
        let more = cells + words;
        if self.older.capacity() - self.older.len() < more {
            self.older.reserve_exact((self.older.len() / 4).max(more * ROOM_ROWS));
        }
        let both = before.iter().zip(&self.newest);
        self.older.extend(both.clone().filter(|(a, b)| differ((a, b))).map(|(a, _)| a.to_bits()));
        let pairs = before.chunks(WORD_CELLS).zip(self.newest.chunks(WORD_CELLS));
        self.older.extend(pairs.map(|(before, newest)| {
            let bits = before.iter().zip(newest).enumerate();
            bits.fold(0, |word, (at, pair)| word | u64::from(differ(pair)) << at)
        }));
    }

    /// Changes a cell of a row that has been closed, and returns what it was. Takes as long as
    /// making all rows anew: for what is seldom.
    pub(super) fn rewrite(&mut self, row: usize, column: usize, value: f64) -> f64 {
        let width = self.series.len();
        let mut cells = self.cells(0, self.times.len());
        let was = std::mem::replace(&mut cells[row * width + column], value);
        let mut anew = Self::new(self.series.clone());
        let mut before = Vec::new();
        for (time, row) in self.times.iter().zip(cells.chunks(width)) {
            anew.begin(*time, &mut before);
            anew.newest.copy_from_slice(row);
            anew.close(&before);
        }
        *self = anew;
        was
    }

    /// What the row differs in whose difference ends before `end`, and where that begins.
    fn difference(&self, end: usize) -> (usize, Difference<'_>) {
        let bits_at = end - self.series.len().div_ceil(WORD_CELLS);
        let bits = &self.older[bits_at..end];
        let start = bits_at - count(bits);
        (start, Difference { cells: &self.older[start..bits_at], bits })
    }

    /// Appends what a column has from `from` to `to`, both included.
    pub(super) fn read(&self, column: usize, from: i64, to: i64, out: &mut Points) {
        // What is asked for is found from the newest row on: not at all where none is old enough.
        if self.times.first().is_none_or(|first| *first > to) {
            return;
        }
        let Some(mut value) = self.newest.get(column).copied() else { return };
        let (first, mut end) = (out.len(), self.older.len());
        for (row, time) in self.times.iter().enumerate().rev() {
            if *time < from {
                break;
            }
            if *time <= to && !is_absent(value) {
                out.push((*time, value));
            }
            if row > 0 {
                let (start, difference) = self.difference(end);
                value = difference.cell(column).unwrap_or(value);
                end = start;
            }
        }
        out[first..].reverse();
    }

    /// The cells of the rows from one to before another, row by row.
    pub(in crate::store) fn cells(&self, from: usize, to: usize) -> Vec<f64> {
        let width = self.series.len();
        let mut cells = vec![ABSENT; (to - from) * width];
        let (mut current, mut end) = (self.newest.to_vec(), self.older.len());
        for row in (from..self.times.len()).rev() {
            if row < to {
                cells[(row - from) * width..][..width].copy_from_slice(&current);
            }
            if row > from {
                let (start, difference) = self.difference(end);
                difference.apply(&mut current);
                end = start;
            }
        }
        cells
    }

    /// How many samples there are.
    pub(in crate::store) fn samples(&self) -> usize {
        self.cells(0, self.times.len()).iter().filter(|value| !is_absent(**value)).count()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sample::STALE;

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![Just(ABSENT), Just(STALE), Just(0.0), Just(-0.0), Just(1.5), any::<f64>()]
    }

    fn bits(cells: &[f64]) -> Vec<u64> {
        cells.iter().map(|cell| cell.to_bits()).collect()
    }

    proptest! {
        #[test]
        fn rows_give_back_what_was_put_in(
            width in 1..140_usize,
            given in prop::collection::vec(
                (prop::collection::vec(value(), 140), any::<bool>()),
                1..9,
            ),
            (row, column, other) in (0..9_usize, 0..140_usize, value()),
            (from, to) in (-1..10_i64, -1..10_i64),
        ) {
            let series: Vec<_> = (0..width).map(SeriesId::from_index).collect();
            let mut rows = Rows::new(series.into());
            let (mut before, mut model) = (Vec::new(), Vec::new());
            for (time, (cells, in_two)) in (0..).zip(&given) {
                rows.begin(time, &mut before);
                for (column, cell) in cells[..width].iter().enumerate() {
                    if *in_two && column == width / 2 {
                        rows.close(&before);
                        rows.reopen(&mut before);
                    }
                    prop_assert_eq!(rows.set(column, *cell).to_bits(), ABSENT.to_bits());
                }
                rows.close(&before);
                model.extend_from_slice(&cells[..width]);
            }
            let (row, column) = (row % given.len(), column % width);
            let was = std::mem::replace(&mut model[row * width + column], other);
            prop_assert_eq!(rows.rewrite(row, column, other).to_bits(), was.to_bits());
            prop_assert_eq!(bits(&rows.cells(0, given.len())), bits(&model));
            prop_assert_eq!(bits(&rows.cells(row, row + 1)), bits(&model[row * width..][..width]));
            let there = model.iter().filter(|cell| !is_absent(**cell)).count();
            prop_assert_eq!(rows.samples(), there);
            let mut read = vec![(-9, 0.5)];
            rows.read(column, from, to, &mut read);
            let mut expected = vec![(-9, 0.5_f64.to_bits())];
            let column = (0..).zip(model.iter().skip(column).step_by(width));
            expected.extend(column.filter(|(time, cell)| {
                (from..=to).contains(time) && !is_absent(**cell)
            }).map(|(time, cell)| (time, cell.to_bits())));
            let read: Vec<_> = read.iter().map(|(time, cell)| (*time, cell.to_bits())).collect();
            prop_assert_eq!(read, expected);
        }
    }

    #[test]
    fn what_does_not_change_takes_a_bit() {
        let series: Vec<_> = (0..64).map(SeriesId::from_index).collect();
        let mut rows = Rows::new(series.into());
        let mut before = Vec::new();
        for time in 0..100 {
            rows.begin(time, &mut before);
            (0..64).for_each(|column| {
                _ = rows.set(column, if column == 0 { time as f64 } else { 7.0 })
            });
            rows.close(&before);
        }
        // A row: a time, a word of bits, a cell.
        assert_eq!(rows.bytes(), 8 * (100 + 64 + 99 * 2));
    }
}
