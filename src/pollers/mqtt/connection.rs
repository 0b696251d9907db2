//! One connection to a broker: a task that lives as long as it does, and only moves messages.
//!
//! rumqttc connects again by itself, at once and for ever, and never subscribes again. So an error
//! ends the task here, the poll reports it, and the supervisor's backoff comes before the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rumqttc::{
    AsyncClient, ClientError, ConnectReturnCode, ConnectionError, Event, EventLoop, LastWill,
    MqttOptions, NetworkOptions, Packet, Publish, PublishOptions, QoS, StateError,
    SubscribeFilterInput, SubscribeReasonCode, TlsConfiguration, TlsError, Transport,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::pace::Pace;
use super::{Broker, Config, Will};
use crate::actions::Rejected;
use crate::pollers::{PollError, Reason};

/// Messages handed over at once: what rumqttc reads from the socket at once, at most.
const BURST_MESSAGES_MAX: usize = 128;

/// Bursts that may wait to be taken. At either bound the socket is not read, so that the broker
/// holds back what comes.
const BURSTS_MAX: usize = 64;

/// Bytes of messages that may wait to be taken, or one message that is larger.
const WAITING_BYTES_MAX: usize = 16 << 20;

/// What a message costs beside its topic and payload.
const MESSAGE_OVERHEAD_BYTES: usize = 128;

/// How long a burst may wait to be handed over before it is dropped and counted; while it waits the
/// broker gets no sign of life. Half the keep-alive where that is shorter.
const HANDOVER_WAIT_MAX: Duration = Duration::from_secs(10);

/// Publishes and subscriptions that may wait to be sent; more are refused.
const REQUESTS_MAX: usize = 256;

/// What a connection has to say.
#[derive(Debug)]
pub(super) enum News {
    /// It is made, and all subscriptions are granted.
    Connected,
    /// Messages.
    Burst(Burst),
}

/// Messages that arrived together; they count against the bytes that may wait until dropped.
#[derive(Debug)]
pub(super) struct Burst {
    pub(super) messages: Vec<Publish>,
    _bytes: OwnedSemaphorePermit,
}

/// The way to publish through a connection; it is gone when the connection is.
#[derive(Debug)]
pub struct Link {
    client: AsyncClient,
}

impl Link {
    /// Publishes, and waits until the broker has it for good: with QoS 0 until it is sent, with
    /// QoS 1 and 2 until the broker has acknowledged it.
    ///
    /// # Errors
    /// The connection is lost first, or has too much waiting; or the topic is none.
    pub async fn publish(
        &self,
        topic: &str,
        payload: Vec<u8>,
        qos: u8,
        retain: bool,
    ) -> Result<(), Rejected> {
        let options = PublishOptions::new(level(qos)).retain(retain);
        let notice = self.client.try_publish_tracked(topic, payload, options).map_err(|error| {
            match error {
                ClientError::InvalidRequest(_) => {
                    Rejected::Permanent(format!("`{topic}` is not a topic that can be published to"))
                }
                _ => Rejected::temporary("the broker does not keep up with what is published"),
            }
        })?;
        let outcome = notice.wait_completion_async().await;
        outcome.map_err(|_| {
            Rejected::temporary("the connection to the broker was lost before it acknowledged")
        })
    }
}

/// A connection under way or made.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) news: mpsc::Receiver<News>,
    /// Since when it is made, as its owner noted.
    pub(super) made: Option<Instant>,
    link: Arc<Link>,
    dropped: Arc<AtomicU64>,
    /// The one task; ends with what went wrong.
    task: JoinSet<End>,
}

/// What ended a connection.
#[derive(Debug)]
enum End {
    Lost(Box<ConnectionError>),
    /// The broker does not let us read what this filter matches.
    NotGranted(String),
    /// A queue of rumqttc's was too short, which the bounds above rule out.
    Queue(ClientError),
    /// The poller is gone.
    Unwatched,
}

impl Connection {
    /// Begins to connect; the first news is that it did. Must be called within the runtime.
    pub(super) fn start(
        config: &Config,
        target: &str,
        connect_timeout: Duration,
    ) -> Result<Self, PollError> {
        let options = options(config, target)?;
        let id = options.client_id();
        let (client, mut event_loop) = AsyncClient::builder(options).capacity(REQUESTS_MAX).build();
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(connect_timeout.as_secs().max(1));
        event_loop.set_network_options(network);
        let (news_in, news) = mpsc::channel(BURSTS_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let mut task = JoinSet::new();
        let mover = Mover {
            client: client.clone(),
            filters: config.broker.topic.iter().map(|topic| {
                let subscription = &topic.subscription;
                (subscription.filter.value.as_str().to_owned(), level(subscription.qos))
            }).collect(),
            online: online(&config.broker, &id),
            news: news_in,
            room: Arc::new(Semaphore::new(WAITING_BYTES_MAX)),
            wait: HANDOVER_WAIT_MAX.min(config.broker.keep_alive / 2),
            dropped: dropped.clone(),
        };
        task.spawn(mover.run(event_loop));
        Ok(Self { news, made: None, link: Arc::new(Link { client }), dropped, task })
    }

    pub(super) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// How many messages were dropped since it was last asked.
    pub(super) fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }

    /// Why there is no more news.
    pub(super) async fn failure(&mut self, broker: &Broker) -> PollError {
        let (reason, words) = match self.task.join_next().await {
            Some(Ok(End::Lost(error))) => explain(&error),
            Some(Ok(End::NotGranted(filter))) => {
                (Reason::Auth, format!("the broker does not grant the subscription `{filter}`"))
            }
            Some(Ok(End::Queue(error))) => (Reason::Bug, error.to_string()),
            _ => (Reason::Bug, "the task of the connection ended without a word".to_owned()),
        };
        PollError::new(reason, format!("{}: {words}", broker.url))
    }
}

/// Moves messages from the broker to the poller.
struct Mover {
    client: AsyncClient,
    filters: Vec<(String, QoS)>,
    online: Option<(String, Will)>,
    news: mpsc::Sender<News>,
    room: Arc<Semaphore>,
    wait: Duration,
    dropped: Arc<AtomicU64>,
}

impl Mover {
    async fn run(self, mut event_loop: EventLoop) -> End {
        let mut pace = Pace::default();
        loop {
            let mut messages = Vec::new();
            let mut event = match event_loop.poll().await {
                Ok(event) => Some(event),
                Err(error) => return End::Lost(Box::new(error)),
            };
            // The rest of what was read from the socket at once is there already.
            while let Some(one) = event {
                if let Event::Incoming(Packet::Publish(message)) = one {
                    messages.push(message);
                } else if let Err(end) = self.react(&one).await {
                    return end;
                }
                event = match messages.len() < BURST_MESSAGES_MAX {
                    true => event_loop.state.events.pop_front(),
                    false => None,
                };
            }
            let count = messages.len();
            if count == 0 {
                continue;
            }
            if !self.hand_over(messages).await {
                return End::Unwatched;
            }
            if let Some(until) = pace.pause(count, Instant::now()) {
                sleep_until(until).await;
            }
        }
    }

    /// Subscribes once connected, and judges what comes of it.
    async fn react(&self, event: &Event) -> Result<(), End> {
        match event {
            Event::Incoming(Packet::ConnAck(_)) => {
                if let Some((topic, will)) = &self.online {
                    let options = PublishOptions::new(level(will.qos)).retain(will.retain);
                    let sent = self.client.try_publish(topic.as_str(), will.online.clone(), options);
                    sent.map_err(End::Queue)?;
                }
                if self.filters.is_empty() {
                    return self.tell(News::Connected).await;
                }
                let filters = self.filters.iter();
                let filters = filters.map(|(filter, qos)| SubscribeFilterInput::new(filter, *qos));
                self.client.try_subscribe_many(filters).map_err(End::Queue)
            }
            Event::Incoming(Packet::SubAck(ack)) => {
                let mut outcomes = self.filters.iter().zip(&ack.return_codes);
                match outcomes.find(|(_, code)| matches!(code, SubscribeReasonCode::Failure)) {
                    Some(((filter, _), _)) => Err(End::NotGranted(filter.clone())),
                    None => self.tell(News::Connected).await,
                }
            }
            _ => Ok(()),
        }
    }

    async fn tell(&self, news: News) -> Result<(), End> {
        self.news.send(news).await.map_err(|_| End::Unwatched)
    }

    /// Hands messages over, waiting for room but not for ever; false if nobody takes them any more.
    async fn hand_over(&self, messages: Vec<Publish>) -> bool {
        let size = |m: &Publish| m.topic.len() + m.payload.len() + MESSAGE_OVERHEAD_BYTES;
        let bytes = messages.iter().map(size).sum::<usize>().min(WAITING_BYTES_MAX);
        let bytes = u32::try_from(bytes).expect("at most WAITING_BYTES_MAX");
        let count = messages.len();
        let send = async {
            let room = self.room.clone().acquire_many_owned(bytes).await;
            let bytes = room.expect("the semaphore is never closed");
            self.news.send(News::Burst(Burst { messages, _bytes: bytes })).await
        };
        match timeout(self.wait, send).await {
            Ok(sent) => sent.is_ok(),
            Err(_) => {
                self.dropped.fetch_add(count as u64, Ordering::Relaxed);
                true
            }
        }
    }
}

fn level(qos: u8) -> QoS {
    match qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

/// What to announce, and where.
fn online(broker: &Broker, client_id: &str) -> Option<(String, Will)> {
    let will = broker.will.clone().unwrap_or_default();
    // Of the characters an id may have, a topic may not have these.
    let id = client_id.replace(['+', '#', '\0'], "_");
    let topic = will.topic.clone().unwrap_or_else(|| format!("watchpost/{id}/status"));
    broker.announce.then_some((topic, will))
}

fn options(config: &Config, target: &str) -> Result<MqttOptions, PollError> {
    let broker = &config.broker;
    let id = broker.client_id.clone().unwrap_or_else(|| {
        let host = nix::unistd::gethostname().unwrap_or_default();
        format!("watchpost-{}-{target}", host.to_string_lossy())
    });
    let url = &broker.url;
    let mut options = if url.scheme().starts_with("ws") {
        websocket(config, &id)?
    } else {
        let default = if broker.is_encrypted() { 8_883 } else { 1_883 };
        let host = url.host_str().unwrap_or_default();
        MqttOptions::new(&id, (host, url.port().unwrap_or(default)))
    };
    if url.scheme() == "mqtts" {
        options.set_transport(Transport::tls_with_config(tls(config)?));
    }
    let bytes_max = usize::try_from(broker.max_packet_size.0).unwrap_or(usize::MAX);
    let keep_alive = u16::try_from(broker.keep_alive.as_secs()).unwrap_or(u16::MAX);
    options
        .set_clean_session(broker.clean_session)
        .set_keep_alive(keep_alive)
        .set_max_packet_size(bytes_max, bytes_max)
        .set_read_batch_size(BURST_MESSAGES_MAX);
    match (&broker.username, &broker.password) {
        (Some(user), Some(password)) => {
            options.set_credentials(user, password.reveal().as_bytes().to_vec());
        }
        (Some(user), None) => {
            options.set_username(user);
        }
        _ => {}
    }
    if let Some((topic, will)) = online(broker, &id) {
        options.set_last_will(LastWill::new(topic, will.offline, level(will.qos), will.retain));
    }
    Ok(options)
}

fn websocket(config: &Config, id: &str) -> Result<MqttOptions, PollError> {
    let url = config.broker.url.as_str();
    let options = if config.broker.is_encrypted() {
        MqttOptions::websocket_with_tls_config(id, url, tls(config)?)
    } else {
        rumqttc::Broker::websocket(url).map(|broker| MqttOptions::new(id, broker))
    };
    options.map_err(|error| PollError::new(Reason::Unreachable, format!("{url}: {error}")))
}

fn tls(config: &Config) -> Result<TlsConfiguration, PollError> {
    let tls = config.tls.client_config();
    tls.map(|tls| TlsConfiguration::Rustls(Arc::new(tls)))
        .map_err(|error| PollError::new(Reason::Auth, format!("{}: {error}", config.broker.url)))
}

/// What an error of rumqttc's means.
fn explain(error: &ConnectionError) -> (Reason, String) {
    use rumqttc::mqttbytes::Error as Malformed;
    let reason = match error {
        ConnectionError::Io(error) | ConnectionError::Tls(TlsError::Io(error)) => {
            return of_io(error);
        }
        ConnectionError::MqttState(StateError::Io(error)) => return of_io(error),
        ConnectionError::MqttState(StateError::Deserialization(Malformed::Io(error))) => {
            return of_io(error);
        }
        ConnectionError::MqttState(StateError::Deserialization(
            Malformed::PayloadSizeLimitExceeded(bytes),
        )) => {
            return (
                Reason::Malformed,
                format!("a message of {bytes} bytes is larger than `max_packet_size`"),
            );
        }
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            return (Reason::Unreachable, "the broker closed the connection".to_owned());
        }
        ConnectionError::MqttState(StateError::AwaitPingResp)
        | ConnectionError::NetworkTimeout
        | ConnectionError::FlushTimeout => {
            return (Reason::Timeout, "the broker does not answer".to_owned());
        }
        ConnectionError::ConnectionRefused(code) => return refused(*code),
        ConnectionError::Tls(_) => Reason::Auth,
        ConnectionError::MqttState(_) | ConnectionError::NotConnAck(_) => Reason::Malformed,
        _ => Reason::Refused,
    };
    (reason, error.to_string())
}

fn of_io(error: &std::io::Error) -> (Reason, String) {
    // rustls speaks through I/O errors of this kind: a certificate that is not trusted, mostly.
    if error.kind() == std::io::ErrorKind::InvalidData {
        return (Reason::Auth, error.to_string());
    }
    (PollError::io("", error).reason, error.to_string())
}

fn refused(code: ConnectReturnCode) -> (Reason, String) {
    let (reason, words) = match code {
        ConnectReturnCode::BadUserNamePassword => {
            (Reason::Auth, "wrong user name or password")
        }
        ConnectReturnCode::NotAuthorized => (Reason::Auth, "not authorised"),
        ConnectReturnCode::BadClientId => (Reason::Refused, "the client id is not allowed"),
        ConnectReturnCode::ServiceUnavailable => (Reason::Refused, "the service is unavailable"),
        _ => (Reason::Refused, "the protocol version is not spoken"),
    };
    (reason, format!("the broker refuses the connection: {words}"))
}
