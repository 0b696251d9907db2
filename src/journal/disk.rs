//! Groups from the segments on disk, for one reader. It blocks.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use super::decode::{Decoder, Payload};
use super::reader::Group;
use super::segment::{Damage, Frames, SegmentFile, list};
use crate::sample::Catalogue;

/// Samples read at once, so that a reader far behind takes no more memory than one that keeps up.
const CHUNK_SAMPLES_MAX: u64 = 32_768;

/// What was read in one go.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// In order; between them, and before and after, samples may be missing.
    pub(super) groups: Vec<Group>,
    /// How far it has come, past what is missing.
    pub(super) reached: u64,
    /// Samples of series whose definition is damaged.
    pub(super) unknown: u64,
    /// Of segments that were read to their end.
    pub(super) damage: Damage,
    /// What could not be read at all, in words.
    pub(super) errors: Vec<String>,
}

/// Remembers where it was, so that going on costs no search.
#[derive(Debug)]
pub(super) struct DiskReader {
    catalogue: Arc<Catalogue>,
    current: Option<Current>,
    /// Where the current segment is to be read on.
    position: u64,
}

/// Reads what a journal has from a sample on, beside the daemon that writes it: for tools.
///
/// # Errors
/// A folder that cannot be read. What is damaged is left out.
pub fn read_folder(
    folder: &Path,
    catalogue: Arc<Catalogue>,
    from: u64,
    mut each: impl FnMut(Group),
) -> std::io::Result<()> {
    let segments = list(folder)?;
    let mut reader = DiskReader::new(catalogue);
    let mut reached = from;
    while reached < u64::MAX {
        let chunk = reader.read(&segments, reached, u64::MAX);
        reached = chunk.reached;
        chunk.groups.into_iter().for_each(&mut each);
    }
    Ok(())
}

#[derive(Debug)]
struct Current {
    first: u64,
    frames: Frames<File>,
    decoder: Decoder,
}

impl DiskReader {
    pub(super) fn new(catalogue: Arc<Catalogue>) -> Self {
        Self { catalogue, current: None, position: 0 }
    }

    /// Reads from a sample on, up to another one, at most a chunk. All before `to` must be written.
    pub(super) fn read(&mut self, segments: &[SegmentFile], from: u64, to: u64) -> Chunk {
        if self.position != from {
            self.current = None;
        }
        if let Some(current) = &mut self.current {
            // An error shows again at the next read.
            current.frames.refresh().ok();
        }
        let mut chunk = Chunk { reached: from, ..Chunk::default() };
        let mut at = segments.partition_point(|segment| segment.first <= from).saturating_sub(1);
        while chunk.reached < to && chunk.reached - from < CHUNK_SAMPLES_MAX {
            let segment = segments.get(at).filter(|segment| segment.first < to);
            let Some(segment) = segment else {
                // There is nothing more on disk.
                chunk.reached = to;
                break;
            };
            if !self.segment(segment, to, from, &mut chunk) {
                self.end_segment(&mut chunk);
                at += 1;
            }
        }
        self.position = chunk.reached;
        chunk
    }

    /// Reads on in a segment until the chunk is full or `to` is reached; `false` at its end.
    fn segment(&mut self, segment: &SegmentFile, to: u64, from: u64, chunk: &mut Chunk) -> bool {
        if self.current.as_ref().is_none_or(|current| current.first != segment.first) {
            self.current = match Frames::open(segment) {
                Ok(Ok(frames)) => Some(Current {
                    first: segment.first,
                    frames,
                    decoder: Decoder::new(self.catalogue.clone(), segment.first),
                }),
                Ok(Err(error)) => {
                    chunk.errors.push(format!("{}: {error}", segment.path.display()));
                    return false;
                }
                // Its time had come while we were reading.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return false,
                Err(error) => {
                    chunk.errors.push(format!("{}: {error}", segment.path.display()));
                    return false;
                }
            };
        }
        let Some(Current { frames, decoder, .. }) = &mut self.current else { return false };
        while chunk.reached < to && chunk.reached - from < CHUNK_SAMPLES_MAX {
            let range = match frames.next() {
                Ok(Some(range)) => range,
                Ok(None) => return false,
                Err(error) => {
                    chunk.errors.push(format!("{}: {error}", segment.path.display()));
                    return false;
                }
            };
            let bytes = range.len();
            match decoder.payload(&frames.window()[range], chunk.reached) {
                Some(Payload::Definitions | Payload::Passed) => {}
                Some(Payload::Batches(read)) if read.first >= to => {
                    // It belongs to who reads on from there; we are past it now.
                    chunk.reached = to;
                    self.current = None;
                    return true;
                }
                Some(Payload::Batches(read)) => {
                    chunk.unknown += read.unknown;
                    chunk.reached = read.end;
                    let batches = Arc::new(read.batches);
                    chunk.groups.push(Group { first: read.first, end: read.end, batches });
                }
                None => frames.note_nonsense(bytes),
            }
        }
        true
    }

    fn end_segment(&mut self, chunk: &mut Chunk) {
        if let Some(current) = self.current.take() {
            chunk.damage.add(current.frames.damage());
        }
    }
}
