//! Where samples go: the trait every sink implements, the closed list, and the queue before each.
//!
//! A sink never blocks a rule: what it cannot take in time waits in a queue bounded in bytes, and
//! at the bound the oldest batches are dropped and counted.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;

use crate::config::Named;
use crate::config::read::{Context, Node};
use crate::metrics::Metrics;
use crate::sample::{Batch, Catalogue};

/// Writes batches somewhere.
pub trait Sink: Send + 'static {
    /// Writes them all, or says why not. The framework retries what is temporary.
    fn write(
        &mut self,
        batches: &[Arc<Vec<Batch>>],
    ) -> impl Future<Output = Result<(), Rejected>> + Send;
}

/// Why something was not done; shared by sinks and actions. They classify, the framework retries.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// Worth another try, at the earliest after this long if the other side said so.
    #[error("{message}")]
    Temporary {
        /// The operation, the object and what went wrong.
        message: String,
        /// What the other side asked for, as in `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// Will not work however often it is tried.
    #[error("{0}")]
    Permanent(String),
}

impl Rejected {
    /// Worth another try.
    pub fn temporary(message: impl Into<String>) -> Self {
        Self::Temporary { message: message.into(), retry_after: None }
    }
}

/// The configuration of a sink of any kind.
#[derive(Debug, Clone, PartialEq)]
pub enum SinkConfig {}

impl SinkConfig {
    /// The kinds there are, as their tables are called.
    pub const NAMES: &'static [&'static str] = &["influxdb"];

    /// Reads `[KIND.NAME]`.
    pub(crate) fn read(
        _kind: &str,
        _node: &Node<'_>,
        _shown: &str,
        _cx: &mut Context<'_>,
    ) -> Option<Self> {
        None
    }

    /// The JSON Schema of a kind's table.
    pub(crate) fn schema(_kind: &str) -> Json {
        Json::Null
    }
}

/// All sinks, each with its queue and its task.
#[derive(Debug)]
pub struct Sinks {}

impl Sinks {
    /// Starts a task for each; connects lazily.
    #[must_use]
    pub fn start(_sinks: &[Named<SinkConfig>], _env: SinkEnv) -> Self {
        Self {}
    }

    /// Starts, stops and keeps sinks so that these run; unchanged ones keep queue and connection.
    pub async fn update(&mut self, _sinks: &[Named<SinkConfig>]) {}

    /// Hands batches to every sink. Never waits.
    pub fn offer(&self, _batches: &Arc<Vec<Batch>>) {}

    /// Writes out what is queued, for at most `grace`, and stops.
    pub async fn close(self, _grace: Duration) {}
}

/// What sinks need from the daemon.
#[derive(Debug, Clone)]
pub struct SinkEnv {
    /// Series in words.
    pub catalogue: Arc<Catalogue>,
    /// Where to count.
    pub metrics: Arc<Metrics>,
    /// Where a sink may keep files, such as its quarantine.
    pub state_dir: std::path::PathBuf,
}
