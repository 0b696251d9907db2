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
    /// Those of polls under way: few at a time.
    sent: FxHashMap<(IpAddr, u16), Sent>,
    /// How many replies came to those of polls that have ended: one for every target, hence no more.
    ended: FxHashMap<(IpAddr, u16), u16>,
    next: u16,
}

impl Table {
    /// So many sequence numbers in a row that no packet on its way to this address has.
    fn numbers(&mut self, to: IpAddr, count: u16) -> Option<u16> {
        for _ in 0..=u16::MAX {
            let first = self.next;
            let used = |n: u16| self.has((to, first.wrapping_add(n)));
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

    fn has(&self, key: (IpAddr, u16)) -> bool {
        self.sent.contains_key(&key) || self.ended.contains_key(&key)
    }

    /// A reply came. One for a packet not, or no longer, known is nobody's.
    pub(super) fn replied(&mut self, from: IpAddr, sequence: u16, at: Instant, ttl: Option<u8>) {
        let key = (from, sequence);
        let replies = if let Some(sent) = self.sent.get_mut(&key) {
            let round_trip = at.saturating_duration_since(sent.at);
            sent.settle(Echo::Reply { round_trip, ttl });
            &mut sent.replies
        } else if let Some(replies) = self.ended.get_mut(&key) {
            replies
        } else {
            return;
        };
        *replies = replies.saturating_add(1);
    }

    /// How many replies came to a packet, those already counted as duplicates left out.
    fn replies(&mut self, key: (IpAddr, u16)) -> Option<&mut u16> {
        let of_ended = self.ended.get_mut(&key);
        of_ended.or_else(|| self.sent.get_mut(&key).map(|sent| &mut sent.replies))
    }

    /// The poll of a packet has ended: what has become of the packet by now, if it was sent.
    fn end(&mut self, key: (IpAddr, u16)) -> Option<Echo> {
        let sent = self.sent.remove(&key)?;
        self.ended.insert(key, sent.replies);
        Some(match sent.fate {
            Fate::Waiting(_) => Echo::Lost,
            Fate::Settled(echo) => echo,
        })
    }

    fn forget(&mut self, key: (IpAddr, u16)) {
        self.sent.remove(&key);
        self.ended.remove(&key);
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
    to: IpAddr,
    first: u16,
    count: u16,
}

impl Flight {
    pub(super) fn new(line: &Arc<Line>, to: IpAddr, count: u16) -> Result<Self, PollError> {
        let first = line.with_table(|table| table.numbers(to, count)).ok_or_else(|| {
            let message = format!("too many echo requests to {to} are on their way");
            PollError::new(Reason::Timeout, message)
        })?;
        Ok(Self { line: line.clone(), to, first, count })
    }

    fn key(&self, number: u16) -> (IpAddr, u16) {
        (self.to, self.first.wrapping_add(number))
    }

    /// Sends a packet, which is one of 0 to `count`, where the flight goes.
    pub(super) async fn send(
        &self,
        number: u16,
        payload: &[u8],
        to: SocketAddr,
    ) -> io::Result<()> {
        debug_assert_eq!(to.ip(), self.to, "a reply is known by where its request went");
        let key = self.key(number);
        let to = SockAddr::from(to);
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

    /// Ends the poll: what has become of each packet that was sent, by now. From here on it is only
    /// known how many replies each has.
    pub(super) fn end(&self) -> Vec<Echo> {
        self.line.with_table(|table| {
            (0..self.count).filter_map(|number| table.end(self.key(number))).collect()
        })
    }

    /// How many replies came beyond the first of each packet, since this was last asked.
    pub(super) fn duplicates(&self) -> u32 {
        self.line.with_table(|table| {
            let count = |number| {
                let replies = table.replies(self.key(number))?;
                let duplicates = replies.saturating_sub(1);
                *replies -= duplicates;
                Some(u32::from(duplicates))
            };
            (0..self.count).filter_map(count).sum()
        })
    }

    /// Whether the socket remembers too much for this one to be remembered longer than its poll.
    pub(super) fn is_too_much(&self) -> bool {
        self.line.with_table(|table| table.ended.len() > REMEMBERED_MAX)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.line.with_table(|table| {
            (0..self.count).for_each(|number| table.forget(self.key(number)));
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
    fn what_comes_after_the_end_of_a_poll_is_counted_and_changes_nothing() {
        let mut table = Table::default();
        let at = sent(&mut table, 7);
        sent(&mut table, 8);
        table.replied(HERE, 7, at, None);
        let reply = Echo::Reply { round_trip: Duration::ZERO, ttl: None };
        assert_eq!([7, 8, 9].map(|number| table.end((HERE, number))), [Some(reply), Some(Echo::Lost), None]);
        for number in [7, 7, 8, 9] {
            table.replied(HERE, number, at, None);
        }
        table.unreachable(HERE, 8, TOLD);
        let counts = [7, 8, 9].map(|number| table.replies((HERE, number)).copied());
        assert_eq!(counts, [Some(3), Some(1), None]);
        assert_eq!(table.numbers(HERE, 9), Some(9));
        table.forget((HERE, 7));
        assert_eq!(table.replies((HERE, 7)), None);
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
