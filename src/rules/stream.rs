//! PromQL compiled to operators that are judged as samples arrive.
//!
//! **Meaning.** An output is there at a time if and only if the evaluator, asked at that time over
//! the data so far, yields it. A batch is fed whole and settled once; then every output it touched
//! is looked at. What changes with time alone has timers: a sample that comes to be too old or
//! leaves a window, at the very nanosecond. What drifts all the time is made anew when it is
//! touched, and besides: `time()` at every whole second, a window (a prediction, a rate near the
//! ends of its data) at every thirtieth of its length, in whole seconds.
//!
//! **Shape.** [`mod@compile`] makes nodes of an expression, each after those it reads. A leaf keeps
//! state for each series; a node keeps a [cell](node::Cell) for each set of labels it may yield,
//! found by number and not by labels, so that settling hashes nothing and allocates nothing.
//!
//! **What it does not do.** It reads no clock, and it does not know what an alert is. Where the
//! evaluator refuses to answer because two elements claim one place, only those elements yield
//! nothing here.

mod absent;
mod aggregate;
mod alarm;
mod compile;
mod count_values;
pub(super) mod explain;
mod groups;
mod histogram;
mod instant;
mod join;
mod members;
pub(super) mod network;
mod node;
mod operator;
mod outputs;
mod ranked;
mod relabel;
mod ring;
mod room;
mod scalar;
mod sets;
mod spread;
mod stage;
mod sum;
#[cfg(test)]
mod tests;
mod tick;
mod tight;
mod top;
mod wheel;
mod why_tick;
mod window;
mod window_function;

use alarm::Timers;
use compile::{Leaf, Plan, compile};
pub(super) use node::Presence;
use node::{Cell, Context, Updates, next_second};
use operator::Operator;
pub(super) use outputs::NO_MARK;
use outputs::Outputs;
use ring::Point;
pub(super) use room::Stopped;
use wheel::{Timer, WHOLE, Wheel};

use crate::promql::{Expr, Labels};
use crate::sample::{SeriesId, Timestamp};

/// Expressions of one rule, compiled, and the state of all series they are about.
#[derive(Debug)]
pub(super) struct Stream {
    /// What timers know it by.
    id: u32,
    roots: Vec<Expr>,
    nodes: Vec<node::Node>,
    leaves: Vec<Leaf>,
    root_nodes: Vec<u32>,
    outputs: Outputs,
    started: bool,
    /// Whether it waits to be settled.
    is_woken: bool,
    /// How many series it had when it was last made anew.
    settled_series: usize,
    stopped: Option<Stopped>,
    updates: Updates,
}

/// What a root says of an output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Finding {
    pub(super) presence: Presence,
    /// The value, where there is one; of what is left out, the value that was judged.
    pub(super) value: Option<f64>,
}

/// By what a change came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// Samples: what they touch is looked at even where nothing changes.
    Data,
    /// Time alone.
    Time,
}

impl Stream {
    /// Compiles expressions that are about the same outputs, as `when` and `clear` are.
    pub(super) fn new(id: u32, roots: Vec<Expr>) -> Self {
        let mut stream = Self {
            id,
            nodes: Vec::new(),
            leaves: Vec::new(),
            root_nodes: Vec::new(),
            outputs: Outputs::new(roots.len()),
            roots,
            started: false,
            is_woken: false,
            settled_series: 0,
            stopped: None,
            updates: Updates::default(),
        };
        stream.lay_out();
        stream
    }

    fn lay_out(&mut self) {
        let roots: Vec<&Expr> = self.roots.iter().collect();
        let Plan { nodes, leaves, fixed, roots } = compile(&roots);
        (self.nodes, self.leaves, self.root_nodes) = (nodes, leaves, roots);
        self.started = false;
        for (node, labels) in fixed {
            self.born(node, &labels);
        }
    }

    /// What it is to be fed.
    pub(super) fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }

    /// A series that a leaf is about: where to feed its samples. An instant counts for `lookback`.
    pub(super) fn add(
        &mut self,
        leaf: u32,
        series: SeriesId,
        labels: &Labels,
        lookback: i64,
    ) -> u32 {
        let node = self.leaves[leaf as usize].node;
        let slot = match &mut self.nodes[node as usize].operator {
            Operator::Instant(instant) => instant.add(series, lookback),
            Operator::Window(window) => window.add(series),
            Operator::Tick(tick) => return tick.add(series, labels),
            _ => return 0,
        };
        self.born(node, labels);
        slot
    }

    /// A sample or a stale mark of a series. Whether it could be judged: not what is older than
    /// anything the rule still looks at.
    #[inline]
    pub(super) fn feed(&mut self, leaf: u32, slot: u32, point: Point, now: Timestamp) -> bool {
        if self.is_stopped() {
            return true;
        }
        let node = self.leaves[leaf as usize].node;
        match &mut self.nodes[node as usize].operator {
            Operator::Instant(instant) => {
                instant.feed(slot, point, now);
                true
            }
            Operator::Window(window) => window.feed(slot, point, now),
            Operator::Tick(tick) => tick.feed(slot, point, now),
            _ => false,
        }
    }

    /// A series is gone.
    pub(super) fn end(&mut self, leaf: u32, slot: u32) {
        if self.is_stopped() {
            return;
        }
        let node = self.leaves[leaf as usize].node;
        match &mut self.nodes[node as usize].operator {
            Operator::Instant(instant) => instant.end(slot),
            Operator::Window(window) => window.end(slot),
            Operator::Tick(tick) => tick.end(slot),
            _ => {}
        }
    }

    /// One of its timers has come up; whether there is something to settle.
    #[inline]
    pub(super) fn wake(&mut self, timer: Timer, wheel: &mut Wheel) -> bool {
        self.nodes[timer.node as usize].wake(timer, wheel)
    }

    /// Brings all nodes up to a time; what they touch is then [`touched`](Self::touched).
    pub(super) fn settle(&mut self, at: Timestamp, cause: Cause, wheel: &mut Wheel) {
        if self.is_stopped() {
            return;
        }
        for place in 0..self.nodes.len() {
            // Twice where settling makes new slots that are to be looked at.
            while !self.nodes[place].operator.is_settled() {
                self.settle_node(place, at, cause, wheel);
            }
            let node = &mut self.nodes[place];
            if node.drifts && (node.alarm.is_off() || !self.started) {
                let mut timers = Timers { wheel, stream: self.id, node: place as u32 };
                node.alarm.set(next_second(at), WHOLE, &mut timers);
            }
        }
        self.started = true;
    }

    fn settle_node(&mut self, place: usize, at: Timestamp, cause: Cause, wheel: &mut Wheel) {
        let mut updates = std::mem::take(&mut self.updates);
        let (inputs, rest) = self.nodes.split_at_mut(place);
        let Some((node, _)) = rest.split_first_mut() else { return };
        let timers = Timers { wheel, stream: self.id, node: place as u32 };
        node.operator.settle(&mut Context { at, inputs, timers }, &mut updates);
        for labels in updates.born.drain(..) {
            self.born(place as u32, &labels);
        }
        let (inputs, rest) = self.nodes.split_at_mut(place);
        let Some((node, readers)) = rest.split_first_mut() else { return };
        for (slot, cell) in updates.cells.drain(..) {
            let new = node.staged(cell, at, inputs);
            let old = std::mem::replace(&mut node.cells[slot as usize], new);
            if cause == Cause::Time && old.is_same(new) {
                continue;
            }
            for edge in &node.readers {
                let reader = &mut readers[edge.node as usize - place - 1];
                reader.operator.changed(edge.port, slot, old, new);
            }
            let by_data = (cause == Cause::Data).then_some(at);
            let mut roots = node.roots;
            while roots != 0 {
                self.outputs.touch(roots.trailing_zeros(), slot, by_data);
                roots &= roots - 1;
            }
        }
        self.updates = updates;
    }

    /// A node has a slot more: who reads it hears of it.
    fn born(&mut self, node: u32, labels: &Labels) {
        let place = &mut self.nodes[node as usize];
        tight::push(&mut place.cells, Cell::MISSING);
        let (readers, mut roots) = (place.readers.clone(), place.roots);
        while roots != 0 {
            self.outputs.attach(roots.trailing_zeros(), labels);
            roots &= roots - 1;
        }
        for edge in readers.iter().filter(|edge| edge.port != node::Port::Parameter) {
            let mut born = Vec::new();
            self.nodes[edge.node as usize].operator.attach(edge.port, labels, &mut born);
            for labels in born {
                self.born(edge.node, &labels);
            }
        }
    }

    /// The next output that was touched since it was last asked for.
    #[inline]
    pub(super) fn touched(&mut self) -> Option<u32> {
        self.outputs.touched.pop()
    }

    /// What a root says of an output.
    #[inline]
    pub(super) fn finding(&self, output: u32, root: usize) -> Finding {
        let node = &self.nodes[self.root_nodes[root] as usize];
        let cell = self.outputs.cell(output, root as u32, node);
        let has_value = cell.is_present() || !(cell.is_missing() || cell.value.is_nan());
        Finding { presence: cell.presence, value: has_value.then_some(cell.value) }
    }

    /// The output of a set of labels, made where there is none.
    pub(super) fn output(&mut self, labels: &Labels) -> u32 {
        self.outputs.of(labels)
    }

    /// The labels of an output, without the metric's name.
    pub(super) fn labels(&self, output: u32) -> &Labels {
        self.outputs.labels(output)
    }

    /// When data last came for an output.
    pub(super) fn seen(&self, output: u32) -> Timestamp {
        self.outputs.seen(output)
    }

    /// What is kept of an output by whoever reads it. While there is something, the output stays.
    pub(super) fn mark(&self, output: u32) -> u32 {
        self.outputs.mark(output)
    }

    /// Sets it; [`NO_MARK`] for nothing.
    pub(super) fn set_mark(&mut self, output: u32, mark: u32) {
        self.outputs.set_mark(output, mark);
    }

    /// All outputs there are, in no order.
    pub(super) fn outputs(&self) -> impl Iterator<Item = u32> + '_ {
        self.outputs.iter()
    }

    /// All times move by a step of the clock.
    pub(super) fn shift(&mut self, nanos: i64) {
        for node in &mut self.nodes {
            node.operator.shift(nanos);
            node.alarm.shift(nanos);
        }
        self.outputs.shift(nanos);
    }

    /// How many series it keeps something of.
    pub(super) fn series(&self) -> usize {
        self.nodes.iter().map(|node| node.operator.series()).sum()
    }

    /// The memory it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.nodes.iter().map(node::Node::bytes).sum::<usize>() + self.outputs.bytes()
    }
}
