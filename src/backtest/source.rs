//! Where history comes from: the embedded store, a file, or InfluxDB.
//!
//! Each gives batches in the order of time, holds a bounded part of them in memory, and refuses what
//! it cannot read: what is left out in silence would be taken for calm.

mod csv;
mod file;
pub mod influxdb;
mod line_protocol;
mod points;

use std::path::Path;
use std::sync::Arc;

pub use file::Form;
pub use influxdb::InfluxDb;
use points::Points;

use crate::sample::{Batch, Catalogue, Series, Timestamp};
use crate::store::{Batches, Store};

/// Why a source cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// A file cannot be read at all.
    #[error("cannot read {0}: {1}")]
    File(String, String),
    /// A line of a file is not what it should be.
    #[error("{0}:{1}: {2}")]
    Line(String, u64, String),
    /// More than fits into memory.
    #[error(
        "{place} has more than {max} samples that the rules ask about; ask for less with --from, \
         --to or --rule"
    )]
    TooManySamples {
        /// Where.
        place: String,
        /// The most there may be.
        max: usize,
    },
    /// More series than anybody has.
    #[error(
        "{place} has more than {max} series that the rules ask about; ask for fewer with --rule"
    )]
    TooManySeries {
        /// Where.
        place: String,
        /// The most there may be.
        max: usize,
    },
    /// InfluxDB does not answer, or not with what was asked for.
    #[error("{0}")]
    InfluxDb(String),
}

/// What is wanted of a source.
#[derive(Clone)]
pub struct Wanted<'a> {
    /// The oldest time; `None`: from the beginning.
    pub from: Option<Timestamp>,
    /// The newest time, included; `None`: to the end.
    pub to: Option<Timestamp>,
    /// Which series.
    pub series: &'a dyn Fn(&Series) -> bool,
    /// Which names of series.
    pub names: &'a dyn Fn(&str) -> bool,
    /// Where series are interned.
    pub catalogue: &'a Arc<Catalogue>,
    /// The tag `site` of points that have none.
    pub site: Option<&'a str>,
}

impl Wanted<'_> {
    fn is_in_time(&self, time: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= time) && self.to.is_none_or(|to| time <= to)
    }
}

/// History in the order of time.
#[derive(Debug)]
pub enum Source<'a> {
    /// The embedded store.
    Store(Batches<'a>),
    /// A file, read and put in order.
    File(points::Sorted),
    /// InfluxDB, a span of time after the other.
    InfluxDb(Box<InfluxDb<'a>>),
}

impl<'a> Source<'a> {
    /// What a store has.
    #[must_use]
    pub fn store(store: &'a Store, wanted: &Wanted<'_>) -> Self {
        let from = wanted.from.unwrap_or(Timestamp::MIN);
        let to = wanted.to.unwrap_or(Timestamp::from_nanos(i64::MAX));
        Self::Store(store.batches(from, to, wanted.series))
    }

    /// What a file has; `-` is standard input.
    ///
    /// # Errors
    /// A file that cannot be read, one line of it, or one that is too large.
    pub fn file(path: &Path, form: Form, wanted: &Wanted<'_>) -> Result<Self, SourceError> {
        file::read(path, form, wanted).map(Self::File)
    }

    /// The time of its last sample, where that is known beforehand.
    #[must_use]
    pub fn end(&self) -> Option<Timestamp> {
        match self {
            Self::File(sorted) => sorted.end(),
            Self::Store(_) | Self::InfluxDb(_) => None,
        }
    }

    /// How many parts of it could not be read, and were left out.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        match self {
            Self::Store(batches) => batches.damaged(),
            Self::File(_) | Self::InfluxDb(_) => 0,
        }
    }
}

impl Iterator for Source<'_> {
    type Item = Result<Batch, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Store(batches) => batches.next().map(Ok),
            Self::File(sorted) => sorted.next().map(Ok),
            Self::InfluxDb(database) => database.next(),
        }
    }
}
