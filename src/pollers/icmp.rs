//! Echo requests (RFC 792, RFC 4443): is it there, how far away, how much is lost.
//!
//! A message that a host is unreachable is not a reply. A lost packet has no round-trip time, and
//! a reply that comes after its poll has ended is nobody's. A second reply to one packet is a
//! duplicate, even if it comes after the poll has ended: then the next poll counts it.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::config;
use crate::config::read::Table;
use crate::config::{HostPort, Target, show_duration};
use crate::pollers::{Family, Kind, KindConfig, PollError, Poller, Reason, Shared};
use crate::sample::Readings;

mod flight;
mod receive;
mod socket;
mod statistics;
#[cfg(test)]
mod tests;

use flight::{Echo, Flight};
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
        pub packet_interval: Option<Duration>,
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

impl Config {
    fn family(&self) -> Family {
        match self.source {
            Some(IpAddr::V4(_)) => Family::Ipv4,
            Some(IpAddr::V6(_)) => Family::Ipv6,
            None => self.family,
        }
    }
}

impl Kind for Config {
    type Poller = Icmp;

    fn check(&self, _: Duration, timeout: Duration) -> Result<(), String> {
        let Some(between) = &self.packet_interval else { return Ok(()) };
        let sending = *between * u32::from(self.count.saturating_sub(1));
        if sending < timeout {
            return Ok(());
        }
        Err(format!(
            "{} packets every {} take {} to send, which must be below the timeout, {}",
            self.count,
            show_duration(*between),
            show_duration(sending),
            show_duration(timeout)
        ))
    }

    fn poller(&self, target: &Target, shared: &Arc<Shared>) -> Icmp {
        // The target has it already; what is kept for each of ten thousand adds up.
        let config = match &target.kind {
            KindConfig::Icmp(config) => config.clone(),
            _ => Arc::new(self.clone()),
        };
        let (shared, timeout) = (shared.clone(), target.timeout);
        Icmp { shared, config, timeout, address: None, socket: None, last: None }
    }
}

/// How long before the deadline a poll stops waiting, so that it can still say what was lost.
const MARGIN: Duration = Duration::from_millis(10);

/// How long the address of a name is good …
const ADDRESS_LIFETIME: Duration = Duration::from_secs(300);

/// … and how long while it does not answer: it may have moved.
const SILENT_ADDRESS_LIFETIME: Duration = Duration::from_secs(30);

/// What is sent, cut to size: every byte another, so that a link can not compress it to nothing.
static PAYLOAD: LazyLock<Box<[u8]>> =
    LazyLock::new(|| (0..SIZE_MAX_BYTES).map(|place| (place % 251) as u8).collect());

/// Sends echo requests to one host.
#[derive(Debug)]
pub struct Icmp {
    shared: Arc<Shared>,
    config: Arc<Config>,
    timeout: Duration,
    address: Option<Address>,
    socket: Option<Arc<EchoSocket>>,
    /// The packets of the last poll, or of the one under way.
    last: Option<Flight>,
}

#[derive(Debug, Clone, Copy)]
struct Address {
    address: SocketAddr,
    looked_up: Instant,
    answers: bool,
}

impl Poller for Icmp {
    async fn poll(&mut self, out: &mut Readings) -> Result<(), PollError> {
        let started = Instant::now();
        let until = started + self.patience();
        let address = self.address(started).await?;
        let socket = self.socket(address.ip())?;
        let mut duplicates = self.last.take().map_or(0, |last| last.duplicates());
        // Kept here from the start: what a dropped poll has sent is not unheard of.
        self.last = Some(socket.fly(address.ip(), self.config.count)?);
        let flight = self.last.as_ref().expect("put there just now");
        let sent = self.send(flight, &socket, address).await;
        if sent.is_ok() {
            // What has not landed by then is lost.
            drop(timeout_at(until, flight.landed()).await);
        }
        let echoes = flight.end();
        duplicates += flight.duplicates();
        let result = match sent {
            Ok(()) => report(&echoes, duplicates, address.ip(), out),
            Err(error) => Err(error),
        };
        if flight.is_too_much() {
            self.last = None;
        }
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
        let lookup = Box::pin(self.shared.resolver.lookup(&self.config.host.host, 0, self.config.family()));
        let found = match self.address {
            None => lookup.await?[0],
            Some(known) => match timeout(self.patience() / 4, lookup).await {
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
            && socket.is_ipv6() == address.is_ipv6()
        {
            return Ok(socket.clone());
        }
        let config = &self.config;
        let socket = self.shared.echo.get(&SocketKey {
            ipv6: address.is_ipv6(),
            source: config.source,
            interface: config.interface.as_deref().map(Into::into),
            dscp: config.dscp,
            ttl: config.ttl,
        })?;
        self.socket = Some(socket.clone());
        Ok(socket)
    }

    /// From the start of a poll until what has not answered is lost.
    fn patience(&self) -> Duration {
        self.timeout.saturating_sub(MARGIN.min(self.timeout / 10))
    }

    /// From one packet of a poll to the next.
    fn packet_interval(&self) -> Duration {
        let fitting = self.timeout / 2 / u32::from(self.config.count.max(1));
        let said = self.config.packet_interval;
        said.unwrap_or_else(|| PACKET_INTERVAL.min(fitting))
    }

    /// Sends all packets of a poll, each at its time, whether or not those before have answered.
    /// Fails with the first failure where not one could be sent.
    async fn send(
        &self,
        flight: &Flight,
        socket: &EchoSocket,
        to: SocketAddr,
    ) -> Result<(), PollError> {
        let payload = &PAYLOAD[..usize::from(self.config.size.min(SIZE_MAX_BYTES))];
        let mut failed = None;
        let mut sent = 0;
        let start = Instant::now();
        for number in 0..self.config.count {
            if number > 0 {
                // Boxed, as the look-up is: what few targets need, and seldom, would otherwise be
                // room in the future of every one.
                let due = start + self.packet_interval() * u32::from(number);
                Box::pin(sleep_until(due)).await;
            }
            match flight.send(number, payload, to).await {
                Ok(()) => sent += 1,
                Err(error) => {
                    use nix::libc::{EADDRNOTAVAIL, ENODEV, ENXIO};
                    if matches!(error.raw_os_error(), Some(ENODEV | ENXIO | EADDRNOTAVAIL)) {
                        socket.retire();
                    }
                    failed.get_or_insert(error);
                }
            }
        }
        match failed {
            Some(error) if sent == 0 => {
                let operation = format!("send an echo request to {}", to.ip());
                Err(PollError::io(operation, &error))
            }
            _ => Ok(()),
        }
    }
}

/// Writes what is known, and says why the poll failed if nothing came back.
fn report(
    echoes: &[Echo],
    duplicates: u32,
    address: IpAddr,
    out: &mut Readings,
) -> Result<(), PollError> {
    let trips = echoes.iter().filter_map(|echo| match echo {
        Echo::Reply { round_trip, .. } => Some(*round_trip),
        _ => None,
    });
    let (sent, received) = (echoes.len(), trips.clone().count());
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
    out.set(row, "duplicates", f64::from(duplicates));
    let ttl = echoes.iter().rev().find_map(|echo| match echo {
        Echo::Reply { ttl, .. } => *ttl,
        _ => None,
    });
    if let Some(ttl) = ttl {
        out.set(row, "ttl", f64::from(ttl));
    }
    if received > 0 { Ok(()) } else { Err(nothing_received(echoes, address)) }
}

fn nothing_received(echoes: &[Echo], address: IpAddr) -> PollError {
    let told = echoes.iter().find_map(|echo| match echo {
        Echo::Unreachable { from, kind, code } => Some((from, kind, code)),
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
