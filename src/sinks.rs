//! Where samples go: the trait every sink implements, the closed list, and the queue before each.
//!
//! A sink never blocks a rule: what it cannot take in time waits in a queue bounded in bytes, and
//! at the bound the oldest batches are dropped and counted. A failed write is tried again until
//! it works; only what a server will never take is given up, by the sink itself.

pub mod influxdb;
mod queue;
mod worker;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use tokio::task::{AbortHandle, JoinSet};

use crate::config::Named;
use crate::config::read::{Context, Node};
use crate::metrics::Metrics;
use crate::sample::{Batch, Catalogue};
use queue::Queue;

/// Writes samples somewhere. It is filled, and then told to write until that has worked.
pub trait Sink: Send + 'static {
    /// Takes the samples of a batch from sample `from` on, up to what one write should hold;
    /// returns the first sample not taken, or the number of samples. Only between writes.
    fn fill(&mut self, batch: &Batch, from: usize) -> usize;

    /// Writes what it was filled with, or says why not; then the framework calls it again after
    /// a while, and it goes on where it was. Must stand being dropped at any time.
    fn write(&mut self) -> impl Future<Output = Result<Outcome, Rejected>> + Send;
}

/// What came of a write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Samples the other side took.
    pub points: u64,
    /// Lines it refused for good.
    pub rejected_lines: u64,
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
pub enum SinkConfig {
    /// `[influxdb.NAME]`
    Influxdb(influxdb::Config),
}

impl SinkConfig {
    /// The kinds there are, as their tables are called.
    pub const NAMES: &'static [&'static str] = &["influxdb"];

    /// Reads `[KIND.NAME]`.
    pub(crate) fn read(
        kind: &str,
        node: &Node<'_>,
        shown: &str,
        cx: &mut Context<'_>,
    ) -> Option<Self> {
        match kind {
            "influxdb" => influxdb::Config::read(node, shown, cx).map(Self::Influxdb),
            _ => None,
        }
    }

    /// The JSON Schema of a kind's table.
    pub(crate) fn schema(kind: &str) -> Json {
        match kind {
            "influxdb" => influxdb::Config::schema(),
            _ => Json::Null,
        }
    }

    /// When its samples are written, and how many wait.
    fn pace(&self) -> Pace {
        match self {
            Self::Influxdb(config) => config.pace(),
        }
    }
}

/// How a sink's samples are gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pace {
    /// So many samples are written at once,
    points: usize,
    /// or what has come by the time the first of them is this old.
    age: Duration,
    /// The most memory samples may take while they wait.
    queue_bytes: usize,
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

/// All sinks, each with its queue and its task.
#[derive(Debug)]
pub struct Sinks {
    env: SinkEnv,
    running: HashMap<Arc<str>, Running>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Running {
    config: SinkConfig,
    queue: Arc<Queue>,
    task: AbortHandle,
}

impl Sinks {
    /// Starts a task for each; connects lazily.
    #[must_use]
    pub fn start(sinks: &[Named<SinkConfig>], env: SinkEnv) -> Self {
        let mut all = Self { env, running: HashMap::new(), tasks: JoinSet::new() };
        for sink in sinks {
            all.run(sink, None);
        }
        all
    }

    fn run(&mut self, sink: &Named<SinkConfig>, queue: Option<Arc<Queue>>) {
        let name = &sink.name;
        let pace = sink.value.pace();
        let queue = queue.unwrap_or_else(|| Arc::new(Queue::new(name, &self.env.metrics)));
        queue.set_bound(pace.queue_bytes);
        let worker = worker::Worker::new(name, pace, queue.clone(), &self.env.metrics);
        let task = match &sink.value {
            SinkConfig::Influxdb(config) => {
                let (config, env, name) = (config.clone(), self.env.clone(), name.clone());
                self.tasks.spawn(worker.run(move || influxdb::Writer::new(&config, &name, &env)))
            }
        };
        let running = Running { config: sink.value.clone(), queue, task };
        self.running.insert(name.clone(), running);
    }

    /// Starts, stops and keeps sinks so that these run. Unchanged ones keep their connection;
    /// changed ones take over the queue, so that a corrected token loses nothing. One that is no
    /// longer there writes out what it has, on its own time, until all is closed.
    pub async fn update(&mut self, sinks: &[Named<SinkConfig>]) {
        self.running.retain(|name, running| {
            let stays = sinks.iter().any(|sink| sink.name == *name);
            if !stays {
                running.queue.close();
            }
            stays
        });
        for sink in sinks {
            match self.running.remove(&sink.name) {
                Some(same) if same.config == sink.value => {
                    self.running.insert(sink.name.clone(), same);
                }
                Some(changed) => {
                    changed.task.abort();
                    self.run(sink, Some(changed.queue));
                }
                None => self.run(sink, None),
            }
        }
        // Tasks that ended since are taken note of here; there is nothing to learn from them.
        while self.tasks.try_join_next().is_some() {}
    }

    /// Hands batches to every sink. Never waits.
    pub fn offer(&self, batches: &Arc<Vec<Batch>>) {
        for sink in self.running.values() {
            sink.queue.push(batches);
        }
    }

    /// Writes out what is queued, for at most `grace`, and stops.
    pub async fn close(mut self, grace: Duration) {
        for sink in self.running.values() {
            sink.queue.close();
        }
        let all_ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, all_ended).await.is_err() {
            for (name, sink) in &self.running {
                let points = sink.queue.points();
                if points > 0 {
                    tracing::warn!(sink = %name, points, "stopped before all samples were written");
                }
            }
        }
        self.tasks.shutdown().await;
    }
}

#[cfg(test)]
mod tests;
