//! What can be asked about the past: samples, and which series there are.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::ops::ControlFlow;

use crate::promql::functions::Point;
use crate::promql::memory::MemorySource;
use crate::promql::source::Source;
use crate::promql::{Labels, Selector};
use crate::sample::Timestamp;

/// A source that also knows by heart which series it has.
pub trait History: Source + Debug + Send + Sync + 'static {
    /// Shows every series a selector means, each once, until it is told to stop: those that may
    /// have samples between two times, both included, or all that are known.
    fn series(
        &self,
        selector: &Selector,
        between: Option<(Timestamp, Timestamp)>,
        look: &mut dyn FnMut(Labels) -> ControlFlow<()>,
    );

    /// The names of all labels, `__name__` among them where there is a series.
    fn label_names(&self) -> BTreeSet<String>;

    /// All values of a label.
    fn label_values(&self, label: &str) -> BTreeSet<String>;
}

impl History for MemorySource {
    fn series(
        &self,
        selector: &Selector,
        between: Option<(Timestamp, Timestamp)>,
        look: &mut dyn FnMut(Labels) -> ControlFlow<()>,
    ) {
        let is_within = |points: &[Point]| {
            between.is_none_or(|(start, end)| {
                points.iter().any(|point| (start..=end).contains(&point.time))
            })
        };
        for (labels, points) in self.iter() {
            if !selector.matches_labels(labels) || !is_within(points) {
                continue;
            }
            if look(labels.clone()).is_break() {
                return;
            }
        }
    }

    fn label_names(&self) -> BTreeSet<String> {
        let names = self.iter().flat_map(|(labels, _)| labels.iter());
        names.map(|(name, _)| name.to_owned()).collect()
    }

    fn label_values(&self, label: &str) -> BTreeSet<String> {
        self.iter().filter_map(|(labels, _)| labels.get(label)).map(str::to_owned).collect()
    }
}
