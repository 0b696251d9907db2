//! A network of one stream, fed by series in words.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::promql::{Expr, Labels, parse};
use crate::rules::stream::network::Network;
use crate::rules::stream::{Finding, Presence, Stream};
use crate::sample::{Batch, Catalogue, STALE, Sample, SeriesId, Timestamp};

/// A stream of one expression.
pub(super) struct Rig {
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) network: Network,
    id: u32,
    /// What was touched, each time something was.
    pub(super) judged: Vec<String>,
}

impl Rig {
    pub(super) fn new(expr: &str) -> Self {
        Self::with_most_series(expr, usize::MAX)
    }

    pub(super) fn with_most_series(expr: &str, most: usize) -> Self {
        Self::of(parse(expr).unwrap_or_else(|error| panic!("{expr}: {error}")), most)
    }

    pub(super) fn of(expr: Expr, most: usize) -> Self {
        let catalogue = Arc::new(Catalogue::default());
        let mut network = Network::new(catalogue.clone());
        let id = network.insert(vec![expr], most);
        network.relink();
        Self { catalogue, network, id, judged: Vec::new() }
    }

    pub(super) fn series(&self, text: &str) -> SeriesId {
        let (name, labels) = text.trim_end_matches('}').split_once('{').unwrap_or((text, ""));
        let labels = labels.split(',').filter_map(|label| label.split_once('='));
        let labels: Vec<(&str, &str)> = labels.collect();
        self.catalogue.intern(name, "", &labels)
    }

    pub(super) fn push(&mut self, second: i64, samples: &[(&str, f64)]) {
        let samples = samples
            .iter()
            .map(|(series, value)| Sample { series: self.series(series), value: *value })
            .collect();
        self.apply(Timestamp::from_secs(second), samples);
    }

    pub(super) fn stale(&mut self, second: i64, series: &str) {
        self.push(second, &[(series, STALE)]);
    }

    pub(super) fn apply(&mut self, time: Timestamp, samples: Vec<Sample>) {
        let batch = Batch { target: "rig".into(), time, samples };
        let judged = &mut self.judged;
        self.network.apply(&batch, &mut |_, stream: &mut Stream, _| note(stream, judged));
    }

    pub(super) fn tick(&mut self, second: i64) {
        self.tick_at(Timestamp::from_secs(second));
    }

    pub(super) fn tick_at(&mut self, at: Timestamp) {
        let judged = &mut self.judged;
        self.network.tick(at, &mut |_, stream: &mut Stream, _| note(stream, judged));
    }

    pub(super) fn jump(&mut self, at: Timestamp) {
        let judged = &mut self.judged;
        self.network.jump(at, &mut |_, stream: &mut Stream, _| note(stream, judged));
    }

    /// What drifts is brought up to now.
    pub(super) fn refresh(&mut self) {
        let judged = &mut self.judged;
        self.network.refresh(&mut |_, stream: &mut Stream, _| note(stream, judged));
    }

    pub(super) fn stream(&self) -> &Stream {
        self.network.get(self.id).expect("it was put in")
    }

    /// What the expression yields.
    pub(super) fn elements(&self) -> BTreeMap<Labels, f64> {
        let stream = self.stream();
        let findings = stream.outputs().map(|output| (output, stream.finding(output, 0)));
        let present = findings.filter(|(_, finding)| finding.presence == Presence::Present);
        present
            .map(|(output, finding)| {
                (stream.labels(output).clone(), finding.value.unwrap_or(f64::NAN))
            })
            .collect()
    }

    /// All outputs in order.
    pub(super) fn shown(&self) -> String {
        let stream = self.stream();
        let mut all: Vec<String> = stream.outputs().map(|output| one(stream, output)).collect();
        all.sort();
        all.join(" | ")
    }
}

fn note(stream: &mut Stream, judged: &mut Vec<String>) {
    while let Some(output) = stream.touched() {
        if judged.len() < 100 {
            judged.push(one(stream, output));
        }
    }
}

fn one(stream: &Stream, output: u32) -> String {
    let labels = stream.labels(output).to_string().replace('"', "").replace(", ", ",");
    let Finding { presence, value } = stream.finding(output, 0);
    let value = value.map(|value| value.to_string()).unwrap_or_default();
    match presence {
        Presence::Present => format!("{labels} {value}"),
        Presence::Filtered => format!("{labels} ({value})"),
        Presence::Missing => format!("{labels} missing"),
    }
}
