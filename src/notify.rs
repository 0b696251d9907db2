//! Shows a daemon's alerts on this desktop: what `watchpost notify` does, run by the user, because
//! a system service cannot reach a user's session.
//!
//! It listens to the daemon's `/api/events` and shows what comes through the action `desktop`,
//! with that one's order, retries and bounds. At its first connection it also shows what fires
//! already, the worst first, as who logs in wants to know. What happened while it was not connected
//! later it asks the daemon for when it is back, who keeps a bounded number of events.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use hyper::header::{ACCEPT, AUTHORIZATION, HeaderName, HeaderValue};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};
use url::Url;

use crate::actions::{ActionConfig, Actions, KindConfig, Notice, desktop};
use crate::backoff::Backoff;
use crate::config::{Named, Secret};
use crate::http_client::{HttpClient, Options, Request, Stream, secret, without_secrets};
use crate::metrics::Metrics;
use crate::pollers::Shared;
use crate::rules::Severity;
use crate::sample::Clock;
use crate::tls::Tls;
use crate::wire::sse::{Item, Parser};

/// Between two attempts to connect: at first this long at least, …
const RECONNECT_MIN: Duration = Duration::from_secs(1);

/// … later at most this long: an alert on the screen should not wait for longer.
const RECONNECT_MAX: Duration = Duration::from_secs(30);

/// The daemon says something every 15 seconds, if only that it is there.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// How a client says which event it had last (WHATWG HTML, 9.2.4).
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Which daemon, and what of it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The daemon's address, such as `http://127.0.0.1:9465`.
    pub url: Url,
    /// What the daemon wants to be shown.
    pub token: Option<Secret>,
    /// Whom a connection by TLS trusts.
    pub tls: Tls,
    /// What is less severe is not shown.
    pub min_severity: Severity,
}

/// What makes it pointless to go on.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// There is no session to show anything in.
    #[error("no desktop session: neither $DBUS_SESSION_BUS_ADDRESS nor $XDG_RUNTIME_DIR/bus")]
    NoSession,
    /// The daemon's address or token cannot be used.
    #[error("cannot ask {0}")]
    Invalid(String),
    /// The daemon says no, and will say so again.
    #[error("{url} answers {status}: {words}")]
    Refused {
        /// What was asked.
        url: String,
        /// The answer.
        status: hyper::StatusCode,
        /// What to do about it.
        words: &'static str,
    },
}

/// Shows alerts until it is dropped, connecting again and again.
///
/// # Errors
/// There is no desktop session, or the daemon will never talk to us.
pub async fn run(settings: Settings) -> Result<(), NotifyError> {
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(std::path::PathBuf::from);
    let bus = runtime_dir.is_some_and(|dir| dir.join("bus").exists());
    if !bus && std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_none() {
        return Err(NotifyError::NoSession);
    }
    let name: Arc<str> = "desktop".into();
    let shown = Named {
        name: name.clone(),
        value: ActionConfig::new(KindConfig::Desktop(Arc::new(desktop::Config {}))),
    };
    let shared = Arc::new(Shared::new(Arc::new(Clock::system())));
    let actions = Actions::start(&[shown], shared, Arc::new(Metrics::default()));
    listen(&settings, |notice| actions.fire(&name, &Arc::new(notice))).await
}

/// Hands over the alerts of a daemon that are severe enough, as they happen.
///
/// # Errors
/// The daemon will never talk to us; being away for any time is none.
pub async fn listen(settings: &Settings, mut show: impl FnMut(Notice)) -> Result<(), NotifyError> {
    let mut request = request(settings)?;
    let url = without_secrets(&request.url);
    let options = Options { tls: settings.tls.clone(), ..Options::default() };
    let client = HttpClient::new(options);
    let mut backoff = Backoff::new(RECONNECT_MIN, RECONNECT_MAX);
    let mut connected = true;
    loop {
        let broke = match client.open(request.clone()).await {
            Ok(mut stream) if stream.status.is_success() => {
                info!(%url, "connected");
                connected = true;
                backoff.reset();
                // What fires already has been shown.
                request.url.set_query(None);
                let (last, broke) = receive(&mut stream, settings.min_severity, &mut show).await;
                if let Some(last) = last.and_then(|id| HeaderValue::from_str(&id).ok()) {
                    request.headers.insert(LAST_EVENT_ID, last);
                }
                broke
            }
            Ok(stream) => match refusal(&stream) {
                Some(words) => {
                    return Err(NotifyError::Refused { url, status: stream.status, words });
                }
                None => format!("answers {}", stream.status),
            },
            Err(error) => error.context().to_owned(),
        };
        if std::mem::take(&mut connected) {
            warn!(%url, error = %broke, "not connected; trying again and again");
        }
        sleep(backoff.next_delay()).await;
    }
}

fn request(settings: &Settings) -> Result<Request, NotifyError> {
    let invalid = |why: &str| NotifyError::Invalid(format!("{}: {why}", settings.url));
    if !matches!(settings.url.scheme(), "http" | "https") {
        return Err(invalid("the address begins with http:// or https://"));
    }
    let joined = settings.url.join("/api/events?firing");
    let url = joined.map_err(|error| invalid(&error.to_string()))?;
    let mut request = Request::new(Method::GET, url);
    request.headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    if let Some(token) = &settings.token {
        let bearer = secret(&format!("Bearer {}", token.reveal()))
            .ok_or_else(|| invalid("the token cannot be written in a header"))?;
        request.headers.insert(AUTHORIZATION, bearer);
    }
    Ok(request)
}

/// Why it is no use to ask again, if it is none.
fn refusal(stream: &Stream) -> Option<&'static str> {
    match stream.status.as_u16() {
        401 | 403 => Some("give its token by --token-file or $WATCHPOST_TOKEN"),
        404 | 405 => Some("there is no watchpost with a live stream"),
        _ => None,
    }
}

/// Reads one connection to its end, and says what that was, and the last event's id.
async fn receive(
    stream: &mut Stream,
    min_severity: Severity,
    show: &mut impl FnMut(Notice),
) -> (Option<String>, String) {
    let mut parser = Parser::new();
    let mut items = Vec::new();
    let mut last = None;
    loop {
        let bytes = match timeout(SILENCE_MAX, stream.chunk()).await {
            Ok(Ok(Some(bytes))) => bytes,
            Ok(Ok(None)) => return (last, "the daemon ended the stream".into()),
            Ok(Err(error)) => return (last, error.context().to_owned()),
            Err(_) => return (last, "the daemon is silent".into()),
        };
        parser.push(&bytes, &mut items);
        for item in items.drain(..) {
            if let Item::Event(event) = &item
                && !event.id.is_empty()
            {
                last = Some(event.id.clone());
            }
            match item {
                Item::Event(event) if event.kind == "alert" => {
                    match serde_json::from_str::<Notice>(&event.data) {
                        Ok(notice) if notice.severity >= min_severity => show(notice),
                        Ok(_) => {}
                        Err(error) => warn!(%error, "an alert that cannot be read"),
                    }
                }
                Item::TooLarge => warn!("an event that is too large to be read"),
                // How long to wait is ours to say; other events are for other readers.
                Item::Event(_) | Item::Retry(_) => {}
            }
        }
    }
}
