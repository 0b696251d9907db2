//! Reloading: what did not change goes on undisturbed, what is wrong is refused whole.

use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::task::JoinSet;
use watchpost::app::App;
use watchpost::supervisor::{Changes, Snapshot};

use super::{Daemon, Dial};
use crate::actions::Receiver;
use crate::mqtt::Broker;
use crate::support::{config, free_port, text, until};

fn snapshot(app: &App, id: &str) -> Option<Snapshot> {
    app.board().snapshots().into_iter().find(|snapshot| snapshot.target.id() == id)
}

async fn until_polled(app: &App, id: &str, polls: u32) {
    let enough = || snapshot(app, id).is_some_and(|found| found.state.polls >= polls);
    until(&format!("{id} is polled {polls} times"), enough).await;
}

#[tokio::test]
async fn unchanged_targets_keep_their_counters_and_changed_ones_start_over() {
    let folder = TempDir::new().unwrap();
    let dial = Dial::new(folder.path(), "dial", "1");
    let head = format!(
        "state_dir = '{}'\n[api]\nlisten = '127.0.0.1:0'\n",
        text(&folder.path().join("state"))
    );
    let [kept, changed, gone, new] = ["kept", "changed", "gone", "new"].map(|n| dial.table(n));
    let mut app = App::start(config(&format!("{head}{kept}{changed}{gone}"))).await.unwrap();
    for id in ["exec.kept", "exec.changed", "exec.gone"] {
        until_polled(&app, id, 5).await;
    }
    let before = snapshot(&app, "exec.kept").unwrap().state;
    let slower = changed.replace("interval = '200ms'", "interval = '1h'");
    let Changes { started, stopped, kept, removed } =
        app.reload(config(&format!("{head}{kept}{slower}{new}"))).await.unwrap();
    assert_eq!((started, stopped, kept), (2, 2, 1));
    assert_eq!(removed.iter().map(|target| target.id()).collect::<Vec<_>>(), ["exec.gone"]);
    let after = snapshot(&app, "exec.kept").unwrap().state;
    assert!(after.polls >= before.polls && after.since == before.since, "{before:?} {after:?}");
    assert_eq!(snapshot(&app, "exec.changed").unwrap().state.polls, 0);
    assert!(snapshot(&app, "exec.gone").is_none());
    until_polled(&app, "exec.new", 1).await;
    until_polled(&app, "exec.kept", after.polls + 1).await;
    app.close().await;
}

#[tokio::test]
async fn targets_that_come_and_go_have_the_series_they_had() {
    let folder = TempDir::new().unwrap();
    let dial = Dial::new(folder.path(), "dial", "50");
    let rule = "[rule.high]\nmetric = 'exec_value'\nabove = 10\n\
                [rule.fast]\nwhen = 'rate(exec_value[1m]) > 1000'\n";
    let of = |name: &str| format!("{rule}{}", dial.table(name));
    let daemon = Daemon::start(&of("one")).await;
    let mut known = Vec::new();
    for round in 0..12 {
        let name = ["one", "two"][round % 2];
        daemon.reload(&of(name), "ok").await;
        let id = format!("exec.{name}");
        daemon.until_target(&id, "up").await;
        daemon
            .until("its alert fires, and no other", async || {
                let alerts = daemon.alerts().await;
                alerts.len() == 1 && alerts[0]["labels"]["target"] == *name
            })
            .await;
        known.push(daemon.metric("watchpost_series_known").await);
    }
    assert!(known[2] > 0.0);
    assert_eq!(known[4], known[11], "{known:?}");
    // A rule shows what it takes.
    assert!(daemon.metric("watchpost_rule_series{rule=\"fast\"}").await > 0.0);
    assert!(daemon.metric("watchpost_rule_memory_bytes{rule=\"fast\"}").await > 0.0);
    daemon.stop().await;
}

#[tokio::test]
async fn alerts_and_their_timers_survive_a_reload_and_end_with_their_target() {
    let mut tasks = JoinSet::new();
    let (receiver, url) = Receiver::start(&mut tasks, |_| Some(204)).await;
    let folder = TempDir::new().unwrap();
    let dial = Dial::new(folder.path(), "dial", "50");
    let rules = format!(
        "[rule.soon]\nmetric = 'exec_value'\nmatch = {{ target = 'one' }}\nabove = 10\n\
         for = '2s'\nactions = ['ops']\n\
         [rule.late]\nmetric = 'exec_value'\nmatch = {{ target = 'one' }}\nabove = 10\nfor = '1h'\n\
         [rule.now]\nmetric = 'exec_value'\nabove = 10\nactions = ['ops']\n\
         [action.ops]\nwebhook = {{ url = '{url}' }}\n"
    );
    let (one, two) = (dial.table("one"), dial.table("two"));
    let daemon = Daemon::start(&format!("{one}{two}{rules}")).await;
    let activities = async || {
        let alerts = daemon.alerts().await;
        let of = |name: &str| {
            let mut all: Vec<_> = alerts
                .iter()
                .filter(|alert| alert["labels"]["alertname"] == name)
                .map(|alert| (alert["labels"]["target"].clone(), alert["activeAt"].clone()))
                .collect();
            all.sort_by_key(|(target, _)| target.to_string());
            all
        };
        (of("now"), of("late"))
    };
    daemon
        .until("all alerts are there", async || {
            let (now, late) = activities().await;
            now.len() == 2 && late.len() == 1
        })
        .await;
    let before = activities().await;
    // Another target and another rule: nothing of what was there is touched.
    let more = format!("{}[rule.more]\nmetric = 'exec_value'\nbelow = 0\n", dial.table("three"));
    daemon.reload(&format!("{more}{one}{two}{rules}"), "ok").await;
    daemon.until_target("exec.three", "up").await;
    let after = activities().await;
    assert_eq!(after.1, before.1, "a pending alert keeps its timer");
    assert!(before.0.iter().all(|alert| after.0.contains(alert)), "{before:?} {after:?}");
    daemon
        .until("the timer ends", async || daemon.states().await.contains(&"soon firing".to_owned()))
        .await;

    daemon.reload(&format!("{one}{rules}"), "ok").await;
    assert!(daemon.target("exec.two").await.is_none());
    let told = || {
        let got = receiver.got.lock().unwrap();
        let of_two = got.iter().filter(|told| told["labels"]["target"] == "two");
        of_two.map(|told| told["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    until("the end of its alert is told", || told() == ["firing", "inactive"]).await;
    let (now, _) = activities().await;
    assert_eq!(now, before.0[..1], "the other goes on as it was");
    let firing = |target: &str| {
        let got = receiver.got.lock().unwrap();
        let told = got.iter().filter(|told| told["labels"]["target"] == target);
        told.filter(|told| told["rule"] == "now" && told["state"] == "firing").count()
    };
    assert_eq!(firing("one"), 1, "nothing was told twice");
    daemon.stop().await;
}

#[tokio::test]
async fn an_unchanged_broker_is_not_left_for_a_reload() {
    let Some(broker) = Broker::start().await else { return };
    let table = format!(
        "[mqtt.home]\nurl = 'mqtt://127.0.0.1:{}'\nclient_id = 'w'\n\
         [[mqtt.home.topic]]\nfilter = 'n/#'\nformat = 'number'\nstale_after = '1h'\n\
         [rule.seen]\nmetric = 'mqtt_value'\nequals = 7\n",
        broker.port
    );
    let daemon = Daemon::start(&table).await;
    daemon.until_target("mqtt.home", "up").await;
    broker.publish("n/a", "7", &["-q", "1"]);
    daemon.until("it is heard", async || daemon.states().await == ["seen firing"]).await;
    daemon.reload(&format!("{table}[host.this]\n"), "ok").await;
    // Had it left, its series would have ended with the connection.
    assert_eq!(daemon.states().await, ["seen firing"]);
    assert_eq!(daemon.target("mqtt.home").await.unwrap()["health"], "up");
    daemon.stop().await;
}

#[tokio::test]
async fn a_bad_configuration_is_refused_whole_and_the_old_one_goes_on() {
    let folder = TempDir::new().unwrap();
    let dial = Dial::new(folder.path(), "dial", "1");
    let (one, two) = (dial.table("one"), dial.table("two"));
    let daemon = Daemon::start(&one).await;
    daemon.until_target("exec.one", "up").await;
    daemon.reload(&format!("{two}nope = 1\n"), "refused").await;
    assert!(daemon.target("exec.two").await.is_none());
    assert_eq!(daemon.target("exec.one").await.unwrap()["health"], "up");
    until("the mistake is logged", || {
        let log = daemon.log();
        log.contains("unknown key `nope`") && log.contains("config.toml:9:1")
    })
    .await;
    std::fs::remove_file(daemon.config_path()).unwrap();
    daemon.signal(Signal::SIGHUP);
    let refused = "watchpost_config_reloads_total{result=\"refused\"}";
    daemon.until("that is refused too", async || daemon.metric(refused).await == 2.0).await;
    daemon.reload(&two, "ok").await;
    daemon.until_target("exec.two", "up").await;
    assert!(daemon.target("exec.one").await.is_none());
    daemon.stop().await;
}

#[tokio::test]
async fn a_notice_that_waits_is_sent_to_the_corrected_address() {
    let mut tasks = JoinSet::new();
    let (receiver, url) = Receiver::start(&mut tasks, |_| Some(204)).await;
    let folder = TempDir::new().unwrap();
    let dial = Dial::new(folder.path(), "dial", "50");
    let config = |url: &str| {
        format!(
            "{}[rule.high]\nmetric = 'exec_value'\nabove = 10\nactions = ['ops']\n\
             [action.ops]\nwebhook = {{ url = '{url}' }}\n",
            dial.table("dial")
        )
    };
    let daemon = Daemon::start(&config(&format!("http://127.0.0.1:{}", free_port()))).await;
    until("it has failed", || daemon.log().contains("failed; will be tried again")).await;
    daemon.reload(&config(&url), "ok").await;
    until("it is told", || receiver.got.lock().unwrap().len() == 1).await;
    daemon.stop().await;
}

#[tokio::test]
async fn an_alert_ends_when_its_rule_is_changed_or_removed() {
    let mut tasks = JoinSet::new();
    let (receiver, url) = Receiver::start(&mut tasks, |_| Some(204)).await;
    let folder = TempDir::new().unwrap();
    let dial = Dial::new(folder.path(), "dial", "50");
    let rule = |name: &str, above: u32| {
        format!("[rule.{name}]\nmetric = 'exec_value'\nabove = {above}\nactions = ['ops']\n")
    };
    let target = format!("{}[action.ops]\nwebhook = {{ url = '{url}' }}\n", dial.table("dial"));
    let daemon =
        Daemon::start(&format!("{target}{}{}", rule("changed", 10), rule("removed", 10))).await;
    let told = || {
        let got = receiver.got.lock().unwrap();
        let word = |told: &serde_json::Value| format!("{} {}", told["rule"], told["state"]);
        let mut all: Vec<_> = got.iter().map(word).collect();
        all.sort();
        all
    };
    until("both are told", || told().len() == 2).await;
    daemon.reload(&format!("{target}{}", rule("changed", 100)), "ok").await;
    until("both ends are told", || told().len() == 4).await;
    let expected = ["changed\" \"firing", "changed\" \"inactive", "removed\" \"firing"];
    let expected = expected.into_iter().chain(["removed\" \"inactive"]);
    assert_eq!(told(), expected.map(|words| format!("\"{words}\"")).collect::<Vec<_>>());
    assert!(daemon.alerts().await.is_empty());
    daemon.stop().await;
}
