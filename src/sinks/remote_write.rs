//! Prometheus' remote write 1.0: what Prometheus, VictoriaMetrics, Mimir and many others take.
//!
//! A series goes by the name rules know it by, `measurement_field`, and its tags; characters those
//! names cannot have become `_`. Times are milliseconds: of two samples within one, the later counts
//! if both are in one request, else the earlier. Stale marks are sent. A server that refuses samples
//! because it has newer ones gets the rest of the request; those are counted as refused.

mod encoder;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
};
use url::Url;

use super::http::{self, Limit, Lines, Login, Protocol, Quarantine, Verdict};
use super::{Pace, SinkEnv};
use crate::config::read::Table;
use crate::config::{ByteSize, Secret};
use crate::http_client::{Request, Response, basic, secret};
use crate::journal::CatchUp;
use crate::sample::Batch;
use encoder::Encoder;

crate::config! {
    /// A server samples are written to.
    pub struct Settings {
        /// Where it takes them: `http://host:9090/api/v1/write`.
        pub url: Url,
        /// Sent as `Authorization: Bearer …`.
        pub token: Option<Secret>,
        /// Who writes, by basic authentication.
        pub username: Option<String>,
        /// The user's password.
        pub password: Option<Secret>,
        /// Further headers, `X-Scope-OrgID` for one; values may be secrets.
        pub headers: BTreeMap<String, Secret>,
        /// Write when so many samples have come,
        pub batch_points: u32 = 5_000,
        /// or when the oldest sample has waited for so long.
        pub flush_interval: Duration = Duration::from_secs(1),
        /// The most until a request is answered.
        pub timeout: Duration = Duration::from_secs(10),
        /// What to write first after an outage: all in order (`oldest`), or what is new and then the
        /// rest (`newest`), which only servers take that accept samples out of order.
        pub catch_up: CatchUp = CatchUp::Oldest,
        /// The most memory samples may take while neither the server nor the journal takes them;
        /// then the oldest go.
        pub max_buffer: ByteSize = ByteSize(64 << 20),
    }
    check(settings, table) { settings.check(table); }
}

/// `[remote_write.NAME]`.
pub type Config = http::Config<Settings>;

impl Config {
    pub(super) fn pace(&self) -> Pace {
        let Settings { batch_points, flush_interval, catch_up, max_buffer, .. } = self.settings;
        Pace::new(batch_points, flush_interval, catch_up, max_buffer)
    }
}

/// More samples than servers take in one request.
const BATCH_POINTS_MAX: u32 = 100_000;

impl Settings {
    fn check(&self, table: &mut Table<'_, '_, '_>) {
        let login = Login {
            url: &self.url,
            username: self.username.as_ref(),
            password: self.password.as_ref(),
            token: self.token.as_ref(),
        };
        login.check(table);
        if self.username.is_some() && self.token.is_some() {
            table.error("token", "either `token`, or `username` and `password`");
        }
        for (name, value) in &self.headers {
            if name.parse::<HeaderName>().is_err() || secret(value.reveal()).is_none() {
                table.error(
                    "headers",
                    format!("`{name}` is not a header, or cannot have its value"),
                );
            }
        }
        if !(1..=BATCH_POINTS_MAX).contains(&self.batch_points) {
            table.error("batch_points", format!("must be from 1 to {BATCH_POINTS_MAX}"));
        }
    }

    fn header_map(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        let version = HeaderName::from_static("x-prometheus-remote-write-version");
        headers.insert(version, HeaderValue::from_static("0.1.0"));
        let token = self.token.as_ref();
        let token = token.and_then(|token| secret(&format!("Bearer {}", token.reveal())));
        let user = self.username.as_ref().zip(self.password.as_ref());
        let user = user.and_then(|(user, password)| basic(user, password.reveal()));
        if let Some(authorization) = token.or(user) {
            headers.insert(AUTHORIZATION, authorization);
        }
        for (name, value) in &self.headers {
            if let (Ok(name), Some(value)) = (name.parse::<HeaderName>(), secret(value.reveal())) {
                headers.insert(name, value);
            }
        }
        headers
    }
}

/// What is read of an answer.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// The most a request may be before it is compressed. Labels of a hundred bytes for each of 5,000
/// samples are half a megabyte.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// Writes to one server.
pub type Writer = http::Writer<RemoteWrite>;

impl Writer {
    /// For one sink; connects when it writes.
    #[must_use]
    pub fn new(config: &Config, name: &str, env: &SinkEnv) -> Self {
        let settings = &config.settings;
        let client = config.client(settings.timeout, ANSWER_BYTES_MAX);
        let limit = Limit { points: settings.batch_points as usize, bytes: BATCH_BYTES_MAX };
        let protocol = RemoteWrite {
            url: settings.url.clone(),
            headers: settings.header_map(),
            encoder: Encoder::new(env.catalogue.clone()),
        };
        Self::with(protocol, client, limit, Quarantine::new(&env.state_dir, name))
    }
}

/// Remote write by HTTP.
#[derive(Debug)]
pub struct RemoteWrite {
    url: Url,
    headers: HeaderMap,
    encoder: Encoder,
}

impl Protocol for RemoteWrite {
    fn encode(&mut self, batch: &Batch, from: usize, limit: Limit, lines: &mut Lines) -> usize {
        self.encoder.encode(batch, from, limit, lines)
    }

    fn begin(&mut self) {
        self.encoder.begin();
    }

    fn request(&self, lines: Bytes) -> Request {
        let body = snap::raw::Encoder::new().compress_vec(&lines);
        let body = body.expect("a request is bounded far below what snappy takes").into();
        Request { method: Method::POST, url: self.url.clone(), headers: self.headers.clone(), body }
    }

    fn judge(&self, response: &Response, _lines: usize) -> Verdict {
        match response.status.as_u16() {
            400 | 422 => refused(response.words()),
            404 => http::misconfigured(
                &self.url,
                response,
                "nothing takes remote write there; Prometheus needs --web.enable-remote-write-receiver",
            ),
            _ => http::judge(&self.url, response),
        }
    }

    fn shown(lines: &[u8]) -> Vec<u8> {
        encoder::shown(lines).into_bytes()
    }
}

/// A refusal because of what is in the request. Prometheus names what samples of the past are.
fn refused(words: String) -> Verdict {
    let lower = words.to_lowercase();
    let is_late = ["out of order", "duplicate sample", "out of bounds", "too old", "out-of-order"];
    if is_late.iter().any(|late| lower.contains(late)) {
        Verdict::Late(words)
    } else {
        Verdict::Lines(words)
    }
}

#[cfg(test)]
mod tests;
