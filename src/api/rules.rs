//! `/api/v1/rules` and `/api/v1/alerts`, in Prometheus' shapes (prometheus/web/api/v1).
//!
//! A group is a file, named as the file is without its folder and ending. Rules are judged by every
//! sample as it arrives, so that a group has no interval and no duration. The state `unknown` is
//! Prometheus' too.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::prometheus::{Asked, NEVER, error, no_engine, success};
use super::{Daemon, Handle, RuleView};
use crate::actions::Notice;
use crate::config::Named;
use crate::promql::{self, Selector};
use crate::rules::{Alert, Labels, RuleConfig, State as AlertState};

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
    labels.insert("severity".to_owned(), alert.severity.as_str().to_owned());
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

/// What rules are asked for.
struct Wanted {
    asked: Asked,
    /// `match[]`: a rule's own labels satisfy one of these.
    selectors: Vec<Selector>,
    /// How many groups at most, and after which.
    limit: usize,
    after: Option<String>,
}

impl Wanted {
    /// `type`, `rule_name[]`, `rule_group[]`, `file[]` (also without brackets, as Mimir spells
    /// them), `match[]`, `exclude_alerts`, `group_limit` and `group_next_token`.
    fn new(query: Option<&str>) -> Result<Self, String> {
        let asked = Asked::new(query);
        if let Some(other) = asked.some("type").filter(|kind| !["alert", "record"].contains(kind)) {
            return Err(format!("not supported value \"{other}\" of \"type\""));
        }
        let selector = |text: &str| {
            let parsed = promql::parse(text).map_err(|error| error.to_string())?;
            parsed.as_selector().cloned().ok_or_else(|| format!("`{text}` is not a selector"))
        };
        let selectors: Result<Vec<_>, _> =
            asked.all("match[]").filter(|text| !text.is_empty()).map(selector).collect();
        let limit = asked.some("group_limit").map(str::parse::<usize>).transpose();
        let limit = limit.ok().filter(|limit| *limit != Some(0));
        let limit = limit.ok_or("group_limit must be a number above 0")?;
        let after = asked.some("group_next_token").map(str::to_owned);
        if after.is_some() && limit.is_none() {
            return Err("group_limit needs to be set in order to paginate over the groups".into());
        }
        let (selectors, limit) = (selectors?, limit.unwrap_or(usize::MAX));
        Ok(Self { asked, selectors, limit, after })
    }

    fn has(&self, view: &RuleView) -> bool {
        let (name, rule) = (&view.rule.name, &view.rule.value);
        let label = |label: &str| match label {
            "severity" => Some(rule.severity().as_str()),
            other => rule.labels.get(other).map(String::as_str),
        };
        self.asked.allows(&["type"], "alert")
            && self.asked.allows(&["rule_name[]", "rule_name"], name)
            && self.asked.allows(&["rule_group[]", "rule_group"], group_name(&view.file))
            && self.asked.allows(&["file[]", "file"], &view.file)
            && (self.selectors.is_empty() || self.selectors.iter().any(|s| s.matches(label)))
    }
}

fn group_name(file: &str) -> &str {
    Path::new(file).file_stem().and_then(|name| name.to_str()).unwrap_or(file)
}

/// `/api/v1/rules`.
pub(super) async fn rules<D: Daemon>(State(api): Handle<D>, RawQuery(query): RawQuery) -> Response {
    let bad = |why: String| error(StatusCode::BAD_REQUEST, "bad_data", why);
    let wanted = match Wanted::new(query.as_deref()) {
        Ok(wanted) => wanted,
        Err(why) => return bad(why),
    };
    let Some(alerts) = api.daemon.alerts().await else { return no_engine() };
    let with_alerts = wanted.asked.first("exclude_alerts").is_none_or(|exclude| exclude != "true");
    let mut by_rule: HashMap<&str, Vec<&Alert>> = HashMap::new();
    for alert in &alerts {
        by_rule.entry(&alert.rule.name).or_default().push(alert);
    }
    let mut groups: Vec<(Arc<str>, Vec<Value>)> = Vec::new();
    for view in api.daemon.rules().iter().filter(|view| wanted.has(view)) {
        let own = by_rule.get(&*view.rule.name).map_or(&[][..], Vec::as_slice);
        let told = rule(&view.rule, own, with_alerts);
        match groups.iter_mut().find(|(file, _)| *file == view.file) {
            Some((_, rules)) => rules.push(told),
            None => groups.push((view.file.clone(), vec![told])),
        }
    }
    groups.sort_by(|(a, _), (b, _)| a.cmp(b));
    let begin = match &wanted.after {
        None => 0,
        Some(token) => match groups.iter().position(|(file, _)| **file == **token) {
            Some(at) => at + 1,
            None => return bad("invalid group_next_token; were there other rules?".into()),
        },
    };
    let end = begin.saturating_add(wanted.limit).min(groups.len());
    let mut data = json!({ "groups": groups[begin..end].iter().map(group).collect::<Vec<_>>() });
    if end < groups.len() {
        data["groupNextToken"] = (*groups[end - 1].0).into();
    }
    success(data)
}

fn group((file, rules): &(Arc<str>, Vec<Value>)) -> Value {
    json!({
        "name": group_name(file),
        "file": &**file,
        "interval": 0,
        "limit": 0,
        "evaluationTime": 0,
        "lastEvaluation": NEVER,
        "rules": rules,
    })
}

fn rule(named: &Named<RuleConfig>, alerts: &[&Alert], with_alerts: bool) -> Value {
    let rule = &named.value;
    let mut labels = rule.labels.clone();
    labels.insert("severity".to_owned(), rule.severity().as_str().to_owned());
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
}
