//! Brokers: mosquitto, started for each test, and for what mosquitto does not do one made by hand.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use watchpost::actions::{Action, Kind, KindConfig as ActionKind, Rejected};
use watchpost::pollers::mqtt::MqttPoller;
use watchpost::pollers::{KindConfig, Reason, Shared};

use crate::support::{
    Driven, LIMIT, Server, config, file, free_port, mistakes, notice, shared, text, until,
    until_listening,
};

mod transport;

/// A mosquitto of one's own.
pub(crate) struct Broker {
    folder: TempDir,
    pub(crate) port: u16,
    settings: String,
    server: Server,
}

impl Broker {
    pub(crate) async fn start() -> Option<Self> {
        Self::start_with("allow_anonymous true\n").await
    }

    /// With lines for its configuration.
    async fn start_with(settings: &str) -> Option<Self> {
        let folder = TempDir::new().expect("a temporary folder");
        let port = free_port();
        let settings = format!("listener {port} 127.0.0.1\n{settings}");
        let server = Self::server(&folder, &settings)?;
        until_listening(port).await;
        Some(Self { folder, port, settings, server })
    }

    fn server(folder: &TempDir, settings: &str) -> Option<Server> {
        let path = file(folder.path(), "mosquitto.conf", settings);
        let program = if std::path::Path::new("/usr/sbin/mosquitto").exists() {
            "/usr/sbin/mosquitto"
        } else {
            "mosquitto"
        };
        Server::start(Command::new(program).arg("-c").arg(path))
    }

    /// Ends it; its port stays the same.
    pub(crate) fn kill(&mut self) {
        self.server.kill();
    }

    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.server = Self::server(&self.folder, &self.settings).expect("it started before");
        until_listening(self.port).await;
    }

    /// The table of a broker at this port, with more keys.
    fn table(&self, keys: &str) -> String {
        format!("[mqtt.home]\nurl = 'mqtt://127.0.0.1:{}'\nclient_id = 'w'\n{keys}", self.port)
    }

    /// A poller that has connected.
    async fn follow(&self, keys: &str) -> Driven<MqttPoller> {
        let mut driven = driven(&self.table(keys), &shared());
        driven.poll().await.0.expect("a connection");
        driven
    }

    /// Publishes as another client does.
    pub(crate) fn publish(&self, topic: &str, payload: &str, more: &[&str]) {
        let port = self.port.to_string();
        let status = Command::new("mosquitto_pub")
            .args(["-p", &port, "-t", topic, "-m", payload])
            .args(more)
            .status();
        assert!(status.expect("mosquitto_pub is installed with mosquitto").success());
    }

    /// The next message another client gets.
    fn subscribe(&self, topic: &str) -> std::process::Child {
        let port = self.port.to_string();
        Command::new("mosquitto_sub")
            .args(["-p", &port, "-t", topic, "-C", "1", "-W", "20", "-F", "%t %r %q %p"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("mosquitto_sub is installed with mosquitto")
    }

    /// What is retained under a topic.
    pub(crate) async fn retained(&self, topic: &str) -> String {
        said(self.subscribe(topic)).await
    }
}

async fn said(client: std::process::Child) -> String {
    let output = tokio::task::spawn_blocking(move || client.wait_with_output());
    let output = output.await.expect("no panic").expect("an output");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

fn driven(table: &str, shared: &Arc<Shared>) -> Driven<MqttPoller> {
    let target = config(table).targets[0].clone();
    let KindConfig::Mqtt(kind) = target.kind.clone() else { panic!("an mqtt target") };
    Driven::new(&*kind, &target, shared)
}

const NUMBERS: &str = "[[mqtt.home.topic]]\nfilter = 'n/#'\nformat = 'number'\nqos = 1\n";

#[tokio::test]
async fn wildcards_levels_and_every_format_become_readings() {
    let Some(broker) = Broker::start().await else { return };
    let mut driven = broker
        .follow(
            "[[mqtt.home.topic]]\nfilter = 'sensors/+/climate'\nformat = 'json'\nmeasurement = 'climate'\n\
             fields = { temperature_celsius = '/temp', humidity_ratio = { at = '/hum', scale = 0.01 } }\n\
             tags = { room = '{1}', id = '{/id}' }\n\
             [[mqtt.home.topic]]\nfilter = 'plug/#'\nformat = 'text'\nmap = { ON = 1, OFF = 0 }\n\
             field = 'on'\nqos = 2\ntags = { plug = '{1}-{2}' }\n\
             [[mqtt.home.topic]]\nfilter = 'csv'\nformat = 'csv'\nfields = { b = 2 }\nqos = 1\n\
             [[mqtt.home.topic]]\nfilter = 'influx'\nformat = 'influx'\n\
             [[mqtt.home.topic]]\nfilter = 'kv'\nformat = 'key_value'\nfields = { t = 't' }\n\
             [[mqtt.home.topic]]\nfilter = 're'\nformat = 'regex'\npattern = '(?<n>\\d+)'\nfields = { n = 'n' }\n\
             [[mqtt.home.topic]]\nfilter = 'number'\nformat = 'number'\nscale = 0.5\noffset = 1",
        )
        .await;
    for (topic, payload, readings) in [
        (
            "sensors/hall/climate",
            r#"{"temp":21.5,"hum":"40","id":7}"#,
            vec![
                r#"climate_humidity_ratio{id="7",room="hall"} 0.4"#,
                r#"climate_temperature_celsius{id="7",room="hall"} 21.5"#,
            ],
        ),
        ("plug/a/b", "ON", vec![r#"mqtt_on{plug="a-b"} 1"#]),
        ("plug", "OFF", vec![r#"mqtt_on{plug="-"} 0"#]),
        ("csv", "1,2,3", vec!["mqtt_b{} 2"]),
        (
            "influx",
            "weather,city=x t=1,r=2i 5",
            vec![r#"weather_t{city="x"} 1"#, r#"weather_r{city="x"} 2"#],
        ),
        ("kv", "h=1 t=2", vec!["mqtt_t{} 2"]),
        ("re", "n 17!", vec!["mqtt_n{} 17"]),
        ("number", " 3 ", vec!["mqtt_value{} 2.5"]),
    ] {
        broker.publish(topic, payload, &["-q", "2"]);
        assert_eq!(driven.readings().await, readings, "{topic}");
    }
}

#[tokio::test]
async fn a_connection_alone_is_a_success_and_publishes_who_is_there() {
    let Some(mut broker) = Broker::start().await else { return };
    let mut driven = broker.follow("").await;
    assert!(driven.poll_within(Duration::from_millis(50)).await.is_none());
    assert_eq!(broker.retained("watchpost/w/status").await, "watchpost/w/status 1 0 online");
    drop(driven);
    until("the broker says that watchpost is gone", || {
        let client = broker.subscribe("watchpost/w/status");
        let output = client.wait_with_output().expect("an output");
        String::from_utf8_lossy(&output.stdout).contains("offline")
    })
    .await;
    broker.server.kill();
}

#[tokio::test]
async fn an_announcement_can_be_changed_or_left_out() {
    let Some(broker) = Broker::start().await else { return };
    let _quiet = broker.follow("announce = false").await;
    let table =
        broker.table("will = { topic = 'me', online = '1', offline = '0' }").replace("'w'", "'v'");
    let mut driven = driven(&table, &shared());
    driven.poll().await.0.unwrap();
    assert_eq!(broker.retained("#").await, "me 1 0 1");
}

#[tokio::test]
async fn retained_messages_are_marked_until_a_fresh_one_comes() {
    let Some(broker) = Broker::start().await else { return };
    broker.publish("n/a", "1", &["-r"]);
    let mut driven = broker.follow(NUMBERS).await;
    assert_eq!(driven.readings().await, ["mqtt_value{} 1", "mqtt_retained{} 1"]);
    broker.publish("n/a", "2", &[]);
    assert_eq!(driven.readings().await, ["mqtt_value{} 2", "mqtt_retained{} 0"]);
    broker.publish("n/a", "3", &["-r"]);
    assert_eq!(driven.readings().await, ["mqtt_value{} 3"]);
    let mut strict =
        broker.follow(&format!("accept_retained = false\n{NUMBERS}").replace("'w'", "'v'")).await;
    broker.publish("n/a", "4", &[]);
    assert_eq!(strict.readings().await, ["mqtt_value{} 4"]);
}

#[tokio::test]
async fn devices_that_share_a_topic_are_told_apart_by_what_they_say() {
    let Some(broker) = Broker::start().await else { return };
    let keys = "[[mqtt.home.topic]]\nfilter = 'probes/+'\nformat = 'json'\nqos = 1\n\
         fields = { t = '/temp' }\ntags = { probe = '{1}-{/id}' }\n";
    broker.publish("probes/hall", r#"{"temp":20,"id":"old"}"#, &["-r"]);
    let mut driven = broker.follow(keys).await;
    assert_eq!(
        driven.readings().await,
        [r#"mqtt_t{probe="hall-old"} 20"#, r#"mqtt_retained{probe="hall-old"} 1"#]
    );
    for (payload, readings) in [
        (r#"{"temp":21.5,"id":"ev1x"}"#, vec![r#"mqtt_t{probe="hall-ev1x"} 21.5"#]),
        (
            r#"{"temp":3,"id":18446744073709551615}"#,
            vec![r#"mqtt_t{probe="hall-18446744073709551615"} 3"#],
        ),
        (
            r#"{"temp":4,"id":null}"#,
            vec!["mqtt_t{} 4", r#"mqtt_rejected_total{filter="probes/+",reason="tag"} 1"#],
        ),
        (
            r#"{"temp":19,"id":"old"}"#,
            vec![r#"mqtt_t{probe="hall-old"} 19"#, r#"mqtt_retained{probe="hall-old"} 0"#],
        ),
    ] {
        broker.publish("probes/hall", payload, &["-q", "1"]);
        assert_eq!(driven.readings().await, readings, "{payload}");
    }
}

#[tokio::test]
async fn payloads_that_make_no_sense_are_counted_and_fail_no_poll() {
    let Some(broker) = Broker::start().await else { return };
    let mut driven = broker.follow(NUMBERS).await;
    broker.publish("n/a", "warm", &[]);
    broker.publish("n/a", &"9".repeat(100_000), &[]);
    broker.publish(&format!("n/{}", "x/".repeat(90)), "5", &[]);
    let words = driven.readings_until(|words| words.iter().any(|w| w.ends_with(" 5"))).await;
    let rejected = r#"mqtt_rejected_total{filter="n/#",reason="number"} 2"#;
    assert!(words.iter().any(|word| word == rejected), "{words:?}");
}

#[tokio::test]
async fn a_broker_absent_dying_and_coming_back_is_followed_again() {
    let Some(mut broker) = Broker::start().await else { return };
    broker.server.kill();
    let mut driven = driven(&broker.table(NUMBERS), &shared());
    let (absent, _) = driven.poll().await;
    assert_eq!(absent.unwrap_err().reason, Reason::Refused);
    for round in 0..2 {
        broker.restart().await;
        driven.until_up().await;
        broker.publish("n/a", &round.to_string(), &["-q", "1"]);
        assert_eq!(driven.readings().await, [format!("mqtt_value{{}} {round}")]);
        broker.server.kill();
        let error = driven.until_down().await;
        assert!(matches!(error.reason, Reason::Unreachable | Reason::Refused), "{error}");
    }
}

#[tokio::test]
async fn messages_kept_by_the_broker_arrive_after_a_break() {
    let Some(broker) = Broker::start().await else { return };
    let keys = format!("clean_session = false\n{NUMBERS}");
    drop(broker.follow(&keys).await);
    broker.publish("n/a", "7", &["-q", "1"]);
    let mut again = driven(&broker.table(&keys), &shared());
    let words = again.readings().await;
    assert!(words.contains(&"mqtt_value{} 7".to_owned()), "{words:?}");
}

#[tokio::test]
async fn wrong_credentials_are_told_as_such() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("passwords");
    let made = Command::new("mosquitto_passwd")
        .args(["-b", "-c"])
        .arg(&path)
        .args(["u", "right"])
        .status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("skipped: mosquitto_passwd is not installed");
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    for (path, mode) in [(folder.path(), 0o755), (path.as_path(), 0o644)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let settings = format!("allow_anonymous false\npassword_file {}\n", text(&path));
    let Some(broker) = Broker::start_with(&settings).await else { return };
    let login =
        |password: &str| broker.table(&format!("username = 'u'\npassword = '{password}'\n"));
    let (outcome, _) = driven(&login("wrong"), &shared()).poll().await;
    let error = outcome.unwrap_err();
    assert_eq!(error.reason, Reason::Auth, "{error}");
    assert!(!error.context.contains("wrong'"), "{error}");
    let (nobody, _) = driven(&broker.table(""), &shared()).poll().await;
    assert_eq!(nobody.unwrap_err().reason, Reason::Auth);
    driven(&login("right"), &shared()).poll().await.0.unwrap();
}

#[tokio::test]
async fn a_message_too_large_ends_the_connection_and_says_so() {
    let Some(broker) = Broker::start().await else { return };
    let keys = format!("max_packet_size = '10kB'\n{NUMBERS}");
    let mut driven = broker.follow(&keys).await;
    broker.publish("n/a", &"1".repeat(20_000), &[]);
    let error = driven.until_down().await;
    assert_eq!(error.reason, Reason::Malformed);
    assert!(error.context.ends_with("is larger than `max_packet_size`"), "{error}");
    driven.until_up().await;
    broker.publish("n/a", "5", &[]);
    assert_eq!(driven.readings().await, ["mqtt_value{} 5"]);
}

#[tokio::test]
async fn a_connection_that_breaks_young_time_and_again_does_not_flap() {
    let Some(broker) = Broker::start().await else { return };
    broker.publish("n/a", &"1".repeat(20_000), &["-r"]);
    let table = broker.table(&format!("max_packet_size = '10kB'\n{NUMBERS}"));
    let mut driven = driven(&table, &shared());
    assert_eq!(driven.until_down().await.reason, Reason::Malformed);
    for _ in 0..2 {
        let (outcome, _) = driven.poll().await;
        assert_eq!(outcome.unwrap_err().reason, Reason::Malformed);
    }
}

#[tokio::test]
async fn a_series_not_heard_of_goes_stale() {
    let Some(broker) = Broker::start().await else { return };
    let keys = format!(
        "{NUMBERS}stale_after = '200ms'\n[[mqtt.home.topic]]\nfilter = 'other'\nformat = 'number'\nmeasurement = 'other'\n"
    );
    let mut driven = broker.follow(&keys).await;
    broker.publish("n/a", "1", &[]);
    broker.publish("other", "2", &[]);
    driven.readings_until(|words| words.len() == 2).await;
    let due = driven.next_expiry().expect("a series that will run out");
    tokio::time::sleep_until(due).await;
    assert_eq!(driven.expired(), ["mqtt_value{} stale"]);
}

#[tokio::test]
async fn what_is_published_is_published_for_good_or_fails() {
    let Some(mut broker) = Broker::start().await else { return };
    let shared = shared();
    let mut driven = driven(&broker.table(""), &shared);
    assert!(shared.brokers.get("home").is_none());
    driven.poll().await.0.unwrap();
    for qos in 0..=2 {
        let link = shared.brokers.get("home").expect("a connection");
        link.publish("fan/set", b"ON".to_vec(), qos, true).await.unwrap();
        assert_eq!(broker.retained("fan/set").await, format!("fan/set 1 0 ON"));
    }
    let link = shared.brokers.get("home").expect("a connection");
    let wrong = link.publish("a/#", Vec::new(), 0, false).await;
    assert!(matches!(wrong, Err(Rejected::Permanent(_))), "{wrong:?}");
    broker.server.kill();
    driven.until_down().await;
    let lost = link.publish("fan/set", b"OFF".to_vec(), 1, true).await;
    assert!(matches!(lost, Err(Rejected::Temporary { .. })), "{lost:?}");
    drop(link);
    assert!(shared.brokers.get("home").is_none());
    broker.restart().await;
    driven.until_up().await;
    let link = shared.brokers.get("home").expect("a connection again");
    link.publish("fan/set", b"OFF".to_vec(), 1, true).await.unwrap();
    assert_eq!(broker.retained("fan/set").await, "fan/set 1 0 OFF");
}

#[tokio::test]
async fn an_action_publishes_once_the_broker_is_back() {
    let Some(mut broker) = Broker::start().await else { return };
    let shared = shared();
    let action = "[action.fan]\nmqtt = { broker = 'home', topic = 'fan/{{ labels.target }}', payload = '{{ state }}', retain = true }\n";
    let text = format!("{action}{}", broker.table(""));
    let mut driven = driven(&text, &shared);
    let ActionKind::Mqtt(kind) = config(&text).actions[0].value.kind.clone() else {
        panic!("mqtt")
    };
    let action = kind.action(LIMIT, &shared);
    let early = action.fire(&notice("gw")).await;
    assert!(matches!(early, Err(Rejected::Temporary { .. })), "{early:?}");
    driven.poll().await.0.unwrap();
    broker.server.kill();
    driven.until_down().await;
    let lost = action.fire(&notice("gw")).await;
    assert!(matches!(lost, Err(Rejected::Temporary { .. })), "{lost:?}");
    broker.restart().await;
    driven.until_up().await;
    assert_eq!(action.fire(&notice("gw")).await, Ok("published to fan/gw".to_owned()));
    assert_eq!(broker.retained("fan/#").await, "fan/gw 1 0 firing");
    for hostile in ["a/b", "#", ""] {
        let refused = action.fire(&notice(hostile)).await;
        let empty_level = hostile.is_empty() && refused.is_ok();
        assert!(empty_level || matches!(refused, Err(Rejected::Permanent(_))), "{refused:?}");
    }
}

/// A broker that takes the connection, and refuses the first subscription.
fn refusing_broker() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
        let mut packet = [0; 512];
        assert!(stream.read(&mut packet).expect("CONNECT") > 0);
        stream.write_all(&[0x20, 2, 0, 0]).expect("CONNACK");
        assert!(stream.read(&mut packet).expect("SUBSCRIBE") > 4);
        stream.write_all(&[0x90, 3, packet[2], packet[3], 0x80]).expect("SUBACK");
        drop(stream.read(&mut packet));
    });
    port
}

#[tokio::test]
async fn a_subscription_not_granted_is_a_failed_poll() {
    let port = refusing_broker();
    let table =
        format!("[mqtt.home]\nurl = 'mqtt://127.0.0.1:{port}'\nannounce = false\n{NUMBERS}");
    let (outcome, _) = driven(&table, &shared()).poll().await;
    let error = outcome.unwrap_err();
    assert_eq!(error.reason, Reason::Auth);
    assert!(error.context.ends_with("the broker does not grant the subscription `n/#`"), "{error}");
}

#[tokio::test]
async fn a_broker_that_says_nothing_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let table = format!("[mqtt.home]\nurl = 'mqtt://127.0.0.1:{port}'\ntimeout = '1s'\n");
    let (outcome, _) = driven(&table, &shared()).poll().await;
    assert_eq!(outcome.unwrap_err().reason, Reason::Timeout);
}

#[test]
fn mistakes_in_the_table_are_told() {
    for (keys, mistake) in [
        ("url = 'http://x'", "`http` is not one of mqtt, mqtts, ws, wss"),
        (
            "url = 'mqtt://u:p@x'",
            "credentials do not belong into the URL; use `username` and `password`",
        ),
        ("url = 'mqtt://x/topic'", "an mqtt URL has no path; topics are listed as [[topic]]"),
        ("url = 'mqtt://x'\nca = 'ca.pem'", "`ca` goes with mqtts:// or wss://, not mqtt://"),
        (
            "url = 'mqtt://x'\npassword = 'p'",
            "`password` needs `username` (MQTT 3.1.1 section 3.1.2.9)",
        ),
        (
            "url = 'mqtt://x'\nmax_packet_size = '1GiB'",
            "must be from 128 bytes to 256MiB, MQTT's own limit",
        ),
        (
            "url = 'mqtt://x'\nwill = { topic = 'a/#' }",
            "the topic `a/#` must not have `+`, `#` or NUL in it",
        ),
        (
            "url = 'mqtt://x'\n[[mqtt.x.topic]]\nfilter = 'a/#/b'\nformat = 'number'",
            "the topic filter `a/#/b` may have `#` only as its whole last level",
        ),
        (
            "url = 'mqtt://x'\n[[mqtt.x.topic]]\nfilter = 'a+'\nformat = 'number'",
            "the topic filter `a+` may have `+` only as a whole level",
        ),
        (
            "url = 'mqtt://x'\n[[mqtt.x.topic]]\nfilter = 'a/+'\nformat = 'number'\ntags = { n = '{2}' }",
            "there is no level {2}: topics of `a/+` have {0} to {1}",
        ),
        (
            "url = 'mqtt://x'\n[[mqtt.x.topic]]\nfilter = 'a'\nformat = 'number'\ntags = { n = '{/x}' }",
            "the format `number` has no place `{/x}`; `json`, `csv`, `key_value`, `regex` and `nmea` have \
             places",
        ),
        (
            "url = 'mqtt://x'\n[[mqtt.x.topic]]\nfilter = 'a'\nformat = 'number'\ntags = { site = 'x' }",
            "the tag `site` is set by watchpost; choose another name",
        ),
        (
            "url = 'mqtt://x'\n[[mqtt.x.topic]]\nfilter = 'a'\nformat = 'json'",
            "the format `json` needs `fields`: which are wanted, and where they are",
        ),
        ("url = 'mqtt://x'\n[[mqtt.x.topic]]\nfilter = 'a'", "[topic] lacks the key `format`"),
    ] {
        let shown = mistakes(&format!("[mqtt.x]\n{keys}\n"));
        assert!(shown.contains(&format!(": {mistake}\n")), "{keys}: {shown}");
        assert!(shown.ends_with("1 mistake in the configuration"), "{keys}: {shown}");
    }
}
