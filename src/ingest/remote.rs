//! Prometheus' remote write into samples.

use super::PushError;
use super::gather::{Gather, Wrong};
use crate::sample::{Sample, Timestamp, split_name};
use crate::wire::remote_write::{TimeSeries, time_series};

/// What the batches of series without `instance` and `job` are put under.
const NOBODY: &str = "remote_write";

/// Reads all series; what is wrong with one costs only that one.
pub(super) fn read(message: &[u8], gather: &mut Gather<'_>) -> Result<(), PushError> {
    for series in time_series(message) {
        gather.point()?;
        let series = series.map_err(|error| PushError::Malformed(error.to_string()))?;
        let taken = take(&series, gather);
        gather.settle(taken)?;
    }
    Ok(())
}

fn take(given: &TimeSeries, gather: &mut Gather<'_>) -> Result<(), Wrong> {
    let label = |name: &str| {
        given.labels.iter().find(|label| label.name == name).map(|label| label.value.as_str())
    };
    let others = given.labels.iter().filter(|label| label.name != "__name__");
    let mut tags: Vec<_> =
        others.map(|label| (label.name.as_str(), label.value.as_str())).collect();
    let site = gather.site;
    if let Some(name) = site.name.as_deref().filter(|_| label("site").is_none()) {
        tags.push(("site", name));
    }
    let target = ["target", "instance", "job"].into_iter().find_map(label).unwrap_or(NOBODY);
    let (measurement, field) = split_name(label("__name__").unwrap_or_default());
    let row = gather.row(measurement, &tags, target)?;
    let series = gather.series(&row, field)?;
    let mut outside = Ok(());
    for sample in &given.samples {
        let nanos = sample.timestamp.saturating_mul(1_000_000);
        match gather.window.check(Timestamp::from_nanos(nanos)) {
            Ok(time) => gather.sample(&row, time, Sample { series, value: sample.value })?,
            Err(refusal) => outside = Err(refusal),
        }
    }
    Ok(outside?)
}
