//! Rules in real use: each compiles, and on data made for it, on which it fires and clears, it
//! means the same streamed as evaluated.
//!
//! The data are made from the expression: series that its selectors mean, and for each a behaviour
//! picked at random, until the evaluator says that the rule holds, and then until it says that it
//! does not. What chance does not find within [`TRIES`] is counted and named.

mod behaviour;
mod series;

use std::path::PathBuf;

use behaviour::{Behaviour, Pool};
use fastrand::Rng;
use serde_json::Value as Json;
use series::{Made, make};

use super::oracle::{evaluated, is_near};
use super::rig::Rig;
use crate::promql::functions::Point;
use crate::promql::memory::MemorySource;
use crate::promql::{Expr, ExprKind, Labels, parse};
use crate::rules::stream::Presence;
use crate::rules::stream::why_tick::why_tick;
use crate::sample::{Sample, Timestamp};

/// How often behaviours are picked anew before chance is said to have failed.
const TRIES: usize = 1_000;

/// Samples of a series over the longest range of its rule.
const SPARSE: i64 = 24;

/// And in the last minutes, which is what most selectors see.
const DENSE: i64 = 12;

const SECOND: i64 = 1_000_000_000;
const START: i64 = 1_700_000_000 * SECOND;

#[derive(Debug, Default)]
struct Tally {
    rules: usize,
    streamed: usize,
    on_a_tick: usize,
    fired: usize,
    cleared: usize,
    checks: usize,
    /// Checks at which the evaluator refused to answer.
    refused: usize,
}

#[test]
fn rules_in_real_use_mean_the_same_streamed_as_evaluated() {
    let folder = std::env::var("WATCHPOST_CONFORMANCE").map_or_else(
        |_| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance"),
        PathBuf::from,
    );
    let Ok(text) = std::fs::read(folder.join("alerts.json")) else {
        println!("skipped: no alerts.json in {}", folder.display());
        return;
    };
    let rules: Vec<Json> = serde_json::from_slice(&text).unwrap();
    let only = std::env::var("WATCHPOST_ALERT").ok();
    let mut tally = Tally::default();
    let mut undriven = Vec::new();
    for rule in &rules {
        let [name, text] = ["name", "expr"].map(|key| rule[key].as_str().unwrap_or_default());
        if only.as_deref().is_some_and(|only| only != name) {
            continue;
        }
        let expr = parse(text).unwrap_or_else(|error| panic!("{name}: {error}: {text}"));
        tally.rules += 1;
        let (fired, cleared) = drive(name, text, &expr, &mut tally);
        tally.fired += usize::from(fired);
        tally.cleared += usize::from(fired && cleared);
        if !(fired && cleared) {
            let what = if fired { "does not clear" } else { "does not fire" };
            undriven.push(format!("{what}: {name}: {}", text.replace('\n', " ")));
        }
    }
    println!("{tally:?}");
    undriven.iter().for_each(|one| println!("{one}"));
    assert!(tally.cleared * 100 >= tally.rules * 90, "most rules can be driven: {tally:?}");
}

/// Whether it fired, and whether it cleared, streamed and evaluated alike.
fn drive(name: &str, text: &str, expr: &Expr, tally: &mut Tally) -> (bool, bool) {
    *if ticks(expr) { &mut tally.on_a_tick } else { &mut tally.streamed } += 1;
    let mut rng = Rng::with_seed(7);
    let made = make(expr);
    let pool = Pool::of(expr);
    let span = reach(expr);
    // A recorded series is no rule that fires; it must only have a value and then none.
    let found = |wanted: bool, rng: &mut Rng| {
        (0..TRIES).find_map(|round| {
            let picked: Vec<Behaviour> =
                made.iter().map(|one| pool.pick(rng, one, round, wanted)).collect();
            let mut source = MemorySource::default();
            let until = history(&made, &picked, START, span, |labels, point| {
                source.insert(labels, point);
            });
            let answer = evaluated(&source, expr, until).ok().flatten()?;
            (answer.is_empty() != wanted).then_some(picked)
        })
    };
    let fires = found(true, &mut rng);
    let clears = found(false, &mut rng);
    let mut case = Case::new(format!("{name}: {text}"), expr);
    let mut now = START;
    let mut shows = Vec::new();
    for picked in [&clears, &fires, &clears].into_iter().flatten() {
        now = case.run(&made, picked, now, span, tally);
        shows.push(case.is_there(now));
    }
    match (&fires, &clears) {
        (Some(_), Some(_)) => (shows[1], shows[1] && !shows[2]),
        (Some(_), None) => (shows[0], false),
        (None, _) => (false, true),
    }
}

/// The samples of all series up to the end of their span, oldest first; the time of the last.
fn history(
    made: &[Made],
    picked: &[Behaviour],
    start: i64,
    span: i64,
    mut take: impl FnMut(&Labels, Point),
) -> Timestamp {
    let times = times(start, span);
    for time in &times {
        for (one, behaviour) in made.iter().zip(picked) {
            if let Some(value) = behaviour.at(one, *time, start, times[times.len() - 1]) {
                take(&one.labels, Point { time: Timestamp::from_nanos(*time), value });
            }
        }
    }
    Timestamp::from_nanos(times[times.len() - 1])
}

fn times(start: i64, span: i64) -> Vec<i64> {
    let step = span / SPARSE;
    let sparse = (0..SPARSE).map(|n| start + n * step);
    let dense = (0..=DENSE).map(|n| start + SPARSE * step + n * 30 * SECOND);
    sparse.chain(dense).collect()
}

/// How far an expression looks back, and a little more.
fn reach(expr: &Expr) -> i64 {
    let own = match &expr.kind {
        ExprKind::Range(range) => range.range + range.selector.offset.max(0),
        ExprKind::Subquery(subquery) => subquery.range + subquery.offset.max(0),
        ExprKind::Selector(selector) => selector.offset.max(0),
        _ => 0,
    };
    let inner = expr.children().into_iter().map(reach).max().unwrap_or(0);
    (own + inner).max(600 * SECOND)
}

fn ticks(expr: &Expr) -> bool {
    why_tick(expr).is_some() || expr.children().into_iter().any(ticks)
}

struct Case {
    name: String,
    expr: Expr,
    rig: Rig,
    source: MemorySource,
}

impl Case {
    fn new(name: String, expr: &Expr) -> Self {
        let rig = Rig::of(expr.clone(), usize::MAX);
        Self { name, expr: expr.clone(), rig, source: MemorySource::default() }
    }

    fn run(
        &mut self,
        made: &[Made],
        picked: &[Behaviour],
        start: i64,
        span: i64,
        tally: &mut Tally,
    ) -> i64 {
        let times = times(start + 30 * SECOND, span);
        let end = times[times.len() - 1];
        for (at, time) in times.iter().enumerate() {
            let now = Timestamp::from_nanos(*time);
            let mut samples = Vec::new();
            for (one, behaviour) in made.iter().zip(picked) {
                if let Some(value) = behaviour.at(one, *time, start, end) {
                    self.source.insert(&one.labels, Point { time: now, value });
                    samples.push(Sample { series: one.intern(&self.rig.catalogue), value });
                }
            }
            self.rig.jump(now);
            self.rig.apply(now, samples);
            self.rig.jump(now);
            self.rig.refresh();
            // Each evaluation looks at all there is: not all of the way need be compared.
            if at % 5 == 4 || at + 3 > times.len() {
                self.check(now, tally);
            }
        }
        end
    }

    fn check(&self, now: Timestamp, tally: &mut Tally) {
        tally.checks += 1;
        let Ok(Some(expected)) = evaluated(&self.source, &self.expr, now) else {
            tally.refused += 1;
            return;
        };
        let found = self.rig.elements();
        let equal = expected.len() == found.len()
            && expected.iter().all(|(labels, value)| {
                found.get(labels).is_some_and(|other| is_near(*value, *other))
            });
        assert!(equal, "{} at {now}\nevaluated {expected:?}\nstreamed  {found:?}", self.name);
    }

    fn is_there(&self, _: i64) -> bool {
        let stream = self.rig.stream();
        stream.outputs().any(|output| stream.finding(output, 0).presence == Presence::Present)
    }
}
