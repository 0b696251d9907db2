//! `/healthz`, `/readyz` and `/metrics`: whether it lives, whether it works, and how it does.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde_json::json;

use super::{Daemon, Handle};

/// The process lives and its runtime runs. Nothing else is asked, so that nothing else can fail it.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// Every target has been started and the engine has answered; 503 with what is missing until then.
pub(super) async fn ready<D: Daemon>(State(api): Handle<D>) -> impl IntoResponse {
    let waits = api.daemon.waits_for().await;
    let status = if waits.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": waits.is_empty(), "waits_for": waits })))
}

/// The daemon's own counters, in Prometheus' text format.
pub(super) async fn metrics<D: Daemon>(State(api): Handle<D>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], api.metrics.render())
}
