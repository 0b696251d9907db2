//! Alerts as series, as Prometheus has them: `ALERTS{alertname,alertstate,severity,…}` is 1 while an
//! alert is in a state, `ALERTS_FOR_STATE{alertname,severity,…}` is since when it has held.
//!
//! Each transition writes the new state and the stale mark of the one before;
//! [`AlertSeries::refresh`] says again what is, within the lookback. They are samples like others:
//! InfluxDB sees the measurement `ALERTS` with the fields `value` and `FOR_STATE`.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{Alert, Severity, State, Transition, fingerprint};
use crate::sample::{Batch, Catalogue, STALE, Sample, Series, SeriesId, Timestamp};

/// The measurement, and the name of the series.
pub(super) const ALERTS: &str = "ALERTS";

/// The field of the other one, [since when](AlertSeries) alerts have held.
const SINCE: &str = "FOR_STATE";

/// Whether this is the name of series of alerts.
pub(super) fn is_of_alerts(name: &str) -> bool {
    name.strip_prefix(ALERTS)
        .is_some_and(|rest| rest.is_empty() || rest.strip_prefix('_') == Some(SINCE))
}

impl Series {
    /// Whether it says what an alert was at.
    #[must_use]
    pub fn is_of_alerts(&self) -> bool {
        *self.row.measurement == *ALERTS && is_of_alerts(&self.name())
    }
}

/// What these samples are of, as batches go: no target has such a name.
const TARGET: &str = "watchpost";

/// Series made at most: those of a site with tens of thousands of alerts. Alerts beyond have none,
/// for a catalogue forgets nothing.
const SERIES_MAX: usize = 100_000;

/// Turns what happens to alerts into samples.
#[derive(Debug)]
pub struct AlertSeries {
    catalogue: Arc<Catalogue>,
    target: Arc<str>,
    /// By the alert: what is written of it now.
    live: FxHashMap<u64, Live>,
    /// All that were ever made.
    made: FxHashMap<(u64, State, Severity), Live>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Live {
    state: SeriesId,
    since: SeriesId,
}

impl AlertSeries {
    /// No alert has a series yet.
    #[must_use]
    pub fn new(catalogue: Arc<Catalogue>) -> Self {
        let target = TARGET.into();
        Self { catalogue, target, live: FxHashMap::default(), made: FxHashMap::default() }
    }

    /// What transitions write, a batch for each.
    pub fn follow(&mut self, transitions: &[Transition]) -> Vec<Batch> {
        let batches = transitions.iter().filter_map(|one| {
            let mut samples = Vec::new();
            self.write(&one.alert, &mut samples);
            (!samples.is_empty()).then(|| self.batch(one.at, samples))
        });
        batches.collect()
    }

    /// What alerts that stand write again.
    pub fn refresh(&mut self, alerts: &[Alert], now: Timestamp) -> Option<Batch> {
        let mut samples = Vec::new();
        alerts.iter().for_each(|alert| self.write(alert, &mut samples));
        (!samples.is_empty()).then(|| self.batch(now, samples))
    }

    fn write(&mut self, alert: &Alert, samples: &mut Vec<Sample>) {
        let name = fingerprint(&alert.rule.name, &alert.labels);
        let now = if alert.state == State::Inactive { None } else { self.series(name, alert) };
        let before = match now {
            Some(now) => self.live.insert(name, now),
            None => self.live.remove(&name),
        };
        if let Some(before) = before {
            let ended = [
                Some(before.state).filter(|id| now.is_none_or(|now| now.state != *id)),
                Some(before.since).filter(|id| now.is_none_or(|now| now.since != *id)),
            ];
            let ended = ended.into_iter().flatten();
            samples.extend(ended.map(|series| Sample { series, value: STALE }));
        }
        if let Some(Live { state, since }) = now {
            samples.push(Sample { series: state, value: 1.0 });
            samples.push(Sample { series: since, value: alert.since.as_secs_f64() });
        }
    }

    fn series(&mut self, name: u64, alert: &Alert) -> Option<Live> {
        let key = (name, alert.state, alert.severity);
        if let Some(known) = self.made.get(&key) {
            return Some(*known);
        }
        if self.made.len() >= SERIES_MAX {
            return None;
        }
        // Ours first: of two tags with one name the first counts.
        let mut tags: Vec<(&str, &str)> =
            vec![("alertname", &alert.rule.name), ("severity", alert.severity.as_str())];
        let labels = alert.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        tags.extend(labels.filter(|(name, _)| *name != "alertstate"));
        let since = self.catalogue.intern(ALERTS, SINCE, &tags);
        tags.push(("alertstate", alert.state.as_str()));
        let state = self.catalogue.intern(ALERTS, "", &tags);
        let live = Live { state, since };
        self.made.insert(key, live);
        Some(live)
    }

    fn batch(&self, time: Timestamp, samples: Vec<Sample>) -> Batch {
        Batch { target: self.target.clone(), time, samples }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Loader;
    use crate::rules::Engine;
    use crate::sample::is_stale;

    #[test]
    fn a_transition_writes_its_state_and_ends_the_one_before() {
        let rules = "[rule.r]\nmetric = 'a_b'\nabove = 1\nfor = '10s'\nlabels = { team = 'net' }\n";
        let config = Loader { env: &|_| None }.load_text(Path::new("t.toml"), rules).unwrap();
        let catalogue = Arc::new(Catalogue::default());
        let mut engine = Engine::new(catalogue.clone(), config.rules);
        let mut series = AlertSeries::new(catalogue.clone());
        let sample = Sample { series: catalogue.intern("a", "b", &[("target", "t")]), value: 2.0 };
        let mut written = |second, value| {
            let samples = vec![Sample { value, ..sample }];
            let time = Timestamp::from_secs(second);
            let mut out = Vec::new();
            engine.apply(&Batch { target: "t".into(), time, samples }, &mut out);
            let show = |sample: &Sample| {
                let value =
                    if is_stale(sample.value) { "stale".into() } else { sample.value.to_string() };
                format!("{} {value}", catalogue.series(sample.series))
            };
            let batches = series.follow(&out);
            let refreshed = series.refresh(&engine.alerts(), time);
            let again = refreshed.map_or(0, |batch| batch.samples.len());
            (batches.iter().flat_map(|batch| &batch.samples).map(show).collect::<Vec<_>>(), again)
        };
        let of = |state: &str| {
            format!(
                "ALERTS{{alertname=\"r\",alertstate=\"{state}\",severity=\"warning\",target=\"t\",\
                 team=\"net\"}}"
            )
        };
        let since =
            "ALERTS_FOR_STATE{alertname=\"r\",severity=\"warning\",target=\"t\",team=\"net\"}";
        assert_eq!(written(5, 2.0), (vec![of("pending") + " 1", format!("{since} 5")], 2));
        assert_eq!(
            written(15, 2.0).0,
            [of("pending") + " stale", of("firing") + " 1", format!("{since} 5")]
        );
        assert_eq!(written(20, 0.0), (vec![of("firing") + " stale", format!("{since} stale")], 0));
        assert_eq!(written(25, 0.0), (vec![], 0));
    }
}
