//! Which series have which name and labels: what a query's selector starts from.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::ids::Ids;
use crate::sample::{Catalogue, Row, SeriesId, push_tight};

/// All series the store has samples of, by name and by tag. A series has a bit of its own and no
/// more: names are a measurement's fields and tags are a row's, and a row of a device has dozens of
/// series.
#[derive(Debug, Default)]
pub(super) struct Index {
    known: Ids,
    len: usize,
    /// What a name may be: a measurement, by its place in `measurements`, and a field.
    names: FxHashMap<Box<str>, Vec<(usize, u32)>>,
    known_names: FxHashSet<(usize, u32)>,
    measurements: Vec<Vec<u32>>,
    measurement_ids: FxHashMap<Arc<str>, usize>,
    /// The rows of the catalogue that are here.
    known_rows: Ids,
    rows: Vec<u32>,
    tags: FxHashMap<Arc<str>, FxHashMap<Arc<str>, Vec<u32>>>,
}

impl Index {
    /// Adds series; those that are here are left as they are.
    pub(super) fn add(&mut self, series: &[SeriesId], catalogue: &Catalogue) {
        for id in series {
            if !self.known.add(id.index()) {
                continue;
            }
            self.len += 1;
            let series = catalogue.series(*id);
            let (row, field) = catalogue.hold().place(*id);
            let measurement = self.measurement(&series.row.measurement);
            if self.known_names.insert((measurement, field)) {
                let of_name = self.names.entry(series.name().into()).or_default();
                of_name.push((measurement, field));
            }
            if self.known_rows.add(row as usize) {
                self.add_row(row, measurement, &series.row);
            }
        }
    }

    fn measurement(&mut self, name: &Arc<str>) -> usize {
        if let Some(known) = self.measurement_ids.get(name) {
            return *known;
        }
        self.measurements.push(Vec::new());
        self.measurement_ids.insert(name.clone(), self.measurements.len() - 1);
        self.measurements.len() - 1
    }

    fn add_row(&mut self, id: u32, measurement: usize, row: &Row) {
        push_tight(&mut self.rows, id);
        push_tight(&mut self.measurements[measurement], id);
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
        let held = catalogue.hold();
        let is_known = |id: &SeriesId| self.known.has(id.index());
        let Some(name) = name else {
            return rows.iter().flat_map(|row| held.series_of(*row)).filter(is_known).collect();
        };
        let mut found = Vec::new();
        for (measurement, field) in self.names.get(name).map_or(&[][..], Vec::as_slice) {
            let of_measurement = &self.measurements[*measurement];
            let is_shorter = of_measurement.len() <= rows.len();
            let rows = if is_shorter { of_measurement } else { rows };
            let named = rows.iter().filter_map(|row| held.series_of_field(*row, *field));
            found
                .extend(named.filter(is_known).filter(|id| is_shorter || held.is_named(*id, name)));
        }
        found
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
