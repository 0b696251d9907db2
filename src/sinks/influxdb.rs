//! InfluxDB 1, 2 and 3, and what speaks like them, VictoriaMetrics for one.
//!
//! A request a server refuses because of its lines is halved until the guilty line is found; that
//! one goes to [`quarantine`], the others are written. Whatever else is refused is kept
//! and tried again: it is the server or the configuration that must change, not the samples.
//! Where the outcome of a request is unknown it is repeated, which changes nothing: a point
//! written twice is the same point.

mod api;
mod encoder;
mod quarantine;
mod verdict;

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value as Json;
use url::Url;

use super::{Outcome, Pace, Rejected, Sink, SinkEnv};
use crate::config::read::{Context, FromTable, Node, Table, table_schema};
use crate::config::{ByteSize, Secret};
use crate::http_client::{HttpClient, Options};
use crate::journal::CatchUp;
use crate::sample::Batch;
use crate::tls::Tls;
use api::Endpoint;
pub use encoder::{Encoder, Limit, Lines};
use quarantine::Quarantine;
use verdict::Verdict;

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
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Its own keys.
    pub settings: Settings,
    /// Those of TLS.
    pub tls: Tls,
}

impl Config {
    pub(super) fn read(node: &Node<'_>, shown: &str, cx: &mut Context<'_>) -> Option<Self> {
        let mut table = Table::new(node, shown, cx)?;
        let settings = Settings::from_table(&mut table);
        let tls = Tls::from_table(&mut table);
        table.finish();
        Some(Self { settings: settings?, tls: tls? })
    }

    pub(super) fn schema() -> Json {
        table_schema(&[Settings::keys(), Tls::keys()].into_iter().flatten().collect::<Vec<_>>())
    }

    pub(super) fn pace(&self) -> Pace {
        Pace {
            points: self.settings.batch_points as usize,
            age: self.settings.flush_interval,
            catch_up: self.settings.catch_up,
            memory_bytes: usize::try_from(self.settings.max_buffer.0).unwrap_or(usize::MAX),
        }
    }
}

/// A request beyond this is refused by every server in its default configuration.
const BATCH_BYTES_MAX: u64 = 256 << 20;

impl Settings {
    fn check(&self, table: &mut Table<'_, '_, '_>) {
        if !matches!(self.url.scheme(), "http" | "https") || self.url.host().is_none() {
            table.error("url", "expected an http or https URL");
        }
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
        if self.username.is_some() != self.password.is_some() {
            let key = if self.username.is_some() { "username" } else { "password" };
            table.error(key, "`username` and `password` go together");
        }
        if self.username.as_ref().is_some_and(|user| user.contains(':')) {
            table.error("username", "a user's name cannot have a colon");
        }
        if self
            .token
            .as_ref()
            .is_some_and(|token| crate::http_client::secret(token.reveal()).is_none())
        {
            table.error("token", "the token has characters that cannot be sent in a header");
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

/// Most requests the search for guilty lines may cost in one batch; twenty lines among 5,000 are
/// found with so many. Past it, what is still refused goes to quarantine as it stands.
const SEARCH_REQUESTS_MAX: u32 = 512;

/// What is read of an answer: InfluxDB 3 lists the lines it left out.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Writes to one database.
#[derive(Debug)]
pub struct Writer {
    client: HttpClient,
    endpoint: Endpoint,
    encoder: Encoder,
    limit: Limit,
    quarantine: Quarantine,
    filling: Lines,
    /// What is being written; its text has moved to `body`.
    lines: Lines,
    body: Bytes,
    /// Ranges of lines yet to be written, the next one last.
    todo: Vec<Range<usize>>,
    searched: u32,
    outcome: Outcome,
}

impl Writer {
    /// For one sink; connects when it writes.
    #[must_use]
    pub fn new(config: &Config, name: &str, env: &SinkEnv) -> Self {
        let settings = &config.settings;
        let client = HttpClient::new(Options {
            tls: config.tls.clone(),
            timeout: settings.timeout,
            connect_timeout: settings.timeout.min(Options::default().connect_timeout),
            body_bytes_max: ANSWER_BYTES_MAX,
        });
        Self {
            client,
            endpoint: Endpoint::new(settings),
            encoder: Encoder::new(env.catalogue.clone()),
            limit: Limit {
                points: settings.batch_points as usize,
                bytes: usize::try_from(settings.batch_bytes.0).unwrap_or(usize::MAX),
            },
            quarantine: Quarantine::new(&env.state_dir, name),
            filling: Lines::default(),
            lines: Lines::default(),
            body: Bytes::new(),
            todo: Vec::new(),
            searched: 0,
            outcome: Outcome::default(),
        }
    }

    /// What was filled becomes what is written.
    fn begin(&mut self) {
        if self.filling.is_empty() {
            return;
        }
        let room = self.filling.text.len();
        self.lines = std::mem::take(&mut self.filling);
        self.body = std::mem::take(&mut self.lines.text).into();
        // The next batch is likely as long; one growing from nothing would be copied many times.
        self.filling.text.reserve(room + room / 8);
        self.todo.clear();
        self.todo.push(0..self.lines.len());
        self.searched = 0;
        self.outcome = Outcome::default();
    }

    /// Deals with a range the server does not take as it is: halves it, or gives up the one line.
    async fn refused(&mut self, range: Range<usize>, words: &str, is_search: bool) {
        self.searched += u32::from(is_search);
        if range.len() > 1 && self.searched <= SEARCH_REQUESTS_MAX {
            let middle = range.start + range.len() / 2;
            self.todo.push(middle..range.end);
            self.todo.push(range.start..middle);
        } else {
            self.give_up(range, words).await;
        }
    }

    async fn give_up(&mut self, range: Range<usize>, words: &str) {
        self.outcome.rejected_lines += range.len() as u64;
        let lines = self.body.slice(self.lines.bytes(&range));
        self.quarantine.add(&lines, words).await;
    }
}

impl Sink for Writer {
    fn fill(&mut self, batch: &Batch, from: usize) -> usize {
        self.encoder.encode(batch, from, self.limit, &mut self.filling)
    }

    async fn write(&mut self) -> Result<Outcome, Rejected> {
        self.begin();
        while let Some(range) = self.todo.last().cloned() {
            let lines = self.body.slice(self.lines.bytes(&range));
            let response = self.client.send(self.endpoint.request(lines)).await?;
            let verdict = self.endpoint.judge(&response, range.len());
            if let Verdict::Later(rejected) = verdict {
                return Err(rejected);
            }
            self.todo.pop();
            match verdict {
                Verdict::Written => self.outcome.points += self.lines.points(&range),
                Verdict::TooLarge(words) => self.refused(range, &words, false).await,
                Verdict::Lines(words) => self.refused(range, &words, true).await,
                Verdict::AllLines(words) => self.give_up(range, &words).await,
                Verdict::These(lines) => {
                    let mut points = self.lines.points(&range);
                    for (line, words) in lines {
                        let line = range.start + line..range.start + line + 1;
                        points -= self.lines.points(&line);
                        self.give_up(line, &words).await;
                    }
                    self.outcome.points += points;
                }
                Verdict::Later(_) => unreachable!("handled above"),
            }
        }
        self.body = Bytes::new();
        Ok(std::mem::take(&mut self.outcome))
    }
}

#[cfg(test)]
mod tests;
