//! Rows of series that come together, in little room: most of what is measured is what it was
//! before.
//!
//! The newest row lies open. Of each row before it only those cells are kept that differ from the
//! row after it, in as few bytes as they [take](cell); so they are found from the newest on, which is
//! what is asked for most. It knows neither batches nor clocks.

use std::sync::Arc;

use super::super::Points;
use super::super::block::{ABSENT, is_absent};
use super::cell::{self, Form, SAME};
use crate::sample::{SeriesId, SeriesIds};

/// The longest step in milliseconds that is written in two bytes.
const SHORT_STEP_MAX: i64 = u16::MAX as i64;

/// Room grows by one part of so many: what is more is seldom used before the rows are sealed.
const ROOM_SHARE: usize = 8;

/// Room is a multiple of so many bytes, so that what one group gives back fits another.
const ROOM_STEP_BYTES: usize = 64;

/// Bytes of the cells of two forms that are written in one byte.
const BOTH_LENS: [u8; 256] = {
    let mut lens = [0; 256];
    let mut both = 0;
    while both < 256 {
        let (low, high) = (Form::of(both as u8 & 15), Form::of(both as u8 >> 4));
        lens[both] = (low.len() + high.len()) as u8;
        both += 1;
    }
    lens
};

/// The series of a group, in the order of its columns.
pub(super) type Columns = SeriesIds<Arc<[SeriesId]>>;

/// A time a row, and a cell a row and series.
#[derive(Debug, Default)]
pub(in crate::store) struct Rows {
    pub(in crate::store) series: Columns,
    len: u32,
    /// Cells without a value.
    holes: u32,
    /// The times of the oldest and of the newest row; none where there is no row.
    first: i64,
    last: i64,
    /// The newest row; empty where there is none.
    newest: Box<[f64]>,
    /// For each row but the newest what it differs in from the row after it; read from the end. Its
    /// cells that differ; the [form](Form) of each, two a byte; a bit a series that says which those
    /// are; and how many milliseconds it is before that row, in two bytes, or in eight and two of
    /// zero.
    older: Vec<u8>,
}

/// What is at hand while the newest row is open.
#[derive(Debug, Default)]
pub(super) struct Open {
    /// The row before it; empty where there is none.
    before: Vec<f64>,
    /// And its time.
    time: i64,
    /// What that row becomes, and the parts of it that come last.
    record: Vec<u8>,
    forms: Vec<u8>,
    bits: Vec<u8>,
}

/// What a row before the newest differs in from the row after it.
struct Difference<'a> {
    cells: &'a [u8],
    forms: &'a [u8],
    bits: &'a [u8],
    /// Milliseconds from one to the other.
    step: i64,
}

impl<'a> Difference<'a> {
    /// The one that `bytes` end with, for so many series, and the bytes before it.
    fn split_off(bytes: &'a [u8], width: usize) -> Option<(&'a [u8], Self)> {
        let (bytes, short) = bytes.split_last_chunk()?;
        let (bytes, step) = match i64::from(u16::from_le_bytes(*short)) {
            0 => bytes.split_last_chunk().map(|(rest, long)| (rest, i64::from_le_bytes(*long)))?,
            step => (bytes, step),
        };
        let (bytes, bits) = split_last(bytes, width.div_ceil(8))?;
        let (bytes, forms) = split_last(bytes, count(bits).div_ceil(2))?;
        let (bytes, cells) = split_last(bytes, lens(forms))?;
        Some((bytes, Self { cells, forms, bits, step }))
    }

    fn form(&self, at: usize) -> Form {
        Form::of(self.forms[at / 2] >> (at % 2 * 4) & 15)
    }

    /// The cell of a column, if it differs.
    fn cell(&self, column: usize) -> Option<f64> {
        let (byte, bit) = (column / 8, column % 8);
        if self.bits[byte] >> bit & 1 == 0 {
            return None;
        }
        let below = self.bits[byte] & ((1 << bit) - 1);
        let mut at = count(&self.bits[..byte]) + below.count_ones() as usize;
        while at > 0 && self.form(at) == SAME {
            at -= 1;
        }
        let half = if at % 2 == 1 { self.form(at - 1).len() } else { 0 };
        let start = lens(&self.forms[..at / 2]) + half;
        Some(self.form(at).read(&self.cells[start..]))
    }

    /// Makes of the row after it the row itself.
    fn apply(&self, row: &mut [f64]) {
        let (mut cells, mut at, mut cell) = (self.cells, 0, 0.0);
        for (bits, row) in self.bits.iter().zip(row.chunks_mut(8)) {
            let mut bits = *bits;
            while bits != 0 {
                let form = self.form(at);
                if form != SAME {
                    cell = form.read(cells);
                    cells = &cells[form.len()..];
                }
                row[bits.trailing_zeros() as usize] = cell;
                bits &= bits - 1;
                at += 1;
            }
        }
    }
}

fn split_last(bytes: &[u8], len: usize) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(bytes.len().checked_sub(len)?)
}

fn count(bits: &[u8]) -> usize {
    bits.iter().map(|byte| byte.count_ones() as usize).sum()
}

fn lens(forms: &[u8]) -> usize {
    forms.iter().map(|both| usize::from(BOTH_LENS[usize::from(*both)])).sum()
}

impl Rows {
    pub(in crate::store) fn new(series: Columns) -> Self {
        Self { series, ..Self::default() }
    }

    pub(in crate::store) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many rows there are.
    pub(in crate::store) fn len(&self) -> usize {
        self.len as usize
    }

    /// The times of the rows, the oldest first.
    pub(in crate::store) fn times(&self) -> Vec<i64> {
        let mut times = Vec::with_capacity(self.len());
        times.extend(self.newest_first());
        times.reverse();
        times
    }

    /// Whether there is a row from `from` to `to`, both included.
    pub(in crate::store) fn has_within(&self, from: i64, to: i64) -> bool {
        // Without a look at the others where none is old enough.
        self.first <= to
            && self.newest_first().find(|time| *time <= to).is_some_and(|time| time >= from)
    }

    /// The row of a time.
    pub(super) fn find(&self, time: i64) -> Option<usize> {
        if time < self.first {
            return None;
        }
        let before_last = self.newest_first().position(|other| other == time)?;
        Some(self.len() - 1 - before_last)
    }

    /// How many cells there are, holes among them.
    pub(in crate::store) fn cells_len(&self) -> usize {
        self.len() * self.series.len()
    }

    /// How many samples there are.
    pub(in crate::store) fn samples(&self) -> usize {
        self.cells_len() - self.holes as usize
    }

    /// What it takes in memory, nearly.
    pub(super) fn bytes(&self) -> usize {
        8 * self.newest.len() + self.older.len()
    }

    /// Begins a row that is later than all others, without cells; [`Rows::close`] ends it.
    pub(super) fn begin(&mut self, time: i64, open: &mut Open) {
        debug_assert!(self.is_empty() || self.last < time, "rows are in order");
        open.before.clear();
        open.before.extend_from_slice(&self.newest);
        open.time = self.last;
        if self.is_empty() {
            self.first = time;
            self.newest = vec![ABSENT; self.series.len()].into();
        } else {
            self.newest.fill(ABSENT);
        }
        self.last = time;
        self.len += 1;
        self.holes += self.series.len() as u32;
    }

    /// Opens the newest row again, as if it had just begun; its cells are those it has.
    pub(super) fn reopen(&mut self, open: &mut Open) {
        open.before.clear();
        if let Some((rest, difference)) = Difference::split_off(&self.older, self.series.len()) {
            open.before.extend_from_slice(&self.newest);
            open.time = self.last - difference.step;
            difference.apply(&mut open.before);
            self.older.truncate(rest.len());
        }
    }

    /// Sets a cell of the newest row.
    pub(super) fn set(&mut self, column: usize, value: f64) {
        let was = std::mem::replace(&mut self.newest[column], value);
        self.holes -= u32::from(is_absent(was) && !is_absent(value));
    }

    /// Ends work at the newest row: from here on it can be read.
    pub(super) fn close(&mut self, open: &mut Open) {
        let Open { before, time, record, forms, bits } = open;
        if before.is_empty() {
            return;
        }
        record.clear();
        forms.clear();
        bits.clear();
        let (mut differing, mut last) = (0, None);
        for (before, newest) in before.chunks(8).zip(self.newest.chunks(8)) {
            let mut byte = 0;
            for (at, (before, newest)) in before.iter().zip(newest).enumerate() {
                if before.to_bits() == newest.to_bits() {
                    continue;
                }
                byte |= 1 << at;
                let form = if last.replace(before.to_bits()) == Some(before.to_bits()) {
                    SAME
                } else {
                    let (form, cell) = cell::shorten(*before);
                    let len = record.len();
                    record.extend_from_slice(&cell);
                    record.truncate(len + form.len());
                    form
                };
                if differing % 2 == 0 {
                    forms.push(form.code());
                } else {
                    forms[differing / 2] |= form.code() << 4;
                }
                differing += 1;
            }
            bits.push(byte);
        }
        record.extend_from_slice(forms);
        record.extend_from_slice(bits);
        let step = self.last - *time;
        if step > SHORT_STEP_MAX {
            record.extend_from_slice(&step.to_le_bytes());
        }
        let short = if step > SHORT_STEP_MAX { 0 } else { step as u16 };
        record.extend_from_slice(&short.to_le_bytes());
        let needed = self.older.len() + record.len();
        if self.older.capacity() < needed {
            let room = needed.max(self.older.len() / ROOM_SHARE * (ROOM_SHARE + 1));
            let room = room.next_multiple_of(ROOM_STEP_BYTES);
            self.older.reserve_exact(room - self.older.len());
        }
        self.older.extend_from_slice(record);
    }

    /// Changes a cell of a row that has been closed. Takes as long as making all rows anew: for what
    /// is seldom.
    pub(super) fn rewrite(&mut self, row: usize, column: usize, value: f64) {
        let width = self.series.len();
        let (times, mut cells) = (self.times(), self.cells(0, self.len()));
        cells[row * width + column] = value;
        let mut anew = Self::new(self.series.clone());
        let mut open = Open::default();
        for (time, row) in times.iter().zip(cells.chunks(width)) {
            anew.begin(*time, &mut open);
            row.iter().enumerate().for_each(|(column, cell)| anew.set(column, *cell));
            anew.close(&mut open);
        }
        *self = anew;
    }

    /// The times of the rows, the newest first.
    fn newest_first(&self) -> impl Iterator<Item = i64> {
        let last = (!self.is_empty()).then_some(self.last);
        last.into_iter().chain(self.differences().map(|(time, _)| time))
    }

    /// The rows before the newest, from the newest to the oldest: the time of each and its difference.
    fn differences(&self) -> impl Iterator<Item = (i64, Difference<'_>)> {
        let (mut older, mut time) = (&self.older[..], self.last);
        std::iter::from_fn(move || {
            let (rest, difference) = Difference::split_off(older, self.series.len())?;
            older = rest;
            time -= difference.step;
            Some((time, difference))
        })
    }

    /// Appends what a column has from `from` to `to`, both included.
    pub(super) fn read(&self, column: usize, from: i64, to: i64, out: &mut Points) {
        // What is asked for is found from the newest row on: not at all where none is old enough.
        if self.is_empty() || self.first > to || self.last < from {
            return;
        }
        let Some(mut value) = self.newest.get(column).copied() else { return };
        let first = out.len();
        let mut put = |time: i64, value: f64| {
            if time <= to && time >= from && !is_absent(value) {
                out.push((time, value));
            }
        };
        put(self.last, value);
        for (time, difference) in self.differences().take_while(|(time, _)| *time >= from) {
            value = difference.cell(column).unwrap_or(value);
            put(time, value);
        }
        out[first..].reverse();
    }

    /// The cells of the rows from one to before another, row by row.
    pub(in crate::store) fn cells(&self, from: usize, to: usize) -> Vec<f64> {
        let width = self.series.len();
        let mut cells = vec![ABSENT; (to - from) * width];
        let mut current = self.newest.to_vec();
        let mut put = |row: usize, current: &[f64]| {
            if row < to {
                cells[(row - from) * width..][..width].copy_from_slice(current);
            }
        };
        if from < self.len() {
            put(self.len() - 1, &current);
        }
        for (row, (_, difference)) in
            (from..self.len().saturating_sub(1)).rev().zip(self.differences())
        {
            difference.apply(&mut current);
            put(row, &current);
        }
        cells
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
            let mut rows = Rows::new(Columns::from(&series[..]));
            let (mut open, mut model) = (Open::default(), Vec::new());
            for (time, (cells, in_two)) in (0..).zip(&given) {
                rows.begin(time, &mut open);
                for (column, cell) in cells[..width].iter().enumerate() {
                    if *in_two && column == width / 2 {
                        rows.close(&mut open);
                        rows.reopen(&mut open);
                    }
                    rows.set(column, *cell);
                }
                rows.close(&mut open);
                model.extend_from_slice(&cells[..width]);
            }
            let (row, column) = (row % given.len(), column % width);
            model[row * width + column] = other;
            rows.rewrite(row, column, other);
            prop_assert_eq!(bits(&rows.cells(0, given.len())), bits(&model));
            prop_assert_eq!(bits(&rows.cells(row, row + 1)), bits(&model[row * width..][..width]));
            prop_assert_eq!(rows.times(), (0..given.len() as i64).collect::<Vec<_>>());
            let last = given.len() as i64 - 1;
            prop_assert_eq!(rows.has_within(from, to), from.max(0) <= to.min(last));
            prop_assert_eq!(rows.find(from), (0..=last).contains(&from).then_some(from as usize));
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
    fn steps_may_be_as_long_as_they_like() {
        let times = [-9_000_000_000, 0, 1, 65_536, 131_071, 9_000_000_000];
        let mut rows = Rows::new(Columns::from(&[SeriesId::from_index(0)][..]));
        let mut open = Open::default();
        for time in times {
            rows.begin(time, &mut open);
            rows.set(0, time as f64);
            rows.close(&mut open);
        }
        assert_eq!(rows.times(), times);
        assert_eq!(rows.cells(0, 6), times.map(|time| time as f64));
        assert!(!rows.has_within(2, 65_535) && rows.has_within(2, 65_536));
    }

    #[test]
    fn what_does_not_change_takes_a_bit() {
        let series: Vec<_> = (0..64).map(SeriesId::from_index).collect();
        let mut rows = Rows::new(Columns::from(&series[..]));
        let mut open = Open::default();
        for time in 0..100 {
            rows.begin(time, &mut open);
            (0..64).for_each(|column| {
                rows.set(column, if column == 0 { (time % 2) as f64 } else { 7.0 })
            });
            rows.close(&mut open);
        }
        // A row before the newest: a byte of forms, eight of bits, two of a step; two of a cell of 1,
        // and none of one of 0.
        assert_eq!(rows.bytes(), 8 * 64 + 99 * (1 + 8 + 2) + 49 * 2);
    }
}
