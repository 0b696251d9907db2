//! Where the API listens, and whom it lets in there: both may change while it does.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::ListenError;
use crate::api::{Access, Server};
use crate::config::{Api, Secret};

/// Connections that wait in the kernel for a place, before it refuses more.
const BACKLOG: u32 = 1_024;

/// A listener on which nobody is served yet.
#[derive(Debug)]
pub(super) struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

impl Bound {
    /// On an address nobody has.
    pub(super) fn open(at: SocketAddr) -> Result<Self, ListenError> {
        Self::bind(at, false).map_err(|error| ListenError(at, error))
    }

    /// `shares` a port that is ours already: otherwise `0.0.0.0` is refused where `127.0.0.1` has
    /// the same port, and there would be no way from one to the other without a gap.
    fn bind(at: SocketAddr, shares: bool) -> io::Result<Self> {
        let socket = if at.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(shares)?;
        socket.bind(at)?;
        let listener = socket.listen(BACKLOG)?;
        // Both must be willing. Only now: to open a port somebody else has must fail.
        SockRef::from(&listener).set_reuse_port(true)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }
}

/// The listener on which the API is served.
#[derive(Debug)]
pub(super) struct Listening {
    server: Server,
    address: SocketAddr,
    access: Arc<Access>,
    /// Ends it and none that comes after it.
    stop: CancellationToken,
}

impl Listening {
    /// Serves until `stop`.
    pub(super) fn start(
        server: Server,
        Bound { listener, address }: Bound,
        token: Option<Secret>,
        tasks: &mut JoinSet<()>,
        stop: CancellationToken,
    ) -> Self {
        let access = Arc::new(Access::new(address, token));
        let shutdown = stop.clone().cancelled_owned();
        tasks.spawn(server.clone().serve(listener, access.clone(), shutdown));
        Self { server, address, access, stop }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens the listener another configuration wants; `None` where it wants the one there is.
    pub(super) fn prepare(&self, old: &Api, new: &Api) -> Result<Option<Bound>, ListenError> {
        let at = new.listen;
        if at == old.listen || at == self.address {
            return Ok(None);
        }
        let bound = Bound::bind(at, at.port() == self.address.port());
        bound.map(Some).map_err(|error| ListenError(at, error))
    }

    /// Demands this token, on the listener that was prepared, if one was. The one before accepts
    /// nothing more, and lets end what is under way by the terms it had: who is connected to it
    /// may not have been meant to be let in by the new ones.
    pub(super) fn change(
        &mut self,
        prepared: Option<Bound>,
        token: Option<Secret>,
        tasks: &mut JoinSet<()>,
        stop: CancellationToken,
    ) {
        let Some(bound) = prepared else { return self.access.demand(token) };
        // Those of listeners that have ended.
        while tasks.try_join_next().is_some() {}
        let next = Self::start(self.server.clone(), bound, token, tasks, stop);
        info!(from = %self.address, to = %next.address, "the API listens on another address");
        std::mem::replace(self, next).stop.cancel();
    }
}
