//! A backtest does what the engine did live, wherever the samples come from.

use std::io::Write;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;

use super::source::{Form, Source, Wanted};
use super::*;
use crate::config::Loader;
use crate::metrics::Metrics;
use crate::rules::{Alert, Engine, State};
use crate::sample::{STALE, Sample, is_stale};
use crate::store::{Limits, Store};

/// 2026-01-01, in milliseconds.
const START: i64 = 1_767_225_600_000;

const RULES: &str = r#"
[rule.down]
when = 'target_up == 0'
for = "15s"
severity = "critical"
actions = ["ops"]
[rule.hot]
metric = "m_hot"
match = { target = "t*" }
above = 5
clear_below = 3
for = "20s"
keep_firing_for = "10s"
depends_on = ["down"]
actions = ["fan", "ops"]
on_clear = ["fan"]
[rule.levels]
metric = "m_hot"
warning = { above = 4 }
critical = { above = 8 }
at_least = "2 of 3"
[rule.gone]
metric = "m_hot"
below = -5
on_missing = "fire"
for = "30s"
[rule.grows]
when = 'rate(m_count[1m]) > 0.2'
clear = 'rate(m_count[1m]) < 0.1'
[rule.all]
when = 'sum by (kind) (m_hot) > 9'
for = "1m"
[rule.joined]
when = 'm_hot > on (target) m_count'
[rule.none]
when = 'absent(m_hot{target="t0"})'
for = "40s"
"#;

fn rules(text: &str) -> Vec<Rule> {
    let read = Loader { env: &|_| None }.load_text(Path::new("rules.toml"), &named_actions(text));
    read.unwrap_or_else(|wrong| panic!("{wrong}")).rules
}

fn named_actions(rules: &str) -> String {
    format!("{rules}\n[action.ops]\nlog = {{}}\n[action.fan]\nlog = {{}}\n")
}

fn contender(text: &str) -> Contender {
    let rules = rules(text);
    let reported = rules.iter().map(|rule| rule.name.clone()).collect();
    Contender { rules, reported }
}

fn time(millis: i64) -> Timestamp {
    Timestamp::from_nanos(millis * 1_000_000)
}

/// What a poll of one of three targets reads: values of `target_up`, `m_hot` and `m_count`; none
/// where there is none, or the stale mark.
#[derive(Debug, Clone)]
struct Poll {
    /// Since the last one of all, in milliseconds; never none, for the store cannot tell what came
    /// first within a millisecond.
    after: i64,
    target: usize,
    values: [Option<i32>; 3],
    seal: bool,
}

fn polls() -> impl Strategy<Value = Vec<Poll>> {
    let value = |values: std::ops::Range<i32>| prop_oneof![8 => values.prop_map(Some), 1 => Just(Some(i32::MAX)), 1 => Just(None)];
    let after = prop_oneof![20 => 1..6_000_i64, 2 => Just(5_000), 1 => 60_000..400_000_i64];
    let poll = (after, 0..3_usize, value(0..2), value(-9..10), value(0..40), 0..40);
    let poll = poll.prop_map(|(after, target, up, hot, count, seal)| Poll {
        after,
        target,
        values: [up, hot, count],
        seal: seal == 0,
    });
    proptest::collection::vec(poll, 1..160)
}

fn batches(polls: &[Poll], catalogue: &Catalogue) -> Vec<Batch> {
    let mut at = START;
    let batch = |poll: &Poll| {
        at += poll.after;
        let target = format!("t{}", poll.target);
        let tags = [("target", &*target), ("kind", "test")];
        let names = [("target", "up"), ("m", "hot"), ("m", "count")];
        let samples = names.iter().zip(poll.values).filter_map(|((measurement, field), value)| {
            let series = catalogue.intern(measurement, field, &tags);
            let value = if value? == i32::MAX { STALE } else { f64::from(value?) };
            Some(Sample { series, value })
        });
        Batch { target: target.as_str().into(), time: time(at), samples: samples.collect() }
    };
    polls.iter().map(batch).collect()
}

/// What the engine does as the daemon drives it, without what stands between them.
fn live(rules: &[Rule], catalogue: &Arc<Catalogue>, batches: &[Batch]) -> Vec<Transition> {
    let mut engine = Engine::new(catalogue.clone(), rules.to_vec());
    let mut out = Vec::new();
    let Some(first) = batches.first() else { return out };
    engine.polled_every("test.t2", Duration::from_secs(300));
    engine.restore(Vec::new(), first.time.shifted(-1), &mut out);
    for batch in batches {
        while let Some(due) = engine.next_tick().filter(|due| *due < batch.time) {
            engine.tick(due, &mut out);
        }
        engine.observe(batch.time);
        engine.apply(batch, &mut out);
    }
    // What is due at the last moment happens in it.
    let last = batches.last().map(|batch| batch.time);
    while let Some(due) = engine.next_tick().filter(|due| Some(*due) <= last) {
        engine.tick(due, &mut out);
    }
    out
}

/// Listens.
#[derive(Default)]
struct Ear(Vec<Transition>);

impl Watch for Ear {
    fn like(&self, action: &str) -> Listener {
        Listener::that(action == "fan")
    }
    fn transition(&mut self, contender: usize, transition: &Transition) {
        assert_eq!(contender, 0);
        self.0.push(transition.clone());
    }
}

struct Bench {
    folder: TempDir,
    catalogue: Arc<Catalogue>,
    contenders: Vec<Contender>,
}

impl Bench {
    fn new(rules: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, catalogue: Arc::default(), contenders: vec![contender(rules)] }
    }

    fn plan(&self) -> Plan<'_> {
        let known = [("test.t2".to_owned(), Duration::from_secs(300))].into();
        Plan {
            catalogue: self.catalogue.clone(),
            contenders: &self.contenders,
            from: None,
            to: None,
            cadence: Cadence { known, others: Others::Unknown },
            alerts_max: 100,
        }
    }

    /// A store of what came, sealed where the polls say so.
    fn store(&self, batches: &[Batch], sealed: &[bool]) -> Store {
        let limits = Limits {
            raw: Duration::from_secs(1_000 * 86_400),
            five_minutes: Duration::ZERO,
            hour: Duration::ZERO,
            bytes: u64::MAX,
            late: Duration::from_secs(3_600),
        };
        let (path, metrics) = (self.folder.path().join("store"), Metrics::default());
        let store = Store::open(path, self.catalogue.clone(), limits, &metrics, time(START));
        let store = store.unwrap();
        for (end, (batch, seal)) in batches.iter().zip(sealed).enumerate() {
            store.append(std::slice::from_ref(batch), batch.time, end as u64 + 1);
            if *seal {
                store.seal(batch.time).unwrap();
            }
        }
        store
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn run(
        &self,
        plan: &Plan<'_>,
        open: impl FnOnce(&Wanted<'_>) -> Result<Judged, SourceError>,
    ) -> Result<Judged, SourceError> {
        let (series, names) = (plan.selection(), plan.names());
        open(&Wanted {
            from: plan.reads_from(),
            to: plan.to,
            series: &series,
            names: &names,
            catalogue: &self.catalogue,
            site: None,
        })
    }

    fn over_file(&self, path: &Path, form: Form) -> Result<(Judged, Vec<Transition>), SourceError> {
        let (plan, mut ear) = (self.plan(), Ear::default());
        let judged =
            self.run(&plan, |wanted| plan.run(Source::file(path, form, wanted)?, &mut ear))?;
        Ok((judged, ear.0))
    }

    fn over_store(&self, plan: &Plan<'_>, store: &Store) -> (Judged, Vec<Transition>) {
        let mut ear = Ear::default();
        let judged = self.run(plan, |wanted| plan.run(Source::store(store, wanted), &mut ear));
        (judged.unwrap(), ear.0)
    }
}

/// As a table, newest first: files need not be in order.
fn csv(batches: &[Batch], catalogue: &Catalogue) -> String {
    let mut text = "target,time,measurement,field,kind,value\n".to_owned();
    for batch in batches.iter().rev() {
        for sample in &batch.samples {
            let series = catalogue.series(sample.series);
            let value = match sample.value {
                value if is_stale(value) => "stale".to_owned(),
                value => value.to_string(),
            };
            text += &format!(
                "{},{},{},{},test,{value}\n",
                batch.target,
                batch.time.as_nanos(),
                series.row.measurement,
                series.field,
            );
        }
    }
    text
}

/// Of one time by alert, without whom it affects: which reading of a poll came first is not kept.
fn in_order(mut transitions: Vec<Transition>) -> Vec<String> {
    transitions.sort_by_key(|one| (one.at, one.alert.rule.name.clone(), one.alert.labels.clone()));
    let shown = |one: Transition| {
        let Transition { alert, from, at, notify, .. } = one;
        let Alert { rule, labels, state, reason, severity, value, .. } = alert;
        let held = alert.held_back_by;
        format!(
            "{at} {} {labels:?} {from} {state} {reason} {severity:?} {value:?} {} {held:?} \
             {notify:?} since {}",
            rule.name, alert.flapping, alert.since,
        )
    };
    transitions.into_iter().map(shown).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn over_store_and_file_the_same_happens_as_live(polls in polls()) {
        let bench = Bench::new(RULES);
        let batches = batches(&polls, &bench.catalogue);
        let batches: Vec<_> =
            batches.into_iter().filter(|batch| !batch.samples.is_empty()).collect();
        let expected = live(&bench.contenders[0].rules, &bench.catalogue, &batches);
        let expected = in_order(expected);
        let sealed: Vec<_> = polls.iter().map(|poll| poll.seal).collect();
        let store = bench.store(&batches, &sealed);
        let (judged, transitions) = bench.over_store(&bench.plan(), &store);
        prop_assert_eq!(in_order(transitions), &expected[..]);
        let samples: usize = batches.iter().map(|batch| batch.samples.len()).sum();
        prop_assert_eq!(judged.progress.samples, samples as u64);
        let path = bench.file("h.csv", csv(&batches, &bench.catalogue).as_bytes());
        let (_, transitions) = bench.over_file(&path, Form::Csv).unwrap();
        prop_assert_eq!(in_order(transitions), &expected[..]);
    }
}

#[test]
fn what_was_before_the_beginning_is_seen_by_rules_that_look_back_and_not_judged() {
    let bench = Bench::new(
        "[rule.grows]\nwhen = 'increase(m_count[5m]) > 50'\n[rule.hot]\nmetric = 'm_hot'\nabove = 5\n",
    );
    let poll = |n: i32| Poll {
        after: 10_000,
        target: 0,
        values: [None, Some(if n < 60 { 9 } else { 1 }), Some(n * 2)],
        seal: n == 70,
    };
    let polls: Vec<_> = (0..120).map(poll).collect();
    let batches = batches(&polls, &bench.catalogue);
    let sealed: Vec<_> = polls.iter().map(|poll| poll.seal).collect();
    let store = bench.store(&batches, &sealed);
    let from = batches[80].time;
    let plan = Plan { from: Some(from), to: Some(batches[100].time), ..bench.plan() };
    let (judged, transitions) = bench.over_store(&plan, &store);
    let said: Vec<_> =
        transitions.iter().map(|one| (&*one.alert.rule.name, one.alert.state, one.at)).collect();
    assert_eq!(said, [("grows", State::Firing, from)], "its window was full at once");
    assert_eq!(judged.progress.batches, 21);
    assert_eq!(judged.outcomes[0].total().still_firing, 1);
    assert_eq!(judged.outcomes[0].rules["hot"].series, 1);
    assert_eq!(judged.outcomes[0].rules["hot"].alerts, 0);
}

#[test]
fn rules_about_alerts_see_those_of_the_rules_judged_and_not_those_recorded() {
    let bench = Bench::new(
        "[rule.hot]\nmetric = 'm_hot'\nabove = 5\n[rule.many]\n\
         when = 'count(ALERTS{alertstate=\"firing\",alertname!=\"many\"}) >= 2'\n",
    );
    let poll = |n: usize| Poll {
        after: 10_000,
        target: n % 3,
        values: [None, Some(if n > 30 { 1 } else { 9 }), None],
        seal: false,
    };
    let polls: Vec<_> = (0..200).map(poll).collect();
    let mut batches = batches(&polls, &bench.catalogue);
    // What was recorded says that another alert of this rule fired all the time.
    let tags = [("alertname", "hot"), ("alertstate", "firing"), ("target", "gone")];
    let recorded = bench.catalogue.intern("ALERTS", "", &tags);
    for batch in &mut batches {
        batch.samples.push(Sample { series: recorded, value: 1.0 });
    }
    let store = bench.store(&batches, &[false; 200]);
    let (_, transitions) = bench.over_store(&bench.plan(), &store);
    let many: Vec<_> = transitions
        .iter()
        .filter(|one| &*one.alert.rule.name == "many")
        .map(|one| (one.alert.state, one.at))
        .collect();
    let first = batches[1].time;
    assert_eq!(many.len(), 2, "{many:?}");
    assert_eq!(many[0], (State::Firing, first));
    assert_eq!(many[1].0, State::Inactive);
}

#[test]
fn lines_are_read_whatever_their_order_and_however_they_are_packed() {
    let bench = Bench::new("[rule.hot]\nmetric = 'm_hot'\nabove = 5\nfor = '15s'\n");
    let nanos = |seconds: i64| (START + seconds * 1_000) * 1_000_000;
    let text = format!(
        "# DDL\nCREATE DATABASE d WITH NAME x\n# DML\n\
         m,host=a hot=9,note=\"two\nlines, one quote\",other=1i {}\n\
         m,host=a hot=2 {}\n\nm,host=a hot=9i {}\nm,host=a hot=9 {}\nm,host=b cold=9 {}\n",
        nanos(10),
        nanos(30),
        nanos(0),
        nanos(20),
        nanos(5),
    );
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text.as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    for (name, content) in [("h.lp", text.as_bytes()), ("h.lp.gz", &packed)] {
        let path = bench.file(name, content);
        let (judged, _) = bench.over_file(&path, Form::Lines).unwrap();
        assert_eq!(judged.progress.samples, 4, "only what the rule asks about");
        let fired = &judged.outcomes[0].fired[0];
        assert_eq!(fired.labels.get("target").map(String::as_str), Some("a"));
        assert_eq!(fired.labels.get("kind").map(String::as_str), Some("push"));
        assert_eq!((fired.at, fired.ended), (time(START + 15_000), Some(time(START + 30_000))));
    }
}

#[test]
fn what_cannot_be_read_is_refused_with_its_line() {
    let bench = Bench::new("[rule.hot]\nmetric = 'm_hot'\nabove = 5\n");
    for (form, content, wrong) in [
        (Form::Lines, "m hot=1 1\nm hot= 2\n", "h:2: a field lacks its value"),
        (Form::Lines, "m hot=1\n", "h:1: there is no timestamp"),
        (Form::Lines, "m hot=\"1\n", "h:1: a quoted text is not closed"),
        (Form::Csv, "", "h:0: the header has no column `measurement`"),
        (Form::Csv, "time,metric,value\n1,m_hot,1,2\n", "h:2: 4 columns, but the header has 3"),
        (Form::Csv, "time,metric,value\n1,m_hot,warm\n", "h:2: `warm` is neither a number"),
        (Form::Csv, "time,metric,value\nnoon,m_hot,1\n", "h:2: `noon` is not a time"),
        (Form::Csv, "time,metric,value\n1,m_hot,\"1\n", "h:2: a quote is not closed"),
        (Form::Csv, "time,metric,value\n1,,1\n", "h:2: there is no name"),
    ] {
        let path = bench.file("h", content.as_bytes());
        let error = bench.over_file(&path, form).unwrap_err().to_string();
        let shown = error.rsplit('/').next().unwrap_or_default();
        assert!(shown.starts_with(wrong), "{content:?}: {error}");
    }
    let error = bench.over_file(Path::new("/nowhere/h"), Form::Csv).unwrap_err().to_string();
    assert!(error.starts_with("cannot read /nowhere/h: No such file"), "{error}");
}

#[test]
fn samples_of_rarely_polled_targets_count_until_the_next_ones() {
    let bench = Bench::new("[rule.hot]\nmetric = 'm_hot'\nabove = 5\n");
    let mut text = "time,metric,value,target,kind\n".to_owned();
    for hour in 0..24 {
        text += &format!("{},m_hot,9,slow,test\n", START / 1_000 + hour * 3_600);
    }
    let path = bench.file("h.csv", text.as_bytes());
    for (others, steps) in
        [(Others::AsSeen, 1), (Others::Every(Duration::from_secs(3_600)), 1), (Others::Unknown, 47)]
    {
        let mut plan = bench.plan();
        plan.cadence.others = others;
        let mut ear = Ear::default();
        let run = |wanted: &Wanted<'_>| plan.run(Source::file(&path, Form::Csv, wanted)?, &mut ear);
        bench.run(&plan, run).unwrap();
        assert_eq!(ear.0.len(), steps, "{others:?}");
    }
}
