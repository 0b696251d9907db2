//! Where samples go: the trait every sink implements, the closed list, and a task for each.
//!
//! A sink never blocks a rule: it reads the [journal](crate::journal) from a cursor of its own, and
//! an outage is a cursor that stands still. A failed write is tried again until it works; only what
//! a server will never take is given up, by the sink itself. A point may be written twice, never not
//! at all, unless the journal has let go of it.

pub mod http;
pub mod influxdb;
pub mod remote_write;
mod worker;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use tokio::task::{AbortHandle, JoinSet};

use crate::config::read::{Context, Node};
use crate::config::{ByteSize, Named};
use crate::journal::{CatchUp, Journal, Limits};
use crate::metrics::Metrics;
use crate::sample::{Batch, Catalogue};

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
    /// `[remote_write.NAME]`
    RemoteWrite(remote_write::Config),
}

impl SinkConfig {
    /// The kinds there are, as their tables are called.
    pub const NAMES: &'static [&'static str] = &["influxdb", "remote_write"];

    /// Reads `[KIND.NAME]`.
    pub(crate) fn read(
        kind: &str,
        node: &Node<'_>,
        shown: &str,
        cx: &mut Context<'_>,
    ) -> Option<Self> {
        match kind {
            "influxdb" => influxdb::Config::read(node, shown, cx).map(Self::Influxdb),
            "remote_write" => remote_write::Config::read(node, shown, cx).map(Self::RemoteWrite),
            _ => None,
        }
    }

    /// The JSON Schema of a kind's table.
    pub(crate) fn schema(kind: &str) -> Json {
        match kind {
            "influxdb" => influxdb::Config::schema(),
            "remote_write" => remote_write::Config::schema(),
            _ => Json::Null,
        }
    }

    /// When its samples are written, and in which order.
    fn pace(&self) -> Pace {
        match self {
            Self::Influxdb(config) => config.pace(),
            Self::RemoteWrite(config) => config.pace(),
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
    /// What is written first when it is behind.
    catch_up: CatchUp,
    /// The most memory samples may take while there is no disk to keep them.
    memory_bytes: usize,
}

impl Pace {
    fn new(batch_points: u32, age: Duration, catch_up: CatchUp, max_buffer: ByteSize) -> Self {
        let memory_bytes = usize::try_from(max_buffer.0).unwrap_or(usize::MAX);
        Self { points: batch_points as usize, age, catch_up, memory_bytes }
    }
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
    /// What it reads.
    pub journal: Journal,
}

/// All sinks, each with its task.
#[derive(Debug)]
pub struct Sinks {
    env: SinkEnv,
    running: HashMap<Arc<str>, Running>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Running {
    config: SinkConfig,
    task: AbortHandle,
}

impl Sinks {
    /// Starts a task for each; connects lazily.
    #[must_use]
    pub fn start(sinks: &[Named<SinkConfig>], env: SinkEnv) -> Self {
        let mut all = Self { env, running: HashMap::new(), tasks: JoinSet::new() };
        for sink in sinks {
            all.run(sink);
        }
        all.set_bounds(sinks);
        all
    }

    fn run(&mut self, sink: &Named<SinkConfig>) {
        let (env, name) = (self.env.clone(), sink.name.clone());
        let worker = worker::Worker::new(&name, sink.value.pace(), &env);
        let task = match sink.value.clone() {
            SinkConfig::Influxdb(config) => {
                self.tasks.spawn(worker.run(move || influxdb::Writer::new(&config, &name, &env)))
            }
            SinkConfig::RemoteWrite(config) => {
                let make = move || remote_write::Writer::new(&config, &name, &env);
                self.tasks.spawn(worker.run(make))
            }
        };
        self.running.insert(sink.name.clone(), Running { config: sink.value.clone(), task });
    }

    /// Tells the journal whom it keeps samples for, and how many in memory where it has no disk.
    fn set_bounds(&self, sinks: &[Named<SinkConfig>]) {
        let journal = &self.env.journal;
        let names: Vec<_> = sinks.iter().map(|sink| &*sink.name).collect();
        let is_sink = |name: &str| {
            let kind = name.split_once('.').map_or(name, |(kind, _)| kind);
            SinkConfig::NAMES.contains(&kind)
        };
        journal.retain_readers(is_sink, &names);
        let memory = sinks.iter().map(|sink| sink.value.pace().memory_bytes).max();
        journal.set_memory_max(memory.unwrap_or(Limits::MEMORY_BYTES));
    }

    /// Starts, stops and keeps sinks so that these run. Unchanged ones keep their connection;
    /// changed ones go on where they were, so that a corrected token loses nothing. One that is no
    /// longer there writes what there is by now, on its own time, until all is closed.
    pub async fn update(&mut self, sinks: &[Named<SinkConfig>]) {
        let journal = &self.env.journal;
        self.running.retain(|name, _| {
            let stays = sinks.iter().any(|sink| sink.name == *name);
            if !stays {
                journal.end_reader(name);
            }
            stays
        });
        if self.running.is_empty() && !sinks.is_empty() && !journal.is_durable() {
            tracing::warn!(
                "samples for sinks wait in memory; with the next start they have a journal"
            );
        }
        for sink in sinks {
            match self.running.remove(&sink.name) {
                Some(same) if same.config == sink.value => {
                    self.running.insert(sink.name.clone(), same);
                }
                changed => {
                    if let Some(changed) = changed {
                        changed.task.abort();
                    }
                    self.run(sink);
                }
            }
        }
        self.set_bounds(sinks);
        // Tasks that ended since are taken note of here; there is nothing to learn from them.
        while self.tasks.try_join_next().is_some() {}
    }

    /// Writes what there is, for at most `grace`, and stops. The journal keeps the rest.
    pub async fn close(mut self, grace: Duration) {
        let journal = self.env.journal.clone();
        for name in self.running.keys() {
            journal.end_reader(name);
        }
        let all_ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, all_ended).await.is_err() {
            for name in self.running.keys() {
                let points = journal.lag(name);
                if points > 0 && journal.is_durable() {
                    tracing::info!(sink = %name, points, "stopped; the journal keeps the rest");
                } else if points > 0 {
                    tracing::warn!(sink = %name, points, "stopped before all samples were written");
                }
            }
        }
        self.tasks.shutdown().await;
    }
}

#[cfg(test)]
mod tests;
