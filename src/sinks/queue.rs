//! The queue before a sink: bounded in bytes, the oldest go first, nothing leaves it unwritten.
//!
//! Batches stay in it while they are being written, so that a sink whose task is replaced in the
//! middle of a write loses nothing; those are the only ones that are never dropped.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::metrics::{Counter, Gauge, Metrics};
use crate::sample::{Batch, Sample};

/// What waits for one sink.
#[derive(Debug)]
pub(super) struct Queue {
    sink: Arc<str>,
    inner: Mutex<Inner>,
    /// Wakes the sink's task: there is something new, or the queue was closed.
    changed: Notify,
    dropped_points: Counter,
    dropped_bytes: Counter,
    queue_bytes: Gauge,
    lag_seconds: Gauge,
}

#[derive(Debug, Default)]
struct Inner {
    entries: VecDeque<Entry>,
    /// In front, how many entries are being written.
    taken: usize,
    /// Counts who began writing: a task that was replaced has no say any more.
    epoch: u64,
    /// In the first entry, what is already written: batches, and samples of the batch after.
    done: Cursor,
    bytes: usize,
    points: usize,
    bytes_max: usize,
    is_closed: bool,
    /// Points lost since the queue was last empty.
    losing: u64,
}

#[derive(Debug)]
struct Entry {
    batches: Arc<Vec<Batch>>,
    since: Instant,
    bytes: usize,
    points: usize,
}

/// How far into an entry: whole batches, and samples of the batch after them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) batch: usize,
    pub(super) sample: usize,
}

/// Who writes; see [`Queue::begin`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Epoch(u64);

/// What a task needs to know to decide whether to write.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    pub(super) points: usize,
    /// When the oldest came; `None` when there is nothing.
    pub(super) oldest: Option<Instant>,
    pub(super) is_closed: bool,
}

impl Queue {
    pub(super) fn new(sink: &Arc<str>, metrics: &Metrics) -> Self {
        let labels = [("sink", &**sink)];
        Self {
            sink: sink.clone(),
            inner: Mutex::default(),
            changed: Notify::new(),
            dropped_points: metrics.counter(
                "watchpost_sink_dropped_points_total",
                "Samples dropped unwritten because the sink's queue was full.",
                &labels,
            ),
            dropped_bytes: metrics.counter(
                "watchpost_sink_dropped_bytes_total",
                "Memory of the samples dropped because the sink's queue was full.",
                &labels,
            ),
            queue_bytes: metrics.gauge(
                "watchpost_sink_queue_bytes",
                "Memory of the samples waiting to be written.",
                &labels,
            ),
            lag_seconds: metrics.gauge(
                "watchpost_sink_lag_seconds",
                "Age of the oldest sample not yet written.",
                &labels,
            ),
        }
    }

    /// Sets the most bytes that may wait.
    pub(super) fn set_bound(&self, bytes: usize) {
        self.lock().bytes_max = bytes;
    }

    /// Appends; drops the oldest where there is no room.
    pub(super) fn push(&self, batches: &Arc<Vec<Batch>>) {
        let points = batches.iter().map(|batch| batch.samples.len()).sum();
        if points == 0 {
            return;
        }
        let entry = Entry {
            batches: batches.clone(),
            since: Instant::now(),
            bytes: memory_of(batches),
            points,
        };
        let mut inner = self.lock();
        inner.bytes += entry.bytes;
        inner.points += entry.points;
        inner.entries.push_back(entry);
        while inner.bytes > inner.bytes_max && inner.entries.len() > inner.taken {
            self.drop_oldest(&mut inner);
        }
        self.show(&inner);
        drop(inner);
        self.changed.notify_one();
    }

    fn drop_oldest(&self, inner: &mut Inner) {
        let at = inner.taken;
        let Some(lost) = inner.entries.remove(at) else { return };
        if at == 0 {
            inner.done = Cursor::default();
        }
        inner.bytes -= lost.bytes;
        inner.points -= lost.points;
        if inner.losing == 0 {
            let bytes_max = inner.bytes_max;
            tracing::warn!(sink = %self.sink, bytes_max, "queue full, dropping the oldest samples");
        }
        inner.losing += lost.points as u64;
        self.dropped_points.add(lost.points as u64);
        self.dropped_bytes.add(lost.bytes as u64);
    }

    /// What waits.
    pub(super) fn waiting(&self) -> Waiting {
        let inner = self.lock();
        self.show(&inner);
        Waiting {
            points: inner.points,
            oldest: inner.entries.front().map(|entry| entry.since),
            is_closed: inner.is_closed,
        }
    }

    /// Returns once something was pushed, or the queue was closed, since it last returned.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Begins writing from the front, whatever was being written and by whom.
    pub(super) fn begin(&self) -> (Epoch, Cursor) {
        let mut inner = self.lock();
        inner.taken = 0;
        inner.epoch += 1;
        (Epoch(inner.epoch), inner.done)
    }

    /// One entry more to be written, after those already taken.
    pub(super) fn take(&self, epoch: Epoch) -> Option<Arc<Vec<Batch>>> {
        let mut inner = self.lock();
        if inner.epoch != epoch.0 {
            return None;
        }
        let entry = inner.entries.get(inner.taken)?.batches.clone();
        inner.taken += 1;
        Some(entry)
    }

    /// What was taken is written: `whole` entries, and the next one as far as `done`.
    pub(super) fn commit(&self, epoch: Epoch, whole: usize, done: Cursor) {
        let mut inner = self.lock();
        if inner.epoch != epoch.0 {
            return;
        }
        for written in inner.entries.drain(..whole).collect::<Vec<_>>() {
            inner.bytes -= written.bytes;
            inner.points -= written.points;
        }
        inner.taken = 0;
        inner.done = done;
        if let Some(front) = inner.entries.front_mut() {
            let left = remaining(&front.batches, done);
            let written = front.points - left;
            front.points = left;
            inner.points -= written;
        } else if inner.losing > 0 {
            let points = std::mem::take(&mut inner.losing);
            tracing::info!(sink = %self.sink, points, "queue empty again after dropping samples");
        }
        self.show(&inner);
    }

    /// No more comes: what waits is to be written at once.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_one();
    }

    /// Samples that wait, those being written among them.
    pub(super) fn points(&self) -> usize {
        self.lock().points
    }

    /// What all that waits takes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn show(&self, inner: &Inner) {
        self.queue_bytes.set(inner.bytes as f64);
        let age = inner.entries.front().map_or(0.0, |entry| entry.since.elapsed().as_secs_f64());
        self.lag_seconds.set(age);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remaining(batches: &[Batch], done: Cursor) -> usize {
    let left: usize = batches.iter().skip(done.batch).map(|batch| batch.samples.len()).sum();
    left.saturating_sub(done.sample)
}

/// All the memory that is free once the batches are: several sinks share it, and each counts it
/// whole, since any one of them may be the last.
fn memory_of(batches: &Vec<Batch>) -> usize {
    let samples: usize = batches.iter().map(|batch| batch.samples.capacity()).sum();
    size_of::<Entry>()
        + size_of::<Vec<Batch>>()
        + batches.capacity() * size_of::<Batch>()
        + samples * size_of::<Sample>()
}
