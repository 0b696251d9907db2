//! Prometheus' HTTP API, in its shapes (prometheus/web/api/v1), so that Grafana, promtool and
//! whatever else speaks it can read watchpost.
//!
//! Where Prometheus has no word for something, its nearest one is used: a target's `scrapePool` is
//! its kind. [`rules`](super::rules) has the rules and alerts.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Daemon, Handle, TargetView};
use crate::config::show_duration;
use crate::rules::Labels;

/// What `/api/v1/status/buildinfo` says. Readers compare it with Prometheus' versions to see which
/// parameters are understood; watchpost's own follows as build metadata.
const VERSION: &str = concat!("3.0.0+watchpost.", env!("CARGO_PKG_VERSION"));

/// How Go, and so Prometheus, writes that there is no time.
pub(super) const NEVER: &str = "0001-01-01T00:00:00Z";

/// An answer that is an error, in Prometheus' envelope.
pub(super) fn error(status: StatusCode, kind: &str, message: impl Into<String>) -> Response {
    let body = json!({ "status": "error", "errorType": kind, "error": message.into() });
    (status, Json(body)).into_response()
}

pub(super) fn success(data: Value) -> Response {
    Json(json!({ "status": "success", "data": data })).into_response()
}

pub(super) fn no_engine() -> Response {
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
    success(version())
}

/// What was built, in the words Prometheus and Alertmanager share.
pub(super) fn version() -> Value {
    json!({
        "version": VERSION,
        "revision": "",
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    })
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
    let labels: Labels =
        target.tags.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
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

/// The parameters of a request.
#[derive(Debug)]
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
    pub(super) fn allows(&self, names: &[&str], value: &str) -> bool {
        let mut wanted =
            self.0.iter().filter(|(key, asked)| names.contains(&&**key) && !asked.is_empty());
        let mut any = false;
        wanted.any(|(_, asked)| {
            any = true;
            asked == value
        }) || !any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_that_is_not_given_allows_everything() {
        let asked = Asked::new(Some("rule_name[]=a&rule_name=b+c&file[]="));
        let names = ["rule_name[]", "rule_name"];
        assert!(asked.allows(&names, "a") && asked.allows(&names, "b c"));
        assert!(!asked.allows(&names, "d"));
        assert!(asked.allows(&["file[]"], "x") && asked.allows(&["type"], "alert"));
    }
}
