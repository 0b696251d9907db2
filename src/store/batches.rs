//! What was kept, as batches in the order of time: what rules are shown again after a restart, and
//! what a backtest judges.
//!
//! All sources are merged row by row. A block is decoded once, when its time comes, and only the
//! columns of series that are wanted: what is in memory is a block of each of those, some 4 kB a
//! series, however long the time. Sums of coarser tiers are no samples and are not read.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::block::is_absent;
use super::head::{self, Late};
use super::ids::Ids;
use super::segment::{Buffers, Opened, ReadError, Segment, Tier};
use super::{Store, millis};
use crate::sample::{Batch, Catalogue, Sample, Series, SeriesId, TARGET_UP, Timestamp};

/// Batches in the order of time; see [`Store::batches`].
#[derive(Debug)]
pub struct Batches<'a> {
    store: &'a Store,
    /// From when to when, in milliseconds, both included.
    span: (i64, i64),
    /// The series that are wanted.
    wanted: Ids,
    /// Those of them that say whether a target is up.
    verdicts: FxHashSet<SeriesId>,
    parts: Vec<Part>,
    /// When each part goes on, its rank, and where it is in `parts`.
    order: BinaryHeap<Reverse<(i64, u64, usize)>>,
    /// Batches of one time, the next last, each with its target.
    ready: Vec<(u32, Batch)>,
    targets: Targets,
    buffers: Buffers,
    damaged: u64,
}

/// Rows of series that came together: a time a row, and a cell a row and series, row by row.
#[derive(Debug, Default)]
struct Rows {
    series: Arc<[SeriesId]>,
    times: Vec<i64>,
    cells: Vec<f64>,
}

/// Something that has rows in the order of time. Of rows of one time the rank of its part decides
/// which comes first: what came earlier.
#[derive(Debug)]
enum Part {
    /// A segment nobody has looked into yet. Held open: it may be replaced meanwhile.
    Closed(Arc<Segment>, File),
    /// A group of a segment.
    Group(Group),
    /// All is read.
    Done,
}

#[derive(Debug)]
struct Group {
    target: u32,
    /// Whether it came late: then it may have what was there already, and counts more.
    is_late: bool,
    /// The series that are wanted.
    series: Box<[SeriesId]>,
    /// Rows that are decoded, and which of them is next.
    rows: Rows,
    row: usize,
    /// What is still to be decoded, if it is in a file.
    file: Option<Blocks>,
}

#[derive(Debug)]
struct Blocks {
    segment: Arc<Segment>,
    opened: Arc<Opened>,
    /// Where the wanted series are among those of the group.
    columns: Box<[usize]>,
    width: usize,
    /// Which blocks of the file are left.
    left: Range<usize>,
}

/// Names of targets, numbered, and which batch of the time at hand is of which.
#[derive(Debug, Default)]
struct Targets {
    names: Vec<Arc<str>>,
    ids: FxHashMap<Arc<str>, u32>,
    /// By target: the time it was met at last, and where its batch is in `ready`.
    met: Vec<(i64, usize)>,
}

impl Targets {
    fn of(&mut self, series: SeriesId, catalogue: &Catalogue) -> u32 {
        let series = catalogue.series(series);
        let name = series.tag("target").unwrap_or_default();
        if let Some(known) = self.ids.get(name) {
            return *known;
        }
        let id = u32::try_from(self.names.len()).expect("fewer targets than series");
        let name: Arc<str> = name.into();
        self.names.push(name.clone());
        self.ids.insert(name, id);
        self.met.push((i64::MIN, 0));
        id
    }
}

/// Ranks of what is in memory: newer than all that is in files.
const MEMORY_RANK: u64 = 1 << 63;

impl Store {
    /// What came from `from` to `to`, both included, of the series that are wanted, as batches in
    /// the order of time. What one poll read is one batch again, but for what is not wanted.
    pub fn batches(
        &self,
        from: Timestamp,
        to: Timestamp,
        wants: impl Fn(&Series) -> bool,
    ) -> Batches<'_> {
        let (mut wanted, mut verdicts) = (Ids::default(), FxHashSet::default());
        for id in self.find(None, std::iter::empty(), |id| wants(&self.catalogue.series(id))) {
            wanted.add(id.index());
            if self.catalogue.series(id).is_named(TARGET_UP) {
                verdicts.insert(id);
            }
        }
        let mut batches = Batches {
            store: self,
            span: (millis(from), millis(to)),
            wanted,
            verdicts,
            parts: Vec::new(),
            order: BinaryHeap::new(),
            ready: Vec::new(),
            targets: Targets::default(),
            buffers: Buffers::default(),
            damaged: 0,
        };
        batches.begin();
        batches
    }
}

impl Batches<'_> {
    /// How many parts of the store could not be read, and were left out.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Takes note of all there is at this moment: what is in memory is copied, files stay closed.
    fn begin(&mut self) {
        let (from, to) = self.span;
        let (segments, frozen, mut newest) = {
            let state = self.store.state();
            let mut newest = Vec::new();
            state.head.rows().for_each(|rows| self.copy(rows, &mut newest));
            self.copy_late(state.head.late(), &mut newest);
            (state.segments.clone(), state.frozen.clone(), newest)
        };
        let mut memory = Vec::new();
        for part in &frozen {
            part.rows.iter().for_each(|rows| self.copy(rows, &mut memory));
            self.copy_late(&part.late, &mut memory);
        }
        memory.append(&mut newest);
        let raw = segments.iter().filter(|s| s.meta.tier == Tier::Raw && s.may_have(from, to));
        for (rank, segment) in raw.enumerate() {
            match segment.file() {
                Ok(file) => {
                    let part = Part::Closed(segment.clone(), file);
                    self.push(segment.meta.times.0.max(from), (rank as u64) << 32, part);
                }
                Err(error) => self.leave_out(segment, &error.into()),
            }
        }
        for (rank, (is_late, rows)) in memory.into_iter().enumerate() {
            let target = self.targets.of(rows.series[0], &self.store.catalogue);
            let (time, series) = (rows.times[0], rows.series.iter().copied().collect());
            let group = Group { target, is_late, series, rows, row: 0, file: None };
            self.push(time, MEMORY_RANK | rank as u64, Part::Group(group));
        }
    }

    fn push(&mut self, time: i64, rank: u64, part: Part) {
        self.order.push(Reverse((time, rank, self.parts.len())));
        self.parts.push(part);
    }

    fn wants(&self, series: SeriesId) -> bool {
        self.wanted.has(series.index())
    }

    /// The places of wanted series among these.
    fn columns(&self, series: impl Iterator<Item = SeriesId>) -> Box<[usize]> {
        series.enumerate().filter(|(_, id)| self.wants(*id)).map(|(place, _)| place).collect()
    }

    fn copy(&self, rows: &head::Rows, out: &mut Vec<(bool, Rows)>) {
        let columns = self.columns(rows.series.iter());
        if columns.is_empty() || !rows.has_within(self.span.0, self.span.1) {
            return;
        }
        let times = rows.times();
        let start = times.partition_point(|time| *time < self.span.0);
        let end = times.partition_point(|time| *time <= self.span.1);
        let cells = rows.cells(start, end);
        let wanted = |row: &[f64]| columns.iter().map(|column| row[*column]).collect::<Vec<_>>();
        out.push((
            false,
            Rows {
                series: columns.iter().filter_map(|column| rows.series.get(*column)).collect(),
                times: times[start..end].to_vec(),
                cells: cells.chunks(rows.series.len()).flat_map(wanted).collect(),
            },
        ));
    }

    fn copy_late(&self, late: &Late, out: &mut Vec<(bool, Rows)>) {
        let (from, to) = self.span;
        let is_meant = |series: SeriesId, time| (from..=to).contains(&time) && self.wants(series);
        let all: Vec<_> = late.iter().filter(|((series, t), _)| is_meant(*series, *t)).collect();
        for of_one in all.chunk_by(|a, b| a.0.0 == b.0.0) {
            let rows = Rows {
                series: [of_one[0].0.0].into(),
                times: of_one.iter().map(|((_, time), _)| *time).collect(),
                cells: of_one.iter().map(|(_, value)| **value).collect(),
            };
            out.push((true, rows));
        }
    }

    /// Looks into a segment: its groups go on as parts of their own.
    fn open(&mut self, rank: u64, segment: &Arc<Segment>, file: File) {
        let opened = match segment.opened_in(file) {
            Ok(opened) => Arc::new(opened),
            Err(error) => return self.leave_out(segment, &error),
        };
        let (from, to) = self.span;
        for (place, group) in opened.directory.groups.iter().enumerate() {
            let columns = self.columns(group.series.iter().copied());
            let blocks = &opened.directory.blocks[group.blocks.clone()];
            let before = blocks.partition_point(|block| block.last < from);
            let after = blocks.partition_point(|block| block.first <= to);
            if columns.is_empty() || before >= after {
                continue;
            }
            let left = group.blocks.start + before..group.blocks.start + after;
            let time = blocks[before].first.max(from);
            let width = group.series.len();
            let series: Box<[_]> = columns.iter().map(|column| group.series[*column]).collect();
            let target = self.targets.of(series[0], &self.store.catalogue);
            let (segment, opened) = (segment.clone(), opened.clone());
            let file = Some(Blocks { segment, opened, columns, width, left });
            let (rows, is_late) = (Rows::default(), group.is_late);
            let group = Group { target, is_late, series, rows, row: 0, file };
            self.push(time, rank + place as u64, Part::Group(group));
        }
    }

    fn leave_out(&mut self, segment: &Segment, error: &ReadError) {
        let path = segment.path.display();
        tracing::warn!(%path, %error, "cannot read a part of the store; leaving it out");
        self.store.counts.damaged.inc();
        self.damaged += 1;
    }

    /// The rows of the next time become batches; `false` at the end.
    fn next_time(&mut self) -> bool {
        let mut now = None;
        while let Some(Reverse((time, rank, at))) = self.order.peek().copied()
            && now.is_none_or(|now| now == time)
        {
            let Part::Group(group) = &mut self.parts[at] else {
                self.order.pop();
                if let Part::Closed(segment, file) =
                    std::mem::replace(&mut self.parts[at], Part::Done)
                {
                    self.open(rank, &segment, file);
                }
                continue;
            };
            if group.row < group.rows.times.len() {
                now = Some(time);
                put(group, time, &mut self.targets, &mut self.ready);
                group.row += 1;
            }
            let (next, wrong) = group.next(self.span, &mut self.buffers);
            match (next, self.order.peek_mut()) {
                // In place: most rows are followed by another one of their group.
                (Some(next), Some(mut top)) => top.0.0 = next,
                (None, Some(top)) => {
                    PeekMut::pop(top);
                    self.parts[at] = Part::Done;
                }
                (_, None) => {}
            }
            if let Some((segment, error)) = wrong {
                self.leave_out(&segment, &error);
            }
        }
        for (_, batch) in &mut self.ready {
            batch.put_verdict_first(|series| self.verdicts.contains(&series));
        }
        self.ready.reverse();
        now.is_some()
    }
}

/// Appends a row to the batch of its target and time.
fn put(group: &Group, time: i64, targets: &mut Targets, ready: &mut Vec<(u32, Batch)>) {
    let width = group.series.len();
    let cells = &group.rows.cells[group.row * width..][..width];
    let there = group.series.iter().zip(cells).filter(|(_, value)| !is_absent(**value));
    let samples = there.map(|(series, value)| Sample { series: *series, value: *value });
    let (met, place) = targets.met[group.target as usize];
    match ready.get_mut(place) {
        Some((target, batch))
            if met == time && *target == group.target && !group.is_in(&batch.samples) =>
        {
            batch.samples.extend(samples);
        }
        _ => {
            targets.met[group.target as usize] = (time, ready.len());
            let target = targets.names[group.target as usize].clone();
            let mut all = Vec::with_capacity(width);
            all.extend(samples);
            let time = Timestamp::from_nanos(time.saturating_mul(1_000_000));
            ready.push((group.target, Batch { target, time, samples: all }));
        }
    }
}

/// A segment with a part that cannot be read, and why.
type Wrong = Option<(Arc<Segment>, ReadError)>;

impl Group {
    /// Whether what came late was there before: then it is a batch of its own.
    fn is_in(&self, samples: &[Sample]) -> bool {
        self.is_late && samples.iter().any(|sample| self.series.contains(&sample.series))
    }

    /// When its next row is, decoding the block it is in; `None` at its end. A block that cannot be
    /// read is left out, and told beside.
    fn next(&mut self, span: (i64, i64), buffers: &mut Buffers) -> (Option<i64>, Wrong) {
        let mut wrong = None;
        loop {
            if let Some(time) = self.rows.times.get(self.row) {
                return (Some(*time), wrong);
            }
            let Some(file) = &mut self.file else { return (None, wrong) };
            let Some(block) = file.left.next() else { return (None, wrong) };
            self.row = 0;
            if let Err(error) = file.decode(block, span, &mut self.rows, buffers) {
                self.rows.times.clear();
                wrong = Some((file.segment.clone(), error));
            }
        }
    }
}

impl Blocks {
    fn decode(
        &self,
        block: usize,
        (from, to): (i64, i64),
        rows: &mut Rows,
        buffers: &mut Buffers,
    ) -> Result<(), ReadError> {
        let block = &self.opened.directory.blocks[block];
        let wide = self.columns.len();
        rows.times.clear();
        rows.cells.clear();
        self.opened.read_block(block, self.width, &self.columns, buffers, |at, times, values| {
            let start = times.partition_point(|time| *time < from);
            let end = times.partition_point(|time| *time <= to);
            if at == 0 {
                rows.times.extend_from_slice(&times[start..end]);
                rows.cells.resize((end - start) * wide, 0.0);
            }
            let cells = rows.cells.iter_mut().skip(at).step_by(wide);
            cells.zip(&values[start..end]).for_each(|(cell, value)| *cell = *value);
        })
    }
}

impl Iterator for Batches<'_> {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        loop {
            match self.ready.pop() {
                // Where all that was there of a row is not wanted or absent.
                Some((_, batch)) if batch.samples.is_empty() => {}
                Some((_, batch)) => return Some(batch),
                None if self.next_time() => {}
                None => return None,
            }
        }
    }
}
