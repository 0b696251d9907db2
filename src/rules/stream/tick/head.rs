//! The samples an evaluation looks at: those of its selectors, as far back as it can see.

use std::collections::VecDeque;
use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::promql::eval::{self, AnswerValue, EvalError, Options};
use crate::promql::functions::Point;
use crate::promql::selector::{At, Selector};
use crate::promql::source::{SeriesSet, Source, Window};
use crate::promql::{Expr, ExprKind, Labels};
use crate::rules::engine::LOOKBACK;
use crate::sample::{SeriesId, Timestamp};

/// Samples in memory.
#[derive(Debug)]
pub(super) struct Head {
    reach: Reach,
    series: Vec<Kept>,
    places: FxHashMap<SeriesId, u32>,
    samples: usize,
    points_bytes: usize,
}

/// The samples of one series.
#[derive(Debug)]
pub(in crate::rules::stream) struct Kept {
    pub(in crate::rules::stream) series: SeriesId,
    labels: Labels,
    points: VecDeque<Point>,
}

/// Which times an expression looks at.
#[derive(Debug, Default)]
struct Reach {
    selectors: Vec<Selector>,
    /// How far back from now, in nanoseconds.
    back: i64,
    /// Times that stay in view: after the first, up to the second.
    fixed: Vec<(Timestamp, Timestamp)>,
}

impl Reach {
    /// `back` and `from` are how far back and from when what is around the expression looks.
    fn look(&mut self, expr: &Expr, back: i64, from: Option<Timestamp>) {
        let (selector, range) = match &expr.kind {
            ExprKind::Selector(selector) => (selector, LOOKBACK.as_nanos() as i64),
            ExprKind::Range(range) => (&range.selector, range.range),
            ExprKind::Subquery(subquery) => {
                let from = fixed(subquery.at).or(from);
                let back = if fixed(subquery.at).is_some() { 0 } else { back };
                let back =
                    back.saturating_add(subquery.range).saturating_add(subquery.offset.max(0));
                return self.look(&subquery.expr, back, from);
            }
            _ => return expr.children().into_iter().for_each(|child| self.look(child, back, from)),
        };
        let back = if fixed(selector.at).is_some() { 0 } else { back };
        let back = back.saturating_add(range).saturating_add(selector.offset.max(0));
        match fixed(selector.at).or(from) {
            Some(at) => {
                self.fixed.push((at.shifted(-back), at.shifted(selector.offset.min(0).abs())))
            }
            None => self.back = self.back.max(back),
        }
        let plain = Selector { offset: 0, at: None, ..selector.clone() };
        if !self.selectors.contains(&plain) {
            self.selectors.push(plain);
        }
    }

    fn sees(&self, time: Timestamp, now: Timestamp) -> bool {
        time > now.shifted(-self.back)
            || self.fixed.iter().any(|(after, until)| *after < time && time <= *until)
    }
}

fn fixed(at: Option<At>) -> Option<Timestamp> {
    match at {
        Some(At::Time(time)) => Some(time),
        _ => None,
    }
}

impl Source for Head {
    fn select(
        &self,
        selector: &Selector,
        window: Window,
        found: &mut SeriesSet,
    ) -> Result<(), EvalError> {
        for kept in self.series.iter().filter(|kept| selector.matches_labels(&kept.labels)) {
            let from = kept.points.partition_point(|point| point.time <= window.after);
            let to = kept.points.partition_point(|point| point.time <= window.until);
            if from < to {
                found.begin(kept.labels.clone());
                found.extend(kept.points.range(from..to).copied())?;
            }
        }
        Ok(())
    }
}

impl Head {
    pub(super) fn new(expr: &Expr) -> Self {
        let mut reach = Reach::default();
        reach.look(expr, 0, None);
        Self {
            reach,
            series: Vec::new(),
            places: FxHashMap::default(),
            samples: 0,
            points_bytes: 0,
        }
    }

    pub(super) fn selectors(&self) -> Vec<Selector> {
        self.reach.selectors.clone()
    }

    /// A series that several selectors mean is kept once.
    pub(super) fn add(&mut self, series: SeriesId, labels: &Labels) -> u32 {
        if let Some(known) = self.places.get(&series) {
            return *known;
        }
        self.adopt(Kept { series, labels: labels.clone(), points: VecDeque::new() })
    }

    /// Takes a sample or a stale mark in; of two with one time the last counts. Whether it can
    /// still be looked at.
    pub(super) fn insert(&mut self, slot: u32, point: Point, now: Timestamp) -> bool {
        if !self.reach.sees(point.time, now) {
            return false;
        }
        let points = &mut self.series[slot as usize].points;
        let before = points.capacity();
        let place = points.partition_point(|known| known.time < point.time);
        match points.get_mut(place) {
            Some(known) if known.time == point.time => *known = point,
            _ => {
                points.insert(place, point);
                self.samples += 1;
            }
        }
        self.points_bytes += (points.capacity() - before) * size_of::<Point>();
        true
    }

    pub(super) fn end(&mut self, slot: u32) {
        let points = std::mem::take(&mut self.series[slot as usize].points);
        self.samples -= points.len();
        self.points_bytes -= points.capacity() * size_of::<Point>();
    }

    /// Lets go of what cannot be looked at any more.
    pub(super) fn trim(&mut self, now: Timestamp) {
        let Self { reach, series, samples, .. } = self;
        for kept in series {
            let before = kept.points.len();
            if reach.fixed.is_empty() {
                while kept.points.front().is_some_and(|point| !reach.sees(point.time, now)) {
                    kept.points.pop_front();
                }
            } else {
                kept.points.retain(|point| reach.sees(point.time, now));
            }
            *samples -= before - kept.points.len();
        }
    }

    /// Whether anything is kept that is not to come.
    pub(super) fn has_data(&self, now: Timestamp) -> bool {
        self.series.iter().any(|kept| kept.points.front().is_some_and(|first| first.time <= now))
    }

    /// The expression's elements at a time; none where the evaluator refuses to answer.
    pub(super) fn evaluate(&self, expr: &Expr, at: Timestamp) -> Vec<(Labels, f64)> {
        let answer = eval::instant(self, expr, at, &Options::default(), &|| Ok(()));
        match answer.map(|answer| answer.value) {
            Ok(AnswerValue::Vector(elements)) => {
                elements.into_iter().map(|(labels, point)| (labels, point.value)).collect()
            }
            Ok(AnswerValue::Scalar(point)) => vec![(Labels::default(), point.value)],
            _ => Vec::new(),
        }
    }

    pub(super) fn places(&self, tell: &mut impl FnMut(SeriesId, u32)) {
        (0..).zip(&self.series).for_each(|(slot, kept)| tell(kept.series, slot));
    }

    /// Gives up the series that still have something. A series of several selectors is given up
    /// once, and taken in by the first of them.
    pub(super) fn release(&mut self) -> Vec<Kept> {
        (self.samples, self.points_bytes) = (0, 0);
        self.places.clear();
        let series = std::mem::take(&mut self.series);
        series.into_iter().filter(|kept| !kept.points.is_empty()).collect()
    }

    pub(super) fn adopt(&mut self, kept: Kept) -> u32 {
        self.samples += kept.points.len();
        self.points_bytes += kept.points.capacity() * size_of::<Point>();
        let slot = self.series.len() as u32;
        self.places.insert(kept.series, slot);
        self.series.push(kept);
        slot
    }

    /// How far back it looks.
    pub(super) fn reach(&self) -> Duration {
        Duration::from_nanos(self.reach.back.unsigned_abs())
    }

    pub(super) fn samples(&self) -> usize {
        self.samples
    }

    pub(super) fn len(&self) -> usize {
        self.series.len()
    }

    pub(super) fn dead(&self) -> usize {
        self.series.iter().filter(|kept| kept.points.is_empty()).count()
    }

    pub(super) fn shift(&mut self, nanos: i64) {
        for point in self.series.iter_mut().flat_map(|kept| &mut kept.points) {
            point.time = point.time.shifted(nanos);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.points_bytes
            + self.series.capacity() * size_of::<Kept>()
            + self.places.capacity() * (size_of::<(SeriesId, u32)>() + 1)
    }
}
