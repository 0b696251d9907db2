//! How often targets are polled, which decides how long their samples count.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::sample::{Batch, Catalogue, Series, Timestamp};

/// How often targets are polled.
#[derive(Debug, Clone, Default)]
pub struct Cadence {
    /// By the [id](crate::config::Target::id) of a target: from one poll to the next.
    pub known: HashMap<String, Duration>,
    /// What holds for targets that are not among these.
    pub others: Others,
}

/// How often targets are polled that nobody knows of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Others {
    /// Often enough: their samples count for PromQL's lookback, as in a daemon.
    #[default]
    Unknown,
    /// This often.
    Every(Duration),
    /// As often as their samples come: the median of what lies between them.
    AsSeen,
}

impl Cadence {
    pub(super) fn is_to_be_seen(&self) -> bool {
        self.others == Others::AsSeen
    }
}

/// Intervals by the ids of targets, each told once.
pub(super) struct Ids {
    catalogue: Arc<Catalogue>,
    intervals: HashMap<String, Duration>,
    others: Others,
    told: HashSet<String>,
}

impl Ids {
    pub(super) fn new(cadence: &Cadence, catalogue: Arc<Catalogue>) -> Self {
        let (intervals, others) = (cadence.known.clone(), cadence.others);
        Self { catalogue, intervals, others, told: HashSet::new() }
    }

    /// Looks how often targets come that are not known.
    pub(super) fn see<'a>(&mut self, batches: impl IntoIterator<Item = &'a Batch>) {
        let mut gaps: HashMap<String, (Timestamp, Vec<Duration>)> = HashMap::new();
        for batch in batches {
            let Some(sample) = batch.samples.first() else { continue };
            let Some(id) = id_of(&self.catalogue.series(sample.series)) else { continue };
            if self.intervals.contains_key(&id) {
                continue;
            }
            let (last, gaps) = gaps.entry(id).or_insert((batch.time, Vec::new()));
            if batch.time > *last {
                gaps.push(batch.time.since(*last));
                *last = batch.time;
            }
        }
        for (id, (_, mut gaps)) in gaps {
            gaps.sort_unstable();
            if let Some(median) = gaps.get(gaps.len() / 2) {
                self.intervals.insert(id, *median);
            }
        }
    }

    /// The target of a series and its interval, the first time the target is met.
    pub(super) fn interval(&mut self, series: &Series) -> Option<(String, Duration)> {
        let id = id_of(series)?;
        if self.told.contains(&id) {
            return None;
        }
        self.told.insert(id.clone());
        let interval = self.intervals.get(&id).copied().or(match self.others {
            Others::Every(interval) => Some(interval),
            Others::Unknown | Others::AsSeen => None,
        })?;
        Some((id, interval))
    }
}

/// A target's id, as its series tell it.
fn id_of(series: &Series) -> Option<String> {
    let (kind, target) = series.tag("kind").zip(series.tag("target"))?;
    Some(format!("{kind}.{target}"))
}
