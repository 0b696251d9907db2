//! The parameters of Prometheus' API: from the query and, of a POST, from the form in the body.

use std::time::Duration;

use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use tokio::time::timeout;

use crate::api::prometheus::{Asked, error};
use crate::api::{BODY_BYTES_MAX, REQUEST_TIMEOUT, body};
use crate::config::parse_duration;
use crate::promql::{self, Expr, ExprKind, Selector};
use crate::sample::Timestamp;

/// Selectors of one request; each is looked up by itself.
const SELECTORS_MAX: usize = 64;

/// The parameters, or the answer to a request that has none that can be read.
pub(in crate::api) async fn params(request: Request) -> Result<Params, Box<Response>> {
    let (parts, body) = request.into_parts();
    let mut text = String::new();
    if parts.method == Method::POST {
        let kind = parts.headers.get(CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
        if !kind.starts_with(b"application/x-www-form-urlencoded") {
            let said = "send the parameters of a POST as application/x-www-form-urlencoded";
            return Err(Box::new(error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "bad_data", said)));
        }
        let read = timeout(REQUEST_TIMEOUT, body::read(&parts.headers, body, BODY_BYTES_MAX)).await;
        let read = read.unwrap_or(Err(body::BodyError::Broken));
        let form =
            read.map_err(|wrong| Box::new(error(wrong.status(), "bad_data", wrong.to_string())))?;
        text.push_str(&String::from_utf8_lossy(&form));
        text.push('&');
    }
    text.push_str(parts.uri.query().unwrap_or_default());
    Ok(Params(Asked::new(Some(&text))))
}

/// The parameters of a request. Those of the body come first, and of two the first counts.
#[derive(Debug)]
pub(in crate::api) struct Params(Asked);

/// A parameter that cannot be read, in Prometheus' words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid parameter {name:?}: {message}")]
pub(in crate::api) struct Invalid {
    name: &'static str,
    message: String,
}

impl Invalid {
    pub(in crate::api) fn new(name: &'static str, message: impl Into<String>) -> Self {
        Self { name, message: message.into() }
    }
}

impl Params {
    pub(in crate::api) fn text(&self, name: &str) -> Option<&str> {
        self.0.some(name)
    }

    /// The expression `query`, and its text.
    pub(in crate::api) fn expression(&self) -> Result<(Expr, String), Invalid> {
        let text = self.0.first("query").unwrap_or_default().to_owned();
        match promql::parse(&text) {
            Ok(expr) => Ok((expr, text)),
            Err(wrong) => {
                let (line, column) = wrong.span.unwrap_or_default().line_and_column(&text);
                let message = format!("{line}:{column}: parse error: {}", wrong.message);
                Err(Invalid::new("query", message))
            }
        }
    }

    /// A time, if it is given.
    pub(in crate::api) fn time(&self, name: &'static str) -> Result<Option<Timestamp>, Invalid> {
        let read = |text: &str| {
            let message = || format!("cannot parse {text:?} to a valid timestamp");
            time(text).ok_or_else(|| Invalid::new(name, message()))
        };
        self.text(name).map(read).transpose()
    }

    /// A duration, if it is given. It may be zero or negative, which its user must refuse.
    pub(in crate::api) fn duration(&self, name: &'static str) -> Result<Option<i64>, Invalid> {
        let read = |text: &str| {
            let message = || format!("cannot parse {text:?} to a valid duration");
            duration(text).ok_or_else(|| Invalid::new(name, message()))
        };
        self.text(name).map(read).transpose()
    }

    /// `limit`: how many to answer with; `None` or 0 are all.
    pub(in crate::api) fn limit(&self) -> Result<usize, Invalid> {
        let read = |text: &str| {
            let message = || format!("cannot parse {text:?} to a valid limit");
            text.parse().map_err(|_| Invalid::new("limit", message()))
        };
        let limit = self.text("limit").map(read).transpose()?.unwrap_or(0);
        Ok(if limit == 0 { usize::MAX } else { limit })
    }

    /// Every `match[]`.
    pub(in crate::api) fn selectors(&self) -> Result<Vec<Selector>, Invalid> {
        let all: Vec<_> = self.0.all("match[]").collect();
        if all.len() > SELECTORS_MAX {
            return Err(Invalid::new("match[]", format!("at most {SELECTORS_MAX} are taken")));
        }
        let read = |text: &&str| {
            let expr = promql::parse(text).map_err(|wrong| Invalid::new("match[]", wrong.message));
            match expr?.kind {
                ExprKind::Selector(selector) => Ok(selector),
                _ => Err(Invalid::new("match[]", "is not a selector of series")),
            }
        };
        all.iter().map(read).collect()
    }
}

const NANOS: f64 = 1e9;

/// Seconds since the epoch with their fraction, or RFC 3339.
fn time(text: &str) -> Option<Timestamp> {
    if let Ok(seconds) = text.parse::<f64>() {
        return nanos(seconds).map(Timestamp::from_nanos);
    }
    let time: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok().map(Timestamp::from_nanos)
}

/// Nanoseconds, of seconds or of a duration in PromQL's form.
fn duration(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return nanos(seconds);
    }
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let duration = if text == "0" { Duration::ZERO } else { parse_duration(text).ok()? };
    Some(sign * i64::try_from(duration.as_nanos()).ok()?)
}

/// To the millisecond, as Prometheus has times; so a time is what it was written as, where its
/// nanoseconds are more than a double can hold.
fn nanos(seconds: f64) -> Option<i64> {
    let millis = (seconds * 1e3).round();
    (millis.abs() < i64::MAX as f64 / (NANOS / 1e3)).then(|| millis as i64 * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Params {
        Params(Asked::new(Some(query)))
    }

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        for (text, nanos) in [
            ("0", 0),
            ("1435781451.781", 1_435_781_451_781_000_000),
            ("-1.5", -1_500_000_000),
            ("1e3", 1_000_000_000_000),
            ("2015-07-01T20:10:51.781Z", 1_435_781_451_781_000_000),
            ("2015-07-01T22:10:51.781%2B02:00", 1_435_781_451_781_000_000),
        ] {
            let time = params(&format!("time={text}")).time("time").unwrap();
            assert_eq!(time, Some(Timestamp::from_nanos(nanos)), "{text}");
        }
        assert_eq!(params("time=").time("time"), Ok(None));
        for wrong in ["x", "NaN", "inf", "1e300", "2015-07-01", "2015-13-01T00:00:00Z"] {
            let refused = params(&format!("time={wrong}")).time("time").unwrap_err().to_string();
            let said =
                format!("invalid parameter \"time\": cannot parse {wrong:?} to a valid timestamp");
            assert_eq!(refused, said);
        }
    }

    #[test]
    fn durations_are_seconds_or_written_with_units() {
        for (text, nanos) in [
            ("15", 15_000_000_000),
            ("0.5", 500_000_000),
            ("1m30s", 90_000_000_000),
            ("-5m", -300_000_000_000),
            ("0", 0),
            ("2w", 1_209_600_000_000_000),
        ] {
            let read = params(&format!("step={text}")).duration("step");
            assert_eq!(read, Ok(Some(nanos)), "{text}");
        }
        for wrong in ["x", "5", "1h1"] {
            let read = params(&format!("step={wrong}")).duration("step");
            assert_eq!(read.is_ok(), wrong == "5", "{wrong}");
        }
    }

    #[test]
    fn expressions_and_selectors_say_where_they_are_wrong() {
        let wrong = params("query=sum(").expression().unwrap_err().to_string();
        assert!(wrong.starts_with("invalid parameter \"query\": 1:"), "{wrong}");
        assert!(params("").expression().is_err());
        let found = params("match[]=up&match[]=%7Ba=%22b%22%7D").selectors().unwrap();
        assert_eq!(found.len(), 2);
        for wrong in ["sum(up)", "up[5m]", "%7B%7D", "1"] {
            assert!(params(&format!("match[]={wrong}")).selectors().is_err(), "{wrong}");
        }
        assert!(params(&"match[]=up&".repeat(65)).selectors().is_err());
        assert_eq!(params("limit=7").limit(), Ok(7));
        assert_eq!(params("limit=0").limit(), Ok(usize::MAX));
        assert!(params("limit=-1").limit().is_err());
    }
}
