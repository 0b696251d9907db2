//! The values of an answer, whatever its type.

use serde_json::Value as Json;

/// Series with values over time; a scalar is one without labels.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Values(pub(super) Vec<Series>);

/// One series.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    /// Its labels, the name as `__name__` among them, in order.
    pub(super) labels: Vec<(String, String)>,
    /// Seconds since the epoch, and values as they are written.
    pub(super) points: Vec<(f64, String)>,
}

impl Values {
    /// Of what stands under `data`.
    pub(super) fn of(data: &Json) -> Self {
        let result = &data["result"];
        let series = |one: &Json| Series {
            labels: labels(&one["metric"]),
            points: match &one["values"] {
                Json::Array(points) => points.iter().map(point).collect(),
                _ => vec![point(&one["value"])],
            },
        };
        match data["resultType"].as_str() {
            Some("scalar" | "string") => {
                Self(vec![Series { labels: Vec::new(), points: vec![point(result)] }])
            }
            _ => Self(result.as_array().into_iter().flatten().map(series).collect()),
        }
    }
}

fn labels(metric: &Json) -> Vec<(String, String)> {
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let labels = metric.as_object().into_iter().flatten();
    labels.map(|(name, value)| (name.clone(), text(value))).collect()
}

fn point(pair: &Json) -> (f64, String) {
    (pair[0].as_f64().unwrap_or_default(), pair[1].as_str().unwrap_or_default().to_owned())
}

impl Series {
    /// As PromQL writes it: `icmp_rtt_seconds{target="gateway"}`.
    pub(super) fn name(&self) -> String {
        let name = self.label("__name__");
        let others = self.labels.iter().filter(|(name, _)| name != "__name__");
        let others: Vec<_> = others.map(|(name, value)| format!("{name}={value:?}")).collect();
        if others.is_empty() && !name.is_empty() {
            return name.to_owned();
        }
        format!("{name}{{{}}}", others.join(", "))
    }

    /// A label's value, empty where it is absent.
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}
