//! Series held in memory as they are, for rule tests and small work: nothing is indexed.

use std::collections::BTreeMap;

use super::eval::EvalError;
use super::functions::Point;
use super::labels::Labels;
use super::selector::Selector;
use super::source::{SeriesSet, Source, Window};

/// Series and their samples.
#[derive(Debug, Default, Clone)]
pub struct MemorySource {
    series: BTreeMap<Labels, Vec<Point>>,
}

impl MemorySource {
    /// Adds a sample; of two at one time the later one counts.
    pub fn insert(&mut self, labels: &Labels, point: Point) {
        let points = match self.series.get_mut(labels) {
            Some(points) => points,
            None => self.series.entry(labels.clone()).or_default(),
        };
        let at = points.partition_point(|known| known.time < point.time);
        match points.get_mut(at) {
            Some(known) if known.time == point.time => *known = point,
            _ => points.insert(at, point),
        }
    }

    /// The series and their samples.
    pub fn iter(&self) -> impl Iterator<Item = (&Labels, &[Point])> {
        self.series.iter().map(|(labels, points)| (labels, &**points))
    }
}

impl Source for MemorySource {
    fn select(
        &self,
        selector: &Selector,
        window: Window,
        found: &mut SeriesSet,
    ) -> Result<(), EvalError> {
        for (labels, points) in &self.series {
            if selector.matches_labels(labels) {
                let from = points.partition_point(|point| point.time <= window.after);
                let to = points.partition_point(|point| point.time <= window.until);
                found.begin(labels.clone());
                found.extend(points[from..to.max(from)].iter().copied())?;
            }
        }
        Ok(())
    }
}
