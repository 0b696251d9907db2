//! `and`, `or` and `unless`: what one vector has, judged by what the other has.

use super::groups::{Groups, Key};
use super::node::{Cell, Context, Dirty, Port, Presence, Updates};
use crate::promql::Labels;
use crate::promql::operator::SetOp;

/// A set operator. Its slots are those of the left side, and with `or` those of the right.
#[derive(Debug)]
pub(super) struct Sets {
    op: SetOp,
    inputs: [u32; 2],
    groups: Groups,
    members: Vec<Group>,
    /// By side: the group and the own slot of each of its slots.
    places: [Vec<Place>; 2],
    /// By own slot: side and slot.
    sources: Vec<(usize, u32)>,
    /// By own slot.
    pub(super) dirty: Dirty,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    group: u32,
    slot: u32,
}

#[derive(Debug, Default)]
struct Group {
    /// The own slots that the other side decides on.
    judged: Vec<u32>,
    /// By side: how many are present, and how many are left out.
    present: [u32; 2],
    filtered: [u32; 2],
}

const LEFT: usize = 0;
const RIGHT: usize = 1;
const NO_SLOT: u32 = u32::MAX;

impl Sets {
    pub(super) fn new(op: SetOp, inputs: [u32; 2], key: Key) -> Self {
        Self {
            op,
            inputs,
            groups: Groups::new(key),
            members: Vec::new(),
            places: [Vec::new(), Vec::new()],
            sources: Vec::new(),
            dirty: Dirty::default(),
        }
    }

    /// The side that is judged by the other.
    fn judged(&self) -> usize {
        if self.op == SetOp::Or { RIGHT } else { LEFT }
    }

    pub(super) fn attach(&mut self, port: Port, labels: &Labels, born: &mut Vec<Labels>) {
        let side = usize::from(port == Port::Right);
        let (group, new) = self.groups.place(labels);
        if new.is_some() {
            self.members.push(Group::default());
        }
        let mut slot = NO_SLOT;
        if side == LEFT || self.op == SetOp::Or {
            slot = self.sources.len() as u32;
            self.sources.push((side, self.places[side].len() as u32));
            self.dirty.grow();
            born.push(labels.clone());
        }
        if side == self.judged() {
            self.members[group as usize].judged.push(slot);
        }
        self.places[side].push(Place { group, slot });
    }

    #[inline]
    pub(super) fn changed(&mut self, port: Port, slot: u32, old: Cell, new: Cell) {
        let side = usize::from(port == Port::Right);
        let place = self.places[side][slot as usize];
        if place.slot != NO_SLOT {
            self.dirty.mark(place.slot);
        }
        let group = &mut self.members[place.group as usize];
        let before = group.presence(side);
        for (cell, by) in [(old, u32::MAX), (new, 1)] {
            let counter = match cell.presence {
                Presence::Present => &mut group.present[side],
                Presence::Filtered => &mut group.filtered[side],
                Presence::Missing => continue,
            };
            *counter = counter.wrapping_add(by);
        }
        let is_judge = side != if self.op == SetOp::Or { RIGHT } else { LEFT };
        if is_judge && before != group.presence(side) {
            group.judged.iter().for_each(|slot| self.dirty.mark(*slot));
        }
    }

    #[inline]
    pub(super) fn settle(&mut self, context: &mut Context<'_>, updates: &mut Updates) {
        while let Some(own) = self.dirty.pop() {
            let (side, slot) = self.sources[own as usize];
            let mut cell = context.cell(self.inputs[side], slot);
            if side == self.judged() && !cell.is_missing() {
                let group = &self.members[self.places[side][slot as usize].group as usize];
                let other = group.presence(1 - side);
                cell.presence = match (self.op, other) {
                    (SetOp::And, other) => cell.presence.min(other),
                    (SetOp::Or | SetOp::Unless, Presence::Present) => Presence::Filtered,
                    (SetOp::Or | SetOp::Unless, _) => cell.presence,
                };
            }
            updates.cells.push((own, cell));
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let judged = self.members.iter().map(|g| g.judged.capacity() * size_of::<u32>());
        judged.sum::<usize>()
            + self.members.capacity() * size_of::<Group>()
            + self.places.iter().map(|p| p.capacity() * size_of::<Place>()).sum::<usize>()
            + self.sources.capacity() * size_of::<(usize, u32)>()
            + self.groups.bytes()
    }
}

impl Group {
    fn presence(&self, side: usize) -> Presence {
        match (self.present[side], self.filtered[side]) {
            (0, 0) => Presence::Missing,
            (0, _) => Presence::Filtered,
            _ => Presence::Present,
        }
    }
}
