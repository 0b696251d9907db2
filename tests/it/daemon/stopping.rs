//! Starting and stopping: exit codes, signals, the state directory and its lock.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::{Daemon, Dial, WATCHPOST, command, stderr, write};
use crate::actions::Receiver;
use crate::influxdb::{ANSWERS, influxd, influxql};
use crate::mqtt::Broker;
use crate::support::{file, free_port, text, until};

/// A daemon with an alert whose webhook never answers and a database that takes connections and
/// nothing else, both in use; and what keeps them so.
async fn stuck() -> (Daemon, (JoinSet<()>, TcpListener, TempDir)) {
    let mut tasks = JoinSet::new();
    let (receiver, url) = Receiver::start(&mut tasks, |_| None).await;
    let database = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = TempDir::new().unwrap();
    let dial = Dial::new(folder.path(), "dial", "50");
    let daemon = Daemon::start(&format!(
        "{}[influxdb.main]\nurl = 'http://{}'\norg = 'o'\nbucket = 'b'\n\
         flush_interval = '50ms'\ntimeout = '60s'\n\
         [rule.high]\nmetric = 'exec_value'\nabove = 10\nactions = ['ops']\n\
         [action.ops]\nwebhook = {{ url = '{url}' }}\ntimeout = '60s'\n",
        dial.table("dial"),
        database.local_addr().unwrap(),
    ))
    .await;
    until("the webhook hangs", || receiver.got.lock().unwrap().len() == 1).await;
    (daemon, (tasks, database, folder))
}

#[tokio::test]
async fn sigterm_ends_it_within_five_seconds_whatever_hangs() {
    let (mut daemon, _stuck) = stuck().await;
    daemon.signal(Signal::SIGTERM);
    let (code, took) = daemon.exit().await;
    assert_eq!(code, 0, "{}", daemon.log());
    assert!(took < Duration::from_secs(5), "{took:?}");
    for said in ["stopped; the journal keeps the rest", "goes on at the next start"] {
        assert!(daemon.log().contains(said), "{}", daemon.log());
    }
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let (mut daemon, _stuck) = stuck().await;
    daemon.signal(Signal::SIGTERM);
    until("it stops", || daemon.log().contains("\"stopping\"")).await;
    daemon.signal(Signal::SIGINT);
    assert_eq!(daemon.exit().await.0, 1);
    until("it says why", || daemon.log().contains("second signal")).await;
}

#[test]
fn a_bad_configuration_ends_it_with_78_and_every_mistake() {
    let folder = TempDir::new().unwrap();
    let path = write(folder.path(), "[tcp.a]\nadress = 'x:1'\n[http.b]\nurl = 'nope'\n");
    for args in [&["run"][..], &["check"], &["probe", "a"]] {
        let output = command(&path, args);
        assert_eq!(output.status.code(), Some(78), "{args:?}");
        let said = format!("{}{}", stderr(&output), super::stdout(&output));
        for mistake in ["config.toml:5:1: ", "did you mean `address`", "config.toml:7:7: "] {
            assert!(said.contains(mistake), "{args:?} lacks {mistake}: {said}");
        }
    }
    let output = command(&folder.path().join("missing.toml"), &["run"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("missing.toml"), "{}", stderr(&output));
}

#[test]
fn what_cannot_be_typed_ends_with_2() {
    for args in [&["frobnicate"][..], &["run", "--nope"], &["probe"], &["--log-format", "xml"]] {
        let output = Command::new(WATCHPOST).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
    }
}

#[tokio::test]
async fn a_second_daemon_on_a_state_directory_is_refused_and_harms_nothing() {
    let daemon = Daemon::start("").await;
    let second = command(&daemon.config_path(), &["run"]);
    assert_eq!(second.status.code(), Some(1));
    let said = stderr(&second);
    assert!(said.contains("in use by another watchpost"), "{said}");
    assert!(said.contains(&text(&daemon.folder.path().join("state"))), "{said}");
    assert_eq!(daemon.get("/healthz").await, "ok\n");
    daemon.stop().await;
}

#[tokio::test]
async fn an_address_in_use_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = TempDir::new().unwrap();
    let state = text(&folder.path().join("state"));
    let address = taken.local_addr().unwrap();
    let config = format!("state_dir = '{state}'\n[api]\nlisten = '{address}'\n");
    let output = command(&file(folder.path(), "config.toml", &config), &["run"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains(&format!("cannot listen on {address}")),
        "{}",
        stderr(&output)
    );
}

#[tokio::test]
async fn it_watches_without_a_state_directory_it_can_write_and_says_so() {
    let folder = TempDir::new().unwrap();
    let in_the_way = file(folder.path(), "file", "");
    // Root writes anywhere, but neither into /proc nor through a file.
    for state in ["/proc/watchpost".to_owned(), text(&in_the_way.join("state"))] {
        let folder = TempDir::new().unwrap();
        let dial = Dial::new(folder.path(), "dial", "1");
        let config = format!(
            "state_dir = '{state}'\n[api]\nlisten = '127.0.0.1:0'\n{}\
             [rule.seen]\nmetric = 'exec_value'\nequals = 1\n",
            dial.table("dial")
        );
        file(folder.path(), "config.toml", &config);
        let daemon = Daemon::start_in(folder).await;
        assert!(daemon.log().contains("cannot write the state directory"), "{}", daemon.log());
        assert_eq!(daemon.metric("watchpost_state_dir_writable").await, 0.0);
        daemon.until("it judges", async || daemon.states().await == ["seen firing"]).await;
        daemon.stop().await;
    }
}

#[tokio::test]
async fn after_kill_9_it_starts_again_at_once() {
    let mut first = Daemon::start("").await;
    first.signal(Signal::SIGKILL);
    assert_eq!(first.exit().await.0, -1);
    let path = first.config_path();
    let mut again = Command::new(WATCHPOST)
        .args(["run", "--log-format", "json", "--config"])
        .arg(path)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first_line = String::new();
    let mut log = std::io::BufReader::new(again.stderr.take().unwrap());
    let read = std::io::BufRead::read_line(&mut log, &mut first_line);
    again.kill().unwrap();
    again.wait().unwrap();
    read.unwrap();
    assert!(first_line.contains("\"started\""), "{first_line}");
}

#[tokio::test]
async fn what_was_heard_before_sigterm_is_written_and_told() {
    let (port, folder) = (free_port(), TempDir::new().unwrap());
    let Some(_database) = influxd(folder.path(), port) else { return };
    let Some(broker) = Broker::start().await else { return };
    influxql(port, "CREATE DATABASE w", ANSWERS).await;
    let mut tasks = JoinSet::new();
    // The first try fails, so that the notice waits when the signal comes.
    let script = |nth| if nth == 1 { Some(503) } else { Some(204) };
    let (receiver, url) = Receiver::start(&mut tasks, script).await;
    let mut daemon = Daemon::start(&format!(
        "[mqtt.home]\nurl = 'mqtt://127.0.0.1:{}'\n\
         [[mqtt.home.topic]]\nfilter = 'n'\nformat = 'number'\nmeasurement = 'n'\nqos = 1\n\
         [influxdb.main]\nurl = 'http://127.0.0.1:{port}'\napi = 'v1'\ndatabase = 'w'\n\
         flush_interval = '1h'\n\
         [rule.high]\nmetric = 'n_value'\nabove = 10\nactions = ['ops']\n\
         [action.ops]\nwebhook = {{ url = '{url}' }}\n",
        broker.port
    ))
    .await;
    daemon.until_target("mqtt.home", "up").await;
    for number in ["1", "2", "50"] {
        broker.publish("n", number, &["-q", "1"]);
    }
    until("the first try has failed", || receiver.got.lock().unwrap().len() == 1).await;
    daemon.signal(Signal::SIGTERM);
    let (code, took) = daemon.exit().await;
    assert!(code == 0 && took < Duration::from_secs(5), "{code} {took:?}");
    assert_eq!(receiver.got.lock().unwrap().len(), 2, "{}", daemon.log());
    let count = "SELECT count(value), sum(value) FROM n";
    influxql(port, count, |answer| answer.contains(",3,53]")).await;
}

#[tokio::test]
async fn programs_deaf_to_sigterm_end_with_the_daemon_and_with_their_target() {
    for drains in [true, false] {
        let folder = TempDir::new().unwrap();
        let pids = folder.path().join("pids");
        let script = format!(
            "trap '' TERM HUP; sleep 600 & echo $! $$ > {0}.new; mv {0}.new {0}; wait",
            text(&pids)
        );
        let mut daemon = Daemon::start(&format!(
            "[exec.deaf]\ncommand = ['sh', '-c', \"{script}\"]\ninterval = '5s'\ntimeout = '4900ms'\n"
        ))
        .await;
        until("it has forked", || pids.exists()).await;
        if drains {
            daemon.signal(Signal::SIGTERM);
            let (code, took) = daemon.exit().await;
            assert!(code == 0 && took < Duration::from_secs(5), "{code} {took:?}");
        } else {
            daemon.reload("", "ok").await;
        }
        let pids = std::fs::read_to_string(&pids).unwrap();
        for pid in pids.split_whitespace() {
            until(&format!("process {pid} is gone"), || {
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
                // Nobody may be there to take note of its end.
                stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z "))
            })
            .await;
        }
    }
}
