//! Rows of series that come together, in little room: most of what is measured is what it was
//! before.
//!
//! The newest row lies open. Of each row before it only those cells are kept that differ from the
//! row after it, in as few bytes as they [take](cell); so they are found from the newest on, which is
//! what is asked for most. It knows neither batches nor clocks.

use std::sync::Arc;

use super::super::Points;
use super::super::block::{ABSENT, is_absent};
use super::cell::{self, Form};
use crate::sample::SeriesId;

/// Columns that differ together: as many as one word has bits.
const CHUNK: usize = u64::BITS as usize;

/// Bytes that say how long the cells and forms of a chunk are.
const LEN: usize = size_of::<u16>();

/// Rows there is room for at first, and at least each time there is more needed.
const ROOM_ROWS: usize = 4;

/// A time a row, and a cell a row and series.
#[derive(Debug, Default)]
pub(in crate::store) struct Rows {
    pub(in crate::store) series: Arc<[SeriesId]>,
    times: Vec<i64>,
    /// The newest row; empty where there is none.
    newest: Box<[f64]>,
    /// For each row but the newest, what each chunk of its columns differs in from the row after
    /// it; read from the end. A chunk: the cells that differ, the [form](cell::Form) of each, two
    /// a byte, the length of both, and a bit a column that says which cells those are.
    older: Vec<u8>,
}

/// What a chunk of a row differs in from that of the row after it.
struct Difference<'a> {
    bits: u64,
    cells: &'a [u8],
    forms: &'a [u8],
}

impl<'a> Difference<'a> {
    /// That of `columns` columns whose bytes are the last of `bytes`, and the bytes before.
    fn split_off(bytes: &'a [u8], columns: usize) -> (&'a [u8], Self) {
        let (bytes, bits) = bytes.split_at(bytes.len() - columns.div_ceil(8));
        let mut word = [0; 8];
        word[..bits.len()].copy_from_slice(bits);
        let bits = u64::from_le_bytes(word);
        let (bytes, len) = bytes.split_last_chunk().expect("a length before the bits");
        let (bytes, body) = bytes.split_at(bytes.len() - usize::from(u16::from_le_bytes(*len)));
        let forms = (bits.count_ones() as usize).div_ceil(2);
        let (cells, forms) = body.split_at(body.len() - forms);
        (bytes, Self { bits, cells, forms })
    }

    /// The forms of its cells, in their order.
    fn forms(&self) -> impl Iterator<Item = Form> {
        let both = self.forms.iter().flat_map(|both| [both & 15, both >> 4]);
        both.map(Form::of)
    }

    /// The cell of a column, if it differs.
    fn cell(&self, column: usize) -> Option<f64> {
        if self.bits >> column & 1 == 0 {
            return None;
        }
        let before = (self.bits & ((1 << column) - 1)).count_ones() as usize;
        let start = self.forms().take(before).map(Form::len).sum::<usize>();
        let form = self.forms().nth(before)?;
        Some(form.read(&self.cells[start..][..form.len()]))
    }

    /// Makes of the row after it the row itself.
    fn apply(&self, row: &mut [f64]) {
        let (mut bits, mut cells) = (self.bits, self.cells);
        for form in self.forms().take(self.bits.count_ones() as usize) {
            let (cell, rest) = cells.split_at(form.len());
            row[bits.trailing_zeros() as usize] = form.read(cell);
            (bits, cells) = (bits & (bits - 1), rest);
        }
    }
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
        8 * (self.times.len() + self.newest.len()) + self.older.len()
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
            let left = apply_last(&self.older, before).len();
            self.older.truncate(left);
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
        let chunks = before.len().div_ceil(CHUNK);
        let most = cells * size_of::<f64>()
            + (cells + chunks).div_ceil(2)
            + chunks * LEN
            + before.len().div_ceil(8);
        if self.older.capacity() - self.older.len() < most {
            self.older.reserve_exact((self.older.len() / 4).max(most * ROOM_ROWS / 2));
        }
        for (before, newest) in before.chunks(CHUNK).zip(self.newest.chunks(CHUNK)) {
            let start = self.older.len();
            let (mut bits, mut forms, mut cells) = (0_u64, [0_u8; CHUNK / 2], 0);
            for (at, pair) in before.iter().zip(newest).enumerate() {
                if differ(pair) {
                    bits |= 1 << at;
                    let form = cell::write(*pair.0, &mut self.older);
                    forms[cells / 2] |= form.code() << (cells % 2 * 4);
                    cells += 1;
                }
            }
            self.older.extend_from_slice(&forms[..cells.div_ceil(2)]);
            let len = (self.older.len() - start) as u16;
            self.older.extend_from_slice(&len.to_le_bytes());
            self.older.extend_from_slice(&bits.to_le_bytes()[..before.len().div_ceil(8)]);
        }
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

    /// Appends what a column has from `from` to `to`, both included.
    pub(super) fn read(&self, column: usize, from: i64, to: i64, out: &mut Points) {
        let Some(mut value) = self.newest.get(column).copied() else { return };
        let (first, mut older) = (out.len(), &self.older[..]);
        for (row, time) in self.times.iter().enumerate().rev() {
            if *time < from {
                break;
            }
            if *time <= to && !is_absent(value) {
                out.push((*time, value));
            }
            if row > 0 {
                for (chunk, columns) in chunks(self.newest.len()) {
                    let (rest, difference) = Difference::split_off(older, columns);
                    if chunk == column / CHUNK {
                        value = difference.cell(column % CHUNK).unwrap_or(value);
                    }
                    older = rest;
                }
            }
        }
        out[first..].reverse();
    }

    /// The cells of the rows from one to before another, row by row.
    pub(in crate::store) fn cells(&self, from: usize, to: usize) -> Vec<f64> {
        let width = self.series.len();
        let mut cells = vec![ABSENT; (to - from) * width];
        let (mut current, mut older) = (self.newest.to_vec(), &self.older[..]);
        for row in (from..self.times.len()).rev() {
            if row < to {
                cells[(row - from) * width..][..width].copy_from_slice(&current);
            }
            if row > from {
                older = apply_last(older, &mut current);
            }
        }
        cells
    }

    /// How many samples there are.
    pub(in crate::store) fn samples(&self) -> usize {
        self.cells(0, self.times.len()).iter().filter(|value| !is_absent(**value)).count()
    }
}

/// The chunks of a row of `width` columns and how many columns each has, from the last on.
fn chunks(width: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..width.div_ceil(CHUNK)).rev().map(move |chunk| (chunk, CHUNK.min(width - chunk * CHUNK)))
}

/// Makes of a row the one before it, whose differences are the last of `older`, and returns those
/// of the rows before.
fn apply_last<'a>(mut older: &'a [u8], row: &mut [f64]) -> &'a [u8] {
    for (chunk, columns) in chunks(row.len()) {
        let (rest, difference) = Difference::split_off(older, columns);
        difference.apply(&mut row[chunk * CHUNK..][..columns]);
        older = rest;
    }
    older
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
                _ = rows.set(column, if column == 0 { 1.0 + (time % 2) as f64 / 2.0 } else { 7.0 })
            });
            rows.close(&before);
        }
        // A row: a time, a word of bits, a length, a form, a cell of two bytes.
        assert_eq!(rows.bytes(), 8 * (100 + 64) + 99 * (8 + 2 + 1 + 2));
    }
}
