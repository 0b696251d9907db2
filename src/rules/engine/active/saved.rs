//! What of an alert survives a restart.

use serde::{Deserialize, Serialize};

use super::telling::Telling;
use super::{Active, Phase};
use crate::rules::engine::climb::Climb;
use crate::rules::engine::flaps::Flaps;
use crate::rules::engine::window::Window;
use crate::rules::{Severity, State};
use crate::sample::Timestamp;

/// How an alert stands: all that is not its name, its rule's or its front's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::rules::engine) struct Standing {
    pub(super) phase: Phase,
    /// What it fires with, or would if it fired now.
    pub(super) severity: Severity,
    /// Since when the rule has held.
    pub(super) since: Timestamp,
    /// Whether a value has held since, or missing data alone.
    pub(super) held: bool,
    /// Since when there has been no data.
    pub(super) missing: Option<Timestamp>,
    pub(super) value: Option<f64>,
    pub(super) reason: String,
    pub(super) climb: Climb,
    pub(super) window: Window,
    pub(super) flaps: Flaps,
    pub(super) telling: Telling,
}

impl Default for Standing {
    fn default() -> Self {
        Self {
            phase: Phase::Watching,
            severity: Severity::Info,
            since: Timestamp::default(),
            held: false,
            missing: None,
            value: None,
            reason: String::new(),
            climb: Climb::default(),
            window: Window::default(),
            flaps: Flaps::default(),
            telling: Telling::Nothing,
        }
    }
}

impl Standing {
    /// In how many of the last samples anything held, where they are counted.
    pub(in crate::rules::engine) fn samples_held(&self) -> u32 {
        self.window.held()
    }
}

impl Active {
    pub(in crate::rules::engine) fn severity(&self) -> Severity {
        self.now.severity
    }

    /// Whether people know that it fires, or that it flaps.
    pub(in crate::rules::engine) fn is_told(&self) -> bool {
        matches!(self.now.telling, Telling::Told(_)) || self.now.flaps.flapping
    }

    pub(in crate::rules::engine) fn standing(&self) -> &Standing {
        &self.now
    }

    /// Takes over how it stood before a restart. Its data counts for the whole lookback from
    /// `now` on: how long watchpost was away says nothing about it.
    pub(in crate::rules::engine) fn restore(&mut self, standing: Standing, now: Timestamp) {
        self.now = standing;
        self.last = now;
        self.asleep = true;
    }

    /// All its times move by a step of the clock.
    pub(in crate::rules::engine) fn shift(&mut self, nanos: i64) {
        let now = &mut self.now;
        let mut times = vec![&mut self.last, &mut now.since];
        times.extend(&mut self.armed);
        times.extend(&mut now.missing);
        if let Phase::Clearing { until, .. } = &mut now.phase {
            times.push(until);
        }
        if let Telling::Waiting { until, .. } = &mut now.telling {
            times.push(until);
        }
        times.into_iter().for_each(|time| *time = time.shifted(nanos));
        now.climb.shift(nanos);
    }

    /// Whether it fires, fired or is about to, as people and sinks see it.
    pub(in crate::rules::engine) fn is_active(&self) -> bool {
        self.state() != State::Inactive
    }
}
