//! What is expected, whether it is met, and how it and what was found instead are shown.

use std::fmt;

use super::read::{Expected, ExpectedAction};
use crate::config::show_duration;
use crate::rules::{Alert, Notify, State, Transition};
use crate::sample::Timestamp;

impl Expected {
    pub(super) fn time(&self) -> Timestamp {
        Timestamp::default() + self.at.0
    }

    pub(super) fn is_met(&self, about: &[Alert]) -> bool {
        if self.state == State::Inactive {
            return about.is_empty();
        }
        let fits = |alert: &&Alert| {
            let notice = alert.notice(self.time());
            alert.state == self.state
                && self.severity.is_none_or(|severity| alert.severity == severity)
                && self.flapping.is_none_or(|flapping| alert.flapping == flapping)
                && self.held_back.is_none_or(|held| alert.held_back_by.is_some() == held)
                && self.value.is_none_or(|value| alert.value.is_some_and(|v| close(v, value)))
                && self.reason.as_ref().is_none_or(|reason| alert.reason.contains(reason))
                && self.summary.as_ref().is_none_or(|summary| notice.summary == *summary)
                && self.description.as_ref().is_none_or(|text| notice.description == *text)
        };
        let fitting = about.iter().filter(fits).count();
        self.count.map_or(fitting > 0, |count| fitting == count as usize)
    }
}

/// As promtool compares: written decimals are not exact.
fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * a.abs().max(b.abs())
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} at {}", self.alert.value, self.state, show_duration(self.at.0))?;
        self.labels.iter().try_for_each(|(name, value)| write!(f, ", {name}={value:?}"))?;
        self.count.iter().try_for_each(|count| write!(f, ", {count} of them"))?;
        self.severity.iter().try_for_each(|one| write!(f, ", severity {}", one.as_str()))?;
        let word = |is: bool| if is { "" } else { "not " };
        self.flapping.iter().try_for_each(|is| write!(f, ", {}flapping", word(*is)))?;
        self.held_back.iter().try_for_each(|is| write!(f, ", {}held back", word(*is)))?;
        self.value.iter().try_for_each(|value| write!(f, ", value {value}"))?;
        self.reason.iter().try_for_each(|text| write!(f, ", a reason with {text:?}"))?;
        self.summary.iter().try_for_each(|text| write!(f, ", summary {text:?}"))?;
        self.description.iter().try_for_each(|text| write!(f, ", description {text:?}"))
    }
}

impl ExpectedAction {
    pub(super) fn is_met(&self, action: &str, transition: &Transition) -> bool {
        self.action == action
            && self.alert.value == *transition.alert.rule.name
            && self.state == transition.alert.state
            && self.severity.is_none_or(|severity| transition.alert.severity == severity)
            && self.affected.is_none_or(|count| transition.affected.len() == count as usize)
            && self.at.is_none_or(|at| Timestamp::default() + at.0 == transition.at)
            && self.labels.iter().all(|(k, v)| transition.alert.labels.get(k) == Some(v))
    }
}

impl fmt::Display for ExpectedAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} told that {} is {}", self.action, self.alert.value, self.state)?;
        self.at.iter().try_for_each(|at| write!(f, " at {}", show_duration(at.0)))?;
        self.labels.iter().try_for_each(|(name, value)| write!(f, ", {name}={value:?}"))
    }
}

pub(super) fn show_alert(alert: &Alert) -> String {
    let labels: Vec<_> = alert.labels.iter().map(|(k, v)| format!("{k}={v:?}")).collect();
    let value = alert.value.map_or_else(String::new, |value| format!(", value {value}"));
    format!("{} {{{}}}{value}, {}", alert.state, labels.join(","), alert.reason)
}

pub(super) fn show_transition(one: &Transition) -> String {
    let Alert { state, labels, reason, .. } = &one.alert;
    let labels: Vec<_> = labels.iter().map(|(k, v)| format!("{k}={v:?}")).collect();
    let told = match one.notify {
        Notify::Nobody => "",
        Notify::All => ", told",
        Notify::World => ", told to actions that change the world",
        Notify::People => ", told to people",
    };
    format!("{} {state} {{{}}}: {reason}{told}", clock(one.at), labels.join(","))
}

/// Time since the start of the test.
pub(super) fn clock(at: Timestamp) -> String {
    show_duration(at.since(Timestamp::default()))
}
