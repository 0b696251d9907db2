//! What a segment has: its groups of series, and where the blocks of each are.

use std::ops::Range;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::Table;
use crate::sample::SeriesId;
use crate::store::bytes::{Corrupt, Reader, put_signed, put_varint};

/// Series whose samples lie in the same blocks.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::store) struct Group {
    /// One column each, or [several](super::Tier::columns) in a row.
    pub(in crate::store) series: Box<[SeriesId]>,
    /// Whether its samples came late: such groups come last, and count more than those before.
    pub(in crate::store) is_late: bool,
    /// Its blocks in [`Directory::blocks`], in the order of time.
    pub(in crate::store) blocks: Range<usize>,
}

/// Where a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct BlockRef {
    pub(in crate::store) offset: u64,
    pub(in crate::store) len: u32,
    pub(in crate::store) head_len: u32,
    pub(in crate::store) rows: u32,
    /// Times of the first and the last row, in milliseconds.
    pub(in crate::store) first: i64,
    pub(in crate::store) last: i64,
}

/// See the module.
#[derive(Debug, Default, PartialEq)]
pub(in crate::store) struct Directory {
    pub(in crate::store) groups: Vec<Group>,
    pub(in crate::store) blocks: Vec<BlockRef>,
    /// By series: the group, and the place in it.
    places: Vec<(SeriesId, u32, u32)>,
    /// The files this one was made of and stands for.
    pub(in crate::store) replaces: Vec<u64>,
}

impl Directory {
    /// Where a series is: the number of the group and the place in it, in the order they count.
    pub(in crate::store) fn places(&self, series: SeriesId) -> impl Iterator<Item = (u32, u32)> {
        let first = self.places.partition_point(|(s, ..)| *s < series);
        let all = self.places[first..].iter().take_while(move |(s, ..)| *s == series);
        all.map(|(_, group, place)| (*group, *place))
    }

    /// What it takes in memory, nearly.
    pub(in crate::store) fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.groups.len() * size_of::<Group>()
            + self.blocks.len() * size_of::<BlockRef>()
            + self.places.len() * (size_of::<(SeriesId, u32, u32)>() + size_of::<SeriesId>())
    }
}

/// The groups of a file that is being written, as bytes: a file of a hundred thousand series has
/// dozens of bytes for each group, and would have hundreds as [`Directory`]. Series are numbered as
/// the catalogue does; a group is here each time blocks of it were written. Cheap to clone once it
/// was [rested](Draft::rest).
#[derive(Debug, Default, Clone)]
pub(super) struct Draft {
    /// What is there for good.
    parts: Vec<Arc<[u8]>>,
    /// What was added since.
    bytes: Vec<u8>,
    /// The oldest and the newest time.
    pub(super) times: Option<(i64, i64)>,
}

/// What a draft was when it was [rested](Draft::rest).
#[derive(Debug, Clone, Copy)]
pub(super) struct DraftMark(usize, Option<(i64, i64)>);

/// All blocks of the same series, in the order they were written.
struct Merged<'a> {
    /// As [`put_series`] wrote it.
    series: &'a [u8],
    is_late: bool,
    blocks: Vec<BlockRef>,
}

impl Draft {
    /// Adds a group and its blocks.
    pub(super) fn push(&mut self, series: &[SeriesId], is_late: bool, blocks: &[BlockRef]) {
        put_series(series.iter().map(|series| series.index() as i64), is_late, &mut self.bytes);
        put_blocks(blocks, &mut self.bytes);
        for block in blocks {
            let (first, last) = self.times.unwrap_or((block.first, block.last));
            self.times = Some((first.min(block.first), last.max(block.last)));
        }
    }

    /// What was added is shared from here on, by this and its clones.
    pub(super) fn rest(&mut self) -> DraftMark {
        if !self.bytes.is_empty() {
            self.parts.push(std::mem::take(&mut self.bytes).into());
        }
        DraftMark(self.parts.len(), self.times)
    }

    /// Forgets what came after a mark.
    pub(super) fn back_to(&mut self, DraftMark(parts, times): DraftMark) {
        self.parts.truncate(parts);
        self.bytes.clear();
        self.times = times;
    }

    /// All series of all groups; some more than once.
    pub(super) fn series(&self) -> Vec<SeriesId> {
        let mut all = Vec::new();
        self.each(|_, _, series, _| all.append(series));
        all
    }

    /// The directory of a finished file: late groups come last, since they count more. `local` is the
    /// number of a series in the file's table.
    pub(super) fn encode(&self, replaces: &[u64], local: impl Fn(SeriesId) -> u64) -> Vec<u8> {
        let (mut out, mut series) = (Vec::new(), Vec::new());
        put_varint(&mut out, replaces.len() as u64);
        replaces.iter().for_each(|file| put_varint(&mut out, *file));
        let mut groups = self.merged();
        groups.sort_by_key(|group| group.is_late);
        put_varint(&mut out, groups.len() as u64);
        for group in groups {
            series.clear();
            decode_series(&mut Reader::new(group.series), by_catalogue, &mut series).expect(OURS);
            put_series(series.iter().map(|id| local(*id) as i64), group.is_late, &mut out);
            put_blocks(&group.blocks, &mut out);
        }
        out
    }

    /// Each group once, with all its blocks. What is not later than what the group has is a group of
    /// its own: blocks are in the order of time, but for those that came late.
    fn merged(&self) -> Vec<Merged<'_>> {
        let mut all: Vec<Merged<'_>> = Vec::new();
        let mut known: FxHashMap<&[u8], usize> = FxHashMap::default();
        self.each(|series, is_late, _, blocks| {
            let into = known.get(series).map(|at| &mut all[*at]).filter(|group| {
                let last = group.blocks.last().map(|block| block.last);
                last < blocks.first().map(|block| block.first)
            });
            if let Some(group) = into {
                return group.blocks.append(blocks);
            }
            if !is_late {
                known.insert(series, all.len());
            }
            all.push(Merged { series, is_late, blocks: std::mem::take(blocks) });
        });
        all
    }

    /// Each group as it was added: its series as they are written, whether it is late, its series,
    /// its blocks.
    fn each<'a>(
        &'a self,
        mut each: impl FnMut(&'a [u8], bool, &mut Vec<SeriesId>, &mut Vec<BlockRef>),
    ) {
        let (mut series, mut blocks) = (Vec::new(), Vec::new());
        for part in self.parts.iter().map(|part| &**part).chain([&*self.bytes]) {
            let mut reader = Reader::new(part);
            while !reader.is_empty() {
                series.clear();
                blocks.clear();
                let start = reader.clone().rest();
                let is_late = decode_series(&mut reader, by_catalogue, &mut series).expect(OURS);
                let written = &start[..start.len() - reader.clone().rest().len()];
                decode_blocks(&mut reader, u64::MAX, &mut blocks).expect(OURS);
                each(written, is_late, &mut series, &mut blocks);
            }
        }
    }
}

/// What cannot be wrong.
const OURS: &str = "it is what we wrote ourselves";

/// The series a draft means by a number.
fn by_catalogue(number: usize) -> Option<SeriesId> {
    Some(SeriesId::from_index(number))
}

/// Appends the numbers of a group's series, and whether it is late.
fn put_series(numbers: impl ExactSizeIterator<Item = i64>, is_late: bool, out: &mut Vec<u8>) {
    put_varint(out, (numbers.len() as u64) << 1 | u64::from(is_late));
    let mut before = 0;
    for number in numbers {
        put_signed(out, number - before);
        before = number;
    }
}

fn put_blocks(blocks: &[BlockRef], out: &mut Vec<u8>) {
    put_varint(out, blocks.len() as u64);
    for block in blocks {
        put_varint(out, block.offset);
        put_varint(out, block.len.into());
        put_varint(out, block.head_len.into());
        put_varint(out, block.rows.into());
        put_signed(out, block.first);
        put_varint(out, block.last.wrapping_sub(block.first) as u64);
    }
}

/// Decodes a finished file's directory, whose blocks end before `end`.
pub(super) fn decode(bytes: &[u8], table: &Table, end: u64) -> Result<Directory, Corrupt> {
    let mut reader = Reader::new(bytes);
    let mut replaces = Vec::with_capacity(reader.count()?);
    for _ in 0..replaces.capacity() {
        replaces.push(reader.varint()?);
    }
    let mut directory = Directory { replaces, ..Directory::default() };
    for _ in 0..reader.count()? {
        let mut series = Vec::new();
        let of_table = |local: usize| table.0.get(local).copied();
        let is_late = decode_series(&mut reader, of_table, &mut series)?;
        directory.begin(series, is_late);
        decode_blocks(&mut reader, end, &mut directory.blocks)?;
    }
    Ok(directory.done())
}

/// The directory of a [`Draft`] as it stands.
pub(super) fn of_draft(draft: &Draft) -> Directory {
    let mut directory = Directory::default();
    for group in draft.merged() {
        let mut series = Vec::new();
        decode_series(&mut Reader::new(group.series), by_catalogue, &mut series).expect(OURS);
        directory.begin(series, group.is_late);
        directory.blocks.extend(group.blocks);
    }
    directory.done()
}

impl Directory {
    /// Begins a group; the blocks added next are its.
    fn begin(&mut self, series: Vec<SeriesId>, is_late: bool) {
        self.end_group();
        let at = self.groups.len() as u32;
        self.places.extend(series.iter().zip(0..).map(|(id, place)| (*id, at, place)));
        let start = self.blocks.len();
        self.groups.push(Group { series: series.into(), is_late, blocks: start..start });
    }

    fn end_group(&mut self) {
        if let Some(group) = self.groups.last_mut() {
            group.blocks.end = self.blocks.len();
        }
    }

    fn done(mut self) -> Self {
        self.end_group();
        self.places.sort_unstable();
        self.blocks.shrink_to_fit();
        self.places.shrink_to_fit();
        self
    }
}

/// Decodes a group's series, and says whether it is late.
fn decode_series(
    reader: &mut Reader<'_>,
    series_of: impl Fn(usize) -> Option<SeriesId>,
    series: &mut Vec<SeriesId>,
) -> Result<bool, Corrupt> {
    let width_and_late = reader.count_of(2)?;
    series.reserve_exact(width_and_late >> 1);
    let mut before = 0i64;
    for _ in 0..width_and_late >> 1 {
        before = before.checked_add(reader.signed()?).ok_or(Corrupt("a series too far"))?;
        let id = usize::try_from(before).ok().and_then(&series_of);
        series.push(id.ok_or(Corrupt("a series that is not there"))?);
    }
    Ok(width_and_late & 1 == 1)
}

fn decode_blocks(
    reader: &mut Reader<'_>,
    end: u64,
    blocks: &mut Vec<BlockRef>,
) -> Result<(), Corrupt> {
    for _ in 0..reader.count()? {
        blocks.push(decode_block(reader, end)?);
    }
    Ok(())
}

fn decode_block(reader: &mut Reader<'_>, end: u64) -> Result<BlockRef, Corrupt> {
    let block = BlockRef {
        offset: reader.varint()?,
        len: reader.index()?,
        head_len: reader.index()?,
        rows: reader.index()?,
        first: reader.signed()?,
        last: 0,
    };
    let last = block.first.wrapping_add(reader.varint()? as i64);
    let is_inside = block.offset.checked_add(block.len.into()).is_some_and(|to| to <= end);
    if !is_inside || block.head_len > block.len || last < block.first {
        return Err(Corrupt("a block that is not there"));
    }
    Ok(BlockRef { last, ..block })
}
