//! Reading a table: columns of text tell the rows apart, columns of numbers are their fields.
//!
//! Rows belong to their tags, never to where they stood in an earlier poll: an agent that numbers
//! its interfaces anew after a restart cannot mix them up.

use std::cmp::Ordering;

use snmp2::Value;

use super::profile::{Field, Table, Tag};
use super::session::Session;
use super::value;
use super::walk::{ROWS_MAX, fill, walk};
use crate::pollers::PollError;
use crate::sample::{Readings, RowRef};
use crate::wire::oid::{self, Oid};

/// Names and descriptions are longer than counters: ask for fewer of them at once.
const TEXT_SHARE: u32 = 2;

/// The indexes of a table's rows take no more than this; rows beyond count as missing.
const INDEX_BYTES_MAX: usize = 1 << 20;

/// What a table had.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// How many rows.
    pub(super) rows: u32,
    /// How many values were asked for and not there.
    pub(super) missing: u64,
    /// The first field of which there was none at all.
    pub(super) absent: Option<String>,
}

/// Reads a table into `out`. `rows` is how many it had the last time, or a guess.
pub(super) async fn read(
    session: &mut Session<'_>,
    table: &Table,
    rows: u32,
    out: &mut Readings,
) -> Result<Outcome, PollError> {
    let mut found = Rows::default();
    let texts = read_tags(session, table, rows, &mut found).await?;
    let mut writer = Writer { table, texts, rows: found, refs: Vec::new(), out };
    writer.make_rows();
    let own: Vec<_> = table.fields.iter().filter(|(_, f)| f.instead_of.is_none()).collect();
    let read = writer.read_fields(session, &own, rows).await?;
    let without = |name: &String| own.iter().zip(&read).any(|((n, _), r)| *n == name && *r == 0);
    let stand_ins: Vec<_> = table
        .fields
        .iter()
        .filter(|(_, field)| field.instead_of.as_ref().is_some_and(without))
        .collect();
    let stood_in = writer.read_fields(session, &stand_ins, rows).await?;
    let mut outcome = Outcome { rows: writer.rows.len(), ..Outcome::default() };
    for ((name, _), read) in own.iter().zip(&read) {
        let stand_in = stand_ins
            .iter()
            .zip(&stood_in)
            .filter(|((_, field), _)| field.instead_of.as_ref() == Some(*name))
            .map(|(_, read)| *read)
            .max();
        let there = stand_in.unwrap_or(0).max(*read);
        // Of a table without rows each column has been asked for once.
        outcome.missing += u64::from(outcome.rows.max(1).saturating_sub(there));
        if there == 0 && outcome.absent.is_none() {
            outcome.absent = Some(format!("{}_{name}", table.measurement));
        }
    }
    Ok(outcome)
}

/// The texts of a table's tag columns.
struct Texts<'a> {
    columns: Vec<&'a Oid>,
    all: String,
    /// By row and column, a range of `all`.
    ranges: Vec<(u32, u32)>,
}

impl Texts<'_> {
    fn get(&self, row: usize, column: &Oid) -> &str {
        let Some(column) = self.columns.iter().position(|known| *known == column) else {
            return "";
        };
        let (start, end) =
            self.ranges.get(row * self.columns.len() + column).copied().unwrap_or_default();
        &self.all[start as usize..end as usize]
    }
}

async fn read_tags<'a>(
    session: &mut Session<'_>,
    table: &'a Table,
    expected: u32,
    rows: &mut Rows,
) -> Result<Texts<'a>, PollError> {
    let mut columns: Vec<&Oid> = Vec::new();
    for tag in table.tags.values() {
        let Tag::Columns(of_tag) = tag else { continue };
        for column in of_tag {
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
    }
    let width = columns.len();
    let (mut all, mut ranges) = (String::new(), Vec::new());
    rows.start(width);
    let per_request = (session.memory.values_per_request() / TEXT_SHARE).max(1);
    walk(session, &columns, expected, per_request, |column, index, value| {
        let Some(row) = rows.find(column, index) else { return };
        let start = position(&all);
        value::text(value, &mut all);
        if ranges.len() < (row + 1) * width {
            ranges.resize((row + 1) * width, (0, 0));
        }
        ranges[row * width + column] = (start, position(&all));
    })
    .await?;
    Ok(Texts { columns, all, ranges })
}

fn position(text: &str) -> u32 {
    u32::try_from(text.len()).expect("rows and texts are bounded")
}

/// Writes a table's values into its rows.
struct Writer<'a, 'r> {
    table: &'a Table,
    texts: Texts<'a>,
    rows: Rows,
    refs: Vec<RowRef>,
    out: &'r mut Readings,
}

impl Writer<'_, '_> {
    /// Looks up the rows that are known by their tags.
    fn make_rows(&mut self) {
        for id in 0..self.rows.by_id.len() {
            self.make_row(id);
        }
    }

    fn make_row(&mut self, id: usize) {
        let mut index = String::new();
        oid::show_index(self.rows.index(id), &mut index);
        let text = |tag: &Tag| match tag {
            Tag::Index => index.as_str(),
            Tag::Columns(columns) => columns
                .iter()
                .map(|column| self.texts.get(id, column))
                .find(|text| !text.is_empty())
                .unwrap_or_default(),
        };
        let tags: Vec<_> =
            self.table.tags.iter().map(|(name, tag)| (name.as_str(), text(tag))).collect();
        self.refs.push(self.out.row(&self.table.measurement, &tags));
    }

    /// Reads columns of numbers; of each, how many rows had one. In version 1 of rows that have a
    /// text, where there are any: looking for others would cost a request a value.
    async fn read_fields(
        &mut self,
        session: &mut Session<'_>,
        fields: &[(&String, &Field)],
        expected: u32,
    ) -> Result<Vec<u32>, PollError> {
        let columns: Vec<_> = fields.iter().map(|(_, field)| &field.oid).collect();
        let mut read = vec![0; fields.len()];
        let known = self.rows.len();
        let known_rows = if session.has_bulk() { Vec::new() } else { self.rows.indexes() };
        self.rows.start(fields.len());
        let each = |column: usize, index: &[u8], value: &Value<'_>| {
            let (name, field) = fields[column];
            let Some(number) = value::number(value) else { return };
            let Some(id) = self.rows.find(column, index) else { return };
            while self.refs.len() <= id {
                self.make_row(self.refs.len());
            }
            self.out.set(self.refs[id], name, number * field.scale);
            read[column] += 1;
        };
        if known_rows.is_empty() {
            let expected = if known == 0 { expected } else { known };
            let per_request = session.memory.values_per_request();
            walk(session, &columns, expected, per_request, each).await?;
        } else {
            fill(session, &columns, &known_rows, each).await?;
        }
        Ok(read)
    }
}

/// The rows of a table in the order of their indexes, found by walking along with the columns.
#[derive(Debug, Default)]
struct Rows {
    /// Indexes, one after the other in the order they were met.
    bytes: Vec<u8>,
    /// Where each row's index is, by the row's id.
    by_id: Vec<(u32, u32)>,
    /// Ids, in the order of the indexes.
    sorted: Vec<u32>,
    /// For each column being walked, where in `sorted` its next row should be.
    cursors: Vec<usize>,
}

impl Rows {
    fn len(&self) -> u32 {
        u32::try_from(self.by_id.len()).expect("rows are bounded")
    }

    fn index(&self, id: usize) -> &[u8] {
        let (start, end) = self.by_id[id];
        &self.bytes[start as usize..end as usize]
    }

    /// The indexes of all rows, in their order.
    fn indexes(&self) -> Vec<Vec<u8>> {
        self.sorted.iter().map(|id| self.index(*id as usize).to_vec()).collect()
    }

    /// Begins walking so many columns, each from the first row.
    fn start(&mut self, columns: usize) {
        self.cursors.clear();
        self.cursors.resize(columns, 0);
    }

    /// The id of the row with this index, which is new where it was not met yet; `None` where
    /// there is no room for more. The indexes of one column must come in order.
    fn find(&mut self, column: usize, index: &[u8]) -> Option<usize> {
        let mut at = self.cursors[column];
        while let Some(id) = self.sorted.get(at).map(|id| *id as usize) {
            let known = self.index(id);
            // Nearly always it is the very next.
            if known == index {
                self.cursors[column] = at + 1;
                return Some(id);
            }
            if oid::compare(known, index) == Ordering::Greater {
                break;
            }
            at += 1;
        }
        if self.len() >= ROWS_MAX || self.bytes.len() + index.len() > INDEX_BYTES_MAX {
            return None;
        }
        let start = u32::try_from(self.bytes.len()).expect("rows and indexes are bounded");
        let end = start + u32::try_from(index.len()).expect("a datagram has less");
        self.bytes.extend_from_slice(index);
        let id = self.by_id.len();
        self.by_id.push((start, end));
        // Cursors that stood further on lag one behind from here, which they make up for.
        self.sorted.insert(at, u32::try_from(id).expect("rows are bounded"));
        self.cursors[column] = at + 1;
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_whichever_column_has_them() {
        let mut rows = Rows::default();
        rows.start(2);
        assert_eq!(rows.find(0, &[1]), Some(0));
        assert_eq!(rows.find(0, &[3]), Some(1));
        assert_eq!(rows.find(1, &[1]), Some(0));
        assert_eq!(rows.find(1, &[2]), Some(2));
        assert_eq!(rows.find(1, &[3]), Some(1));
        assert_eq!(rows.find(0, &[0x81, 0]), Some(3));
        rows.start(1);
        let ids = [&[1][..], &[2], &[3], &[0x81, 0]].map(|index| rows.find(0, index));
        assert_eq!(ids, [Some(0), Some(2), Some(1), Some(3)]);
        assert_eq!(rows.len(), 4);
    }
}
