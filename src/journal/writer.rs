//! The thread that writes: groups soon after they come, or as soon as somebody waits for them; puts
//! them on disk when it is time, keeps cursors, and lets go of what is old.
//!
//! It is a thread of its own since a disk may hang for as long as it likes. It sleeps while there
//! is nothing to do. What cannot be written stays in memory, and is tried again once a second.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use super::cursor::{self, CursorFile, Progress};
use super::encode::Encoder;
use super::format::Header;
use super::segment::{SegmentFile, path_of};
use super::shared::{Disk, Entry, Inner, Registered, Segment, Shared, Thread, WRITE_BYTES_MAX};
use super::{Fsync, Limits};

/// A segment is closed at this age, so that a small journal, too, lets go of what was read.
const SEGMENT_AGE_MAX: Duration = Duration::from_secs(3_600);

/// From a group's coming to its being written, if nobody waits for it and not much comes: waking
/// for every poll would cost more than polling does. `kill -9` takes so much of what nobody was told
/// is kept.
const GATHER: Duration = Duration::from_millis(250);

/// What stays of the buffer from one write to the next: the first one defines all series, and is the
/// largest.
const BUFFER_BYTES_KEPT: usize = 256 << 10;

/// From a failed write to the next try.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Writes for one journal.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    limits: Limits,
    encoder: Encoder,
    buffer: Vec<u8>,
    open: Option<Open>,
    cursors: FxHashMap<String, CursorFile>,
    /// When to try again after a failure.
    retry_at: Option<Instant>,
    /// The failure last told.
    told: Option<String>,
}

/// The segment being written.
#[derive(Debug)]
struct Open {
    file: File,
    bytes: u64,
    since: Instant,
    /// Since when something is written that a power cut would take away.
    unsynced_since: Option<Instant>,
}

/// What to do in one round.
struct Round {
    entries: Vec<Entry>,
    cursors: Vec<(String, Option<Progress>)>,
    syncs: bool,
    is_last: bool,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        limits: Limits,
        cursors: FxHashMap<String, CursorFile>,
    ) -> Self {
        Self {
            encoder: Encoder::new(shared.catalogue.clone()),
            shared,
            limits,
            buffer: Vec::new(),
            open: None,
            cursors,
            retry_at: None,
            told: None,
        }
    }

    /// Works until the journal is closed and all is written, or cannot be.
    pub(super) fn run(mut self) {
        let Some(folder) = self.shared.folder.clone() else { return };
        loop {
            let round = self.wait();
            let written = self.write(&folder, &round.entries);
            let written = written.and_then(|()| if round.syncs { self.sync() } else { Ok(()) });
            // Before samples count as kept: who is to read them must be known by then.
            self.save(&folder, round.cursors);
            self.settle(&folder, &round.entries, written);
            if round.is_last {
                break;
            }
        }
        let mut inner = self.shared.lock();
        inner.has_ended = true;
        drop(inner);
        self.shared.settled.notify_waiters();
    }

    /// Waits until there is something to do.
    fn wait(&mut self) -> Round {
        let shared = self.shared.clone();
        let mut inner = shared.lock();
        loop {
            let now = Instant::now();
            let gathers_until = self.gathers_until(&inner).filter(|at| *at > now);
            let may_retry = self.retry_at.is_none_or(|at| at <= now);
            let sync_at = self.sync_at();
            let syncs = sync_at.is_some_and(|at| at <= now);
            // What has come by the time of a sync is put on disk with the rest.
            let may_write = may_retry && (gathers_until.is_none() || syncs) || inner.is_closing;
            let mut round = Round {
                entries: if may_write { unwritten(&inner) } else { Vec::new() },
                cursors: Vec::new(),
                syncs: inner.is_closing || syncs,
                is_last: false,
            };
            round.cursors = unsaved(&mut inner, !round.entries.is_empty());
            if !round.cursors.is_empty() && round.entries.is_empty() && may_retry {
                // A cursor is saved after what it has passed.
                round.entries = unwritten(&inner);
            }
            round.syncs |= self.limits.fsync == Fsync::Always && !round.entries.is_empty();
            let last = round.entries.last().map_or(inner.written, |entry| entry.end);
            round.is_last = inner.is_closing && (last == inner.next || self.retry_at.is_some());
            let is_idle = round.entries.is_empty() && round.cursors.is_empty() && !round.syncs;
            if !is_idle || round.is_last {
                return round;
            }
            let retry_at = self.retry_at.filter(|_| inner.written < inner.next);
            let wake_at = [sync_at, retry_at, gathers_until].into_iter().flatten().min();
            inner.thread = match gathers_until {
                Some(_) => Thread::Gathers,
                None => Thread::Sleeps,
            };
            inner = match wake_at {
                Some(at) => {
                    let timeout = at.saturating_duration_since(now);
                    let waited = shared.wake.wait_timeout(inner, timeout);
                    waited.unwrap_or_else(std::sync::PoisonError::into_inner).0
                }
                None => {
                    let waited = shared.wake.wait(inner);
                    waited.unwrap_or_else(std::sync::PoisonError::into_inner)
                }
            };
            inner.thread = Thread::Works;
        }
    }

    /// Until when what comes is left to gather, if it is.
    fn gathers_until(&self, inner: &Inner) -> Option<Instant> {
        let may_gather = self.limits.fsync != Fsync::Always && !inner.is_urgent();
        inner.waits_since().filter(|_| may_gather).map(|since| since + GATHER)
    }

    fn sync_at(&self) -> Option<Instant> {
        let Fsync::Every(interval) = self.limits.fsync else { return None };
        Some(self.open.as_ref()?.unsynced_since? + interval)
    }

    /// Writes groups behind what is written already.
    fn write(&mut self, folder: &Path, entries: &[Entry]) -> Result<(), Failure> {
        let mut rest = entries;
        while let Some(entry) = rest.first() {
            let is_full = self.open.as_ref().is_some_and(|open| {
                open.bytes >= self.limits.segment_bytes || open.since.elapsed() >= SEGMENT_AGE_MAX
            });
            if is_full {
                self.close_segment()?;
            }
            if self.open.is_none() {
                self.open_segment(folder, entry.first)?;
            }
            self.buffer.clear();
            self.buffer.shrink_to(BUFFER_BYTES_KEPT);
            while let Some((entry, later)) = rest.split_first()
                && self.buffer.len() < WRITE_BYTES_MAX
            {
                self.encoder.encode(entry.first, &entry.batches, &mut self.buffer);
                rest = later;
            }
            self.append()?;
        }
        Ok(())
    }

    fn append(&mut self) -> Result<(), Failure> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if let Err(error) = open.file.write_all(&self.buffer) {
            // Half a frame at the end would be in the way of nothing, but it takes space.
            open.file.set_len(open.bytes).ok();
            return Err(Failure::new("write", error));
        }
        open.bytes += self.buffer.len() as u64;
        open.unsynced_since.get_or_insert_with(Instant::now);
        self.shared.meters.written_bytes.add(self.buffer.len() as u64);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Failure> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if open.unsynced_since.take().is_some() {
            open.file.sync_data().map_err(|error| Failure::new("sync", error))?;
            self.shared.meters.syncs.inc();
        }
        Ok(())
    }

    fn open_segment(&mut self, folder: &Path, first: u64) -> Result<(), Failure> {
        let path = path_of(folder, first);
        let opened = self.shared.clock.now();
        let opening = |error| Failure::new("open a segment", error);
        std::fs::create_dir_all(folder).map_err(opening)?;
        let mut options = OpenOptions::new();
        // One of this name is ours, and failed before its first sample was whole; or it is not ours.
        let is_ours = self.shared.lock().segments.back().is_some_and(|s| s.file.first == first);
        options.write(true).create(is_ours).truncate(is_ours).create_new(!is_ours);
        let mut file = options.open(&path).map_err(opening)?;
        let header = self.encoder.begin(Header { first, opened });
        let bytes = header.len() as u64;
        let about = SegmentFile { first, path, bytes };
        let mut inner = self.shared.lock();
        if is_ours {
            inner.segments.pop_back();
        }
        inner.segments.push_back(Segment { file: about, end: first, opened, is_closed: false });
        drop(inner);
        file.write_all(&header).map_err(opening)?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(opening)?;
        self.open = Some(Open { file, bytes, since: Instant::now(), unsynced_since: None });
        Ok(())
    }

    /// Closes the segment being written; the next group begins another.
    fn close_segment(&mut self) -> Result<(), Failure> {
        let done = self.sync();
        self.open = None;
        if let Some(last) = self.shared.lock().segments.back_mut() {
            last.is_closed = true;
        }
        done
    }

    /// Tells everybody what came of a round, and lets go of old segments.
    fn settle(&mut self, folder: &Path, entries: &[Entry], written: Result<(), Failure>) {
        if let Err(failure) = &written {
            self.failed(folder, failure);
        } else if !entries.is_empty() && self.retry_at.take().is_some() {
            self.told = None;
        }
        let mut inner = self.shared.lock();
        if written.is_ok() {
            if let Some(last) = entries.last() {
                let samples: u64 = entries.iter().map(|entry| entry.end - entry.first).sum();
                self.shared.meters.written_samples.add(samples);
                inner.wrote(last.end);
            }
            if self.retry_at.is_none()
                && std::mem::replace(&mut inner.disk, Disk::Working) == Disk::Failing
            {
                tracing::info!("the journal can be written again");
            }
            if let (Some(segment), Some(open)) = (inner.segments.back_mut(), &self.open) {
                segment.file.bytes = open.bytes;
                segment.end = entries.last().map_or(segment.end, |last| last.end);
            }
        } else {
            inner.disk = Disk::Failing;
        }
        self.shared.trim(&mut inner);
        let old = self.old_segments(&mut inner);
        self.show(&inner);
        drop(inner);
        self.shared.settled.notify_waiters();
        for segment in old {
            if let Err(error) = std::fs::remove_file(&segment.path) {
                let path = segment.path.display();
                tracing::warn!(%path, %error, "cannot remove an old segment of the journal");
            }
        }
    }

    fn failed(&mut self, folder: &Path, failure: &Failure) {
        self.shared.meters.errors.inc();
        self.retry_at = Some(Instant::now() + RETRY_INTERVAL);
        // What is in it up to here is sound; a new one begins with the next try.
        self.open = None;
        if let Some(last) = self.shared.lock().segments.back_mut() {
            last.is_closed = true;
        }
        let words = failure.to_string();
        if self.told.as_ref() != Some(&words) {
            tracing::error!(
                path = %folder.display(), error = words,
                "cannot keep samples in the journal; watching goes on, they wait in memory"
            );
            self.told = Some(words);
        }
    }

    /// Takes out the segments that everybody has read, are too old, or too many.
    fn old_segments(&self, inner: &mut Inner) -> Vec<SegmentFile> {
        let needed_from = inner.needed_from();
        let oldest = self.shared.clock.now() - self.limits.age_max;
        let mut bytes: u64 = inner.segments.iter().map(|segment| segment.file.bytes).sum();
        let mut old = Vec::new();
        while let Some(first) = inner.segments.front().filter(|segment| segment.is_closed) {
            let is_old = inner.segments.get(1).map_or(first.opened, |next| next.opened) < oldest;
            if first.end > needed_from && bytes <= self.limits.bytes_max && !is_old {
                break;
            }
            bytes -= first.file.bytes;
            old.extend(inner.segments.pop_front().map(|segment| segment.file));
        }
        old
    }

    fn show(&self, inner: &Inner) {
        let meters = &self.shared.meters;
        let bytes: u64 = inner.segments.iter().map(|segment| segment.file.bytes).sum();
        meters.disk_bytes.set(bytes as f64);
        meters.segments.set(inner.segments.len() as f64);
        meters.writable.set(f64::from(u8::from(inner.disk == Disk::Working)));
    }

    /// Saves where readers are; one that cannot be saved is tried again with the next samples, and
    /// reads a little twice after a crash.
    fn save(&mut self, folder: &Path, cursors: Vec<(String, Option<Progress>)>) {
        if !cursors.is_empty() && self.open.is_none() {
            // An error shows again when it is opened.
            std::fs::create_dir_all(folder).ok();
        }
        for (key, progress) in cursors {
            let saved = match progress {
                Some(progress) => self.save_one(folder, &key, &progress),
                None => {
                    self.cursors.remove(&key);
                    cursor::remove(folder, &key)
                }
            };
            if let Err(error) = saved {
                self.cursors.remove(&key);
                self.shared.meters.errors.inc();
                tracing::debug!(reader = key, %error, "cannot save a cursor");
                let mut inner = self.shared.lock();
                let reader = inner.readers.iter_mut().find(|reader| reader.key == key);
                if let Some(reader) = reader {
                    reader.could_not_save = true;
                }
            }
        }
    }

    fn save_one(&mut self, folder: &Path, key: &str, progress: &Progress) -> io::Result<()> {
        if !self.cursors.contains_key(key) {
            let (file, _) = CursorFile::open(folder, key)?;
            self.cursors.insert(key.to_owned(), file);
        }
        self.cursors.get_mut(key).map_or(Ok(()), |file| file.write(progress))
    }
}

/// What waits to be written, at most so much as is written in one go.
fn unwritten(inner: &Inner) -> Vec<Entry> {
    let from = inner.entries.partition_point(|entry| entry.end <= inner.written);
    let mut bytes = 0;
    let fits = |entry: &&Entry| {
        let fits = bytes < WRITE_BYTES_MAX;
        bytes += entry.bytes;
        fits
    };
    inner.entries.range(from..).take_while(fits).cloned().collect()
}

/// Cursors that moved since they were saved, and, if it is `again`, those that could not be saved;
/// `None` for one to be forgotten.
fn unsaved(inner: &mut Inner, again: bool) -> Vec<(String, Option<Progress>)> {
    let mut cursors = Vec::new();
    let is_due = |reader: &&mut Registered| reader.is_unsaved || (again && reader.could_not_save);
    for reader in inner.readers.iter_mut().filter(is_due) {
        reader.is_unsaved = false;
        reader.could_not_save = false;
        let progress = (!reader.is_forgotten).then(|| reader.committed.clone());
        cursors.push((reader.key.clone(), progress));
    }
    inner.readers.retain(|reader| !reader.is_forgotten);
    cursors
}

/// Why something was not written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation}: {error}")]
struct Failure {
    operation: &'static str,
    error: io::Error,
}

impl Failure {
    fn new(operation: &'static str, error: io::Error) -> Self {
        Self { operation, error }
    }
}
