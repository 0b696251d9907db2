//! Whether an alert flaps: Icinga's measure, over the last 20 samples.
//!
//! Each sample after which the alert fires, or fires at another severity, unlike after the one
//! before, is a change. Recent changes weigh more, from 0.8 for the oldest to 1.2 for the newest;
//! their sum is a share of 20 (Icinga 2, `lib/icinga/checkable-flapping.cpp`; Nagios Core,
//! "Detection and Handling of State Flapping").

use serde::{Deserialize, Serialize};

/// The samples that count.
const SAMPLES: u32 = 20;

/// Above this share an alert that fires flaps …
const HIGH_PERCENT: f64 = 30.0;

/// … until its share is below this one.
const LOW_PERCENT: f64 = 25.0;

/// What happened to an alert of late.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Flaps {
    /// A bit for each sample, the newest lowest: whether it brought a change.
    changes: u32,
    /// Whether there was a change since the last sample.
    changed: bool,
    /// Whether it flaps.
    pub(super) flapping: bool,
}

impl Flaps {
    /// The alert's severity, or whether it fires at all, is not what it was.
    pub(super) fn note_change(&mut self) {
        self.changed = true;
    }

    /// A sample has been judged.
    pub(super) fn sample(&mut self) {
        self.changes = self.with_now() & ((1 << SAMPLES) - 1);
        self.changed = false;
    }

    /// The weighted share of samples that brought a change, in percent.
    pub(super) fn percent(&self) -> f64 {
        let changes = self.with_now();
        let oldest = f64::from(SAMPLES - 1);
        let weight = |age: u32| 1.2 - 0.4 * f64::from(age) / oldest;
        let sum: f64 = (0..SAMPLES).filter(|age| changes >> age & 1 == 1).map(weight).sum();
        100.0 * sum / f64::from(SAMPLES)
    }

    pub(super) fn is_high(&self) -> bool {
        self.percent() > HIGH_PERCENT
    }

    pub(super) fn is_low(&self) -> bool {
        self.percent() < LOW_PERCENT
    }

    /// Whether there is nothing to remember.
    pub(super) fn is_quiet(&self) -> bool {
        self.changes == 0 && !self.changed && !self.flapping
    }

    fn with_now(&self) -> u32 {
        self.changes << 1 | u32::from(self.changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixth_change_in_a_row_is_too_many_and_calm_samples_make_up_for_it() {
        let mut flaps = Flaps::default();
        for change in 1..=6 {
            flaps.note_change();
            assert_eq!(flaps.is_high(), change == 6, "{change}: {}", flaps.percent());
            flaps.sample();
        }
        let mut calm = 0;
        while !flaps.is_low() {
            flaps.sample();
            calm += 1;
        }
        // Changes weigh 1 % of 1.2 each and lose 0.105 % of it a sample.
        assert_eq!(calm, 14, "{}", flaps.percent());
    }

    #[test]
    fn twenty_changes_in_twenty_samples_are_all() {
        let mut flaps = Flaps::default();
        for _ in 0..20 {
            flaps.note_change();
            flaps.sample();
        }
        assert!(!flaps.is_quiet() && flaps.percent() < 100.0);
        flaps.changes = (1 << 19) - 1;
        flaps.note_change();
        assert!((flaps.percent() - 100.0).abs() < 1e-9, "{}", flaps.percent());
    }
}
