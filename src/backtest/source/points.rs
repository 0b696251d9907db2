//! Points in any order, put together into batches in the order of time.

use std::collections::HashMap;
use std::sync::Arc;

use super::{SourceError, Wanted};
use crate::ingest::identify;
use crate::sample::{Batch, Catalogue, Sample, SeriesId, Timestamp};

/// Samples held at once; each takes 24 bytes.
pub(super) const SAMPLES_MAX: usize = 10_000_000;

/// Series of one source, wanted or not, at 200 bytes each.
const SERIES_MAX: usize = 1_000_000;

/// One sample of one series, and where it belongs.
#[derive(Debug, Clone, Copy)]
struct Entry {
    time: Timestamp,
    series: SeriesId,
    target: u32,
    value: f64,
}

/// Gathers points.
pub(super) struct Points<'a> {
    wanted: Wanted<'a>,
    catalogue: Arc<Catalogue>,
    /// What messages call the source.
    place: String,
    /// The target of points that name none.
    target: String,
    samples_max: usize,
    entries: Vec<Entry>,
    names: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, u32>,
    /// By series: its target, where it is wanted.
    known: Vec<Option<Option<u32>>>,
}

impl<'a> Points<'a> {
    pub(super) fn new(wanted: Wanted<'a>, place: String, target: String) -> Self {
        Self {
            catalogue: wanted.catalogue.clone(),
            wanted,
            place,
            target,
            samples_max: SAMPLES_MAX,
            entries: Vec::new(),
            names: Vec::new(),
            ids: HashMap::new(),
            known: Vec::new(),
        }
    }

    /// Whether a time is asked for.
    pub(super) fn is_in_time(&self, time: Timestamp) -> bool {
        self.wanted.is_in_time(time)
    }

    /// The series of a field with these tags, and those it lacks, as if it were pushed to a daemon;
    /// `None` where it is not wanted.
    pub(super) fn series(
        &mut self,
        measurement: &str,
        field: &str,
        tags: &[(&str, &str)],
    ) -> Result<Option<(SeriesId, u32)>, SourceError> {
        let mut tags = tags.to_vec();
        let target = identify(&mut tags, &self.target, self.wanted.site);
        // A series whose name is its measurement's alone is written with this field.
        let field = if measurement == "ALERTS" && field == "value" { "" } else { field };
        let id = self.catalogue.intern(measurement, field, &tags);
        if let Some(Some(known)) = self.known.get(id.index()) {
            return Ok(known.map(|target| (id, target)));
        }
        if self.known.len() > SERIES_MAX {
            let (place, max) = (self.place.clone(), SERIES_MAX);
            return Err(SourceError::TooManySeries { place, max });
        }
        let is_wanted = (self.wanted.series)(&self.catalogue.series(id));
        let target = is_wanted.then(|| match self.ids.get(target) {
            Some(known) => *known,
            None => {
                let number = u32::try_from(self.names.len()).expect("fewer targets than series");
                let name: Arc<str> = target.into();
                self.names.push(name.clone());
                self.ids.insert(name, number);
                number
            }
        });
        self.known.resize(self.known.len().max(id.index() + 1), None);
        self.known[id.index()] = Some(target);
        Ok(target.map(|target| (id, target)))
    }

    /// Takes a sample.
    pub(super) fn push(
        &mut self,
        time: Timestamp,
        (series, target): (SeriesId, u32),
        value: f64,
    ) -> Result<(), SourceError> {
        if self.entries.len() >= self.samples_max {
            let (place, max) = (self.place.clone(), self.samples_max);
            return Err(SourceError::TooManySamples { place, max });
        }
        self.entries.push(Entry { time, series, target, value });
        Ok(())
    }

    /// How many samples there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Lets go of all samples.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Samples taken at most from here on.
    pub(super) fn set_max(&mut self, samples: usize) {
        self.samples_max = samples;
    }

    /// All samples that were taken, in order.
    pub(super) fn sorted(&mut self) -> Sorted {
        let mut entries = std::mem::take(&mut self.entries);
        // Stable: of two of one series and time the later one counts.
        entries.sort_by_key(|entry| (entry.time, entry.target));
        let end = entries.last().map(|entry| entry.time);
        Sorted { entries: entries.into_iter().peekable(), end, names: self.names.clone() }
    }
}

/// Batches of what was gathered: one a target and time.
#[derive(Debug)]
pub struct Sorted {
    entries: std::iter::Peekable<std::vec::IntoIter<Entry>>,
    end: Option<Timestamp>,
    names: Vec<Arc<str>>,
}

impl Sorted {
    /// The time of the last sample.
    pub(super) fn end(&self) -> Option<Timestamp> {
        self.end
    }
}

impl Iterator for Sorted {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let first = self.entries.next()?;
        let is_of = |entry: &Entry| (entry.time, entry.target) == (first.time, first.target);
        let mut samples = vec![Sample { series: first.series, value: first.value }];
        while let Some(Entry { series, value, .. }) = self.entries.next_if(is_of) {
            samples.push(Sample { series, value });
        }
        samples.sort_by_key(|sample| sample.series);
        samples.dedup_by(|later, kept| {
            let is_same = later.series == kept.series;
            if is_same {
                kept.value = later.value;
            }
            is_same
        });
        let target = self.names[first.target as usize].clone();
        Some(Batch { target, time: first.time, samples })
    }
}
