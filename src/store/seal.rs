//! Sealing: what the head holds becomes a segment, while nobody waits.
//!
//! A head that is full gives up the longest of its groups, which are written to the end of a file
//! that grows; so what stays are groups of all lengths, and a block has twice the rows a group has on
//! average. Once an hour, or when the file is large, all is taken out at one moment, written, and
//! the file is finished: it has all that came up to a place in the journal. Queries read what was
//! taken out from memory until it is written. Where the disk refuses, it stays in memory and is tried
//! again; only at [`UNSEALED_BYTES_MAX`] the oldest goes, and is counted.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::PoisonError;

use tracing::{info, warn};

use super::head::{Frozen, Late, Rows};
use super::segment::{Mark, Meta, Segment, Tier, Writer};
use super::{State, Store, millis, segment};
use crate::sample::{SeriesId, Timestamp};

/// A head of this size gives up its longest groups: with it, 10,000 series that come by the hundred
/// are sealed in blocks of some 300 rows.
const HEAD_BYTES_MAX: usize = 4 << 20;

/// A file of this size is finished: what is in it comes from the journal after a crash.
const FILE_BYTES_MAX: u64 = 32 << 20;

/// The most memory for samples that are not sealed, when the disk does not take them.
pub(super) const UNSEALED_BYTES_MAX: usize = 64 << 20;

/// Why nothing was sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The disk does not take the file.
    #[error("cannot write {path}: {error}")]
    Write {
        /// The file.
        path: String,
        /// What it says.
        error: io::Error,
    },
    /// What was written cannot be read.
    #[error("cannot read back {path}: {error}")]
    ReadBack {
        /// The file.
        path: String,
        /// What is wrong with it.
        error: segment::ReadError,
    },
}

impl SealError {
    pub(super) fn write(path: &Path) -> impl Fn(io::Error) -> Self {
        move |error| Self::Write { path: path.display().to_string(), error }
    }

    pub(super) fn read_back(path: &Path) -> impl Fn(segment::ReadError) -> Self {
        move |error| Self::ReadBack { path: path.display().to_string(), error }
    }
}

impl State {
    /// Takes everything out of the head, as what came until now.
    pub(super) fn cut(&mut self, now: i64) {
        let bytes = self.head.bytes();
        let taken = self.head.cut();
        self.freeze(taken, bytes, now, Some(self.journal));
        self.since = now;
    }

    /// Takes the longest groups out of the head.
    fn cut_longest(&mut self, kept: usize, now: i64) {
        let bytes = self.head.bytes();
        let taken = self.head.cut_longest(kept);
        self.freeze(taken, bytes - self.head.bytes(), now, None);
    }

    fn freeze(
        &mut self,
        (rows, late): (Vec<Rows>, Late),
        bytes: usize,
        now: i64,
        journal: Option<u64>,
    ) {
        self.cuts += 1;
        let is_growing = self.segments.iter().any(|segment| segment.is_growing());
        if !rows.is_empty() || !late.is_empty() || is_growing && journal.is_some() {
            let span = (self.since, now.max(self.since));
            self.frozen.push(Arc::new(Frozen::new((rows, late), span, journal, bytes)));
        }
    }

    /// What the head should have at most. Of so many series that the newest rows fill it, there is
    /// room for half as much again.
    pub(super) fn head_bytes_max(&self) -> usize {
        HEAD_BYTES_MAX.max(self.head.newest_bytes() / 2 * 3)
    }

    pub(super) fn unsealed_bytes(&self) -> usize {
        self.head.bytes() + self.frozen.iter().map(|frozen| frozen.bytes).sum::<usize>()
    }

    /// Drops the oldest unsealed samples where there are too many; returns how many.
    pub(super) fn make_room(&mut self, now: i64) -> u64 {
        if self.unsealed_bytes() <= UNSEALED_BYTES_MAX {
            return 0;
        }
        if self.frozen.is_empty() || self.head.bytes() > self.head_bytes_max() {
            self.cut(now);
        }
        self.frozen.remove(0).samples() as u64
    }
}

/// The file that grows.
#[derive(Debug)]
pub(super) struct Growing {
    writer: Writer,
    number: u64,
    /// From when to when its samples came.
    span: (i64, i64),
    samples: u64,
    /// Where it ends whole.
    mark: Option<Mark>,
}

impl Store {
    /// Seals all that is in the head. Blocks for as long as that takes: not for a task.
    ///
    /// # Errors
    /// What the disk says. Nothing is lost then; what was to be sealed is kept for the next time.
    pub fn seal(&self, now: Timestamp) -> Result<(), SealError> {
        let mut growing = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut state = self.state();
            if self.folder.is_none() || !state.frozen.iter().any(|frozen| frozen.is_all()) {
                state.cut(millis(now));
            }
        }
        let Some(folder) = &self.folder else {
            self.forget_all_but_one();
            return Ok(());
        };
        self.write_frozen(folder, &mut growing)
    }

    /// Writes the longest groups of the head, a quarter of what it may have, to the file that grows.
    /// Blocks as [`Store::seal`] does.
    ///
    /// # Errors
    /// As of [`Store::seal`].
    pub(super) fn seal_longest(&self, now: Timestamp) -> Result<(), SealError> {
        let kept = self.state().head_bytes_max() / 4 * 3;
        self.seal_but(kept, now)
    }

    /// As [`Store::seal_longest`], until the head has so many bytes at most.
    pub(super) fn seal_but(&self, kept: usize, now: Timestamp) -> Result<(), SealError> {
        let Some(folder) = &self.folder else { return self.seal(now) };
        let mut growing = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        self.state().cut_longest(kept, millis(now));
        let written = self.write_frozen(folder, &mut growing);
        drop(growing);
        self.note_failure(written.as_ref().err());
        written
    }

    /// Whether the head has as much as it should. Without a disk, that is all there is.
    pub(super) fn is_full(&self) -> bool {
        let state = self.state();
        let no_disk = self.folder.is_none();
        state.head.bytes() > if no_disk { UNSEALED_BYTES_MAX / 2 } else { state.head_bytes_max() }
    }

    /// Whether there is so much unsealed that what comes waits in the journal until some of it is.
    pub(super) fn is_busy(&self) -> bool {
        let state = self.state();
        self.folder.is_some() && state.unsealed_bytes() > state.head_bytes_max() / 2 * 3
    }

    /// Whether what comes next is to go to another file.
    pub(super) fn is_file_full(&self) -> bool {
        self.state().segments.iter().any(|s| s.is_growing() && s.len >= FILE_BYTES_MAX)
    }

    fn write_frozen(&self, folder: &Path, growing: &mut Option<Growing>) -> Result<(), SealError> {
        while let Some(frozen) = self.first_frozen() {
            let segment = self.write(folder, &frozen, growing)?;
            let mut state = self.state();
            state.frozen.retain(|other| !Arc::ptr_eq(other, &frozen));
            if !segment.is_growing() {
                state.next_number += 1;
                *growing = None;
            }
            state.add_segment(segment);
        }
        self.show();
        Ok(())
    }

    fn first_frozen(&self) -> Option<Arc<Frozen>> {
        self.state().frozen.first().cloned()
    }

    /// Without a disk, samples are kept from one cut to the one after the next.
    fn forget_all_but_one(&self) {
        let mut state = self.state();
        let over = state.frozen.len().saturating_sub(1);
        state.frozen.drain(..over);
    }

    /// Writes what was taken out of the head to the file that grows, and finishes that if it was
    /// all. Where that fails, the file is as it was before.
    fn write(
        &self,
        folder: &Path,
        frozen: &Frozen,
        growing: &mut Option<Growing>,
    ) -> Result<Arc<Segment>, SealError> {
        let number = growing.as_ref().map_or_else(|| self.state().next_number, |file| file.number);
        let path = folder.join(segment_name(Tier::Raw, number, 0));
        let file = match growing {
            Some(file) => file,
            None => {
                let writer = Writer::create(&path).map_err(SealError::write(&path))?;
                let span = frozen.span;
                growing.insert(Growing { writer, number, span, samples: 0, mark: None })
            }
        };
        let (samples, span) = (file.samples, file.span);
        let written = file.add(frozen).map_err(SealError::write(&path)).and_then(|mut meta| {
            if let Some(journal) = frozen.journal {
                meta.journal = journal;
                let finished = file.writer.finish(meta, &[], &self.catalogue);
                finished.map_err(SealError::write(&path))?;
                return self.open_segment(&path).map_err(SealError::read_back(&path));
            }
            let (so_far, mark) = file.writer.so_far().map_err(SealError::write(&path))?;
            file.mark = Some(mark);
            meta.times = file.writer.times();
            let len = file.writer.len();
            Ok(Arc::new(Segment::growing(&path, meta, len, so_far, self.cache.clone())))
        });
        if written.is_err() {
            file.writer.back_to(file.mark);
            (file.samples, file.span) = (samples, span);
        }
        written
    }

    pub(super) fn open_segment(&self, path: &Path) -> Result<Arc<Segment>, segment::ReadError> {
        let cache = self.cache.clone();
        Segment::open(path, &self.tables, &self.catalogue, cache).map(Arc::new)
    }

    /// Says once that the disk refuses, and once that it takes again.
    pub(super) fn note_failure(&self, error: Option<&SealError>) {
        let was = self.counts.failing.get() > 0.0;
        match error {
            Some(error) if !was => {
                warn!(%error, "the store cannot write; samples stay in memory, and it tries again");
            }
            None if was => info!("the store writes again"),
            _ => {}
        }
        self.counts.failing.set(f64::from(u8::from(error.is_some())));
    }
}

impl Growing {
    /// Adds what was taken out of the head; returns what is known of the file then.
    fn add(&mut self, frozen: &Frozen) -> io::Result<Meta> {
        self.samples += frozen.samples() as u64;
        let writer = &mut self.writer;
        for rows in &frozen.rows {
            let width = rows.series.len();
            let (times, cells) = (rows.times(), rows.cells(0, rows.len()));
            writer.group(rows.series.iter(), false);
            writer.rows(&times, width, |row, column| cells[row * width + column])?;
        }
        let late: Vec<(SeriesId, i64, f64)> =
            frozen.late.iter().map(|((series, time), value)| (*series, *time, *value)).collect();
        for of_one in late.chunk_by(|a, b| a.0 == b.0) {
            let times: Vec<i64> = of_one.iter().map(|(_, time, _)| *time).collect();
            writer.group([of_one[0].0], true);
            writer.rows(&times, 1, |row, _| of_one[row].2)?;
        }
        self.span = (self.span.0.min(frozen.span.0), self.span.1.max(frozen.span.1));
        let (number, span, samples) = (self.number, self.span, self.samples);
        Ok(Meta { tier: Tier::Raw, number, span, times: (0, 0), journal: 0, samples })
    }
}

/// The name of a segment's file; numbers sort as text. `joined` is 1 for one made of others.
pub(super) fn segment_name(tier: Tier, number: u64, joined: u8) -> String {
    format!("{}-{number:012}-{joined}.{}", tier.as_str(), super::EXTENSION)
}

/// What a name says: the tier, the number, and whether it is made of others.
pub(super) fn parse_name(path: &Path) -> Option<(Tier, u64, bool)> {
    let name = path.file_name()?.to_str()?.strip_suffix(super::EXTENSION)?.strip_suffix('.')?;
    let (tier, rest) = name.split_once('-')?;
    let (number, joined) = rest.split_once('-')?;
    let tier = Tier::ALL.into_iter().find(|known| known.as_str() == tier)?;
    Some((tier, number.parse().ok()?, joined != "0"))
}
