//! `/api/events`: what happens, as it happens, as server-sent events.
//!
//! `event: alert` carries a [`Notice`](crate::actions::Notice), `event: target` a
//! [`TargetEvent`](crate::events::TargetEvent), both as JSON. A client that comes back with
//! `Last-Event-ID` first gets what it missed, as far as [`Events`] keeps it. One that asks by
//! `?firing` first gets the alerts that fire, the worst first, as if they had just begun, and then
//! `event: current`, which says how many they are. One that reads slower than things happen is cut
//! off, and the loss is counted; one whose token is no longer the one demanded, or whose listener
//! ends, is sent away to come back.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::sse::{Event as Frame, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::access::Admission;
use super::prometheus::{Asked, error};
use super::{Daemon, Handle};
use crate::events::{Event, Events, Numbered};
use crate::metrics::{Counter, Gauge, Metrics};
use crate::rules;

/// Clients at once; one more is refused with 503. Each costs a connection and a place in the
/// broadcast; a page on every wall and a `watchpost notify` for every user stay below.
pub(super) const CLIENTS_MAX: usize = 64;

/// Silence after which a comment is sent, so that a dead client or proxy is noticed: below the
/// minute after which common proxies cut a silent connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Alerts told to a client that asks what fires: more than anybody reads; how many there are is
/// said.
const FIRING_MAX: usize = 100;

/// How soon a client should be back after it was cut off.
const RETRY: Duration = Duration::from_secs(2);

/// The live stream and the bounds of its clients.
pub(super) struct Stream {
    events: Events,
    places: Arc<Semaphore>,
    clients: Gauge,
    lost: Counter,
}

impl Stream {
    pub(super) fn new(events: Events, metrics: &Metrics) -> Self {
        Self {
            events,
            places: Arc::new(Semaphore::new(CLIENTS_MAX)),
            clients: metrics.gauge(
                "watchpost_api_event_clients",
                "Clients of the live stream.",
                &[],
            ),
            lost: metrics.counter(
                "watchpost_api_events_lost_total",
                "Events clients of the live stream missed for being too slow.",
                &[],
            ),
        }
    }

    fn taken(&self) -> f64 {
        (CLIENTS_MAX - self.places.available_permits()) as f64
    }
}

/// Why an event can be written.
const JSON: &str = "structs of strings and numbers are JSON";

/// One client, as long as it is connected.
struct Client<D> {
    /// What fires, for who has asked.
    firing: std::vec::IntoIter<Frame>,
    missed: std::vec::IntoIter<Numbered>,
    receiver: broadcast::Receiver<Numbered>,
    /// Cancelled when it may listen no longer.
    over: CancellationToken,
    api: Arc<super::Shared<D>>,
    place: Option<OwnedSemaphorePermit>,
    greeted: bool,
}

impl<D> Drop for Client<D> {
    fn drop(&mut self) {
        drop(self.place.take());
        self.api.stream.clients.set(self.api.stream.taken());
    }
}

impl<D> Client<D> {
    /// The next frame; `None` ends the stream.
    async fn next(&mut self) -> Option<Frame> {
        if !std::mem::replace(&mut self.greeted, true) {
            return Some(Frame::default().comment("watchpost").retry(RETRY));
        }
        if let Some(firing) = self.firing.next() {
            return Some(firing);
        }
        let events = &self.api.stream.events;
        if let Some(missed) = self.missed.next() {
            return Some(frame(&missed, events));
        }
        let received = tokio::select! {
            () = self.over.cancelled() => return None,
            received = self.receiver.recv() => received,
        };
        match received {
            Ok(event) => Some(frame(&event, events)),
            Err(RecvError::Closed) => None,
            Err(RecvError::Lagged(missed)) => {
                self.api.stream.lost.add(missed);
                tracing::warn!(missed, "a client of the live stream was too slow and is cut off");
                None
            }
        }
    }
}

fn frame(numbered: &Numbered, events: &Events) -> Frame {
    let (name, json) = match &numbered.event {
        Event::Alert(notice) => ("alert", serde_json::to_string(notice)),
        Event::Target(target) => ("target", serde_json::to_string(target)),
    };
    let json = json.expect(JSON);
    Frame::default().id(events.id(numbered.number)).event(name).data(json)
}

/// What people have been told of and still fires, and the id to come back with.
async fn firing<D: Daemon>(api: &super::Shared<D>) -> Vec<Frame> {
    // Before the question: what happens meanwhile is told twice rather than never.
    let id = api.stream.events.last_id();
    let alerts = api.daemon.alerts().await.unwrap_or_default().into_iter();
    let told = alerts.filter(|one| one.state == rules::State::Firing && one.held_back_by.is_none());
    let mut told: Vec<_> = told.collect();
    told.sort_by_key(|alert| (std::cmp::Reverse(alert.severity), std::cmp::Reverse(alert.since)));
    let count = told.len();
    let now = api.clock.now();
    let notices = told.iter().take(FIRING_MAX).map(|alert| {
        let json = serde_json::to_string(&alert.notice(now)).expect(JSON);
        Frame::default().event("alert").data(json)
    });
    let mut frames: Vec<_> = notices.collect();
    let current = serde_json::json!({ "firing": count }).to_string();
    frames.push(Frame::default().id(id).event("current").data(current));
    frames
}

/// The stream, for as long as the client listens.
pub(super) async fn stream<D: Daemon>(
    State(api): Handle<D>,
    Extension(Admission(over)): Extension<Admission>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let Ok(place) = api.stream.places.clone().try_acquire_owned() else {
        let message = format!("{CLIENTS_MAX} clients listen already");
        return error(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message);
    };
    api.stream.clients.set(api.stream.taken());
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let (missed, receiver) = match last {
        Some(id) => api.stream.events.subscribe_after(id),
        None => (Vec::new(), api.stream.events.subscribe()),
    };
    let firing = match Asked::new(uri.query()).first("firing") {
        Some(_) => firing(&api).await,
        None => Vec::new(),
    };
    let client = Client {
        firing: firing.into_iter(),
        missed: missed.into_iter(),
        receiver,
        over,
        api,
        place: Some(place),
        greeted: false,
    };
    let frames = stream::unfold(client, |mut client| async move {
        let frame = client.next().await?;
        Some((Ok::<_, Infallible>(frame), client))
    });
    Sse::new(frames).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}
