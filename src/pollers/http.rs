//! A URL that should answer as expected, measured phase by phase as a new visitor has it.
//!
//! Every poll opens a connection of its own and drops it. A body is streamed and never kept
//! beyond its bound. Where redirects are followed, each phase is the sum over all hops, and
//! status, body and certificate are those of the last.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use url::Url;

use crate::config;
use crate::config::read::{FromTable, Key, Table};
use crate::config::{ByteSize, Regex, Secret, Target};
use crate::http_client::{basic, secret};
use crate::pollers::{Family, Kind, PollError, Poller, Reason, Shared};
use crate::sample::Readings;
use crate::tls::Tls;

mod exchange;
#[cfg(test)]
mod tests;

use exchange::{Answer, Phases, exchange};

/// Most redirects that can be asked for: browsers stop here too.
const REDIRECTS_MAX: u8 = 20;

/// Most of a body that can be asked for: it is kept while it is matched.
const BODY_BYTES_MAX: u64 = 64 << 20;

config! {
    /// What is asked for, and what is a good answer.
    pub struct Settings {
        /// What to ask for, http or https.
        pub url: Url,
        /// The request's method.
        pub method: String = "GET".into(),
        /// Further header fields; a value may be a secret.
        pub headers: BTreeMap<String, Secret>,
        /// The request's body.
        pub body: Option<String>,
        /// The statuses that are fine; default 200 to 299.
        pub status: Vec<u16>,
        /// What the body must match: a regular expression.
        pub body_matches: Option<Regex>,
        /// What the body must not match: a regular expression.
        pub body_not_matches: Option<Regex>,
        /// Where to stop reading the body; what is matched and counted ends there.
        pub max_body: ByteSize = ByteSize(1 << 20),
        /// How many redirects to follow; one whose status is in `status` is the answer.
        pub follow_redirects: u8 = 5,
        /// The user of basic authentication.
        pub username: Option<String>,
        /// The password of basic authentication.
        pub password: Option<Secret>,
        /// A bearer token.
        pub token: Option<Secret>,
        /// Which addresses of a name to use: any, ipv4 or ipv6.
        pub family: Family = Family::Any,
    }
    check(config, table) {
        check_url(config, table);
        check_request(config, table);
        check_credentials(config, table);
        if config.status.iter().any(|status| !(100..=599).contains(status)) {
            table.error("status", "a status is from 100 to 599");
        }
        if config.follow_redirects > REDIRECTS_MAX {
            table.error("follow_redirects", format!("must be at most {REDIRECTS_MAX}"));
        }
        if !(1..=BODY_BYTES_MAX).contains(&config.max_body.0) {
            table.error("max_body", "must be from 1 byte to 64MiB");
        }
    }
}

fn check_url(config: &Settings, table: &mut Table<'_, '_, '_>) {
    if !matches!(config.url.scheme(), "http" | "https") {
        let message = format!("`{}` is neither http nor https", config.url.scheme());
        table.error("url", message);
    }
    if !config.url.username().is_empty() || config.url.password().is_some() {
        table.error("url", "credentials belong into `username` and `password`, not into the URL");
    }
}

fn check_request(config: &Settings, table: &mut Table<'_, '_, '_>) {
    if Method::from_bytes(config.method.as_bytes()).is_err() {
        table.error("method", format!("`{}` is not a method", config.method));
    }
    for (name, value) in &config.headers {
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            table.error("headers", format!("`{name}` is not the name of a header field"));
        }
        if HeaderValue::from_str(value.reveal()).is_err() {
            table.error("headers", format!("the value of {name} has characters no header may have"));
        }
    }
}

fn check_credentials(config: &Settings, table: &mut Table<'_, '_, '_>) {
    if config.username.is_some() != config.password.is_some() {
        table.error("username", "basic authentication takes both `username` and `password`");
    }
    if config.username.as_ref().is_some_and(|name| name.contains(':')) {
        table.error("username", "a user of basic authentication has no `:` in its name");
    }
    if config.token.is_some() && config.username.is_some() {
        table.error("token", "either a token, or `username` and `password`");
    }
    if config.token.as_ref().is_some_and(|token| HeaderValue::from_str(token.reveal()).is_err()) {
        table.error("token", "the token has characters no header may have");
    }
}

/// `[http.NAME]`: a URL that should answer as expected.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// What is asked for.
    pub settings: Settings,
    /// Of https.
    pub tls: Tls,
}

impl FromTable for Config {
    fn from_table(table: &mut Table<'_, '_, '_>) -> Option<Self> {
        let (settings, tls) = (Settings::from_table(table), Tls::from_table(table));
        Some(Self { settings: settings?, tls: tls? })
    }
    fn keys() -> Vec<Key> {
        let mut keys = Settings::keys();
        keys.extend(Tls::keys());
        keys
    }
}

impl Kind for Config {
    type Poller = Http;

    fn poller(&self, _: &Target, shared: &Arc<Shared>) -> Http {
        Http { config: self.clone(), shared: shared.clone() }
    }
}

impl Settings {
    /// The value of `Authorization` (RFC 7617, RFC 6750), if any.
    fn authorization(&self) -> Option<HeaderValue> {
        match (&self.username, &self.password, &self.token) {
            (Some(username), Some(password), _) => basic(username, password.reveal()),
            (_, _, Some(token)) => secret(&format!("Bearer {}", token.reveal())),
            _ => None,
        }
    }

    fn is_expected(&self, status: StatusCode) -> bool {
        if self.status.is_empty() {
            status.is_success()
        } else {
            self.status.contains(&status.as_u16())
        }
    }
}

/// One request of a chain of redirects.
#[derive(Debug, Clone)]
struct Hop {
    url: Url,
    method: Method,
    /// Whether this is still the server the request is meant for: no other gets its header fields
    /// and credentials (RFC 9110 §15.4).
    trusted: bool,
    /// Whether the body is sent.
    with_body: bool,
}

impl Hop {
    fn first(config: &Settings) -> Self {
        let method = Method::from_bytes(config.method.as_bytes());
        Self {
            url: config.url.clone(),
            method: method.expect("checked when the configuration was read"),
            trusted: true,
            with_body: true,
        }
    }

    /// Where a redirect leads (RFC 9110 §15.4).
    fn next(&self, status: StatusCode, location: &str) -> Result<Self, PollError> {
        let wrong = || {
            let message = format!("{} redirects to what is not an http URL", self.url);
            PollError::new(Reason::Malformed, message)
        };
        let url = self.url.join(location).map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong());
        }
        let becomes_get = match status {
            StatusCode::SEE_OTHER => self.method != Method::HEAD,
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => self.method == Method::POST,
            _ => false,
        };
        Ok(Self {
            trusted: self.trusted && url.origin() == self.url.origin(),
            method: if becomes_get { Method::GET } else { self.method.clone() },
            with_body: self.with_body && !becomes_get,
            url,
        })
    }
}

/// Asks for one URL.
#[derive(Debug)]
pub struct Http {
    config: Config,
    shared: Arc<Shared>,
}

impl Poller for Http {
    async fn poll(&mut self, out: &mut Readings) -> Result<(), PollError> {
        let mut hop = Hop::first(&self.config.settings);
        let mut phases = Phases::default();
        let mut redirects_left = self.config.settings.follow_redirects;
        loop {
            let answer = exchange(&hop, &self.config, &self.shared, &mut phases, out).await?;
            let location = answer.location.as_deref().filter(|_| {
                answer.status.is_redirection()
                    && self.config.settings.follow_redirects > 0
                    && !self.config.settings.is_expected(answer.status)
            });
            let Some(location) = location else { return self.judge(&answer) };
            if redirects_left == 0 {
                let count = self.config.settings.follow_redirects;
                let message = format!("still redirected after {count} redirects");
                return Err(PollError::new(Reason::Refused, message));
            }
            redirects_left -= 1;
            hop = hop.next(answer.status, location)?;
        }
    }
}

impl Http {
    /// Whether an answer is the one that was expected.
    fn judge(&self, answer: &Answer) -> Result<(), PollError> {
        let config = &self.config.settings;
        if !config.is_expected(answer.status) {
            let reason = match answer.status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Reason::Auth,
                _ => Reason::Refused,
            };
            return Err(PollError::new(reason, format!("status {}", answer.status)));
        }
        let text = String::from_utf8_lossy(&answer.body);
        let place = if answer.is_cut {
            format!("the first {} bytes of the body", answer.body.len())
        } else {
            "the body".to_owned()
        };
        let malformed = |message| Err(PollError::new(Reason::Malformed, message));
        match (&config.body_matches, &config.body_not_matches) {
            (Some(wanted), _) if !wanted.0.is_match(&text) => {
                malformed(format!("nothing in {place} matches {}", wanted.0))
            }
            (_, Some(unwanted)) if unwanted.0.is_match(&text) => {
                malformed(format!("something in {place} matches {}", unwanted.0))
            }
            _ => Ok(()),
        }
    }
}
