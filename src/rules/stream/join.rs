//! Arithmetic and comparison of two vectors, match group by match group.

use rustc_hash::FxHashMap;

use super::groups::{Groups, Key, labels_bytes};
use super::node::{Cell, Context, Dirty, Port, Presence, Updates};
use crate::promql::expr::{Binary, Cardinality, MatchLabels};
use crate::promql::{BinaryOp, Labels};

/// `a / b`. The side of which there may be many is called `many`, the left one where neither may.
#[derive(Debug)]
pub(super) struct Join {
    op: BinaryOp,
    returns_bool: bool,
    /// Whether `many` is the right side.
    swapped: bool,
    one_to_one: bool,
    on: MatchLabels,
    /// Labels taken over from `one`.
    include: Vec<String>,
    inputs: [u32; 2],
    groups: Groups,
    members: Vec<Group>,
    /// By slot of `many`.
    many: Vec<Many>,
    /// The group of each slot of `one`.
    one_of: Vec<u32>,
    /// Where labels are taken over: the labels of both sides' slots, and the own slot of each pair.
    labels: [Vec<Labels>; 2],
    pairs: FxHashMap<(u32, u32), u32>,
    slots: u32,
    /// By slot of `many`.
    pub(super) dirty: Dirty,
}

#[derive(Debug, Default)]
struct Group {
    many: Vec<u32>,
    one: Vec<u32>,
    /// How many of either are present. More than one of `one`, or of `many` where there may be
    /// one, is an error: the group then yields nothing.
    present: [u32; 2],
}

#[derive(Debug)]
struct Many {
    group: u32,
    /// The own slot it shows in now.
    slot: u32,
}

/// No slot yet.
const NONE: u32 = u32::MAX;

const MANY: usize = 0;
const ONE: usize = 1;

impl Join {
    pub(super) fn new(binary: &Binary, inputs: [u32; 2]) -> Self {
        let (swapped, include) = match &binary.matching.cardinality {
            Cardinality::OneToMany(include) => (true, include.clone()),
            Cardinality::ManyToOne(include) => (false, include.clone()),
            Cardinality::OneToOne | Cardinality::ManyToMany => (false, Vec::new()),
        };
        let [left, right] = inputs;
        Self {
            op: binary.op,
            returns_bool: binary.returns_bool,
            swapped,
            one_to_one: binary.matching.cardinality == Cardinality::OneToOne,
            on: binary.matching.on.clone(),
            include,
            inputs: if swapped { [right, left] } else { [left, right] },
            groups: Groups::new(Key::from(&binary.matching.on)),
            members: Vec::new(),
            many: Vec::new(),
            one_of: Vec::new(),
            labels: [Vec::new(), Vec::new()],
            pairs: FxHashMap::default(),
            slots: 0,
            dirty: Dirty::default(),
        }
    }

    fn side(&self, port: Port) -> usize {
        usize::from((port == Port::Right) != self.swapped)
    }

    pub(super) fn attach(&mut self, port: Port, labels: &Labels, born: &mut Vec<Labels>) {
        let side = self.side(port);
        let (place, new) = self.groups.place(labels);
        if new.is_some() {
            self.members.push(Group::default());
        }
        let group = &mut self.members[place as usize];
        if !self.include.is_empty() {
            self.labels[side].push(labels.clone());
        }
        if side == ONE {
            group.one.push(self.one_of.len() as u32);
            self.one_of.push(place);
            return;
        }
        group.many.push(self.many.len() as u32);
        let mut slot = NONE;
        if self.include.is_empty() {
            slot = self.slots;
            self.slots += 1;
            born.push(self.result(labels, None));
        }
        self.many.push(Many { group: place, slot });
        self.dirty.grow();
    }

    /// The labels of a result (promql/engine.go, resultMetric).
    fn result(&self, many: &Labels, one: Option<&Labels>) -> Labels {
        let keeps_name = matches!(self.op, BinaryOp::Comparison(_)) && !self.returns_bool;
        let mut labels = if keeps_name { many.clone() } else { many.without_metadata() };
        if self.one_to_one {
            labels = match &self.on {
                MatchLabels::On(names) => labels.filtered(|name| names.iter().any(|n| n == name)),
                MatchLabels::Ignoring(names) => {
                    labels.filtered(|name| !names.iter().any(|known| known == name))
                }
            };
        }
        for name in &self.include {
            let value = one.and_then(|one| one.get(name)).unwrap_or_default();
            labels = labels.with(name, value);
        }
        labels
    }

    #[inline]
    pub(super) fn changed(&mut self, port: Port, slot: u32, old: Cell, new: Cell) {
        let side = self.side(port);
        let place =
            if side == MANY { self.many[slot as usize].group } else { self.one_of[slot as usize] };
        let group = &mut self.members[place as usize];
        let before = group.present[side];
        group.present[side] = before + u32::from(new.is_present()) - u32::from(old.is_present());
        let doubtful = self.one_to_one && before.max(group.present[side]) > 1;
        if side == ONE || doubtful {
            group.many.iter().for_each(|many| self.dirty.mark(*many));
        } else {
            self.dirty.mark(slot);
        }
    }

    pub(super) fn settle(&mut self, context: &mut Context<'_>, updates: &mut Updates) {
        while let Some(many) = self.dirty.pop() {
            let group = &self.members[self.many[many as usize].group as usize];
            let left = context.cell(self.inputs[MANY], many);
            let one = group.chosen(|slot| context.cell(self.inputs[ONE], slot));
            let cell = if group.is_doubtful(self.one_to_one) {
                Cell::MISSING
            } else {
                one.map_or(Cell::MISSING, |(_, right)| self.combined(left, right))
            };
            if self.include.is_empty() {
                updates.cells.push((self.many[many as usize].slot, cell));
            } else {
                self.show(many, one.map(|(slot, _)| slot), cell, updates);
            }
        }
    }

    /// Where labels are taken over, a member shows in the slot of the pair it is in.
    fn show(&mut self, many: u32, one: Option<u32>, cell: Cell, updates: &mut Updates) {
        let shown = self.many[many as usize].slot;
        let slot = match one {
            None => shown,
            Some(one) => self.pair(many, one, updates),
        };
        if shown != slot && shown != NONE {
            updates.cells.push((shown, Cell::MISSING));
        }
        if slot != NONE {
            updates.cells.push((slot, cell));
        }
        self.many[many as usize].slot = slot;
    }

    fn pair(&mut self, many: u32, one: u32, updates: &mut Updates) -> u32 {
        if let Some(slot) = self.pairs.get(&(many, one)) {
            return *slot;
        }
        let [all_many, all_one] = &self.labels;
        let (many_labels, one_labels) = (&all_many[many as usize], &all_one[one as usize]);
        updates.born.push(self.result(many_labels, Some(one_labels)));
        self.pairs.insert((many, one), self.slots);
        self.slots += 1;
        self.slots - 1
    }

    #[inline]
    fn combined(&self, many: Cell, one: Cell) -> Cell {
        let presence = many.presence.min(one.presence);
        if presence == Presence::Missing {
            return Cell::MISSING;
        }
        let (left, right) =
            if self.swapped { (one.value, many.value) } else { (many.value, one.value) };
        let value = match self.op {
            BinaryOp::Arithmetic(op) => op.apply(left, right),
            BinaryOp::Comparison(op) if self.returns_bool => {
                f64::from(u8::from(op.holds(left, right)))
            }
            BinaryOp::Comparison(op) if op.holds(left, right) => left,
            _ => return Cell::filtered(left),
        };
        Cell { value, presence }
    }

    pub(super) fn bytes(&self) -> usize {
        let members = self.members.iter().map(|group| {
            size_of::<Group>() + (group.many.capacity() + group.one.capacity()) * size_of::<u32>()
        });
        let labels = self.labels.iter().flatten().map(|l| size_of::<Labels>() + labels_bytes(l));
        members.sum::<usize>()
            + labels.sum::<usize>()
            + self.many.capacity() * size_of::<Many>()
            + self.one_of.capacity() * size_of::<u32>()
            + self.pairs.capacity() * (size_of::<((u32, u32), u32)>() + 1)
            + self.groups.bytes()
    }
}

impl Group {
    /// The slot of `one` that counts: a present one before one that is left out.
    #[inline]
    fn chosen(&self, cell: impl Fn(u32) -> Cell) -> Option<(u32, Cell)> {
        let cells = self.one.iter().map(|slot| (*slot, cell(*slot)));
        cells.filter(|(_, cell)| !cell.is_missing()).max_by_key(|(_, cell)| cell.presence)
    }

    fn is_doubtful(&self, one_to_one: bool) -> bool {
        self.present[ONE] > 1 || (one_to_one && self.present[MANY] > 1)
    }
}
