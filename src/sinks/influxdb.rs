//! InfluxDB 1, 2 and 3, and what speaks like them, VictoriaMetrics for one.
//!
//! A request a server refuses because of its lines is halved until the guilty line is found; that
//! one goes to [quarantine](Quarantine), the others are written. Whatever else is refused is kept
//! and tried again: it is the server or the configuration that must change, not the samples.
//! Where the outcome of a request is unknown it is repeated, which changes nothing: a point
//! written twice is the same point.

mod api;
mod encoder;
mod verdict;

use std::time::Duration;

use bytes::Bytes;
use url::Url;

use super::http::{self, Login, Protocol, Quarantine, Verdict};
pub use super::http::{Limit, Lines};
use super::{Pace, SinkEnv};
use crate::config::read::Table;
use crate::config::{ByteSize, Secret};
use crate::http_client::{Request, Response};
use crate::journal::CatchUp;
use crate::sample::Batch;
use api::Endpoint;
pub use encoder::Encoder;

crate::choice! {
    /// Which generation of InfluxDB's interface.
    pub enum Api { V1 = "v1", V2 = "v2", V3 = "v3" }
}

crate::config! {
    /// A database samples are written to.
    pub struct Settings {
        /// Where it is: `http://host:8086`; a path is kept, for servers behind a proxy.
        pub url: Url,
        /// `v1` (database, username, password), `v2` (org, bucket, token) or `v3` (database, token).
        pub api: Api = Api::V2,
        /// v1 and v3: the database.
        pub database: Option<String>,
        /// v1: who writes.
        pub username: Option<String>,
        /// v1: the user's password.
        pub password: Option<Secret>,
        /// v1: the retention policy, if not the database's default.
        pub retention_policy: Option<String>,
        /// v2: the organisation.
        pub org: Option<String>,
        /// v2: the bucket.
        pub bucket: Option<String>,
        /// v2 and v3: the token; none for a server that asks for none.
        pub token: Option<Secret>,
        /// Compress requests: half as much CPU again for a fraction of the traffic, which pays on
        /// slow or metered links only.
        pub gzip: bool = false,
        /// Write when so many samples have come,
        pub batch_points: u32 = 5_000,
        /// at most so many bytes in one request,
        pub batch_bytes: ByteSize = ByteSize(2 << 20),
        /// or when the oldest sample has waited for so long.
        pub flush_interval: Duration = Duration::from_secs(1),
        /// The most until a request is answered.
        pub timeout: Duration = Duration::from_secs(10),
        /// What to write first after an outage: all in order (`oldest`), or what is new and then the
        /// rest (`newest`).
        pub catch_up: CatchUp = CatchUp::Oldest,
        /// The most memory samples may take while neither the database nor the journal takes them;
        /// then the oldest go.
        pub max_buffer: ByteSize = ByteSize(64 << 20),
    }
    check(settings, table) { settings.check(table); }
}

/// `[influxdb.NAME]`.
pub type Config = http::Config<Settings>;

impl Config {
    pub(super) fn pace(&self) -> Pace {
        let Settings { batch_points, flush_interval, catch_up, max_buffer, .. } = self.settings;
        Pace::new(batch_points, flush_interval, catch_up, max_buffer)
    }
}

/// A request beyond this is refused by every server in its default configuration.
const BATCH_BYTES_MAX: u64 = 256 << 20;

impl Settings {
    fn check(&self, table: &mut Table<'_, '_, '_>) {
        let login = Login {
            url: &self.url,
            username: self.username.as_ref(),
            password: self.password.as_ref(),
            token: self.token.as_ref(),
        };
        login.check(table);
        let (takes, needs): (&[&str], &[&str]) = match self.api {
            Api::V1 => (&["database", "username", "password", "retention_policy"], &["database"]),
            Api::V2 => (&["org", "bucket", "token"], &["org", "bucket"]),
            Api::V3 => (&["database", "token"], &["database"]),
        };
        let api = self.api.as_str();
        for key in
            ["database", "username", "password", "retention_policy", "org", "bucket", "token"]
        {
            if table.has(key) && !takes.contains(&key) {
                let takes = takes.join(", ");
                table.error(
                    key,
                    format!("`{key}` has no meaning with api = \"{api}\", which takes {takes}"),
                );
            }
            if !table.has(key) && needs.contains(&key) {
                table.error(key, format!("api = \"{api}\" needs the key `{key}`"));
            }
        }
        for (key, value) in
            [("database", &self.database), ("org", &self.org), ("bucket", &self.bucket)]
        {
            if value.as_ref().is_some_and(String::is_empty) {
                table.error(key, format!("`{key}` is empty"));
            }
        }
        if self.username.as_ref().is_some_and(|user| user.contains(':')) {
            table.error("username", "a user's name cannot have a colon");
        }
        if self.batch_points == 0 {
            table.error("batch_points", "must be at least 1");
        }
        if !(1_024..=BATCH_BYTES_MAX).contains(&self.batch_bytes.0) {
            table.error("batch_bytes", "must be from 1KiB to 256MiB");
        } else if self.max_buffer.0 < self.batch_bytes.0 {
            table.error("max_buffer", "must be at least `batch_bytes`");
        }
    }
}

/// What is read of an answer: InfluxDB 3 lists the lines it left out.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Writes to one database.
pub type Writer = http::Writer<LineProtocol>;

impl Writer {
    /// For one sink; connects when it writes.
    #[must_use]
    pub fn new(config: &Config, name: &str, env: &SinkEnv) -> Self {
        let settings = &config.settings;
        let client = config.client(settings.timeout, ANSWER_BYTES_MAX);
        let limit = Limit {
            points: settings.batch_points as usize,
            bytes: usize::try_from(settings.batch_bytes.0).unwrap_or(usize::MAX),
        };
        let protocol = LineProtocol {
            endpoint: Endpoint::new(settings),
            encoder: Encoder::new(env.catalogue.clone()),
        };
        Self::with(protocol, client, limit, Quarantine::new(&env.state_dir, name))
    }
}

/// Line protocol by HTTP.
#[derive(Debug)]
pub struct LineProtocol {
    endpoint: Endpoint,
    encoder: Encoder,
}

impl Protocol for LineProtocol {
    fn encode(&mut self, batch: &Batch, from: usize, limit: Limit, lines: &mut Lines) -> usize {
        self.encoder.encode(batch, from, limit, lines)
    }

    fn request(&self, lines: Bytes) -> Request {
        self.endpoint.request(lines)
    }

    fn judge(&self, response: &Response, lines: usize) -> Verdict {
        self.endpoint.judge(response, lines)
    }

    fn shown(lines: &[u8]) -> Vec<u8> {
        lines.to_vec()
    }
}

#[cfg(test)]
mod tests;
