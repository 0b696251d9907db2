//! Where a reader is, kept in a small file of its own that no power cut can spoil.
//!
//! The file has two places of one disk sector each, written in turn: whatever happens to one in the
//! middle of a write, the other says what was so before. Overwriting needs no space on a full disk,
//! so that a cursor goes on moving there.
//!
//! ```text
//! place     "wpcursor" version:u32 gaps:u32 generation:u64 head:u64 (from:u64 to:u64){16} 0* crc:u32
//! ```

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::format::Input;

/// What is left to be read later, newest first, at most: one more joins the oldest.
pub(super) const GAPS_MAX: usize = 16;

const MAGIC: [u8; 8] = *b"wpcursor";
const VERSION: u32 = 1;
const PLACE_BYTES: usize = 512;
const EXTENSION: &str = "cursor";

/// How far a reader is: everything before `head` is read, except the gaps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// The sequence number of the next sample.
    pub(super) head: u64,
    /// What was left out for later, from and to, in order; the end is not part of it.
    pub(super) gaps: Vec<(u64, u64)>,
}

impl Progress {
    /// Everything is read before this.
    pub(super) fn at(head: u64) -> Self {
        Self { head, gaps: Vec::new() }
    }

    /// The first sample that is still to be read.
    pub(super) fn oldest(&self) -> u64 {
        self.gaps.first().map_or(self.head, |(from, _)| *from)
    }

    /// Samples still to be read before `end`.
    pub(super) fn lag(&self, end: u64) -> u64 {
        let gaps: u64 = self.gaps.iter().map(|(from, to)| to - from).sum();
        end.saturating_sub(self.head) + gaps
    }

    /// Leaves what is before `to` for later.
    pub(super) fn leave_gap(&mut self, to: u64) {
        if self.gaps.len() == GAPS_MAX {
            // What lies between is read twice, which changes nothing.
            let (from, _) = self.gaps[0];
            self.gaps.remove(0);
            self.gaps[0].0 = from;
        }
        self.gaps.push((self.head, to));
        self.head = to;
    }

    /// What to read next of the gaps: of the newest, what is in the last of the segments that begin
    /// at `starts`; the gap is cut there. `None` without gaps.
    pub(super) fn newest_gap(&mut self, starts: impl Iterator<Item = u64>) -> Option<(u64, u64)> {
        let (from, to) = *self.gaps.last()?;
        let cut = starts.filter(|start| (from + 1..to).contains(start)).max();
        if let Some(cut) = cut
            && self.gaps.len() < GAPS_MAX
        {
            self.gaps.pop();
            self.gaps.extend([(from, cut), (cut, to)]);
        }
        self.gaps.last().copied()
    }

    /// Everything in the newest gap is read before this.
    pub(super) fn pass_in_gap(&mut self, end: u64) {
        if let Some((from, to)) = self.gaps.last_mut() {
            *from = end;
            if from >= to {
                self.gaps.pop();
            }
        }
    }

    fn encode(&self, generation: u64) -> [u8; PLACE_BYTES] {
        let mut place = Vec::with_capacity(PLACE_BYTES);
        place.extend_from_slice(&MAGIC);
        place.extend_from_slice(&VERSION.to_le_bytes());
        let gaps = u32::try_from(self.gaps.len()).expect("gaps are few");
        place.extend_from_slice(&gaps.to_le_bytes());
        place.extend_from_slice(&generation.to_le_bytes());
        place.extend_from_slice(&self.head.to_le_bytes());
        for (from, to) in &self.gaps {
            place.extend_from_slice(&from.to_le_bytes());
            place.extend_from_slice(&to.to_le_bytes());
        }
        place.resize(PLACE_BYTES - 4, 0);
        let crc = crc32c::crc32c(&place);
        place.extend_from_slice(&crc.to_le_bytes());
        place.try_into().expect("a place holds the most gaps there are")
    }

    /// A place's generation and what it says, if it is sound.
    fn decode(place: &[u8]) -> Option<(u64, Self)> {
        let mut input = Input(place);
        let content = place.get(..PLACE_BYTES - 4)?;
        let crc = Input(place.get(PLACE_BYTES - 4..)?).u32()?;
        let is_sound = input.take(8)? == MAGIC && input.u32()? == VERSION;
        if !is_sound || crc != crc32c::crc32c(content) {
            return None;
        }
        let gaps = input.u32().filter(|gaps| *gaps as usize <= GAPS_MAX)?;
        let (generation, head) = (input.u64()?, input.u64()?);
        let gaps = (0..gaps).map(|_| Some((input.u64()?, input.u64()?))).collect::<Option<_>>()?;
        Some((generation, Self { head, gaps }))
    }
}

/// The file of a reader's cursor.
#[derive(Debug)]
pub(super) struct CursorFile {
    file: File,
    generation: u64,
}

impl CursorFile {
    /// Opens it, and says where its reader was if it says so itself.
    pub(super) fn open(folder: &Path, key: &str) -> io::Result<(Self, Option<Progress>)> {
        let path = path_of(folder, key);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        let mut bytes = [0; 2 * PLACE_BYTES];
        let read = read_up_to(&file, &mut bytes)?;
        let places = bytes[..read].chunks(PLACE_BYTES).filter_map(Progress::decode);
        let newest = places.max_by_key(|(generation, _)| *generation);
        let generation = newest.as_ref().map_or(0, |(generation, _)| *generation);
        Ok((Self { file, generation }, newest.map(|(_, progress)| progress)))
    }

    /// Writes where its reader is, over the older of the two places.
    pub(super) fn write(&mut self, progress: &Progress) -> io::Result<()> {
        let generation = self.generation + 1;
        let place = (generation % 2) * PLACE_BYTES as u64;
        self.file.write_all_at(&progress.encode(generation), place)?;
        self.generation = generation;
        Ok(())
    }
}

/// Which readers a folder has cursors of, by their keys.
pub(super) fn readers(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            names.extend(path.file_stem().and_then(|name| name.to_str()).map(str::to_owned));
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Forgets a reader.
pub(super) fn remove(folder: &Path, key: &str) -> io::Result<()> {
    match std::fs::remove_file(path_of(folder, key)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn path_of(folder: &Path, key: &str) -> PathBuf {
    folder.join(format!("{key}.{EXTENSION}"))
}

/// A reader's name as a file's: whatever is not a letter, a digit, `-`, `_` or `.` becomes `%` and its code.
pub(super) fn key(reader: &str) -> String {
    let mut name = String::new();
    for byte in reader.bytes() {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' | b'.' => name.push(byte as char),
            _ => name += &format!("%{byte:02x}"),
        }
    }
    name
}

fn read_up_to(file: &File, bytes: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_and_one_spoilt_is_as_it_was_before() {
        let folder = tempfile::tempdir().unwrap();
        let name = &key("influxdb.ma/in");
        let (mut file, none) = CursorFile::open(folder.path(), name).unwrap();
        assert_eq!(none, None);
        let mut progress = Progress::at(7);
        file.write(&progress).unwrap();
        progress.leave_gap(100);
        file.write(&progress).unwrap();
        let (_, read) = CursorFile::open(folder.path(), name).unwrap();
        assert_eq!(read, Some(Progress { head: 100, gaps: vec![(7, 100)] }));
        assert_eq!(readers(folder.path()).unwrap(), ["influxdb.ma%2fin"]);
        let path = path_of(folder.path(), name);
        let whole = std::fs::read(&path).unwrap();
        for byte in 0..PLACE_BYTES {
            let mut spoilt = whole.clone();
            // The second write went to the first place.
            spoilt[byte] ^= 0x10;
            std::fs::write(&path, &spoilt).unwrap();
            let (_, read) = CursorFile::open(folder.path(), name).unwrap();
            assert_eq!(read, Some(Progress::at(7)));
        }
        std::fs::write(&path, b"short").unwrap();
        assert_eq!(CursorFile::open(folder.path(), name).unwrap().1, None);
        remove(folder.path(), name).unwrap();
        remove(folder.path(), name).unwrap();
        assert!(readers(folder.path()).unwrap().is_empty());
    }

    #[test]
    fn gaps_are_bounded_and_nothing_falls_between_them() {
        let mut progress = Progress::default();
        for n in 1..100 {
            progress.leave_gap(n * 10);
        }
        assert_eq!(progress.gaps.len(), GAPS_MAX);
        assert_eq!(progress.oldest(), 0);
        for pair in progress.gaps.windows(2) {
            assert_eq!(pair[0].1, pair[1].0);
        }
    }
}
