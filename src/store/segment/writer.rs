//! Makes a segment's file: under another name, flushed to the disk, then renamed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use rustc_hash::FxHashMap;

use super::{BlockRef, HEADER_BYTES, MAGIC, Meta, Part, VERSION, directory, encode_footer, table};
use crate::sample::{Catalogue, SeriesId};
use crate::store::block::{self, BLOCK_ROWS_MAX, Encoder};

/// What files being written end in: found at a start, they were never finished.
pub(in crate::store) const UNFINISHED: &str = "tmp";

/// See the module. One that is dropped leaves nothing behind.
#[derive(Debug)]
pub(in crate::store) struct Writer {
    file: Option<BufWriter<File>>,
    path: PathBuf,
    offset: u64,
    groups: Vec<directory::Written>,
    encoder: Encoder,
    bytes: Vec<u8>,
}

impl Writer {
    /// Begins a file that is to have this path.
    pub(in crate::store) fn create(path: &Path) -> io::Result<Self> {
        let file = File::create(path.with_extension(UNFINISHED))?;
        let mut writer = Self {
            file: Some(BufWriter::new(file)),
            path: path.to_owned(),
            offset: HEADER_BYTES as u64,
            groups: Vec::new(),
            encoder: Encoder::default(),
            bytes: Vec::new(),
        };
        let header = [&MAGIC[..], &VERSION.to_le_bytes()].concat();
        writer.file()?.write_all(&header)?;
        Ok(writer)
    }

    fn file(&mut self) -> io::Result<&mut BufWriter<File>> {
        self.file.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Begins a group of series; the blocks written next are its.
    pub(in crate::store) fn group(&mut self, series: &[SeriesId], is_late: bool) {
        self.groups.push((series.into(), is_late, Vec::new()));
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
        self.file()?.write_all(bytes)?;
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
        self.offset += bytes.len() as u64;
        let group = self.groups.last_mut().expect("a group is begun before its blocks");
        group.2.push(block);
        Ok(())
    }

    /// Ends the file and gives it its name. `times` of `meta` are filled in.
    ///
    /// # Errors
    /// What the disk says; then no file is there.
    pub(in crate::store) fn finish(
        mut self,
        mut meta: Meta,
        replaces: &[u64],
        catalogue: &Catalogue,
    ) -> io::Result<()> {
        let blocks = || self.groups.iter().flat_map(|(_, _, blocks)| blocks);
        let first = blocks().map(|block| block.first).min().unwrap_or_default();
        meta.times = (first, blocks().map(|block| block.last).max().unwrap_or_default());
        let all: Vec<SeriesId> =
            self.groups.iter().flat_map(|(series, ..)| series.iter().copied()).collect();
        let (table, order) = table::encode(&all, catalogue);
        let local: FxHashMap<SeriesId, u32> = order.iter().copied().zip(0..).collect();
        let directory = directory::encode(&self.groups, replaces, |series| local[&series]);
        let table = self.part(table)?;
        let directory = self.part(directory)?;
        let footer = encode_footer(&meta, table, directory);
        self.file()?.write_all(&footer)?;
        let Some(file) = self.file.take() else { return Err(io::ErrorKind::NotConnected.into()) };
        let unfinished = self.path.with_extension(UNFINISHED);
        let named = file
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(&unfinished, &self.path))
            .and_then(|()| sync_folder(&self.path));
        if named.is_err() {
            drop(fs::remove_file(&unfinished));
        }
        named
    }

    fn part(&mut self, mut bytes: Vec<u8>) -> io::Result<Part> {
        block::sign(&mut bytes, 0);
        self.file()?.write_all(&bytes)?;
        let len = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let part = Part { offset: self.offset, len };
        self.offset += u64::from(len);
        Ok(part)
    }
}

/// Makes sure that the name of a file, or that it is gone, outlives a power cut.
pub(in crate::store) fn sync_folder(of: &Path) -> io::Result<()> {
    of.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // Whatever is wrong with it, it is found and removed at the next start.
            drop(fs::remove_file(self.path.with_extension(UNFINISHED)));
        }
    }
}
