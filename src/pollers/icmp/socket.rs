//! ICMP sockets: one for all targets that agree on how to send, opened when first asked for.
//!
//! A raw socket is preferred; an unprivileged one ("ping socket") does the same where that is not
//! allowed. Which it became is logged once, and again when that changes.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use nix::sys::socket::{setsockopt, sockopt};
use rustc_hash::FxHashMap;
use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::{AbortHandle, JoinSet};
use tracing::{info, warn};

use super::flight::{Flight, Table};
use super::receive::receive;
use crate::pollers::{PollError, Reason};
use crate::wire::icmp::{self, Version};

/// Receive buffer asked for. The default of 208 KiB holds 256 replies: a stall of 25 ms at 10,000
/// echoes a second loses replies that did arrive. The kernel may give less (`net.core.rmem_max`).
const RECEIVE_BUFFER_BYTES: usize = 8 << 20;

/// How targets that share a socket send.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SocketKey {
    pub(super) ipv6: bool,
    pub(super) source: Option<IpAddr>,
    pub(super) interface: Option<Box<str>>,
    pub(super) dscp: Option<u8>,
    pub(super) ttl: Option<u8>,
}

/// All ICMP sockets that are open.
#[derive(Debug, Default)]
pub struct Sockets {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: FxHashMap<SocketKey, Weak<EchoSocket>>,
    access: Option<Access>,
}

/// What this system lets us do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Raw,
    Unprivileged,
    Denied,
}

/// What to do when no ICMP socket is allowed.
const DENIED: &str = "this system allows watchpost no ICMP socket: set \
    AmbientCapabilities=CAP_NET_RAW in the unit, or `setcap cap_net_raw+ep` on the binary, or \
    `sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"`";

impl Sockets {
    /// The socket for these targets; opened if there is none, or if it has been retired.
    pub(super) fn get(&self, key: &SocketKey) -> Result<Arc<EchoSocket>, PollError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(socket) = state.open.get(key).and_then(Weak::upgrade)
            && !socket.is_retired()
        {
            return Ok(socket);
        }
        let opened = EchoSocket::open(key);
        let access = match &opened {
            Ok(socket) if socket.line.raw => Some(Access::Raw),
            Ok(_) => Some(Access::Unprivileged),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Some(Access::Denied),
            Err(_) => None,
        };
        if access.is_some() && access != state.access {
            state.access = access;
            announce(access);
        }
        match opened {
            Ok(socket) => {
                let socket = Arc::new(socket);
                state.open.retain(|_, open| open.strong_count() > 0);
                state.open.insert(key.clone(), Arc::downgrade(&socket));
                Ok(socket)
            }
            Err(_) if access == Some(Access::Denied) => {
                Err(PollError::new(Reason::Auth, DENIED))
            }
            Err(error) => Err(PollError::io(open_operation(key), &error)),
        }
    }
}

fn announce(access: Option<Access>) {
    match access {
        Some(Access::Raw) => info!(socket = "raw", "icmp uses raw sockets"),
        Some(Access::Unprivileged) => {
            info!(socket = "unprivileged", "icmp uses unprivileged sockets");
        }
        Some(Access::Denied) => warn!("{DENIED}"),
        None => {}
    }
}

fn open_operation(key: &SocketKey) -> String {
    let interface = key.interface.as_ref().map(|name| format!(" on interface {name}"));
    let source = key.source.map(|address| format!(" from {address}"));
    format!("open an ICMP socket{}{}", interface.unwrap_or_default(), source.unwrap_or_default())
}

/// One socket, and the task that hears what comes back. The task ends with the socket's last user.
#[derive(Debug)]
pub(super) struct EchoSocket {
    line: Arc<Line>,
    hearing: AbortHandle,
    _task: JoinSet<()>,
    retired: AtomicBool,
}

impl EchoSocket {
    fn open(key: &SocketKey) -> io::Result<Self> {
        let line = Arc::new(Line::open(key)?);
        let mut task = JoinSet::new();
        let hearing = task.spawn(receive(line.clone()));
        Ok(Self { line, hearing, _task: task, retired: AtomicBool::new(false) })
    }

    pub(super) fn is_ipv6(&self) -> bool {
        self.line.version == Version::V6
    }

    /// Makes room for the echoes of one poll.
    pub(super) fn fly(&self, to: IpAddr, count: u16) -> Result<Flight, PollError> {
        Flight::new(&self.line, to, count)
    }

    /// Takes the socket out of use: the next poll opens another.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// Whether it is of no more use, which it also is when nobody hears what comes back.
    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed) || self.hearing.is_finished()
    }
}

/// What sending and hearing share.
#[derive(Debug)]
pub(super) struct Line {
    /// Watched for what comes, not for room to send: else every packet that leaves would wake us.
    pub(super) socket: AsyncFd<Socket>,
    pub(super) version: Version,
    pub(super) raw: bool,
    /// Tells the replies to this socket from those to others, where the kernel does not.
    pub(super) identifier: u16,
    table: Mutex<Table>,
}

impl Line {
    fn open(key: &SocketKey) -> io::Result<Self> {
        let (version, domain, protocol) = if key.ipv6 {
            (Version::V6, Domain::IPV6, Protocol::ICMPV6)
        } else {
            (Version::V4, Domain::IPV4, Protocol::ICMPV4)
        };
        let (socket, raw) = match Socket::new(domain, Type::RAW, Some(protocol)) {
            Ok(socket) => (socket, true),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                (Socket::new(domain, Type::DGRAM, Some(protocol))?, false)
            }
            Err(error) => return Err(error),
        };
        let identifier = fastrand::u16(..);
        if raw {
            socket.attach_filter(&replies_to(version, identifier))?;
        }
        set_options(&socket, key)?;
        let socket = watch(socket, Interest::READABLE | Interest::ERROR)?;
        Ok(Self { socket, version, raw, identifier, table: Mutex::default() })
    }

    /// Runs something on what is on its way. Short, and never across an await.
    pub(super) fn with_table<T>(&self, what: impl FnOnce(&mut Table) -> T) -> T {
        what(&mut self.table.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends one request now, or says why not.
    pub(super) fn send(&self, sequence: u16, payload: &[u8], to: &SockAddr) -> io::Result<()> {
        let echo = icmp::Echo { identifier: self.identifier, sequence };
        let head = icmp::request(self.version, echo, payload);
        let parts = [IoSlice::new(&head), IoSlice::new(payload)];
        let send = || self.socket.get_ref().send_to_vectored(&parts, to).map(drop);
        match send() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            // It may be another packet's: an error message that comes in fails the next call,
            // whatever that is (icmp(7), IP_RECVERR), and is told by the error queue anyway.
            Err(_) => send(),
            Ok(()) => Ok(()),
        }
    }

    /// Waits until there is room to send.
    pub(super) async fn has_room(&self) -> io::Result<()> {
        let socket = self.socket.get_ref().try_clone()?;
        watch(socket, Interest::WRITABLE)?.writable().await.map(drop)
    }
}

/// Watches a socket for nothing but what is asked for, which tokio's own sockets can not.
#[expect(deprecated, reason = "a Socket owns its descriptor for life; the successor is unsafe")]
fn watch(socket: Socket, interest: Interest) -> io::Result<AsyncFd<Socket>> {
    AsyncFd::with_interest(socket, interest)
}

fn set_options(socket: &Socket, key: &SocketKey) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    if let Some(name) = &key.interface {
        socket.bind_device(Some(name.as_bytes()))?;
    }
    if let Some(source) = key.source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    // RFC 2474 §3: the code point is the six upper bits; the lower two are ECN's.
    let field = key.dscp.map(|dscp| u32::from(dscp) << 2);
    let ttl = key.ttl.map(u32::from);
    if key.ipv6 {
        field.map_or(Ok(()), |field| socket.set_tclass_v6(field))?;
        ttl.map_or(Ok(()), |ttl| socket.set_unicast_hops_v6(ttl))?;
        setsockopt(socket, sockopt::Ipv6RecvHopLimit, &true)?;
        setsockopt(socket, sockopt::Ipv6RecvErr, &true)?;
    } else {
        field.map_or(Ok(()), |field| socket.set_tos_v4(field))?;
        ttl.map_or(Ok(()), |ttl| socket.set_ttl_v4(ttl))?;
        setsockopt(socket, sockopt::Ipv4RecvTtl, &true)?;
        setsockopt(socket, sockopt::Ipv4RecvErr, &true)?;
    }
    setsockopt(socket, sockopt::ReceiveTimestampns, &true)?;
    // Without CAP_NET_ADMIN the buffer is what `rmem_max` allows; neither is worth a failed poll.
    if setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES).is_err() {
        let _unchanged = setsockopt(socket, sockopt::RcvBuf, &RECEIVE_BUFFER_BYTES);
    }
    Ok(())
}

/// Lets a raw socket hear the replies to its own requests alone: it would hear every ICMP message
/// of the host. Error messages come by the error queue, which no filter stops.
///
/// A packet begins with its header in IPv4, and with the message in IPv6 (raw(7), RFC 3542 §3).
fn replies_to(version: Version, identifier: u16) -> [SockFilter; 7] {
    const LOAD_HEADER_LENGTH: u16 = 0xb1;
    const LOAD_INDEX: u16 = 0x01;
    const LOAD_BYTE_AT_INDEX: u16 = 0x50;
    const LOAD_HALF_WORD_AT_INDEX: u16 = 0x48;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let to_message = match version {
        Version::V4 => LOAD_HEADER_LENGTH,
        Version::V6 => LOAD_INDEX,
    };
    [
        SockFilter::new(to_message, 0, 0, 0),
        SockFilter::new(LOAD_BYTE_AT_INDEX, 0, 0, 0),
        SockFilter::new(JUMP_IF_EQUAL, 0, 3, u32::from(version.reply())),
        SockFilter::new(LOAD_HALF_WORD_AT_INDEX, 0, 0, 4),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, u32::from(identifier)),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}
