use std::path::Path;

use super::*;
use crate::config::Loader;

/// An engine, and its transitions in words.
struct Bench {
    catalogue: Arc<Catalogue>,
    engine: Engine,
    out: Vec<Transition>,
}

fn rules(text: &str) -> Vec<Arc<Named<RuleConfig>>> {
    Loader { env: &|_| None }.load_text(Path::new("t.toml"), text).unwrap().rules
}

fn time(seconds: f64) -> Timestamp {
    Timestamp::from_secs(1_000_000_000).shifted((seconds * 1e9) as i64)
}

impl Bench {
    fn new(text: &str) -> Self {
        let catalogue = Arc::new(Catalogue::default());
        let engine = Engine::new(catalogue.clone(), rules(text));
        Self { catalogue, engine, out: Vec::new() }
    }

    fn batch(&self, target: &str, seconds: f64, value: f64) -> Batch {
        let series = self.catalogue.intern("rack", "celsius", &[("target", target)]);
        let samples = vec![Sample { series, value }];
        Batch { target: target.into(), time: time(seconds), samples }
    }

    fn sample(&mut self, seconds: f64, value: f64) -> Vec<String> {
        let batch = self.batch("a", seconds, value);
        self.engine.apply(&batch, &mut self.out);
        self.said()
    }

    fn tick(&mut self, seconds: f64) -> Vec<String> {
        self.engine.tick(time(seconds), &mut self.out);
        self.said()
    }

    /// `firing@5! held for 5s at 36`: state, time, whether people are told, why.
    fn said(&mut self) -> Vec<String> {
        let start = time(0.0);
        let one = |t: Transition| {
            let at = t.at.since(start).as_secs_f64();
            format!("{}@{at}{} {}", t.to, if t.notify { "!" } else { "" }, t.reason)
        };
        self.out.drain(..).map(one).collect()
    }
}

const HOT: &str =
    "[rule.hot]\nmetric = 'rack_celsius'\nabove = 35\nclear_below = 32\nfor = '30s'\n";
const NONE: [&str; 0] = [];

#[test]
fn what_holds_is_pending_then_firing_then_clears_with_its_value() {
    let mut bench = Bench::new(HOT);
    assert_eq!(bench.sample(0.0, 35.0), NONE);
    assert_eq!(bench.sample(10.0, 36.0), ["pending@10 36 > 35"]);
    assert_eq!(bench.sample(20.0, 37.5), NONE);
    assert_eq!(bench.tick(39.9), NONE);
    assert_eq!(bench.tick(40.0), ["firing@40! held for 30s at 37.5 (> 35)"]);
    assert_eq!(bench.sample(50.0, 33.0), NONE);
    assert_eq!(bench.sample(60.0, 31.0), ["inactive@60! cleared at 31 (< 32)"]);
    assert_eq!(bench.engine.next_tick(), None);
    assert!(bench.engine.alerts().is_empty());
}
