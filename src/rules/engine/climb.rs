//! Since when each severity has held: `for` counts for each of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::rules::Severity;
use crate::sample::Timestamp;

/// By severity: since when it or a worse one has held without a break.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Climb([Option<Timestamp>; Severity::ALL.len()]);

impl Climb {
    /// From `at` on this severity holds, and those below; none of those above.
    pub(super) fn update(&mut self, holds: Option<Severity>, at: Timestamp) {
        for (severity, since) in Severity::ALL.iter().zip(&mut self.0) {
            *since = if holds >= Some(*severity) { since.or(Some(at)) } else { None };
        }
    }

    /// The worst severity that has held for so long by `at`.
    pub(super) fn reached(&self, hold: Duration, at: Timestamp) -> Option<Severity> {
        let mut all = Severity::ALL.iter().zip(self.0).rev();
        all.find(|(_, since)| since.is_some_and(|since| since + hold <= at)).map(|(one, _)| *one)
    }

    /// When the next severity worse than `than` will have held for so long.
    pub(super) fn next(&self, than: Option<Severity>, hold: Duration) -> Option<Timestamp> {
        let all = Severity::ALL.iter().zip(self.0);
        all.filter(|(one, _)| Some(**one) > than).filter_map(|(_, since)| Some(since? + hold)).min()
    }

    pub(super) fn shift(&mut self, nanos: i64) {
        self.0.iter_mut().flatten().for_each(|time| *time = time.shifted(nanos));
    }
}
