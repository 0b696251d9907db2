//! The write-ahead journal: one append-only log of all batches, and readers with durable cursors.
//!
//! What was judged is appended; a thread writes it to the segments under `state_dir/journal` a few
//! times a second, and at once where somebody waits for it, so that `kill -9` loses nothing that
//! was written, and puts it on disk once a second, or each time. The store and every sink read on
//! from their own cursors: from memory while they keep up, from disk when they are behind. The
//! journal is bounded; what a reader had not read when it went is counted. It judges nothing, and
//! never holds up who appends.
//!
//! A damaged place costs what is in it: it is skipped, counted and told. No file keeps the daemon
//! from starting. Without a directory to write to, all this goes on in memory, within a bound.

mod cursor;
mod decode;
mod disk;
mod encode;
mod format;
mod limits;
mod meters;
mod open;
mod reader;
mod segment;
mod shared;
pub mod verify;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::metrics::Metrics;
use crate::sample::{Batch, Catalogue, Clock};
pub use disk::read_folder;
pub use format::VERSION;
pub use limits::{Fsync, Limits};
pub use reader::{CatchUp, Group, Reader, Waiting};
use shared::{Disk, Inner, Live, Registered, Shared, UNWRITTEN_BYTES_MAX};

/// A disk that has not finished a write for so long is taken for one that fails: judging goes on
/// without it until it comes back.
const STALL_MAX: Duration = Duration::from_secs(10);

/// What a journal needs.
#[derive(Debug, Clone)]
pub struct Env {
    /// Where it is kept; `None` for in memory only.
    pub folder: Option<PathBuf>,
    /// The series.
    pub catalogue: Arc<Catalogue>,
    /// The time.
    pub clock: Arc<Clock>,
    /// Where to count.
    pub metrics: Arc<Metrics>,
}

/// Where a reader begins that was never here before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the oldest there is.
    Oldest,
    /// With what comes from now on.
    Now,
}

/// Samples are not in the journal, and may never be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the journal cannot be written at the moment")]
pub struct NotKept;

/// The journal. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Journal {
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
}

impl Journal {
    /// Opens it: finds the end of what there is, cuts off what is torn, and starts the thread that
    /// writes. Blocks for as long as it takes to read one segment.
    ///
    /// A folder that cannot be used is told and tried again, while samples stay in memory.
    #[must_use]
    pub fn open(env: Env, limits: Limits) -> Self {
        let metrics = env.metrics.clone();
        let (shared, writer) = open::open(env, limits);
        let journal = Self { shared: Arc::new(shared), metrics };
        if let Some(cursors) = writer {
            let writer = writer::Writer::new(journal.shared.clone(), limits, cursors);
            let thread = std::thread::Builder::new().name("journal".into());
            if let Err(error) = thread.spawn(move || writer.run()) {
                tracing::error!(%error, "cannot start the journal's thread; samples stay in memory");
                journal.shared.lock().disk = Disk::Absent;
            }
        }
        journal
    }

    /// One in memory only.
    #[must_use]
    pub fn in_memory(catalogue: Arc<Catalogue>, metrics: Arc<Metrics>) -> Self {
        let clock = Arc::new(Clock::system());
        Self::open(Env { folder: None, catalogue, clock, metrics }, Limits::default())
    }

    /// Appends batches that came together. Never waits; they are written within a moment. Returns
    /// the sequence number after their last sample.
    pub fn append(&self, batches: &Arc<Vec<Batch>>) -> u64 {
        let samples = batches.iter().map(|batch| batch.samples.len()).sum();
        let mut inner = self.shared.lock();
        if samples == 0 {
            return inner.next;
        }
        let end = inner.push(batches, samples);
        self.shared.trim(&mut inner);
        if inner.disk != Disk::Absent {
            self.shared.tell_writer(&mut inner);
        }
        if inner.stalled() >= STALL_MAX {
            self.give_up_disk(&mut inner);
        }
        end
    }

    /// Whether there is room for more: while there is not, [`Journal::room`] is worth waiting for.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let inner = self.shared.lock();
        inner.disk != Disk::Working || inner.unwritten_bytes < UNWRITTEN_BYTES_MAX
    }

    /// Waits until a slow disk has caught up, or is given up for the time being.
    pub async fn room(&self) {
        let caught_up = self.until_settled(|shared| {
            let inner = shared.lock();
            inner.disk != Disk::Working || inner.unwritten_bytes < UNWRITTEN_BYTES_MAX / 2
        });
        if timeout(STALL_MAX, caught_up).await.is_err() {
            self.give_up_disk(&mut self.shared.lock());
        }
    }

    /// Takes a disk that does not answer for one that fails, until it does answer.
    fn give_up_disk(&self, inner: &mut Inner) {
        if inner.disk == Disk::Working {
            inner.disk = Disk::Failing;
            self.shared.meters.writable.set(0.0);
            tracing::error!(
                seconds = STALL_MAX.as_secs(),
                "the journal's disk does not answer; watching goes on, samples wait in memory"
            );
            self.shared.settled.notify_waiters();
        }
    }

    /// Waits until all before a sequence number is written, and with `fsync = "always"` on disk.
    /// Without a folder nothing is ever written, and nothing waited for.
    ///
    /// # Errors
    /// It cannot be written at the moment, or the disk does not answer.
    pub async fn kept(&self, end: u64) -> Result<(), NotKept> {
        let outcome = |shared: &Shared| {
            let inner = shared.lock();
            match inner.disk {
                Disk::Absent => Some(Ok(())),
                _ if end <= inner.given_up => Some(Err(NotKept)),
                Disk::Working if end <= inner.written => Some(Ok(())),
                Disk::Working if !inner.has_ended => None,
                Disk::Failing | Disk::Working => Some(Err(NotKept)),
            }
        };
        {
            let mut inner = self.shared.lock();
            inner.awaited = inner.awaited.max(end);
            if inner.is_urgent() && inner.disk != Disk::Absent {
                self.shared.wake_writer(&mut inner);
            }
        }
        let settled = self.until_settled(|shared| outcome(shared).is_some());
        if timeout(STALL_MAX, settled).await.is_err() {
            self.give_up_disk(&mut self.shared.lock());
        }
        outcome(&self.shared).unwrap_or(Err(NotKept))
    }

    async fn until_settled(&self, is_so: impl Fn(&Shared) -> bool) {
        loop {
            let mut settled = std::pin::pin!(self.shared.settled.notified());
            settled.as_mut().enable();
            if is_so(&self.shared) {
                return;
            }
            settled.await;
        }
    }

    /// The sequence number of the next sample.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.shared.lock().next
    }

    /// Opens a reader; it goes on where one of this name was. Only one of a name speaks for it: what
    /// an earlier one commits from now on does not count.
    #[must_use]
    pub fn reader(&self, name: &str, start: Start) -> Reader {
        let mut inner = self.shared.lock();
        let oldest = inner.segments.front().map_or(inner.in_memory_from(), |s| s.file.first);
        let token = inner.next_token;
        inner.next_token += 1;
        let changed = Arc::new(Notify::new());
        let key = cursor::key(name);
        let known = inner.readers.iter().position(|reader| reader.key == key);
        let at = match known.map(|at| inner.readers.swap_remove(at)) {
            Some(known) if !known.is_forgotten => known.committed,
            _ => cursor::Progress::at(match start {
                Start::Oldest => oldest.min(inner.in_memory_from()),
                Start::Now => inner.next,
            }),
        };
        let live = Live { head: at.head, changed: changed.clone(), end: None };
        let committed = at.clone();
        inner.readers.push(Registered {
            key,
            token,
            committed,
            is_unsaved: true,
            could_not_save: false,
            is_forgotten: false,
            live: Some(live),
        });
        if inner.disk != Disk::Absent {
            self.shared.wake_writer(&mut inner);
        }
        drop(inner);
        Reader::new(self.shared.clone(), name, (token, at, changed), &self.metrics)
    }

    /// As [`Journal::reader`], for one that keeps its place itself and knows it better: it goes on
    /// at `position`. Samples to come get numbers from there on at least.
    #[must_use]
    pub fn reader_at(&self, name: &str, position: u64) -> Reader {
        {
            let mut inner = self.shared.lock();
            if inner.next < position {
                inner.skip_to(position);
            }
            let key = cursor::key(name);
            inner.readers.retain(|reader| reader.key != key);
            inner.readers.push(Registered {
                key,
                token: u64::MAX,
                committed: cursor::Progress::at(position),
                is_unsaved: true,
                could_not_save: false,
                is_forgotten: false,
                live: None,
            });
        }
        self.reader(name, Start::Oldest)
    }

    /// Ends a reader: it gets what is there by now, and then nothing more.
    pub fn end_reader(&self, name: &str) {
        let mut inner = self.shared.lock();
        let (next, key) = (inner.next, cursor::key(name));
        let reader = inner.readers.iter_mut().find(|reader| reader.key == key);
        if let Some(live) = reader.and_then(|reader| reader.live.as_mut()) {
            live.end.get_or_insert(next);
            live.changed.notify_one();
        }
    }

    /// Samples a reader has yet to deal with.
    #[must_use]
    pub fn lag(&self, name: &str) -> u64 {
        let (inner, key) = (self.shared.lock(), cursor::key(name));
        let reader = inner.readers.iter().find(|reader| reader.key == key);
        reader.map_or(0, |reader| reader.committed.lag(inner.next))
    }

    /// Whether there is a folder, so that what is written survives this process.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.shared.lock().disk != Disk::Absent
    }

    /// Of the readers whose name `is_one` of a sort, forgets where those were that are none of
    /// these and do not run: nothing is kept for them any more.
    pub fn retain_readers(&self, is_one: impl Fn(&str) -> bool, names: &[&str]) {
        let keys: Vec<_> = names.iter().map(|name| cursor::key(name)).collect();
        let mut inner = self.shared.lock();
        for reader in &mut inner.readers {
            if !keys.contains(&reader.key) && is_one(&reader.key) && reader.live.is_none() {
                reader.is_forgotten = true;
                reader.is_unsaved = true;
            }
        }
        if inner.disk != Disk::Absent {
            self.shared.wake_writer(&mut inner);
        }
    }

    /// Sets the most memory samples may take while they cannot be written.
    pub fn set_memory_max(&self, bytes: usize) {
        self.shared.lock().memory_bytes_max = bytes;
    }

    /// Writes what is left, puts it on disk, and ends the thread. A disk that does not answer is not
    /// waited for longer than `grace`.
    pub async fn close(&self, grace: Duration) {
        {
            let mut inner = self.shared.lock();
            inner.is_closing = true;
            self.shared.wake_writer(&mut inner);
        }
        let ended = self.until_settled(|shared| {
            let inner = shared.lock();
            inner.has_ended || inner.disk == Disk::Absent
        });
        if timeout(grace, ended).await.is_err() {
            tracing::error!("the journal's disk does not answer; stopped without waiting for it");
        }
    }
}

#[cfg(test)]
mod tests;
