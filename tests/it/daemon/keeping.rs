//! What the daemon keeps of what it acknowledged, whatever becomes of it.

use hyper::StatusCode;
use nix::sys::signal::Signal;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use watchpost::config::Store as StoreConfig;
use watchpost::sample::{Catalogue, Clock};
use watchpost::store::{Range, Store};

use super::Daemon;

const ROUNDS: i64 = 5;
const LINES: i64 = 200;

#[tokio::test]
async fn what_was_acknowledged_is_in_the_store_after_kill_9() {
    let clock = Clock::system();
    let start = clock.now() - Duration::from_secs(1_800);
    let time = |n: i64| start.shifted(n * 1_000_000_000).as_nanos() / 1_000_000_000 * 1_000_000_000;
    let mut daemon = Daemon::start("").await;
    for round in 0..ROUNDS {
        let lines = (round * LINES..(round + 1) * LINES)
            .map(|n| format!("kept,probe=a n={n},twice={} {}\n", 2 * n, time(n)));
        let lines: String = lines.collect();
        let (status, body) = daemon.post("/api/v2/write?bucket=b&org=o", &[], lines).await;
        assert_eq!((status, body.as_str()), (StatusCode::NO_CONTENT, ""));
        if round < ROUNDS - 1 {
            daemon.signal(Signal::SIGKILL);
            assert_eq!(daemon.exit().await.0, -1);
            let folder = std::mem::replace(&mut daemon.folder, TempDir::new().unwrap());
            daemon = Daemon::start_in(folder).await;
        }
    }
    daemon
        .until("the store has the series", async || {
            daemon.metric("watchpost_store_unsealed_bytes").await > 0.0
        })
        .await;
    let counted = daemon.data("query?query=count_over_time(kept_n%5B1h%5D)").await;
    assert_eq!(counted["result"][0]["value"][1], (ROUNDS * LINES).to_string(), "{counted}");
    // Beside the daemon, which goes on.
    let state = daemon.folder.path().join("state");
    let catalogue = Arc::<Catalogue>::default();
    let limits = StoreConfig::default().limits();
    let folders = (state.join("store"), state.join("journal"));
    let store =
        Store::open_read_only(&folders.0, Some(&folders.1), &catalogue, limits, clock.now());
    let store = store.unwrap();
    let series = store.find(Some("kept_n"), std::iter::empty(), |_| true);
    let twice = store.find(Some("kept_twice"), std::iter::empty(), |_| true);
    assert_eq!((series.len(), twice.len()), (1, 1));
    let range = Range::new(start - Duration::from_secs(10), clock.now());
    let read = store.read(&[series[0], twice[0]], &range).unwrap();
    for (points, factor) in read.iter().zip([1.0, 2.0]) {
        let expected: Vec<_> =
            (0..ROUNDS * LINES).map(|n| (time(n) / 1_000_000, n as f64 * factor)).collect();
        assert_eq!(*points, expected);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_store_that_is_switched_off_remembers_nothing_and_has_no_journal() {
    let daemon = Daemon::start("[store]\nenabled = false\n").await;
    let lines = "kept,probe=a n=1\n".to_owned();
    let (status, body) = daemon.post("/api/v2/write?bucket=b&org=o", &[], lines).await;
    assert_eq!((status, body.as_str()), (StatusCode::NO_CONTENT, ""));
    let found = daemon.data("query?query=kept_n").await;
    assert_eq!(found["result"].as_array().map(Vec::len), Some(0), "{found}");
    let state = daemon.folder.path().join("state");
    assert!(!state.join("store").exists() && !state.join("journal").exists());
    daemon.stop().await;
}
