//! What pollers and actions share: connections with one owner, and expensive things made once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::icmp::Sockets;
use super::resolve::Resolver;
use super::{mqtt, serial, snmp};
use crate::sample::Clock;

/// Handed to every poller and action when it is made.
///
/// A field here is something of which there must be one: a serial port's owner, a broker's
/// connection, an ICMP socket.
#[derive(Debug)]
pub struct Shared {
    /// The clock.
    pub clock: Arc<Clock>,
    /// The system's resolver.
    pub resolver: Resolver,
    /// ICMP sockets.
    pub echo: Sockets,
    /// The serial ports that are open, by target.
    pub serial_links: Links<serial::Link>,
    /// How to get at each SNMP agent, by target.
    pub snmp_links: Links<snmp::Access>,
    /// The turns of SNMP polls.
    pub snmp_turns: snmp::Turns,
    /// The brokers that are connected, by target.
    pub brokers: Links<mqtt::Link>,
}

impl Shared {
    /// Nothing opened yet: everything in it is made when it is first asked for.
    #[must_use]
    pub fn new(clock: Arc<Clock>) -> Self {
        Self {
            clock,
            resolver: Resolver::default(),
            echo: Sockets::default(),
            serial_links: Links::default(),
            snmp_links: Links::default(),
            snmp_turns: snmp::Turns::default(),
            brokers: Links::default(),
        }
    }
}

/// Ways through what another owns, by target: a link is there while its owner keeps it.
#[derive(Debug)]
pub struct Links<T>(Mutex<BTreeMap<Arc<str>, Weak<T>>>);

impl<T> Default for Links<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Links<T> {
    /// Makes the link of a target known, in place of an older one.
    pub fn insert(&self, target: &Arc<str>, link: &Arc<T>) {
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|_, link| link.strong_count() > 0);
        links.insert(target.clone(), Arc::downgrade(link));
    }

    /// The link of a target, if its owner has one now.
    #[must_use]
    pub fn get(&self, target: &str) -> Option<Arc<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(target)?.upgrade()
    }
}
