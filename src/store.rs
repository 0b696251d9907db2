//! The embedded store: every sample that was judged, for as long as it is kept.
//!
//! New samples lie in the [head] in memory, which the journal rebuilds after a crash; about
//! once an hour, or as it fills, they are [sealed](seal) into an immutable [segment]. [Once a day](merge)
//! segments are joined, and summed up for when the samples themselves are [gone](keep). It never
//! makes the task that judges wait: writing is done on another thread, and where the disk refuses,
//! samples stay in memory up to a bound. It refuses samples too old or ahead of the clock, and
//! counts them. Times are kept to the millisecond, as Prometheus' API has them.

mod batches;
mod block;
mod bytes;
mod head;
mod ids;
mod index;
mod keep;
mod merge;
mod open;
mod present;
mod query;
mod seal;
pub mod segment;
mod source;
mod task;
mod tier;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

pub use batches::Batches;
pub use keep::Limits;
pub use query::{Range, TooManySamples};
pub use seal::SealError;

use crate::metrics::{Counter, Gauge, Metrics};
use crate::sample::{Batch, Catalogue, SeriesId, Timestamp};
use head::{Frozen, Head};
use index::Index;
use segment::{Cache, Segment, Tables, Tier};

/// What the files of segments end in.
const EXTENSION: &str = "seg";

/// Times in milliseconds and values.
pub type Points = Vec<(i64, f64)>;

/// A time as the store has it.
fn millis(time: Timestamp) -> i64 {
    time.as_nanos().div_euclid(1_000_000)
}

/// See the module.
#[derive(Debug)]
pub struct Store {
    catalogue: Arc<Catalogue>,
    /// `None` where nothing is written: samples are kept for an hour or two.
    folder: Option<PathBuf>,
    state: Mutex<State>,
    index: RwLock<Index>,
    tables: Tables,
    cache: Arc<Cache>,
    /// The file that grows. Held by who changes files: one at a time.
    work: Mutex<Option<seal::Growing>>,
    counts: Counts,
}

#[derive(Debug)]
struct State {
    head: Head,
    /// What was taken out of the head and is not sealed yet, the oldest first.
    frozen: Vec<Arc<Frozen>>,
    /// By number.
    segments: Arc<Vec<Arc<Segment>>>,
    /// How often the head was cut.
    cuts: u64,
    /// When it last was, in milliseconds by the clock.
    since: i64,
    /// The number of the next file.
    next_number: u64,
    /// The end, in the journal, of what was appended last.
    journal: u64,
    limits: Limits,
}

impl State {
    fn add_segment(&mut self, segment: Arc<Segment>) {
        let (mut all, replaced): (Vec<_>, Vec<_>) =
            self.segments.iter().cloned().partition(|other| other.path != segment.path);
        replaced.iter().for_each(|segment| segment.forget());
        all.push(segment);
        all.sort_by_key(|segment| (segment.meta.tier, segment.meta.number));
        self.segments = Arc::new(all);
    }

    fn remove_segments(&mut self, gone: &[Arc<Segment>]) {
        let is_gone = |segment: &Arc<Segment>| gone.iter().any(|gone| Arc::ptr_eq(gone, segment));
        let kept = self.segments.iter().filter(|segment| !is_gone(segment)).cloned().collect();
        self.segments = Arc::new(kept);
    }
}

#[derive(Debug)]
struct Counts {
    late: Counter,
    refused: Counter,
    dropped: Counter,
    damaged: Counter,
    failing: Gauge,
    head_bytes: Gauge,
    series: Gauge,
    disk_bytes: [Gauge; 3],
    segments: [Gauge; 3],
    seal_seconds: Gauge,
}

impl Counts {
    fn new(metrics: &Metrics) -> Self {
        let of_tier = |name, help| {
            Tier::ALL.map(|tier| metrics.gauge(name, help, &[("tier", tier.as_str())]))
        };
        Self {
            late: metrics.counter(
                "watchpost_store_late_samples_total",
                "Samples that came after newer ones of their series, and were taken in.",
                &[],
            ),
            refused: metrics.counter(
                "watchpost_store_refused_samples_total",
                "Samples too late, or too far ahead of the clock, to be kept.",
                &[],
            ),
            dropped: metrics.counter(
                "watchpost_store_dropped_samples_total",
                "Samples dropped unsealed because the disk did not take them.",
                &[],
            ),
            damaged: metrics.counter(
                "watchpost_store_damaged_reads_total",
                "Times a part of the store could not be read and was left out.",
                &[],
            ),
            failing: metrics.gauge(
                "watchpost_store_failing",
                "Whether the disk does not take what is to be sealed.",
                &[],
            ),
            head_bytes: metrics.gauge(
                "watchpost_store_unsealed_bytes",
                "Memory of the samples that are not sealed.",
                &[],
            ),
            series: metrics.gauge("watchpost_store_series", "Series the store has.", &[]),
            disk_bytes: of_tier("watchpost_store_disk_bytes", "What the store takes on disk."),
            segments: of_tier("watchpost_store_segments", "Files of the store."),
            seal_seconds: metrics.gauge(
                "watchpost_store_seal_seconds",
                "How long the last seal took.",
                &[],
            ),
        }
    }
}

impl Store {
    /// Takes batches in, which end at `journal` in the journal. Takes microseconds, and never waits
    /// for the disk.
    pub fn append(&self, batches: &[Batch], now: Timestamp, journal: u64) {
        let mut new = Vec::new();
        let (mut late, mut refused) = (0, 0);
        let mut state = self.state();
        for batch in batches {
            let appended = state.head.append(batch, now, &mut new);
            late += appended.late;
            refused += appended.refused;
        }
        state.journal = journal;
        let dropped = state.make_room(millis(now));
        self.counts.head_bytes.set(state.unsealed_bytes() as f64);
        drop(state);
        if !new.is_empty() {
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            index.add(&new, &self.catalogue);
        }
        self.counts.late.add(late);
        self.counts.refused.add(refused);
        if dropped > 0 {
            self.counts.dropped.add(dropped);
            tracing::warn!(
                samples = dropped,
                "the store cannot write and is full: dropped the oldest"
            );
        }
    }

    /// Up to where in the journal everything has been taken in.
    pub fn taken_to(&self) -> u64 {
        self.state().journal
    }

    /// Up to where in the journal everything is sealed: what is after is only in memory.
    pub fn sealed_to(&self) -> u64 {
        self.state().segments.iter().map(|segment| segment.meta.journal).max().unwrap_or(0)
    }

    /// Takes over other limits.
    pub fn set_limits(&self, limits: Limits) {
        let mut state = self.state();
        state.limits = limits;
        state.head.set_window(limits.late.as_millis().try_into().unwrap_or(i64::MAX));
    }

    /// Which series have which names and labels, held still: new ones wait for as long as it is kept.
    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The series among which all must be that have this name, where one is given, and these tags;
    /// of those, the ones that `is_meant`.
    pub fn find<'a>(
        &self,
        name: Option<&str>,
        tags: impl Iterator<Item = (&'a str, &'a str)>,
        mut is_meant: impl FnMut(SeriesId) -> bool,
    ) -> Vec<SeriesId> {
        let index = self.index();
        let mut candidates = index.candidates(name, tags, &self.catalogue);
        drop(index);
        candidates.retain(|id| is_meant(*id));
        candidates
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows what there is on `/metrics`.
    fn show(&self) {
        let state = self.state();
        self.counts.head_bytes.set(state.unsealed_bytes() as f64);
        for tier in Tier::ALL {
            let of_tier = || state.segments.iter().filter(|s| s.meta.tier == tier);
            let bytes: u64 = of_tier().map(|segment| segment.len).sum();
            self.counts.disk_bytes[tier as usize].set(bytes as f64);
            let finished = of_tier().filter(|segment| !segment.is_growing()).count();
            self.counts.segments[tier as usize].set(finished as f64);
        }
        drop(state);
        self.counts.series.set(self.index().len() as f64);
    }
}

#[cfg(test)]
mod tests;
