//! `/api/watchpost/explain?rule=NAME[&label=NAME=VALUE…][&at=TIME]`: why a rule's alerts are as they
//! are, and why there are none.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::prometheus::{Asked, error, no_engine};
use super::query::params::params;
use super::{Daemon, Handle};
use crate::rules::explain::Question;

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
    let at = match params(request).await.map(|params| params.time("at")) {
        Ok(Ok(at)) => at,
        Ok(Err(wrong)) => return refused(wrong.to_string()),
        Err(response) => return *response,
    };
    let question = Question { rule: rule.to_owned(), labels, at };
    match api.daemon.explain(question).await {
        Some(Some(explained)) => Json(explained).into_response(),
        Some(None) => {
            error(StatusCode::NOT_FOUND, "not_found", format!("there is no [rule.{rule}]"))
        }
        None => no_engine(),
    }
}
