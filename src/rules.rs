//! Rules turn samples into alerts: a pure engine, and what rules are in the configuration.
//!
//! The engine is a function of samples and time. It does no I/O, starts no task and reads no clock,
//! so that it runs live, in rule tests and over history to the same result.

mod config;
mod course;
pub mod depends;
mod engine;
pub mod explain;
mod expression;
mod notice;
mod own_alerts;
pub mod plan;
mod selection;
mod series;
mod stream;
pub mod testing;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub use config::{AtLeast, Audience, OnMissing, RuleConfig};
pub use course::Course;
pub use engine::{Engine, Saved, Unsaved, Usage};
pub use notice::{Listener, fingerprint};
pub use selection::Selection;
use serde::{Deserialize, Serialize};
pub use series::AlertSeries;

use crate::config::Named;
use crate::sample::Timestamp;

crate::choice! {
    /// How bad it is.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum Severity { Info = "info", Warning = "warning", Critical = "critical" }
}

crate::choice! {
    /// Who is to hear of a transition.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum Notify {
        /// Nobody: it is shown.
        Nobody = "nobody",
        /// Actions that tell people and those that change the world.
        All = "all",
        /// Those that change the world alone: people have been told that it flaps.
        World = "world",
        /// Those that tell people alone: the world has been told all along.
        People = "people",
    }
}

crate::choice! {
    /// The state of one alert: of one rule for one set of labels.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum State {
        /// The rule does not hold.
        Inactive = "inactive",
        /// It holds, but not yet for long enough.
        Pending = "pending",
        /// It holds, and has been told.
        Firing = "firing",
        /// It held, and now the data it is judged by is missing: neither problem nor recovery.
        Unknown = "unknown",
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Labels of an alert: the series' tags and the rule's own labels.
pub type Labels = BTreeMap<String, String>;

/// An alert changed its state or its severity, or people are to hear of it now and not then.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// The alert as it is from now on.
    pub alert: Alert,
    /// What its state was.
    pub from: State,
    /// When, in the time of the samples.
    pub at: Timestamp,
    /// Who is to hear of it: people of a problem they have not heard of, and of the end of one they
    /// have.
    pub notify: Notify,
    /// Alerts that are held back by this one, for people: `host-down (target="nas")`.
    pub affected: Vec<String>,
}

/// An alert as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// The rule, as it was when this happened.
    pub rule: Arc<Named<RuleConfig>>,
    /// The alert's labels, without `alertname` and `severity`.
    pub labels: Arc<Labels>,
    /// Its state; [`State::Inactive`] only in a transition.
    pub state: State,
    /// How bad it is now, or was at last.
    pub severity: Severity,
    /// Since when the rule has held, or had held before it cleared.
    pub since: Timestamp,
    /// The value that decided, in both directions; `None` where missing data did.
    pub value: Option<f64>,
    /// Why it is in this state, for people: `31.4 > 30`, `held for 5m at 31.4 (> 30)`, `cleared at
    /// 28 (< 32)`, `data missing since …`.
    pub reason: String,
    /// Whether it comes and goes too often to tell people each time.
    pub flapping: bool,
    /// What it depends on and waits for, or is down, so that nobody is told of it.
    pub held_back_by: Option<String>,
}
