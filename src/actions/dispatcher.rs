//! Runs actions: each has its queue, its bound on how many run at once, and its retries.

use std::sync::Arc;
use std::time::Duration;

use super::{ActionConfig, Notice};
use crate::config::Named;
use crate::metrics::Metrics;
use crate::pollers::Shared;

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
    pub fn update(&mut self, _actions: &[Named<ActionConfig>]) {}

    /// Queues a notice for an action that its rule names for what happened: in `actions` for an
    /// alert that fires, in `on_clear` for one that clears. Never waits.
    pub fn fire(&self, _action: &str, _notice: &Arc<Notice>) {}

    /// Queues the end of an alert whose rule names the action in `actions` and has no `on_clear`:
    /// only actions that want recoveries get it. Never waits.
    pub fn recover(&self, _action: &str, _notice: &Arc<Notice>) {}

    /// Lets what is under way end, for at most `grace`, and stops.
    pub async fn close(self, _grace: Duration) {}
}
