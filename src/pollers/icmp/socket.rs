//! ICMP sockets: one for all targets that agree on how to send, opened when first asked for.
//!
//! A raw socket is preferred: it tells unreachable messages and the reply's TTL, an unprivileged
//! one ("ping socket") neither. Which it became is logged once, and again when that changes.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg, setsockopt, sockopt};
use rustc_hash::FxHashMap;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use socket2::{SockFilter, SockRef, Type};
use surge_ping::{Client, ICMP};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::pollers::{PollError, Reason};

/// Receive buffer asked for. The default of 208 KiB holds 256 replies: a stall of 25 ms at 10,000
/// echoes a second loses replies that did arrive. The kernel may give less (`net.core.rmem_max`).
const RECEIVE_BUFFER_BYTES: usize = 8 << 20;

/// A socket is suspected dead after this many echoes without any reply …
const SUSPECT_AFTER_LOST: u32 = 32;

/// … and reopened then, though not more often than this: everything may simply be down.
const REOPEN_INTERVAL: Duration = Duration::from_secs(60);

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
            Ok(socket) if socket.raw => Some(Access::Raw),
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
        Some(Access::Unprivileged) => info!(
            socket = "unprivileged",
            "icmp uses unprivileged sockets: no unreachable messages, no icmp_ttl; CAP_NET_RAW gives both"
        ),
        Some(Access::Denied) => warn!("{DENIED}"),
        None => {}
    }
}

fn open_operation(key: &SocketKey) -> String {
    let interface = key.interface.as_ref().map(|name| format!(" on interface {name}"));
    let source = key.source.map(|address| format!(" from {address}"));
    format!("open an ICMP socket{}{}", interface.unwrap_or_default(), source.unwrap_or_default())
}

/// One socket and what its echoes must agree on.
pub(super) struct EchoSocket {
    pub(super) client: Client,
    /// Whether replies come with their TTL, and unreachable messages at all.
    pub(super) raw: bool,
    sequence: AtomicU16,
    lost_in_a_row: AtomicU32,
    opened: Instant,
    retired: AtomicBool,
}

impl std::fmt::Debug for EchoSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EchoSocket").field("raw", &self.raw).finish_non_exhaustive()
    }
}

impl EchoSocket {
    fn open(key: &SocketKey) -> io::Result<Self> {
        let kind = if key.ipv6 { ICMP::V6 } else { ICMP::V4 };
        let mut config = surge_ping::Config::builder().kind(kind).sock_type_hint(Type::RAW);
        if let Some(source) = key.source {
            config = config.bind(SocketAddr::new(source, 0));
        }
        if let Some(interface) = &key.interface {
            config = config.interface(interface);
        }
        if let Some(ttl) = key.ttl {
            config = config.ttl(u32::from(ttl));
        }
        let client = Client::new(&config.build())?;
        let raw = client.get_socket().get_type() == Type::RAW;
        let descriptor = duplicate(client.get_socket().get_native_sock())?;
        set_options(&descriptor, key, raw)?;
        Ok(Self {
            client,
            raw,
            sequence: AtomicU16::new(fastrand::u16(..)),
            lost_in_a_row: AtomicU32::new(0),
            opened: Instant::now(),
            retired: AtomicBool::new(false),
        })
    }

    /// A sequence number no other echo of this socket has had for 65,535 echoes. An unprivileged
    /// socket has one identifier for all its targets, so this alone tells apart two targets of
    /// one address, and a late reply from the one that is awaited.
    pub(super) fn next_sequence(&self) -> u16 {
        self.sequence.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes the socket out of use: the next poll opens another.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    /// Notes that something came back: the socket works.
    pub(super) fn note_reply(&self) {
        // A plain store for every reply would bounce the cache line between threads.
        if self.lost_in_a_row.load(Ordering::Relaxed) != 0 {
            self.lost_in_a_row.store(0, Ordering::Relaxed);
        }
    }

    /// Notes a loss. surge-ping's receiving task ends unseen if it panics, and a socket may
    /// outlive its interface: what hears nothing for long is replaced.
    pub(super) fn note_loss(&self) {
        let lost = self.lost_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        if lost >= SUSPECT_AFTER_LOST && self.opened.elapsed() >= REOPEN_INTERVAL {
            self.retire();
        }
    }
}

fn set_options(descriptor: &OwnedFd, key: &SocketKey, raw: bool) -> io::Result<()> {
    let socket = SockRef::from(descriptor);
    if let Some(dscp) = key.dscp {
        // RFC 2474 §3: the six upper bits; the lower two are ECN's.
        let field = u32::from(dscp) << 2;
        if key.ipv6 { socket.set_tclass_v6(field)? } else { socket.set_tos_v4(field)? }
    }
    // Without CAP_NET_ADMIN the buffer is what `rmem_max` allows; neither is worth a failed poll.
    if setsockopt(descriptor, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES).is_err() {
        let _unchanged = setsockopt(descriptor, sockopt::RcvBuf, &RECEIVE_BUFFER_BYTES);
    }
    if raw && !key.ipv6 {
        socket.attach_filter(REPLIES_AND_ERRORS)?;
    }
    Ok(())
}

/// Lets a raw IPv4 socket hear echo replies (0), unreachable (3), time exceeded (11) and parameter
/// problem (12) alone: it would hear every ICMP message of the host, and a redirect (5) would make
/// surge-ping stop waiting for the reply.
const REPLIES_AND_ERRORS: &[SockFilter] = {
    const LOAD_HEADER_LENGTH: u16 = 0xb1;
    const LOAD_BYTE_AFTER_HEADER: u16 = 0x50;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    &[
        SockFilter::new(LOAD_HEADER_LENGTH, 0, 0, 0),
        SockFilter::new(LOAD_BYTE_AFTER_HEADER, 0, 0, 0),
        SockFilter::new(JUMP_IF_EQUAL, 4, 0, 0),
        SockFilter::new(JUMP_IF_EQUAL, 3, 0, 3),
        SockFilter::new(JUMP_IF_EQUAL, 2, 0, 11),
        SockFilter::new(JUMP_IF_EQUAL, 1, 0, 12),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
};

/// An owned duplicate of a descriptor known only by its number, which is all surge-ping gives.
///
/// Sent to ourselves over a socket pair (unix(7), `SCM_RIGHTS`): the kernel checks the number, so
/// nothing has to be taken on trust.
fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    let (here, there) = UnixStream::pair()?;
    let (byte, rights) = ([IoSlice::new(b"d")], [number]);
    let message = [ControlMessage::ScmRights(&rights)];
    sendmsg::<UnixAddr>(here.as_raw_fd(), &byte, &message, MsgFlags::empty(), None)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut into = [IoSliceMut::new(&mut byte)];
    rustix::net::recvmsg(&there, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut received = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    received
        .find_map(|mut descriptors| descriptors.next())
        .ok_or_else(|| io::Error::other("the descriptor did not come back"))
}
