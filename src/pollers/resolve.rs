//! Names to addresses by the system's resolver, and connections to the first address that answers.
//!
//! It caches nothing: a poller that wants to keep an address knows best for how long.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::{PollError, Reason};
use crate::choice;

choice! {
    /// Which addresses of a name may be used.
    pub enum Family {
        /// Whichever the system prefers.
        Any = "any",
        /// IPv4 alone.
        Ipv4 = "ipv4",
        /// IPv6 alone.
        Ipv6 = "ipv6",
    }
}

impl Family {
    /// Whether an address is of this family.
    #[must_use]
    pub const fn has(self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Ipv4 => address.is_ipv4(),
            Self::Ipv6 => address.is_ipv6(),
        }
    }
}

/// Most look-ups at once. Each holds a thread until the system's resolver gives up, which outlasts
/// any deadline; at the bound a look-up waits for its turn, until the deadline of its own poll.
const LOOKUPS_MAX: usize = 16;

/// Most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// How long an address has before the next is tried beside it (RFC 8305 §5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The system's resolver.
#[derive(Debug)]
pub struct Resolver {
    turns: Arc<Semaphore>,
}

impl Default for Resolver {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }
}

impl Resolver {
    /// The addresses of a host in the order they should be tried, at least one. What is an address
    /// already is not looked up.
    ///
    /// # Errors
    /// [`Reason::Unreachable`] where the name has no address of this family.
    pub async fn lookup(
        &self,
        host: &str,
        port: u16,
        family: Family,
    ) -> Result<Vec<SocketAddr>, PollError> {
        let mut found = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => self.ask(host, port).await?,
        };
        found.retain(|address| family.has(address.ip()));
        found.truncate(ADDRESSES_MAX);
        if found.is_empty() {
            let message = format!("{host} has no {} address", family.as_str());
            return Err(PollError::new(Reason::Unreachable, message));
        }
        Ok(found)
    }

    async fn ask(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, PollError> {
        let turn = self.turns.clone().acquire_owned().await.expect("the semaphore is never closed");
        let name = host.to_owned();
        let answer = tokio::task::spawn_blocking(move || {
            // Held by the thread, not by the poll, which may be gone long before.
            let _turn = turn;
            (name.as_str(), port).to_socket_addrs().map(Vec::from_iter)
        });
        match answer.await {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(error)) => {
                Err(PollError::new(Reason::Unreachable, format!("cannot resolve {host}: {error}")))
            }
            Err(error) => Err(PollError::new(Reason::Bug, format!("look-up of {host}: {error}"))),
        }
    }
}

/// Connects to the first address that accepts, trying the next one beside it when one takes its
/// time (RFC 8305 §5).
///
/// # Errors
/// The first that came, once every address has failed.
pub(super) async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, PollError> {
    let mut waiting = addresses.iter();
    let mut attempts = FuturesUnordered::new();
    let mut first_error = None;
    loop {
        if let Some(&address) = waiting.next() {
            attempts.push(async move { (address, TcpStream::connect(address).await) });
        } else if attempts.is_empty() {
            break;
        }
        let finished = if waiting.len() == 0 {
            attempts.next().await
        } else {
            tokio::time::timeout(ATTEMPT_DELAY, attempts.next()).await.unwrap_or_default()
        };
        match finished {
            Some((_, Ok(stream))) => return Ok(stream),
            Some((address, Err(error))) => first_error = first_error.or(Some((address, error))),
            None => {}
        }
    }
    Err(match first_error {
        Some((address, error)) => PollError::io(format!("connect to {address}"), &error),
        None => PollError::io("connect", &io::Error::from(io::ErrorKind::AddrNotAvailable)),
    })
}
