//! Rules turn samples into alerts: a pure engine, and what rules are in the configuration.
//!
//! The engine is a function of samples and time. It does no I/O, starts no task and reads no clock,
//! so that it runs live, in rule tests and over history to the same result.

mod config;
mod engine;
mod expression;
mod notice;
pub mod plan;
pub mod testing;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub use config::{Audience, OnMissing, RuleConfig};
pub use engine::Engine;
pub use notice::fingerprint;
use serde::{Deserialize, Serialize};

use crate::config::Named;
use crate::sample::Timestamp;

crate::choice! {
    /// How bad it is.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum Severity { Info = "info", Warning = "warning", Critical = "critical" }
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

/// An alert changed its state.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// The rule, as it was when this happened.
    pub rule: Arc<Named<RuleConfig>>,
    /// The alert's labels, without `alertname`.
    pub labels: Arc<Labels>,
    /// What it was.
    pub from: State,
    /// What it is.
    pub to: State,
    /// When, in the time of the samples.
    pub at: Timestamp,
    /// Since when the rule has held, or had held before it cleared.
    pub since: Timestamp,
    /// The value that decided, in both directions; `None` where missing data did.
    pub value: Option<f64>,
    /// Why, for people: `31.4 > 30`, `held for 5m at 31.4 (> 30)`, `cleared at 28 (< 32)`,
    /// `data missing since …`.
    pub reason: String,
    /// Whether people must be told: a problem they have not heard of, or the end of one they have.
    pub notify: bool,
}

/// An alert as it stands, for the API.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// The rule, as it was when this happened.
    pub rule: Arc<Named<RuleConfig>>,
    /// The alert's labels, without `alertname`.
    pub labels: Arc<Labels>,
    /// Its state; never [`State::Inactive`].
    pub state: State,
    /// Since when the rule has held.
    pub since: Timestamp,
    /// The last value judged.
    pub value: Option<f64>,
    /// Why it is in this state.
    pub reason: String,
}
