//! The samples of the last while as batches, in the order of time: what rules that look back are
//! shown again after a restart.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::block::is_absent;
use super::head::{Late, Rows};
use super::segment::{Buffers, ReadError, Segment, Tier};
use super::{Store, millis};
use crate::sample::{Batch, Sample, SeriesId, Timestamp};

/// How much is decoded at once: an hour of 10,000 series read every ten seconds takes 30 MB.
const SLICE_MILLIS: i64 = 3_600_000;

/// Batches in the order of time; see [`Store::recent`].
#[derive(Debug)]
pub struct Recent<'a> {
    store: &'a Store,
    /// Where the next slice begins.
    next: i64,
    to: i64,
    rows: Vec<Rows>,
    /// By time: which rows, and which of them.
    order: BinaryHeap<Reverse<(i64, usize, usize)>>,
    targets: FxHashMap<SeriesId, Arc<str>>,
}

impl Store {
    /// What came from `from` to `to`, both included, as batches in the order of time; no batch is
    /// larger than the one that came, but it may be a part of it. For the start: it holds the head
    /// while it copies from it.
    pub fn recent(&self, from: Timestamp, to: Timestamp) -> Recent<'_> {
        Recent {
            store: self,
            next: millis(from),
            to: millis(to),
            rows: Vec::new(),
            order: BinaryHeap::new(),
            targets: FxHashMap::default(),
        }
    }

    /// The rows between two times, from every source.
    fn rows_between(&self, from: i64, to: i64) -> Vec<Rows> {
        let (segments, frozen, mut all) = {
            let state = self.state();
            let mut rows = Vec::new();
            state.head.rows().for_each(|part| copy(part, from, to, &mut rows));
            copy_late(state.head.late(), from, to, &mut rows);
            (state.segments.clone(), state.frozen.clone(), rows)
        };
        for part in &frozen {
            part.rows.iter().for_each(|rows| copy(rows, from, to, &mut all));
            copy_late(&part.late, from, to, &mut all);
        }
        for segment in segments.iter().filter(|s| s.meta.tier == Tier::Raw && s.may_have(from, to))
        {
            if let Err(error) = from_segment(segment, from, to, &mut all) {
                let path = segment.path.display();
                tracing::warn!(%path, %error, "cannot read a part of the store; leaving it out");
                self.counts.damaged.inc();
            }
        }
        all
    }
}

fn copy(rows: &Rows, from: i64, to: i64, out: &mut Vec<Rows>) {
    let start = rows.times.partition_point(|time| *time < from);
    let end = rows.times.partition_point(|time| *time <= to);
    if start < end {
        let width = rows.series.len();
        out.push(Rows {
            series: rows.series.clone(),
            times: rows.times[start..end].to_vec(),
            cells: rows.cells[start * width..end * width].to_vec(),
        });
    }
}

fn copy_late(late: &Late, from: i64, to: i64, out: &mut Vec<Rows>) {
    let all: Vec<_> = late.iter().filter(|((_, t), _)| (from..=to).contains(t)).collect();
    for of_one in all.chunk_by(|a, b| a.0.0 == b.0.0) {
        out.push(Rows {
            series: [of_one[0].0.0].into(),
            times: of_one.iter().map(|((_, time), _)| *time).collect(),
            cells: of_one.iter().map(|(_, value)| **value).collect(),
        });
    }
}

fn from_segment(
    segment: &Segment,
    from: i64,
    to: i64,
    out: &mut Vec<Rows>,
) -> Result<(), ReadError> {
    let opened = segment.opened()?;
    let mut buffers = Buffers::default();
    for group in &opened.directory.groups {
        let width = group.series.len();
        let series: Arc<[SeriesId]> = (&*group.series).into();
        let all: Vec<usize> = (0..width).collect();
        for block in &opened.directory.blocks[group.blocks.clone()] {
            if block.first > to || block.last < from {
                continue;
            }
            let mut rows = Rows { series: series.clone(), ..Rows::default() };
            opened.read_block(block, width, &all, &mut buffers, |column, times, values| {
                let start = times.partition_point(|time| *time < from);
                let end = times.partition_point(|time| *time <= to);
                if column == 0 {
                    rows.times = times[start..end].to_vec();
                    rows.cells = vec![0.0; (end - start) * width];
                }
                for (row, value) in values[start..end].iter().enumerate() {
                    rows.cells[row * width + column] = *value;
                }
            })?;
            out.push(rows);
        }
    }
    Ok(())
}

impl Recent<'_> {
    fn next_slice(&mut self) {
        let end = self.next.saturating_add(SLICE_MILLIS - 1).min(self.to);
        self.rows = self.store.rows_between(self.next, end);
        self.next = end.saturating_add(1);
        let firsts = self.rows.iter().enumerate();
        let firsts = firsts.filter_map(|(at, rows)| Some(Reverse((*rows.times.first()?, at, 0))));
        self.order = firsts.collect();
    }

    fn target(&mut self, series: SeriesId) -> Arc<str> {
        let catalogue = &self.store.catalogue;
        let name = || catalogue.series(series).tag("target").unwrap_or_default().into();
        self.targets.entry(series).or_insert_with(name).clone()
    }
}

impl Iterator for Recent<'_> {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        while self.order.is_empty() {
            if self.next > self.to {
                return None;
            }
            self.next_slice();
        }
        let Reverse((time, at, row)) = self.order.pop()?;
        let rows = &self.rows[at];
        if let Some(next) = rows.times.get(row + 1) {
            self.order.push(Reverse((*next, at, row + 1)));
        }
        let cells = rows.cells[row * rows.series.len()..].iter();
        let samples = rows.series.iter().zip(cells).filter(|(_, value)| !is_absent(**value));
        let samples: Vec<_> =
            samples.map(|(series, value)| Sample { series: *series, value: *value }).collect();
        let first = rows.series[0];
        let time = Timestamp::from_nanos(time.saturating_mul(1_000_000));
        Some(Batch { target: self.target(first), time, samples })
    }
}
