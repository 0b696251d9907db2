//! After every batch and every timer the stream says what the evaluator says.
//!
//! `WATCHPOST_ORACLE_CASES` runs more cases than the few thousand of every test run,
//! `WATCHPOST_ORACLE_SEED` one of them.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::grammar::Grammar;
use super::rig::Rig;
use super::world::World;
use crate::promql::eval::{self, AnswerValue, EvalError, Options};
use crate::promql::functions::Point;
use crate::promql::memory::MemorySource;
use crate::promql::{Expr, Labels, parse};
use crate::sample::{Sample, Timestamp};

/// Cases of an ordinary run.
const CASES: u64 = 2_000;

/// Batches of a case.
const BATCHES: usize = 25;

/// What came of a case.
#[derive(Debug, Default)]
struct Tally {
    cases: usize,
    checks: usize,
    outputs: usize,
    /// Checks at which the evaluator refused to answer.
    refused: usize,
    /// Checks at which `topk` chose another of several that are equal.
    tied: usize,
    /// Expressions that yielded something at some time.
    lively: usize,
}

#[test]
fn streamed_equals_evaluated() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let mut tally = Tally::default();
    let seeds = match number("WATCHPOST_ORACLE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("WATCHPOST_ORACLE_CASES").unwrap_or(CASES),
    };
    let wrong: Vec<String> = seeds.filter_map(|seed| run(seed, &mut tally).err()).collect();
    println!("{tally:?}");
    let first = wrong.iter().take(5).fold(String::new(), |all, one| all + one + "\n");
    assert!(wrong.is_empty(), "{} of {} cases differ:\n{first}", wrong.len(), tally.cases);
    assert!(tally.lively * 2 > tally.cases, "most expressions yield something: {tally:?}");
}

fn run(seed: u64, tally: &mut Tally) -> Result<(), String> {
    let mut rng = Rng::with_seed(seed);
    let (text, expr) = loop {
        let depth = rng.u32(1..4);
        let text = Grammar { rng: &mut rng }.vector(depth);
        if let Ok(expr) = parse(&text) {
            break (text, expr);
        }
    };
    let mut case = Case::new(seed, text, expr, &mut rng);
    tally.cases += 1;
    let mut lively = false;
    for _ in 0..BATCHES {
        lively |= case.step(&mut rng, tally)?;
    }
    tally.lively += usize::from(lively);
    Ok(())
}

pub(super) struct Case {
    name: String,
    expr: Expr,
    rig: Rig,
    source: MemorySource,
    world: World,
    /// Whether it changes with time alone: then it is exact when touched and at whole seconds.
    drifts: bool,
    /// Whether a window in it drifts.
    slides: bool,
    /// Whether it chooses among elements that may be equal.
    chooses: bool,
}

/// Words by which an expression drifts, or is evaluated on a tick.
const DRIFTING: [&str; 12] = [
    "rate(",
    "increase(",
    "delta(",
    "predict_linear",
    "time()",
    "timestamp(",
    "hour()",
    ":1",
    ":2",
    "@ 1",
    "fill",
    "scalar(a",
];

/// Those of them that are windows.
const SLIDING: [&str; 4] = ["rate(", "increase(", "delta(", "predict_linear"];

/// Seconds that every step of a window in the grammar divides.
const STEPS: i64 = 60;

impl Case {
    fn new(seed: u64, text: String, expr: Expr, rng: &mut Rng) -> Self {
        let rig = Rig::of(expr.clone(), usize::MAX);
        let mut world = World::new(rng, &rig.catalogue);
        let chooses = text.contains("topk") || text.contains("bottomk");
        world.distinct = chooses;
        let drifts = DRIFTING.iter().any(|word| text.contains(word));
        let slides = SLIDING.iter().any(|word| text.contains(word));
        let name = format!("seed {seed}: {text}");
        Self { name, expr, rig, source: MemorySource::default(), world, drifts, slides, chooses }
    }

    /// A batch and perhaps a tick, each compared; whether there was anything to compare.
    fn step(&mut self, rng: &mut Rng, tally: &mut Tally) -> Result<bool, String> {
        let (time, samples) = self.world.batch(rng);
        self.keep(time, &samples);
        self.rig.apply(time, samples);
        let now = Timestamp::from_nanos(self.world.now);
        self.rig.tick_at(now);
        if self.drifts {
            self.rig.refresh();
        }
        let mut any = self.check(now, tally)?;
        if rng.u32(..3) == 0 {
            let ahead = rng.i64(1..200);
            let second = self.world.now / 1_000_000_000 + ahead;
            // A window that drifts is exact at multiples of its own step.
            let second = if self.slides { (second / STEPS + 1) * STEPS } else { second };
            self.world.now = second * 1_000_000_000;
            if !self.drifts {
                self.world.now += rng.i64(0..1_000_000_000);
            }
            let now = Timestamp::from_nanos(self.world.now);
            self.rig.tick_at(now);
            any |= self.check(now, tally)?;
        }
        Ok(any)
    }

    fn keep(&mut self, time: Timestamp, samples: &[Sample]) {
        for sample in samples {
            let labels = Labels::of_series(&self.rig.catalogue.series(sample.series));
            self.source.insert(&labels, Point { time, value: sample.value });
        }
    }

    fn check(&self, now: Timestamp, tally: &mut Tally) -> Result<bool, String> {
        tally.checks += 1;
        let expected = match evaluated(&self.source, &self.expr, now) {
            Ok(Some(expected)) => expected,
            Ok(None) | Err(EvalError::Failed(_)) => {
                tally.refused += 1;
                return Ok(false);
            }
            Err(error) => return Err(format!("{}: {error}", self.name)),
        };
        let found = self.rig.elements();
        tally.outputs += expected.len();
        let mut equal = expected.len() == found.len()
            && expected.iter().all(|(labels, value)| {
                found.get(labels).is_some_and(|other| is_near(*value, *other))
            });
        if !equal && self.chooses && same_values(&expected, &found) {
            tally.tied += 1;
            equal = true;
        }
        if equal {
            return Ok(!expected.is_empty());
        }
        Err(format!(
            "{} at {}\nevaluated {expected:?}\nstreamed  {found:?}\n{}",
            self.name,
            now.as_nanos(),
            self.shown(now)
        ))
    }

    /// The last samples, for whoever looks for the mistake.
    fn shown(&self, now: Timestamp) -> String {
        let mut text = String::new();
        for (labels, points) in self.source.iter() {
            text += &format!("{labels}");
            for point in points.iter().rev().take(12) {
                let age = (now.as_nanos() - point.time.as_nanos()) as f64 / 1e9;
                text += &format!(" {}@-{age}", point.value);
            }
            text += "\n";
        }
        text
    }
}

/// The elements by their labels without the name; `None` where that makes two of one label set.
pub(super) fn evaluated(
    source: &MemorySource,
    expr: &Expr,
    now: Timestamp,
) -> Result<Option<BTreeMap<Labels, f64>>, EvalError> {
    let answer = eval::instant(source, expr, now, &Options::default(), &|| Ok(()))?;
    let elements = match answer.value {
        AnswerValue::Scalar(point) => vec![(Labels::default(), point)],
        AnswerValue::Vector(elements) => elements,
        _ => Vec::new(),
    };
    let count = elements.len();
    let elements = elements.into_iter();
    let map: BTreeMap<Labels, f64> =
        elements.map(|(labels, point)| (labels.without_metadata(), point.value)).collect();
    Ok((map.len() == count).then_some(map))
}

/// Which of equal elements `topk` chooses is nobody's word.
fn same_values(a: &BTreeMap<Labels, f64>, b: &BTreeMap<Labels, f64>) -> bool {
    let sorted = |map: &BTreeMap<Labels, f64>| {
        let mut values: Vec<f64> = map.values().copied().collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let (a, b) = (sorted(a), sorted(b));
    a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| is_near(*a, *b))
}

/// Equal but for rounding.
pub(super) fn is_near(a: f64, b: f64) -> bool {
    let size = a.abs().max(b.abs());
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * size + 1e-9
}
