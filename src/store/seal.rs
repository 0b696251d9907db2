//! Sealing: what the head holds becomes a segment, while nobody waits.
//!
//! A seal takes everything out of the head at one moment, then encodes and writes it group by
//! group; queries read it from memory until the segment is there. Where the disk refuses, it stays
//! in memory and is tried again; only at [`UNSEALED_BYTES_MAX`] the oldest goes, and is counted.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::PoisonError;

use tracing::{info, warn};

use super::head::Frozen;
use super::segment::{Meta, Segment, Tier, Writer};
use super::{State, Store, millis, segment};
use crate::sample::{SeriesId, Timestamp};

/// A head of this size is sealed before its time: with it, 10,000 series read every ten seconds are
/// sealed in blocks of 400 rows.
pub(super) const HEAD_BYTES_MAX: usize = 32 << 20;

/// The most memory for samples that are not sealed, when the disk does not take them.
pub(super) const UNSEALED_BYTES_MAX: usize = 2 * HEAD_BYTES_MAX;

/// With so much unsealed, what comes waits in the journal until some of it is.
pub(super) const BUSY_BYTES_MAX: usize = HEAD_BYTES_MAX * 3 / 2;

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
        let (rows, late) = self.head.cut();
        self.cuts += 1;
        if !rows.is_empty() || !late.is_empty() {
            let span = (self.since, now.max(self.since));
            self.frozen.push(Arc::new(Frozen::new((rows, late), span, self.journal, bytes)));
        }
        self.since = now;
    }

    pub(super) fn unsealed_bytes(&self) -> usize {
        self.head.bytes() + self.frozen.iter().map(|frozen| frozen.bytes).sum::<usize>()
    }

    /// Drops the oldest unsealed samples where there are too many; returns how many.
    pub(super) fn make_room(&mut self, now: i64) -> u64 {
        if self.unsealed_bytes() <= UNSEALED_BYTES_MAX {
            return 0;
        }
        if self.frozen.is_empty() || self.head.bytes() > HEAD_BYTES_MAX {
            self.cut(now);
        }
        self.frozen.remove(0).samples() as u64
    }
}

impl Store {
    /// Seals all that is in the head. Blocks for as long as that takes: not for a task.
    ///
    /// # Errors
    /// What the disk says. Nothing is lost then; what was to be sealed is kept for the next time.
    pub fn seal(&self, now: Timestamp) -> Result<(), SealError> {
        let _alone = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut state = self.state();
            if state.frozen.is_empty() || self.folder.is_none() {
                state.cut(millis(now));
            }
        }
        let Some(folder) = &self.folder else {
            self.forget_all_but_one();
            return Ok(());
        };
        while let Some(frozen) = self.first_frozen() {
            let number = self.state().next_number;
            let path = folder.join(segment_name(Tier::Raw, number, 0));
            self.write(&frozen, number, &path).map_err(SealError::write(&path))?;
            let segment = self.open_segment(&path).map_err(SealError::read_back(&path))?;
            let mut state = self.state();
            state.frozen.retain(|other| !Arc::ptr_eq(other, &frozen));
            state.next_number += 1;
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

    fn write(&self, frozen: &Frozen, number: u64, path: &Path) -> io::Result<()> {
        let mut writer = Writer::create(path)?;
        for rows in &frozen.rows {
            let width = rows.series.len();
            let cells = rows.cells(0, rows.times().len());
            writer.group(&rows.series, false);
            writer.rows(rows.times(), width, |row, column| cells[row * width + column])?;
        }
        let late: Vec<(SeriesId, i64, f64)> =
            frozen.late.iter().map(|((series, time), value)| (*series, *time, *value)).collect();
        for of_one in late.chunk_by(|a, b| a.0 == b.0) {
            let times: Vec<i64> = of_one.iter().map(|(_, time, _)| *time).collect();
            writer.group(&[of_one[0].0], true);
            writer.rows(&times, 1, |row, _| of_one[row].2)?;
        }
        let meta = Meta {
            tier: Tier::Raw,
            number,
            span: frozen.span,
            times: (0, 0),
            journal: frozen.journal,
            samples: frozen.samples() as u64,
        };
        writer.finish(meta, &[], &self.catalogue)
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
