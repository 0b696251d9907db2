//! Opening: where the journal ends, what is torn, and who has read how far.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use rustc_hash::FxHashMap;

use super::cursor::{self, CursorFile, Progress};
use super::decode::Decoder;
use super::format::{HEADER_BYTES, Header};
use super::meters::Meters;
use super::segment::{Damage, Frames, SegmentFile, list};
use super::shared::{Disk, Inner, Registered, Segment, Shared};
use super::{Env, Limits};
use crate::sample::Timestamp;

/// The cursors' files, open, by their readers' keys.
pub(super) type Cursors = FxHashMap<String, CursorFile>;

/// What everybody shares, and the cursors for the thread that writes; none where there is nothing
/// to write to.
pub(super) fn open(env: Env, limits: Limits) -> (Shared, Option<Cursors>) {
    let Env { mut folder, catalogue, clock, metrics } = env;
    let meters = Meters::new(&metrics);
    let mut inner = Inner::new(Disk::Working, limits.memory_bytes_max);
    let mut cursors = Cursors::default();
    if let Some(path) = &folder
        && let Err(error) = read(path, &mut inner, &mut cursors, &meters)
    {
        // What is there is not known, so nothing may be written beside it.
        tracing::error!(
            path = %path.display(), %error,
            "cannot read the journal; samples stay in memory until the next start"
        );
        folder = None;
    }
    if folder.is_none() {
        inner.disk = Disk::Absent;
    }
    meters.writable.set(f64::from(u8::from(folder.is_some())));
    let has_folder = folder.is_some();
    (Shared::new(folder, catalogue, clock, meters, inner), has_folder.then_some(cursors))
}

fn read(
    folder: &Path,
    inner: &mut Inner,
    cursors: &mut Cursors,
    meters: &Meters,
) -> io::Result<()> {
    if !folder.try_exists()? {
        // The thread makes it, or says why not.
        return Ok(());
    }
    let mut files = list(folder)?;
    let mut next = None;
    // From the end: a segment without a sample in it is of no use, and in the way of its name.
    while let Some(last) = files.last_mut() {
        let (end, whole, damage) = scan(last);
        meters.corrupt_frames.add(damage.corrupt_frames);
        meters.torn_bytes.add(damage.torn_bytes);
        if damage != Damage::default() {
            tracing::warn!(
                path = %last.path.display(),
                corrupt_frames = damage.corrupt_frames,
                torn_bytes = damage.torn_bytes,
                "the journal's last segment is damaged; what is whole is kept"
            );
        }
        if let Some(end) = end {
            if damage.torn_bytes > 0 {
                OpenOptions::new().write(true).open(&last.path)?.set_len(whole)?;
                last.bytes = whole;
            }
            next = Some(end);
            break;
        }
        std::fs::remove_file(&last.path)?;
        files.pop();
    }
    let ends: Vec<_> = files.iter().skip(1).map(|file| file.first).chain(next).collect();
    for (file, end) in files.into_iter().zip(ends) {
        let opened = opened(&file);
        inner.segments.push_back(Segment { file, end, opened, is_closed: true });
    }
    for key in cursor::readers(folder)? {
        let (file, progress) = CursorFile::open(folder, &key)?;
        cursors.insert(key.clone(), file);
        let oldest = inner.segments.front().map_or(0, |segment| segment.file.first);
        let committed = progress.unwrap_or_else(|| {
            tracing::warn!(reader = key, "a cursor of the journal is damaged; reading all again");
            Progress::at(oldest)
        });
        inner.readers.push(Registered {
            key,
            token: u64::MAX,
            committed,
            is_unsaved: false,
            could_not_save: false,
            is_forgotten: false,
            live: None,
        });
    }
    // A reader may have read from memory what a power cut took from the disk: its numbers are not
    // given to others.
    let read_up_to = inner.readers.iter().map(|reader| reader.committed.head).max();
    inner.skip_to(next.max(read_up_to).unwrap_or(0));
    Ok(())
}

/// Where a segment's samples end, `None` without any; how much of the file is sound; what is not.
fn scan(segment: &SegmentFile) -> (Option<u64>, u64, Damage) {
    scan_frames(segment).unwrap_or_else(|error| {
        let path = segment.path.display();
        tracing::error!(%path, error, "cannot read a segment of the journal; leaving it alone");
        // Numbers it may have given are left out as far as its length allows.
        let end = segment.first.saturating_add(segment.bytes);
        (Some(end), segment.bytes, Damage::default())
    })
}

fn scan_frames(segment: &SegmentFile) -> Result<(Option<u64>, u64, Damage), String> {
    let frames = Frames::open(segment).map_err(|error| error.to_string())?;
    let mut frames = frames.map_err(|error| error.to_string())?;
    let (mut end, mut whole) = (None, HEADER_BYTES as u64);
    while let Some(payload) = frames.next().map_err(|error| error.to_string())? {
        if let Some((_, frame_end)) = Decoder::span(segment.first, &frames.window()[payload]) {
            end = end.max(Some(frame_end));
        }
        whole = frames.offset();
    }
    Ok((end, whole, frames.damage()))
}

/// When a segment was opened; one whose header is damaged counts as new.
fn opened(segment: &SegmentFile) -> Timestamp {
    let mut header = [0; HEADER_BYTES];
    let read = File::open(&segment.path).and_then(|mut file| file.read_exact(&mut header));
    let header = read.ok().and_then(|()| Header::decode(&header).ok());
    header.map_or(Timestamp::from_nanos(i64::MAX), |header| header.opened)
}
