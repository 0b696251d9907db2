//! Prometheus' HTTP API, in its shapes (prometheus/web/api/v1), so that Grafana, promtool and
//! whatever else speaks it can read watchpost.
//!
//! Where Prometheus has no word for something, its nearest one is used: a target's `scrapePool` is
//! its kind, and all rules are in one group. The state `unknown` is Prometheus' too.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::{Daemon, Handle, TargetView};
use crate::actions::Notice;
use crate::config::{Named, show_duration};
use crate::rules::{Alert, Labels, RuleConfig, State as AlertState};

/// What `/api/v1/status/buildinfo` says. Readers compare it with Prometheus' versions to see which
/// parameters are understood; watchpost's own follows as build metadata.
pub(super) const VERSION: &str = concat!("3.0.0+watchpost.", env!("CARGO_PKG_VERSION"));

/// How Go, and so Prometheus, writes that there is no time.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// An answer that is an error, in Prometheus' envelope.
pub(super) fn error(status: StatusCode, kind: &str, message: impl Into<String>) -> Response {
    let body = json!({ "status": "error", "errorType": kind, "error": message.into() });
    (status, Json(body)).into_response()
}

fn success(data: Value) -> Response {
    Json(json!({ "status": "success", "data": data })).into_response()
}

fn no_engine() -> Response {
    error(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the engine does not answer")
}

pub(super) async fn not_found() -> Response {
    error(StatusCode::NOT_FOUND, "not_found", "there is nothing here")
}

pub(super) async fn method_not_allowed() -> Response {
    error(StatusCode::METHOD_NOT_ALLOWED, "bad_data", "this method is not supported here")
}

/// `/api/v1/status/buildinfo`.
pub(super) async fn build_info() -> Response {
    success(json!({
        "version": VERSION,
        "revision": "",
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }))
}

/// `/api/v1/targets`; of its parameters `state` and `scrapePool`.
pub(super) async fn targets<D: Daemon>(
    State(api): Handle<D>,
    RawQuery(query): RawQuery,
) -> Response {
    let asked = Asked::new(query.as_deref());
    let active = asked.first("state").is_none_or(|state| state != "dropped");
    let views = if active { api.daemon.targets() } else { Vec::new() };
    let list: Vec<Value> = views
        .iter()
        .filter(|view| asked.allows(&["scrapePool"], view.target.kind.name()))
        .map(target)
        .collect();
    success(json!({ "activeTargets": list, "droppedTargets": [], "droppedTargetCounts": {} }))
}

fn target(view: &TargetView) -> Value {
    let target = &view.target;
    let labels: Labels = target.tags.iter().cloned().collect();
    let health = view.up.map_or("unknown", |up| if up { "up" } else { "down" });
    json!({
        "discoveredLabels": {},
        "labels": labels,
        "scrapePool": target.kind.name(),
        // What is polled may hold a password; the table's name never does.
        "scrapeUrl": target.id(),
        "globalUrl": target.id(),
        "lastError": view.error.as_ref().map(ToString::to_string).unwrap_or_default(),
        "lastScrape": view.last_poll.map_or_else(|| NEVER.to_owned(), |time| time.to_string()),
        "lastScrapeDuration": view.took.as_secs_f64(),
        "health": health,
        "scrapeInterval": show_duration(target.interval),
        "scrapeTimeout": show_duration(target.timeout),
    })
}

/// `/api/v1/alerts`.
pub(super) async fn alerts<D: Daemon>(State(api): Handle<D>) -> Response {
    match api.daemon.alerts().await {
        Some(alerts) => success(json!({ "alerts": alerts.iter().map(alert).collect::<Vec<_>>() })),
        None => no_engine(),
    }
}

/// The labels of an alert as Prometheus has them: the rule is one of them.
pub(super) fn labels(alert: &Alert) -> Labels {
    let mut labels = (*alert.labels).clone();
    labels.insert("alertname".to_owned(), alert.rule.name.to_string());
    labels.insert("severity".to_owned(), alert.rule.value.severity.as_str().to_owned());
    labels
}

/// What is said of an alert, where it is.
pub(super) fn annotations(told: &Notice) -> Map<String, Value> {
    [("summary", &told.summary), ("description", &told.description), ("reason", &told.reason)]
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(name, text)| (name.to_owned(), text.as_str().into()))
        .collect()
}

fn alert(alert: &Alert) -> Value {
    json!({
        "labels": labels(alert),
        "annotations": annotations(&alert.notice(alert.since)),
        "state": alert.state,
        "activeAt": alert.since.to_string(),
        "value": go_float(alert.value.unwrap_or(f64::NAN)),
    })
}

/// The one group rules are in: they are judged by every sample as it arrives, each by itself, so
/// that a group has no meaning and no interval.
const GROUP: &str = "rules";

/// `/api/v1/rules`; of its parameters `type`, `rule_name[]`, `rule_group[]` (also without brackets,
/// as Mimir spells them) and `exclude_alerts`.
pub(super) async fn rules<D: Daemon>(State(api): Handle<D>, RawQuery(query): RawQuery) -> Response {
    let asked = Asked::new(query.as_deref());
    let Some(alerts) = api.daemon.alerts().await else { return no_engine() };
    let with_alerts = asked.first("exclude_alerts").is_none_or(|exclude| exclude != "true");
    let mut by_rule: HashMap<&str, Vec<&Alert>> = HashMap::new();
    for alert in &alerts {
        by_rule.entry(&alert.rule.name).or_default().push(alert);
    }
    let rules = api.daemon.rules();
    let rules: Vec<Value> = rules
        .iter()
        .filter(|rule| {
            asked.allows(&["type"], "alert")
                && asked.allows(&["rule_group[]", "rule_group"], GROUP)
                && asked.allows(&["rule_name[]", "rule_name"], &rule.name)
        })
        .map(|named| {
            let own = by_rule.get(&*named.name).map_or(&[][..], Vec::as_slice);
            rule(named, own, with_alerts)
        })
        .collect();
    let group = json!({
        "name": GROUP,
        "file": "",
        "interval": 0,
        "limit": 0,
        "evaluationTime": 0,
        "lastEvaluation": NEVER,
        "rules": rules,
    });
    let groups = if rules.is_empty() { Vec::new() } else { vec![group] };
    success(json!({ "groups": groups }))
}

fn rule(named: &Named<RuleConfig>, alerts: &[&Alert], with_alerts: bool) -> Value {
    let rule = &named.value;
    let mut labels = rule.labels.clone();
    labels.insert("severity".to_owned(), rule.severity.as_str().to_owned());
    let annotations: Map<String, Value> =
        [("summary", &rule.summary), ("description", &rule.description)]
            .into_iter()
            .filter_map(|(name, text)| Some((name.to_owned(), text.as_ref()?.source().into())))
            .collect();
    let worst = alerts.iter().map(|alert| alert.state).max_by_key(|state| rank(*state));
    let shown = if with_alerts { alerts } else { &[] };
    json!({
        "type": "alerting",
        "state": worst.unwrap_or(AlertState::Inactive),
        "name": &*named.name,
        "query": rule.plan.to_string(),
        "duration": rule.hold.as_secs_f64(),
        "keepFiringFor": rule.keep_firing_for.as_secs_f64(),
        "labels": labels,
        "annotations": annotations,
        "alerts": shown.iter().map(|one| alert(one)).collect::<Vec<_>>(),
        "health": "ok",
        "evaluationTime": 0,
        "lastEvaluation": NEVER,
    })
}

/// Which state of its alerts a rule shows: the most urgent.
const fn rank(state: AlertState) -> u8 {
    match state {
        AlertState::Inactive => 0,
        AlertState::Unknown => 1,
        AlertState::Pending => 2,
        AlertState::Firing => 3,
    }
}

/// The parameters of a request.
pub(super) struct Asked(Vec<(String, String)>);

impl Asked {
    pub(super) fn new(query: Option<&str>) -> Self {
        let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        Self(pairs.into_owned().collect())
    }

    pub(super) fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// As [`Asked::first`], but not if it is empty.
    pub(super) fn some(&self, name: &str) -> Option<&str> {
        self.first(name).filter(|value| !value.is_empty())
    }

    /// Whether a value is among those asked for by any of these names, or nothing was asked.
    fn allows(&self, names: &[&str], value: &str) -> bool {
        let mut wanted =
            self.0.iter().filter(|(key, asked)| names.contains(&&**key) && !asked.is_empty());
        let mut any = false;
        wanted.any(|(_, asked)| {
            any = true;
            asked == value
        }) || !any
    }
}

/// A number as Go's `FormatFloat(value, 'e', -1, 64)` writes it, which alert values are: `1e+00`.
fn go_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').expect("that is the format");
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
    format!("{digits}e{sign}{exponent:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        for (value, text) in [
            (1.0, "1e+00"),
            (31.4, "3.14e+01"),
            (-0.00001, "-1e-05"),
            (1e123, "1e+123"),
            (0.0, "0e+00"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(go_float(value), text);
        }
    }

    #[test]
    fn a_parameter_that_is_not_given_allows_everything() {
        let asked = Asked::new(Some("rule_name[]=a&rule_name=b+c&file[]="));
        let names = ["rule_name[]", "rule_name"];
        assert!(asked.allows(&names, "a") && asked.allows(&names, "b c"));
        assert!(!asked.allows(&names, "d"));
        assert!(asked.allows(&["file[]"], "x") && asked.allows(&["type"], "alert"));
    }
}
