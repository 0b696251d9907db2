//! Hears what comes back on a socket: replies with the time the kernel took them in, and the error
//! messages of its error queue.

use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    ControlMessageOwned as Control, MsgFlags, RecvMsg, SockaddrStorage, recvmsg,
};
use nix::sys::time::TimeSpec;
use tokio::io::Interest;
use tokio::time::Instant;

use super::flight::Echo;
use super::socket::Line;
use crate::sample::{Moment, Timestamp};
use crate::wire::icmp;

/// What is kept of a packet: an IPv4 header with all its options, and the head of a message. The
/// payload is what was sent.
const PACKET_BYTES_MAX: usize = 60 + icmp::HEADER_BYTES;

/// Most packets heard in one go, so that other tasks get their turn under load.
const HEARD_MAX: usize = 256;

/// Most errors in one go: each is told once, and comes with an error message that arrived.
const ERRORS_MAX: usize = 16;

/// Where packets and what the kernel says about them are put.
struct Buffers {
    packet: [u8; PACKET_BYTES_MAX],
    control: Vec<u8>,
}

/// How hearing came to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// There is no more.
    All,
    /// There may be more.
    Enough,
    /// Nothing but errors: the socket is broken.
    Errors,
}

/// Hears until dropped, or until the socket breaks.
pub(super) async fn receive(line: Arc<Line>) {
    let control = nix::cmsg_space!(
        libc::timespec,
        libc::c_int,
        libc::sock_extended_err,
        libc::sockaddr_in6
    );
    let mut buffers = Buffers { packet: [0; PACKET_BYTES_MAX], control };
    let wanted = Interest::READABLE | Interest::ERROR;
    // An error means that the runtime ends.
    while let Ok(mut guard) = line.socket.ready(wanted).await {
        let errors = if guard.ready().is_error() {
            hear(&line, &mut buffers, MsgFlags::MSG_ERRQUEUE)
        } else {
            Heard::All
        };
        let replies = hear(&line, &mut buffers, MsgFlags::empty());
        match (errors, replies) {
            (Heard::All, Heard::All) => guard.clear_ready(),
            (Heard::Errors, _) | (_, Heard::Errors) => return,
            _ => {}
        }
    }
}

fn hear(line: &Line, buffers: &mut Buffers, queue: MsgFlags) -> Heard {
    let moment = Moment::now();
    let descriptor = line.socket.get_ref().as_raw_fd();
    let flags = queue | MsgFlags::MSG_DONTWAIT;
    let mut errors = 0;
    for _ in 0..HEARD_MAX {
        let mut packet = [IoSliceMut::new(&mut buffers.packet)];
        let control = Some(&mut buffers.control[..]);
        match recvmsg::<SockaddrStorage>(descriptor, &mut packet, control, flags) {
            Ok(message) if queue.is_empty() => _ = reply(line, &message, moment),
            Ok(message) => _ = error(line, &message),
            Err(Errno::EAGAIN) => return Heard::All,
            // An error message that came in fails the next call as well; it is in the error queue.
            Err(_) => errors += 1,
        }
        if errors > ERRORS_MAX {
            return Heard::Errors;
        }
    }
    Heard::Enough
}

/// Takes a reply; what is none is `None`, and of no interest.
fn reply(line: &Line, message: &RecvMsg<'_, '_, SockaddrStorage>, moment: Moment) -> Option<()> {
    let from = address(message.address.as_ref()?)?;
    let mut bytes = message.iovs().next()?;
    if line.raw && from.is_ipv4() {
        bytes = icmp::without_ipv4_header(bytes)?;
    }
    let echo = icmp::reply(line.version, bytes)?;
    if line.raw && echo.identifier != line.identifier {
        return None;
    }
    let (mut ttl, mut stamp) = (None, None);
    for told in message.cmsgs().ok()? {
        match told {
            Control::Ipv4Ttl(limit) | Control::Ipv6HopLimit(limit) => ttl = u8::try_from(limit).ok(),
            Control::ScmTimestampns(time) => stamp = Some(time),
            _ => {}
        }
    }
    let at = arrival(stamp, moment);
    line.with_table(|table| table.replied(from, echo.sequence, at, ttl));
    Some(())
}

/// When a packet came: by the kernel's stamp, since it may have waited for us. A stamp that is not
/// of the last while is of a clock that has been stepped.
fn arrival(stamp: Option<TimeSpec>, moment: Moment) -> Instant {
    let now = Instant::now();
    stamp
        .and_then(|time| {
            let nanos = time.tv_sec().checked_mul(1_000_000_000)?.checked_add(time.tv_nsec())?;
            moment.instant_of(Timestamp::from_nanos(nanos))
        })
        .filter(|at| *at <= now)
        .unwrap_or(now)
}

/// Takes an error message (ip(7) and ipv6(7), `IP_RECVERR`): the bytes are what it quotes, the
/// address is where that was sent.
fn error(line: &Line, message: &RecvMsg<'_, '_, SockaddrStorage>) -> Option<()> {
    let to = address(message.address.as_ref()?)?;
    let echo = icmp::quoted(line.version, message.iovs().next()?)?;
    if line.raw && echo.identifier != line.identifier {
        return None;
    }
    let (told, from) = message.cmsgs().ok()?.find_map(|told| match told {
        Control::Ipv4RecvErr(told, from) => {
            let from = from.map(|from| Ipv4Addr::from(u32::from_be(from.sin_addr.s_addr)));
            Some((told, from.map(IpAddr::V4)))
        }
        Control::Ipv6RecvErr(told, from) => {
            let from = from.map(|from| Ipv6Addr::from(from.sin6_addr.s6_addr));
            Some((told, from.map(IpAddr::V6)))
        }
        _ => None,
    })?;
    // What the host itself has to say, sending says too.
    if !matches!(told.ee_origin, libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6) {
        return None;
    }
    let echo_is =
        Echo::Unreachable { from: from.unwrap_or(to), kind: told.ee_type, code: told.ee_code };
    line.with_table(|table| table.unreachable(to, echo.sequence, echo_is));
    Some(())
}

fn address(socket: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = socket.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    v4.or_else(|| socket.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
}
