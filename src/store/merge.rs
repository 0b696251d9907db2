//! Making few large files of many small ones, and sums of what is older than a day.
//!
//! Sealed files become one a day, or a few where there is much, files of hourly sums one in 32 days:
//! blocks that are short are joined, late samples of a series put in order, what is whole is copied.
//! The new file takes the number of the newest it replaces, and names all, so that a crash in between
//! doubles nothing.

use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use rustc_hash::{FxHashMap, FxHashSet};

use super::block::{BLOCK_ROWS, COLUMNS_MAX, is_absent};
use super::query::in_order;
use super::seal::{SealError, segment_name};
use super::segment::{Buffers, Meta, Opened, ReadError, Segment, Tier, Writer};
use super::tier::{self, EMPTY};
use super::{Points, Store, millis};
use crate::sample::{SeriesId, Timestamp};

const HOUR_MILLIS: i64 = 3_600_000;

const DAY_MILLIS: i64 = 24 * HOUR_MILLIS;

/// Days of hourly sums in one file: blocks of a day alone are too short to compress.
const HOUR_FILE_DAYS: i64 = 32;

/// How far back sums are made up for.
const SUMMED_DAYS_MAX: i64 = 366;

/// What the directories of files that become one may take on disk. In memory they take some five
/// times as much: of 10,000 targets read every second, a day has hundreds of files.
const DIRECTORIES_BYTES_MAX: u64 = 4 << 20;

/// A block with so many rows is copied, not joined with others.
const WHOLE_ROWS_MIN: usize = BLOCK_ROWS * 3 / 4;

/// Series summed up at once: an hour of so many, read every second, takes 4 MB.
const SUMMED_SERIES_MAX: usize = 64;

/// A group of series and the groups that have samples of it, in the order they count.
type Parts = Vec<(Arc<Opened>, usize)>;

impl Store {
    /// Does what is due once a day: sums up the days that are over, and joins files.
    ///
    /// # Errors
    /// What the disk says; all there was is still there.
    pub fn tidy(&self, now: Timestamp) -> Result<(), SealError> {
        let Some(folder) = self.folder.clone() else { return Ok(()) };
        let _alone = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        // A day is over when the last that can be late for it has been sealed.
        let (since, limits) = {
            let state = self.state();
            (state.since.min(millis(now)), state.limits)
        };
        let over = since.saturating_sub_unsigned(limits.late.as_millis() as u64);
        let today = over.div_euclid(DAY_MILLIS);
        for tier in [Tier::FiveMinutes, Tier::Hour] {
            let is_kept = limits.of(tier).is_some();
            for day in self.days_to_sum(tier, today).filter(|day| is_kept && self.has_day(*day)) {
                let path = folder.join(segment_name(tier, day as u64, 0));
                self.sum_up(day, tier, &path).map_err(SealError::write(&path))?;
                self.replace(&path, &[])?;
            }
        }
        for (tier, days) in [(Tier::Raw, 1), (Tier::Hour, HOUR_FILE_DAYS)] {
            for inputs in self.to_join(tier, days, today, DIRECTORIES_BYTES_MAX) {
                let Some(newest) = inputs.last() else { continue };
                let path = folder.join(segment_name(tier, newest.meta.number, 1));
                self.join(&inputs, &path).map_err(SealError::write(&path))?;
                self.replace(&path, &inputs)?;
            }
        }
        self.show();
        Ok(())
    }

    /// Takes a new file in, in the place of others.
    fn replace(&self, path: &Path, inputs: &[Arc<Segment>]) -> Result<(), SealError> {
        let segment = self.open_segment(path).map_err(SealError::read_back(path))?;
        let mut state = self.state();
        state.remove_segments(inputs);
        state.add_segment(segment);
        drop(state);
        self.remove(inputs);
        Ok(())
    }

    /// The days before `today` of which there are samples and no sums.
    fn days_to_sum(&self, tier: Tier, today: i64) -> impl Iterator<Item = i64> + use<> {
        let state = self.state();
        let of_tier = |tier: Tier| state.segments.iter().filter(move |s| s.meta.tier == tier);
        let day = |millis: i64| millis.div_euclid(DAY_MILLIS);
        let first = of_tier(Tier::Raw).map(|s| day(s.meta.span.0)).min().unwrap_or(today);
        let next = of_tier(tier).map(|s| day(s.meta.span.1) + 1).max().unwrap_or(first);
        // Days long past come from a clock that was wrong.
        first.max(next).max(today - SUMMED_DAYS_MAX)..today
    }

    fn has_day(&self, day: i64) -> bool {
        let (from, to) = (day * DAY_MILLIS, (day + 1) * DAY_MILLIS - 1);
        let is_of = |s: &Arc<Segment>| s.meta.tier == Tier::Raw && s.may_have(from, to);
        self.state().segments.iter().any(is_of)
    }

    /// Files of a tier that make one, grouped by their days, all over; in more than one group where
    /// their directories take more than so many bytes.
    pub(super) fn to_join(
        &self,
        tier: Tier,
        days: i64,
        today: i64,
        directories_max: u64,
    ) -> Vec<Vec<Arc<Segment>>> {
        let state = self.state();
        let period = |s: &Arc<Segment>| s.meta.span.1.div_euclid(DAY_MILLIS * days);
        let is_meant = |s: &&Arc<Segment>| {
            let is_over = (period(s) + 1) * days <= today;
            s.meta.tier == tier && is_over && !s.is_joined() && !s.is_growing()
        };
        let mut groups: Vec<Vec<Arc<Segment>>> = Vec::new();
        let mut bytes = 0;
        for segment in state.segments.iter().filter(is_meant) {
            bytes += segment.directory_len();
            match groups.last_mut() {
                Some(group) if period(&group[0]) == period(segment) && bytes <= directories_max => {
                    group.push(segment.clone());
                }
                _ => {
                    bytes = segment.directory_len();
                    groups.push(vec![segment.clone()]);
                }
            }
        }
        groups.retain(|files| files.len() > 1);
        groups
    }

    /// Writes one file with all that is in several.
    fn join(&self, inputs: &[Arc<Segment>], path: &Path) -> io::Result<()> {
        let Some(last) = inputs.last() else { return Ok(()) };
        let columns = last.meta.tier.columns();
        let mut order: Vec<(Box<[SeriesId]>, bool)> = Vec::new();
        let mut parts: FxHashMap<(Box<[SeriesId]>, bool), Parts> = FxHashMap::default();
        for segment in inputs {
            let opened = segment.opened().map_err(into_io)?;
            for (at, group) in opened.directory.groups.iter().enumerate() {
                let key = (group.series.clone(), group.is_late);
                let of_key = parts.entry(key.clone()).or_insert_with(|| {
                    order.push(key);
                    Parts::new()
                });
                of_key.push((opened.clone(), at));
            }
        }
        // Late ones come last, since they count more.
        order.sort_by_key(|(_, is_late)| *is_late);
        let mut writer = Writer::create(path)?;
        for key in &order {
            writer.group(key.0.iter().copied(), key.1);
            let parts = &parts[key];
            let joined = if key.1 {
                join_late(parts, &mut writer)
            } else {
                join_rows(parts, key.0.len() * columns, &mut writer)
            };
            joined.map_err(into_io)?;
        }
        let span = (inputs[0].meta.span.0, last.meta.span.1);
        let samples = inputs.iter().map(|segment| segment.meta.samples).sum();
        let replaced: Vec<u64> = inputs.iter().map(|segment| segment.meta.number).collect();
        writer.finish(Meta { span, samples, ..last.meta }, &replaced, &self.catalogue)
    }

    /// Writes what a day was, in steps of a tier.
    fn sum_up(&self, day: i64, tier: Tier, path: &Path) -> io::Result<()> {
        let from = day * DAY_MILLIS;
        let to = from + DAY_MILLIS - 1;
        let mut writer = Writer::create(path)?;
        let (mut seen, mut samples) = (FxHashSet::default(), 0);
        let segments = self.state().segments.clone();
        let raw = segments.iter().filter(|s| s.meta.tier == Tier::Raw && s.may_have(from, to));
        for segment in raw {
            for group in &segment.opened().map_err(into_io)?.directory.groups {
                let new = group.series.iter().copied().filter(|series| seen.insert(*series));
                let new: Vec<SeriesId> = new.collect();
                for series in new.chunks(COLUMNS_MAX / tier.columns()) {
                    samples += self.sum_up_group(series, (from, to), tier, &mut writer)?;
                }
            }
        }
        let (span, journal) = ((from, to), self.sealed_to());
        let meta = Meta { tier, number: day as u64, span, times: (0, 0), journal, samples };
        writer.finish(meta, &[], &self.catalogue)
    }

    fn sum_up_group(
        &self,
        series: &[SeriesId],
        (from, to): (i64, i64),
        tier: Tier,
        writer: &mut Writer,
    ) -> io::Result<u64> {
        let step = tier.step_millis();
        let width = series.len() * tier.columns();
        let steps = ((to + 1 - from) / step) as usize;
        let mut cells = vec![super::block::ABSENT; steps * width];
        let per_hour = (HOUR_MILLIS / step) as usize;
        let mut samples = 0;
        for (at, chunk) in series.chunks(SUMMED_SERIES_MAX).enumerate() {
            for hour in 0..steps / per_hour {
                let start = from + HOUR_MILLIS * hour as i64;
                let points = self.read_raw(chunk, start, start + HOUR_MILLIS - 1);
                for (place, (series, points)) in chunk.iter().zip(&points).enumerate() {
                    let column = (at * SUMMED_SERIES_MAX + place) * EMPTY.len();
                    let is_counter = tier::is_counter(&self.catalogue.series(*series).field);
                    tier::aggregate(points, (start, step, per_hour), is_counter, |number, sums| {
                        let cell = (hour * per_hour + number) * width + column;
                        cells[cell..cell + EMPTY.len()].copy_from_slice(&sums);
                        samples += 1;
                    });
                }
            }
        }
        let is_there = |row: &usize| cells[row * width..][..width].iter().any(|v| !is_absent(*v));
        let rows: Vec<usize> = (0..steps).filter(is_there).collect();
        let times: Vec<i64> = rows.iter().map(|row| from + step * *row as i64).collect();
        if !times.is_empty() {
            writer.group(series.iter().copied(), false);
            writer.rows(&times, width, |row, column| cells[rows[row] * width + column])?;
        }
        Ok(samples)
    }
}

/// Joins the blocks of a group: short ones with those that follow, whole ones as they are.
fn join_rows(parts: &Parts, width: usize, writer: &mut Writer) -> Result<(), ReadError> {
    let all: Vec<usize> = (0..width).collect();
    let mut buffers = Buffers::default();
    let (mut times, mut columns) = (Vec::<i64>::new(), vec![Vec::<f64>::new(); width]);
    let flush = |times: &mut Vec<i64>, columns: &mut Vec<Vec<f64>>, writer: &mut Writer| {
        writer.rows(times, width, |row, column| columns[column][row])?;
        times.clear();
        columns.iter_mut().for_each(Vec::clear);
        Ok::<(), ReadError>(())
    };
    for (opened, group) in parts {
        let blocks = opened.directory.groups[*group].blocks.clone();
        for block in &opened.directory.blocks[blocks] {
            let rows = block.rows as usize;
            let follows = times.last().is_none_or(|last| *last < block.first);
            if !follows || times.len() + rows > BLOCK_ROWS {
                flush(&mut times, &mut columns, writer)?;
            }
            if times.is_empty() && rows >= WHOLE_ROWS_MIN {
                writer.copy(&opened.copy_block(block)?, block)?;
                continue;
            }
            let start = times.len();
            opened.read_block(block, width, &all, &mut buffers, |at, of_block, values| {
                if times.len() == start {
                    times.extend_from_slice(of_block);
                }
                columns[at].extend_from_slice(values);
            })?;
        }
    }
    flush(&mut times, &mut columns, writer)
}

/// Joins late samples of one series: of two of one time, the one that came later counts.
fn join_late(parts: &Parts, writer: &mut Writer) -> Result<(), ReadError> {
    let (mut points, mut buffers) = (Points::new(), Buffers::default());
    for (opened, group) in parts {
        let blocks = opened.directory.groups[*group].blocks.clone();
        for block in &opened.directory.blocks[blocks] {
            opened.read_block(block, 1, &[0], &mut buffers, |_, times, values| {
                points.extend(times.iter().copied().zip(values.iter().copied()));
            })?;
        }
    }
    in_order(&mut points);
    let times: Vec<i64> = points.iter().map(|(time, _)| *time).collect();
    Ok(writer.rows(&times, 1, |row, _| points[row].1)?)
}

fn into_io(error: ReadError) -> io::Error {
    match error {
        ReadError::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}
