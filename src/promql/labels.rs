//! The labels of a series or of a result: sorted, no name twice, no value empty. Cheap to clone.
//!
//! The metric's name is the label `__name__` among them, as in Prometheus.

use std::fmt;
use std::sync::Arc;

use crate::sample::Series;

/// The label that holds the metric's name.
pub const NAME: &str = "__name__";

/// The labels that say what a metric is, not where it comes from: operations that make another
/// quantity of it drop them.
pub const METADATA: [&str; 3] = [NAME, "__type__", "__unit__"];

/// A set of labels. An absent label and an empty one are the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Arc<[Label]>);

/// A label's name and value.
pub type Label = (Arc<str>, Arc<str>);

impl Default for Labels {
    fn default() -> Self {
        Self(Arc::from([]))
    }
}

impl Labels {
    /// From pairs in any order. Empty values are left out; of two with one name the last counts.
    pub fn new<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<Arc<str>>,
        V: Into<Arc<str>>,
    {
        let mut all: Vec<Label> = pairs.into_iter().map(|(n, v)| (n.into(), v.into())).collect();
        all.reverse();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all.dedup_by(|later, kept| later.0 == kept.0);
        all.retain(|(_, value)| !value.is_empty());
        Self(all.into())
    }

    /// The labels of a stored series: its tags and its name.
    #[must_use]
    pub fn of_series(series: &Series) -> Self {
        let tags = &series.row.tags;
        let at = tags.partition_point(|(name, _)| **name < *NAME);
        let name = (Arc::from(NAME), Arc::from(series.name()));
        let all = tags[..at].iter().cloned().chain([name]).chain(tags[at..].iter().cloned());
        Self(all.collect())
    }

    /// A label's value; `None` where it is absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value)
    }

    /// The metric's name.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.get(NAME)
    }

    /// The labels in the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those whose name is wanted.
    #[must_use]
    pub fn filtered(&self, wanted: impl Fn(&str) -> bool) -> Self {
        if self.0.iter().all(|(name, _)| wanted(name)) {
            return self.clone();
        }
        Self(self.0.iter().filter(|(name, _)| wanted(name)).cloned().collect())
    }

    /// Without the metric's name and what else is [about the metric](METADATA).
    #[must_use]
    pub fn without_metadata(&self) -> Self {
        self.filtered(|name| !METADATA.contains(&name))
    }

    /// With a label set; an empty value removes it.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let others = self.0.iter().filter(|(known, _)| **known != *name).cloned();
        Self::new(others.chain([(Arc::from(name), Arc::from(value))]))
    }
}

/// As PromQL writes a series: `up{job="a"}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().unwrap_or_default())?;
        let mut before = if self.name().is_some() && self.len() == 1 { return Ok(()) } else { "{" };
        for (name, value) in self.iter().filter(|(name, _)| *name != NAME) {
            write!(f, "{before}{name}={value:?}")?;
            before = ", ";
        }
        f.write_str(if before == "{" { "{}" } else { "}" })
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Catalogue;

    #[test]
    fn labels_are_sorted_and_empty_ones_are_none() {
        let labels = Labels::new([("b", "2"), ("a", "0"), ("c", ""), ("a", "1")]);
        assert_eq!(labels.to_string(), r#"{a="1", b="2"}"#);
        assert_eq!(labels.get("c"), None);
        assert_eq!(labels.with("b", "").to_string(), r#"{a="1"}"#);
        assert_eq!(labels.with(NAME, "up").to_string(), r#"up{a="1", b="2"}"#);
        assert_eq!(Labels::default().to_string(), "{}");
        assert_eq!(Labels::new([(NAME, "up")]).to_string(), "up");
    }

    #[test]
    fn a_stored_series_has_its_name_among_its_labels() {
        let catalogue = Catalogue::default();
        let id = catalogue.intern("icmp", "ttl", &[("target", "gw"), ("A", "x")]);
        let labels = Labels::of_series(&catalogue.series(id));
        assert_eq!(labels, Labels::new([("A", "x"), (NAME, "icmp_ttl"), ("target", "gw")]));
    }
}
