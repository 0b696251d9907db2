//! What is pushed by HTTP: InfluxDB's `/api/v2/write` and `/write`, and Prometheus' remote write at
//! `/api/v1/write`.
//!
//! 204 says that everything was taken, judged and handed on. Where a part was wrong, the rest was
//! taken all the same, and 400 says what was wrong, as the server each client expects does. 413
//! asks for smaller pushes, 503 to come again; both took nothing that sending again would double.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, RawQuery, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::Semaphore;

use super::prometheus::{Asked, error};
use super::serve::Peer;
use super::{Handle, body};
use crate::ingest::{Format, Ingest, Outcome, Precision, PushError};

/// The largest push, uncompressed: eight times what Telegraf and Prometheus send at once.
pub(super) const PUSH_BYTES_MAX: usize = 8 << 20;

/// Pushes whose body is in memory; others wait, and are told to come again if it lasts.
const PUSHES_MAX: usize = 8;

/// After how many seconds to come again.
const RETRY_AFTER_SECONDS: &str = "5";

/// Takes pushes from clients.
pub(super) struct Pushes {
    ingest: Arc<Ingest>,
    places: Semaphore,
}

impl Pushes {
    pub(super) fn new(ingest: Arc<Ingest>) -> Self {
        Self { ingest, places: Semaphore::new(PUSHES_MAX) }
    }

    async fn take(
        &self,
        peer: Peer,
        headers: &HeaderMap,
        body: Body,
        format: Format,
    ) -> Result<Outcome, Refused> {
        let _place = self.places.acquire().await;
        let body = body::read(headers, body, PUSH_BYTES_MAX).await;
        let body = body.map_err(|error| Refused(error.status(), error.to_string()))?;
        self.ingest.push(peer.0, format, body).await.map_err(|error| {
            let status = match error {
                PushError::TooMuch => StatusCode::PAYLOAD_TOO_LARGE,
                PushError::Malformed(_) => StatusCode::BAD_REQUEST,
                PushError::Stopping | PushError::NotKept => StatusCode::SERVICE_UNAVAILABLE,
            };
            Refused(status, error.to_string())
        })
    }
}

/// Nothing was taken, and why.
struct Refused(StatusCode, String);

/// The answer to lines; what was wrong in the words InfluxDB has for it, in the shape of its version.
fn written(taken: Result<Outcome, Refused>, shaped: fn(StatusCode, &str) -> Response) -> Response {
    match taken {
        Err(Refused(status, message)) => shaped(status, &message),
        Ok(Outcome { refusal: None, .. }) => StatusCode::NO_CONTENT.into_response(),
        Ok(Outcome { refusal: Some(refusal), dropped, .. }) => {
            let message = format!("partial write: {refusal} dropped={dropped}");
            shaped(StatusCode::BAD_REQUEST, &message)
        }
    }
}

/// `/api/v2/write?bucket=…&org=…&precision=…`.
pub(super) async fn version_2<D>(
    State(api): Handle<D>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let asked = Asked::new(query.as_deref());
    let word = asked.first("precision").unwrap_or_default();
    let precision = Precision::parse(word).filter(|_| !matches!(word, "m" | "h"));
    let (Some(bucket), Some(precision)) = (asked.some("bucket"), precision) else {
        let message = "say which bucket, and a precision of ns, us, ms or s";
        return version_2_error(StatusCode::BAD_REQUEST, message);
    };
    let format = Format::Lines { precision, bucket: bucket.to_owned() };
    written(api.pushes.take(peer, &headers, body, format).await, version_2_error)
}

fn version_2_error(status: StatusCode, message: &str) -> Response {
    let code = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "request too large",
        StatusCode::SERVICE_UNAVAILABLE => "unavailable",
        _ => "invalid",
    };
    with_retry(status, Json(json!({ "code": code, "message": message })))
}

/// `/write?db=…&precision=…`.
pub(super) async fn version_1<D>(
    State(api): Handle<D>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let asked = Asked::new(query.as_deref());
    let Some(database) = asked.some("db") else {
        return version_1_error(StatusCode::BAD_REQUEST, "database is required");
    };
    let Some(precision) = Precision::parse(asked.first("precision").unwrap_or_default()) else {
        let message = "invalid precision: one of ns, u, ms, s, m and h";
        return version_1_error(StatusCode::BAD_REQUEST, message);
    };
    let format = Format::Lines { precision, bucket: database.to_owned() };
    written(api.pushes.take(peer, &headers, body, format).await, version_1_error)
}

fn version_1_error(status: StatusCode, message: &str) -> Response {
    with_retry(status, Json(json!({ "error": message })))
}

/// `/api/v1/write`: remote write 1.0.
pub(super) async fn remote<D>(
    State(api): Handle<D>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    // Version 2 announces itself here, and falls back when it is told so.
    if kind.contains("write.v2") {
        let message = "only remote write 1.0 is understood (prometheus.WriteRequest)";
        return error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "bad_data", message);
    }
    match api.pushes.take(peer, &headers, body, Format::RemoteWrite).await {
        Err(Refused(status, message)) => {
            let kind = if status.is_server_error() { "unavailable" } else { "bad_data" };
            with_retry(status, error(status, kind, message))
        }
        Ok(outcome) => match outcome.refusal {
            None => StatusCode::NO_CONTENT.into_response(),
            Some(refusal) => error(
                StatusCode::BAD_REQUEST,
                "bad_data",
                format!("{} series were not taken whole: {refusal}", outcome.dropped),
            ),
        },
    }
}

/// `/ping`, by which clients of InfluxDB 1 see that somebody is there.
pub(super) async fn ping() -> Response {
    let version = concat!("watchpost-", env!("CARGO_PKG_VERSION"));
    (StatusCode::NO_CONTENT, [("x-influxdb-version", version)]).into_response()
}

fn with_retry(status: StatusCode, body: impl IntoResponse) -> Response {
    let mut response = (status, body).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let seconds = axum::http::HeaderValue::from_static(RETRY_AFTER_SECONDS);
        response.headers_mut().insert(RETRY_AFTER, seconds);
    }
    response
}
