//! Connections: accepted on one listener after another, within bounds, and an end of each listener
//! that does not wait for ever.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::access::Access;

/// Connections at once, of all listeners; more wait in the kernel's queue until one ends. Enough for a page and a
/// Grafana on many screens, few enough that their buffers stay within 16 MiB.
const CONNECTIONS_MAX: usize = 256;

/// What is buffered of a connection before its header ends, and of a body. hyper reads on in pieces
/// of up to this size, so that a header of twice it may still pass.
const BUFFER_MAX_BYTES: usize = 64 << 10;

/// Header fields of a request; a browser sends about 20.
const HEADERS_MAX: usize = 64;

/// How long a connection may take to send a header, and how long it may be idle between two.
const HEADER_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a client may leave what it was sent unacknowledged before the kernel ends it: what
/// frees the place of one that has vanished, or stopped reading the live stream.
const UNREAD_MAX: Duration = Duration::from_secs(30);

/// A pause after a failed accept: it fails for want of descriptors, which takes time to pass.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long answers under way may take to end when their listener does: a fifth of the five seconds
/// the daemon has to drain.
const GRACE: Duration = Duration::from_secs(1);

/// The API, for one listener after another.
#[derive(Debug, Clone)]
pub struct Server {
    router: Router,
    places: Arc<Semaphore>,
}

impl Server {
    pub(super) fn new(router: Router) -> Self {
        Self { router, places: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }
    }

    /// Serves on a listener that is bound already, and whom `access` lets in, until `shutdown` is
    /// done; then ends streams, lets answers under way end for [`GRACE`], and returns.
    pub async fn serve(
        self,
        listener: TcpListener,
        access: Arc<Access>,
        shutdown: impl Future<Output = ()>,
    ) {
        let closing = CancellationToken::new();
        let mut connections = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        let mut accepts = true;
        loop {
            let accept = async {
                let place = self.places.clone().acquire_owned().await.expect("never closed");
                (listener.accept().await, place)
            };
            tokio::select! {
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => {}
                (accepted, place) = accept => match accepted {
                    Ok((stream, peer)) => {
                        accepts = true;
                        let (router, access) = (self.router.clone(), access.clone());
                        let closing = closing.clone();
                        connections.spawn(async move {
                            connection(stream, Peer(peer.ip()), access, router, closing).await;
                            drop(place);
                        });
                    }
                    Err(error) => {
                        if std::mem::replace(&mut accepts, false) {
                            tracing::warn!(%error, "cannot accept connections");
                        }
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        access.end();
        closing.cancel();
        let drained = async { while connections.join_next().await.is_some() {} };
        if timeout(GRACE, drained).await.is_err() {
            tracing::debug!(left = connections.len(), "connections were cut off");
        }
    }
}

/// Whom a request came from, as an extension of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

async fn connection(
    stream: TcpStream,
    peer: Peer,
    access: Arc<Access>,
    router: Router,
    closing: CancellationToken,
) {
    let socket = SockRef::from(&stream);
    // Either refused by a strange kernel costs latency or a place, no more.
    if let Err(error) =
        socket.set_tcp_nodelay(true).and_then(|()| socket.set_tcp_user_timeout(Some(UNREAD_MAX)))
    {
        tracing::debug!(%error, "cannot set options of a connection");
    }
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(access.clone());
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_MAX_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}
