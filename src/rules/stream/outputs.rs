//! What a stream yields: sets of labels without the metric's name, and what each root says of them.

use rustc_hash::FxHashMap;

use super::groups::labels_bytes;
use super::node::{Cell, Dirty, Node};
use super::tight;
use crate::promql::Labels;
use crate::sample::Timestamp;

/// The outputs of a stream, numbered; numbers of outputs that are gone are used again.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    index: FxHashMap<Labels, u32>,
    outputs: Vec<Output>,
    free: Vec<u32>,
    roots: Vec<Root>,
    pub(super) touched: Dirty,
}

/// Which slots of a root's node show in which outputs: mostly one in each; more where labels that
/// differ between them were dropped or taken over.
#[derive(Debug, Clone, Default)]
struct Root {
    /// By slot.
    shown: Vec<Shown>,
    /// By output: the last slot that shows in it, or [`NONE`]; outputs at the end may be left out.
    last: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Shown {
    output: u32,
    /// The slot before that shows in the same output, or [`NONE`].
    before: u32,
}

const NONE: u32 = u32::MAX;

impl Root {
    fn attach(&mut self, output: u32) {
        let place = output as usize;
        while self.last.len() <= place {
            tight::push(&mut self.last, NONE);
        }
        let slot = self.shown.len() as u32;
        let before = std::mem::replace(&mut self.last[place], slot);
        tight::push(&mut self.shown, Shown { output, before });
    }

    fn shows(&self, output: u32) -> bool {
        self.last.get(output as usize).is_some_and(|slot| *slot != NONE)
    }
}

#[derive(Debug, Default)]
struct Output {
    labels: Labels,
    /// When data last came.
    seen: Timestamp,
    /// For whoever reads the outputs: what is kept of this one.
    pub(super) mark: u32,
}

/// Nothing is kept.
pub(in crate::rules) const NO_MARK: u32 = u32::MAX;

impl Outputs {
    pub(super) fn new(roots: usize) -> Self {
        Self { roots: vec![Root::default(); roots], ..Self::default() }
    }

    /// A root has a slot more.
    pub(super) fn attach(&mut self, root: u32, labels: &Labels) {
        let output = self.of(&labels.without_metadata());
        self.roots[root as usize].attach(output);
    }

    /// The output of a set of labels, made where there is none.
    pub(super) fn of(&mut self, labels: &Labels) -> u32 {
        match self.index.get(labels) {
            Some(known) => *known,
            None => self.make(labels.clone()),
        }
    }

    fn make(&mut self, labels: Labels) -> u32 {
        let output = Output { labels: labels.clone(), mark: NO_MARK, seen: Timestamp::MIN };
        let place = if let Some(free) = self.free.pop() {
            self.outputs[free as usize] = output;
            free
        } else {
            tight::push(&mut self.outputs, output);
            self.touched.grow();
            self.outputs.len() as u32 - 1
        };
        self.index.insert(labels, place);
        place
    }

    /// A slot of a root was settled.
    #[inline]
    pub(super) fn touch(&mut self, root: u32, slot: u32, by_data: Option<Timestamp>) {
        let output = self.roots[root as usize].shown[slot as usize].output;
        if let Some(at) = by_data {
            self.outputs[output as usize].seen = at;
        }
        self.touched.mark(output);
    }

    /// What a root says of an output: of several slots the one that says most.
    #[inline]
    pub(super) fn cell(&self, output: u32, root: u32, node: &Node) -> Cell {
        let root = &self.roots[root as usize];
        let mut slot = root.last.get(output as usize).copied().unwrap_or(NONE);
        let mut most = Cell::MISSING;
        while let Some(shown) = root.shown.get(slot as usize) {
            let cell = node.cells[slot as usize];
            if cell.presence > most.presence {
                most = cell;
            }
            slot = shown.before;
        }
        most
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
        self.roots.fill(Root::default());
    }

    /// Outputs without a slot go, unless something is kept of them: those are touched.
    pub(super) fn sweep(&mut self) {
        let Self { index, outputs, free, touched, roots } = self;
        index.retain(|_, place| {
            let output = &mut outputs[*place as usize];
            if roots.iter().any(|root| root.shows(*place)) {
                return true;
            }
            let is_marked = output.mark != NO_MARK;
            if is_marked {
                touched.mark(*place);
            } else {
                *output = Output::default();
                free.push(*place);
            }
            is_marked
        });
    }

    pub(super) fn shift(&mut self, nanos: i64) {
        for output in self.outputs.iter_mut().filter(|output| output.seen != Timestamp::MIN) {
            output.seen = output.seen.shifted(nanos);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let one = self.index.keys().next().map_or(0, labels_bytes);
        let roots = self.roots.iter().map(|root| {
            root.shown.capacity() * size_of::<Shown>() + root.last.capacity() * size_of::<u32>()
        });
        self.index.capacity() * (size_of::<(Labels, u32)>() + 1)
            + self.index.len() * one
            + self.outputs.capacity() * size_of::<Output>()
            + roots.sum::<usize>()
            + self.touched.bytes()
    }
}
