//! Segment files: which there are, and the frames of one, past whatever is damaged in it.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::format::{
    BATCHES, DEFINITIONS, FRAME_BYTES_MAX, FRAME_HEAD_BYTES, HEADER_BYTES, Header, HeaderError,
    checksum, seed,
};

/// How much is read at once; a longer frame is read whole.
const READ_BYTES: usize = 64 << 10;

/// What may be spent in one segment on checking what only looks like a frame, while looking for
/// the next one after a damage. Bytes made to look like frames everywhere end the segment here.
const SEARCH_BYTES_MAX: usize = 64 << 20;

const EXTENSION: &str = "journal";

/// A segment's file, closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentFile {
    /// The sequence number of its first sample.
    pub(super) first: u64,
    pub(super) path: PathBuf,
    /// Its length when it was looked at.
    pub(super) bytes: u64,
}

/// Where the segment that begins with this sample is kept.
pub(super) fn path_of(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}.{EXTENSION}"))
}

/// The segments of a folder, the oldest first.
pub(super) fn list(folder: &Path) -> io::Result<Vec<SegmentFile>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str());
        let Some(first) = name.and_then(|name| name.parse().ok()) else { continue };
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            // One that is removed at this moment is not there.
            let Ok(about) = std::fs::metadata(&path) else { continue };
            found.push(SegmentFile { first, path, bytes: about.len() });
        }
    }
    found.sort_unstable_by_key(|segment| segment.first);
    Ok(found)
}

/// What was found damaged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Damage {
    /// Places in the middle where there is something else than frames.
    pub corrupt_frames: u64,
    /// The bytes of those places.
    pub corrupt_bytes: u64,
    /// Bytes after the last frame.
    pub torn_bytes: u64,
}

impl Damage {
    /// Both together.
    pub(super) fn add(&mut self, other: Self) {
        self.corrupt_frames += other.corrupt_frames;
        self.corrupt_bytes += other.corrupt_bytes;
        self.torn_bytes += other.torn_bytes;
    }
}

/// The frames of a segment, one after the other.
#[derive(Debug)]
pub(super) struct Frames<R> {
    input: R,
    seed: u32,
    window: Vec<u8>,
    /// Where in the window to go on.
    at: usize,
    /// Where in the file the window begins.
    offset: u64,
    /// Bytes of the file behind the window.
    left: u64,
    searched: usize,
    damage: Damage,
}

impl Frames<File> {
    /// Opens a segment's file; of a header that is damaged the name knows enough.
    pub(super) fn open(segment: &SegmentFile) -> io::Result<Result<Self, HeaderError>> {
        let file = File::open(&segment.path)?;
        let bytes = file.metadata()?.len();
        Self::new(file, bytes, segment.first)
    }

    /// Takes note of what was written since, behind a frame that was whole.
    pub(super) fn refresh(&mut self) -> io::Result<()> {
        let read = self.offset + self.window.len() as u64;
        self.left = self.input.metadata()?.len().saturating_sub(read);
        Ok(())
    }
}

impl<R: Read> Frames<R> {
    /// Of `bytes` bytes of input that hold the segment that begins with this sample.
    pub(super) fn new(input: R, bytes: u64, first: u64) -> io::Result<Result<Self, HeaderError>> {
        let mut frames = Self {
            input,
            seed: seed(first),
            window: Vec::new(),
            at: 0,
            offset: 0,
            left: bytes,
            searched: 0,
            damage: Damage::default(),
        };
        let is_whole = frames.fill(HEADER_BYTES)?;
        match Header::decode(&frames.window) {
            Err(error @ HeaderError::Version(_)) => return Ok(Err(error)),
            // Who writes was killed before its first word was there.
            Err(HeaderError::Damaged) if !is_whole => {
                frames.damage.torn_bytes += frames.window.len() as u64;
            }
            Ok(header) if header.first == first => {}
            Ok(_) | Err(HeaderError::Damaged) => frames.damage.corrupt_frames += 1,
        }
        frames.at = HEADER_BYTES.min(frames.window.len());
        Ok(Ok(frames))
    }

    /// The payload of the next frame that is whole, as a range of [`Frames::window`]; `None` at
    /// the end. What is passed over is counted as [`Damage`].
    pub(super) fn next(&mut self) -> io::Result<Option<Range<usize>>> {
        let mut skipped: u64 = 0;
        loop {
            if !self.fill(FRAME_HEAD_BYTES)? || self.searched > SEARCH_BYTES_MAX {
                let rest = (self.window.len() - self.at) as u64 + self.left;
                self.at = self.window.len();
                self.damage.torn_bytes += skipped + rest;
                return Ok(None);
            }
            if let Some(payload) = self.frame(skipped > 0)? {
                if skipped > 0 {
                    self.damage.corrupt_frames += 1;
                    self.damage.corrupt_bytes += skipped;
                }
                self.at = payload.end;
                return Ok(Some(payload));
            }
            self.at += 1;
            skipped += 1;
        }
    }

    /// The payload of a frame that begins here, if one does.
    fn frame(&mut self, is_search: bool) -> io::Result<Option<Range<usize>>> {
        let head = &self.window[self.at..self.at + FRAME_HEAD_BYTES];
        let (length, crc) = head.split_at(4);
        let length: [u8; 4] = length.try_into().expect("four of eight");
        let crc = u32::from_le_bytes(crc.try_into().expect("four of eight"));
        let bytes = u32::from_le_bytes(length) as usize;
        let behind = (self.window.len() - self.at - FRAME_HEAD_BYTES) as u64 + self.left;
        if bytes == 0 || bytes > FRAME_BYTES_MAX || bytes as u64 > behind {
            return Ok(None);
        }
        let is_there = self.fill(FRAME_HEAD_BYTES + 1)?;
        if !is_there || !matches!(self.window[self.at + FRAME_HEAD_BYTES], DEFINITIONS | BATCHES) {
            return Ok(None);
        }
        self.fill(FRAME_HEAD_BYTES + bytes)?;
        if is_search {
            self.searched += bytes;
        }
        let start = self.at + FRAME_HEAD_BYTES;
        let payload = start..start + bytes;
        let is_whole = self.window.get(payload.clone());
        let is_whole = is_whole.is_some_and(|bytes| checksum(self.seed, length, bytes) == crc);
        Ok(is_whole.then_some(payload))
    }

    /// Makes this many bytes from here on be in the window; `false` where there are not as many.
    fn fill(&mut self, bytes: usize) -> io::Result<bool> {
        let have = self.window.len() - self.at;
        if have >= bytes {
            return Ok(true);
        }
        self.window.drain(..self.at);
        self.offset += self.at as u64;
        self.at = 0;
        let want = (bytes - have).max(READ_BYTES) as u64;
        let read = (&mut self.input).take(want.min(self.left)).read_to_end(&mut self.window)?;
        // A file that has become shorter ends here.
        self.left = if read == 0 { 0 } else { self.left - read as u64 };
        Ok(self.window.len() >= bytes)
    }

    /// What has been read and not passed; [`Frames::next`] says where in it.
    pub(super) fn window(&self) -> &[u8] {
        &self.window
    }

    /// Where in the file the next frame begins.
    pub(super) fn offset(&self) -> u64 {
        self.offset + self.at as u64
    }

    /// What was damaged so far.
    pub(super) fn damage(&self) -> Damage {
        self.damage
    }

    /// Counts a frame that was whole and yet nonsense.
    pub(super) fn note_nonsense(&mut self, bytes: usize) {
        self.damage.corrupt_frames += 1;
        self.damage.corrupt_bytes += bytes as u64;
    }
}
