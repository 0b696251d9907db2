use std::sync::Barrier;

use super::*;
use crate::config::Loader;
use crate::pollers::KindConfig;
use crate::sample::{Catalogue, Clock, TargetTags, Written};

fn host(keys: &str) -> (Host, Readings, Arc<Catalogue>) {
    let loader = Loader { env: &|_| None };
    let config = loader.load_text("t.toml".as_ref(), &format!("[host.this]\n{keys}")).unwrap();
    let KindConfig::Host(kind) = &config.targets[0].kind else { panic!("not a host") };
    let clock = Arc::new(Clock::system());
    let poller = kind.poller(&config.targets[0], &Arc::new(Shared::new(clock.clone())));
    let tags = TargetTags { target: "this".into(), tags: Arc::default() };
    let catalogue = Arc::new(Catalogue::default());
    (poller, Readings::new(catalogue.clone(), clock, tags), catalogue)
}

async fn poll(host: &mut Host, out: &mut Readings, catalogue: &Catalogue) -> Vec<(String, f64)> {
    host.poll(out).await.unwrap();
    let samples = out.finish(Written::Everything).into_iter().flat_map(|batch| batch.samples);
    samples.map(|s| (catalogue.series(s.series).to_string(), s.value)).collect()
}

#[tokio::test]
async fn this_host_is_read_and_its_processor_from_the_second_poll_on() {
    let (mut host, mut out, catalogue) = host("");
    let first = poll(&mut host, &mut out, &catalogue).await;
    let value = |readings: &[(String, f64)], name: &str| {
        readings.iter().find(|(series, _)| series == name).map(|(_, value)| *value)
    };
    assert_eq!(value(&first, "host_cpu_ratio{}"), None);
    for name in ["host_memory_used_ratio{}", r#"host_disk_used_ratio{mount="/"}"#] {
        let ratio = value(&first, name).unwrap_or_else(|| panic!("{name} in {first:?}"));
        assert!((0.0..=1.0).contains(&ratio), "{name} {ratio}");
    }
    assert!(value(&first, "host_load1{}").is_some());
    assert!(value(&first, "host_uptime_seconds{}").is_some_and(|seconds| seconds > 0.0));
    assert!(!first.iter().any(|(series, _)| series.contains(r#"interface="lo""#)));
    let second = poll(&mut host, &mut out, &catalogue).await;
    // Within the same hundredth of a second there is no share yet.
    if let Some(ratio) = value(&second, "host_cpu_ratio{}") {
        assert!((0.0..=1.0).contains(&ratio), "{ratio}");
    }
}

#[tokio::test]
async fn only_what_is_asked_for_is_read() {
    let keys = "collect = ['network']\ninterfaces = { include = ['lo'] }";
    let (mut host, mut out, catalogue) = host(keys);
    let readings = poll(&mut host, &mut out, &catalogue).await;
    assert!(readings.iter().any(|(series, _)| {
        series == r#"host_network_receive_bytes_total{interface="lo"}"#
    }));
    assert!(readings.iter().all(|(series, _)| series.starts_with("host_network_")));
}

#[tokio::test]
async fn a_read_that_hangs_is_not_joined_by_a_second_one() {
    let gate = Arc::new(Barrier::new(2));
    let mut slot = Slot::default();
    let hanging = gate.clone();
    slot.start("test", move || {
        hanging.wait();
        1
    })
    .unwrap();
    assert_eq!(slot.within(Duration::from_millis(1)).await, None);
    assert!(slot.is_stuck());
    gate.wait();
    let fresh = slot.fresh("test", || 2).await;
    assert_eq!(fresh, Ok(2));
    assert!(!slot.is_stuck());
}
