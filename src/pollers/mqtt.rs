//! `[mqtt.NAME]`: a broker, and what the messages of its topics mean.
//!
//! The poller owns the connection; `mqtt` actions publish through it. A payload that makes no sense
//! is counted, not a failed poll: the broker is not to blame for what devices send through it.

mod connection;
mod messages;
mod pace;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use connection::Link;
pub use messages::Messages;
use serde_json::Value as Json;
use tokio::time::{Instant, timeout_at};
use url::Url;

use self::connection::{Connection, News};

use crate::config::read::{Context, FromTable, FromToml, Key, Node, Table, parsed, table_schema};
use crate::config::{ByteSize, Located, Secret, Target};
use crate::pollers::format::{Payload, TagText};
use crate::pollers::{Cadence, Kind, PollError, Poller, Reason, Shared};
use crate::sample::Readings;
use crate::tls::Tls;
use crate::wire::topic::{Filter, check_topic};

/// Messages taken in one poll before what they say is handed on: enough to spread its cost, few
/// enough that at full speed nothing waits longer than a millisecond.
const POLL_MESSAGES_MAX: usize = 256;

/// A connection lost sooner than this after it was made has broken young: a message too large that
/// the broker retains, or another client with the same id.
const YOUNG: Duration = Duration::from_secs(10);

/// After one that has broken young, a connection must hold for this long before it counts as a
/// success, so that the supervisor's backoff grows and `target_up` does not flap.
const HOLD: Duration = Duration::from_secs(3);

/// Bounds of a packet: below the least, not even a sensor's message fits; the most is MQTT's own
/// (3.1.1 section 2.2.3).
const PACKET_BYTES: std::ops::RangeInclusive<u64> = 128..=268_435_455;

crate::config! {
    /// The connection to a broker.
    pub struct Broker {
        /// `mqtt://host:1883`, `mqtts://host:8883`, `ws://host/mqtt` or `wss://host/mqtt`.
        pub url: Url,
        /// The user name, if the broker asks for one.
        pub username: Option<String>,
        /// The password.
        pub password: Option<Secret>,
        /// How the broker knows this client; `watchpost-HOST-NAME` where it is not written. Two
        /// clients with one id throw each other out.
        pub client_id: Option<String>,
        /// Whether the broker forgets about us while we are away. If not, it keeps messages of
        /// QoS 1 and 2 until we return.
        pub clean_session: bool = true,
        /// A sign of life is sent this often; without an answer the connection is given up.
        pub keep_alive: Duration = Duration::from_secs(30),
        /// The largest message taken. A larger one ends the connection.
        pub max_packet_size: ByteSize = ByteSize(1 << 20),
        /// Whether retained messages count, although nobody knows how old they are: their rows
        /// have the field `retained` at 1 until a fresh message comes.
        pub accept_retained: bool = true,
        /// Whether the broker tells others that watchpost is there, and when it is gone.
        pub announce: bool = true,
        /// How it does.
        pub will: Option<Will>,
        /// Silence longer than this is a failed poll; not judged where it is not written.
        pub quiet: Option<Duration>,
        /// The topics to follow; none where the broker is only published to.
        pub topic: Vec<Topic>,
    }
    check(broker, table) { broker.check(table); }
}

crate::config! {
    /// What watchpost says about itself: published on connecting, and by the broker when the
    /// connection is gone (the last will).
    pub struct Will {
        /// Where; `watchpost/CLIENT_ID/status` where it is not written.
        pub topic: Option<String>,
        /// Said on connecting.
        pub online: String = "online".to_owned(),
        /// Said when the connection is gone.
        pub offline: String = "offline".to_owned(),
        /// Quality of service, 0 to 2.
        pub qos: u8 = 1,
        /// Whether the broker keeps it for those who come later.
        pub retain: bool = true,
    }
    check(will, table) {
        if let Some(Err(message)) = will.topic.as_deref().map(check_topic) {
            table.error("topic", message);
        }
        if will.qos > 2 {
            table.error("qos", "must be 0, 1 or 2");
        }
    }
}

impl Default for Will {
    fn default() -> Self {
        Self {
            topic: None,
            online: "online".to_owned(),
            offline: "offline".to_owned(),
            qos: 1,
            retain: true,
        }
    }
}

/// `[mqtt.NAME]`: the broker, and how far it is trusted.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The connection.
    pub broker: Broker,
    /// Of `mqtts` and `wss`.
    pub tls: Tls,
}

impl FromTable for Config {
    fn from_table(table: &mut Table<'_, '_, '_>) -> Option<Self> {
        let broker = Broker::from_table(table);
        let tls = Tls::from_table(table);
        if let Some(broker) = &broker && !broker.is_encrypted() {
            for key in ["ca", "client_cert", "client_key", "tls_verify"] {
                if table.has(key) {
                    table.error(key, format!("`{key}` goes with mqtts:// or wss://, not {}://", broker.url.scheme()));
                }
            }
        }
        Some(Self { broker: broker?, tls: tls? })
    }
    fn keys() -> Vec<Key> {
        let mut keys = Broker::keys();
        keys.extend(Tls::keys());
        keys
    }
}

/// `[[mqtt.NAME.topic]]`: which topics, and what their messages mean.
#[derive(Debug, Clone, PartialEq)]
pub struct Topic {
    /// Which.
    pub subscription: Subscription,
    /// What their payloads mean.
    pub payload: Payload,
}

crate::config! {
    /// Which topics are followed, and what their series are called.
    pub struct Subscription {
        /// A topic, with `+` for any one level and `#` for all that follow.
        pub filter: Located<Filter>,
        /// Quality of service asked for, 0 to 2.
        pub qos: u8 = 0,
        /// Tags: texts with `{n}` for the n-th level of the topic, from 0, and `{…}` for a place in
        /// the payload: `{/id}` for what a JSON pointer leads to, `{name}` for a key, a column or a
        /// group, `{#2}` for a column's number. One whose place is missing, null or empty is left
        /// out.
        pub tags: BTreeMap<String, Located<TagText>>,
        /// A series not heard of for this long goes stale.
        pub stale_after: Option<Duration>,
    }
    check(subscription, table) { subscription.check(table); }
}

impl FromToml for Filter {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        parsed(node, "a topic filter", cx, str::parse)
    }
    fn schema() -> Json {
        serde_json::json!({ "type": "string" })
    }
}

impl FromToml for Topic {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        let mut table = Table::new(node, "topic", cx)?;
        let subscription = Subscription::from_table(&mut table);
        let payload = Payload::from_table(&mut table);
        table.finish();
        let topic = Self { subscription: subscription?, payload: payload? };
        for tag in topic.subscription.tags.values() {
            if let Err(message) = topic.payload.check_tag(&tag.value) {
                cx.diagnostics.error(&tag.place, message);
            }
        }
        Some(topic)
    }
    fn schema() -> Json {
        let mut keys = Subscription::keys();
        keys.extend(Payload::keys());
        table_schema(&keys)
    }
}

impl Subscription {
    fn check(&self, table: &mut Table<'_, '_, '_>) {
        if self.qos > 2 {
            table.error("qos", "must be 0, 1 or 2");
        }
        for (name, tag) in &self.tags {
            let wrong = if name.is_empty() {
                Some("a tag needs a name".to_owned())
            } else if ["target", "kind", "site"].contains(&name.as_str()) {
                Some(format!("the tag `{name}` is set by watchpost; choose another name"))
            } else if let Some(levels) = self.filter.value.levels()
                && let Some(last) = tag.value.last_level().filter(|last| *last >= levels)
            {
                let filter = self.filter.value.as_str();
                Some(format!("there is no level {{{last}}}: topics of `{filter}` have {{0}} to {{{}}}", levels - 1))
            } else {
                None
            };
            if let Some(message) = wrong {
                table.cx.diagnostics.error(&tag.place, message);
            }
        }
    }
}

impl Broker {
    /// Whether the connection is over TLS.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        matches!(self.url.scheme(), "mqtts" | "wss")
    }

    fn check(&self, table: &mut Table<'_, '_, '_>) {
        let url = &self.url;
        if !["mqtt", "mqtts", "ws", "wss"].contains(&url.scheme()) {
            table.error("url", format!("`{}` is not one of mqtt, mqtts, ws, wss", url.scheme()));
        } else if url.host_str().is_none_or(str::is_empty) {
            table.error("url", "the URL lacks a host");
        } else if url.scheme().starts_with("mqtt") && !matches!(url.path(), "" | "/") {
            table.error("url", "an mqtt URL has no path; topics are listed as [[topic]]");
        }
        if !url.username().is_empty() || url.password().is_some() {
            table.error("url", "credentials do not belong into the URL; use `username` and `password`");
        }
        if self.password.is_some() && self.username.is_none() {
            table.error("password", "`password` needs `username` (MQTT 3.1.1 section 3.1.2.9)");
        }
        if self.client_id.as_deref() == Some("") {
            table.error("client_id", "must not be empty");
        }
        if !(1..=65_535).contains(&self.keep_alive.as_secs()) {
            table.error("keep_alive", "must be from 1s to 65535s");
        }
        if !PACKET_BYTES.contains(&self.max_packet_size.0) {
            table.error("max_packet_size", "must be from 128 bytes to 256MiB, MQTT's own limit");
        }
        if self.will.is_some() && !self.announce {
            table.error("will", "`will` has no use where `announce` is false");
        }
    }
}

impl Kind for Config {
    type Poller = MqttPoller;

    /// Of a connect; a broker far away may need some round trips.
    const TIMEOUT: Duration = Duration::from_secs(5);

    fn cadence(&self) -> Cadence {
        Cadence::OnArrival { quiet: self.broker.quiet }
    }

    fn poller(&self, target: &Target, shared: &Arc<Shared>) -> MqttPoller {
        MqttPoller {
            name: target.name.clone(),
            timeout: target.timeout,
            messages: Messages::new(&self.broker),
            config: self.clone(),
            shared: shared.clone(),
            connection: None,
            broke_young: false,
        }
    }
}

/// Follows the topics of a broker.
#[derive(Debug)]
pub struct MqttPoller {
    name: Arc<str>,
    timeout: Duration,
    config: Config,
    shared: Arc<Shared>,
    messages: Messages,
    connection: Option<Connection>,
    /// Whether the last connection did.
    broke_young: bool,
}

impl Poller for MqttPoller {
    async fn poll(&mut self, out: &mut Readings) -> Result<(), PollError> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            closed => closed.insert(Connection::start(&self.config, &self.name, self.timeout)?),
        };
        let mut taken = 0;
        loop {
            let hold = connection.made.filter(|_| self.broke_young).map(|made| made + HOLD);
            let news = match hold {
                None => connection.news.recv().await,
                Some(end) => match timeout_at(end, connection.news.recv()).await {
                    Ok(news) => news,
                    Err(_) => {
                        self.broke_young = false;
                        return Ok(());
                    }
                },
            };
            match news {
                // The broker is there, whether or not there is anything to hear.
                Some(News::Connected) => {
                    connection.made = Some(Instant::now());
                    self.shared.brokers.insert(&self.name, connection.link());
                }
                Some(News::Burst(burst)) => {
                    taken += self.messages.take_all(&burst.messages, out);
                    while taken < POLL_MESSAGES_MAX
                        && let Ok(News::Burst(burst)) = connection.news.try_recv()
                    {
                        taken += self.messages.take_all(&burst.messages, out);
                    }
                    self.messages.write_rejects(connection.take_dropped(), out);
                }
                None => break,
            }
            if !self.broke_young || taken >= POLL_MESSAGES_MAX {
                return Ok(());
            }
        }
        let error = connection.failure(&self.config.broker).await;
        self.broke_young = match connection.made {
            Some(made) => made.elapsed() < YOUNG,
            // What the broker sent may break it before the last subscription is heard of; a broker
            // that is not there breaks nothing.
            None => self.broke_young || error.reason == Reason::Malformed,
        };
        self.connection = None;
        Err(error)
    }
}
