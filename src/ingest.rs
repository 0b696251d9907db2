//! What is pushed: line protocol and Prometheus' remote write become batches, which are judged and
//! kept as polls are.
//!
//! A push is answered only after its samples have been judged and handed on, so that what is
//! acknowledged is as safe as what was polled. What is wrong in it costs only itself. It does no
//! I/O, and computes on a thread of its own, one push at a time: judging does not wait for it.
//!
//! Series are taken as they are given, with these tags beside where they are not given:
//!
//! | | line protocol | remote write |
//! |---|---|---|
//! | `site` | the configuration's | the configuration's |
//! | `kind` | `push` | none |
//! | `target` | the tag `host`, else the bucket or database written to | none |
//!
//! A Prometheus names things by `job` and `instance`, and its series must stay what they are there.
//! What a target of this daemon says cannot be pushed: `kind` and `target` of one that is polled,
//! at this site, are refused.

mod gather;
mod lines;
mod remote;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::config::{Config, Target};
use crate::journal::NotKept;
use crate::metrics::{Counter, Metrics};
use crate::pipeline::Handle;
use crate::sample::{Batch, Catalogue, Clock};

pub use gather::Refusal;
use gather::{Gather, Window};
pub use lines::Precision;
pub(crate) use lines::identify;

/// Lines or time series of one push; the clients there are send at most ten thousand at once.
pub const LINES_MAX: usize = 100_000;

/// Samples of one push.
pub const SAMPLES_MAX: usize = 500_000;

/// How far ahead of our clock a sample may be: clocks of small devices are wrong, and until that
/// time the series' true samples would be late.
pub const AHEAD_MAX: Duration = Duration::from_secs(600);

/// New series one client, by its address, may make until a restart. What it makes up for ever ends
/// here.
const CLIENT_SERIES_MAX: usize = 100_000;

/// Series there may be before a push makes no more; polled targets have bounds of their own.
const SERIES_MAX: usize = 1_000_000;

/// Clients whose series are counted apart; those beyond are counted as one.
const CLIENTS_MAX: usize = 1_024;

/// Samples judged at once: some hundred microseconds' work, so that polls do not wait for a push.
const JUDGED_SAMPLES_MAX: usize = 10_000;

/// What is pushed, and how it is written.
#[derive(Debug, Clone, PartialEq)]
pub enum Format {
    /// Line protocol.
    Lines {
        /// The unit of its timestamps.
        precision: Precision,
        /// The target of what names none: the bucket or database.
        bucket: String,
    },
    /// An encoded `prometheus.WriteRequest`.
    RemoteWrite,
}

/// What became of a push.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// Samples taken.
    pub samples: usize,
    /// Fields that are text, which have no place among numbers.
    pub texts: usize,
    /// Points left out: lines, or series of a write request.
    pub dropped: usize,
    /// Why the first of them was.
    pub refusal: Option<Refusal>,
}

/// A push of which nothing was taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// More than [`LINES_MAX`] or [`SAMPLES_MAX`].
    #[error("too much at once: at most {LINES_MAX} lines and {SAMPLES_MAX} samples")]
    TooMuch,
    /// Not what it says it is.
    #[error("{0}")]
    Malformed(String),
    /// The daemon ends.
    #[error("the daemon is stopping; try again")]
    Stopping,
    /// It was judged, and cannot be kept.
    #[error("the samples cannot be kept, the disk is full or broken; try again")]
    NotKept,
}

/// Takes pushes.
#[derive(Debug)]
pub struct Ingest {
    catalogue: Arc<Catalogue>,
    clock: Arc<Clock>,
    pipeline: Handle,
    site: RwLock<Arc<Site>>,
    clients: Arc<Mutex<Clients>>,
    counts: Counts,
}

/// What the configuration says that pushes are held against.
#[derive(Debug)]
pub(crate) struct Site {
    name: Option<String>,
    /// How old a sample may be: as long as the store takes in what is late.
    late_window: Duration,
    /// Every target polled here, in the order of names and kinds.
    polled: Vec<Arc<Target>>,
}

impl Site {
    fn new(config: &Config) -> Self {
        let mut polled = config.targets.clone();
        polled.sort_unstable_by(|a, b| Self::key(a).cmp(&Self::key(b)));
        Self { name: config.site.clone(), late_window: config.store.late_window, polled }
    }

    /// Whether a target is polled here.
    fn polls(&self, target: &str, kind: &str) -> bool {
        self.polled.binary_search_by(|one| Self::key(one).cmp(&(target, kind))).is_ok()
    }

    fn key(target: &Target) -> (&str, &str) {
        (&target.name, target.kind.name())
    }
}

/// How many series each client has made.
#[derive(Debug, Default)]
struct Clients(HashMap<Option<IpAddr>, usize>);

impl Clients {
    fn made(&mut self, client: IpAddr) -> &mut usize {
        let is_known = self.0.contains_key(&Some(client)) || self.0.len() < CLIENTS_MAX;
        self.0.entry(is_known.then_some(client)).or_default()
    }
}

#[derive(Debug)]
struct Counts {
    samples: Counter,
    texts: Counter,
    refused: [Counter; Refusal::REASONS.len()],
}

impl Counts {
    fn new(metrics: &Metrics) -> Self {
        let refused = |reason| {
            metrics.counter(
                "watchpost_ingest_refused_total",
                "Pushed points left out.",
                &[("reason", reason)],
            )
        };
        Self {
            samples: metrics.counter(
                "watchpost_ingest_samples_total",
                "Samples taken from pushes.",
                &[],
            ),
            texts: metrics.counter(
                "watchpost_ingest_texts_total",
                "Pushed fields left out because they are text.",
                &[],
            ),
            refused: Refusal::REASONS.map(refused),
        }
    }
}

impl Ingest {
    /// Takes pushes and hands them to this pipeline.
    #[must_use]
    pub fn new(
        config: &Config,
        catalogue: Arc<Catalogue>,
        clock: Arc<Clock>,
        pipeline: Handle,
        metrics: &Metrics,
    ) -> Self {
        Self {
            catalogue,
            clock,
            pipeline,
            site: RwLock::new(Arc::new(Site::new(config))),
            clients: Arc::default(),
            counts: Counts::new(metrics),
        }
    }

    /// Holds pushes against another configuration from now on.
    pub fn reconfigure(&self, config: &Config) {
        *self.site.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Site::new(config));
    }

    /// Takes a push; returns once what was right in it has been judged and is kept.
    ///
    /// # Errors
    /// Nothing of it was taken, the daemon ended half way, or it cannot be kept: sending it again
    /// does no harm.
    pub async fn push(
        &self,
        client: IpAddr,
        format: Format,
        body: Bytes,
    ) -> Result<Outcome, PushError> {
        let clients = self.clients.clone().lock_owned().await;
        let (batches, outcome, refused) = self.read(client, clients, format, body).await?;
        let mut pushed = None;
        for batches in portions(batches) {
            pushed = Some(self.pipeline.push(batches).await.ok_or(PushError::Stopping)?);
        }
        if let Some(last) = pushed {
            last.kept().await.map_err(|NotKept| PushError::NotKept)?;
        }
        self.counts.samples.add(outcome.samples as u64);
        self.counts.texts.add(outcome.texts as u64);
        for (counter, count) in self.counts.refused.iter().zip(refused) {
            counter.add(count);
        }
        Ok(outcome)
    }

    /// From bytes to batches, on a thread of its own; who holds `clients` is the only one.
    async fn read(
        &self,
        client: IpAddr,
        mut clients: OwnedMutexGuard<Clients>,
        format: Format,
        body: Bytes,
    ) -> Result<Gathered, PushError> {
        let site = self.site.read().unwrap_or_else(PoisonError::into_inner).clone();
        let catalogue = self.catalogue.clone();
        let now = self.clock.now();
        let read = move || {
            let made = clients.made(client);
            let room = CLIENT_SERIES_MAX
                .saturating_sub(*made)
                .min(SERIES_MAX.saturating_sub(catalogue.len()));
            let window = Window { now, ahead: AHEAD_MAX, behind: site.late_window };
            let mut gather = Gather::new(&catalogue, &site, window, room);
            let read = match &format {
                Format::Lines { precision, bucket } => {
                    lines::read(&body, *precision, bucket, &mut gather)
                }
                Format::RemoteWrite => remote::read(&body, &mut gather),
            };
            *made += room - gather.room();
            read.map(|()| gather.finish())
        };
        tokio::task::spawn_blocking(read).await.map_err(|_| PushError::Stopping)?
    }
}

/// Batches, what became of the push, and how many points were refused for each reason.
type Gathered = (Vec<Batch>, Outcome, [u64; Refusal::REASONS.len()]);

/// Batches in portions of at most [`JUDGED_SAMPLES_MAX`] samples.
fn portions(batches: Vec<Batch>) -> Vec<Vec<Batch>> {
    let mut portions: Vec<Vec<Batch>> = Vec::new();
    let mut room = 0;
    for mut batch in batches {
        while !batch.samples.is_empty() {
            let rest = batch.samples.split_off(batch.samples.len().min(JUDGED_SAMPLES_MAX));
            let rest = Batch { target: batch.target.clone(), time: batch.time, samples: rest };
            let batch = std::mem::replace(&mut batch, rest);
            if batch.samples.len() > room {
                portions.push(Vec::new());
                room = JUDGED_SAMPLES_MAX;
            }
            room -= batch.samples.len();
            portions.last_mut().expect("one was made").push(batch);
        }
    }
    portions
}

#[cfg(test)]
mod tests;
