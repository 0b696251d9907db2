//! One request and its answer over a connection of its own, with the time each phase took.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, HOST, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::{AlertDescription, Error as RustlsError};
use tokio_util::either::Either;
use url::{Host, Position, Url};

use super::{Config, Hop, Settings};
use crate::pollers::resolve::connect;
use crate::pollers::{PollError, Reason, Shared};
use crate::sample::{Readings, Timestamp};
use crate::tls::Tls;

/// Most bytes of an answer's status line and header, and of what is read ahead of the body.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// What a request says it is from.
const AGENT: &str = concat!("watchpost/", env!("CARGO_PKG_VERSION"));

/// The phases of a request, in the order they come.
#[derive(Debug, Clone, Copy)]
enum Phase {
    Resolve,
    Connect,
    Tls,
    Processing,
    Transfer,
}

impl Phase {
    const NAMES: [&str; 5] = ["resolve", "connect", "tls", "processing", "transfer"];
}

/// The seconds each phase has taken so far.
#[derive(Debug, Default)]
pub(super) struct Phases {
    seconds: [f64; Phase::NAMES.len()],
}

impl Phases {
    /// Adds the time since `started`, and writes the sum at once: a poll that fails later has
    /// still come this far.
    fn end(&mut self, phase: Phase, started: Instant, out: &mut Readings) -> Instant {
        let now = Instant::now();
        let sum = &mut self.seconds[phase as usize];
        *sum += now.duration_since(started).as_secs_f64();
        let name = Phase::NAMES[phase as usize];
        out.push_tagged("http", "phase_seconds", &[("phase", name)], *sum);
        now
    }
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) location: Option<String>,
    /// What was kept of the body: nothing where nothing is matched against it.
    pub(super) body: Vec<u8>,
    /// Whether the body goes on beyond what was read.
    pub(super) is_cut: bool,
}

/// Makes one request.
pub(super) async fn exchange(
    hop: &Hop,
    config: &Config,
    shared: &Shared,
    phases: &mut Phases,
    out: &mut Readings,
) -> Result<Answer, PollError> {
    let started = Instant::now();
    let (host, port) = host_and_port(&hop.url)?;
    let addresses = shared.resolver.lookup(&host, port, config.settings.family).await?;
    let resolved = phases.end(Phase::Resolve, started, out);
    let stream = open(&addresses).await?;
    let connected = phases.end(Phase::Connect, resolved, out);
    let (stream, ready) = if hop.url.scheme() == "https" {
        let stream = secure(stream, host, &config.tls, out).await?;
        (Either::Right(stream), phases.end(Phase::Tls, connected, out))
    } else {
        (Either::Left(stream), connected)
    };

    let mut http = http1::Builder::new();
    let handshake = http.max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| failure("connection", &error))?;
    let request = request(hop, &config.settings)?;
    let answered = async {
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|error| failure("request", &error))?;
        let processed = phases.end(Phase::Processing, ready, out);
        out.push("http", "status", f64::from(answer.status().as_u16()));
        let answer = receive(answer, &config.settings, out).await?;
        phases.end(Phase::Transfer, processed, out);
        Ok(answer)
    };
    let mut answered = std::pin::pin!(answered);
    // The connection is driven here, beside the request, and not by a task: it ends with the poll.
    // That it ended, and how, the request learns too.
    tokio::select! {
        biased;
        answer = &mut answered => answer,
        _ = connection => answered.await,
    }
}

fn host_and_port(url: &Url) -> Result<(String, u16), PollError> {
    let host = match url.host() {
        Some(Host::Domain(name)) => name.to_owned(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        None => return Err(PollError::new(Reason::Malformed, format!("{url} has no host"))),
    };
    Ok((host, url.port_or_known_default().unwrap_or(80)))
}

async fn open(addresses: &[SocketAddr]) -> Result<TcpStream, PollError> {
    let stream = connect(addresses).await?;
    // Waiting to fill a segment would be measured as the server's time.
    let set = stream.set_nodelay(true);
    set.map_err(|error| PollError::io("set TCP_NODELAY", &error))?;
    Ok(stream)
}

async fn secure(
    stream: TcpStream,
    host: String,
    tls: &Tls,
    out: &mut Readings,
) -> Result<TlsStream<TcpStream>, PollError> {
    let operation = format!("TLS with {host}");
    let name = ServerName::try_from(host).map_err(|_| {
        PollError::new(Reason::Malformed, format!("{operation}: not a name for a certificate"))
    })?;
    // Files are read each time, so that a certificate that was renewed is taken up.
    let tls = tls.clone();
    let watched = tokio::task::spawn_blocking(move || tls.watched()).await;
    let (mut client, expiry) = watched
        .map_err(|error| PollError::new(Reason::Bug, error.to_string()))?
        .map_err(|error| PollError::new(Reason::Auth, format!("{operation}: {error}")))?;
    // A probe measures a whole handshake, as a new visitor has it.
    client.resumption = Resumption::disabled();
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    let secured = TlsConnector::from(Arc::new(client)).connect(name, stream).await;
    if let Some(expires) = expiry.seconds() {
        let left = Timestamp::from_secs(expires).as_secs_f64() - out.now().as_secs_f64();
        out.push("tls", "expiry_seconds", left);
    }
    secured.map_err(|error| tls_failure(&operation, &error))
}

fn request(hop: &Hop, config: &Settings) -> Result<Request<Full<Bytes>>, PollError> {
    let body = config.body.clone().filter(|_| hop.with_body).unwrap_or_default();
    let target = &hop.url[Position::BeforePath..Position::AfterQuery];
    let authority = &hop.url[Position::BeforeHost..Position::AfterPort];
    let built = Request::builder()
        .method(hop.method.clone())
        .uri(target)
        .header(HOST, authority)
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "*/*")
        .body(Full::new(Bytes::from(body)));
    let mut request = built.map_err(|error| {
        PollError::new(Reason::Malformed, format!("request for {}: {error}", hop.url))
    })?;
    if hop.trusted {
        let headers = request.headers_mut();
        headers.extend(config.authorization().map(|value| (AUTHORIZATION, value)));
        for (name, value) in &config.headers {
            let name = HeaderName::from_bytes(name.as_bytes());
            let value = HeaderValue::from_str(value.reveal());
            if let (Ok(name), Ok(mut value)) = (name, value) {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
        }
    }
    Ok(request)
}

/// Reads the body up to its bound, keeping it only where it will be looked at.
async fn receive(
    answer: Response<Incoming>,
    config: &Settings,
    out: &mut Readings,
) -> Result<Answer, PollError> {
    let (head, mut body) = answer.into_parts();
    let kept_at_all = config.body_matches.is_some() || config.body_not_matches.is_some();
    let (mut kept, mut left) = (Vec::new(), usize::try_from(config.max_body.0).unwrap_or(usize::MAX));
    let whole = left;
    let mut is_cut = false;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| failure("body", &error))?;
        let Ok(mut data) = frame.into_data() else { continue };
        is_cut = data.len() > left;
        data.truncate(left);
        left -= data.len();
        if kept_at_all {
            kept.extend_from_slice(&data);
        }
        if is_cut {
            break;
        }
    }
    out.push("http", "body_bytes", (whole - left) as f64);
    let location = head.headers.get(LOCATION).and_then(|value| value.to_str().ok());
    Ok(Answer {
        status: head.status,
        location: location.map(str::to_owned),
        body: kept,
        is_cut,
    })
}

/// What went wrong, from hyper's words: the system's and TLS's errors are the connection's, all
/// else is bytes that are not HTTP, or that end in the middle.
fn failure(operation: &str, error: &hyper::Error) -> PollError {
    let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    match cause {
        Some(cause) if cause.raw_os_error().is_some() || tls_error(cause).is_some() => {
            tls_failure(operation, cause)
        }
        _ => {
            let detail = error.source().map(|source| format!(": {source}")).unwrap_or_default();
            PollError::new(Reason::Malformed, format!("{operation}: {error}{detail}"))
        }
    }
}

/// What a failure on a TLS stream means: [`Reason::Auth`] where one side did not accept who the
/// other is, [`Reason::Malformed`] where it does not speak TLS as it should.
fn tls_failure(operation: &str, error: &io::Error) -> PollError {
    use AlertDescription as Alert;
    let reason = match tls_error(error) {
        None => return PollError::io(operation, error),
        Some(RustlsError::InvalidCertificate(_) | RustlsError::NoCertificatesPresented) => Reason::Auth,
        Some(RustlsError::AlertReceived(
            Alert::CertificateRequired
            | Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateUnknown
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::AccessDenied,
        )) => Reason::Auth,
        Some(_) => Reason::Malformed,
    };
    PollError::new(reason, format!("{operation}: {error}"))
}

/// TLS's own error, if it is one.
fn tls_error(error: &io::Error) -> Option<&RustlsError> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}
