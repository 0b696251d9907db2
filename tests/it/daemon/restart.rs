//! What survives the end of the daemon, however it ends.

use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::Daemon;
use crate::actions::Receiver;
use crate::support::{free_port, until};

#[tokio::test]
async fn after_kill_9_nothing_is_told_twice_and_what_was_pending_still_is() {
    let mut tasks = JoinSet::new();
    // Refused once, so that the notice is seen in the outbox before it is delivered.
    let (receiver, url) =
        Receiver::start(&mut tasks, |nth| Some(if nth == 1 { 503 } else { 204 })).await;
    let port = free_port();
    let mut first = Daemon::start(&format!(
        "[tcp.server]\naddress = '127.0.0.1:{port}'\ninterval = '200ms'\ntimeout = '100ms'\n\
         [rule.gone]\nmetric = 'target_up'\nequals = 0\nactions = ['ops']\n\
         [rule.gone-for-long]\nmetric = 'target_up'\nequals = 0\nfor = '1h'\nactions = ['ops']\n\
         [action.ops]\nwebhook = {{ url = '{url}' }}\n"
    ))
    .await;
    until("the webhook is called", || receiver.got.lock().unwrap().len() == 2).await;
    let outbox = first.folder.path().join("state/outbox.json");
    let is_empty = || std::fs::read_to_string(&outbox).is_ok_and(|kept| kept == "[]");
    first.until("its notice waits no more", async || is_empty()).await;
    let written = "watchpost_state_writes_total{result=\"ok\"}";
    first
        .until("both alerts are kept", async || {
            first.metric(written).await >= 1.0
                && first.metric("watchpost_state_unsaved").await == 0.0
        })
        .await;
    let before = first.alerts().await;
    assert_eq!(before.len(), 2, "{before:?}");
    first.signal(Signal::SIGKILL);
    assert_eq!(first.exit().await.0, -1);
    let folder = std::mem::replace(&mut first.folder, TempDir::new().unwrap());

    let again = Daemon::start_in(folder).await;
    again
        .until("it has judged polls", async || {
            again.metric("watchpost_rule_evaluations_total").await >= 6.0
        })
        .await;
    let after = again.alerts().await;
    let since = |alerts: &[serde_json::Value]| {
        let one = |alert: &serde_json::Value| {
            format!("{} {} {}", alert["labels"]["alertname"], alert["state"], alert["activeAt"])
        };
        let mut all: Vec<String> = alerts.iter().map(one).collect();
        all.sort();
        all
    };
    assert_eq!(since(&before), since(&after));
    assert_eq!(receiver.got.lock().unwrap().len(), 2, "nobody is told twice");

    // Who heard of the problem before hears of its end.
    let _server = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    until("the end is told", || receiver.got.lock().unwrap().len() == 3).await;
    assert_eq!(receiver.got.lock().unwrap()[2]["state"], "inactive");
    again.stop().await;
}
