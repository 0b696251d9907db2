//! Alertmanager's HTTP API, version 2, as far as there is something behind it: status, alerts,
//! their groups and receivers, so that `amtool` and Grafana can list what fires.
//!
//! What fires is an active alert, whose receivers are the actions of its rule; an alert that is
//! pending, or unknown, is none to Alertmanager. There are no silences yet: lists of them are
//! empty, and making one is refused by 501.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::prometheus::{Asked, version};
use super::rules::{annotations, labels};
use super::{Daemon, Handle};
use crate::promql::{Expr, Selector, parse};
use crate::rules::{Alert, Labels, State as AlertState};
use crate::sample::Timestamp;

/// For how long an alert that goes on is said to go on: as long as Alertmanager assumes where
/// nobody tells it (`resolve_timeout`).
const GOES_ON: Duration = Duration::from_secs(300);

/// What alerts nobody is told of are said to go to: Alertmanager knows no alert without receiver.
const NOBODY: &str = "none";

/// An error as Alertmanager has it: a text.
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

/// `/api/v2/status`.
pub(super) async fn status<D: Daemon>(State(api): Handle<D>) -> Response {
    Json(json!({
        "cluster": { "status": "disabled", "peers": [] },
        "versionInfo": version(),
        "config": { "original": "" },
        "uptime": api.started.to_string(),
    }))
    .into_response()
}

/// `/api/v2/alerts`; of its parameters `filter`, `receiver` and `active`: no alert is silenced,
/// inhibited or unprocessed.
pub(super) async fn alerts<D: Daemon>(
    State(api): Handle<D>,
    RawQuery(query): RawQuery,
) -> Response {
    match wanted(&api, query.as_deref()).await {
        Ok(found) => {
            Json(Value::Array(found.into_iter().map(|one| one.shown).collect())).into_response()
        }
        Err(refused) => refused.into_response(),
    }
}

/// `/api/v2/alerts/groups`: each rule's alerts are a group, once for each of their receivers.
pub(super) async fn groups<D: Daemon>(
    State(api): Handle<D>,
    RawQuery(query): RawQuery,
) -> Response {
    let found = match wanted(&api, query.as_deref()).await {
        Ok(found) => found,
        Err(refused) => return refused.into_response(),
    };
    let mut groups: BTreeMap<(String, String), Vec<Value>> = BTreeMap::new();
    for one in found {
        for receiver in one.receivers {
            groups.entry((one.rule.clone(), receiver)).or_default().push(one.shown.clone());
        }
    }
    let group = |((rule, receiver), alerts): ((String, String), Vec<Value>)| {
        json!({
            "labels": { "alertname": rule },
            "receiver": { "name": receiver },
            "alerts": alerts,
        })
    };
    Json(groups.into_iter().map(group).collect::<Vec<_>>()).into_response()
}

/// `/api/v2/receivers`.
pub(super) async fn receivers<D: Daemon>(State(api): Handle<D>) -> Response {
    let rules = api.daemon.rules();
    let names: BTreeSet<_> =
        rules.iter().flat_map(|view| &view.rule.value.actions).map(|name| &*name.value).collect();
    let names = names.into_iter().chain([NOBODY]);
    Json(names.map(|name| json!({ "name": name })).collect::<Vec<_>>()).into_response()
}

/// `GET /api/v2/silences`: there are none.
pub(super) async fn silences() -> Response {
    Json(Value::Array(Vec::new())).into_response()
}

/// Silences cannot be made, looked at or ended.
pub(super) async fn no_silences() -> Response {
    let message = "watchpost has no silences yet".to_owned();
    Refused(StatusCode::NOT_IMPLEMENTED, message).into_response()
}

/// An alert, and what it is asked for by.
struct Found {
    rule: String,
    receivers: Vec<String>,
    shown: Value,
}

async fn wanted<D: Daemon>(
    api: &super::Shared<D>,
    query: Option<&str>,
) -> Result<Vec<Found>, Refused> {
    let asked = Asked::new(query);
    let bad = |what: &str| Refused(StatusCode::BAD_REQUEST, format!("bad {what}"));
    let filters = asked.all("filter").map(|text| filter(text).ok_or_else(|| bad(text)));
    let filters = filters.collect::<Result<Vec<_>, _>>()?;
    let receiver = asked.some("receiver").map(|text| regex::Regex::new(&format!("^(?:{text})$")));
    let receiver = receiver.transpose().map_err(|_| bad("regular expression for receiver"))?;
    let Some(alerts) = api.daemon.alerts().await else {
        let message = "the engine does not answer".to_owned();
        return Err(Refused(StatusCode::SERVICE_UNAVAILABLE, message));
    };
    let active = asked.first("active").is_none_or(|active| active != "false");
    let now = api.clock.now();
    let firing = alerts.iter().filter(|alert| active && alert.state == AlertState::Firing);
    let found = firing.filter_map(|alert| {
        let labels = labels(alert);
        let matches = |selector: &Selector| {
            selector.matchers.iter().all(|matcher| {
                let value = labels.get(&matcher.label).map(String::as_str);
                matcher.pattern.matches(value.unwrap_or_default())
            })
        };
        let found = found(alert, labels.clone(), now);
        let receives = receiver
            .as_ref()
            .is_none_or(|wanted| found.receivers.iter().any(|r| wanted.is_match(r)));
        (filters.iter().all(matches) && receives).then_some(found)
    });
    Ok(found.collect())
}

fn found(alert: &Alert, labels: Labels, now: Timestamp) -> Found {
    let rule = &alert.rule;
    let mut receivers: Vec<_> =
        rule.value.actions.iter().map(|name| name.value.to_string()).collect();
    if receivers.is_empty() {
        receivers.push(NOBODY.to_owned());
    }
    let notice = alert.notice(now);
    let names: Vec<_> = receivers.iter().map(|name| json!({ "name": name })).collect();
    let shown = json!({
        "annotations": annotations(&notice),
        "startsAt": notice.since,
        "endsAt": (now + GOES_ON).to_string(),
        "updatedAt": notice.at,
        "fingerprint": notice.fingerprint,
        "receivers": names,
        "status": { "state": "active", "silencedBy": [], "inhibitedBy": [] },
        "generatorURL": "",
        "labels": labels,
    });
    Found { rule: rule.name.to_string(), receivers, shown }
}

/// A matcher as Alertmanager has it, `severity=~"crit.*"`: in quotes or, as people type it, without.
fn filter(text: &str) -> Option<Selector> {
    let read =
        |text: &str| match parse(&format!("x{{{text}}}")).ok().as_ref().map(Expr::as_selector) {
            Some(Some(selector)) if selector.name.as_deref() == Some("x") => Some(selector.clone()),
            _ => None,
        };
    read(text).or_else(|| {
        let at = text.find(['=', '!'])?;
        let (name, rest) = text.split_at(at);
        let operator = ["=~", "!~", "!=", "="].into_iter().find(|op| rest.starts_with(op))?;
        read(&format!("{name}{operator}{:?}", &rest[operator.len()..]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_with_and_without_quotes() {
        for (text, value, matches) in [
            (r#"a="b""#, "b", true),
            ("a=b", "b", true),
            ("a=b", "c", false),
            (r#"a=~"b|c""#, "c", true),
            ("a=~b.*", "bcd", true),
            ("a!=b", "b", false),
            (r#"a!~"b""#, "c", true),
            ("a=b c", "b c", true),
            ("a=", "", true),
            // No way out of the braces: it is a value like any other.
            (r#"a="b"} or y{c="d""#, r#""b"} or y{c="d""#, true),
        ] {
            let selector = filter(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(selector.matchers[0].label, "a");
            assert_eq!(selector.matchers[0].pattern.matches(value), matches, "{text}");
        }
        for wrong in ["", "a", "=b", "a=~("] {
            assert!(filter(wrong).is_none_or(|read| read.matchers.is_empty()), "{wrong}");
        }
    }
}
