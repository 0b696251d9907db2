//! From the last grid to the answer: names are dropped, and what then is one series becomes one.

use rustc_hash::FxHashMap;

use super::grid::{Grid, Key, Steps};
use super::select::Windows;
use super::{AnswerValue, EvalError};
use crate::promql::functions::Point;
use crate::promql::labels::Labels;
use crate::sample::{Timestamp, is_stale};

/// The answer of an instant query, in the order of the rows.
pub(super) fn vector(grid: Grid, time: Timestamp) -> Result<AnswerValue, EvalError> {
    let grid = merged(without_names(grid), Steps { start: time, step: 1, count: 1 })?;
    let samples =
        grid.at(0).map(|(row, value)| (grid.keys[row].labels.clone(), Point { time, value }));
    Ok(AnswerValue::Vector(samples.collect()))
}

/// The answer of a range query, in the order of labels.
pub(super) fn matrix(grid: Grid, steps: Steps) -> Result<AnswerValue, EvalError> {
    let grid = merged(without_names(grid), steps)?;
    let series = grid.iter().map(|(key, values)| {
        let points = steps.times().zip(values).filter(|(_, value)| !is_stale(**value));
        let points = points.map(|(time, value)| Point { time, value: *value });
        (key.labels.clone(), points.collect())
    });
    let mut series: Vec<(Labels, Vec<Point>)> =
        series.filter(|(_, points): &(_, Vec<Point>)| !points.is_empty()).collect();
    series.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(AnswerValue::Matrix(series))
}

/// The answer of an instant query for a range vector: the samples as they are.
pub(super) fn ranges(windows: Windows) -> AnswerValue {
    let bounds = windows.bounds(0);
    let series = windows.keys.iter().enumerate().map(|(row, key)| {
        let within = |point: &&Point| point.time > bounds.0 && point.time <= bounds.1;
        let points = windows.points(row).iter().filter(within).copied().collect();
        (shown_labels(key), points)
    });
    let mut series: Vec<(Labels, Vec<Point>)> =
        series.filter(|(_, points): &(_, Vec<Point>)| !points.is_empty()).collect();
    series.sort_by(|(a, _), (b, _)| a.cmp(b));
    AnswerValue::Matrix(series)
}

fn without_names(mut grid: Grid) -> Grid {
    for key in &mut grid.keys {
        *key = Key { labels: shown_labels(key), drops_name: false };
    }
    grid
}

fn shown_labels(key: &Key) -> Labels {
    if key.drops_name { key.labels.without_metadata() } else { key.labels.clone() }
}

/// Rows of the same labels become one, which they must not do at any one step.
pub(super) fn merged(grid: Grid, steps: Steps) -> Result<Grid, EvalError> {
    let mut places: FxHashMap<(&Labels, bool), usize> = FxHashMap::default();
    let rows: Vec<usize> = grid
        .keys
        .iter()
        .map(|key| {
            let next = places.len();
            *places.entry((&key.labels, key.drops_name)).or_insert(next)
        })
        .collect();
    if places.len() == grid.rows() {
        return Ok(grid);
    }
    let mut one = Grid::with_capacity(places.len(), steps.count);
    for (row, to) in rows.into_iter().enumerate() {
        if to == one.rows() {
            one.push_empty(grid.keys[row].clone());
        }
        for step in 0..steps.count {
            let Some(value) = grid.get(row, step) else { continue };
            if one.get(to, step).is_some() {
                let message = "vector cannot contain metrics with the same labelset";
                return Err(EvalError::Failed(message.to_owned()));
            }
            one.set(to, step, value);
        }
    }
    Ok(one)
}
