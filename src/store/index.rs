//! Which series have which name and labels: what a query's selector starts from.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::sample::{Catalogue, SeriesId, push_tight};

/// All series the store has samples of, by name and by tag.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// By series: whether it is here.
    known: Vec<bool>,
    all: Vec<SeriesId>,
    names: FxHashMap<Box<str>, Vec<SeriesId>>,
    tags: FxHashMap<Arc<str>, FxHashMap<Arc<str>, Vec<SeriesId>>>,
}

impl Index {
    /// Adds series; those that are here are left as they are.
    pub(super) fn add(&mut self, series: &[SeriesId], catalogue: &Catalogue) {
        for id in series {
            if self.known.len() <= id.index() {
                self.known.resize(id.index() + 1, false);
            }
            if std::mem::replace(&mut self.known[id.index()], true) {
                continue;
            }
            push_tight(&mut self.all, *id);
            let series = catalogue.series(*id);
            push_tight(self.names.entry(series.name().into()).or_default(), *id);
            for (name, value) in &series.row.tags {
                let values = self.tags.entry(name.clone()).or_default();
                push_tight(values.entry(value.clone()).or_default(), *id);
            }
        }
    }

    /// How many series there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The fewest series among which all must be that have this name, where one is given, and these
    /// tags. Not all of them need have them: look at each.
    pub(super) fn candidates<'a>(
        &self,
        name: Option<&str>,
        tags: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> &[SeriesId] {
        let none: &[SeriesId] = &[];
        let mut fewest = match name {
            Some(name) => self.names.get(name).map_or(none, Vec::as_slice),
            None => &self.all,
        };
        for (tag, value) in tags {
            let having = self.tags.get(tag).and_then(|values| values.get(value));
            let having = having.map_or(none, Vec::as_slice);
            if having.len() < fewest.len() {
                fewest = having;
            }
        }
        fewest
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
            index.candidates(name, tags.iter().copied()).to_vec()
        };
        assert_eq!(index.len(), 6);
        assert_eq!(find(Some("m_x"), &[]), [all[0], all[2], all[4]]);
        assert_eq!(find(Some("m_x"), &[("target", "b")]), [all[2], all[3]]);
        assert_eq!(find(None, &[("kind", "k")]).len(), 6);
        assert!(find(Some("m_x"), &[("target", "nope")]).is_empty());
        assert!(find(Some("nope"), &[]).is_empty());
        assert_eq!(index.names().into_iter().collect::<Vec<_>>(), ["m_x", "m_y"]);
        assert_eq!(index.tags().into_iter().collect::<Vec<_>>(), ["kind", "target"]);
        assert_eq!(index.values("target").into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
