//! The HTTP/1.1 client of sinks, actions and the commands that talk to the daemon.
//!
//! Keep-alive, a bound on every body, a deadline on every request, and errors that say which sort
//! they are. Refuses to follow redirects, to use proxies and to keep cookies: what it is told to
//! talk to is what it talks to. Errors name the URL without user, password, query and fragment,
//! where secrets live.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, DATE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, StatusCode, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::rustls;
use url::Url;

use crate::sinks::Rejected;
use crate::tls::Tls;

/// Who we say we are.
const AGENT: &str = concat!("watchpost/", env!("CARGO_PKG_VERSION"));

/// Idle connections kept for each server: one writes, another may be split off; more is waste.
const IDLE_CONNECTIONS_MAX: usize = 2;

/// Servers close idle connections after a minute or more; one that idled for longer than this is
/// not worth the risk of writing into a closing connection.
const IDLE_SECONDS_MAX: u64 = 30;

/// Most bytes of a response's head; hyper's own bound is 400 KiB a connection.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Characters of a server's words worth showing.
const SHOWN_CHARS_MAX: usize = 300;

/// How a client behaves.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Whom to trust.
    pub tls: Tls,
    /// The most until TCP is connected.
    pub connect_timeout: Duration,
    /// The most from asking to the last byte of the answer.
    pub timeout: Duration,
    /// What is read of a body; the rest is left, at the price of the connection.
    pub body_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tls: Tls::default(),
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
            body_bytes_max: 16 << 10,
        }
    }
}

/// A request: `user:password@` in the URL becomes `Authorization: Basic` unless `headers` has one.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Where to, `http` or `https`.
    pub url: Url,
    /// Headers besides `Host`, `Content-Length` and `User-Agent`.
    pub headers: HeaderMap,
    /// The body; may be empty.
    pub body: Bytes,
}

impl Request {
    /// Without headers and body.
    #[must_use]
    pub fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: Bytes::new() }
    }
}

/// An answer, of whichever status.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, or its first [`Options::body_bytes_max`] bytes.
    pub body: Bytes,
}

impl Response {
    /// What `Retry-After` asks for, given as seconds or as a date (RFC 9110, 10.2.3).
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(&self.headers)
    }

    /// The beginning of the body on one line, for logs and errors: it is the server's text, so
    /// what is not printable is replaced.
    #[must_use]
    pub fn words(&self) -> String {
        shown(&String::from_utf8_lossy(&self.body))
    }

    /// Whether the same request may be answered otherwise later (RFC 9110, 15.5.9 and 15.6; 429
    /// of RFC 6585; 425 of RFC 8470).
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.status.is_server_error() || matches!(self.status.as_u16(), 408 | 425 | 429)
    }
}

/// Text from outside on one line and within bounds.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut line = String::new();
    for (count, c) in text.trim().chars().enumerate() {
        if count == SHOWN_CHARS_MAX {
            line.push('…');
            break;
        }
        line.push(if c.is_control() { ' ' } else { c });
    }
    line
}

/// A response whose body comes as it likes, such as server-sent events.
#[derive(Debug)]
pub struct Stream {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    body: Incoming,
    asked: Asked,
}

impl Stream {
    /// The next piece of the body; `None` at its end. Waits without limit: the caller knows what
    /// silence means. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => return Err(self.asked.failed(&error)),
            }
        }
    }

    /// The first `max` bytes of the body; the connection is kept only if that is all of it.
    async fn collect(mut self, max: usize) -> Result<Response, HttpError> {
        let mut body = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            let room = max - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                break;
            }
        }
        Ok(Response { status: self.status, headers: self.headers, body: body.freeze() })
    }
}

/// The sort of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpErrorKind {
    /// Not a request: the URL is of another scheme, or a header cannot be written.
    Invalid,
    /// Certificates or keys of ours cannot be used.
    Setup,
    /// The name has no address.
    Resolve,
    /// Nobody listens there.
    Refused,
    /// No way there.
    Unreachable,
    /// No TLS: not trusted, or not understood.
    Tls,
    /// Not in time.
    Timeout,
    /// The connection ended too early.
    Closed,
    /// What came is not HTTP.
    Malformed,
}

/// A request that got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{asked}: {context}")]
pub struct HttpError {
    /// Which sort.
    pub kind: HttpErrorKind,
    asked: Asked,
    context: String,
}

impl HttpError {
    /// What went wrong, without method and URL, for whom even the path is a secret.
    #[must_use]
    pub fn context(&self) -> &str {
        &self.context
    }
}

impl From<HttpError> for Rejected {
    fn from(error: HttpError) -> Self {
        match error.kind {
            HttpErrorKind::Invalid => Self::Permanent(error.to_string()),
            _ => Self::temporary(error.to_string()),
        }
    }
}

/// Method and URL, the latter without its secrets, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    method: Method,
    url: String,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url)
    }
}

impl Asked {
    fn error(&self, kind: HttpErrorKind, context: impl Into<String>) -> HttpError {
        HttpError { kind, asked: self.clone(), context: context.into() }
    }

    /// Sorts what hyper, rustls and the operating system say by the errors behind the error.
    fn failed(&self, error: &(dyn std::error::Error + 'static)) -> HttpError {
        let mut kind = HttpErrorKind::Closed;
        let mut innermost = error;
        let mut next = Some(error);
        while let Some(cause) = next {
            kind = sort(cause).unwrap_or(kind);
            innermost = cause;
            // An io::Error that wraps another error hides it from `source`.
            next = match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
                Some(inner) => Some(inner),
                None => cause.source(),
            };
        }
        self.error(kind, shown(&innermost.to_string()))
    }
}

fn sort(cause: &(dyn std::error::Error + 'static)) -> Option<HttpErrorKind> {
    if cause.is::<rustls::Error>() {
        return Some(HttpErrorKind::Tls);
    }
    if let Some(hyper) = cause.downcast_ref::<hyper::Error>() {
        return hyper.is_parse().then_some(HttpErrorKind::Malformed);
    }
    if let Some(error) = cause.downcast_ref::<io::Error>() {
        return match error.kind() {
            io::ErrorKind::ConnectionRefused => Some(HttpErrorKind::Refused),
            io::ErrorKind::TimedOut => Some(HttpErrorKind::Timeout),
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::AddrNotAvailable => Some(HttpErrorKind::Unreachable),
            _ => None,
        };
    }
    // hyper-util's connector says only by its text that a name did not resolve.
    (cause.to_string() == "dns error").then_some(HttpErrorKind::Resolve)
}

/// A URL fit to be shown: without user, password, query and fragment.
#[must_use]
pub fn without_secrets(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    format!("{}://{host}{port}{}", url.scheme(), url.path())
}

type Connections = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client with its pool of connections; nothing is made before the first request.
///
/// Its connections are tasks of hyper's, which end with the client.
#[derive(Debug)]
pub struct HttpClient {
    options: Options,
    plain: OnceCell<Connections>,
    tls: OnceCell<Connections>,
}

impl HttpClient {
    /// Costs nothing yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options, plain: OnceCell::new(), tls: OnceCell::new() }
    }

    /// Asks, and waits for the whole answer, at most [`Options::timeout`].
    ///
    /// # Errors
    /// There was no answer; an answer of any status is none.
    pub async fn send(&self, request: Request) -> Result<Response, HttpError> {
        let deadline = Instant::now() + self.options.timeout;
        let stream = self.open_until(request, deadline).await?;
        let asked = stream.asked.clone();
        match timeout_at(deadline, stream.collect(self.options.body_bytes_max)).await {
            Ok(response) => response,
            Err(_) => Err(self.too_late(&asked)),
        }
    }

    /// Asks, and waits for the head of the answer, at most [`Options::timeout`].
    ///
    /// # Errors
    /// There was no answer.
    pub async fn open(&self, request: Request) -> Result<Stream, HttpError> {
        self.open_until(request, Instant::now() + self.options.timeout).await
    }

    async fn open_until(&self, request: Request, deadline: Instant) -> Result<Stream, HttpError> {
        let asked = Asked { method: request.method.clone(), url: without_secrets(&request.url) };
        let connections = self.connections(&request.url, &asked).await?;
        let request = prepare(request, &asked)?;
        match timeout_at(deadline, connections.request(request)).await {
            Ok(Ok(response)) => {
                let (head, body) = response.into_parts();
                Ok(Stream { status: head.status, headers: head.headers, body, asked })
            }
            Ok(Err(error)) => Err(asked.failed(&error)),
            Err(_) => Err(self.too_late(&asked)),
        }
    }

    fn too_late(&self, asked: &Asked) -> HttpError {
        let limit = crate::config::show_duration(self.options.timeout);
        asked.error(HttpErrorKind::Timeout, format!("no complete answer within {limit}"))
    }

    async fn connections(&self, url: &Url, asked: &Asked) -> Result<&Connections, HttpError> {
        match url.scheme() {
            "http" => Ok(self.plain.get_or_init(async || self.connect(no_tls())).await),
            "https" => {
                self.tls
                    .get_or_try_init(async || {
                        let tls = self.options.tls.clone();
                        let config = tokio::task::spawn_blocking(move || tls.client_config())
                            .await
                            .map_err(|error| asked.error(HttpErrorKind::Setup, error.to_string()))?
                            .map_err(|error| {
                                asked.error(HttpErrorKind::Setup, error.to_string())
                            })?;
                        Ok(self.connect(config))
                    })
                    .await
            }
            other => {
                let message = format!("`{other}` is neither http nor https");
                Err(asked.error(HttpErrorKind::Invalid, message))
            }
        }
    }

    fn connect(&self, tls: rustls::ClientConfig) -> Connections {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(self.options.connect_timeout));
        tcp.enforce_http(false);
        Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .pool_idle_timeout(Duration::from_secs(IDLE_SECONDS_MAX))
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .build(HttpsConnector::from((tcp, tls)))
    }
}

/// For plain connections, so that they need no roots: it trusts nobody.
fn no_tls() -> rustls::ClientConfig {
    rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("ring has the default protocol versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

fn prepare(request: Request, asked: &Asked) -> Result<hyper::Request<Full<Bytes>>, HttpError> {
    let invalid = |message: &str| asked.error(HttpErrorKind::Invalid, message);
    let Request { method, mut url, mut headers, body } = request;
    if let Some(basic) = basic_of(&url).filter(|_| !headers.contains_key(AUTHORIZATION)) {
        headers.insert(AUTHORIZATION, basic);
    }
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
    // Neither can fail: an http URL has a host, and so may have a user.
    if url.set_username("").is_err() || url.set_password(None).is_err() {
        return Err(invalid("the URL has no host"));
    }
    url.set_fragment(None);
    let uri: Uri = url.as_str().parse().map_err(|_| invalid("the URL cannot be asked for"))?;
    let mut prepared = hyper::Request::new(Full::new(body));
    *prepared.method_mut() = method;
    *prepared.uri_mut() = uri;
    *prepared.headers_mut() = headers;
    Ok(prepared)
}

fn basic_of(url: &Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let decoded = |text| percent_encoding::percent_decode_str(text).decode_utf8_lossy();
    basic(&decoded(url.username()), &decoded(url.password().unwrap_or_default()))
}

/// `Authorization: Basic` (RFC 7617), marked as secret; `None` if the user has a colon.
#[must_use]
pub fn basic(user: &str, password: &str) -> Option<HeaderValue> {
    let pair = format!("{user}:{password}");
    let encoded = data_encoding::BASE64.encode(pair.as_bytes());
    (!user.contains(':')).then(|| secret(&format!("Basic {encoded}"))).flatten()
}

/// A header's value that no debug output shows; `None` if it cannot be a header.
#[must_use]
pub fn secret(value: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(value).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// A date is taken relative to the response's own `Date`, so no clock of ours has a say in it.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let after = text(RETRY_AFTER)?.trim();
    if let Ok(seconds) = after.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date =
        |text: &str| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok();
    let wait = date(after)?.duration_since(date(text(DATE)?)?);
    Some(Duration::try_from(wait).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests;
