//! An expression: read, written back, and evaluated over a few series.

#![no_main]

use std::sync::OnceLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use watchpost::promql::eval::{self, Limits, Options};
use watchpost::promql::functions::Point;
use watchpost::promql::memory::MemorySource;
use watchpost::promql::{Labels, parse};
use watchpost::sample::Timestamp;

fuzz_target!(|text: &str| {
    let Ok(expr) = parse(text) else { return };
    assert_eq!(parse(&expr.to_string()).as_ref(), Ok(&expr), "{expr}");
    static SOURCE: OnceLock<MemorySource> = OnceLock::new();
    let source = SOURCE.get_or_init(source);
    let limits = Limits { samples_max: 10_000, values_max: 10_000 };
    let options = Options { limits, ..Options::default() };
    let (start, end) = (Timestamp::from_secs(60), Timestamp::from_secs(240));
    let step = Duration::from_secs(60);
    let _instant = eval::instant(source, &expr, end, &options, &|| Ok(()));
    let _range = eval::range(source, &expr, (start, end), step, &options, &|| Ok(()));
});

fn source() -> MemorySource {
    let mut source = MemorySource::default();
    for (name, le) in [("a", "0.5"), ("a", "+Inf"), ("b", "1"), ("b", "")] {
        let labels = Labels::new([("__name__", name), ("le", le)]);
        for at in 0..10 {
            let time = Timestamp::from_secs(at * 30);
            source.insert(&labels, Point { time, value: (at % 4) as f64 });
        }
    }
    source
}
