//! What a rule asks of an output, and what the answer means for its alert.

use super::words;
use crate::rules::engine::active::Opening;
use crate::rules::engine::alerts::Alerts;
use crate::rules::engine::verdict::Verdict;
use crate::rules::stream::{NO_MARK, Presence, Stream};
use crate::rules::{Labels, Severity};
use crate::sample::Timestamp;

/// A rule, as far as outputs go.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) rule: u32,
    pub(super) levels: Vec<Level>,
    /// Whether its outputs are watched even at rest, for missing data fires.
    pub(super) watches: bool,
    pub(super) labels: Labels,
}

/// A severity, and the roots that say when it holds and when that ends.
#[derive(Debug)]
pub(super) struct Level {
    pub(super) severity: Severity,
    pub(super) when: usize,
    pub(super) clear: Option<usize>,
}

impl Question {
    /// What a stream finds of an output, and whether that matters to an alert at rest.
    #[inline]
    pub(super) fn verdict(&self, stream: &Stream, output: u32) -> (Verdict, bool) {
        let (mut holds, mut stays, mut value) = (None, None, None);
        let mut is_there = false;
        for level in &self.levels {
            let when = stream.finding(output, level.when);
            is_there |= when.presence != Presence::Missing;
            value = value.or(when.value);
            if when.presence == Presence::Present {
                holds = Some(level.severity);
                value = when.value;
            }
            if let Some(clear) = level.clear {
                let clear = stream.finding(output, clear);
                is_there |= clear.presence != Presence::Missing;
                value = value.or(clear.value);
                if clear.presence != Presence::Present {
                    stays = Some(level.severity);
                }
            }
        }
        if !is_there {
            return (Verdict::Missing { since: stream.seen(output) }, self.watches);
        }
        let stays = holds.max(stays);
        (Verdict::Data { value, holds, stays }, holds.is_some() || self.watches)
    }

    /// The alert of an output, made where there is none.
    pub(super) fn alert(
        &self,
        stream: &mut Stream,
        output: u32,
        at: Timestamp,
        alerts: &mut Alerts,
    ) -> u32 {
        let mark = stream.mark(output);
        if mark != NO_MARK && alerts.is_of(mark, self.rule, output) {
            return mark;
        }
        let mut labels = words(stream.labels(output));
        labels.extend(self.labels.clone());
        let target = labels.get("kind").zip(labels.get("target"));
        let target =
            target.map(|(kind, name)| alerts.targets.place(&(&**kind).into(), &(&**name).into()));
        let alert = alerts.open(Opening {
            rule: self.rule,
            output,
            origin: output,
            target,
            labels,
            lookback: None,
            last: at,
        });
        stream.set_mark(output, alert);
        alert
    }
}
