//! The store as what PromQL is evaluated over.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use rustc_hash::{FxHashMap, FxHashSet};

use super::query::in_order;
use super::{Points, Range, Store, millis};
use crate::history::History;
use crate::promql::eval::EvalError;
use crate::promql::functions::Point;
use crate::promql::labels::{Labels, NAME};
use crate::promql::selector::{Pattern, Selector};
use crate::promql::source::{SeriesSet, Source, Window};
use crate::sample::{SeriesId, Timestamp};

/// Series read at once. Their samples are held twice for a moment.
const READ_SERIES_MAX: usize = 256;

impl Source for Store {
    fn select(
        &self,
        selector: &Selector,
        window: Window,
        found: &mut SeriesSet,
    ) -> Result<(), EvalError> {
        let mut range = Range { samples_max: found.room(), ..Range::of(window) };
        let series = self.selected(selector);
        let labels: Vec<Labels> =
            series.iter().map(|id| Labels::of_series(&self.catalogue.series(*id))).collect();
        if self.are_distinct(&series) {
            let chunks = series.chunks(READ_SERIES_MAX).zip(labels.chunks(READ_SERIES_MAX));
            for (series, labels) in chunks {
                let read = self.read(series, &range);
                let read = read.map_err(|_| found.too_many())?;
                for (labels, points) in labels.iter().zip(read) {
                    add(labels.clone(), &points, found)?;
                }
                range.samples_max = found.room();
            }
            return Ok(());
        }
        let read = self.read(&series, &range);
        let read = read.map_err(|_| found.too_many())?;
        let mut together: FxHashMap<Labels, Points> = FxHashMap::default();
        for (labels, mut points) in labels.into_iter().zip(read) {
            together.entry(labels).or_default().append(&mut points);
        }
        for (labels, mut points) in together {
            in_order(&mut points);
            add(labels, &points, found)?;
        }
        Ok(())
    }

    fn is_summed_up(&self, window: Window) -> bool {
        self.is_read_from_sums(&Range::of(window))
    }
}

impl Range {
    fn of(window: Window) -> Self {
        Self {
            // What is later than the start is later by a millisecond, as the store has times.
            from: millis(window.after).saturating_add(1),
            to: millis(window.until),
            summary: window.summary,
            samples_max: usize::MAX,
        }
    }
}

impl History for Store {
    fn series(
        &self,
        selector: &Selector,
        between: Option<(Timestamp, Timestamp)>,
        look: &mut dyn FnMut(Labels) -> ControlFlow<()>,
    ) {
        let mut series = self.selected(selector);
        if let Some((start, end)) = between {
            let present = self.present(&Range::new(start, end));
            series.retain(|id| present.has(*id));
        }
        let labels = series.iter().map(|id| Labels::of_series(&self.catalogue.series(*id)));
        let mut shown = FxHashSet::default();
        let are_distinct = self.are_distinct(&series);
        let mut new = labels.filter(|labels| are_distinct || shown.insert(labels.clone()));
        // The end comes when all are shown, or when it has been told to stop.
        _ = new.try_for_each(look);
    }

    fn label_names(&self) -> BTreeSet<String> {
        let index = self.index();
        let name = (index.len() > 0).then_some(NAME);
        index.tags().into_iter().chain(name).map(str::to_owned).collect()
    }

    fn label_values(&self, label: &str) -> BTreeSet<String> {
        let index = self.index();
        let values = if label == NAME { index.names() } else { index.values(label) };
        values.into_iter().map(str::to_owned).collect()
    }
}

fn add(labels: Labels, points: &Points, found: &mut SeriesSet) -> Result<(), EvalError> {
    found.begin(labels);
    found.extend(points.iter().map(|(millis, value)| Point {
        time: Timestamp::from_nanos(millis.saturating_mul(1_000_000)),
        value: *value,
    }))
}

impl Store {
    /// The series a selector means.
    #[must_use]
    pub fn selected(&self, selector: &Selector) -> Vec<SeriesId> {
        let equal = selector.matchers.iter().filter_map(|matcher| match &matcher.pattern {
            Pattern::Equal(value) if !value.is_empty() && matcher.label != NAME => {
                Some((&*matcher.label, &**value))
            }
            _ => None,
        });
        let is_name_alone = selector.name.is_some() && selector.matchers.is_empty();
        self.find(selector.name.as_deref(), equal, |id| {
            is_name_alone || selector.matches_series(&self.catalogue.series(id))
        })
    }

    /// Whether no two of these can have the same labels: one name may be parted into measurement
    /// and field in more than one way.
    fn are_distinct(&self, series: &[SeriesId]) -> bool {
        let held = self.catalogue.hold();
        let fields: FxHashSet<u32> = series.iter().map(|id| held.place(*id).1).collect();
        let texts: FxHashSet<&str> = fields.iter().map(|field| held.field(*field)).collect();
        let has_another = |text: &&str| {
            let ends = text.match_indices('_').map(|(at, _)| &text[at + 1..]);
            !text.is_empty() && ends.chain([""]).any(|end| texts.contains(end))
        };
        texts.len() < 2 || !texts.iter().any(has_another)
    }
}
