//! What `/metrics` shows of the engine's size: looked at now and then, not with every batch.

use crate::metrics::{Gauge, Metrics};
use crate::rules::{Engine, Usage};

/// The numbers; one that nobody keeps is not shown.
#[derive(Debug)]
pub(super) struct Sizes {
    known: Gauge,
    of_rules: Vec<Gauge>,
}

impl Sizes {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let help = "Series known since the start, those of removed targets included.";
        let known = metrics.gauge("watchpost_series_known", help, &[]);
        Self { known, of_rules: Vec::new() }
    }

    /// Shows how many series there are, and what each rule takes that is more than a comparison
    /// with a number.
    pub(super) fn show(&mut self, engine: &Engine, metrics: &Metrics) {
        self.known.set(engine.series_known() as f64);
        let of_rules = engine.usage().into_iter().flat_map(|usage| {
            let Usage { rule, series, bytes, stopped } = usage;
            let gauge = |name, help, value| {
                let gauge = metrics.gauge(name, help, &[("rule", &rule)]);
                gauge.set(value);
                gauge
            };
            [
                gauge("watchpost_rule_series", "Series a rule keeps something of.", series as f64),
                gauge("watchpost_rule_memory_bytes", "Memory a rule takes.", bytes as f64),
                gauge(
                    "watchpost_rule_stopped",
                    "Whether a rule was stopped, for its series or its memory.",
                    f64::from(u8::from(stopped)),
                ),
            ]
        });
        // Those of rules that are gone go with the list before.
        self.of_rules = of_rules.collect();
    }
}
