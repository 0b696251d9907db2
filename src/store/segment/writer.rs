//! Makes a segment's file: under another name, flushed to the disk, then renamed.
//!
//! What has been written so far can be read while the file grows; what fails can be taken back and
//! tried again.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::directory::{Draft, DraftMark};
use super::{BlockRef, Growing, HEADER_BYTES, MAGIC, Meta, Part, VERSION, encode_footer, table};
use crate::sample::{Catalogue, SeriesId};
use crate::store::block::{self, BLOCK_ROWS_MAX, Encoder};

/// What files being written end in: found at a start, they were never finished.
pub(in crate::store) const UNFINISHED: &str = "tmp";

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 32 << 10;

/// See the module. One that is dropped unfinished leaves nothing behind.
#[derive(Debug)]
pub(in crate::store) struct Writer {
    file: Arc<File>,
    path: PathBuf,
    /// Where the next block goes: what is gathered ends here.
    offset: u64,
    gathered: Vec<u8>,
    draft: Draft,
    /// The group begun last.
    group: Group,
    encoder: Encoder,
    bytes: Vec<u8>,
    is_renamed: bool,
    is_finished: bool,
}

#[derive(Debug, Default)]
struct Group {
    series: Vec<SeriesId>,
    is_late: bool,
    blocks: Vec<BlockRef>,
}

/// What a file was when it could be [read](Writer::so_far) last.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Mark {
    offset: u64,
    draft: DraftMark,
}

impl Writer {
    /// Begins a file that is to have this path.
    pub(in crate::store) fn create(path: &Path) -> io::Result<Self> {
        let path = path.to_owned();
        let unfinished = path.with_extension(UNFINISHED);
        let options = File::options().read(true).write(true).create(true).truncate(true).clone();
        let file = options.open(unfinished)?;
        let header = [&MAGIC[..], &VERSION.to_le_bytes()].concat();
        debug_assert_eq!(header.len(), HEADER_BYTES);
        let writer = Self {
            file: Arc::new(file),
            path,
            offset: header.len() as u64,
            gathered: Vec::new(),
            draft: Draft::default(),
            group: Group::default(),
            encoder: Encoder::default(),
            bytes: Vec::new(),
            is_renamed: false,
            is_finished: false,
        };
        writer.file.write_all_at(&header, 0)?;
        Ok(writer)
    }

    /// How many bytes there are so far.
    pub(in crate::store) fn len(&self) -> u64 {
        self.offset
    }

    /// Begins a group of series; the blocks written next are its.
    pub(in crate::store) fn group(
        &mut self,
        series: impl IntoIterator<Item = SeriesId>,
        is_late: bool,
    ) {
        self.end_group();
        self.group.series.extend(series);
        self.group.is_late = is_late;
    }

    fn end_group(&mut self) {
        let Group { series, is_late, blocks } = &mut self.group;
        if !blocks.is_empty() {
            self.draft.push(series, *is_late, blocks);
        }
        series.clear();
        blocks.clear();
    }

    /// Writes rows of the group begun last, in blocks of the right size. `cell` gives the value of a
    /// column in a row.
    pub(in crate::store) fn rows(
        &mut self,
        times: &[i64],
        columns: usize,
        cell: impl Fn(usize, usize) -> f64,
    ) -> io::Result<()> {
        for cut in block::cuts(times.len()) {
            let times = &times[cut.clone()];
            let fill = |column: usize, out: &mut Vec<f64>| {
                out.extend(cut.clone().map(|row| cell(row, column)));
            };
            self.bytes.clear();
            let head = block::encode(times, columns, &mut self.encoder, fill, &mut self.bytes);
            let bytes = std::mem::take(&mut self.bytes);
            self.append(&bytes, head, (times.len(), times[0], times[times.len() - 1]))?;
            self.bytes = bytes;
        }
        Ok(())
    }

    /// Writes a block of the group begun last as it was read.
    pub(in crate::store) fn copy(&mut self, bytes: &[u8], from: &BlockRef) -> io::Result<()> {
        self.append(bytes, from.head_len as usize, (from.rows as usize, from.first, from.last))
    }

    fn append(
        &mut self,
        bytes: &[u8],
        head: usize,
        (rows, first, last): (usize, i64, i64),
    ) -> io::Result<()> {
        debug_assert!(rows <= BLOCK_ROWS_MAX, "what is written can be read");
        let small =
            |n: usize| u32::try_from(n).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge));
        let block = BlockRef {
            offset: self.offset,
            len: small(bytes.len())?,
            head_len: small(head)?,
            rows: small(rows)?,
            first,
            last,
        };
        self.put(bytes)?;
        self.group.blocks.push(block);
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.gathered.extend_from_slice(bytes);
        self.offset += bytes.len() as u64;
        if self.gathered.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.gathered, self.offset - self.gathered.len() as u64)?;
        self.gathered.clear();
        Ok(())
    }

    /// What there is so far, to be read before it is finished; and where to go back to if what comes
    /// next fails.
    pub(in crate::store) fn so_far(&mut self) -> io::Result<(Growing, Mark)> {
        self.end_group();
        self.flush()?;
        let draft = self.draft.rest();
        let growing = Growing { file: self.file.clone(), draft: self.draft.clone() };
        Ok((growing, Mark { offset: self.offset, draft }))
    }

    /// Forgets what came after a mark, or all of it.
    pub(in crate::store) fn back_to(&mut self, mark: Option<Mark>) {
        (self.group, self.draft) = match mark {
            None => (Group::default(), Draft::default()),
            Some(mark) => {
                let mut draft = std::mem::take(&mut self.draft);
                draft.back_to(mark.draft);
                (Group::default(), draft)
            }
        };
        self.offset = mark.map_or(HEADER_BYTES as u64, |mark| mark.offset);
        self.gathered.clear();
    }

    /// The oldest and the newest time there is so far.
    pub(in crate::store) fn times(&self) -> (i64, i64) {
        self.draft.times.unwrap_or_default()
    }

    /// Ends the file and gives it its name. `times` of `meta` are filled in.
    ///
    /// # Errors
    /// What the disk says; then the file is as if it had not been ended.
    pub(in crate::store) fn finish(
        &mut self,
        mut meta: Meta,
        replaces: &[u64],
        catalogue: &Catalogue,
    ) -> io::Result<()> {
        self.end_group();
        self.flush()?;
        meta.times = self.times();
        let (table, order) = table::encode(self.draft.series(), catalogue);
        let local: FxHashMap<SeriesId, u64> = order.into_iter().zip(0..).collect();
        let directory = self.draft.encode(replaces, |series| local[&series]);
        drop(local);
        let mut end = self.offset;
        let mut part = |mut bytes: Vec<u8>| {
            block::sign(&mut bytes, 0);
            self.file.write_all_at(&bytes, end)?;
            let len = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
            let part = Part { offset: end, len };
            end += u64::from(len);
            Ok::<_, io::Error>(part)
        };
        let (table, directory) = (part(table)?, part(directory)?);
        let footer = encode_footer(&meta, table, directory);
        self.file.write_all_at(&footer, end)?;
        // What was taken back may have been longer.
        self.file.set_len(end + footer.len() as u64)?;
        self.file.sync_all()?;
        if !self.is_renamed {
            fs::rename(self.path.with_extension(UNFINISHED), &self.path)?;
            self.is_renamed = true;
        }
        sync_folder(&self.path)?;
        self.is_finished = true;
        Ok(())
    }
}

/// Makes sure that the name of a file, or that it is gone, outlives a power cut.
pub(in crate::store) fn sync_folder(of: &Path) -> io::Result<()> {
    of.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.is_finished {
            let unfinished = self.path.with_extension(UNFINISHED);
            let name = if self.is_renamed { &self.path } else { &unfinished };
            // Whatever is wrong with it, it is found and removed at the next start.
            drop(fs::remove_file(name));
        }
    }
}
