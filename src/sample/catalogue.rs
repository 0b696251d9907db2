//! Series interned to small integers, compactly: a device's table makes thousands of them.
//!
//! Nothing is taken out again: the engine, the journal, the store's head and the sinks hold ids for
//! as long as each likes, an hour and more where a disk fails, and a series that is back gets the id
//! it had. So targets that are removed and added again cost nothing, those under ever new names cost
//! a few hundred bytes a series until the next start, and [`SERIES_MAX`] bounds that.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use rustc_hash::FxHashMap;

use super::series_ids::SeriesIds;
use super::{Tags, push_tight};

/// Most series of a daemon's life, those of removed targets included: six times what 200 switches
/// have, or about 1.5 GB at worst. Beyond, series never seen before are refused, and who would have
/// written them counts that.
const SERIES_MAX: usize = 4_000_000;

/// Fields of a row up to which a name is compared with each, which costs less than to hash it.
const FIELDS_COMPARED_MAX: usize = 8;

/// What the measurement and tags of most rows take.
const WORDS_BYTES: usize = 256;

/// What no text has in it.
const END_OF_WORD: u8 = 0xff;

/// A series, interned. Ids are dense, start at 0 and are never used again for another series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub(crate) u32);

impl SeriesId {
    /// The id as an index into a table with a place for each series.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The series at a place of such a table.
    pub(crate) fn from_index(index: usize) -> Self {
        Self(u32::try_from(index).expect("fewer series than addresses"))
    }
}

/// What the fields read together share: a measurement and its tags, as InfluxDB has them.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Row {
    /// The measurement.
    pub measurement: Arc<str>,
    /// Tags, sorted by name; no name twice, no value empty.
    pub tags: Tags,
}

/// A series in words: a row and a field. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Series {
    /// Measurement and tags.
    pub row: Arc<Row>,
    /// The field; empty where the name is the measurement's alone, see [`split_name`].
    pub field: Arc<str>,
}

/// A name that came whole, as Prometheus sends it, as measurement and field: parted at the first
/// `_` that leaves both something, so that `icmp_rtt_seconds` is what it is here. Where there is
/// none, as in `up`, the field is empty.
#[must_use]
pub fn split_name(name: &str) -> (&str, &str) {
    let parted = name.char_indices().skip(1).find(|(at, c)| *c == '_' && at + 1 < name.len());
    parted.map_or((name, ""), |(at, _)| (&name[..at], &name[at + 1..]))
}

impl Series {
    /// The name rules, queries and Grafana know it by: `measurement_field`.
    #[must_use]
    pub fn name(&self) -> String {
        let (measurement, field) = (&self.row.measurement, &self.field);
        if field.is_empty() { measurement.to_string() } else { format!("{measurement}_{field}") }
    }

    /// Whether [`Series::name`] is `name`, without building it.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        is_name(name, &self.row.measurement, &self.field)
    }

    /// A tag's value; absent and empty are the same, as in PromQL.
    #[must_use]
    pub fn tag(&self, name: &str) -> Option<&str> {
        self.shared_tag(name).map(|value| &**value)
    }

    /// As [`Series::tag`], for who keeps it.
    #[must_use]
    pub fn shared_tag(&self, name: &str) -> Option<&Arc<str>> {
        let tags = &self.row.tags;
        tags.binary_search_by(|(key, _)| (**key).cmp(name)).ok().map(|at| &tags[at].1)
    }
}

/// Whether a name is that of a measurement and field.
fn is_name(name: &str, measurement: &str, field: &str) -> bool {
    name.strip_prefix(measurement).is_some_and(|rest| match rest.strip_prefix('_') {
        Some(rest) if !field.is_empty() => *rest == *field,
        _ => rest.is_empty() && field.is_empty(),
    })
}

/// As PromQL writes it: `icmp_rtt_seconds{kind="icmp",target="gateway"}`.
impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{{", self.name())?;
        for (i, (name, value)) in self.row.tags.iter().enumerate() {
            write!(f, "{}{name}={value:?}", if i == 0 { "" } else { "," })?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// All series there are, both ways: key to id and id to key. Shared by every task.
#[derive(Debug)]
pub struct Catalogue {
    inner: RwLock<Inner>,
    max: usize,
}

impl Default for Catalogue {
    fn default() -> Self {
        Self { inner: RwLock::default(), max: SERIES_MAX }
    }
}

#[derive(Debug, Default)]
struct Inner {
    /// Every string once, whoever uses it. Texts come from outside, so they are hashed with a key
    /// nobody outside knows: nobody can make up texts that all share one hash.
    strings: HashSet<Arc<str>>,
    hasher: RandomState,
    rows: Vec<RowEntry>,
    /// By the hash of measurement and tags; of two that share one, the second is at the next hash
    /// that is free.
    row_ids: FxHashMap<u64, u32>,
    fields: Vec<Arc<str>>,
    field_ids: HashMap<Arc<str>, u32>,
    /// By [`SeriesId`]: row and field.
    series: Vec<(u32, u32)>,
}

#[derive(Debug)]
struct RowEntry {
    row: Arc<Row>,
    /// The series of each field seen in this row. With a map of its own, the index of a large SNMP
    /// table would weigh many times as much.
    series: SeriesIds<Vec<SeriesId>>,
}

impl Catalogue {
    /// One that is [full](Catalogue::is_full) with fewer series.
    #[cfg(test)]
    pub(crate) fn bounded(max: usize) -> Self {
        Self { max, ..Self::default() }
    }

    /// Whether there is no room for devices' series it does not know. It is for who takes these in
    /// to ask; watchpost's own few still find theirs. A row without series takes room, too.
    #[must_use]
    pub(crate) fn is_full(&self) -> bool {
        let inner = self.read();
        inner.series.len().max(inner.rows.len()) >= self.max
    }

    /// The id of a row. Tags may come in any order; those with an empty value are left out, and
    /// of two with one name the first counts.
    pub(crate) fn row(&self, measurement: &str, tags: &[(&str, &str)]) -> (u32, Arc<Row>) {
        self.row_of(&Tags::default(), measurement, tags)
    }

    /// As [`Catalogue::row`]; a row that has the tags of its target alone shares them.
    pub(crate) fn row_of(
        &self,
        target: &Tags,
        measurement: &str,
        tags: &[(&str, &str)],
    ) -> (u32, Arc<Row>) {
        let sorted = canonical(tags);
        let known = |inner: &Inner| {
            let found = inner.find(measurement, &sorted);
            found.map(|id| (id, inner.rows[id as usize].row.clone()))
        };
        if let Ok(known) = known(&self.read()) {
            return known;
        }
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let free = match known(&inner) {
            Ok(known) => return known,
            Err(free) => free,
        };
        let tags = if target.iter().map(|(k, v)| (&**k, &**v)).eq(sorted.iter().copied()) {
            target.clone()
        } else {
            sorted.iter().map(|(k, v)| (inner.string(k), inner.string(v))).collect()
        };
        let row = Arc::new(Row { measurement: inner.string(measurement), tags });
        let next = u32::try_from(inner.rows.len()).expect("fewer rows than addresses");
        inner.row_ids.insert(free, next);
        inner.rows.push(RowEntry { row: row.clone(), series: SeriesIds::default() });
        (next, row)
    }

    /// The id of a field's name.
    pub(crate) fn field(&self, name: &str) -> u32 {
        if let Some(id) = self.read().field_ids.get(name) {
            return *id;
        }
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let name = inner.string(name);
        let next = u32::try_from(inner.fields.len()).expect("fewer fields than addresses");
        let inner = &mut *inner;
        *inner.field_ids.entry(name.clone()).or_insert_with(|| {
            inner.fields.push(name);
            next
        })
    }

    /// Whether the field of a series has this name: cheaper than to look for the name, for who can
    /// guess the series.
    pub(crate) fn is_field(&self, id: SeriesId, name: &str) -> bool {
        self.read().is_field(id, name)
    }

    /// The series of a row's field.
    pub(crate) fn series_of(&self, row: u32, field: u32) -> SeriesId {
        if let Some(known) = self.read().series_of(row, field) {
            return known;
        }
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let next =
            SeriesId(u32::try_from(inner.series.len()).expect("fewer series than addresses"));
        if let Some(known) = inner.series_of(row, field) {
            return known;
        }
        inner.rows[row as usize].series.push(next);
        push_tight(&mut inner.series, (row, field));
        next
    }

    /// The id of a series given in words.
    pub fn intern(&self, measurement: &str, field: &str, tags: &[(&str, &str)]) -> SeriesId {
        let (row, _) = self.row(measurement, tags);
        self.series_of(row, self.field(field))
    }

    /// The id of a row, if it has been seen before.
    pub(crate) fn find_row(&self, measurement: &str, tags: &[(&str, &str)]) -> Option<u32> {
        self.read().find(measurement, &canonical(tags)).ok()
    }

    /// The series of a row's field, if it has been seen before.
    pub(crate) fn find_series(&self, row: u32, field: &str) -> Option<SeriesId> {
        let inner = self.read();
        let of_row = &inner.rows[row as usize].series;
        if of_row.len() > FIELDS_COMPARED_MAX {
            return inner.series_of(row, *inner.field_ids.get(field)?);
        }
        of_row.iter().find(|id| inner.is_field(*id, field))
    }

    /// A series in words. `id` must come from this catalogue.
    #[must_use]
    pub fn series(&self, id: SeriesId) -> Series {
        let inner = self.read();
        let (row, field) = inner.series[id.index()];
        Series {
            row: inner.rows[row as usize].row.clone(),
            field: inner.fields[field as usize].clone(),
        }
    }

    /// Holds the catalogue still for many lookups at the price of one lock. New series wait for
    /// as long as it is kept, so that must be short.
    #[must_use]
    pub fn hold(&self) -> Held<'_> {
        Held(self.read())
    }

    /// How many series there are; their ids are `0..len`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().series.len()
    }

    /// Whether no series has been seen yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A catalogue [held](Catalogue::hold) still.
#[derive(Debug)]
pub struct Held<'a>(RwLockReadGuard<'a, Inner>);

impl Held<'_> {
    /// The row and the field of a series, as dense ids from 0. `id` must come from this catalogue.
    #[inline]
    #[must_use]
    pub fn place(&self, id: SeriesId) -> (u32, u32) {
        self.0.series[id.index()]
    }

    /// The series of a row of this catalogue.
    pub fn series_of(&self, row: u32) -> impl Iterator<Item = SeriesId> {
        self.0.rows[row as usize].series.iter()
    }

    /// The series of a row's field.
    #[must_use]
    pub fn series_of_field(&self, row: u32, field: u32) -> Option<SeriesId> {
        self.0.series_of(row, field)
    }

    /// As [`Series::is_named`].
    #[must_use]
    pub fn is_named(&self, id: SeriesId, name: &str) -> bool {
        let (row, field) = self.place(id);
        is_name(name, &self.row(row).measurement, self.field(field))
    }

    /// A row of this catalogue.
    #[must_use]
    pub fn row(&self, row: u32) -> &Row {
        &self.0.rows[row as usize].row
    }

    /// The name of a field of this catalogue.
    #[must_use]
    pub fn field(&self, field: u32) -> &str {
        &self.0.fields[field as usize]
    }
}

/// Tags as a row has them: sorted by name, none twice, none empty.
fn canonical<'a>(tags: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut sorted: Vec<_> = tags.iter().filter(|(_, value)| !value.is_empty()).copied().collect();
    sorted.sort_by_key(|(name, _)| *name);
    sorted.dedup_by_key(|(name, _)| *name);
    sorted
}

impl Inner {
    /// The row of a measurement and canonical tags, or the hash to put it at.
    fn find(&self, measurement: &str, tags: &[(&str, &str)]) -> Result<u32, u64> {
        let mut hash = self.hash(measurement, tags);
        while let Some(id) = self.row_ids.get(&hash) {
            let row = &self.rows[*id as usize].row;
            let own = row.tags.iter().map(|(name, value)| (&**name, &**value));
            if *row.measurement == *measurement && own.eq(tags.iter().copied()) {
                return Ok(*id);
            }
            hash = hash.wrapping_add(1);
        }
        Err(hash)
    }

    /// The hash of all words in one piece: of many small ones it costs three times as much.
    fn hash(&self, measurement: &str, tags: &[(&str, &str)]) -> u64 {
        let mut words = Vec::with_capacity(WORDS_BYTES);
        for word in tags.iter().flat_map(|(name, value)| [*name, *value]).chain([measurement]) {
            words.extend_from_slice(word.as_bytes());
            words.push(END_OF_WORD);
        }
        self.hasher.hash_one(&words[..])
    }

    fn series_of(&self, row: u32, field: u32) -> Option<SeriesId> {
        let mut of_row = self.rows[row as usize].series.iter();
        of_row.find(|id| self.series[id.index()].1 == field)
    }

    fn is_field(&self, id: SeriesId, name: &str) -> bool {
        *self.fields[self.series[id.index()].1 as usize] == *name
    }

    fn string(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.strings.get(text) {
            return known.clone();
        }
        let new: Arc<str> = text.into();
        self.strings.insert(new.clone());
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_the_same_whatever_the_order_of_its_tags() {
        let catalogue = Catalogue::default();
        let id = catalogue.intern("icmp", "rtt_seconds", &[("target", "gw"), ("kind", "icmp")]);
        let again = catalogue.intern("icmp", "rtt_seconds", &[("kind", "icmp"), ("target", "gw")]);
        let other = catalogue.intern("icmp", "ttl", &[("kind", "icmp"), ("target", "gw")]);
        assert_eq!(id, again);
        assert_ne!(id, other);
        let series = catalogue.series(id);
        assert_eq!(series.to_string(), r#"icmp_rtt_seconds{kind="icmp",target="gw"}"#);
        assert_eq!(series.tag("target"), Some("gw"));
        assert_eq!(series.tag("nope"), None);
        assert!(series.is_named("icmp_rtt_seconds"));
        assert!(!series.is_named("icmp_rtt"));
        assert_eq!(catalogue.len(), 2);
    }

    #[test]
    fn a_name_that_came_whole_is_parted_so_that_it_reads_the_same() {
        for (name, parts) in [
            ("icmp_rtt_seconds", ("icmp", "rtt_seconds")),
            ("up", ("up", "")),
            ("a_", ("a_", "")),
            ("_a", ("_a", "")),
            ("__a", ("_", "a")),
            ("_a_b", ("_a", "b")),
            ("a__", ("a", "_")),
            ("_", ("_", "")),
            ("", ("", "")),
            ("ünder_score", ("ünder", "score")),
            ("job:rate5m_sum", ("job:rate5m", "sum")),
        ] {
            assert_eq!(split_name(name), parts, "{name}");
            let catalogue = Catalogue::default();
            let series = catalogue.series(catalogue.intern(parts.0, parts.1, &[]));
            assert_eq!(series.name(), name);
            assert!(series.is_named(name), "{name}");
            assert!(!series.is_named("a_b") && !series.is_named(&format!("{name}_")), "{name}");
            let row = catalogue.find_row(parts.0, &[("empty", "")]).unwrap();
            assert_eq!(catalogue.find_series(row, parts.1).map(SeriesId::index), Some(0));
            assert_eq!(catalogue.find_series(row, "other"), None);
            assert_eq!(catalogue.find_row("other", &[]), None);
        }
    }

    #[test]
    fn an_empty_tag_is_no_tag_and_the_first_of_two_counts() {
        let catalogue = Catalogue::default();
        let id = catalogue.intern("m", "f", &[("a", "1"), ("b", ""), ("a", "2")]);
        assert_eq!(catalogue.series(id).to_string(), r#"m_f{a="1"}"#);
    }
}
