//! Writing by HTTP: a request of lines, and what to do about the answer.
//!
//! A request a server refuses because of its lines is halved until the guilty line is found; that
//! one goes to [quarantine](Quarantine), the others are written. Whatever else is refused is kept
//! and tried again: it is the server or the configuration that must change, not the samples.

mod lines;
mod quarantine;

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value as Json;
use url::Url;

use super::{Outcome, Rejected, Sink};
use crate::config::Secret;
use crate::config::read::{Context, FromTable, Node, Table, table_schema};
use crate::http_client::{HttpClient, Options, Request, Response, secret, without_secrets};
use crate::sample::Batch;
use crate::tls::Tls;
pub use lines::{Limit, Lines};
pub use quarantine::Quarantine;

/// What to do about a request that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All lines are written.
    Written,
    /// To be sent in smaller pieces.
    TooLarge(String),
    /// Some lines cannot be written, it is not known which; the others may be written or not.
    Lines(String),
    /// As [`Verdict::Lines`], for lines that are there already or come too late: nobody would mend
    /// them, so they are counted and not kept.
    Late(String),
    /// None of the lines can be written.
    AllLines(String),
    /// These cannot be written, counted from 0, in order; the others are.
    These(Vec<(usize, String)>),
    /// To be sent again as it is.
    Later(Rejected),
}

/// How long to leave a server alone that needs somebody to change something first: a token, a
/// database, an address.
const MISCONFIGURED_SECONDS: u64 = 30;

/// The table of a sink that writes by HTTP.
#[derive(Debug, Clone, PartialEq)]
pub struct Config<S> {
    /// Its own keys.
    pub settings: S,
    /// Those of TLS.
    pub tls: Tls,
}

impl<S: FromTable> Config<S> {
    pub(super) fn read(node: &Node<'_>, shown: &str, cx: &mut Context<'_>) -> Option<Self> {
        let mut table = Table::new(node, shown, cx)?;
        let settings = S::from_table(&mut table);
        let tls = Tls::from_table(&mut table);
        table.finish();
        Some(Self { settings: settings?, tls: tls? })
    }

    pub(super) fn schema() -> Json {
        table_schema(&[S::keys(), Tls::keys()].into_iter().flatten().collect::<Vec<_>>())
    }

    pub(super) fn client(&self, timeout: Duration, answer_bytes_max: usize) -> HttpClient {
        HttpClient::new(Options {
            tls: self.tls.clone(),
            timeout,
            connect_timeout: timeout.min(Options::default().connect_timeout),
            body_bytes_max: answer_bytes_max,
        })
    }
}

/// Where samples go and who writes them, as every sink that writes by HTTP has it.
pub(super) struct Login<'a> {
    pub(super) url: &'a Url,
    pub(super) username: Option<&'a String>,
    pub(super) password: Option<&'a Secret>,
    pub(super) token: Option<&'a Secret>,
}

impl Login<'_> {
    /// Tells what is wrong with it in a sink's table.
    pub(super) fn check(&self, table: &mut Table<'_, '_, '_>) {
        if !matches!(self.url.scheme(), "http" | "https") || self.url.host().is_none() {
            table.error("url", "expected an http or https URL");
        }
        if self.username.is_some() != self.password.is_some() {
            let key = if self.username.is_some() { "username" } else { "password" };
            table.error(key, "`username` and `password` go together");
        }
        if self.token.is_some_and(|token| secret(token.reveal()).is_none()) {
            table.error("token", "the token has characters that cannot be sent in a header");
        }
    }
}

/// What an answer means whose status says it all, whatever was sent.
pub(super) fn judge(url: &Url, response: &Response) -> Verdict {
    match response.status.as_u16() {
        200..=299 => Verdict::Written,
        401 => misconfigured(url, response, "the server does not accept the credentials"),
        403 => misconfigured(url, response, "the credentials do not allow writing"),
        413 => Verdict::TooLarge(response.words()),
        408 | 425 | 429 | 500..=599 => {
            later(url, response, "the server asks for another try", response.retry_after())
        }
        300..=399 => {
            misconfigured(url, response, "the server is elsewhere; redirects are not followed")
        }
        _ => misconfigured(url, response, "the server does not take writes"),
    }
}

/// Somebody must change something first.
pub(super) fn misconfigured(url: &Url, response: &Response, what: &str) -> Verdict {
    later(url, response, what, Some(Duration::from_secs(MISCONFIGURED_SECONDS)))
}

fn later(url: &Url, response: &Response, what: &str, retry_after: Option<Duration>) -> Verdict {
    let (status, words) = (response.status, response.words());
    let told = if words.is_empty() { String::new() } else { format!(": {words}") };
    let message = format!("POST {}: {what} ({status}){told}", without_secrets(url));
    Verdict::Later(Rejected::Temporary { message, retry_after })
}

/// Most requests the search for guilty lines may cost in one batch; twenty lines among 5,000 are
/// found with so many. Past it, what is still refused goes to quarantine as it stands.
pub(super) const SEARCH_REQUESTS_MAX: u32 = 512;

/// What is written, and how its answers are read.
pub trait Protocol: Send + 'static {
    /// Appends the lines of a batch from sample `from` on, until the limit is met; returns with
    /// which sample to go on, or the number of samples when all are done.
    fn encode(&mut self, batch: &Batch, from: usize, limit: Limit, lines: &mut Lines) -> usize;

    /// Forgets what it knows of the lines before: a request is complete.
    fn begin(&mut self) {}

    /// A request that writes these lines.
    fn request(&self, lines: Bytes) -> Request;

    /// What an answer to a write of so many lines means.
    fn judge(&self, response: &Response, lines: usize) -> Verdict;

    /// Lines as a person reads them, each with its newline.
    fn shown(lines: &[u8]) -> Vec<u8>;
}

/// Writes to one server.
#[derive(Debug)]
pub struct Writer<P> {
    protocol: P,
    client: HttpClient,
    limit: Limit,
    quarantine: Quarantine,
    filling: Lines,
    /// What is being written; its text has moved to `body`.
    lines: Lines,
    body: Bytes,
    /// Ranges of lines yet to be written, the next one last.
    todo: Vec<Range<usize>>,
    pub(super) searched: u32,
    outcome: Outcome,
}

impl<P: Protocol> Writer<P> {
    pub(super) fn with(
        protocol: P,
        client: HttpClient,
        limit: Limit,
        quarantine: Quarantine,
    ) -> Self {
        Self {
            protocol,
            client,
            limit,
            quarantine,
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
        self.protocol.begin();
        self.todo.clear();
        self.todo.push(0..self.lines.len());
        self.searched = 0;
        self.outcome = Outcome::default();
    }

    fn halve(&mut self, range: &Range<usize>) {
        let middle = range.start + range.len() / 2;
        self.todo.push(middle..range.end);
        self.todo.push(range.start..middle);
    }

    /// Deals with a range the server does not take as it is: halves it, or gives up the one line.
    async fn refused(&mut self, range: Range<usize>, words: &str, is_search: bool) {
        self.searched += u32::from(is_search);
        if range.len() > 1 && self.searched <= SEARCH_REQUESTS_MAX {
            self.halve(&range);
        } else {
            self.give_up(range, words).await;
        }
    }

    /// Finds the lines that are late one by one, however many they are.
    fn late(&mut self, range: &Range<usize>, words: &str) {
        if range.len() > 1 {
            self.halve(range);
        } else {
            self.outcome.rejected_lines += 1;
            tracing::debug!(words, "the server has a newer sample, or this one");
        }
    }

    async fn give_up(&mut self, range: Range<usize>, words: &str) {
        self.outcome.rejected_lines += range.len() as u64;
        let lines = P::shown(&self.body.slice(self.lines.bytes(&range)));
        self.quarantine.add(&lines, words).await;
    }
}

impl<P: Protocol> Sink for Writer<P> {
    fn fill(&mut self, batch: &Batch, from: usize) -> usize {
        self.protocol.encode(batch, from, self.limit, &mut self.filling)
    }

    async fn write(&mut self) -> Result<Outcome, Rejected> {
        self.begin();
        while let Some(range) = self.todo.last().cloned() {
            let lines = self.body.slice(self.lines.bytes(&range));
            let response = self.client.send(self.protocol.request(lines)).await?;
            let verdict = self.protocol.judge(&response, range.len());
            if let Verdict::Later(rejected) = verdict {
                return Err(rejected);
            }
            self.todo.pop();
            match verdict {
                Verdict::Written => self.outcome.points += self.lines.points(&range),
                Verdict::TooLarge(words) => self.refused(range, &words, false).await,
                Verdict::Lines(words) => self.refused(range, &words, true).await,
                Verdict::Late(words) => self.late(&range, &words),
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
