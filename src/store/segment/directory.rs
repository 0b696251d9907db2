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

/// A group being written: its series, whether it is late, its blocks.
pub(super) type Written = (Box<[SeriesId]>, bool, Vec<BlockRef>);

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

/// Encodes groups, the blocks of each, and what the file replaces. `local` is the number of a series
/// in the file's table.
pub(super) fn encode(
    groups: &[Written],
    replaces: &[u64],
    local: impl Fn(SeriesId) -> u32,
) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, replaces.len() as u64);
    replaces.iter().for_each(|file| put_varint(&mut out, *file));
    put_varint(&mut out, groups.len() as u64);
    for (series, is_late, blocks) in groups {
        put_varint(&mut out, (series.len() as u64) << 1 | u64::from(*is_late));
        let mut before = 0;
        for series in series {
            let number = i64::from(local(*series));
            put_signed(&mut out, number - before);
            before = number;
        }
        put_varint(&mut out, blocks.len() as u64);
        for block in blocks {
            put_varint(&mut out, block.offset);
            put_varint(&mut out, block.len.into());
            put_varint(&mut out, block.head_len.into());
            put_varint(&mut out, block.rows.into());
            put_signed(&mut out, block.first);
            put_varint(&mut out, block.last.wrapping_sub(block.first) as u64);
        }
    }
    out
}

/// Decodes what [`encode`] wrote, for a file whose blocks end before `end`.
pub(super) fn decode(bytes: &[u8], table: &Table, end: u64) -> Result<Directory, Corrupt> {
    let mut reader = Reader::new(bytes);
    let mut replaces = Vec::with_capacity(reader.count()?);
    for _ in 0..replaces.capacity() {
        replaces.push(reader.varint()?);
    }
    let count = reader.count()?;
    let (mut groups, mut blocks, mut places) = (Vec::with_capacity(count), Vec::new(), Vec::new());
    for at in 0..count {
        let width_and_late = reader.count_of(2)?;
        let mut series = Vec::with_capacity(width_and_late >> 1);
        let mut before = 0i64;
        for place in 0..width_and_late >> 1 {
            before = before.checked_add(reader.signed()?).ok_or(Corrupt("a series too far"))?;
            let id = usize::try_from(before).ok().and_then(|local| table.0.get(local));
            let id = *id.ok_or(Corrupt("a series that is not there"))?;
            series.push(id);
            places.push((id, at as u32, place as u32));
        }
        let first = blocks.len();
        for _ in 0..reader.count()? {
            blocks.push(decode_block(&mut reader, end)?);
        }
        let is_late = width_and_late & 1 == 1;
        groups.push(Group { series: series.into(), is_late, blocks: first..blocks.len() });
    }
    places.sort_unstable();
    blocks.shrink_to_fit();
    places.shrink_to_fit();
    Ok(Directory { groups, blocks, places, replaces })
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
