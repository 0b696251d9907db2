//! What is kept for how long: retention, the bound on disk, and the order in which files go.
//!
//! Retention goes by when samples came, not by the times they carry, so that a device with a wrong
//! clock can neither keep a file for ever nor lose one at once.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use super::segment::{Segment, Tier};
use super::{Store, millis};
use crate::sample::Timestamp;

/// The share of `max_size` each tier may have when all of it is in use, in percent. Without it, raw
/// samples would push out the year they are summed up in.
const SHARES_PERCENT: [(Tier, u64); 3] =
    [(Tier::Raw, 60), (Tier::FiveMinutes, 25), (Tier::Hour, 15)];

/// How long and how much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long samples are kept as they came.
    pub raw: Duration,
    /// How long what they were in five minutes.
    pub five_minutes: Duration,
    /// How long what they were in an hour.
    pub hour: Duration,
    /// The most the store takes on disk.
    pub bytes: u64,
    /// Samples so much older than the newest beside them are still taken.
    pub late: Duration,
}

impl Limits {
    /// How long samples of a tier are kept; `None` where a finer one is kept longer.
    pub(super) fn of(&self, tier: Tier) -> Option<Duration> {
        match tier {
            Tier::Raw => Some(self.raw),
            Tier::FiveMinutes => Some(self.five_minutes).filter(|kept| *kept > self.raw),
            Tier::Hour => {
                Some(self.hour).filter(|kept| *kept > self.raw && *kept > self.five_minutes)
            }
        }
    }
}

impl Store {
    /// Removes what is older than it may be, and the oldest while there is too much.
    pub fn expire(&self, now: Timestamp) {
        let _alone = self.work.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (limits, all) = {
            let state = self.state();
            (state.limits, state.segments.clone())
        };
        let all = all.iter().filter(|segment| !segment.is_growing()).cloned();
        let is_over = |segment: &Arc<Segment>| {
            let kept = limits.of(segment.meta.tier).unwrap_or_default();
            segment.meta.span.1 < millis(now - kept)
        };
        let (mut gone, mut kept): (Vec<_>, Vec<_>) = all.partition(is_over);
        while let Some(at) = one_too_many(&kept, limits.bytes) {
            gone.push(kept.remove(at));
        }
        self.remove(&gone);
        self.show();
    }

    /// Takes segments out, then their files.
    pub(super) fn remove(&self, gone: &[Arc<Segment>]) {
        if gone.is_empty() {
            return;
        }
        self.state().remove_segments(gone);
        for segment in gone {
            segment.forget();
            // What cannot be removed is found, and removed, at the next start.
            if let Err(error) = fs::remove_file(&segment.path) {
                let path = segment.path.display();
                tracing::warn!(%path, %error, "cannot remove a file of the store");
            }
        }
    }
}

/// The file to remove next while all take more than they may: the oldest of the finest tier that has
/// more than its share. The only file of a tier stays.
fn one_too_many(segments: &[Arc<Segment>], bytes_max: u64) -> Option<usize> {
    let size = |tier: Option<Tier>| -> u64 {
        let of_tier = segments.iter().filter(|s| tier.is_none_or(|tier| s.meta.tier == tier));
        of_tier.map(|segment| segment.len).sum()
    };
    if size(None) <= bytes_max {
        return None;
    }
    SHARES_PERCENT.iter().find_map(|(tier, percent)| {
        let mut of_tier = segments.iter().enumerate().filter(|(_, s)| s.meta.tier == *tier);
        let first = of_tier.next()?;
        of_tier.next()?;
        (size(Some(*tier)) > bytes_max / 100 * percent).then_some(first.0)
    })
}
