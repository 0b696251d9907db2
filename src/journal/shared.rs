//! What the pipeline, the writing thread and the readers share: the samples in memory, and who is
//! where.
//!
//! Samples are in memory until they are written and every reader that keeps up has read them. A
//! reader that does not reads from disk. While the disk does not take them, they wait here up to a
//! bound, at which the oldest are lost.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::cursor::Progress;
use super::meters::Meters;
use super::segment::SegmentFile;
use crate::sample::{Batch, Catalogue, Clock, Sample, Timestamp};

/// Memory for samples that are written and not read by all: a reader further behind than this
/// reads from disk. A second of a hundred thousand samples fits twice.
const TAIL_BYTES_MAX: usize = 4 << 20;

/// Memory for samples that are not written yet: beyond this the pipeline waits, and so does polling.
pub(super) const UNWRITTEN_BYTES_MAX: usize = 16 << 20;

/// Memory of the batches written in one go; a larger group is written alone. So much is gathered at
/// most.
pub(super) const WRITE_BYTES_MAX: usize = 1 << 20;

/// What every part has a hand on.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) folder: Option<PathBuf>,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) clock: Arc<Clock>,
    pub(super) meters: Meters,
    inner: Mutex<Inner>,
    /// Wakes the writing thread.
    pub(super) wake: Condvar,
    /// Something was written, or given up.
    pub(super) settled: Notify,
}

/// Whether samples get on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disk {
    /// There is none to write to.
    Absent,
    /// They do.
    Working,
    /// They do not, for the time being.
    Failing,
}

/// What the writing thread is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thread {
    /// It works, and looks again before it rests.
    Works,
    /// It lets more come, and looks again in a moment.
    Gathers,
    /// It sleeps until it is woken.
    Sleeps,
}

/// A group of batches in memory.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) first: u64,
    pub(super) end: u64,
    pub(super) since: Instant,
    pub(super) bytes: usize,
    pub(super) batches: Arc<Vec<Batch>>,
}

/// A segment, as its file stands.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) file: SegmentFile,
    /// The sequence number after its last sample.
    pub(super) end: u64,
    pub(super) opened: Timestamp,
    pub(super) is_closed: bool,
}

/// A reader, whether it runs or only has been here before.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) key: String,
    /// Who speaks for it: what an earlier one says no longer counts.
    pub(super) token: u64,
    pub(super) committed: Progress,
    /// Whether its file says something else.
    pub(super) is_unsaved: bool,
    /// Whether that was tried in vain.
    pub(super) could_not_save: bool,
    pub(super) is_forgotten: bool,
    pub(super) live: Option<Live>,
}

/// A reader that runs.
#[derive(Debug)]
pub(super) struct Live {
    /// It has read all before this, except gaps; those it reads from disk.
    pub(super) head: u64,
    pub(super) changed: Arc<Notify>,
    /// It ends there.
    pub(super) end: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) entries: VecDeque<Entry>,
    /// What the entries take, and those of them that are not written.
    pub(super) bytes: usize,
    pub(super) unwritten_bytes: usize,
    /// The sequence number of the next sample.
    pub(super) next: u64,
    /// All before this is written or given up.
    pub(super) written: u64,
    /// The last of what was given up ends here.
    pub(super) given_up: u64,
    pub(super) disk: Disk,
    /// When something was written last.
    progress: Instant,
    /// The most memory samples take that cannot be written.
    pub(super) memory_bytes_max: usize,
    pub(super) readers: Vec<Registered>,
    pub(super) next_token: u64,
    pub(super) segments: VecDeque<Segment>,
    /// Somebody waits until all before this is written.
    pub(super) awaited: u64,
    pub(super) thread: Thread,
    pub(super) is_closing: bool,
    pub(super) has_ended: bool,
}

impl Shared {
    pub(super) fn new(
        folder: Option<PathBuf>,
        catalogue: Arc<Catalogue>,
        clock: Arc<Clock>,
        meters: Meters,
        inner: Inner,
    ) -> Self {
        let inner = Mutex::new(inner);
        let (wake, settled) = (Condvar::new(), Notify::new());
        Self { folder, catalogue, clock, meters, inner, wake, settled }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the writing thread look for what there is to do now.
    pub(super) fn wake_writer(&self, inner: &mut Inner) {
        if std::mem::replace(&mut inner.thread, Thread::Works) != Thread::Works {
            self.wake.notify_one();
        }
    }

    /// Has the writing thread know of what was appended, by and by if that will do.
    pub(super) fn tell_writer(&self, inner: &mut Inner) {
        if inner.thread == Thread::Sleeps || inner.is_urgent() {
            self.wake_writer(inner);
        }
    }

    /// Frees what nobody needs in memory, and counts what is lost by it.
    pub(super) fn trim(&self, inner: &mut Inner) {
        let lost = inner.trim();
        self.meters.unkept_samples.add(lost);
        self.meters.memory_bytes.set(inner.bytes as f64);
    }
}

impl Inner {
    pub(super) fn new(disk: Disk, memory_bytes_max: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            unwritten_bytes: 0,
            next: 0,
            written: 0,
            given_up: 0,
            disk,
            progress: Instant::now(),
            memory_bytes_max,
            readers: Vec::new(),
            next_token: 0,
            segments: VecDeque::new(),
            awaited: 0,
            thread: Thread::Works,
            is_closing: false,
            has_ended: false,
        }
    }

    /// Leaves out numbers, so that the next sample has this one.
    pub(super) fn skip_to(&mut self, sequence: u64) {
        debug_assert!(self.entries.is_empty(), "numbers are left out before the first sample only");
        self.next = self.next.max(sequence);
        self.written = self.next;
    }

    /// The oldest group that is not written.
    fn unwritten(&self) -> Option<&Entry> {
        let from = self.entries.partition_point(|entry| entry.end <= self.written);
        self.entries.get(from)
    }

    /// Since when something waits to be written, if anything does.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        self.unwritten().map(|entry| entry.since)
    }

    /// How long nothing has been written though something waited, as of the newest group.
    pub(super) fn stalled(&self) -> Duration {
        let ends = self.unwritten().zip(self.entries.back());
        ends.map_or(Duration::ZERO, |(oldest, newest)| {
            newest.since.saturating_duration_since(oldest.since.max(self.progress))
        })
    }

    /// Appends a group; returns the sequence number after its last sample.
    pub(super) fn push(&mut self, batches: &Arc<Vec<Batch>>, samples: usize) -> u64 {
        let first = self.next;
        self.next += samples as u64;
        let bytes = memory_of(batches);
        self.bytes += bytes;
        if self.disk == Disk::Absent {
            self.written = self.next;
        } else {
            self.unwritten_bytes += bytes;
        }
        let batches = batches.clone();
        self.entries.push_back(Entry {
            first,
            end: self.next,
            since: Instant::now(),
            bytes,
            batches,
        });
        for live in self.readers.iter().filter_map(|reader| reader.live.as_ref()) {
            live.changed.notify_one();
        }
        self.next
    }

    /// Whether somebody waits for what is not written, or there is much of it.
    pub(super) fn is_urgent(&self) -> bool {
        self.awaited > self.written || self.unwritten_bytes >= WRITE_BYTES_MAX
    }

    /// Notes that all before `end` is on disk.
    pub(super) fn wrote(&mut self, end: u64) {
        let from = self.entries.partition_point(|entry| entry.end <= self.written);
        let written = self.entries.range(from..).take_while(|entry| entry.end <= end);
        self.unwritten_bytes -= written.map(|entry| entry.bytes).sum::<usize>();
        self.written = self.written.max(end);
        self.progress = Instant::now();
    }

    /// Frees what is not needed any more; returns how many samples were never written.
    fn trim(&mut self) -> u64 {
        // What is on disk can be read again by a reader that begins anew; what is not cannot.
        let is_absent = self.disk == Disk::Absent;
        let needs = |reader: &Registered| match &reader.live {
            Some(_) if is_absent => reader.committed.oldest(),
            Some(live) => live.head,
            None => u64::MAX,
        };
        let slowest = self.readers.iter().map(needs).min().unwrap_or(u64::MAX);
        let mut lost = 0;
        while let Some(front) = self.entries.front() {
            let is_written = front.end <= self.written;
            let is_wanted = front.end > slowest;
            let keeps = match self.disk {
                Disk::Absent => is_wanted && self.bytes <= self.memory_bytes_max,
                _ if is_written => is_wanted && self.bytes <= TAIL_BYTES_MAX,
                Disk::Working => true,
                Disk::Failing => self.unwritten_bytes <= self.memory_bytes_max,
            };
            if keeps {
                break;
            }
            let Some(gone) = self.entries.pop_front() else { break };
            self.bytes -= gone.bytes;
            if !is_written {
                self.unwritten_bytes -= gone.bytes;
                (self.written, self.given_up) = (gone.end, gone.end);
                lost += gone.end - gone.first;
            }
        }
        lost
    }

    /// The first sample that is in memory, or would be.
    pub(super) fn in_memory_from(&self) -> u64 {
        self.entries.front().map_or(self.next, |entry| entry.first)
    }

    /// The entry a sample is in.
    pub(super) fn entry_at(&self, sequence: u64) -> Option<&Entry> {
        let at = self.entries.partition_point(|entry| entry.end <= sequence);
        self.entries.get(at).filter(|entry| entry.first <= sequence)
    }

    /// The first sample some reader has yet to read; what is before can go.
    pub(super) fn needed_from(&self) -> u64 {
        let readers = self.readers.iter().filter(|reader| !reader.is_forgotten);
        readers.map(|reader| reader.committed.oldest()).min().unwrap_or(u64::MAX)
    }

    pub(super) fn reader(&mut self, token: u64) -> Option<&mut Registered> {
        self.readers.iter_mut().find(|reader| reader.token == token)
    }
}

/// All the memory that is free once the batches are.
fn memory_of(batches: &Vec<Batch>) -> usize {
    let samples: usize = batches.iter().map(|batch| batch.samples.capacity()).sum();
    size_of::<Entry>()
        + size_of::<Vec<Batch>>()
        + batches.capacity() * size_of::<Batch>()
        + samples * size_of::<Sample>()
}
