//! What a query's author should know about its answer, in Prometheus' words.

use std::collections::{BTreeMap, BTreeSet};

use super::expr::Span;
use super::functions::histogram::Repair;
use crate::sample::Timestamp;

/// Warnings and infos of one evaluation, each once.
#[derive(Debug, Clone, Default)]
pub struct Annotations {
    warnings: BTreeSet<(String, Place)>,
    infos: BTreeSet<(String, Place)>,
    repairs: BTreeMap<(String, Place), Repairs>,
}

/// A span, ordered.
type Place = (usize, usize);

#[derive(Debug, Clone, Copy)]
struct Repairs {
    from: f64,
    to: f64,
    difference: f64,
    samples: usize,
    first: Timestamp,
    last: Timestamp,
}

impl Annotations {
    /// The answer may not be what was meant.
    pub(super) fn warn(&mut self, message: String, span: Span) {
        self.warnings.insert((message, (span.start, span.end)));
    }

    /// The question may not be what was meant.
    pub(super) fn info(&mut self, message: String, span: Span) {
        self.infos.insert((message, (span.start, span.end)));
    }

    /// φ is not in 0..=1.
    pub(super) fn check_quantile(&mut self, phi: f64, span: Span) {
        if !(0.0..=1.0).contains(&phi) {
            let phi = go_float(phi);
            self.warn(format!("quantile value should be between 0 and 1, got {phi}"), span);
        }
    }

    /// The buckets of a histogram were no sums of each other.
    pub(super) fn repaired(&mut self, name: &str, repair: Repair, at: Timestamp, span: Span) {
        let known =
            self.repairs.entry((name.to_owned(), (span.start, span.end))).or_insert(Repairs {
                from: repair.from,
                to: repair.to,
                difference: 0.0,
                samples: 0,
                first: at,
                last: at,
            });
        known.from = known.from.min(repair.from);
        known.to = known.to.max(repair.to);
        known.difference = known.difference.max(repair.difference);
        known.samples += 1;
        known.first = known.first.min(at);
        known.last = known.last.max(at);
    }

    /// The warnings as Prometheus' API shows them, with places in the query's text.
    #[must_use]
    pub fn warnings(&self, text: &str) -> Vec<String> {
        shown("PromQL warning", self.warnings.iter(), text)
    }

    /// The infos, likewise.
    #[must_use]
    pub fn infos(&self, text: &str) -> Vec<String> {
        let repairs = self.repairs.iter().map(|((name, place), repairs)| {
            let Repairs { from, to, difference, samples, first, last } = repairs;
            let message = format!(
                "input to histogram_quantile needed to be fixed for monotonicity (see \
                 https://prometheus.io/docs/prometheus/latest/querying/functions/\
                 #histogram_quantile) for metric name {name:?}, from buckets {from} to {to}, \
                 with a max diff of {difference:.2}, over {samples} samples from {first} to {last}"
            );
            (message, *place)
        });
        let all: BTreeSet<_> = self.infos.iter().cloned().chain(repairs).collect();
        shown("PromQL info", all.iter(), text)
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.warnings.is_empty() && self.infos.is_empty() && self.repairs.is_empty()
    }
}

fn shown<'a>(
    kind: &str,
    all: impl Iterator<Item = &'a (String, Place)>,
    text: &str,
) -> Vec<String> {
    all.map(|(message, (start, end))| {
        let (line, column) = Span { start: *start, end: *end }.line_and_column(text);
        format!("{kind}: {message} ({line}:{column})")
    })
    .collect()
}

/// A number as Go writes it.
pub(super) fn go_float(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        value.to_string()
    }
}
