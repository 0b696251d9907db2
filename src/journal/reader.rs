//! Reading on from a durable cursor: from memory what is new, from disk what is not.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::cursor::Progress;
use super::disk::{Chunk, DiskReader};
use super::segment::SegmentFile;
use super::shared::{Disk, Inner, Shared};
use crate::metrics::{Counter, Gauge, Metrics};
use crate::sample::Batch;

crate::choice! {
    /// What a reader reads first when it is behind.
    pub enum CatchUp {
        /// All in order.
        Oldest = "oldest",
        /// What is new, then the rest, its newest part first.
        Newest = "newest",
    }
}

/// Batches that came together, with the sequence numbers of their first sample and of the one after
/// their last.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Of the first sample.
    pub first: u64,
    /// Of the sample after the last.
    pub end: u64,
    /// The batches.
    pub batches: Arc<Vec<Batch>>,
}

/// What waits for a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Samples it has not taken yet.
    pub samples: u64,
    /// When the first of them came; `None` where there are none or it was before memory reaches.
    pub since: Option<Instant>,
    /// Whether some are on disk only.
    pub is_behind: bool,
    /// Whether no more will come.
    pub is_ended: bool,
}

/// Reads the journal. Dropped and opened again it goes on after what was committed.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    name: Arc<str>,
    token: u64,
    catch_up: CatchUp,
    at: Progress,
    /// Where it was before the last group was taken.
    before: Progress,
    /// Read from disk and not yet taken, each with where to go on after it: behind what is
    /// missing there.
    ready: VecDeque<(Group, u64)>,
    /// Whether those are of the newest gap.
    is_ready_of_gap: bool,
    disk: Option<DiskReader>,
    changed: Arc<Notify>,
    is_losing: bool,
    lost: Counter,
    lag: Gauge,
}

/// What to do for the next group.
enum Plan {
    Nothing,
    Again,
    Take(Group),
    Read { from: u64, to: u64, segments: Vec<SegmentFile> },
}

impl Reader {
    pub(super) fn new(
        shared: Arc<Shared>,
        name: &str,
        (token, at, changed): (u64, Progress, Arc<Notify>),
        metrics: &Metrics,
    ) -> Self {
        let labels = [("reader", name)];
        let lost = metrics.counter(
            "watchpost_journal_lost_samples_total",
            "Samples that left the journal before this reader had read them.",
            &labels,
        );
        let lag = metrics.gauge(
            "watchpost_journal_lag_samples",
            "Samples this reader has yet to deal with.",
            &labels,
        );
        let disk = shared.folder.is_some().then(|| DiskReader::new(shared.catalogue.clone()));
        Self {
            shared,
            name: name.into(),
            token,
            catch_up: CatchUp::Oldest,
            before: at.clone(),
            at,
            ready: VecDeque::new(),
            is_ready_of_gap: false,
            disk,
            changed,
            is_losing: false,
            lost,
            lag,
        }
    }

    /// Sets what is read first when it is behind.
    pub fn set_catch_up(&mut self, catch_up: CatchUp) {
        self.catch_up = catch_up;
    }

    /// What waits; nothing is read for it.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        let inner = self.shared.lock();
        let end = self.end(&inner);
        let samples = self.at.lag(end);
        let first = (end > self.at.head).then(|| inner.entry_at(self.at.head)).flatten();
        let is_behind = !self.at.gaps.is_empty() || (end > self.at.head && first.is_none());
        let registered = inner.readers.iter().find(|reader| reader.token == self.token);
        self.lag.set(registered.map_or(0, |reader| reader.committed.lag(end)) as f64);
        let live = registered.and_then(|reader| reader.live.as_ref());
        let is_ended = live.is_none_or(|live| live.end.is_some());
        Waiting { samples, since: first.map(|entry| entry.since), is_behind, is_ended }
    }

    /// Returns once something was appended, or the reader was ended, since it last returned.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The next group if there is one. Dropped half way, it has taken nothing.
    pub async fn take(&mut self) -> Option<Group> {
        loop {
            match self.plan() {
                Plan::Nothing => return None,
                Plan::Again => {}
                Plan::Take(group) => return Some(group),
                Plan::Read { from, to, segments } => {
                    let disk = self.disk.take();
                    let mut disk =
                        disk.unwrap_or_else(|| DiskReader::new(self.shared.catalogue.clone()));
                    let read = tokio::task::spawn_blocking(move || {
                        let chunk = disk.read(&segments, from, to);
                        (disk, chunk)
                    });
                    match read.await {
                        Ok((disk, chunk)) => {
                            self.disk = Some(disk);
                            self.absorb(from, chunk);
                        }
                        // The runtime ends, and with it whoever asks.
                        Err(_) => return None,
                    }
                }
            }
        }
    }

    /// As [`Reader::take`], reading from disk on this very thread: for a start, before anything
    /// else runs, and for threads that may block.
    pub fn take_blocking(&mut self) -> Option<Group> {
        loop {
            match self.plan() {
                Plan::Nothing => return None,
                Plan::Again => {}
                Plan::Take(group) => return Some(group),
                Plan::Read { from, to, segments } => {
                    let disk = self
                        .disk
                        .get_or_insert_with(|| DiskReader::new(self.shared.catalogue.clone()));
                    let chunk = disk.read(&segments, from, to);
                    self.absorb(from, chunk);
                }
            }
        }
    }

    /// The next group, once there is one; `None` when the reader was ended and has read all.
    pub async fn next(&mut self) -> Option<Group> {
        loop {
            if let Some(group) = self.take().await {
                return Some(group);
            }
            if self.waiting().is_ended {
                return None;
            }
            self.changed().await;
        }
    }

    /// Makes what was taken so far be read: a reader opened later goes on after it, in this process
    /// at once, after a crash from within a moment on.
    pub fn commit(&mut self) {
        let at = self.at.clone();
        self.set_committed(at);
    }

    /// As [`Reader::commit`], but for the group taken last, which is not dealt with wholly.
    pub fn commit_but_last(&mut self) {
        let before = self.before.clone();
        self.set_committed(before);
    }

    /// As [`Reader::commit`], but only up to a sample, for who has taken more than it has dealt
    /// with. Without [gaps](CatchUp::Newest) only.
    pub fn commit_up_to(&mut self, sequence: u64) {
        self.set_committed(Progress::at(sequence.min(self.at.head)));
    }

    fn set_committed(&mut self, at: Progress) {
        let mut inner = self.shared.lock();
        let (has_disk, next) = (inner.disk != Disk::Absent, inner.next);
        let Some(registered) = inner.reader(self.token) else { return };
        if registered.committed != at {
            registered.committed = at;
            registered.is_unsaved = true;
            self.lag.set(registered.committed.lag(next) as f64);
            if has_disk {
                self.shared.wake_writer(&mut inner);
            } else {
                self.shared.trim(&mut inner);
            }
        }
    }

    /// The sequence number of the next sample to be taken; with [gaps](CatchUp::Newest), behind them.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.at.head
    }

    fn end(&self, inner: &Inner) -> u64 {
        let live = inner.readers.iter().find(|reader| reader.token == self.token);
        let end = live.and_then(|reader| reader.live.as_ref()?.end);
        end.unwrap_or(inner.next)
    }

    fn plan(&mut self) -> Plan {
        let shared = self.shared.clone();
        let mut inner = shared.lock();
        let end = self.end(&inner);
        let memory = inner.in_memory_from().min(end);
        if self.at.head < end && self.at.head >= memory {
            let Some(entry) = inner.entry_at(self.at.head).cloned() else { return Plan::Nothing };
            self.before.clone_from(&self.at);
            self.at.head = entry.end;
            self.moved(&mut inner);
            return Plan::Take(Group {
                first: entry.first,
                end: entry.end,
                batches: entry.batches,
            });
        }
        if self.at.head < memory && (self.is_ready_of_gap || self.catch_up == CatchUp::Newest) {
            // What is newer goes first, or becomes the newest gap.
            self.ready.clear();
            self.is_ready_of_gap = false;
        }
        if let Some((group, next)) = self.ready.pop_front() {
            self.before.clone_from(&self.at);
            self.pass(next, &mut inner);
            return Plan::Take(group);
        }
        if self.at.head < memory && inner.disk == Disk::Absent {
            let lost = memory - self.at.head;
            self.at.head = memory;
            self.moved(&mut inner);
            drop(inner);
            self.lose(lost);
            return Plan::Again;
        }
        if self.at.head < memory && self.catch_up == CatchUp::Newest {
            self.at.leave_gap(memory);
            self.moved(&mut inner);
            return Plan::Again;
        }
        let segments: Vec<_> = inner.segments.iter().map(|segment| segment.file.clone()).collect();
        drop(inner);
        if self.at.head < memory {
            return Plan::Read { from: self.at.head, to: memory, segments };
        }
        let starts = segments.iter().map(|segment| segment.first);
        match self.at.newest_gap(starts) {
            Some((from, to)) => Plan::Read { from, to, segments },
            None => {
                self.is_losing = false;
                Plan::Nothing
            }
        }
    }

    /// Goes on behind what came from disk.
    fn pass(&mut self, next: u64, inner: &mut Inner) {
        if self.is_ready_of_gap {
            self.at.pass_in_gap(next);
        } else {
            self.at.head = next;
            self.moved(inner);
        }
    }

    /// Lets go of what was read in memory.
    fn moved(&self, inner: &mut Inner) {
        let head = self.at.head;
        if let Some(live) = inner.reader(self.token).and_then(|reader| reader.live.as_mut()) {
            live.head = head;
        }
        self.shared.trim(inner);
    }

    /// Takes note of what came from disk, and of what is no longer there.
    fn absorb(&mut self, from: u64, chunk: Chunk) {
        let there: u64 = chunk.groups.iter().map(|group| group.end - group.first).sum();
        let gone = chunk.reached - from - there;
        self.shared.meters.corrupt_frames.add(chunk.damage.corrupt_frames);
        for error in &chunk.errors {
            tracing::warn!(reader = %self.name, error, "cannot read a part of the journal, going on after it");
        }
        self.is_ready_of_gap = from != self.at.head;
        let starts = chunk.groups.iter().map(|group| group.first).chain([chunk.reached]);
        let mut starts = starts.collect::<Vec<_>>().into_iter();
        if let Some(first) = starts.next().filter(|first| *first > from) {
            let shared = self.shared.clone();
            self.pass(first, &mut shared.lock());
        }
        self.lose(gone + chunk.unknown);
        self.ready.extend(chunk.groups.into_iter().zip(starts));
    }

    fn lose(&mut self, samples: u64) {
        if samples == 0 {
            return;
        }
        self.lost.add(samples);
        if !std::mem::replace(&mut self.is_losing, true) {
            tracing::warn!(
                reader = %self.name, samples,
                "samples left the journal before they were read, or were damaged"
            );
        }
    }
}

/// Its memory is not waited for any more; what it has committed stays.
impl Drop for Reader {
    fn drop(&mut self) {
        let mut inner = self.shared.lock();
        if let Some(registered) = inner.reader(self.token) {
            registered.live = None;
        }
        self.shared.trim(&mut inner);
    }
}
