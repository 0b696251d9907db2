//! InfluxDB, asked in InfluxQL by `/query`: InfluxDB 1 as it is, and 2 and 3 by the interface they
//! have for clients of InfluxDB 1 (a bucket answers by the name of a database there).
//!
//! A span of time is read after the other, and made shorter where there is more in it than fits
//! into memory, longer where there is little. What is no number is left out. Stale marks are not
//! written to InfluxDB, so a series ends by its age alone.

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::Method;
use hyper::header::{AUTHORIZATION, HeaderValue};
use serde::Deserialize;
use serde_json::Value as Json;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use url::Url;

use super::points::Sorted;
use super::{Points, SourceError, Wanted};
use crate::http_client::{HttpClient, Options, Request, Stream, shown, without_secrets};
use crate::sample::{Batch, Timestamp};
use crate::sinks::influxdb::Config;
use crate::tls::Tls;

/// Samples of one span: 48 MB, and as many again while they are put in order.
const SPAN_SAMPLES_MAX: usize = 2_000_000;

/// The first span.
const SPAN_FIRST: Duration = Duration::from_secs(3_600);

/// The longest: what is empty is passed over in few steps.
const SPAN_MAX: Duration = Duration::from_secs(7 * 86_400);

/// The shortest: more in a second than fits into memory is refused.
const SPAN_MIN: Duration = Duration::from_secs(1);

/// Points the server sends at once.
const CHUNK_POINTS: &str = "10000";

/// Bytes of one piece of an answer; a server that sends none but whole answers is asked for less.
const PIECE_BYTES_MAX: usize = 64 << 20;

/// What is read of an answer that says what is wrong.
const ERROR_BYTES_MAX: usize = 16 << 10;

/// The most until the server says anything, and between two parts of what it says.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Where a database is asked, and as whom.
#[derive(Debug, Clone)]
pub struct Access {
    url: Url,
    authorization: Option<HeaderValue>,
    database: String,
    retention_policy: Option<String>,
    tls: Tls,
}

impl Access {
    /// The database a sink writes to.
    #[must_use]
    pub fn of_sink(config: &Config) -> Self {
        let settings = &config.settings;
        let database = settings.database.as_ref().or(settings.bucket.as_ref());
        Self {
            url: query_url(&settings.url),
            authorization: settings.authorization(),
            database: database.cloned().unwrap_or_default(),
            retention_policy: settings.retention_policy.clone(),
            tls: config.tls.clone(),
        }
    }

    /// A database by its URL, which may have a user and a password.
    #[must_use]
    pub fn of_url(url: &Url, database: String) -> Self {
        let (url, tls) = (query_url(url), Tls::default());
        Self { url, authorization: None, database, retention_policy: None, tls }
    }
}

fn query_url(base: &Url) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().push("query");
    }
    url
}

/// Why a span was not read.
enum Trouble {
    /// There is too much in it.
    TooMuch,
    Failed(SourceError),
}

impl From<SourceError> for Trouble {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::TooManySamples { .. } => Self::TooMuch,
            other => Self::Failed(other),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    results: Vec<Statement>,
    error: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Statement {
    #[serde(default)]
    series: Vec<Found>,
    error: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Found {
    name: String,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    columns: Vec<String>,
    #[serde(default)]
    values: Vec<Vec<Json>>,
}

/// See the module.
pub struct InfluxDb<'a> {
    asking: Asking,
    points: Points<'a>,
    /// Measurements, each with its fields.
    measurements: BTreeMap<String, Vec<String>>,
    /// Where the next span begins, in nanoseconds, and where all ends, included.
    next: i64,
    to: i64,
    span: Duration,
    sorted: Option<Sorted>,
}

impl std::fmt::Debug for InfluxDb<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InfluxDb").field("measurements", &self.measurements).finish_non_exhaustive()
    }
}

struct Asking {
    runtime: Runtime,
    client: HttpClient,
    access: Access,
}

impl<'a> InfluxDb<'a> {
    /// Asks which measurements there are. `to` is where it ends if nothing else is wanted.
    ///
    /// # Errors
    /// A server that does not answer, or refuses.
    pub fn open(
        access: Access,
        runtime: Runtime,
        wanted: &Wanted<'a>,
        to: Timestamp,
    ) -> Result<Self, SourceError> {
        let options =
            Options { tls: access.tls.clone(), timeout: SILENCE_MAX, ..Options::default() };
        let place = format!("{} at {}", access.database, without_secrets(&access.url));
        let mut points = Points::new(wanted.clone(), place, access.database.clone());
        points.set_max(SPAN_SAMPLES_MAX);
        let asking = Asking { runtime, client: HttpClient::new(options), access };
        let mut measurements: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let asked = asking.ask("SHOW FIELD KEYS", &mut |found| {
            let fields = found.values.iter().filter_map(|row| row.first()?.as_str());
            let names = |field: &&str| {
                let whole = format!("{}_{field}", found.name);
                (wanted.names)(&whole) || (*field == "value" && (wanted.names)(&found.name))
            };
            let fields: Vec<_> = fields.filter(names).map(str::to_owned).collect();
            if !fields.is_empty() {
                measurements.insert(found.name.clone(), fields);
            }
            Ok(())
        });
        match asked {
            Ok(()) => {}
            Err(Trouble::Failed(error)) => return Err(error),
            Err(Trouble::TooMuch) => {
                return Err(asking.wrong("it has too many fields to be asked for"));
            }
        }
        let from = wanted.from.unwrap_or_default();
        Ok(Self {
            asking,
            points,
            measurements,
            next: from.as_nanos(),
            to: wanted.to.unwrap_or(to).as_nanos(),
            span: SPAN_FIRST,
            sorted: None,
        })
    }

    /// Reads one span, as long as what is in it fits.
    fn read_span(&mut self) -> Result<(), SourceError> {
        loop {
            let span = i64::try_from(self.span.as_nanos()).unwrap_or(i64::MAX);
            let end = self.next.saturating_add(span - 1).min(self.to);
            match self.read(self.next, end) {
                Ok(()) => {
                    if self.points.len() < SPAN_SAMPLES_MAX / 4 {
                        self.span = (self.span * 2).min(SPAN_MAX);
                    }
                    self.next = end.saturating_add(1);
                    self.sorted = Some(self.points.sorted());
                    return Ok(());
                }
                Err(Trouble::TooMuch) if self.span > SPAN_MIN => {
                    self.points.clear();
                    self.span = (self.span / 2).max(SPAN_MIN);
                }
                Err(Trouble::TooMuch) => {
                    return Err(self.asking.wrong("there is more within a second than is read"));
                }
                Err(Trouble::Failed(error)) => return Err(error),
            }
        }
    }

    fn read(&mut self, from: i64, to: i64) -> Result<(), Trouble> {
        let Self { asking, points, measurements, .. } = self;
        for (measurement, fields) in measurements {
            let fields: Vec<_> = fields.iter().map(|field| quoted(field)).collect();
            let policy = &asking.access.retention_policy;
            let policy = policy.as_ref().map_or_else(String::new, |policy| quoted(policy) + ".");
            let query = format!(
                "SELECT {} FROM {policy}{} WHERE time >= {from} AND time <= {to} GROUP BY *",
                fields.join(", "),
                quoted(measurement),
            );
            asking.ask(&query, &mut |found| take(&found, points))?;
        }
        Ok(())
    }
}

/// Takes what a part of an answer has of one series of InfluxDB's: the fields of a row.
fn take(found: &Found, points: &mut Points<'_>) -> Result<(), SourceError> {
    let tags: Vec<(&str, &str)> = found.tags.iter().map(|(k, v)| (&**k, &**v)).collect();
    let columns = found.columns.iter().skip(1);
    let series = columns.map(|field| points.series(&found.name, field, &tags));
    let series = series.collect::<Result<Vec<_>, _>>()?;
    for row in &found.values {
        let Some(time) = row.first().and_then(Json::as_i64) else { continue };
        for (series, value) in series.iter().zip(row.iter().skip(1)) {
            let number =
                value.as_f64().or_else(|| value.as_bool().map(|is| f64::from(u8::from(is))));
            if let Some((series, value)) = series.zip(number) {
                points.push(Timestamp::from_nanos(time), series, value)?;
            }
        }
    }
    Ok(())
}

/// A name in InfluxQL.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

impl Asking {
    fn wrong(&self, message: &str) -> SourceError {
        let place = without_secrets(&self.access.url);
        SourceError::InfluxDb(format!("database {} at {place}: {message}", self.access.database))
    }

    /// Asks, and hands over each series of the answer, in parts.
    fn ask(
        &self,
        query: &str,
        each: &mut dyn FnMut(Found) -> Result<(), SourceError>,
    ) -> Result<(), Trouble> {
        self.runtime.block_on(async {
            let mut stream = self.open(query).await?;
            let mut rest: Vec<u8> = Vec::new();
            while let Some(piece) = self.next(&mut stream).await? {
                let before = rest.len();
                rest.extend_from_slice(&piece);
                if let Some(end) = rest[before..].iter().rposition(|byte| *byte == b'\n') {
                    let whole: Vec<u8> = rest.drain(..=before + end).collect();
                    whole.split(|byte| *byte == b'\n').try_for_each(|one| self.hear(one, each))?;
                }
                if rest.len() > PIECE_BYTES_MAX {
                    return Err(Trouble::TooMuch);
                }
            }
            self.hear(&rest, each)
        })
    }

    async fn open(&self, query: &str) -> Result<Stream, SourceError> {
        let mut url = self.access.url.clone();
        url.query_pairs_mut()
            .append_pair("db", &self.access.database)
            .append_pair("q", query)
            .append_pair("epoch", "ns")
            .append_pair("chunked", "true")
            .append_pair("chunk_size", CHUNK_POINTS);
        let mut request = Request::new(Method::GET, url);
        if let Some(authorization) = &self.access.authorization {
            request.headers.insert(AUTHORIZATION, authorization.clone());
        }
        let opened = self.client.open(request).await;
        let mut stream = opened.map_err(|error| SourceError::InfluxDb(error.to_string()))?;
        if stream.status.is_success() {
            return Ok(stream);
        }
        let mut body = Vec::new();
        while let Some(piece) = self.next(&mut stream).await?
            && body.len() < ERROR_BYTES_MAX
        {
            body.extend_from_slice(&piece);
        }
        let words = shown(&String::from_utf8_lossy(&body));
        Err(self.wrong(&format!("{}: {words}", stream.status)))
    }

    async fn next(&self, stream: &mut Stream) -> Result<Option<bytes::Bytes>, SourceError> {
        match timeout(SILENCE_MAX, stream.chunk()).await {
            Ok(piece) => piece.map_err(|error| SourceError::InfluxDb(error.to_string())),
            Err(_) => Err(self.wrong("it has said nothing for a minute")),
        }
    }

    fn hear(
        &self,
        bytes: &[u8],
        each: &mut dyn FnMut(Found) -> Result<(), SourceError>,
    ) -> Result<(), Trouble> {
        if bytes.trim_ascii().is_empty() {
            return Ok(());
        }
        let answer: Answer = serde_json::from_slice(bytes)
            .map_err(|error| self.wrong(&format!("its answer is not InfluxDB's: {error}")))?;
        let errors = answer.results.iter().filter_map(|one| one.error.as_ref());
        if let Some(error) = errors.chain(&answer.error).next() {
            return Err(self.wrong(&shown(error)).into());
        }
        let found = answer.results.into_iter().flat_map(|one| one.series);
        found.into_iter().try_for_each(|one| each(one).map_err(Trouble::from))
    }
}

impl Iterator for InfluxDb<'_> {
    type Item = Result<Batch, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(batch) = self.sorted.as_mut().and_then(Iterator::next) {
                return Some(Ok(batch));
            }
            if self.next > self.to || self.measurements.is_empty() {
                return None;
            }
            if let Err(error) = self.read_span() {
                // What follows cannot be read either.
                self.next = i64::MAX;
                self.to = i64::MIN;
                return Some(Err(error));
            }
        }
    }
}
