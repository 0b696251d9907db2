//! Checks the segments of a folder, reading only: also while a daemon writes there.

use std::path::Path;
use std::sync::Arc;

use super::decode::{Decoder, Payload};
pub use super::segment::Damage;
use super::segment::{Frames, SegmentFile, list};
use crate::sample::Catalogue;

/// What is in a segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// The name of its file.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// Frames that are whole.
    pub frames: u64,
    /// The samples in them.
    pub samples: u64,
    /// Samples whose series is not known, since its definition is damaged.
    pub unknown_samples: u64,
    /// Numbers missing between the samples of this segment, or before them since the last one.
    pub missing_samples: u64,
    /// Samples under numbers that were there already.
    pub repeated_samples: u64,
    /// What is not whole.
    pub damage: Damage,
    /// Why nothing of it could be read.
    pub error: Option<String>,
}

impl Checked {
    /// Whether something is wrong with it. The end of the newest segment may be torn: a daemon is
    /// writing it at this moment, or was killed while it did.
    #[must_use]
    pub fn is_damaged(&self, is_newest: bool) -> bool {
        self.error.is_some()
            || self.damage.corrupt_frames > 0
            || self.unknown_samples > 0
            || self.repeated_samples > 0
            || (self.damage.torn_bytes > 0 && !is_newest)
    }
}

/// Checks all segments of a folder, the oldest first.
///
/// # Errors
/// The folder cannot be read.
pub fn folder(folder: &Path) -> std::io::Result<Vec<Checked>> {
    let mut expected = None;
    Ok(list(folder)?.iter().map(|segment| one(segment, &mut expected)).collect())
}

fn one(segment: &SegmentFile, expected: &mut Option<u64>) -> Checked {
    let file = segment.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut checked = Checked { file, bytes: segment.bytes, ..Checked::default() };
    let result = match Frames::open(segment) {
        Ok(Ok(frames)) => frames_of(segment, frames, expected, &mut checked),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    checked.error = result.err();
    checked
}

fn frames_of(
    segment: &SegmentFile,
    mut frames: Frames<std::fs::File>,
    expected: &mut Option<u64>,
    checked: &mut Checked,
) -> Result<(), String> {
    let mut decoder = Decoder::new(Arc::new(Catalogue::default()), segment.first);
    while let Some(range) = frames.next().map_err(|error| error.to_string())? {
        let bytes = range.len();
        match decoder.payload(&frames.window()[range], 0) {
            Some(Payload::Definitions | Payload::Passed) => {}
            Some(Payload::Batches(read)) => {
                let expected = expected.get_or_insert(read.first);
                checked.missing_samples += read.first.saturating_sub(*expected);
                checked.repeated_samples += expected.saturating_sub(read.first);
                *expected = read.end.max(*expected);
                checked.samples += read.end - read.first;
                checked.unknown_samples += read.unknown;
            }
            None => {
                frames.note_nonsense(bytes);
                continue;
            }
        }
        checked.frames += 1;
    }
    checked.damage = frames.damage();
    Ok(())
}

/// Reads bytes as a segment that begins with sample 0, as a reader would, and counts its samples:
/// what a fuzzer tries.
#[must_use]
pub fn bytes(segment: &[u8]) -> u64 {
    let mut samples = 0;
    let Ok(Ok(mut frames)) = Frames::new(segment, segment.len() as u64, 0) else { return 0 };
    let mut decoder = Decoder::new(Arc::new(Catalogue::default()), 0);
    while let Ok(Some(range)) = frames.next() {
        if let Some(Payload::Batches(read)) = decoder.payload(&frames.window()[range], 0) {
            samples += read.batches.iter().map(|batch| batch.samples.len() as u64).sum::<u64>();
        }
    }
    samples
}

/// Reads bytes as payloads one after the other, each with a byte for its length before it, without
/// any checksum: what else a fuzzer tries. Counts the samples.
#[must_use]
pub fn payloads(mut bytes: &[u8]) -> u64 {
    let mut samples = 0;
    let mut decoder = Decoder::new(Arc::new(Catalogue::default()), 0);
    while let Some((length, rest)) = bytes.split_first() {
        let (payload, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        if let Some(Payload::Batches(read)) = decoder.payload(payload, 0) {
            samples += read.batches.iter().map(|batch| batch.samples.len() as u64).sum::<u64>();
        }
        bytes = rest;
    }
    samples
}
