//! What is on its way: which packets were sent where, and what became of each.
//!
//! A packet is remembered until its target's next poll begins, so that a reply that comes late is
//! known as one, and a second one is counted.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustc_hash::FxHashMap;
use socket2::SockAddr;
use tokio::time::Instant;

use super::socket::Line;
use crate::pollers::{PollError, Reason};

/// Most packets a socket remembers beyond the end of their poll: ten thousand targets with six
/// each. What is over is forgotten when its poll ends, and its later duplicates are not counted.
const REMEMBERED_MAX: usize = 65_536;

/// What became of one packet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Echo {
    Reply { round_trip: Duration, ttl: Option<u8> },
    Lost,
    Unreachable { from: IpAddr, kind: u8, code: u8 },
}

/// A packet that was sent.
#[derive(Debug)]
struct Sent {
    at: Instant,
    /// Replies that came, those already counted as duplicates left out.
    replies: u16,
    fate: Fate,
}

#[derive(Debug)]
enum Fate {
    Waiting(Option<Waker>),
    Settled(Echo),
}

/// The packets of one socket that may still be answered.
///
/// One is known by its sequence number and where it went: the identifier is the socket's own.
#[derive(Debug, Default)]
pub(super) struct Table {
    sent: FxHashMap<(IpAddr, u16), Sent>,
    next: u16,
}

impl Table {
    /// So many sequence numbers in a row that no packet on its way to this address has.
    fn numbers(&mut self, to: IpAddr, count: u16) -> Option<u16> {
        for _ in 0..=u16::MAX {
            let first = self.next;
            let used = |n: u16| self.sent.contains_key(&(to, first.wrapping_add(n)));
            match (0..count).rev().find(|n| used(*n)) {
                Some(n) => self.next = first.wrapping_add(n).wrapping_add(1),
                None => {
                    self.next = first.wrapping_add(count);
                    return Some(first);
                }
            }
        }
        None
    }

    /// A reply came. One for a packet not, or no longer, known is nobody's.
    pub(super) fn replied(&mut self, from: IpAddr, sequence: u16, at: Instant, ttl: Option<u8>) {
        if let Some(sent) = self.sent.get_mut(&(from, sequence)) {
            sent.replies = sent.replies.saturating_add(1);
            let round_trip = at.saturating_duration_since(sent.at);
            sent.settle(Echo::Reply { round_trip, ttl });
        }
    }

    /// An error message came about a packet.
    pub(super) fn unreachable(&mut self, to: IpAddr, sequence: u16, echo: Echo) {
        if let Some(sent) = self.sent.get_mut(&(to, sequence)) {
            sent.settle(echo);
        }
    }
}

impl Sent {
    fn settle(&mut self, echo: Echo) {
        if let Fate::Waiting(waker) = &mut self.fate {
            let waker = waker.take();
            self.fate = Fate::Settled(echo);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// The packets of one poll.
#[derive(Debug)]
pub(super) struct Flight {
    line: Arc<Line>,
    to: SocketAddr,
    first: u16,
    count: u16,
}

impl Flight {
    pub(super) fn new(line: &Arc<Line>, to: SocketAddr, count: u16) -> Result<Self, PollError> {
        let first = line.with_table(|table| table.numbers(to.ip(), count)).ok_or_else(|| {
            let message = format!("too many echo requests to {} are on their way", to.ip());
            PollError::new(Reason::Timeout, message)
        })?;
        Ok(Self { line: line.clone(), to, first, count })
    }

    pub(super) fn address(&self) -> IpAddr {
        self.to.ip()
    }

    fn key(&self, number: u16) -> (IpAddr, u16) {
        (self.to.ip(), self.first.wrapping_add(number))
    }

    /// Sends a packet, which is one of 0 to `count`.
    pub(super) async fn send(&self, number: u16, payload: &[u8]) -> io::Result<()> {
        let key = self.key(number);
        let to = SockAddr::from(self.to);
        loop {
            let at = Instant::now();
            let sent = Sent { at, replies: 0, fate: Fate::Waiting(None) };
            self.line.with_table(|table| table.sent.insert(key, sent));
            let Err(error) = self.line.send(key.1, payload, &to) else { return Ok(()) };
            self.line.with_table(|table| table.sent.remove(&key));
            if error.kind() != io::ErrorKind::WouldBlock {
                return Err(error);
            }
            // Seldom, and large.
            Box::pin(self.line.has_room()).await?;
        }
    }

    /// Done when something is known of every packet that was sent.
    pub(super) async fn landed(&self) {
        poll_fn(|cx| self.line.with_table(|table| self.poll_landed(table, cx))).await;
    }

    fn poll_landed(&self, table: &mut Table, cx: &Context<'_>) -> Poll<()> {
        for number in 0..self.count {
            if let Some(sent) = table.sent.get_mut(&self.key(number))
                && let Fate::Waiting(waker) = &mut sent.fate
            {
                *waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    /// What has become of each packet that was sent, by now.
    pub(super) fn echoes(&self) -> Vec<Echo> {
        let echo = |sent: &Sent| match &sent.fate {
            Fate::Waiting(_) => Echo::Lost,
            Fate::Settled(echo) => *echo,
        };
        self.line.with_table(|table| {
            let sent = (0..self.count).filter_map(|number| table.sent.get(&self.key(number)));
            sent.map(echo).collect()
        })
    }

    /// How many replies came beyond the first of each packet, since this was last asked.
    pub(super) fn duplicates(&self) -> u32 {
        self.line.with_table(|table| {
            let count = |number| {
                let sent = table.sent.get_mut(&self.key(number))?;
                let duplicates = sent.replies.saturating_sub(1);
                sent.replies -= duplicates;
                Some(u32::from(duplicates))
            };
            (0..self.count).filter_map(count).sum()
        })
    }

    /// Whether the socket remembers too much for this one to be remembered longer than its poll.
    pub(super) fn is_too_much(&self) -> bool {
        self.line.with_table(|table| table.sent.len() > REMEMBERED_MAX)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.line.with_table(|table| {
            for number in 0..self.count {
                table.sent.remove(&self.key(number));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const TOLD: Echo = Echo::Unreachable { from: ELSEWHERE, kind: 3, code: 1 };

    fn sent(table: &mut Table, number: u16) -> Instant {
        let at = Instant::now();
        table.sent.insert((HERE, number), Sent { at, replies: 0, fate: Fate::Waiting(None) });
        at
    }

    fn fate(table: &Table, number: u16) -> Option<Echo> {
        match table.sent[&(HERE, number)].fate {
            Fate::Waiting(_) => None,
            Fate::Settled(echo) => Some(echo),
        }
    }

    #[test]
    fn a_reply_is_that_of_its_address_and_number_and_the_first_counts() {
        let mut table = Table::default();
        let at = sent(&mut table, 7);
        let second = Duration::from_secs(1);
        table.replied(ELSEWHERE, 7, at + second, None);
        table.replied(HERE, 8, at + second, None);
        assert_eq!(fate(&table, 7), None);
        table.replied(HERE, 7, at + second, Some(64));
        table.replied(HERE, 7, at + 2 * second, Some(63));
        table.unreachable(HERE, 7, TOLD);
        assert_eq!(fate(&table, 7), Some(Echo::Reply { round_trip: second, ttl: Some(64) }));
        assert_eq!(table.sent[&(HERE, 7)].replies, 2);
    }

    #[test]
    fn one_reply_after_an_error_message_is_no_duplicate() {
        let mut table = Table::default();
        let at = sent(&mut table, 7);
        table.unreachable(HERE, 7, TOLD);
        table.replied(HERE, 7, at, None);
        assert_eq!(fate(&table, 7), Some(TOLD));
        assert_eq!(table.sent[&(HERE, 7)].replies, 1);
    }

    #[test]
    fn numbers_on_their_way_to_an_address_are_not_used_again() {
        let mut table = Table { next: u16::MAX - 1, ..Table::default() };
        sent(&mut table, 0);
        assert_eq!(table.numbers(ELSEWHERE, 3), Some(u16::MAX - 1));
        table.next = u16::MAX - 1;
        assert_eq!(table.numbers(HERE, 3), Some(1));
        (0..u16::MAX).for_each(|number| _ = sent(&mut table, number));
        assert_eq!(table.numbers(HERE, 1), Some(u16::MAX));
        sent(&mut table, u16::MAX);
        assert_eq!(table.numbers(HERE, 1), None);
    }
}
