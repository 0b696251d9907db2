//! Which series have which name and labels: what a query's selector starts from.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::sample::{Catalogue, Row, SeriesId, grow_tight, push_tight};

/// All series the store has samples of, by name and by tag. Tags are a row's, and a row of a device
/// has dozens of series.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// By series: whether it is here.
    known: Vec<bool>,
    len: usize,
    names: FxHashMap<Box<str>, Vec<SeriesId>>,
    /// By the catalogue's row: whether it is here.
    known_rows: Vec<bool>,
    rows: Vec<u32>,
    tags: FxHashMap<Arc<str>, FxHashMap<Arc<str>, Vec<u32>>>,
}

impl Index {
    /// Adds series; those that are here are left as they are.
    pub(super) fn add(&mut self, series: &[SeriesId], catalogue: &Catalogue) {
        for id in series {
            grow_tight(&mut self.known, id.index() + 1, false);
            if std::mem::replace(&mut self.known[id.index()], true) {
                continue;
            }
            self.len += 1;
            let series = catalogue.series(*id);
            let name = series.name();
            match self.names.get_mut(&*name) {
                Some(series) => push_tight(series, *id),
                None => _ = self.names.insert(name.into(), vec![*id]),
            }
            let (row, _) = catalogue.hold().place(*id);
            self.add_row(row, &series.row);
        }
    }

    fn add_row(&mut self, id: u32, row: &Row) {
        grow_tight(&mut self.known_rows, id as usize + 1, false);
        if std::mem::replace(&mut self.known_rows[id as usize], true) {
            return;
        }
        push_tight(&mut self.rows, id);
        for (name, value) in &*row.tags {
            let values = self.tags.entry(name.clone()).or_default();
            push_tight(values.entry(value.clone()).or_default(), id);
        }
    }

    /// How many series there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The series among which all must be that have this name, where one is given, and these tags:
    /// hardly more than have to be looked at. Not all of them need have them.
    pub(super) fn candidates<'a>(
        &self,
        name: Option<&str>,
        tags: impl Iterator<Item = (&'a str, &'a str)>,
        catalogue: &Catalogue,
    ) -> Vec<SeriesId> {
        let mut rows = &self.rows[..];
        for (tag, value) in tags {
            let having = self.tags.get(tag).and_then(|values| values.get(value));
            let having = having.map_or(&[][..], Vec::as_slice);
            if having.len() < rows.len() {
                rows = having;
            }
        }
        let named = name.map(|name| self.names.get(name).map_or(&[][..], Vec::as_slice));
        // A row has at most one series of a name.
        if let Some(named) = named.filter(|named| named.len() <= rows.len()) {
            return named.to_vec();
        }
        let held = catalogue.hold();
        let all = rows.iter().flat_map(|row| held.series_of(*row));
        let known = all.filter(|id| self.known.get(id.index()).is_some_and(|known| *known));
        known.filter(|id| name.is_none_or(|name| held.is_named(*id, name))).collect()
    }

    /// The names there are, in order.
    pub(super) fn names(&self) -> BTreeSet<&str> {
        self.names.keys().map(|name| &**name).collect()
    }

    /// The names of the tags there are, in order.
    pub(super) fn tags(&self) -> BTreeSet<&str> {
        self.tags.keys().map(|name| &**name).collect()
    }

    /// The values a tag has, in order.
    pub(super) fn values(&self, tag: &str) -> BTreeSet<&str> {
        let values = self.tags.get(tag).into_iter().flat_map(FxHashMap::keys);
        values.map(|value| &**value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_list_of_name_and_tags_is_looked_through() {
        let catalogue = Catalogue::default();
        let mut index = Index::default();
        let mut all = Vec::new();
        for target in ["a", "b", "c"] {
            for field in ["x", "y"] {
                all.push(catalogue.intern("m", field, &[("target", target), ("kind", "k")]));
            }
        }
        index.add(&all, &catalogue);
        index.add(&all[..2], &catalogue);
        let find = |name, tags: &[(&'static str, &'static str)]| {
            index.candidates(name, tags.iter().copied(), &catalogue)
        };
        assert_eq!(index.len(), 6);
        assert_eq!(find(Some("m_x"), &[]), [all[0], all[2], all[4]]);
        assert_eq!(find(Some("m_x"), &[("target", "b")]), [all[2]]);
        assert_eq!(find(None, &[("target", "b")]), [all[2], all[3]]);
        assert_eq!(find(None, &[]), all);
        assert_eq!(find(None, &[("kind", "k")]).len(), 6);
        assert!(find(Some("m_x"), &[("target", "nope")]).is_empty());
        assert!(find(Some("nope"), &[]).is_empty());
        assert_eq!(index.names().into_iter().collect::<Vec<_>>(), ["m_x", "m_y"]);
        assert_eq!(index.tags().into_iter().collect::<Vec<_>>(), ["kind", "target"]);
        assert_eq!(index.values("target").into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
