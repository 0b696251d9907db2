//! Which series, labels and metrics there are.
//!
//! Of `start` and `end`, where they are given, what has no samples between them is left out: to the
//! block, as in Prometheus, so that a series may be listed that begins or ends a little beside.

use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::encode::{self, Notes};
use super::params::{Invalid, Params, params};
use super::{Ending, QUERY_TIMEOUT, Queries, Shared, TRUNCATED, Work, failed, refused, stream};
use crate::api::prometheus::{error, success};
use crate::promql::labels::NAME;
use crate::promql::{Labels, Selector};
use crate::sample::Timestamp;

/// Series looked at between two looks at the clock.
const LOOKS: usize = 1_000;

/// Reads the parameters of a request, or answers.
async fn read<T>(
    request: Request,
    what: impl FnOnce(&Params) -> Result<T, Invalid>,
) -> Result<(HeaderMap, T), Box<Response>> {
    let headers = request.headers().clone();
    let params = params(request).await?;
    let read = what(&params).map_err(|wrong| Box::new(refused(&wrong)))?;
    Ok((headers, read))
}

/// Which series, in what time, and how many at most.
struct Wanted {
    selectors: Vec<Selector>,
    between: Option<(Timestamp, Timestamp)>,
    limit: usize,
}

impl Wanted {
    /// Whether it is everything there is.
    fn is_all(&self) -> bool {
        self.selectors.is_empty() && self.between.is_none()
    }
}

fn wanted(params: &Params) -> Result<Wanted, Invalid> {
    let (start, end) = (params.time("start")?, params.time("end")?);
    let is_given = start.is_some() || end.is_some();
    let between = (start.unwrap_or(Timestamp::MIN), end.unwrap_or(Timestamp::MAX));
    if between.1 < between.0 {
        return Err(Invalid::new("end", "end timestamp must not be before start time"));
    }
    let between = is_given.then_some(between);
    Ok(Wanted { selectors: params.selectors()?, between, limit: params.limit()? })
}

impl Work {
    /// Shows every series that is wanted, all where no selector says which; one that two selectors
    /// mean is shown twice.
    fn series(
        &self,
        wanted: &Wanted,
        mut look: impl FnMut(Labels) -> ControlFlow<()>,
    ) -> Result<(), crate::promql::eval::EvalError> {
        let mut looks = 0;
        let mut stopped = Ok(());
        let all = [Selector::all()];
        let selectors = if wanted.selectors.is_empty() { &all[..] } else { &wanted.selectors[..] };
        for selector in selectors {
            let mut is_done = false;
            self.history.series(selector, wanted.between, &mut |labels| {
                looks += 1;
                if looks % LOOKS == 0 {
                    stopped = self.check();
                    if stopped.is_err() {
                        return ControlFlow::Break(());
                    }
                }
                let flow = look(labels);
                is_done = flow.is_break();
                flow
            });
            if stopped.is_err() || is_done {
                break;
            }
        }
        stopped
    }
}

/// Answers with a sorted set of anything, of which `limit` are shown.
async fn answer<T: Ord + Send + 'static>(
    queries: &Arc<Queries>,
    headers: &HeaderMap,
    limit: usize,
    find: impl FnOnce(&Work) -> Result<BTreeSet<T>, crate::promql::eval::EvalError> + Send + 'static,
    one: fn(&mut stream::Writer, &T) -> io::Result<()>,
) -> Response {
    let work = move |work: &Work, mut writer: stream::Writer| {
        let mut found = match find(work) {
            Ok(found) => found.into_iter().collect::<Vec<_>>(),
            Err(wrong) => {
                let (ending, response) = failed(&wrong);
                writer.answer(response);
                return ending;
            }
        };
        let mut notes = Notes::default();
        if super::truncate(&mut found, limit) {
            notes.warnings.push(TRUNCATED.to_owned());
        }
        let written = encode::envelope(&mut writer, &notes, |out| encode::list(out, &found, one));
        match written.and_then(|()| writer.finish()) {
            Ok(()) => Ending::Answered,
            Err(_) => Ending::Canceled,
        }
    };
    queries.run(headers, QUERY_TIMEOUT, work).await
}

fn text(out: &mut stream::Writer, text: &String) -> io::Result<()> {
    Ok(serde_json::to_writer(out, text)?)
}

/// `/api/v1/series`.
pub(super) async fn series<D>(State(api): State<Arc<Shared<D>>>, request: Request) -> Response {
    let (headers, wanted) = match read(request, wanted).await {
        Ok(read) => read,
        Err(response) => return *response,
    };
    if wanted.selectors.is_empty() {
        return error(StatusCode::BAD_REQUEST, "bad_data", "no match[] parameter provided");
    }
    let limit = wanted.limit;
    let find = move |work: &Work| {
        let mut found = BTreeSet::new();
        work.series(&wanted, |labels| {
            found.insert(labels);
            if found.len() > limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(found)
    };
    answer(&api.queries, &headers, limit, find, encode::metric).await
}

/// `/api/v1/labels`.
pub(super) async fn labels<D>(State(api): State<Arc<Shared<D>>>, request: Request) -> Response {
    let (headers, wanted) = match read(request, wanted).await {
        Ok(read) => read,
        Err(response) => return *response,
    };
    let limit = wanted.limit;
    let find = move |work: &Work| {
        if wanted.is_all() {
            return Ok(work.history.label_names());
        }
        let mut found = BTreeSet::new();
        work.series(&wanted, |labels| {
            for (name, _) in labels.iter() {
                if !found.contains(name) {
                    found.insert(name.to_owned());
                }
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    };
    answer(&api.queries, &headers, limit, find, text).await
}

/// `/api/v1/label/<name>/values`.
pub(super) async fn values<D>(
    State(api): State<Arc<Shared<D>>>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    let (headers, wanted) = match read(request, wanted).await {
        Ok(read) => read,
        Err(response) => return *response,
    };
    let Some(name) = unescaped(&name).filter(|name| !name.is_empty()) else {
        let message = format!("invalid label name: {name:?}");
        return error(StatusCode::BAD_REQUEST, "bad_data", message);
    };
    let limit = wanted.limit;
    let find = move |work: &Work| {
        if wanted.is_all() {
            return Ok(work.history.label_values(&name));
        }
        let mut found = BTreeSet::new();
        work.series(&wanted, |labels| {
            if let Some(value) = labels.get(&name)
                && !found.contains(value)
            {
                found.insert(value.to_owned());
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    };
    answer(&api.queries, &headers, limit, find, text).await
}

/// A label's name as Prometheus escapes those that are no identifiers: `U__a_2e_b` is `a.b`.
fn unescaped(name: &str) -> Option<String> {
    let Some(mut rest) = name.strip_prefix("U__") else { return Some(name.to_owned()) };
    let mut plain = String::new();
    while let Some((before, after)) = rest.split_once('_') {
        plain.push_str(before);
        if let Some(after) = after.strip_prefix('_') {
            plain.push('_');
            rest = after;
            continue;
        }
        let (code, after) = after.split_once('_')?;
        plain.push(u32::from_str_radix(code, 16).ok().and_then(char::from_u32)?);
        rest = after;
    }
    plain.push_str(rest);
    Some(plain)
}

/// `/api/v1/metadata`; of its parameters `metric` and `limit`. What a metric is, its name says.
pub(super) async fn metadata<D>(State(api): State<Arc<Shared<D>>>, request: Request) -> Response {
    let wanted = |params: &Params| Ok((params.text("metric").map(str::to_owned), params.limit()?));
    let (headers, (metric, limit)) = match read(request, wanted).await {
        Ok(read) => read,
        Err(response) => return *response,
    };
    let work = move |work: &Work, mut writer: stream::Writer| {
        let names = work.history.label_values(NAME);
        let names = names.iter().filter(|name| metric.as_ref().is_none_or(|one| one == *name));
        let about: serde_json::Map<String, Value> =
            names.take(limit).map(|name| (name.clone(), json!([about(name)]))).collect();
        let written = encode::envelope(&mut writer, &Notes::default(), |out| {
            Ok(serde_json::to_writer(out, &about)?)
        });
        match written.and_then(|()| writer.finish()) {
            Ok(()) => Ending::Answered,
            Err(_) => Ending::Canceled,
        }
    };
    api.queries.run(&headers, QUERY_TIMEOUT, work).await
}

/// Type and unit, by the words at the end of a name.
fn about(name: &str) -> Value {
    let (rest, kind) = match name.strip_suffix("_total") {
        Some(rest) => (rest, "counter"),
        None => (name, "gauge"),
    };
    let unit = ["seconds", "bytes", "celsius", "ratio", "volts", "amperes", "watts", "hertz"];
    let last = rest.rsplit('_').next().unwrap_or_default();
    let unit = unit.into_iter().find(|unit| *unit == last).unwrap_or_default();
    json!({ "type": kind, "help": "", "unit": unit })
}

/// `/api/v1/query_exemplars`: there are none. Grafana asks, to see whether there could be.
pub(super) async fn exemplars<D>(_: State<Arc<Shared<D>>>, request: Request) -> Response {
    match read(request, |_| Ok(())).await {
        Ok(_) => success(json!([])),
        Err(response) => *response,
    }
}

/// `/api/v1/format_query`.
pub(super) async fn format<D>(_: State<Arc<Shared<D>>>, request: Request) -> Response {
    match read(request, Params::expression).await {
        Ok((_, (expr, _))) => success(json!(expr.to_string())),
        Err(response) => *response,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_of_labels_are_read() {
        for (name, plain) in [
            ("room", Some("room")),
            ("U__a_2e_b", Some("a.b")),
            ("U__a__b", Some("a_b")),
            ("U___263a_", Some("☺")),
            ("U__a_xyz_", None),
            ("U__a_2e", None),
            ("U__a_d800_", None),
        ] {
            assert_eq!(unescaped(name).as_deref(), plain, "{name}");
        }
    }

    #[test]
    fn a_name_says_what_a_metric_is() {
        for (name, kind, unit) in [
            ("icmp_rtt_seconds", "gauge", "seconds"),
            ("host_network_receive_bytes_total", "counter", "bytes"),
            ("target_up", "gauge", ""),
            ("target_failures_total", "counter", ""),
        ] {
            assert_eq!(about(name), json!({ "type": kind, "help": "", "unit": unit }));
        }
    }
}
