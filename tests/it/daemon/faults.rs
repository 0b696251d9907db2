//! What the world does to a daemon: databases that come and go, devices that are late, lying or
//! not to be found, and input out of all proportion.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use watchpost::app::App;
use watchpost::pollers::Reason;

use super::{Daemon, Dial};
use crate::influxdb::{ANSWERS, influxd, influxql};
use crate::mqtt::Broker;
use crate::serial::Wire;
use crate::snmp::fake::Fake;
use crate::support::{config, free_port, text, until};

/// A sink that found nobody may wait for half a minute before it looks again.
const BACKOFF_LIMIT: Duration = Duration::from_secs(60);

/// Publishes each line as a message of its own.
fn publish_lines(broker: &Broker, topic: &str, lines: impl IntoIterator<Item = String>) {
    let mut client = Command::new("mosquitto_pub")
        .args(["-p", &broker.port.to_string(), "-q", "1", "-t", topic, "-l"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("mosquitto_pub is installed with mosquitto");
    let mut input = client.stdin.take().expect("a pipe");
    for line in lines {
        input.write_all(format!("{line}\n").as_bytes()).expect("it reads");
    }
    drop(input);
    assert!(client.wait().expect("it ends").success());
}

#[tokio::test]
async fn a_database_that_was_away_gets_everything_once_when_it_is_back() {
    let (port, folder) = (free_port(), TempDir::new().unwrap());
    let Some(mut server) = influxd(folder.path(), port) else { return };
    let Some(broker) = Broker::start().await else { return };
    influxql(port, "CREATE DATABASE w", ANSWERS).await;
    let daemon = Daemon::start(&format!(
        "[mqtt.home]\nurl = 'mqtt://127.0.0.1:{}'\n\
         [[mqtt.home.topic]]\nfilter = 'n'\nformat = 'number'\nmeasurement = 'n'\nqos = 1\n\
         [influxdb.main]\nurl = 'http://127.0.0.1:{port}'\napi = 'v1'\ndatabase = 'w'\n\
         flush_interval = '50ms'\n",
        broker.port
    ))
    .await;
    daemon.until_target("mqtt.home", "up").await;
    let numbers = |from: u32, to: u32| (from..=to).map(|n| n.to_string());
    let count = "SELECT count(value), sum(value) FROM n";
    publish_lines(&broker, "n", numbers(1, 100));
    influxql(port, count, |answer| answer.contains(",100,5050]")).await;
    server.kill();
    publish_lines(&broker, "n", numbers(101, 200));
    let lag = "watchpost_journal_lag_samples{reader=\"influxdb.main\"}";
    daemon.until("samples wait", async || daemon.metric(lag).await > 0.0).await;
    let retries = "watchpost_sink_retries_total{sink=\"influxdb.main\"}";
    daemon.until("it has tried", async || daemon.metric(retries).await >= 2.0).await;
    let _server = influxd(folder.path(), port);
    let up = "watchpost_sink_up{sink=\"influxdb.main\"}";
    daemon
        .until_within(BACKOFF_LIMIT, "writing works again", async || daemon.metric(up).await == 1.0)
        .await;
    publish_lines(&broker, "n", numbers(201, 300));
    influxql(port, count, |answer| answer.contains(",300,45150]")).await;
    let lost = "watchpost_journal_lost_samples_total{reader=\"influxdb.main\"}";
    assert_eq!(daemon.metric(lost).await, 0.0);
    daemon.stop().await;
}

#[tokio::test]
async fn late_lying_and_unknown_devices_say_why_and_delay_no_other() {
    let late = Fake::start(Duration::from_secs(2), <[u8]>::to_vec).await;
    let lying = Fake::start(Duration::ZERO, |_| vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff]).await;
    let folder = TempDir::new().unwrap();
    let dial = Dial::new(folder.path(), "dial", "1");
    let snmp = |name: &str, address: &str| {
        format!(
            "[snmp.{name}]\nhost = '{address}'\ncommunity = 'c'\nprofiles = ['system']\n\
             request_timeout = '100ms'\n"
        )
    };
    let mut text = format!(
        "state_dir = '{}'\n[api]\nlisten = '127.0.0.1:0'\n\
         [defaults]\ninterval = '250ms'\ntimeout = '200ms'\n\
         {}{}[tcp.refused]\naddress = '127.0.0.1:{}'\n\
         [tcp.unknown]\naddress = '{}.x:80'\n",
        text(&folder.path().join("state")),
        snmp("late", &late.address),
        snmp("lying", &lying.address),
        free_port(),
        // Longer than a label of a name may be, so that nobody is asked for it.
        "a".repeat(64),
    );
    for n in 0..5 {
        text += &dial.table(&format!("good-{n}")).replace("'200ms'", "'250ms'");
    }
    let app = App::start(config(&text)).await.unwrap();
    let polls = |good: bool| {
        let all = app.board().snapshots().into_iter();
        let some = all.filter(move |s| s.target.name.starts_with("good") == good);
        some.map(|s| s.state.polls).collect::<Vec<_>>()
    };
    until("all are polled", || polls(true).iter().chain(&polls(false)).all(|n| *n >= 12)).await;
    for snapshot in app.board().snapshots() {
        let (id, state) = (snapshot.target.id(), snapshot.state);
        let reason = match &*id {
            "snmp.late" => Some(Reason::Timeout),
            "snmp.lying" => Some(Reason::Malformed),
            "tcp.refused" => Some(Reason::Refused),
            "tcp.unknown" => Some(Reason::Unreachable),
            _ => None,
        };
        let failures = reason.map_or(0, |reason| state.failures[reason as usize]);
        match reason {
            Some(_) => assert_eq!((state.up, failures), (Some(false), state.polls), "{state:?}"),
            // A busy machine may take longer than the deadline to start a program.
            None => assert!(state.failures.iter().sum::<u32>() <= state.polls / 2, "{state:?}"),
        }
    }
    // On the same beat each has had the same number of polls, but for those of the moment, whether
    // its neighbours answer or not.
    let (good, bad) = (polls(true), polls(false));
    let (least, most) = (good.iter().min().unwrap(), good.iter().chain(&bad).max().unwrap());
    assert!(most - least <= 3, "{good:?} {bad:?}");
    app.close().await;
}

#[tokio::test]
async fn labels_and_payloads_of_a_hundred_thousand_characters_are_counted_and_cost_no_memory() {
    let Some(broker) = Broker::start().await else { return };
    let daemon = Daemon::start(&format!(
        "[mqtt.home]\nurl = 'mqtt://127.0.0.1:{}'\n\
         [[mqtt.home.topic]]\nfilter = 'json/#'\nformat = 'json'\nfields = {{ v = '/v' }}\n\
         tags = {{ id = '{{/id}}', room = '{{1}}' }}\nqos = 1\n\
         [[mqtt.home.topic]]\nfilter = 'number'\nformat = 'number'\nmeasurement = 'n'\nqos = 1\n\
         [rule.seen]\nmetric = 'mqtt_v'\nequals = 7\n\
         [rule.rejected]\nmetric = 'n_rejected_total'\nabove = 199\n",
        broker.port
    ))
    .await;
    daemon.until_target("mqtt.home", "up").await;
    let before = daemon.resident_bytes();
    let long = "x".repeat(100_000);
    let labels = (0..200).map(|n| format!("{{\"id\":\"{n}{long}\",\"v\":7}}"));
    publish_lines(&broker, "json/a", labels);
    publish_lines(&broker, "number", (0..200).map(|n| format!("{n}{long}")));
    broker.publish(&format!("json/{}", "y".repeat(60_000)), "{\"id\":\"a\",\"v\":7}", &["-q", "1"]);
    let rejected = "watchpost_readings_rejected_total{kind=\"mqtt\"}";
    daemon.until("all are counted", async || daemon.metric(rejected).await >= 201.0).await;
    assert_eq!(daemon.metric(rejected).await, 201.0);
    // What is as it should be still counts.
    broker.publish("json/hall", "{\"id\":\"a\",\"v\":7}", &["-q", "1"]);
    daemon
        .until("a good one is heard", async || {
            daemon.states().await.contains(&"seen firing".to_owned())
        })
        .await;
    let alerts = daemon.alerts().await;
    let seen: Vec<_> =
        alerts.iter().filter(|alert| alert["labels"]["alertname"] == "seen").collect();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[0]["labels"]["room"], "hall");
    let grown = daemon.resident_bytes().saturating_sub(before);
    // 40 MB went through.
    assert!(grown < 16 << 20, "{grown}");
    assert!(daemon.log().len() < 10_000, "{}", daemon.log());
    daemon.stop().await;
}

#[tokio::test]
async fn a_broker_and_a_port_may_be_absent_at_start_come_die_and_come_back() {
    let (Some(mut broker), Some(mut wire)) = (Broker::start().await, Wire::lay().await) else {
        return;
    };
    broker.kill();
    wire.cut();
    let daemon = Daemon::start(&format!(
        "[mqtt.home]\nurl = 'mqtt://127.0.0.1:{}'\n\
         [[mqtt.home.topic]]\nfilter = 'n'\nformat = 'number'\nqos = 1\n\
         [serial.probe]\ndevice = '{}'\nformat = 'number'\n\
         [rule.mqtt]\nmetric = 'mqtt_value'\nequals = 7\n\
         [rule.serial]\nmetric = 'serial_value'\nequals = 7\n",
        broker.port,
        text(&wire.port())
    ))
    .await;
    let targets = ["mqtt.home", "serial.probe"];
    let until_states = async |wanted: [&str; 2]| {
        let is_so = async || {
            let mut states = daemon.states().await;
            states.sort();
            states == wanted
        };
        daemon.until(&format!("{wanted:?}"), is_so).await;
    };
    for id in targets {
        daemon.until_target(id, "down").await;
        assert_ne!(daemon.target(id).await.unwrap()["lastError"], "");
    }
    assert!(daemon.states().await.is_empty());
    for _ in 0..2 {
        broker.restart().await;
        wire.mend().await;
        for id in targets {
            daemon.until_target(id, "up").await;
        }
        broker.publish("n", "7", &["-q", "1"]);
        wire.far().write_all(b"\n7\n").unwrap();
        until_states(["mqtt firing", "serial firing"]).await;
        broker.kill();
        wire.cut();
        for id in targets {
            daemon.until_target(id, "down").await;
        }
        // Not resolved: nobody knows.
        until_states(["mqtt unknown", "serial unknown"]).await;
    }
    // Each change is logged, not each try.
    let count = |what: &str| daemon.log().matches(what).count();
    assert_eq!((count("\"down: "), count("up again")), (6, 4), "{}", daemon.log());
    daemon.stop().await;
}

#[tokio::test]
async fn a_program_that_never_stops_talking_delays_no_other_and_costs_no_memory() {
    let daemon = Daemon::start(&format!(
        "[exec.talker]\ncommand = ['yes']\ninterval = '2s'\ntimeout = '1900ms'\n\
         [tcp.good]\naddress = '127.0.0.1:{}'\ninterval = '100ms'\ntimeout = '90ms'\n",
        free_port()
    ))
    .await;
    let before = daemon.resident_bytes();
    daemon.until_target("exec.talker", "down").await;
    let said = daemon.target("exec.talker").await.unwrap()["lastError"].to_string();
    assert!(said.contains("printed more than 1048576 bytes"), "{said}");
    let talker = daemon.metric("watchpost_polls_total{kind=\"exec\"}").await;
    let polls = async || daemon.metric("watchpost_polls_total{kind=\"tcp\"}").await;
    let first = polls().await;
    daemon
        .until("the talker is polled again", async || {
            daemon.metric("watchpost_polls_total{kind=\"exec\"}").await > talker
        })
        .await;
    // Twenty would be due.
    let more = polls().await - first;
    assert!(more >= 10.0, "{more}");
    let grown = daemon.resident_bytes().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown}");
    daemon.stop().await;
}

#[tokio::test]
async fn what_a_program_leaves_behind_in_a_session_of_its_own_ends_with_it() {
    let folder = TempDir::new().unwrap();
    let out = |name: &str| text(&folder.path().join(name));
    // Twice removed, so that nobody below the daemon knows it any more.
    let leave = |name: &str| {
        let file = out(name);
        format!(
            "setsid -f sh -c \"echo \\$\\$ > {file}.new; mv {file}.new {file}; exec sleep 600\"; \
             until [ -e {file} ]; do sleep 0.01; done"
        )
    };
    let daemon = Daemon::start(&format!(
        "[exec.ends]\ncommand = ['/bin/sh', '-c', '{}; echo OK']\ninterval = '2s'\n\
         [exec.hangs]\ncommand = ['/bin/sh', '-c', '{}; sleep 600']\ninterval = '2s'\n\
         timeout = '1s'\n\
         [exec.prints]\ncommand = ['/bin/sh', '-c', 'cat /dev/zero']\ninterval = '2s'\n",
        leave("ends"),
        leave("hangs")
    ))
    .await;
    daemon.until_target("exec.ends", "up").await;
    daemon.until_target("exec.hangs", "down").await;
    daemon.until_target("exec.prints", "down").await;
    let target = daemon.target("exec.prints").await.unwrap();
    let said = target["lastError"].as_str().unwrap();
    assert!(said.contains("it printed more than 1048576 bytes and was ended"), "{said}");
    for name in ["ends", "hangs"] {
        let pid = std::fs::read_to_string(out(name)).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        until(&format!("{name}: {} is gone", pid.trim()), || {
            std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") Z "))
                || !std::path::Path::new(&stat).exists()
        })
        .await;
    }
    daemon.stop().await;
}
