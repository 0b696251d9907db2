//! Why an alert is in its state, in the words people read.

use super::{Active, Around, Phase};
use crate::config::show_duration;
use crate::rules::Severity;
use crate::rules::engine::alerts::Rule;
use crate::rules::plan::shown;
use crate::sample::Timestamp;

impl Active {
    /// `cleared at 28 (< 32), kept firing for 1m`
    pub(super) fn ended(&self, rule: &Rule, value: Option<f64>, kept: bool) -> String {
        let words = rule.words(rule.mildest());
        let mut reason = match (self.now.phase, value) {
            (Phase::Pending | Phase::Unknown { fired: false }, Some(value)) => {
                format!("{} is no longer {}", shown(value), words.when)
            }
            (Phase::Pending | Phase::Unknown { fired: false }, None) => {
                format!("no longer {}", words.when)
            }
            (_, Some(value)) if self.now.held => {
                format!("cleared at {} ({})", shown(value), words.end)
            }
            (_, None) if self.now.held => format!("cleared ({})", words.end),
            _ => self.back(),
        };
        if kept {
            reason += &format!(", kept firing for {}", show_duration(rule.keep));
        }
        reason
    }

    /// `31.4 > 30`, or what holds where there is no value.
    pub(super) fn compared(&self, condition: &str) -> String {
        let value = self.now.value.map(|value| format!("{} {condition}", shown(value)));
        value.unwrap_or_else(|| condition.to_owned())
    }

    /// `held for 30s at 31.4 (> 30)`
    pub(super) fn held_for(&self, rule: &Rule, severity: Severity) -> String {
        let when = &rule.words(severity).when;
        if rule.hold.is_zero() {
            return self.compared(when);
        }
        let at = self.now.value.map_or_else(String::new, |v| format!(" at {}", shown(v)));
        format!("held for {}{at} ({when})", show_duration(rule.hold))
    }

    pub(super) fn back(&self) -> String {
        let at = self.now.value.map_or_else(String::new, |v| format!(" at {}", shown(v)));
        format!("data is back{at}")
    }

    pub(super) fn missing(&self, cx: Around<'_>, since: Timestamp) -> String {
        let down = if cx.targets.is_down(self.target) { "target down, " } else { "" };
        format!("{down}data missing since {since}")
    }
}
