//! Samples of one push, held against the bounds and put together into batches.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Gathered, LINES_MAX, Outcome, PushError, SAMPLES_MAX, Site};
use crate::config::show_duration;
use crate::sample::{Batch, Catalogue, LABEL_BYTES_MAX, Sample, SeriesId, Timestamp};

/// Tags of one series; a device has a dozen.
const TAGS_MAX: usize = 64;

/// Why a point is left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It cannot be read.
    #[error("{0}")]
    Syntax(String),
    /// Too old, or from the future.
    #[error("the time {0} is {1}; the clock here shows {2}")]
    Time(Timestamp, String, Timestamp),
    /// A new series, of a client or in a daemon that may have no more.
    #[error("{0} would be one series too many")]
    Series(String),
    /// A name or a tag that no series may have.
    #[error("{0}")]
    Label(String),
    /// A series of a target that is polled here.
    #[error("{0}.{1} is polled here, and cannot be pushed")]
    Polled(String, String),
}

impl Refusal {
    /// All reasons, as the label `reason` has them.
    pub const REASONS: [&'static str; 5] = ["syntax", "time", "series", "label", "polled"];

    const fn index(&self) -> usize {
        match self {
            Self::Syntax(_) => 0,
            Self::Time(..) => 1,
            Self::Series(_) => 2,
            Self::Label(_) => 3,
            Self::Polled(..) => 4,
        }
    }
}

/// What is wrong, and how much it costs.
pub(super) enum Wrong {
    /// This point.
    Point(Refusal),
    /// All of the push.
    Push(PushError),
}

impl From<Refusal> for Wrong {
    fn from(refusal: Refusal) -> Self {
        Self::Point(refusal)
    }
}

impl From<PushError> for Wrong {
    fn from(error: PushError) -> Self {
        Self::Push(error)
    }
}

/// When a sample may be from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) now: Timestamp,
    pub(super) ahead: Duration,
    pub(super) behind: Duration,
}

impl Window {
    /// The time itself if it is within the window.
    pub(super) fn check(&self, time: Timestamp) -> Result<Timestamp, Refusal> {
        let why = if time > self.now + self.ahead {
            format!("more than {} ahead", show_duration(self.ahead))
        } else if time < self.now - self.behind {
            format!("more than {} old", show_duration(self.behind))
        } else {
            return Ok(time);
        };
        Err(Refusal::Time(time, why, self.now))
    }
}

/// A row of a push: where it is in the catalogue, if it is, and its target.
pub(super) struct RowRef {
    row: Option<u32>,
    target: u32,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    time: Timestamp,
    target: u32,
    sample: Sample,
}

/// Gathers one push.
pub(super) struct Gather<'a> {
    catalogue: &'a Catalogue,
    pub(super) site: &'a Site,
    pub(super) window: Window,
    room: usize,
    lines: usize,
    targets: Vec<Arc<str>>,
    target_ids: HashMap<Arc<str>, u32>,
    entries: Vec<Entry>,
    outcome: Outcome,
    refused: [u64; Refusal::REASONS.len()],
}

impl<'a> Gather<'a> {
    /// `room`: how many new series there may be.
    pub(super) fn new(
        catalogue: &'a Catalogue,
        site: &'a Site,
        window: Window,
        room: usize,
    ) -> Self {
        Self {
            catalogue,
            site,
            window,
            room,
            lines: 0,
            targets: Vec::new(),
            target_ids: HashMap::new(),
            entries: Vec::new(),
            outcome: Outcome::default(),
            refused: [0; Refusal::REASONS.len()],
        }
    }

    /// How many new series there may still be.
    pub(super) fn room(&self) -> usize {
        self.room
    }

    /// Counts a point.
    pub(super) fn point(&mut self) -> Result<(), PushError> {
        self.lines += 1;
        if self.lines > LINES_MAX { Err(PushError::TooMuch) } else { Ok(()) }
    }

    /// Leaves a point out if that is all that is wrong.
    pub(super) fn settle(&mut self, point: Result<(), Wrong>) -> Result<(), PushError> {
        match point {
            Ok(()) => {}
            Err(Wrong::Push(error)) => return Err(error),
            Err(Wrong::Point(refusal)) => {
                self.refused[refusal.index()] += 1;
                self.outcome.dropped += 1;
                self.outcome.refusal.get_or_insert(refusal);
            }
        }
        Ok(())
    }

    /// Counts a text.
    pub(super) fn text(&mut self) {
        self.outcome.texts += 1;
    }

    /// The row of a measurement with these tags, checked; `target` is what its batch is put under.
    pub(super) fn row(
        &mut self,
        measurement: &str,
        tags: &[(&str, &str)],
        target: &str,
    ) -> Result<RowRef, Refusal> {
        check_names(measurement, tags)?;
        let tag = |name: &str| tags.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        if let (Some(kind), Some(target)) = (tag("kind"), tag("target"))
            && tag("site") == self.site.name.as_deref()
            && self.site.polls(target, kind)
        {
            return Err(Refusal::Polled(kind.to_owned(), target.to_owned()));
        }
        let mut row = self.catalogue.find_row(measurement, tags);
        if row.is_none() && self.room > 0 {
            row = Some(self.catalogue.row(measurement, tags).0);
        }
        Ok(RowRef { row, target: self.target(target) })
    }

    fn target(&mut self, name: &str) -> u32 {
        // Most points of a push are of the target of the one before.
        if let Some(last) = self.entries.last()
            && *self.targets[last.target as usize] == *name
        {
            return last.target;
        }
        if let Some(known) = self.target_ids.get(name) {
            return *known;
        }
        let id = u32::try_from(self.targets.len()).expect("fewer targets than lines");
        let name: Arc<str> = name.into();
        self.targets.push(name.clone());
        self.target_ids.insert(name, id);
        id
    }

    /// The series of a row's field.
    pub(super) fn series(&mut self, row: &RowRef, field: &str) -> Result<SeriesId, Refusal> {
        if field.len() > LABEL_BYTES_MAX {
            return Err(Refusal::Label(format!("a name of more than {LABEL_BYTES_MAX} bytes")));
        }
        let known = row.row.and_then(|row| self.catalogue.find_series(row, field));
        if let Some(known) = known {
            return Ok(known);
        }
        let free = row.row.filter(|_| self.room > 0);
        let row = free.ok_or_else(|| Refusal::Series(format!("the field {field:?}")))?;
        self.room -= 1;
        Ok(self.catalogue.series_of(row, self.catalogue.field(field)))
    }

    /// Takes a sample.
    pub(super) fn sample(
        &mut self,
        row: &RowRef,
        time: Timestamp,
        sample: Sample,
    ) -> Result<(), Wrong> {
        if self.entries.len() >= SAMPLES_MAX {
            return Err(PushError::TooMuch.into());
        }
        self.entries.push(Entry { time, target: row.target, sample });
        Ok(())
    }

    /// How many samples have been taken.
    pub(super) fn samples(&self) -> usize {
        self.entries.len()
    }

    /// Leaves out the samples taken since there were `before`: their point is refused after all.
    pub(super) fn forget_from(&mut self, before: usize) {
        self.entries.truncate(before);
    }

    /// Batches in the order of their times; of two values of one series at one time the last.
    pub(super) fn finish(mut self) -> Gathered {
        let key = |entry: &Entry| (entry.time, entry.target, entry.sample.series);
        self.entries.sort_by_key(key);
        let mut batches: Vec<Batch> = Vec::new();
        let mut entries = self.entries.iter().peekable();
        let mut place = None;
        while let Some(entry) = entries.next() {
            if entries.peek().is_some_and(|next| key(next) == key(entry)) {
                continue;
            }
            if place.replace((entry.time, entry.target)) != Some((entry.time, entry.target)) {
                let target = self.targets[entry.target as usize].clone();
                batches.push(Batch { target, time: entry.time, samples: Vec::new() });
            }
            batches.last_mut().expect("one was made").samples.push(entry.sample);
        }
        self.outcome.samples = self.entries.len();
        (batches, self.outcome, self.refused)
    }
}

fn check_names(measurement: &str, tags: &[(&str, &str)]) -> Result<(), Refusal> {
    if tags.len() > TAGS_MAX {
        return Err(Refusal::Label(format!("{} tags, more than {TAGS_MAX}", tags.len())));
    }
    let texts = tags.iter().flat_map(|(name, value)| [*name, *value]).chain([measurement]);
    if texts.into_iter().any(|text| text.len() > LABEL_BYTES_MAX) {
        return Err(Refusal::Label(format!("a label of more than {LABEL_BYTES_MAX} bytes")));
    }
    if measurement.is_empty() || tags.iter().any(|(name, _)| name.is_empty()) {
        return Err(Refusal::Label("a label without a name".to_owned()));
    }
    if tags.iter().any(|(name, _)| *name == "__name__") {
        return Err(Refusal::Label("a tag cannot be called __name__".to_owned()));
    }
    Ok(())
}
