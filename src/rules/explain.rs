//! Why alerts are as they are, and why there are none: what was seen, what it was compared with,
//! which timers run, what holds it back, and what happened before.

use serde::Serialize;

use super::{Alert, Labels, Notify, Severity, State, Transition};
use crate::sample::Timestamp;

/// Series explained in one answer; how many there are besides is said.
pub const EXPLAINED_MAX: usize = 100;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The rule.
    pub rule: String,
    /// Labels that must be so.
    pub labels: Labels,
    /// At which time; `None`: now.
    pub at: Option<Timestamp>,
}

/// The answer for one rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The rule.
    pub rule: String,
    /// When this was so, RFC 3339.
    pub at: String,
    /// What the rule asks, as PromQL.
    pub asks: String,
    /// `for`, in seconds.
    pub for_seconds: f64,
    /// The series it is about that fit, in no order; those that are active first.
    pub alerts: Vec<Explained>,
    /// How many more there are.
    pub more: usize,
    /// What happened to its alerts, the newest last, as far as it is remembered.
    pub journal: Vec<Happened>,
    /// In a word where there is no series.
    pub outcome: Option<String>,
}

/// One series of a rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explained {
    /// The alert's labels.
    pub labels: Labels,
    /// What was seen.
    pub seen: Option<Seen>,
    /// What it was compared with, from the mildest severity on.
    pub conditions: Vec<Compared>,
    /// The state.
    pub state: State,
    /// How bad it is, unless it is inactive.
    pub severity: Option<Severity>,
    /// Since when the rule has held, RFC 3339.
    pub since: Option<String>,
    /// What time alone will bring.
    pub timers: Vec<Timer>,
    /// What it depends on that keeps people from hearing of it.
    pub held_back_by: Option<String>,
    /// Whether it flaps.
    pub flapping: bool,
    /// All of it in a sentence.
    pub outcome: String,
}

/// The last sample of a series.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Seen {
    /// The series, as PromQL has it.
    pub series: String,
    /// Its value; none where it is stale.
    pub value: Option<f64>,
    /// When, RFC 3339.
    pub at: String,
    /// How long ago.
    pub age_seconds: f64,
}

/// A condition and the value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// The severity it is of.
    pub severity: Severity,
    /// `when`, as in `> 35`.
    pub when: String,
    /// Whether it holds.
    pub holds: Option<bool>,
    /// What ends it, as in `< 32`.
    pub clear: String,
    /// Whether that holds.
    pub clears: Option<bool>,
}

/// Something that will happen unless something else does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Timer {
    /// What: `fires`, `clears`, `is told`, `data counts no more`, `is forgotten`.
    pub what: &'static str,
    /// When, RFC 3339.
    pub at: String,
}

/// A transition, as it is remembered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Happened {
    /// When, RFC 3339.
    pub at: String,
    /// The alert's labels.
    pub labels: Labels,
    /// From which state.
    pub from: State,
    /// To which.
    pub to: State,
    /// How bad.
    pub severity: Severity,
    /// The value that decided.
    pub value: Option<f64>,
    /// Why.
    pub reason: String,
    /// Who heard of it.
    pub told: Notify,
    /// Whether it was about to fire and did not.
    pub near_miss: bool,
}

impl Happened {
    pub(super) fn new(one: &Transition) -> Self {
        let Transition { alert, from, at, notify, .. } = one;
        let Alert { labels, state, severity, value, reason, .. } = alert;
        Self {
            at: at.to_string(),
            labels: (**labels).clone(),
            from: *from,
            to: *state,
            severity: *severity,
            value: *value,
            reason: reason.clone(),
            told: *notify,
            near_miss: *from == State::Pending && *state == State::Inactive,
        }
    }
}
