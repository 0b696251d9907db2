use std::cell::Cell;
use std::time::Duration;

use super::*;
use crate::promql::labels::NAME;
use crate::promql::memory::MemorySource;
use crate::promql::parse;

fn source(series: usize) -> MemorySource {
    let mut source = MemorySource::default();
    for n in 0..series {
        let labels = Labels::new([(NAME, "m"), ("n", &n.to_string())]);
        for second in 0..10 {
            let time = Timestamp::from_secs(second * 60);
            source.insert(&labels, Point { time, value: second as f64 });
        }
    }
    source
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(seconds)
}

fn run(text: &str, options: &Options) -> Result<Answer, EvalError> {
    instant(&source(3), &parse(text).unwrap(), at(540), options, &|| Ok(()))
}

#[test]
fn a_query_that_reads_too_much_is_ended() {
    let mut options = Options::default();
    options.limits.samples_max = 10;
    assert_eq!(run("sum_over_time(m[9m])", &options).err(), Some(EvalError::TooManySamples(10)));
    assert!(run("sum_over_time(m[2m])", &options).is_ok());
}

#[test]
fn a_query_that_computes_too_much_is_ended() {
    let mut options = Options::default();
    options.limits.values_max = 10;
    assert_eq!(run("sum_over_time(m[5m:1m])", &options).err(), Some(EvalError::TooManyValues(10)));
    assert_eq!(run("vector(1)[20m:1m]", &options).err(), Some(EvalError::TooManyValues(10)));
    let expr = parse("1").unwrap();
    let long =
        range(&source(0), &expr, (at(0), at(60)), Duration::from_secs(1), &options, &|| Ok(()));
    assert_eq!(long.err(), Some(EvalError::TooManyValues(10)));
}

#[test]
fn a_caller_that_does_not_want_to_wait_ends_a_query() {
    let asked = Cell::new(0);
    let check = || {
        asked.set(asked.get() + 1);
        match asked.get() {
            4.. => Err(EvalError::Stopped("the deadline has passed".to_owned())),
            _ => Ok(()),
        }
    };
    let expr = parse("sum(m) + sum(m) + sum(m)").unwrap();
    let answer = instant(&source(3), &expr, at(540), &Options::default(), &check);
    assert_eq!(answer.unwrap_err().to_string(), "the query was stopped: the deadline has passed");
}

#[test]
fn the_time_looked_back_is_the_callers() {
    let options = Options { lookback: Duration::from_secs(3600), ..Options::default() };
    let expr = parse("m").unwrap();
    for (options, found) in [(options, 3), (Options::default(), 0)] {
        let answer = instant(&source(3), &expr, at(1800), &options, &|| Ok(())).unwrap();
        let AnswerValue::Vector(samples) = answer.value else { panic!("not a vector") };
        assert_eq!(samples.len(), found);
    }
}

#[test]
fn a_range_query_is_of_numbers() {
    for text in ["m[5m]", "\"text\""] {
        let expr = parse(text).unwrap();
        let options = Options::default();
        let step = Duration::from_secs(60);
        let answer = range(&source(1), &expr, (at(0), at(60)), step, &options, &|| Ok(()));
        assert!(matches!(answer, Err(EvalError::Failed(_))), "{text}");
    }
}

#[test]
fn a_range_vector_and_a_text_can_be_asked_for_at_one_time() {
    let options = Options::default();
    assert_eq!(run("\"a\"", &options).unwrap().value, AnswerValue::String(at(540), "a".to_owned()));
    let AnswerValue::Matrix(series) = run("m[2m] offset 1m", &options).unwrap().value else {
        panic!("not a matrix")
    };
    let times: Vec<_> = series[0].1.iter().map(|point| point.time).collect();
    assert_eq!((series.len(), times), (3, vec![at(420), at(480)]));
}

#[test]
fn the_deepest_expression_there_is_fits_the_stack_of_a_thread() {
    let deep = format!("{}m{}{}", "abs(".repeat(63), ")".repeat(63), " + m".repeat(250));
    let expr = parse(&deep).unwrap();
    let thread = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
    let run = move || {
        let options = Options::default();
        let answer = instant(&source(3), &expr, at(540), &options, &|| Ok(()));
        (answer.map(|_| ()), expr.to_string().len())
    };
    let (answer, written) = thread.spawn(run).unwrap().join().unwrap();
    assert_eq!(answer, Ok(()));
    assert!(written > 1000);
}

#[test]
fn annotations_say_where() {
    let text = "sum(rate(m[5m])) +\n  quantile(2, m)";
    let answer = run(text, &Options::default()).unwrap();
    assert_eq!(
        answer.annotations.warnings(text),
        ["PromQL warning: quantile value should be between 0 and 1, got 2 (2:12)"]
    );
    let infos = answer.annotations.infos(text);
    assert_eq!(infos.len(), 1);
    assert!(infos[0].ends_with("_bucket: \"m\" (1:10)"), "{infos:?}");
}
