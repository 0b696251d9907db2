//! Reading: what series have between two times, from segments, what is being sealed, and the head.
//!
//! Sources are read from the oldest to the newest, so that of two samples of one time the later
//! one counts. The head is locked for a slice of the series at a time.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::head::Frozen;
use super::segment::{Buffers, Opened, ReadError, Segment, Tier};
use super::tier::{self, Deal};
use super::{Points, State, Store};
use crate::promql::source::Summary;
use crate::sample::{SeriesId, Timestamp, is_stale};

/// Series read from the head without letting it go: some 100 µs, which nobody who appends notices.
const HEAD_SERIES_MAX: usize = 64;

/// What a query wants of each series.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// The oldest time, in milliseconds.
    pub from: i64,
    /// The newest, included.
    pub to: i64,
    /// What of it, where only sums are left.
    pub summary: Summary,
    /// The most samples to read.
    pub samples_max: usize,
}

impl Range {
    /// All there is between two times, both included.
    #[must_use]
    pub fn new(from: Timestamp, to: Timestamp) -> Self {
        let (from, to) = (super::millis(from), super::millis(to));
        Self { from, to, summary: Summary::default(), samples_max: usize::MAX }
    }
}

/// A query asks for more samples than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the query reads more than {0} samples; ask for less time or fewer series")]
pub struct TooManySamples(pub usize);

/// All sources there are at one moment, but for the head.
struct Snapshot {
    segments: Arc<Vec<Arc<Segment>>>,
    frozen: Vec<Arc<Frozen>>,
    cuts: u64,
    /// Since when raw samples are kept.
    raw_from: i64,
}

impl Snapshot {
    fn of(state: &State) -> Self {
        let raw = state.segments.iter().filter(|s| s.meta.tier == Tier::Raw);
        Self {
            segments: state.segments.clone(),
            frozen: state.frozen.clone(),
            cuts: state.cuts,
            raw_from: raw.map(|s| s.meta.span.0).min().unwrap_or(state.since),
        }
    }

    fn of_tier(&self, tier: Tier) -> impl Iterator<Item = &Arc<Segment>> {
        self.segments.iter().filter(move |segment| segment.meta.tier == tier)
    }

    /// The times each tier is read for: before the finer ones begin.
    fn tiers(&self, range: &Range) -> Vec<(Tier, i64, i64)> {
        let mut before = self.raw_from;
        let mut all = Vec::new();
        for tier in [Tier::FiveMinutes, Tier::Hour] {
            if range.from < before && self.of_tier(tier).next().is_some() {
                all.push((tier, range.from, range.to.min(before - 1)));
                let oldest = self.of_tier(tier).map(|segment| segment.meta.times.0).min();
                before = oldest.unwrap_or(before).min(before);
            }
        }
        all.push((Tier::Raw, range.from, range.to));
        all
    }
}

impl Store {
    /// What each of these series has in a range, in the order of time.
    ///
    /// A part of the store that is damaged is left out, counted and logged.
    ///
    /// # Errors
    /// More samples than the range allows.
    pub fn read(&self, series: &[SeriesId], range: &Range) -> Result<Vec<Points>, TooManySamples> {
        self.read_tiers(series, range, |snapshot| snapshot.tiers(range))
    }

    /// As [`Store::read`], of the samples as they came alone.
    pub(super) fn read_raw(&self, series: &[SeriesId], from: i64, to: i64) -> Vec<Points> {
        let range = Range { from, to, summary: Summary::default(), samples_max: usize::MAX };
        let raw = |_: &Snapshot| vec![(Tier::Raw, from, to)];
        self.read_tiers(series, &range, raw).unwrap_or_default()
    }

    fn read_tiers(
        &self,
        series: &[SeriesId],
        range: &Range,
        tiers: impl Fn(&Snapshot) -> Vec<(Tier, i64, i64)>,
    ) -> Result<Vec<Points>, TooManySamples> {
        let mut all = vec![Points::new(); series.len()];
        'again: loop {
            let snapshot = Snapshot::of(&self.state());
            let mut reading = Reading::new(range);
            let mut sums = vec![0; series.len()];
            for tier in tiers(&snapshot) {
                if tier.0 == Tier::Raw {
                    sums.iter_mut().zip(&all).for_each(|(sums, points)| *sums = points.len());
                }
                self.read_tier(&snapshot, tier, series, &mut reading, &mut all)?;
            }
            for frozen in &snapshot.frozen {
                for (series, points) in series.iter().zip(&mut all) {
                    frozen.read(*series, range.from, range.to, points);
                }
            }
            for (at, chunk) in series.chunks(HEAD_SERIES_MAX).enumerate() {
                let state = self.state();
                if state.cuts != snapshot.cuts {
                    // What was in the head is somewhere else now.
                    all.iter_mut().for_each(Points::clear);
                    continue 'again;
                }
                let points = all[at * HEAD_SERIES_MAX..].iter_mut();
                chunk.iter().zip(points).for_each(|(series, points)| {
                    state.head.read(*series, range.from, range.to, points);
                });
            }
            if range.summary == Summary::Count {
                let samples =
                    all.iter_mut().zip(sums).flat_map(|(points, sums)| &mut points[sums..]);
                samples.filter(|(_, value)| !is_stale(*value)).for_each(|point| point.1 = 1.0);
            }
            break;
        }
        all.iter_mut().for_each(in_order);
        let samples: usize = all.iter().map(Points::len).sum();
        if samples > range.samples_max {
            return Err(TooManySamples(range.samples_max));
        }
        Ok(all)
    }

    fn read_tier(
        &self,
        snapshot: &Snapshot,
        (tier, from, to): (Tier, i64, i64),
        series: &[SeriesId],
        reading: &mut Reading<'_>,
        all: &mut [Points],
    ) -> Result<(), TooManySamples> {
        if tier == Tier::Raw {
            for segment in snapshot.of_tier(tier).filter(|s| s.may_have(from, to)) {
                self.read_segment(segment, series, (from, to, 0), reading, all)?;
            }
            return Ok(());
        }
        let summary = reading.range.summary;
        // A row stands for what follows it, and a counter needs the row before.
        let from_row = from.saturating_sub(2 * tier.step_millis());
        let mut read = |column| {
            let mut rows = vec![Points::new(); series.len()];
            for segment in snapshot.of_tier(tier).filter(|s| s.may_have(from_row, to)) {
                let span = (from_row, to, column);
                self.read_segment(segment, series, span, reading, &mut rows)?;
            }
            rows.iter_mut().for_each(in_order);
            Ok(rows)
        };
        let mut rows = read(tier::column(summary))?;
        if summary == Summary::Sum {
            let counts = read(tier::COUNT)?;
            rows.iter_mut().zip(&counts).for_each(|(means, counts)| multiply(means, counts));
        }
        for ((series, rows), points) in series.iter().zip(&rows).zip(all) {
            let is_counter = tier::is_counter(&self.catalogue.series(*series).field);
            tier::deal(rows, tier, Deal::of(summary, is_counter), (from, to), points);
        }
        Ok(())
    }

    /// Whether some of a range is read from sums.
    pub(super) fn is_read_from_sums(&self, range: &Range) -> bool {
        Snapshot::of(&self.state()).tiers(range).len() > 1
    }

    fn read_segment(
        &self,
        segment: &Segment,
        series: &[SeriesId],
        span: (i64, i64, usize),
        reading: &mut Reading<'_>,
        all: &mut [Points],
    ) -> Result<(), TooManySamples> {
        let read = segment.opened().and_then(|opened| {
            reading.read(&opened, segment.meta.tier.columns(), series, span, all)
        });
        match read {
            Ok(true) => Ok(()),
            Ok(false) => Err(TooManySamples(reading.range.samples_max)),
            // It was removed since we looked.
            Err(ReadError::Io(error)) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => {
                self.counts.damaged.inc();
                if !segment.is_damaged.swap(true, Ordering::Relaxed) {
                    let path = segment.path.display();
                    tracing::warn!(%path, %error, "cannot read a part of the store; leaving it out");
                }
                Ok(())
            }
        }
    }
}

struct Reading<'a> {
    range: &'a Range,
    buffers: Buffers,
    /// How many samples may still be read.
    left: usize,
}

impl<'a> Reading<'a> {
    fn new(range: &'a Range) -> Self {
        Self { range, buffers: Buffers::default(), left: range.samples_max }
    }

    /// Reads what series have in a segment; `false` where that is too much.
    fn read(
        &mut self,
        opened: &Opened,
        columns: usize,
        series: &[SeriesId],
        (from, to, column): (i64, i64, usize),
        all: &mut [Points],
    ) -> Result<bool, ReadError> {
        let directory = &opened.directory;
        let mut wanted: Vec<(u32, usize, usize)> = Vec::new();
        for (slot, series) in series.iter().enumerate() {
            let places = directory.places(*series);
            wanted.extend(places.map(|(g, place)| (g, place as usize * columns + column, slot)));
        }
        wanted.sort_unstable();
        let mut places = Vec::new();
        for wanted in wanted.chunk_by(|a, b| a.0 == b.0) {
            let group = &directory.groups[wanted[0].0 as usize];
            places.clear();
            places.extend(wanted.iter().map(|(_, place, _)| *place));
            let width = group.series.len() * columns;
            for block in &directory.blocks[group.blocks.clone()] {
                if block.first > to || block.last < from {
                    continue;
                }
                let each = |at: usize, times: &[i64], values: &[f64]| {
                    let points = &mut all[wanted[at].2];
                    let before = points.len();
                    append(times, values, from, to, points);
                    self.left = self.left.saturating_sub(points.len() - before);
                };
                opened.read_block(block, width, &places, &mut self.buffers, each)?;
                if self.left == 0 {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

/// Appends what a column has from `from` to `to`, both included.
fn append(times: &[i64], values: &[f64], from: i64, to: i64, points: &mut Points) {
    let start = times.partition_point(|time| *time < from);
    let end = times.partition_point(|time| *time <= to);
    let there = times[start..end].iter().zip(&values[start..end]);
    points.reserve(end - start);
    points.extend(there.filter(|(_, v)| !super::block::is_absent(**v)).map(|(t, v)| (*t, *v)));
}

/// Multiplies points by those of the same times; the others go.
fn multiply(points: &mut Points, by: &Points) {
    points.retain_mut(|(time, value)| {
        let at = by.binary_search_by_key(time, |(time, _)| *time);
        at.is_ok_and(|at| {
            *value *= by[at].1;
            true
        })
    });
}

/// Puts points in the order of time; of two of one time the later one counts.
pub(super) fn in_order(points: &mut Points) {
    if points.is_sorted_by(|a, b| a.0 < b.0) {
        return;
    }
    points.sort_by_key(|(time, _)| *time);
    points.dedup_by(|later, kept| {
        let is_same = later.0 == kept.0;
        if is_same {
            kept.1 = later.1;
        }
        is_same
    });
}
