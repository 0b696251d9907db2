//! What a stream yields: sets of labels without the metric's name, and what each root says of them.

use rustc_hash::FxHashMap;

use super::groups::labels_bytes;
use super::node::{Cell, Dirty, Node};
use crate::promql::Labels;
use crate::sample::Timestamp;

/// The outputs of a stream, numbered; numbers of outputs that are gone are used again.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    index: FxHashMap<Labels, u32>,
    outputs: Vec<Output>,
    free: Vec<u32>,
    /// By root and slot of its node.
    of_slot: Vec<Vec<u32>>,
    pub(super) touched: Dirty,
}

#[derive(Debug, Default)]
struct Output {
    labels: Labels,
    /// Root and slot of what shows in it. Mostly one a root; more where labels that differ between
    /// them were dropped or taken over.
    slots: Vec<(u32, u32)>,
    /// When data last came.
    seen: Timestamp,
    /// For whoever reads the outputs: what is kept of this one.
    pub(super) mark: u32,
}

/// Nothing is kept.
pub(in crate::rules) const NO_MARK: u32 = u32::MAX;

impl Outputs {
    pub(super) fn new(roots: usize) -> Self {
        Self { of_slot: vec![Vec::new(); roots], ..Self::default() }
    }

    /// A root has a slot more.
    pub(super) fn attach(&mut self, root: u32, labels: &Labels) {
        let output = self.of(&labels.without_metadata());
        let of_slot = &mut self.of_slot[root as usize];
        self.outputs[output as usize].slots.push((root, of_slot.len() as u32));
        of_slot.push(output);
    }

    /// The output of a set of labels, made where there is none.
    pub(super) fn of(&mut self, labels: &Labels) -> u32 {
        match self.index.get(labels) {
            Some(known) => *known,
            None => self.make(labels.clone()),
        }
    }

    fn make(&mut self, labels: Labels) -> u32 {
        let output = Output {
            labels: labels.clone(),
            mark: NO_MARK,
            seen: Timestamp::MIN,
            slots: Vec::new(),
        };
        let place = if let Some(free) = self.free.pop() {
            self.outputs[free as usize] = output;
            free
        } else {
            self.outputs.push(output);
            self.touched.grow();
            self.outputs.len() as u32 - 1
        };
        self.index.insert(labels, place);
        place
    }

    /// A slot of a root was settled.
    #[inline]
    pub(super) fn touch(&mut self, root: u32, slot: u32, by_data: Option<Timestamp>) {
        let output = self.of_slot[root as usize][slot as usize];
        if let Some(at) = by_data {
            self.outputs[output as usize].seen = at;
        }
        self.touched.mark(output);
    }

    /// What a root says of an output: of several slots the one that says most.
    #[inline]
    pub(super) fn cell(&self, output: u32, root: u32, node: &Node) -> Cell {
        let slots = self.outputs[output as usize].slots.iter();
        let cells = slots.filter(|(of, _)| *of == root).map(|(_, slot)| node.cells[*slot as usize]);
        cells.max_by_key(|cell| cell.presence).unwrap_or(Cell::MISSING)
    }

    pub(super) fn labels(&self, output: u32) -> &Labels {
        &self.outputs[output as usize].labels
    }

    pub(super) fn seen(&self, output: u32) -> Timestamp {
        self.outputs[output as usize].seen
    }

    pub(super) fn mark(&self, output: u32) -> u32 {
        self.outputs[output as usize].mark
    }

    pub(super) fn set_mark(&mut self, output: u32, mark: u32) {
        self.outputs[output as usize].mark = mark;
    }

    /// All outputs there are.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.index.values().copied()
    }

    /// Lets go of all slots, to be attached anew.
    pub(super) fn detach(&mut self) {
        self.outputs.iter_mut().for_each(|output| output.slots.clear());
        self.of_slot.iter_mut().for_each(Vec::clear);
    }

    /// Outputs without a slot go, unless something is kept of them: those are touched.
    pub(super) fn sweep(&mut self) {
        let Self { index, outputs, free, touched, .. } = self;
        index.retain(|_, place| {
            let output = &outputs[*place as usize];
            let keeps = !output.slots.is_empty() || output.mark != NO_MARK;
            if !keeps {
                outputs[*place as usize] = Output::default();
                free.push(*place);
            } else if outputs[*place as usize].slots.is_empty() {
                touched.mark(*place);
            }
            keeps
        });
    }

    pub(super) fn shift(&mut self, nanos: i64) {
        for output in self.outputs.iter_mut().filter(|output| output.seen != Timestamp::MIN) {
            output.seen = output.seen.shifted(nanos);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let one = self.index.keys().next().map_or(0, labels_bytes);
        let slots = self.outputs.iter().map(|o| o.slots.capacity() * size_of::<(u32, u32)>());
        self.index.capacity() * (size_of::<(Labels, u32)>() + 1)
            + self.index.len() * one
            + self.outputs.capacity() * size_of::<Output>()
            + slots.sum::<usize>()
            + self.of_slot.iter().map(|o| o.capacity() * size_of::<u32>()).sum::<usize>()
            + self.touched.bytes()
    }
}
