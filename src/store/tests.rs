//! The store against a model that cannot be wrong: one map.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::sample::{STALE, Sample, Series};

mod files;
mod reading;

const TARGETS: usize = 3;
const FIELDS: usize = 4;
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_nanos(millis * 1_000_000)
}

fn limits() -> Limits {
    Limits {
        raw: Duration::from_secs(1_000 * 86_400),
        five_minutes: Duration::ZERO,
        hour: Duration::ZERO,
        bytes: u64::MAX,
        late: Duration::from_secs(1_000 * 86_400),
    }
}

/// A store in a folder, and all that was ever written to it.
struct Bench {
    folder: TempDir,
    limits: Limits,
    catalogue: Arc<Catalogue>,
    store: Store,
    /// Batches as a journal has them: what ends where.
    journal: Vec<(u64, Batch)>,
    /// By the text of a series and time.
    model: BTreeMap<(String, i64), f64>,
    now: i64,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (catalogue, now) = (Arc::<Catalogue>::default(), 20_000 * DAY);
        let path = folder.path().to_owned();
        let store =
            Store::open(path, catalogue.clone(), limits, &Metrics::default(), at(now)).unwrap();
        let (journal, model) = (Vec::new(), BTreeMap::new());
        Self { folder, limits, catalogue, store, journal, model, now }
    }

    fn series(&self, target: usize, field: usize) -> SeriesId {
        let target = format!("t{target}");
        let fields = ["a", "b", "c", "failures_total"];
        self.catalogue.intern("m", fields[field], &[("target", &target), ("kind", "test")])
    }

    fn all(&self) -> Vec<SeriesId> {
        (0..TARGETS)
            .flat_map(|t| (0..FIELDS).map(move |f| (t, f)))
            .map(|(t, f)| self.series(t, f))
            .collect()
    }

    /// Writes fields of a target, by the bits of `fields`.
    fn write(&mut self, target: usize, fields: usize, time: i64, value: f64) {
        let samples = (0..FIELDS).filter(|field| fields >> field & 1 == 1).map(|field| {
            let value = if value.is_nan() { value } else { value + field as f64 };
            Sample { series: self.series(target, field), value }
        });
        let samples: Vec<_> = samples.collect();
        for sample in &samples {
            let words = self.catalogue.series(sample.series).to_string();
            self.model.insert((words, time), sample.value);
        }
        let end = self.journal.last().map_or(0, |(end, _)| *end) + samples.len() as u64;
        let batch = Batch { target: "t".into(), time: at(time), samples };
        self.store.append(std::slice::from_ref(&batch), at(self.now), end);
        self.journal.push((end, batch));
    }

    /// As if the head could hold half of what it has.
    fn seal_longest(&self) {
        let bytes = self.store.state().head.bytes() / 2;
        self.store.seal_but(bytes, at(self.now)).unwrap();
    }

    /// As after kill -9: what was not sealed comes back from the journal.
    fn reopen(&mut self) {
        self.catalogue = Arc::default();
        let (path, old) = (self.folder.path().to_owned(), self.store.catalogue.clone());
        let metrics = Metrics::default();
        let now = at(self.now);
        self.store = Store::open(path, self.catalogue.clone(), self.limits, &metrics, now).unwrap();
        let sealed_to = self.store.sealed_to();
        for (end, batch) in &mut self.journal {
            for sample in &mut batch.samples {
                let series = old.series(sample.series);
                let tags: Vec<_> = series.row.tags.iter().map(|(n, v)| (&**n, &**v)).collect();
                sample.series =
                    self.catalogue.intern(&series.row.measurement, &series.field, &tags);
            }
            if *end > sealed_to {
                self.store.append(std::slice::from_ref(batch), now, *end);
            }
        }
    }

    fn read(&self, from: i64, to: i64) -> BTreeMap<(String, i64), u64> {
        let all = self.all();
        let points = self.store.read(&all, &Range::new(at(from), at(to))).unwrap();
        let mut found = BTreeMap::new();
        for (series, points) in all.iter().zip(points) {
            assert!(points.is_sorted_by(|a, b| a.0 < b.0), "points are in order");
            let words = self.catalogue.series(*series).to_string();
            found.extend(points.into_iter().map(|(t, v)| ((words.clone(), t), v.to_bits())));
        }
        found
    }

    fn expected(&self, from: i64, to: i64) -> BTreeMap<(String, i64), u64> {
        let there = self.model.iter().filter(|((_, time), _)| (from..=to).contains(time));
        there.map(|(key, value)| (key.clone(), value.to_bits())).collect()
    }

    fn assert_same(&self, from: i64, to: i64) {
        assert_eq!(self.read(from, to), self.expected(from, to));
        let all = (0..self.catalogue.len()).map(|n| self.catalogue.series(SeriesId::from_index(n)));
        let known: BTreeMap<String, Series> = all.map(|one| (one.to_string(), one)).collect();
        for wants in [|_: &Series| true, |series: &Series| &*series.field == "b"] {
            assert_eq!(self.batches(from, to, wants), {
                let mut expected = self.expected(from, to);
                expected.retain(|(words, _), _| wants(&known[words]));
                expected
            });
        }
    }

    /// All that batches have of series that are wanted; in the order of time.
    fn batches(&self, from: i64, to: i64, wants: fn(&Series) -> bool) -> Model {
        let mut found = Model::new();
        let mut last = Timestamp::MIN;
        for batch in self.store.batches(at(from), at(to), wants) {
            assert!(batch.time >= last && !batch.samples.is_empty(), "{batch:?} after {last}");
            last = batch.time;
            for (place, sample) in batch.samples.iter().enumerate() {
                let before = &batch.samples[..place];
                assert!(before.iter().all(|other| other.series != sample.series), "{batch:?}");
                let words = self.catalogue.series(sample.series).to_string();
                found.insert((words, millis(batch.time)), sample.value.to_bits());
            }
        }
        found
    }
}

/// By the text of a series and time: the bits of a value.
type Model = BTreeMap<(String, i64), u64>;

/// What may happen to a store.
#[derive(Debug, Clone)]
enum Step {
    /// A poll: target, fields, milliseconds before now, value; `None` is the stale mark.
    Write(usize, usize, i64, Option<i32>),
    /// So many polls in a row, ten seconds apart.
    Polls(usize, usize, usize),
    Later(i64),
    Seal,
    SealLongest,
    Tidy,
    Reopen,
    Read(i64, i64),
}

fn step() -> impl Strategy<Value = Step> {
    let fields = prop_oneof![3 => Just(0b1111usize), 1 => 1..16usize];
    let before = prop_oneof![4 => Just(0i64), 1 => 0..20_000i64, 1 => 0..3 * DAY];
    prop_oneof![
        8 => (0..TARGETS, fields.clone(), before, proptest::option::weighted(0.9, -9..9i32))
            .prop_map(|(t, f, b, v)| Step::Write(t, f, b / 1_000 * 1_000, v)),
        4 => (0..TARGETS, fields, 1..700usize).prop_map(|(t, f, n)| Step::Polls(t, f, n)),
        4 => (1..60_000i64).prop_map(Step::Later),
        1 => (0..2 * DAY).prop_map(Step::Later),
        2 => Just(Step::Seal),
        3 => Just(Step::SealLongest),
        1 => Just(Step::Tidy),
        1 => Just(Step::Reopen),
        1 => (0..3 * DAY, 0..2 * DAY).prop_map(|(from, len)| Step::Read(from, len)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_store_has_what_was_written(
        steps in proptest::collection::vec(step(), 1..60)
    ) {
        let mut bench = Bench::new(limits());
        let start = bench.now;
        for step in steps {
            match step {
                Step::Write(target, fields, before, value) => {
                    let time = bench.now - before;
                    bench.write(target, fields, time, value.map_or(STALE, f64::from));
                }
                Step::Polls(target, fields, n) => {
                    for poll in 0..n {
                        bench.now += 10_000;
                        bench.write(target, fields, bench.now, poll as f64 / 10.0);
                    }
                }
                Step::Later(millis) => bench.now += millis,
                Step::Seal => bench.store.seal(at(bench.now)).unwrap(),
                Step::SealLongest => bench.seal_longest(),
                Step::Tidy => bench.store.tidy(at(bench.now)).unwrap(),
                Step::Reopen => bench.reopen(),
                Step::Read(before, len) => {
                    let from = bench.now - before;
                    bench.assert_same(from, from + len);
                }
            }
        }
        bench.assert_same(start - 10 * DAY, bench.now);
        bench.store.seal(at(bench.now)).unwrap();
        bench.store.tidy(at(bench.now + 3 * DAY)).unwrap();
        bench.reopen();
        bench.assert_same(start - 10 * DAY, bench.now);
        prop_assert_eq!(bench.store.counts.damaged.get(), 0);
    }
}
