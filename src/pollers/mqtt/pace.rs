//! When a socket that thousands of messages come through is read next.

use std::time::Duration;

use tokio::time::Instant;

/// After a burst that came close upon another the socket is left alone for so long: where thousands
/// of messages come a second, waking for each would cost more than judging it.
const PAUSE: Duration = Duration::from_millis(2);

/// Bursts so large are read on at once: what comes is more than a pause's worth.
const PAUSED_MESSAGES_MAX: usize = 32;

/// What is remembered of the bursts so far.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Option<Instant>,
}

impl Pace {
    /// Until when to leave the socket alone after a burst of so many messages that ended now, if it
    /// is to be left alone at all.
    pub(super) fn pause(&mut self, messages: usize, now: Instant) -> Option<Instant> {
        let is_close = self.last.replace(now).is_some_and(|last| now - last < 2 * PAUSE);
        (is_close && messages < PAUSED_MESSAGES_MAX).then(|| now + PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_seldom_or_in_plenty_is_read_at_once() {
        let start = Instant::now();
        let pauses = |gap: Duration, messages| {
            let mut pace = Pace::default();
            let mut now = start;
            (0..4).filter(|_| {
                now += gap;
                let until = pace.pause(messages, now);
                assert!(until.is_none_or(|until| until == now + PAUSE));
                until.is_some()
            }).count()
        };
        assert_eq!(pauses(2 * PAUSE, 1), 0);
        assert_eq!(pauses(PAUSE, 1), 3, "the first of them is close upon none");
        assert_eq!(pauses(PAUSE, PAUSED_MESSAGES_MAX - 1), 3);
        assert_eq!(pauses(Duration::ZERO, PAUSED_MESSAGES_MAX), 0);
    }
}
