//! watchpost's own counters and gauges, and their text form for `/metrics`.
//!
//! Whoever counts asks for its counter once and keeps it; a counter nobody keeps any more, like
//! that of a removed target, leaves the page with its keeper.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A number that only grows, and survives as long as somebody keeps it.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The count.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// Its value.
    #[must_use]
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// All counters and gauges there are.
#[derive(Debug, Default)]
pub struct Metrics {
    families: Mutex<BTreeMap<&'static str, Family>>,
}

#[derive(Debug)]
struct Family {
    help: &'static str,
    kind: &'static str,
    /// By label text, `{name="x"}` or empty.
    members: BTreeMap<String, Member>,
}

#[derive(Debug, Default)]
struct Member {
    labels: Vec<(String, String)>,
    /// The number's bits.
    number: Arc<AtomicU64>,
}

impl Metrics {
    /// The counter of this name and these labels; made when first asked for. The name ends in
    /// `_total`.
    pub fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
    ) -> Counter {
        Counter(self.member(name, help, "counter", labels))
    }

    /// The gauge of this name and these labels; made when first asked for.
    pub fn gauge(&self, name: &'static str, help: &'static str, labels: &[(&str, &str)]) -> Gauge {
        Gauge(self.member(name, help, "gauge", labels))
    }

    fn member(
        &self,
        name: &'static str,
        help: &'static str,
        kind: &'static str,
        labels: &[(&str, &str)],
    ) -> Arc<AtomicU64> {
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let family =
            families.entry(name).or_insert_with(|| Family { help, kind, members: BTreeMap::new() });
        let member = family.members.entry(label_text(labels)).or_insert_with(|| {
            let labels = labels.iter().map(|(name, value)| ((*name).into(), (*value).into()));
            Member { labels: labels.collect(), number: Arc::default() }
        });
        member.number.clone()
    }

    /// Shows each number that somebody keeps, with its name and labels.
    pub fn each(&self, mut look: impl FnMut(&'static str, &[(&str, &str)], f64)) {
        let families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, family) in families.iter() {
            let kept = family.members.values().filter(|member| member.is_kept());
            for member in kept {
                let labels: Vec<_> =
                    member.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                let bits = member.number.load(Ordering::Relaxed);
                let value = match family.kind {
                    "counter" => bits as f64,
                    _ => f64::from_bits(bits),
                };
                look(name, &labels, value);
            }
        }
    }

    /// The page, in Prometheus' text format 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let mut page = String::new();
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, family) in families.iter_mut() {
            family.members.retain(|_, member| member.is_kept());
            if family.members.is_empty() {
                continue;
            }
            page += &format!("# HELP {name} {}\n# TYPE {name} {}\n", family.help, family.kind);
            for (labels, member) in &family.members {
                let bits = member.number.load(Ordering::Relaxed);
                page += &match family.kind {
                    "counter" => format!("{name}{labels} {bits}\n"),
                    _ => format!("{name}{labels} {}\n", f64::from_bits(bits)),
                };
            }
        }
        page
    }
}

impl Member {
    fn is_kept(&self) -> bool {
        Arc::strong_count(&self.number) > 1
    }
}

fn label_text(labels: &[(&str, &str)]) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let one = |(name, value): &(&str, &str)| {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        format!("{name}=\"{value}\"")
    };
    format!("{{{}}}", labels.iter().map(one).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_what_somebody_keeps() {
        let metrics = Metrics::default();
        let polls = metrics.counter("watchpost_polls_total", "Polls.", &[("kind", "a\"\nb")]);
        polls.add(3);
        let lag = metrics.gauge("watchpost_lag_seconds", "Lag.", &[]);
        lag.set(0.5);
        drop(metrics.counter("watchpost_gone_total", "Gone.", &[]));
        assert_eq!(
            metrics.render(),
            "# HELP watchpost_lag_seconds Lag.\n# TYPE watchpost_lag_seconds gauge\n\
             watchpost_lag_seconds 0.5\n\
             # HELP watchpost_polls_total Polls.\n# TYPE watchpost_polls_total counter\n\
             watchpost_polls_total{kind=\"a\\\"\\nb\"} 3\n"
        );
        let mut seen = Vec::new();
        metrics.each(|name, labels, value| seen.push(format!("{name} {labels:?} {value}")));
        assert_eq!(
            seen,
            ["watchpost_lag_seconds [] 0.5", "watchpost_polls_total [(\"kind\", \"a\\\"\\nb\")] 3"]
        );
    }
}
