//! HTTP: health, metrics, Prometheus' API, the live stream and the page, all on one listener.
//!
//! It shows the daemon, hands it what is pushed, and never changes it otherwise. What it needs of
//! the daemon is the trait [`Daemon`]; it knows nothing of supervisors and engines. It answers no other site's page (no CORS, and see
//! [`access`]), serves no secret, and holds every client to the bounds of [`serve`].

mod access;
mod alertmanager;
mod body;
mod events;
mod explain;
mod health;
mod page;
mod prometheus;
mod query;
mod rules;
mod serve;
mod write;

pub use access::Access;
pub use query::whole;
pub use serve::Server;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};

use crate::actions::ActionStatus;
use crate::config::{Named, Target};
use crate::events::Events;
use crate::history::History;
use crate::ingest::Ingest;
use crate::metrics::Metrics;
use crate::pollers::PollError;
use crate::rules::explain::{Explanation, Question};
use crate::rules::{Alert, RuleConfig};
use crate::sample::{Clock, Timestamp};

/// What the API shows of the daemon.
///
/// `None` means that the engine did not answer; each answer is cut off after
/// [`REQUEST_TIMEOUT`] anyway, so an implementation may simply wait.
pub trait Daemon: Send + Sync + 'static {
    /// Every target and how its last poll went, in the order of the configuration.
    fn targets(&self) -> Vec<TargetView>;

    /// Every alert that is not inactive.
    fn alerts(&self) -> impl Future<Output = Option<Vec<Alert>>> + Send;

    /// Why a rule's alerts are as they are; `Some(None)` where there is no such rule.
    fn explain(
        &self,
        question: Question,
    ) -> impl Future<Output = Option<Option<Explanation>>> + Send;

    /// Every rule, in the order of the configuration.
    fn rules(&self) -> Vec<RuleView>;

    /// Every action and how it is doing, by name.
    fn actions(&self) -> Vec<ActionStatus>;

    /// What keeps the daemon from being ready; empty when nothing does: every target has been
    /// started and the engine has answered.
    fn waits_for(&self) -> impl Future<Output = Vec<Wait>> + Send;
}

/// A target as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetView {
    /// What it is.
    pub target: Arc<Target>,
    /// Whether it answers; `None` until the first poll has ended.
    pub up: Option<bool>,
    /// Why the last poll failed, if it did.
    pub error: Option<PollError>,
    /// When the last poll ended.
    pub last_poll: Option<Timestamp>,
    /// How long the last poll took.
    pub took: Duration,
}

/// A rule and where it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleView {
    /// What it is.
    pub rule: Arc<Named<RuleConfig>>,
    /// The file it is in, as the configuration names it.
    pub file: Arc<str>,
}

/// Something the daemon waits for before it is ready.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Wait {
    /// What is not ready: `engine`, or a target's id.
    pub what: String,
    /// Why not.
    pub why: String,
}

/// The longest a request may take until its answer starts, body included: longer than any of the
/// daemon's own answers, shorter than what clients wait for by default (30 s). Queries have a time
/// of their own.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest body a request may have: no request needs more than a long expression.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Everything the API is made of.
#[derive(Debug)]
pub struct Api<D> {
    /// The daemon.
    pub daemon: Arc<D>,
    /// The counters `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// What the live stream tells.
    pub events: Events,
    /// What takes pushes.
    pub ingest: Arc<Ingest>,
    /// What queries read.
    pub history: Arc<dyn History>,
    /// The clock.
    pub clock: Arc<Clock>,
}

impl<D: Daemon> Api<D> {
    /// What serves it.
    #[must_use]
    pub fn server(self) -> Server {
        Server::new(self.router())
    }

    fn router(self) -> Router {
        let stream = events::Stream::new(self.events, &self.metrics);
        let pushes = write::Pushes::new(self.ingest);
        let queries = query::Queries::new(self.history, &self.metrics);
        let shared = Arc::new(Shared {
            daemon: self.daemon,
            metrics: self.metrics,
            stream,
            pushes,
            queries: Arc::new(queries),
            started: self.clock.now(),
            clock: self.clock,
        });
        let guarded = Router::new()
            .route("/metrics", get(health::metrics::<D>))
            .route("/api/events", get(events::stream::<D>))
            .route("/api/v1/targets", get(prometheus::targets::<D>))
            .route("/api/v1/alerts", get(rules::alerts::<D>))
            .route("/api/v1/rules", get(rules::rules::<D>))
            .route("/api/watchpost/actions", get(actions::<D>))
            .route("/api/watchpost/explain", get(explain::explain::<D>))
            .route("/api/v1/status/buildinfo", get(prometheus::build_info))
            .route("/api/v1/write", post(write::remote::<D>))
            .route("/api/v2/status", get(alertmanager::status::<D>))
            .route("/api/v2/alerts", get(alertmanager::alerts::<D>))
            .route("/api/v2/alerts/groups", get(alertmanager::groups::<D>))
            .route("/api/v2/receivers", get(alertmanager::receivers::<D>))
            .route("/api/v2/silences", get(alertmanager::silences).post(alertmanager::no_silences))
            .route(
                "/api/v2/silence/{id}",
                get(alertmanager::no_silences).delete(alertmanager::no_silences),
            )
            .route("/api/v2/write", post(write::version_2::<D>))
            .route("/write", post(write::version_1::<D>));
        let queries = query::routes::<D>().layer(middleware::from_fn(access::check));
        let guarded = guarded.layer(middleware::from_fn(access::check));
        let health = || get(health::ready::<D>);
        Router::new()
            .route("/healthz", get(health::alive))
            .route("/readyz", health())
            // As Prometheus calls them.
            .route("/-/healthy", get(health::alive))
            .route("/-/ready", health())
            .route("/ping", get(write::ping))
            .merge(guarded)
            .merge(page::routes())
            .fallback(prometheus::not_found)
            .method_not_allowed_fallback(prometheus::method_not_allowed)
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .layer(middleware::from_fn(limit_time))
            .merge(queries)
            .layer(middleware::from_fn(page::protect))
            .with_state(shared)
    }
}

/// What the handlers share.
struct Shared<D> {
    daemon: Arc<D>,
    metrics: Arc<Metrics>,
    stream: events::Stream,
    pushes: write::Pushes,
    queries: Arc<query::Queries>,
    clock: Arc<Clock>,
    started: Timestamp,
}

/// `/api/watchpost/actions`: how each action is doing.
async fn actions<D: Daemon>(State(api): Handle<D>) -> Json<Vec<ActionStatus>> {
    Json(api.daemon.actions())
}

type Handle<D> = State<Arc<Shared<D>>>;

async fn limit_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => prometheus::error(
            StatusCode::SERVICE_UNAVAILABLE,
            "timeout",
            format!("no answer within {} s", REQUEST_TIMEOUT.as_secs()),
        ),
    }
}

#[cfg(test)]
mod tests;
