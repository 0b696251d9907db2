//! A segment: one immutable file of blocks, readable alone. See ARCHITECTURE.md for the format.
//!
//! A segment in memory is its footer and its (shared) table of series; the directory of its blocks
//! is read when a query first needs it, and kept while there is room. It never writes a file that
//! is there: [`writer`] makes a new one under another name and renames it; one that still grows has
//! its directory in memory.

mod cache;
mod directory;
mod table;
mod writer;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub(super) use cache::Cache;
use directory::Draft;
pub(super) use directory::{BlockRef, Directory};
pub(super) use table::{Table, Tables};
pub(super) use writer::{Mark, UNFINISHED, Writer};

use super::block::{self, checked};
use super::bytes::{Corrupt, Reader};
use crate::sample::Catalogue;

/// The version of the format this is.
pub const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"wpstore\n";

/// Magic and version, at the beginning of a file.
const HEADER_BYTES: usize = 12;

/// The fixed part at the end of a file.
const FOOTER_BYTES: usize = 92;

/// A block up to this size is read whole; of a larger one the head first.
const WHOLE_BYTES_MAX: u32 = 16 << 10;

/// Why a segment or a part of it cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What is read is not what was written.
    #[error("{0}")]
    Corrupt(#[from] Corrupt),
    /// It is sound, and of another time.
    #[error("format version {0}, this watchpost reads version {VERSION}")]
    Version(u32),
}

/// How fine the samples of a segment are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// As they came.
    Raw,
    /// Minimum, maximum, mean and count of five minutes.
    FiveMinutes,
    /// Minimum, maximum, mean and count of an hour.
    Hour,
}

impl Tier {
    /// All tiers, the finest first.
    pub const ALL: [Self; 3] = [Self::Raw, Self::FiveMinutes, Self::Hour];

    /// Columns a series.
    pub(super) fn columns(self) -> usize {
        if self == Self::Raw { 1 } else { 4 }
    }

    /// As files and labels call it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::FiveMinutes => "5m",
            Self::Hour => "1h",
        }
    }

    /// From one row to the next, in milliseconds; 0 for raw samples.
    pub(super) fn step_millis(self) -> i64 {
        match self {
            Self::Raw => 0,
            Self::FiveMinutes => 300_000,
            Self::Hour => 3_600_000,
        }
    }
}

/// What a footer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) tier: Tier,
    /// The number of the file, given in the order files are made.
    pub(super) number: u64,
    /// From when to when its samples came, by the clock, in milliseconds: what retention goes by.
    pub(super) span: (i64, i64),
    /// The oldest and the newest time in it, in milliseconds.
    pub(super) times: (i64, i64),
    /// All batches up to here in the journal are in it or in older segments.
    pub(super) journal: u64,
    pub(super) samples: u64,
}

/// Where a part of a file is; with its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    offset: u64,
    len: u32,
}

impl Part {
    /// Reads it from a file of which `end` bytes may be read.
    fn read(self, file: &impl ReadAt, end: u64) -> Result<Vec<u8>, ReadError> {
        if self.offset.checked_add(self.len.into()).is_none_or(|to| to > end) {
            return Err(Corrupt("a part that is not there").into());
        }
        let mut bytes = vec![0; self.len as usize];
        file.read_at(&mut bytes, self.offset)?;
        let len = checked(&bytes)?.len();
        bytes.truncate(len);
        Ok(bytes)
    }
}

fn encode_footer(meta: &Meta, table: Part, directory: Part) -> Vec<u8> {
    let mut out = Vec::with_capacity(FOOTER_BYTES);
    let words = [meta.number, meta.journal, meta.samples, table.offset, directory.offset];
    words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    let times = [meta.span.0, meta.span.1, meta.times.0, meta.times.1];
    times.iter().for_each(|time| out.extend_from_slice(&time.to_le_bytes()));
    for small in [table.len, directory.len, meta.tier as u32, VERSION] {
        out.extend_from_slice(&small.to_le_bytes());
    }
    block::sign(&mut out, 0);
    debug_assert_eq!(out.len(), FOOTER_BYTES);
    out
}

fn decode_footer(bytes: &[u8]) -> Result<(Meta, Part, Part), ReadError> {
    let mut reader = Reader::new(checked(bytes)?);
    let (number, journal, samples) = (reader.u64()?, reader.u64()?, reader.u64()?);
    let offsets = (reader.u64()?, reader.u64()?);
    let span = (reader.i64()?, reader.i64()?);
    let times = (reader.i64()?, reader.i64()?);
    let lens = (reader.u32()?, reader.u32()?);
    let (tier, version) = (reader.u32()?, reader.u32()?);
    if version != VERSION {
        return Err(ReadError::Version(version));
    }
    let tier = *Tier::ALL.get(tier as usize).ok_or(Corrupt("a tier that is none"))?;
    let meta = Meta { tier, number, span, times, journal, samples };
    let table = Part { offset: offsets.0, len: lens.0 };
    Ok((meta, table, Part { offset: offsets.1, len: lens.1 }))
}

/// What can be read at any place: a file, or bytes in memory.
pub(super) trait ReadAt {
    fn len(&self) -> io::Result<u64>;
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn len(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, into, offset)
    }
}

impl ReadAt for &[u8] {
    fn len(&self) -> io::Result<u64> {
        Ok(<[u8]>::len(self) as u64)
    }
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(into.len());
        into.copy_from_slice(self.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// The beginning of a segment's reading: footer and table.
fn read_ends(
    file: &impl ReadAt,
    tables: &Tables,
    catalogue: &Catalogue,
) -> Result<(Meta, Part, Arc<Table>, u64), ReadError> {
    let len = file.len()?;
    let end = len.checked_sub(FOOTER_BYTES as u64).ok_or(Corrupt("shorter than a segment"))?;
    let (mut header, mut footer) = ([0; HEADER_BYTES], [0; FOOTER_BYTES]);
    file.read_at(&mut header, 0)?;
    let mut reader = Reader::new(&header);
    if reader.array()? != MAGIC {
        return Err(Corrupt("not a segment of a watchpost's store").into());
    }
    // The version first: in another one, nothing else need be where it is here.
    match reader.u32()? {
        VERSION => {}
        other => return Err(ReadError::Version(other)),
    }
    file.read_at(&mut footer, end)?;
    let (meta, table, directory) = decode_footer(&footer)?;
    let table = tables.of(&table.read(file, end)?, catalogue)?;
    Ok((meta, directory, table, len))
}

/// A segment whose directory has been read.
#[derive(Debug)]
pub(super) struct Opened<F = File> {
    file: F,
    pub(super) directory: Directory,
}

/// Buffers a reader keeps from block to block.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    bytes: Vec<u8>,
    values: Vec<f64>,
}

impl<F: ReadAt> Opened<F> {
    /// Reads some columns of a block of a group so many columns wide: `each` gets the place of the
    /// column in `wanted`, the times and the values. `wanted` is in order.
    pub(super) fn read_block(
        &self,
        block: &BlockRef,
        width: usize,
        wanted: &[usize],
        buffers: &mut Buffers,
        mut each: impl FnMut(usize, &[i64], &[f64]),
    ) -> Result<(), ReadError> {
        let (Some(first), Some(last)) = (wanted.first(), wanted.last()) else { return Ok(()) };
        let (rows, head_len) = (block.rows as usize, block.head_len as usize);
        let is_whole = block.len <= WHOLE_BYTES_MAX;
        let Buffers { bytes, values } = buffers;
        bytes.resize(if is_whole { block.len as usize } else { head_len }, 0);
        self.file.read_at(bytes, block.offset)?;
        let head_bytes = bytes.get(..head_len).ok_or(Corrupt("a head that is not there"))?;
        let head = block::decode_head(head_bytes, rows, width)?;
        // From here on the columns wanted are in `bytes`, of which the first `before` are left out.
        let mut before = head.column(*first)?.start;
        if is_whole {
            bytes.drain(..head_len);
            before = 0;
        } else {
            let end = head.column(*last)?.end;
            if head_len + end > block.len as usize || end < before {
                return Err(Corrupt("a column that is not there").into());
            }
            bytes.resize(end - before, 0);
            self.file.read_at(bytes, block.offset + (head_len + before) as u64)?;
        }
        for (at, column) in wanted.iter().enumerate() {
            let range = head.column(*column)?;
            let column = range.start.checked_sub(before).zip(range.end.checked_sub(before));
            let column = column.and_then(|(start, end)| bytes.get(start..end));
            let column = column.ok_or(Corrupt("a column that is not there"))?;
            block::decode_column(column, rows, values)?;
            each(at, &head.times, values);
        }
        Ok(())
    }

    /// The bytes of a block, as they are.
    pub(super) fn copy_block(&self, block: &BlockRef) -> Result<Vec<u8>, ReadError> {
        let mut bytes = vec![0; block.len as usize];
        self.file.read_at(&mut bytes, block.offset)?;
        Ok(bytes)
    }
}

/// What is there of a file that is not finished.
#[derive(Debug)]
pub(super) struct Growing {
    file: Arc<File>,
    draft: Draft,
}

/// Where a segment's directory is.
#[derive(Debug)]
enum Contents {
    /// In its file, with the table of the series.
    Finished {
        table: Arc<Table>,
        directory: Part,
    },
    Growing(Growing),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) meta: Meta,
    /// The length of the file.
    pub(super) len: u64,
    contents: Contents,
    cache: Arc<Cache>,
    /// By this the cache knows it.
    id: u64,
    /// Whether that a part of it cannot be read has been said.
    pub(super) is_damaged: AtomicBool,
}

impl Segment {
    /// Opens a segment; its series are interned.
    ///
    /// # Errors
    /// A file that cannot be read, or that is no segment of this version, or damaged at its end.
    pub(super) fn open(
        path: &Path,
        tables: &Tables,
        catalogue: &Catalogue,
        cache: Arc<Cache>,
    ) -> Result<Self, ReadError> {
        let file = File::open(path)?;
        let (meta, directory, table, len) = read_ends(&file, tables, catalogue)?;
        Ok(Self::new(path, meta, len, Contents::Finished { table, directory }, cache))
    }

    /// What there is of a segment that is not finished and is to have this path; of `meta`, `times`
    /// are known already.
    pub(super) fn growing(
        path: &Path,
        meta: Meta,
        len: u64,
        growing: Growing,
        cache: Arc<Cache>,
    ) -> Self {
        Self::new(path, meta, len, Contents::Growing(growing), cache)
    }

    fn new(path: &Path, meta: Meta, len: u64, contents: Contents, cache: Arc<Cache>) -> Self {
        let (path, id) = (path.to_owned(), cache.new_id());
        Self { path, meta, len, contents, cache, id, is_damaged: AtomicBool::new(false) }
    }

    /// Whether more is to come, and so it is no file yet that could be joined or removed.
    pub(super) fn is_growing(&self) -> bool {
        matches!(self.contents, Contents::Growing(_))
    }

    /// All series it has, where they are known without reading.
    pub(super) fn table(&self) -> Option<&Arc<Table>> {
        match &self.contents {
            Contents::Finished { table, .. } => Some(table),
            Contents::Growing(_) => None,
        }
    }

    /// How long its directory is on disk.
    pub(super) fn directory_len(&self) -> u64 {
        match &self.contents {
            Contents::Finished { directory, .. } => directory.len.into(),
            Contents::Growing(_) => 0,
        }
    }

    /// The segment with its directory, from the cache or read now.
    ///
    /// # Errors
    /// A file that is gone or damaged.
    pub(super) fn opened(&self) -> Result<Arc<Opened>, ReadError> {
        if let Some(opened) = self.cache.get(self.id) {
            return Ok(opened);
        }
        let opened = Arc::new(self.opened_in(self.file()?)?);
        self.cache.put(self.id, &opened);
        Ok(opened)
    }

    /// Its file, which can be read as long as this is kept, whether or not others replace it.
    ///
    /// # Errors
    /// A file that is gone or cannot be opened.
    pub(super) fn file(&self) -> io::Result<File> {
        match &self.contents {
            Contents::Finished { .. } => File::open(&self.path),
            Contents::Growing(growing) => growing.file.try_clone(),
        }
    }

    /// The segment with its directory, read from its [file](Self::file).
    ///
    /// # Errors
    /// A file that is damaged.
    pub(super) fn opened_in(&self, file: File) -> Result<Opened, ReadError> {
        let directory = match &self.contents {
            Contents::Finished { table, directory } => {
                let bytes = directory.read(&file, self.len)?;
                directory::decode(&bytes, table, directory.offset)?
            }
            Contents::Growing(growing) => directory::of_draft(&growing.draft),
        };
        Ok(Opened { file, directory })
    }

    /// Lets go of what the cache has of it.
    pub(super) fn forget(&self) {
        self.cache.forget(self.id);
    }

    /// Whether it is made of others.
    pub(super) fn is_joined(&self) -> bool {
        super::seal::parse_name(&self.path).is_some_and(|(.., is_joined)| is_joined)
    }

    /// Whether it may have anything between two times, both included.
    pub(super) fn may_have(&self, from: i64, to: i64) -> bool {
        self.meta.times.0 <= to && from <= self.meta.times.1
    }
}

/// Reads all of a segment given as bytes; for the fuzzer. Returns how many values there were.
///
/// # Errors
/// Bytes that are no segment.
#[doc(hidden)]
pub fn read_all(bytes: &[u8]) -> Result<u64, ReadError> {
    let catalogue = Catalogue::default();
    let (meta, part, table, len) = read_ends(&bytes, &Tables::default(), &catalogue)?;
    let directory = directory::decode(&part.read(&bytes, len)?, &table, part.offset)?;
    let opened = Opened { file: bytes, directory };
    let (mut values, mut buffers) = (0, Buffers::default());
    for group in &opened.directory.groups {
        let width = group.series.len() * meta.tier.columns();
        let all: Vec<usize> = (0..width).collect();
        for block in &opened.directory.blocks[group.blocks.clone()] {
            let each = |_: usize, _: &[i64], column: &[f64]| values += column.len() as u64;
            opened.read_block(block, width, &all, &mut buffers, each)?;
        }
    }
    Ok(values)
}

/// Reads bytes as each part of a segment, as if its checksum were right; for the fuzzer.
#[doc(hidden)]
pub fn read_parts(bytes: &[u8]) {
    let Some((rows, rest)) = bytes.split_first_chunk().map(|(r, b)| (u16::from_le_bytes(*r), b))
    else {
        return;
    };
    let mut signed = rest.to_vec();
    block::sign(&mut signed, 0);
    let rows = usize::from(rows) % (block::BLOCK_ROWS_MAX + 2);
    for columns in [0, 1, 7] {
        drop(block::decode_head(&signed, rows, columns));
    }
    let _refused = block::decode_column(&signed, rows, &mut Vec::new());
    let catalogue = Catalogue::default();
    if let Ok(table) = Tables::default().of(rest, &catalogue) {
        drop(directory::decode(rest, &table, u64::MAX));
    }
    let ten = Table((0..10).map(|n| catalogue.intern("m", &n.to_string(), &[])).collect());
    drop(directory::decode(rest, &ten, u64::MAX));
    drop(decode_footer(&signed));
}
