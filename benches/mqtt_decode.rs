//! What one MQTT message costs from its arrival to a batch: topic lookup, JSON and readings.
//!
//! `cargo bench --bench mqtt_decode`. Prints nanoseconds a message, the best of some rounds. The
//! network, the rules and the sinks are not in it.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it found")]

use std::path::Path;
use std::sync::Arc;

use rumqttc::{Publish, QoS};
use tokio::time::Instant;
use watchpost::config::Loader;
use watchpost::pollers::KindConfig;
use watchpost::pollers::mqtt::Messages;
use watchpost::sample::{Catalogue, Clock, Readings, TargetTags, Written};

const TOPICS: usize = 200;
const MESSAGES: usize = 1_000_000;
const ROUNDS: usize = 5;

/// Messages taken in one poll when they come fast.
const POLL: usize = 64;

const CONFIG: &str = "
[mqtt.bench]
url = 'mqtt://127.0.0.1'
[[mqtt.bench.topic]]
filter = 'sensors/+/climate'
format = 'json'
measurement = 'climate'
fields = { temperature_celsius = '/temp', humidity_ratio = { at = '/hum', scale = 0.01 } }
";

fn main() {
    for (what, keys) in [
        ("plain", "tags = { room = '{1}' }"),
        ("with stale_after", "tags = { room = '{1}' }\nstale_after = '5m'"),
        ("with a tag out of the payload", "tags = { room = '{1}', probe = '{/id}' }"),
    ] {
        let nanos = measure(&format!("{CONFIG}{keys}"));
        println!("{nanos:.0} ns a message, {what} ({TOPICS} topics, 2 fields)");
    }
}

/// Nanoseconds a message, the best of all rounds.
fn measure(text: &str) -> f64 {
    let loader = Loader { env: &|_| None };
    let config = loader.load_text(Path::new("bench.toml"), text).expect("a right configuration");
    let KindConfig::Mqtt(kind) = &config.targets[0].kind else { unreachable!("an mqtt target") };
    let mut messages = Messages::new(&kind.broker);
    let tags = TargetTags { target: "bench".into(), tags: config.targets[0].tags.clone() };
    let clock = Arc::new(Clock::system());
    let mut out = Readings::new(Arc::new(Catalogue::default()), clock, tags);
    let arrived: Vec<_> = (0..TOPICS)
        .map(|n| {
            let topic = format!("sensors/room-{n}/climate");
            let payload = format!(r#"{{"temp":21.5,"hum":40.1,"id":"ev{n}x"}}"#);
            Publish::new(topic, QoS::AtMostOnce, payload)
        })
        .collect();
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let mut samples = 0;
        for n in 0..MESSAGES {
            messages.take(&arrived[n % TOPICS], &mut out);
            if n % POLL == POLL - 1 {
                let batches = out.finish(Written::News);
                samples += batches.iter().map(|batch| batch.samples.len()).sum::<usize>();
            }
        }
        assert_eq!(samples, 2 * MESSAGES, "every message has two readings");
        best = best.min(start.elapsed().as_nanos() as f64 / MESSAGES as f64);
    }
    best
}
