//! Which series may have samples in a time, without reading any: by the rows of the head and by the
//! first and the last time of blocks, as Prometheus goes by its blocks and chunks.

use super::Store;
use super::head::{Late, Rows};
use super::ids::Ids;
use super::query::Range;
use super::segment::Segment;
use crate::sample::SeriesId;

/// A set of series.
#[derive(Debug, Default)]
pub(super) struct Present(Ids);

impl Present {
    pub(super) fn has(&self, series: SeriesId) -> bool {
        self.0.has(series.index())
    }

    fn add(&mut self, series: SeriesId) {
        self.0.add(series.index());
    }

    fn add_rows<'a>(&mut self, all: impl Iterator<Item = &'a Rows>, range: &Range) {
        for rows in all {
            if rows.has_within(range.from, range.to) {
                rows.series.iter().for_each(|series| self.add(series));
            }
        }
    }

    fn add_late(&mut self, late: &Late, range: &Range) {
        let within = late.keys().filter(|(_, time)| (range.from..=range.to).contains(time));
        within.for_each(|(series, _)| self.add(*series));
    }

    fn add_segment(&mut self, segment: &Segment, range: &Range) {
        let step = segment.meta.tier.step_millis();
        let (first, last) = segment.meta.times;
        let is_whole = range.from <= first && last <= range.to;
        let is_needed = !is_whole || segment.table().is_none();
        // What cannot be read may have anything.
        let Some(opened) = is_needed.then(|| segment.opened().ok()).flatten() else {
            let all = segment.table().into_iter().flat_map(|table| &table.0);
            return all.for_each(|series| self.add(*series));
        };
        for group in &opened.directory.groups {
            let mut blocks = opened.directory.blocks[group.blocks.clone()].iter();
            if blocks.any(|block| block.first <= range.to && range.from <= block.last + step) {
                group.series.iter().for_each(|series| self.add(*series));
            }
        }
    }
}

impl Store {
    /// The series that may have samples in a range.
    pub(super) fn present(&self, range: &Range) -> Present {
        let mut present = Present::default();
        let state = self.state();
        present.add_rows(state.head.rows(), range);
        present.add_late(state.head.late(), range);
        let (frozen, segments) = (state.frozen.clone(), state.segments.clone());
        drop(state);
        for frozen in &frozen {
            present.add_rows(frozen.rows.iter(), range);
            present.add_late(&frozen.late, range);
        }
        for segment in segments.iter() {
            let step = segment.meta.tier.step_millis();
            if segment.may_have(range.from.saturating_sub(step), range.to) {
                present.add_segment(segment, range);
            }
        }
        present
    }
}
