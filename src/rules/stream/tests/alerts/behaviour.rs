//! What a series does over the time of a case.

use fastrand::Rng;

use super::series::Made;
use crate::promql::{Expr, ExprKind};

/// What a series does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Behaviour {
    Missing,
    Level(f64),
    /// From a value, by so much a second.
    Slope(f64, f64),
    /// One value and then another, every so many seconds.
    Alternates(f64, f64, i64),
    /// A time so many seconds before the end of the case.
    TimeAgo(f64),
    /// A jump in the last minutes.
    Jump(f64, f64),
}

/// Numbers an expression is about, and others.
pub(super) struct Pool {
    numbers: Vec<f64>,
}

const SECOND: i64 = 1_000_000_000;

impl Pool {
    pub(super) fn of(expr: &Expr) -> Self {
        let mut numbers = vec![0.0, 1.0, 2.0, 3.0, 0.5, 10.0, 1e3, 1e6, 1e9, 1e12, -1.0];
        gather(expr, &mut numbers);
        Self { numbers }
    }

    fn number(&self, rng: &mut Rng) -> f64 {
        let number = self.numbers[rng.usize(..self.numbers.len())];
        match rng.u32(..8) {
            0 => number * 2.0 + 1.0,
            1 => number / 2.0 - 1.0,
            2 => number + 1.0,
            3 => number - 1.0,
            4 => number * 100.0,
            5 => number * 0.9,
            _ => number,
        }
    }

    /// First what all series do alike, then each its own.
    pub(super) fn pick(&self, rng: &mut Rng, one: &Made, round: usize, wanted: bool) -> Behaviour {
        match (round, wanted) {
            (0, false) => return Behaviour::Level(0.0),
            (0, true) | (1, false) => return Behaviour::Level(1.0),
            (1, true) => return Behaviour::Slope(1.0, 10.0),
            (2, _) => return Behaviour::Missing,
            _ => {}
        }
        if one.le.is_some() && rng.u32(..12) > 0 {
            let pace = [0.0, 0.01, 1.0, 100.0][rng.usize(..4)];
            return Behaviour::Slope(10.0, pace);
        }
        match rng.u32(..16) {
            0 => Behaviour::Missing,
            1 | 2 => Behaviour::Slope(self.number(rng), self.number(rng) / 10.0),
            3 => Behaviour::Slope(self.number(rng).abs() * 1e4, -self.number(rng).abs()),
            4 => Behaviour::Alternates(self.number(rng), self.number(rng), rng.i64(30..200)),
            5 => Behaviour::TimeAgo(self.number(rng)),
            6 => Behaviour::TimeAgo(-self.number(rng).abs()),
            7 => Behaviour::Jump(self.number(rng), self.number(rng)),
            8 => Behaviour::Slope(0.0, self.number(rng).abs()),
            _ => Behaviour::Level(self.number(rng)),
        }
    }
}

impl Behaviour {
    /// The value at a time, in nanoseconds; `None`: no sample.
    pub(super) fn at(self, one: &Made, time: i64, start: i64, end: i64) -> Option<f64> {
        let elapsed = (time - start) as f64 / 1e9;
        let value = match self {
            Self::Missing => return None,
            Self::Level(value) => value,
            Self::Slope(from, pace) => from + pace * elapsed,
            Self::Alternates(a, b, seconds) => {
                if time / SECOND / seconds % 2 == 0 {
                    a
                } else {
                    b
                }
            }
            Self::TimeAgo(seconds) => (end / SECOND) as f64 - seconds,
            Self::Jump(a, b) => {
                if time > end - 130 * SECOND {
                    b
                } else {
                    a
                }
            }
        };
        // In a histogram the lower buckets count a part of what the higher ones do: of fast series
        // nearly all, of slow ones nearly nothing.
        let part = match (one.le, self) {
            (Some(le), Self::Slope(_, pace)) if pace >= 1.0 => {
                if le >= 3600.0 {
                    1.0
                } else {
                    0.0123
                }
            }
            (Some(le), _) => {
                if le >= 1.0 {
                    1.0
                } else {
                    0.9
                }
            }
            (None, _) => 1.0,
        };
        Some(value * part)
    }
}

fn gather(expr: &Expr, numbers: &mut Vec<f64>) {
    if let ExprKind::Number(number) = expr.kind {
        numbers.push(number);
    }
    expr.children().into_iter().for_each(|child| gather(child, numbers));
}
