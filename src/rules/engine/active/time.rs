//! What time alone brings an alert: `for` and `keep_firing_for` that run out, data that counts no
//! more, a parent's verdict that does not come.

use super::{Active, Around, LOOKBACK, Phase, Standing};
use crate::rules::State;
use crate::rules::Transition;
use crate::rules::engine::alerts::Rule;
use crate::rules::engine::window::Window;
use crate::rules::explain::Timer;
use crate::sample::Timestamp;

/// What time alone brings, the first of two at one time first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// The last verdict counts no more.
    Expiry,
    /// What happened of late counts no more.
    Forget,
    /// A severity has held for `for`.
    Held,
    /// `keep_firing_for` is over.
    Cleared,
    /// `settle` is over.
    Settled,
}

impl Active {
    /// Whatever is due by `now` happens, each at its own time.
    pub(in crate::rules::engine) fn pass(
        &mut self,
        cx: Around<'_>,
        now: Timestamp,
        out: &mut Vec<Transition>,
    ) {
        while let Some((at, due)) = self.next_due(&cx.rules[self.rule as usize])
            && at <= now
        {
            let rule = &cx.rules[self.rule as usize];
            match due {
                Due::Expiry => self.miss(cx, at, self.last, out),
                Due::Forget => self.forget(cx, at, out),
                Due::Cleared => self.end(cx, at, true, out),
                Due::Settled => self.settled(cx, at, out),
                Due::Held => {
                    let reached = self.now.climb.reached(rule.hold, at);
                    match (self.now.phase, reached) {
                        (Phase::Pending, Some(severity)) => self.fire(cx, severity, at, out),
                        (_, reached) => self.weigh(cx, at, None, reached, out),
                    }
                }
            }
        }
    }

    /// When time alone moves it next.
    pub(in crate::rules::engine) fn due(&self, rule: &Rule) -> Option<Timestamp> {
        self.next_due(rule).map(|(at, _)| at)
    }

    fn next_due(&self, rule: &Rule) -> Option<(Timestamp, Due)> {
        self.all_due(rule).min_by_key(|(at, _)| *at)
    }

    /// What time alone will do to it, the next first.
    pub(in crate::rules::engine) fn timers(&self, rule: &Rule) -> Vec<Timer> {
        let mut all: Vec<_> = self.all_due(rule).collect();
        all.sort_by_key(|(at, _)| *at);
        let named = all.into_iter().map(|(at, due)| {
            let what = match due {
                Due::Expiry => Timer::EXPIRY,
                Due::Forget => "is forgotten",
                Due::Held if self.now.phase == Phase::Pending => "fires",
                Due::Held => "gets worse",
                Due::Cleared => "clears",
                Due::Settled => "is told",
            };
            Timer { what, at: at.to_string() }
        });
        named.collect()
    }

    fn all_due(&self, rule: &Rule) -> impl Iterator<Item = (Timestamp, Due)> + use<> {
        let Standing { phase, climb, severity, telling, missing, .. } = &self.now;
        let at_rest = *phase == Phase::Watching;
        let expiry = self.lookback.filter(|_| missing.is_none()).map(|time| self.last + time);
        let forget = (at_rest && missing.is_some() && !self.is_at_rest())
            .then(|| self.last + self.lookback.unwrap_or(LOOKBACK));
        let (mut held, mut cleared, mut settled) = (None, None, None);
        if !self.asleep {
            match phase {
                Phase::Pending => held = climb.next(None, rule.hold),
                Phase::Firing => held = climb.next(Some(*severity), rule.hold),
                Phase::Clearing { until, .. } => cleared = Some(*until),
                Phase::Watching | Phase::Unknown { .. } => {}
            }
            settled = telling.held_until().filter(|_| phase.state() == State::Firing);
        }
        [
            (expiry, Due::Expiry),
            (forget, Due::Forget),
            (held, Due::Held),
            (cleared, Due::Cleared),
            (settled, Due::Settled),
        ]
        .into_iter()
        .filter_map(|(at, due)| Some((at?, due)))
    }

    /// What happened of late counts no more.
    fn forget(&mut self, cx: Around<'_>, at: Timestamp, out: &mut Vec<Transition>) {
        self.now.window = Window::default();
        let flapping = std::mem::take(&mut self.now.flaps).flapping;
        if flapping {
            self.now.reason = "no longer flapping: there is no data any more".to_owned();
            self.calmed(cx, at, out);
        }
    }
}
