//! The series of a segment in words, so that each segment reads alone.
//!
//! Written in an order that depends on the words alone: segments of the same series have the same
//! bytes here, and share one table in memory.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustc_hash::FxHashMap;

use crate::sample::{Catalogue, SeriesId};
use crate::store::bytes::{Corrupt, Reader, put_varint};

/// Which series of the catalogue each of the segment's is.
#[derive(Debug, PartialEq)]
pub(in crate::store) struct Table(pub(in crate::store) Box<[SeriesId]>);

/// Encodes series, and gives back the order they are written in.
pub(super) fn encode(mut order: Vec<SeriesId>, catalogue: &Catalogue) -> (Vec<u8>, Vec<SeriesId>) {
    let held = catalogue.hold();
    order.sort_unstable();
    order.dedup();
    let words = |id: &SeriesId| {
        let (row, field) = held.place(*id);
        (&held.row(row).measurement, &held.row(row).tags, held.field(field))
    };
    order.sort_unstable_by(|a, b| words(a).cmp(&words(b)));
    let mut strings = BTreeSet::new();
    for id in &order {
        let (measurement, tags, field) = words(id);
        strings.extend([&**measurement, field]);
        strings.extend(tags.iter().flat_map(|(name, value)| [&**name, &**value]));
    }
    let index: FxHashMap<&str, u64> = strings.iter().copied().zip(0..).collect();
    let mut out = Vec::new();
    put_varint(&mut out, strings.len() as u64);
    for text in &strings {
        put_varint(&mut out, text.len() as u64);
        out.extend_from_slice(text.as_bytes());
    }
    put_varint(&mut out, order.len() as u64);
    let mut before = None;
    for id in &order {
        let (row, _) = held.place(*id);
        let (measurement, tags, field) = words(id);
        // A field of the same row as the series before, or a row of so many tags.
        if before == Some(row) {
            put_varint(&mut out, 0);
        } else {
            put_varint(&mut out, tags.len() as u64 + 1);
            put_varint(&mut out, index[&**measurement]);
            for (name, value) in tags.iter() {
                put_varint(&mut out, index[&**name]);
                put_varint(&mut out, index[&**value]);
            }
        }
        put_varint(&mut out, index[field]);
        before = Some(row);
    }
    (out, order)
}

fn decode(bytes: &[u8], catalogue: &Catalogue) -> Result<Table, Corrupt> {
    let mut reader = Reader::new(bytes);
    let mut strings = Vec::with_capacity(reader.count()?);
    for _ in 0..strings.capacity() {
        let len = reader.count()?;
        let text = std::str::from_utf8(reader.take(len)?);
        strings.push(text.map_err(|_| Corrupt("a label is not UTF-8"))?);
    }
    let word = |reader: &mut Reader<'_>| {
        let at = reader.index()? as usize;
        strings.get(at).copied().ok_or(Corrupt("a string that is not there"))
    };
    let count = reader.count()?;
    let mut series = Vec::with_capacity(count);
    let (mut measurement, mut tags) = ("", Vec::new());
    for at in 0..count {
        match reader.count()? {
            0 if at == 0 => return Err(Corrupt("a series without a row")),
            0 => {}
            tags_and_one => {
                measurement = word(&mut reader)?;
                tags.clear();
                for _ in 1..tags_and_one {
                    tags.push((word(&mut reader)?, word(&mut reader)?));
                }
            }
        }
        series.push(catalogue.intern(measurement, word(&mut reader)?, &tags));
    }
    Ok(Table(series.into()))
}

/// The tables in memory, each once.
#[derive(Debug, Default)]
pub(in crate::store) struct Tables {
    /// Seeded anew each time, so that nobody can make two tables that are taken for one.
    hasher: RandomState,
    known: Mutex<FxHashMap<(u64, usize), Weak<Table>>>,
}

impl Tables {
    /// The table of these bytes; its series are interned.
    pub(super) fn of(&self, bytes: &[u8], catalogue: &Catalogue) -> Result<Arc<Table>, Corrupt> {
        let key = (self.hasher.hash_one(bytes), bytes.len());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = known.get(&key).and_then(Weak::upgrade) {
            return Ok(table);
        }
        known.retain(|_, table| table.strong_count() > 0);
        let table = Arc::new(decode(bytes, catalogue)?);
        known.insert(key, Arc::downgrade(&table));
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_come_back_whatever_the_catalogue_held_before() {
        let from = Catalogue::default();
        let tags = [("target", "gw"), ("kind", "icmp")];
        let ids = [
            from.intern("icmp", "ttl", &tags),
            from.intern("target", "up", &tags),
            from.intern("icmp", "rtt_seconds", &tags),
            from.intern("bare", "", &[]),
        ];
        let (bytes, order) = encode(ids.to_vec(), &from);
        let to = Catalogue::default();
        to.intern("other", "one", &[]);
        let tables = Tables::default();
        let table = tables.of(&bytes, &to).unwrap();
        let words = |c: &Catalogue, ids: &[SeriesId]| -> Vec<_> {
            ids.iter().map(|id| c.series(*id).to_string()).collect()
        };
        assert_eq!(words(&to, &table.0), words(&from, &order));
        let again = encode(vec![ids[3], ids[0], ids[2], ids[1]], &from);
        assert_eq!(again.0, bytes);
        assert!(Arc::ptr_eq(&table, &tables.of(&bytes, &to).unwrap()));
    }
}
