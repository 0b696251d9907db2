//! What pollers and actions share: connections with one owner, and expensive things made once.

use std::sync::Arc;

use super::icmp::Sockets;
use super::resolve::Resolver;
use crate::sample::Clock;

/// Handed to every poller and action when it is made.
///
/// A field here is something of which there must be one: a serial port's owner, a broker's
/// connection, an ICMP socket, the TLS roots.
#[derive(Debug)]
pub struct Shared {
    /// The clock.
    pub clock: Arc<Clock>,
    /// The system's resolver.
    pub resolver: Resolver,
    /// ICMP sockets.
    pub echo: Sockets,
}

impl Shared {
    /// Nothing opened yet: everything in it is made when it is first asked for.
    #[must_use]
    pub fn new(clock: Arc<Clock>) -> Self {
        Self { clock, resolver: Resolver::default(), echo: Sockets::default() }
    }
}
