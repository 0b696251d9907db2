//! `/api/watchpost/explain?rule=NAME[&label=NAME=VALUE…][&at=TIME]`: why a rule's alerts are as they
//! are or were, and why there are none.
//!
//! The engine answers at once; what is kept of the series is read and evaluated on a thread of the
//! queries', within their number and a time of its own.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::prometheus::{Asked, error, no_engine};
use super::query::Work;
use super::query::params::params;
use super::{Daemon, Handle, Shared};
use crate::rules::explain::{Context, Explanation, Question, complete};
use crate::sample::Timestamp;

/// What reading and evaluating may take: below what any request may
/// ([`REQUEST_TIMEOUT`](super::REQUEST_TIMEOUT)), so that what was found by then is an answer.
const TIME_MAX: Duration = Duration::from_secs(6);

pub(super) async fn explain<D: Daemon>(State(api): Handle<D>, request: Request) -> Response {
    let asked = Asked::new(request.uri().query());
    let refused = |message: String| error(StatusCode::BAD_REQUEST, "bad_data", message);
    let Some(rule) = asked.some("rule") else {
        return refused("which rule? `?rule=NAME`".to_owned());
    };
    let mut labels = crate::rules::Labels::new();
    for label in asked.all("label") {
        let Some((name, value)) = label.split_once('=') else {
            return refused(format!("`{label}` is not a label; write NAME=VALUE"));
        };
        labels.insert(name.to_owned(), value.trim_matches('"').to_owned());
    }
    let now = api.clock.now();
    let at = match params(request).await.map(|params| params.time("at")) {
        Ok(Ok(Some(at))) if at > now => return refused(format!("{at} is still to come")),
        Ok(Ok(at)) => at,
        Ok(Err(wrong)) => return refused(wrong.to_string()),
        Err(response) => return *response,
    };
    let question = Question { rule: rule.to_owned(), labels, at };
    match api.daemon.explain(question.clone()).await {
        Some(Some(explained)) => {
            Json(completed(&api, explained, question, now).await).into_response()
        }
        Some(None) => {
            error(StatusCode::NOT_FOUND, "not_found", format!("there is no [rule.{rule}]"))
        }
        None => no_engine(),
    }
}

/// The engine's answer, and what the samples that are kept say to it. Where queries keep all
/// threads busy, the engine's answer alone.
async fn completed<D: Daemon>(
    api: &Arc<Shared<D>>,
    mut answer: Explanation,
    question: Question,
    now: Timestamp,
) -> Explanation {
    let rules: Vec<_> = api.daemon.rules().into_iter().map(|view| view.rule).collect();
    let targets = api.daemon.targets().into_iter();
    let targets: Vec<_> = targets.map(|view| (view.target.id(), view.target.interval)).collect();
    let engines = answer.clone();
    let work = move |work: &Work| {
        let check = || work.check();
        let source = &*work.history;
        let cx = Context { source, rules: &rules, targets: &targets, check: &check };
        complete(&mut answer, &question, now, &cx);
        answer
    };
    api.queries.compute(TIME_MAX, work).await.unwrap_or_else(|| {
        let note = "the series are not shown: queries keep the daemon busy".to_owned();
        Explanation { notes: vec![note], ..engines }
    })
}
