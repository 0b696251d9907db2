//! What answers alerts: the trait every action implements, the closed list, and the dispatcher
//! that gives each its timeout, its retries and its place in the queue.
//!
//! A failing or hanging action delays no other, and the notices of one alert stay in order.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value as Json;

use crate::config::read::{Context, Node};
use crate::config::{Located, Named};
use crate::metrics::Metrics;
use crate::pollers::Shared;
use crate::rules::{Labels, Severity, State};
pub use crate::sinks::Rejected;

/// What an action is told: one alert fired or cleared. Its JSON form is what webhooks get by
/// default and what `exec` gets on standard input.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Notice {
    /// The rule's name.
    pub rule: Arc<str>,
    /// `firing`, or `inactive` when it cleared.
    pub state: State,
    /// How bad it is.
    pub severity: Severity,
    /// The alert's labels.
    pub labels: Arc<Labels>,
    /// The value that decided, if data did.
    pub value: Option<f64>,
    /// Why.
    pub reason: String,
    /// One line for people.
    pub summary: String,
    /// More for people.
    pub description: String,
    /// Since when the rule has held, RFC 3339.
    pub since: String,
    /// When this happened, RFC 3339.
    pub at: String,
    /// Names the alert (rule and labels): the same for its firing and its clearing, 16 hex digits.
    pub fingerprint: String,
}

/// Does something about a notice. Must be safe to repeat; classifies failures, never retries.
pub trait Action: Send + Sync + 'static {
    /// Does it; the text says what came of it, for the log.
    fn fire(&self, notice: &Notice) -> impl Future<Output = Result<String, Rejected>> + Send;
}

/// The configuration of an action of any kind, and how it is run.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionConfig {}

impl ActionConfig {
    /// Reads `[action.NAME]`.
    pub(crate) fn read(_node: &Node<'_>, _shown: &str, _cx: &mut Context<'_>) -> Option<Self> {
        Some(Self {})
    }

    /// The JSON Schema of an action's table.
    pub(crate) fn schema() -> Json {
        Json::Null
    }

    /// The target it goes through, if it does: kind and name, such as `mqtt` and a broker's.
    pub(crate) fn target_name(&self) -> Option<(&'static str, &Located<String>)> {
        None
    }
}

/// All actions, each with its queue.
#[derive(Debug)]
pub struct Actions {}

impl Actions {
    /// Makes them all; nothing is connected yet.
    #[must_use]
    pub fn start(
        _actions: &[Named<ActionConfig>],
        _shared: Arc<Shared>,
        _metrics: Arc<Metrics>,
    ) -> Self {
        Self {}
    }

    /// Makes it so that these are there; unchanged ones keep their queue.
    pub async fn update(&mut self, _actions: &[Named<ActionConfig>]) {}

    /// Queues a notice for an action. Never waits.
    pub fn fire(&self, _action: &str, _notice: &Arc<Notice>) {}

    /// Lets what is under way end, for at most `grace`, and stops.
    pub async fn close(self, _grace: Duration) {}
}
