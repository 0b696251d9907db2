//! When a unit of an operator is to look again because of time alone.

use super::wheel::{Timer, Wheel};
use crate::sample::Timestamp;

/// Not at any time.
pub(super) const NEVER: Timestamp = Timestamp::from_nanos(i64::MAX);

/// When a unit is due, and the one timer that sees to it.
///
/// A sample mostly moves the time at which its series is due on. The timer stays where it is then,
/// and is set anew when it comes up: so a sample costs at most one timer, and a unit that has been
/// looked at since its timer was set is not looked at again for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Alarm {
    due: Timestamp,
    /// When its timer comes up: not after `due`.
    set: Timestamp,
}

/// Sets the timers of one node.
pub(super) struct Timers<'a> {
    pub(super) wheel: &'a mut Wheel,
    pub(super) stream: u32,
    pub(super) node: u32,
}

impl Alarm {
    pub(super) const OFF: Self = Self { due: NEVER, set: NEVER };

    pub(super) fn is_off(&self) -> bool {
        self.due == NEVER
    }

    /// A unit is due then, and not before.
    #[inline]
    pub(super) fn set(&mut self, due: Timestamp, unit: u32, timers: &mut Timers<'_>) {
        self.due = due;
        if due < self.set {
            self.set = due;
            let Timers { stream, node, .. } = *timers;
            timers.wheel.insert(Timer { at: due, stream, node, unit });
        }
    }

    /// A timer of a unit comes up: whether the unit is due. The timer may be another's that had the
    /// unit's number before.
    #[inline]
    pub(super) fn rings(&mut self, timer: Timer, wheel: &mut Wheel) -> bool {
        if timer.at != self.set {
            return false;
        }
        let rings = self.due == timer.at;
        if rings {
            self.due = NEVER;
        } else if self.due != NEVER {
            wheel.insert(Timer { at: self.due, ..timer });
        }
        self.set = self.due;
        rings
    }

    /// Moves it by a step of the clock.
    pub(super) fn shift(&mut self, nanos: i64) {
        for time in [&mut self.due, &mut self.set] {
            if *time != NEVER {
                *time = time.shifted(nanos);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_secs(second)
    }

    #[test]
    fn what_is_put_off_rings_once_and_at_its_new_time() {
        let (mut wheel, mut alarm) = (Wheel::default(), Alarm::OFF);
        for second in [30, 40, 20, 50] {
            let mut timers = Timers { wheel: &mut wheel, stream: 0, node: 0 };
            alarm.set(at(second), 0, &mut timers);
        }
        let mut rung = Vec::new();
        while let Some(timer) = wheel.pop(at(1_000)) {
            if alarm.rings(timer, &mut wheel) {
                rung.push(timer.at);
            }
        }
        assert_eq!(rung, [at(50)]);
        assert!(alarm.is_off());
    }
}
