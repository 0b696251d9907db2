//! Echo requests (RFC 792, RFC 4443): is it there, how far away, how much is lost.
//!
//! A message that a host is unreachable is not a reply. A lost packet has no round-trip time.
//! A reply that comes late, or twice, is dropped by surge-ping without a word: it can not be
//! mistaken for another packet's, and can not be counted either, so there is no
//! `icmp_duplicates`: a zero would be a guess. `icmp_ttl` is there where a raw socket tells it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use surge_ping::{IcmpPacket, PingIdentifier, PingSequence, SurgeError};
use tokio::time::{Instant, sleep_until, timeout};

use crate::config;
use crate::config::read::Table;
use crate::config::{HostPort, Located, Target, show_duration};
use crate::pollers::{Family, Kind, PollError, Poller, Reason, Shared};
use crate::sample::Readings;

mod socket;
mod statistics;
#[cfg(test)]
mod tests;

use socket::{EchoSocket, SocketKey};
pub use socket::Sockets;
use statistics::Statistics;

/// Most packets of one poll: more is a load test.
const COUNT_MAX: u16 = 100;

/// Largest payload: what an IPv4 packet of 65,535 bytes has left beside both headers (RFC 791).
const SIZE_MAX_BYTES: u16 = 65_535 - 20 - 8;

/// Between the packets of a poll where nothing else is said and the timeout allows it.
const PACKET_INTERVAL: Duration = Duration::from_millis(100);

/// Names of interfaces are shorter than 16 bytes (netdevice(7), `IFNAMSIZ`).
const INTERFACE_BYTES_MAX: usize = 15;

config! {
    /// A host that should answer echo requests.
    pub struct Config {
        /// Name or address.
        pub host: HostPort,
        /// Packets a poll, 1 to 100.
        pub count: u16 = 1,
        /// Between the packets of one poll; default 100ms, or less where the timeout needs it.
        pub packet_interval: Option<Located<Duration>>,
        /// Bytes of payload, at most 65507.
        pub size: u16 = 56,
        /// The address to send from.
        pub source: Option<IpAddr>,
        /// The interface to send from.
        pub interface: Option<String>,
        /// The differentiated services code point, 0 to 63.
        pub dscp: Option<u8>,
        /// The time to live (hop limit) to send with.
        pub ttl: Option<u8>,
        /// Which addresses of a name to use: any, ipv4 or ipv6.
        pub family: Family = Family::Any,
    }
    check(config, table) {
        check_host(config, table);
        if !(1..=COUNT_MAX).contains(&config.count) {
            table.error("count", format!("must be from 1 to {COUNT_MAX}"));
        }
        if config.size > SIZE_MAX_BYTES {
            table.error("size", format!("must be at most {SIZE_MAX_BYTES}"));
        }
        if config.dscp.is_some_and(|dscp| dscp > 63) {
            table.error("dscp", "must be from 0 to 63");
        }
        if config.ttl == Some(0) {
            table.error("ttl", "must be at least 1");
        }
        let fine = |name: &String| (1..=INTERFACE_BYTES_MAX).contains(&name.len());
        if !config.interface.as_ref().is_none_or(fine) {
            let message = format!("an interface has a name of 1 to {INTERFACE_BYTES_MAX} bytes");
            table.error("interface", message);
        }
    }
}

fn check_host(config: &Config, table: &mut Table<'_, '_, '_>) {
    if config.host.port.is_some() {
        table.error("host", "an echo request has no port");
    }
    let host: Option<IpAddr> = config.host.host.parse().ok();
    for (key, address) in [("host", host), ("source", config.source)] {
        if let Some(address) = address
            && !config.family.has(address)
        {
            let message = format!("{address} is not an {} address", config.family.as_str());
            table.error(key, message);
        }
    }
    if let (Some(host), Some(source)) = (host, config.source)
        && host.is_ipv4() != source.is_ipv4()
    {
        table.error("source", format!("{source} can not reach {host}: not the same family"));
    }
}

impl Kind for Config {
    type Poller = Icmp;

    fn check(&self, _: Duration, timeout: Duration) -> Result<(), String> {
        let Some(between) = &self.packet_interval else { return Ok(()) };
        let sending = between.value * u32::from(self.count.saturating_sub(1));
        if sending < timeout {
            return Ok(());
        }
        Err(format!(
            "{} packets every {} take {} to send, which must be below the timeout, {}",
            self.count,
            show_duration(between.value),
            show_duration(sending),
            show_duration(timeout)
        ))
    }

    fn poller(&self, target: &Target, shared: &Arc<Shared>) -> Icmp {
        let timeout = target.timeout;
        let fitting = PACKET_INTERVAL.min(timeout / 2 / u32::from(self.count.max(1)));
        Icmp {
            shared: shared.clone(),
            host: self.host.host.as_str().into(),
            family: match self.source {
                Some(IpAddr::V4(_)) => Family::Ipv4,
                Some(IpAddr::V6(_)) => Family::Ipv6,
                None => self.family,
            },
            count: self.count,
            size: self.size.min(SIZE_MAX_BYTES),
            packet_interval: self.packet_interval.as_ref().map_or(fitting, |i| i.value),
            patience: timeout.saturating_sub(MARGIN.min(timeout / 10)),
            key: SocketKey {
                ipv6: false,
                source: self.source,
                interface: self.interface.as_deref().map(Into::into),
                dscp: self.dscp,
                ttl: self.ttl,
            },
            identifier: PingIdentifier(fastrand::u16(..)),
            address: None,
            socket: None,
        }
    }
}

/// How long before the deadline a poll stops waiting, so that it can still say what was lost.
const MARGIN: Duration = Duration::from_millis(10);

/// How long the address of a name is good …
const ADDRESS_LIFETIME: Duration = Duration::from_secs(300);

/// … and how long while it does not answer: it may have moved.
const SILENT_ADDRESS_LIFETIME: Duration = Duration::from_secs(30);

/// What is sent, cut to size: every byte another, so that a link can not compress it to nothing.
static PAYLOAD: [u8; SIZE_MAX_BYTES as usize] = {
    let mut bytes = [0; SIZE_MAX_BYTES as usize];
    let mut i = 0;
    while i < bytes.len() {
        bytes[i] = (i % 251) as u8;
        i += 1;
    }
    bytes
};

/// Sends echo requests to one host.
#[derive(Debug)]
pub struct Icmp {
    shared: Arc<Shared>,
    host: Box<str>,
    family: Family,
    count: u16,
    size: u16,
    packet_interval: Duration,
    /// From the start of a poll until what has not answered is lost.
    patience: Duration,
    key: SocketKey,
    identifier: PingIdentifier,
    address: Option<Address>,
    socket: Option<Arc<EchoSocket>>,
}

#[derive(Debug, Clone, Copy)]
struct Address {
    address: SocketAddr,
    looked_up: Instant,
    answers: bool,
}

/// What became of one packet.
#[derive(Debug, Clone, PartialEq)]
enum Echo {
    Reply { round_trip: Duration, ttl: Option<u8> },
    Lost,
    Unreachable { from: IpAddr, kind: u8, code: u8 },
}

impl Poller for Icmp {
    async fn poll(&mut self, out: &mut Readings) -> Result<(), PollError> {
        let started = Instant::now();
        let until = started + self.patience;
        let address = self.address(started).await?;
        let socket = self.socket(address.ip())?;
        let result = if self.count == 1 {
            let echo = self.echo(&socket, address, until).await;
            report(&[echo], address, out)
        } else {
            // Boxed, as the look-up is: what few targets need, and seldom, would otherwise be room
            // in the future of every one.
            let echoes = Box::pin(self.echoes(&socket, address, until)).await;
            report(&echoes, address, out)
        };
        if let Some(known) = &mut self.address {
            known.answers = result.is_ok();
        }
        result
    }
}

impl Icmp {
    /// Where to send. A name that can no longer be looked up keeps the address it had: the
    /// target is the host, not the name server.
    async fn address(&mut self, now: Instant) -> Result<SocketAddr, PollError> {
        if let Some(known) = self.address {
            let lifetime = if known.answers { ADDRESS_LIFETIME } else { SILENT_ADDRESS_LIFETIME };
            if now.duration_since(known.looked_up) < lifetime {
                return Ok(known.address);
            }
        }
        let lookup = Box::pin(self.shared.resolver.lookup(&self.host, 0, self.family));
        let found = match self.address {
            None => lookup.await?[0],
            Some(known) => match timeout(self.patience / 4, lookup).await {
                Ok(Ok(found)) => found[0],
                Ok(Err(_)) | Err(_) => known.address,
            },
        };
        self.address = Some(Address { address: found, looked_up: now, answers: true });
        Ok(found)
    }

    fn socket(&mut self, address: IpAddr) -> Result<Arc<EchoSocket>, PollError> {
        if let Some(socket) = &self.socket
            && !socket.is_retired()
            && self.key.ipv6 == address.is_ipv6()
        {
            return Ok(socket.clone());
        }
        self.key.ipv6 = address.is_ipv6();
        let socket = self.shared.echo.get(&self.key)?;
        self.socket = Some(socket.clone());
        Ok(socket)
    }

    /// Sends all packets of a poll, each at its time, whether or not those before have answered.
    async fn echoes(
        &self,
        socket: &EchoSocket,
        address: SocketAddr,
        until: Instant,
    ) -> Vec<Result<Echo, PollError>> {
        let mut echoes: Vec<_> = (0..self.count).map(|_| Ok(Echo::Lost)).collect();
        let mut waiting = FuturesUnordered::new();
        let mut next_send = Instant::now();
        let mut sent = 0;
        loop {
            tokio::select! {
                () = sleep_until(next_send), if sent < self.count => {
                    let number = usize::from(sent);
                    waiting.push(async move { (number, self.echo(socket, address, until).await) });
                    sent += 1;
                    next_send += self.packet_interval;
                }
                Some((number, echo)) = waiting.next() => echoes[number] = echo,
                else => return echoes,
            }
        }
    }

    async fn echo(
        &self,
        socket: &EchoSocket,
        address: SocketAddr,
        until: Instant,
    ) -> Result<Echo, PollError> {
        let mut pinger = socket.client.pinger(address.ip(), self.identifier).await;
        if let SocketAddr::V6(address) = address {
            pinger.scope_id(address.scope_id());
        }
        pinger.timeout(until.saturating_duration_since(Instant::now()));
        let sequence = PingSequence(socket.next_sequence());
        let answer = pinger.ping(sequence, &PAYLOAD[..usize::from(self.size)]).await;
        match answer {
            Ok((packet, round_trip)) => {
                socket.note_reply();
                Ok(classify(&packet, round_trip))
            }
            Err(SurgeError::Timeout { .. }) => {
                socket.note_loss();
                Ok(Echo::Lost)
            }
            Err(SurgeError::IOError(error)) => {
                use nix::libc::{EADDRNOTAVAIL, ENODEV, ENXIO};
                if matches!(error.raw_os_error(), Some(ENODEV | ENXIO | EADDRNOTAVAIL)) {
                    socket.retire();
                }
                Err(PollError::io(format!("send an echo request to {}", address.ip()), &error))
            }
            Err(error) => {
                socket.retire();
                let message = format!("echo request to {}: {error}", address.ip());
                Err(PollError::new(Reason::Unreachable, message))
            }
        }
    }
}

/// An echo reply is type 0 (RFC 792) or 129 (RFC 4443 §4.2); all else that comes is an error
/// message about the packet.
fn classify(packet: &IcmpPacket, round_trip: Duration) -> Echo {
    match packet {
        IcmpPacket::V4(packet) => match packet.get_icmp_type().0 {
            0 => Echo::Reply { round_trip, ttl: packet.get_ttl() },
            kind => Echo::Unreachable {
                from: packet.get_source().into(),
                kind,
                code: packet.get_icmp_code().0,
            },
        },
        IcmpPacket::V6(packet) => match packet.get_icmpv6_type().0 {
            129 => Echo::Reply { round_trip, ttl: None },
            kind => Echo::Unreachable {
                from: packet.get_source().into(),
                kind,
                code: packet.get_icmpv6_code().0,
            },
        },
    }
}

/// Writes what is known, and says why the poll failed if nothing came back.
fn report(
    echoes: &[Result<Echo, PollError>],
    address: SocketAddr,
    out: &mut Readings,
) -> Result<(), PollError> {
    let sent = echoes.iter().filter(|echo| echo.is_ok()).count();
    if sent == 0 {
        let failed = echoes.iter().find_map(|echo| echo.as_ref().err());
        return failed.cloned().map_or(Ok(()), Err);
    }
    let trip = |echo: &Result<Echo, PollError>| match echo {
        Ok(Echo::Reply { round_trip, .. }) => Some(*round_trip),
        _ => None,
    };
    let several: Vec<_>;
    let one: [_; 1];
    let trips: &[Option<Duration>] = if let [echo] = echoes {
        one = [trip(echo)];
        &one
    } else {
        several = echoes.iter().map(trip).collect();
        &several
    };
    let received = trips.iter().flatten().count();
    let row = out.row("icmp", &[]);
    if let Some(statistics) = Statistics::of(trips) {
        out.set(row, "rtt_seconds", statistics.mean);
        out.set(row, "rtt_min_seconds", statistics.min);
        out.set(row, "rtt_max_seconds", statistics.max);
        if let Some(jitter) = statistics.jitter {
            out.set(row, "jitter_seconds", jitter);
        }
    }
    out.set(row, "loss_ratio", (sent - received) as f64 / sent as f64);
    out.set(row, "sent", sent as f64);
    out.set(row, "received", received as f64);
    let ttl = echoes.iter().rev().find_map(|echo| match echo {
        Ok(Echo::Reply { ttl, .. }) => *ttl,
        _ => None,
    });
    if let Some(ttl) = ttl {
        out.set(row, "ttl", f64::from(ttl));
    }
    if received > 0 { Ok(()) } else { Err(nothing_received(echoes, address.ip())) }
}

fn nothing_received(echoes: &[Result<Echo, PollError>], address: IpAddr) -> PollError {
    let told = echoes.iter().find_map(|echo| match echo {
        Ok(Echo::Unreachable { from, kind, code }) => Some((from, kind, code)),
        _ => None,
    });
    match told {
        Some((from, kind, code)) => PollError::new(
            Reason::Unreachable,
            format!("{from} says {address} is unreachable (ICMP type {kind}, code {code})"),
        ),
        None => PollError::new(Reason::Timeout, format!("no echo reply from {address}")),
    }
}
