//! What a segment has: its groups of series, and where the blocks of each are.

use std::ops::Range;

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
#[derive(Debug, PartialEq)]
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
/// the catalogue does.
#[derive(Debug, Default, Clone)]
pub(super) struct Draft {
    bytes: Vec<u8>,
    groups: usize,
    /// The oldest and the newest time.
    pub(super) times: Option<(i64, i64)>,
}

/// What a draft was at some moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct DraftMark(usize, usize, Option<(i64, i64)>);

impl Draft {
    /// Adds a group and its blocks.
    pub(super) fn push(&mut self, series: &[SeriesId], is_late: bool, blocks: &[BlockRef]) {
        put_group(series, is_late, blocks, |series| series.index() as u64, &mut self.bytes);
        self.groups += 1;
        for block in blocks {
            let (first, last) = self.times.unwrap_or((block.first, block.last));
            self.times = Some((first.min(block.first), last.max(block.last)));
        }
    }

    pub(super) fn mark(&self) -> DraftMark {
        DraftMark(self.bytes.len(), self.groups, self.times)
    }

    /// Forgets what came after a mark.
    pub(super) fn back_to(&mut self, DraftMark(len, groups, times): DraftMark) {
        self.bytes.truncate(len);
        (self.groups, self.times) = (groups, times);
    }

    /// All series of all groups; some more than once.
    pub(super) fn series(&self) -> Vec<SeriesId> {
        let mut all = Vec::new();
        self.each(|series, _, _| all.extend_from_slice(series));
        all
    }

    /// The directory of a finished file: late groups come last, since they count more. `local` is the
    /// number of a series in the file's table.
    pub(super) fn encode(&self, replaces: &[u64], local: impl Fn(SeriesId) -> u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes.len());
        put_varint(&mut out, replaces.len() as u64);
        replaces.iter().for_each(|file| put_varint(&mut out, *file));
        put_varint(&mut out, self.groups as u64);
        for late in [false, true] {
            self.each(|series, is_late, blocks| {
                if is_late == late {
                    put_group(series, is_late, blocks, &local, &mut out);
                }
            });
        }
        out
    }

    fn each(&self, mut each: impl FnMut(&[SeriesId], bool, &[BlockRef])) {
        let mut reader = Reader::new(&self.bytes);
        let (mut series, mut blocks) = (Vec::new(), Vec::new());
        for _ in 0..self.groups {
            series.clear();
            blocks.clear();
            let is_late =
                decode_group(&mut reader, by_catalogue, u64::MAX, &mut series, &mut blocks);
            each(&series, is_late.expect("what we wrote ourselves"), &blocks);
        }
    }
}

/// The series a draft means by a number.
fn by_catalogue(number: usize) -> Option<SeriesId> {
    Some(SeriesId::from_index(number))
}

fn put_group(
    series: &[SeriesId],
    is_late: bool,
    blocks: &[BlockRef],
    number: impl Fn(SeriesId) -> u64,
    out: &mut Vec<u8>,
) {
    put_varint(out, (series.len() as u64) << 1 | u64::from(is_late));
    let mut before = 0;
    for series in series {
        let number = number(*series) as i64;
        put_signed(out, number - before);
        before = number;
    }
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
    let count = reader.count()?;
    decode_groups(reader, count, |local| table.0.get(local).copied(), end, replaces)
}

/// Decodes what a [`Draft`] had so far.
pub(super) fn decode_draft(draft: &Draft, end: u64) -> Result<Directory, Corrupt> {
    decode_groups(Reader::new(&draft.bytes), draft.groups, by_catalogue, end, Vec::new())
}

fn decode_groups(
    mut reader: Reader<'_>,
    count: usize,
    series_of: impl Fn(usize) -> Option<SeriesId> + Copy,
    end: u64,
    replaces: Vec<u64>,
) -> Result<Directory, Corrupt> {
    let (mut groups, mut blocks, mut places) = (Vec::with_capacity(count), Vec::new(), Vec::new());
    for at in 0..count {
        let (mut series, first) = (Vec::new(), blocks.len());
        let is_late = decode_group(&mut reader, series_of, end, &mut series, &mut blocks)?;
        places.extend(series.iter().zip(0..).map(|(id, place)| (*id, at as u32, place)));
        groups.push(Group { series: series.into(), is_late, blocks: first..blocks.len() });
    }
    places.sort_unstable();
    blocks.shrink_to_fit();
    places.shrink_to_fit();
    Ok(Directory { groups, blocks, places, replaces })
}

/// Decodes a group: appends its series and its blocks, and says whether it is late.
fn decode_group(
    reader: &mut Reader<'_>,
    series_of: impl Fn(usize) -> Option<SeriesId>,
    end: u64,
    series: &mut Vec<SeriesId>,
    blocks: &mut Vec<BlockRef>,
) -> Result<bool, Corrupt> {
    let width_and_late = reader.count_of(2)?;
    series.reserve_exact(width_and_late >> 1);
    let mut before = 0i64;
    for _ in 0..width_and_late >> 1 {
        before = before.checked_add(reader.signed()?).ok_or(Corrupt("a series too far"))?;
        let id = usize::try_from(before).ok().and_then(&series_of);
        series.push(id.ok_or(Corrupt("a series that is not there"))?);
    }
    for _ in 0..reader.count()? {
        blocks.push(decode_block(reader, end)?);
    }
    Ok(width_and_late & 1 == 1)
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
