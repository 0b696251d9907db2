//! Prometheus' query API: expressions evaluated over what is kept.
//!
//! An expression is evaluated on a thread of its own, of which there are few, so that judging does
//! not wait for it; its answer is sent as it is written. Who leaves stops it. It is held to the
//! bounds of [`eval::Limits`], to Prometheus' 11,000 steps and to its
//! time; what is over is an error in Prometheus' words and codes.

mod encode;
mod listing;
pub(super) mod params;
mod stream;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::ACCEPT_ENCODING;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::Shared;
use super::prometheus::error;
use crate::history::History;
use crate::metrics::{Counter, Gauge, Metrics};
use crate::promql::eval::{self, Answer, AnswerValue, EvalError, Options};
use crate::sample::Timestamp;
use encode::Notes;
use params::{Invalid, Params};

/// Queries evaluated at once; others wait for their turn as long as they may take. Each may hold
/// what [`eval::Limits`] allows.
const QUERIES_MAX: usize = 2;

/// The longest a query may wait and compute; `timeout` may only shorten it. Prometheus' default.
const QUERY_TIMEOUT: Duration = Duration::from_secs(120);

/// Most steps of a range query, as in Prometheus: no screen has more points.
const STEPS_MAX: i64 = 11_000;

/// Evaluates queries.
#[derive(Debug)]
pub(super) struct Queries {
    history: Arc<dyn History>,
    places: Arc<Semaphore>,
    running: Gauge,
    ended: [Counter; Ending::ALL.len()],
}

/// How a query ended.
#[derive(Debug, Clone, Copy)]
enum Ending {
    Answered,
    Failed,
    Timeout,
    Canceled,
}

impl Ending {
    const ALL: [&'static str; 4] = ["answered", "failed", "timeout", "canceled"];
}

impl Queries {
    pub(super) fn new(history: Arc<dyn History>, metrics: &Metrics) -> Self {
        let ended = |ending| {
            let help = "Queries that ended.";
            metrics.counter("watchpost_queries_total", help, &[("ending", ending)])
        };
        Self {
            history,
            places: Arc::new(Semaphore::new(QUERIES_MAX)),
            running: metrics.gauge("watchpost_queries_running", "Queries being evaluated.", &[]),
            ended: Ending::ALL.map(ended),
        }
    }
}

/// Stops what runs for a request when the request is dropped: its client has left.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What runs on a thread of its own, and when it must stop.
pub(super) struct Work {
    pub(super) history: Arc<dyn History>,
    left: Arc<AtomicBool>,
    deadline: Instant,
}

impl Work {
    /// Whether to go on.
    pub(super) fn check(&self) -> Result<(), EvalError> {
        if self.left.load(Ordering::Relaxed) {
            return Err(EvalError::Stopped("its client has left".to_owned()));
        }
        if Instant::now() > self.deadline {
            return Err(EvalError::Stopped("query timed out in expression evaluation".to_owned()));
        }
        Ok(())
    }
}

impl Queries {
    /// Does something on a thread of its own, which is to answer by the writer.
    async fn run(
        self: &Arc<Self>,
        headers: &HeaderMap,
        limit: Duration,
        work: impl FnOnce(&Work, stream::Writer) -> Ending + Send + 'static,
    ) -> Response {
        let (writer, response) = stream::writer(accepts_gzip(headers));
        let queries = self.clone();
        let answer = move |work_at_hand: &Work| {
            let ending = work(work_at_hand, writer);
            queries.ended[ending as usize].inc();
        };
        let Some((task, stop)) = self.begin(limit, answer).await else {
            self.ended[Ending::Timeout as usize].inc();
            let message = "query timed out in query queue";
            return error(StatusCode::SERVICE_UNAVAILABLE, "timeout", message);
        };
        // It ends by itself soon after its client has left, or its time is over.
        drop(task);
        let response = response.await;
        drop(stop);
        response.unwrap_or_else(|_| {
            error(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the query broke off")
        })
    }

    /// Computes something on a thread of its own, in its turn; `None` where that did not come in
    /// time. Who waits no more stops it.
    pub(super) async fn compute<T: Send + 'static>(
        self: &Arc<Self>,
        limit: Duration,
        work: impl FnOnce(&Work) -> T + Send + 'static,
    ) -> Option<T> {
        let (task, stop) = self.begin(limit, work).await?;
        let found = task.await.ok();
        drop(stop);
        found
    }

    /// Begins something on a thread of its own once there is a place for it; `None` where that did
    /// not come in time. What is begun stops soon after the second is dropped.
    async fn begin<T: Send + 'static>(
        self: &Arc<Self>,
        limit: Duration,
        work: impl FnOnce(&Work) -> T + Send + 'static,
    ) -> Option<(JoinHandle<T>, StopOnDrop)> {
        let deadline = Instant::now() + limit;
        let place = timeout_at(deadline, self.places.clone().acquire_owned()).await.ok()?.ok()?;
        let left = Arc::new(AtomicBool::new(false));
        let stop = StopOnDrop(left.clone());
        let queries = self.clone();
        let run = move || {
            let work_at_hand = Work { history: queries.history.clone(), left, deadline };
            queries.show_running();
            let found = work(&work_at_hand);
            drop(place);
            queries.show_running();
            found
        };
        Some((tokio::task::spawn_blocking(run), stop))
    }

    fn show_running(&self) {
        self.running.set((QUERIES_MAX - self.places.available_permits()) as f64);
    }
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    accepted.unwrap_or_default().split(',').any(|one| {
        let (coding, quality) = one.split_once(';').unwrap_or((one, "q=1"));
        let quality = quality.trim().strip_prefix("q=").and_then(|q| q.parse::<f32>().ok());
        coding.trim().eq_ignore_ascii_case("gzip") && quality.is_some_and(|quality| quality > 0.0)
    })
}

/// An answer that is an error of the evaluator's.
fn failed(wrong: &EvalError) -> (Ending, Response) {
    let message = wrong.to_string();
    match wrong {
        EvalError::Stopped(why) if why.contains("timed out") => {
            (Ending::Timeout, error(StatusCode::SERVICE_UNAVAILABLE, "timeout", message))
        }
        EvalError::Stopped(_) => {
            let status = StatusCode::from_u16(499).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            (Ending::Canceled, error(status, "canceled", message))
        }
        EvalError::Source(_) => {
            (Ending::Failed, error(StatusCode::INTERNAL_SERVER_ERROR, "internal", message))
        }
        _ => (Ending::Failed, error(StatusCode::UNPROCESSABLE_ENTITY, "execution", message)),
    }
}

fn refused(wrong: &Invalid) -> Response {
    error(StatusCode::BAD_REQUEST, "bad_data", wrong.to_string())
}

/// The routes of queries. They keep their own time, see [`QUERY_TIMEOUT`].
pub(super) fn routes<D: super::Daemon>() -> Router<Arc<Shared<D>>> {
    // POST is what Grafana uses, for expressions too long for a URL.
    let both = MethodFilter::GET.or(MethodFilter::POST);
    Router::new()
        .route("/api/v1/query", on(both, instant::<D>))
        .route("/api/v1/query_range", on(both, range::<D>))
        .route("/api/v1/query_exemplars", on(both, listing::exemplars::<D>))
        .route("/api/v1/format_query", on(both, listing::format::<D>))
        .route("/api/v1/series", on(both, listing::series::<D>))
        .route("/api/v1/labels", on(both, listing::labels::<D>))
        .route("/api/v1/label/{name}/values", on(MethodFilter::GET, listing::values::<D>))
        .route("/api/v1/metadata", on(MethodFilter::GET, listing::metadata::<D>))
}

/// When to evaluate.
#[derive(Debug, Clone, Copy)]
enum When {
    At(Timestamp),
    Steps { start: Timestamp, end: Timestamp, step: Duration },
}

/// `/api/v1/query`.
async fn instant<D>(State(api): State<Arc<Shared<D>>>, request: Request) -> Response {
    let now = api.clock.now();
    let when = |params: &Params| Ok(When::At(params.time("time")?.unwrap_or(now)));
    query(&api.queries, request, when).await
}

/// `/api/v1/query_range`.
async fn range<D>(State(api): State<Arc<Shared<D>>>, request: Request) -> Response {
    query(&api.queries, request, steps).await
}

fn steps(params: &Params) -> Result<When, Invalid> {
    let missing = |name| {
        let message = "cannot parse \"\" to a valid timestamp";
        move || Invalid::new(name, message)
    };
    let start = params.time("start")?.ok_or_else(missing("start"))?;
    let end = params.time("end")?.ok_or_else(missing("end"))?;
    if end < start {
        return Err(Invalid::new("end", "end timestamp must not be before start time"));
    }
    let step = params.duration("step")?;
    let step = step.ok_or_else(|| Invalid::new("step", "cannot parse \"\" to a valid duration"))?;
    let Some(step) = u64::try_from(step).ok().filter(|step| *step > 0) else {
        let message = "zero or negative query resolution step widths are not accepted. \
                       Try a positive integer";
        return Err(Invalid::new("step", message));
    };
    let step = Duration::from_nanos(step);
    if i128::from(end.since(start).as_nanos() as u64) / step.as_nanos() as i128
        > i128::from(STEPS_MAX)
    {
        let message = "exceeded maximum resolution of 11,000 points per timeseries. \
                       Try decreasing the query resolution (?step=XX)";
        return Err(Invalid::new("step", message));
    }
    Ok(When::Steps { start, end, step })
}

async fn query(
    queries: &Arc<Queries>,
    request: Request,
    when: impl FnOnce(&Params) -> Result<When, Invalid>,
) -> Response {
    let headers = request.headers().clone();
    let params = match params::params(request).await {
        Ok(params) => params,
        Err(response) => return *response,
    };
    let read = || {
        let when = when(&params)?;
        let limit = time_limit(&params)?;
        let mut options = Options::default();
        if let Some(lookback) = params.duration("lookback_delta")? {
            let message = "must be a positive duration";
            let lookback = u64::try_from(lookback).ok().filter(|lookback| *lookback > 0);
            let lookback = lookback.ok_or_else(|| Invalid::new("lookback_delta", message))?;
            options.lookback = Duration::from_nanos(lookback);
        }
        let (expr, text) = params.expression()?;
        Ok((when, limit, options, expr, text, params.limit()?))
    };
    let (when, limit, options, expr, text, series_max) = match read() {
        Ok(read) => read,
        Err(wrong) => return refused(&wrong),
    };
    let work = move |work: &Work, writer: stream::Writer| {
        let check = || work.check();
        let source = &*work.history;
        let answer = match when {
            When::At(time) => eval::instant(source, &expr, time, &options, &check),
            When::Steps { start, end, step } => {
                eval::range(source, &expr, (start, end), step, &options, &check)
            }
        };
        match answer {
            Ok(answer) => send(answer, &text, series_max, writer),
            Err(wrong) => {
                let (ending, response) = failed(&wrong);
                writer.answer(response);
                ending
            }
        }
    };
    queries.run(&headers, limit, work).await
}

fn time_limit(params: &Params) -> Result<Duration, Invalid> {
    let Some(limit) = params.duration("timeout")? else { return Ok(QUERY_TIMEOUT) };
    let limit = u64::try_from(limit).map_err(|_| Invalid::new("timeout", "is negative"))?;
    Ok(Duration::from_nanos(limit).min(QUERY_TIMEOUT))
}

/// The answer to a query, as it is sent: for who has evaluated it otherwise.
#[must_use]
pub fn whole(answer: &Answer, text: &str) -> Vec<u8> {
    let Answer { value, annotations } = answer;
    let notes = Notes { warnings: annotations.warnings(text), infos: annotations.infos(text) };
    let mut out = Vec::new();
    let written = encode::envelope(&mut out, &notes, |out| encode::answer(out, value));
    written.expect("memory takes it");
    out
}

/// Why fewer series are answered with than there are.
const TRUNCATED: &str = "results truncated due to limit";

fn send(answer: Answer, text: &str, series_max: usize, mut writer: stream::Writer) -> Ending {
    let Answer { mut value, annotations } = answer;
    let mut notes = Notes { warnings: annotations.warnings(text), infos: annotations.infos(text) };
    let is_truncated = match &mut value {
        AnswerValue::Vector(all) => truncate(all, series_max),
        AnswerValue::Matrix(all) => truncate(all, series_max),
        AnswerValue::Scalar(_) | AnswerValue::String(..) => false,
    };
    if is_truncated {
        notes.warnings.push(TRUNCATED.to_owned());
    }
    let written = encode::envelope(&mut writer, &notes, |out| encode::answer(out, &value));
    match written.and_then(|()| writer.finish()) {
        Ok(()) => Ending::Answered,
        Err(_) => Ending::Canceled,
    }
}

fn truncate<T>(all: &mut Vec<T>, max: usize) -> bool {
    let is_long = all.len() > max;
    all.truncate(max);
    is_long
}

#[cfg(test)]
mod tests;
