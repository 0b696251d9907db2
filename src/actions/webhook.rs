//! `webhook = { url = "https://…" }`: sends the notice by HTTP.
//!
//! Without `body` the request carries the [`Notice`] as JSON:
//!
//! ```json
//! { "rule": "gateway-down", "state": "firing", "severity": "critical",
//!   "labels": { "target": "gateway" }, "value": 0.0, "reason": "0 == 0",
//!   "summary": "gateway does not answer", "description": "",
//!   "since": "2026-01-01T00:00:00.000Z", "at": "2026-01-01T00:00:05.000Z",
//!   "fingerprint": "51c3f6a2c0de77a1" }
//! ```
//!
//! `state` is `firing` or `inactive`; `value` is `null` where no data decided. With `body`, a
//! template over the same names, it carries that text; inside JSON write
//! `{{ summary | tojson }}`, which quotes and escapes.
//!
//! 2xx is done; 408, 425, 429 and 5xx are tried again, not before the time `Retry-After` asks for;
//! everything else is given up on, redirects included: they are not followed. The URL of a webhook
//! is often its password, so messages name the host alone.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName};
use serde_json::Value as Json;
use url::Url;

use super::{Action, Kind, Notice, Rejected};
use crate::config::read::{Context, FromTable, FromToml, Key, Node, Table};
use crate::config::{Secret, no_url};
use crate::http_client::{self, HttpClient, HttpErrorKind, Options, Request, Response};
use crate::pollers::Shared;
use crate::template::Template;
use crate::tls::Tls;

crate::choice! {
    /// How a webhook is called.
    pub enum Verb { Post = "POST", Put = "PUT", Patch = "PATCH", Get = "GET" }
}

crate::config! {
    /// The keys of a webhook besides those about TLS.
    pub struct Call {
        /// Where to; a secret if it is one: `{ env = "HOOK_URL" }`.
        pub url: HookUrl,
        /// How; `GET` sends no body.
        pub method: Verb = Verb::Post,
        /// Headers: texts, which are templates, or secrets such as `{ env = "HOOK_TOKEN" }`.
        pub headers: Headers,
        /// A template of the body; default the notice as JSON.
        pub body: Option<Template>,
        /// The type of the body.
        pub content_type: String = "application/json".into(),
    }
    check(call, table) {
        if http_client::secret(&call.content_type).is_none() {
            table.error("content_type", "cannot be written in a header");
        }
        if call.method == Verb::Get && call.body.is_some() {
            table.error("body", "a GET has none");
        }
    }
}

/// Sends notices by HTTP.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// What is sent where.
    pub call: Call,
    /// Whom it trusts.
    pub tls: Tls,
}

impl FromTable for Config {
    fn from_table(table: &mut Table<'_, '_, '_>) -> Option<Self> {
        let (call, tls) = (Call::from_table(table), Tls::from_table(table));
        Some(Self { call: call?, tls: tls? })
    }

    fn keys() -> Vec<Key> {
        Call::keys().into_iter().chain(Tls::keys()).collect()
    }
}

/// A URL of which nobody is shown more than the host.
#[derive(Clone, PartialEq)]
pub struct HookUrl(Url);

impl HookUrl {
    fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }
}

impl fmt::Debug for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/***", self.0.scheme(), self.host())
    }
}

impl FromToml for HookUrl {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        let secret = Secret::from_toml(node, cx)?;
        match Url::parse(secret.reveal()) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
                Some(Self(url))
            }
            Ok(_) => {
                cx.error(node.span(), "a webhook's URL begins with http:// or https:// and a host");
                None
            }
            Err(error) => {
                cx.error(node.span(), format!("not a URL: {}", no_url(error)));
                None
            }
        }
    }

    fn schema() -> Json {
        Secret::schema()
    }
}

/// Headers of a request.
#[derive(Clone, PartialEq, Default)]
pub struct Headers(Vec<(HeaderName, Header)>);

#[derive(Clone, PartialEq)]
enum Header {
    Template(Template),
    Secret(Secret),
}

/// Values are not shown: a token may stand in the clear.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// Headers the client writes itself.
const OWN_HEADERS: [&str; 4] = ["host", "content-length", "transfer-encoding", "connection"];

impl FromToml for Headers {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        let table = Table::new(node, "", cx)?;
        let mut headers = Some(Vec::new());
        for (key, value) in table.entries() {
            let text = key.get_ref();
            let name = match HeaderName::from_bytes(text.as_bytes()) {
                Ok(name) if OWN_HEADERS.contains(&name.as_str()) => {
                    table.cx.error(key.span(), format!("`{name}` is set by watchpost"));
                    None
                }
                Ok(name) => Some(name),
                Err(_) => {
                    table.cx.error(key.span(), format!("`{text}` is not the name of a header"));
                    None
                }
            };
            let header = if value.get_ref().is_table() {
                Secret::from_toml(value, table.cx).map(Header::Secret)
            } else {
                Template::from_toml(value, table.cx).map(Header::Template)
            };
            match (name, header, &mut headers) {
                (Some(name), Some(header), Some(headers)) => headers.push((name, header)),
                _ => headers = None,
            }
        }
        headers.map(Self)
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }

    fn schema() -> Json {
        BTreeMap::<String, Secret>::schema()
    }
}

/// The most until TCP is connected, so that a silent address leaves time for nothing else.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of an answer that are read: its first words, in case they say what is wrong.
const ANSWER_BYTES_MAX: usize = 4 << 10;

impl Kind for Config {
    type Action = Webhook;

    const TELLS_PEOPLE: bool = true;

    // The client ends a request itself, and knows better what was missing.
    const GRACE: Duration = Duration::from_millis(500);

    fn action(&self, timeout: Duration, _: &Arc<Shared>) -> Webhook {
        let options = Options {
            tls: self.tls.clone(),
            connect_timeout: CONNECT_TIMEOUT.min(timeout),
            timeout,
            body_bytes_max: ANSWER_BYTES_MAX,
        };
        Webhook { call: self.call.clone(), client: HttpClient::new(options) }
    }
}

/// Sends notices by HTTP.
#[derive(Debug)]
pub struct Webhook {
    call: Call,
    client: HttpClient,
}

impl Action for Webhook {
    async fn fire(&self, notice: &Notice) -> Result<String, Rejected> {
        let request = self.request(notice).map_err(Rejected::Permanent)?;
        let host = self.call.url.host();
        match self.client.send(request).await {
            Ok(response) => judged(host, &response),
            Err(error) => {
                let message = format!("webhook at {host}: {}", error.context());
                Err(match error.kind {
                    HttpErrorKind::Invalid => Rejected::Permanent(message),
                    _ => Rejected::temporary(message),
                })
            }
        }
    }
}

impl Webhook {
    fn request(&self, notice: &Notice) -> Result<Request, String> {
        let call = &self.call;
        let mut request = Request::new(method(call.method), call.url.0.clone());
        if call.method != Verb::Get {
            request.body = match &call.body {
                Some(body) => {
                    let text = body.render(notice);
                    text.map_err(|error| format!("cannot render the body: {error}"))?.into()
                }
                None => Bytes::from(
                    serde_json::to_vec(notice).expect("strings, numbers and maps of them are JSON"),
                ),
            };
            add(&mut request.headers, &CONTENT_TYPE, &call.content_type)?;
        }
        for (name, header) in &call.headers.0 {
            match header {
                Header::Secret(secret) => add(&mut request.headers, name, secret.reveal())?,
                Header::Template(template) => {
                    let text = template.render(notice);
                    let text = text.map_err(|error| format!("cannot render `{name}`: {error}"))?;
                    add(&mut request.headers, name, &text)?;
                }
            }
        }
        Ok(request)
    }
}

fn method(verb: Verb) -> Method {
    match verb {
        Verb::Post => Method::POST,
        Verb::Put => Method::PUT,
        Verb::Patch => Method::PATCH,
        Verb::Get => Method::GET,
    }
}

/// A line break from a label must not begin another header.
fn add(headers: &mut HeaderMap, name: &HeaderName, text: &str) -> Result<(), String> {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let value = http_client::secret(line.trim())
        .ok_or_else(|| format!("the value of `{name}` cannot be written in a header"))?;
    headers.insert(name, value);
    Ok(())
}

fn judged(host: &str, response: &Response) -> Result<String, Rejected> {
    let status = response.status;
    if status.is_success() {
        return Ok(format!("{host} answered {}", status.as_u16()));
    }
    let words = response.words();
    let colon = if words.is_empty() { "" } else { ": " };
    let message = format!("webhook at {host} answered {status}{colon}{words}");
    if response.is_temporary() {
        Err(Rejected::Temporary { message, retry_after: response.retry_after() })
    } else {
        Err(Rejected::Permanent(message))
    }
}

#[cfg(test)]
mod tests;
