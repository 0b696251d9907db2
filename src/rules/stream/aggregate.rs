//! Aggregations whose value follows from sums: a member that changes costs the same however many
//! there are.

use super::groups::{Grouped, Key};
use super::node::{Cell, Context, Dirty, Presence, Updates};
use super::spread::Spread;
use super::sum::Sum;
use crate::promql::functions::statistics::Moments;
use crate::promql::{AggregateOp, Labels};

/// `sum`, `avg`, `count`, `group`, `stddev` and `stdvar`.
#[derive(Debug)]
pub(super) struct Aggregation {
    op: AggregateOp,
    input: u32,
    groups: Grouped<Total>,
    pub(super) dirty: Dirty,
}

#[derive(Debug)]
struct Total {
    kept: Kept,
    present: u32,
    filtered: u32,
}

/// What is kept of the values of a group.
#[derive(Debug)]
enum Kept {
    /// How many there are says all.
    Nothing,
    Sum(Sum),
    /// Apart, for it is large and seldom asked for.
    Spread(Box<Spread>),
}

impl Aggregation {
    pub(super) fn new(op: AggregateOp, input: u32, key: Key) -> Self {
        Self { op, input, groups: Grouped::new(key), dirty: Dirty::default() }
    }

    pub(super) fn attach(&mut self, labels: &Labels, born: &mut Vec<Labels>) {
        let empty = || Total { kept: Kept::of(self.op), present: 0, filtered: 0 };
        born.extend(self.groups.attach(labels, &mut self.dirty, empty));
    }

    #[inline]
    pub(super) fn changed(&mut self, slot: u32, old: Cell, new: Cell) {
        let (group, total) = self.groups.of(slot);
        if !old.is_same(new) {
            total.count(old, u32::MAX);
            total.count(new, 1);
            if old.is_present() {
                total.kept.remove(old.value);
            }
            if new.is_present() {
                total.kept.add(new.value);
            }
        }
        self.dirty.mark(group);
    }

    #[inline]
    pub(super) fn settle(&mut self, context: &mut Context<'_>, updates: &mut Updates) {
        while let Some(group) = self.dirty.pop() {
            let cell = match self.groups.get(group) {
                Total { present: 0, filtered: 0, .. } => Cell::MISSING,
                Total { present: 0, .. } => Cell::filtered(f64::NAN),
                _ => Cell::present(self.value(group, context)),
            };
            updates.cells.push((group, cell));
        }
    }

    #[inline]
    fn value(&mut self, group: u32, context: &Context<'_>) -> f64 {
        let total = self.groups.get(group);
        if !total.kept.is_sound() {
            return self.anew(group, context);
        }
        let count = f64::from(total.present);
        match (self.op, &total.kept) {
            (AggregateOp::Sum, Kept::Sum(sum)) => sum.value(),
            (AggregateOp::Avg, Kept::Sum(sum)) => sum.value() / count,
            (AggregateOp::Count, _) => count,
            (_, Kept::Spread(spread)) => self.deviation(spread.variance().unwrap_or(f64::NAN)),
            _ => 1.0,
        }
    }

    fn deviation(&self, variance: f64) -> f64 {
        if self.op == AggregateOp::Stddev { variance.sqrt() } else { variance }
    }

    /// What cannot be relied on is made anew from the members.
    #[cold]
    fn anew(&mut self, group: u32, context: &Context<'_>) -> f64 {
        let mut kept = Kept::of(self.op);
        self.values(group, context).for_each(|value| kept.add(value));
        let is_sound = kept.is_sound();
        self.groups.get_mut(group).kept = kept;
        match self.op {
            _ if is_sound => self.value(group, context),
            // Too large for a double, which their mean may not be.
            AggregateOp::Sum => self.values(group, context).sum(),
            AggregateOp::Avg => {
                let count = f64::from(self.groups.get(group).present);
                self.values(group, context).map(|value| value / count).sum()
            }
            _ => self.deviation(self.values(group, context).collect::<Moments>().variance()),
        }
    }

    /// The values of a group.
    fn values(&self, group: u32, context: &Context<'_>) -> impl Iterator<Item = f64> {
        let cells = self.groups.slots(group).map(|slot| context.cell(self.input, slot));
        cells.filter(|cell| cell.is_present()).map(|cell| cell.value)
    }

    pub(super) fn bytes(&self) -> usize {
        self.groups.bytes(|total| match &total.kept {
            Kept::Spread(spread) => size_of_val(&**spread),
            Kept::Nothing | Kept::Sum(_) => 0,
        })
    }
}

impl Total {
    #[inline]
    fn count(&mut self, cell: Cell, by: u32) {
        match cell.presence {
            Presence::Present => self.present = self.present.wrapping_add(by),
            Presence::Filtered => self.filtered = self.filtered.wrapping_add(by),
            Presence::Missing => {}
        }
    }
}

impl Kept {
    fn of(op: AggregateOp) -> Self {
        match op {
            AggregateOp::Sum | AggregateOp::Avg => Self::Sum(Sum::default()),
            AggregateOp::Stddev | AggregateOp::Stdvar => Self::Spread(Box::default()),
            _ => Self::Nothing,
        }
    }

    #[inline]
    fn add(&mut self, value: f64) {
        match self {
            Self::Nothing => {}
            Self::Sum(sum) => sum.add(value),
            Self::Spread(spread) => spread.add(value),
        }
    }

    #[inline]
    fn remove(&mut self, value: f64) {
        match self {
            Self::Nothing => {}
            Self::Sum(sum) => sum.remove(value),
            Self::Spread(spread) => spread.remove(value),
        }
    }

    #[inline]
    fn is_sound(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Sum(sum) => sum.is_sound(),
            Self::Spread(spread) => spread.is_sound(),
        }
    }
}
