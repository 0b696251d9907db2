//! What messages mean: from a topic, by a cache, to rows made ready, and from there to readings.
//!
//! This is the path of every message; in the steady state it copies and allocates nothing.

use rumqttc::Publish;
use rustc_hash::FxHashMap;

use super::{Broker, Tag, Topic};
use crate::pollers::format::{Plan, Reject, Rejects};
use crate::sample::{Readings, RowRef};
use crate::wire::topic::{Filter, LevelText};

/// Topics whose rows are kept ready. At the bound all are forgotten and found again: a topic that
/// changes with every message costs time, not memory.
const ROUTES_MAX: usize = 10_000;

/// Longer topics are not kept: at most ten megabytes of topics.
const ROUTE_BYTES_MAX: usize = 1_024;

/// All topics of a broker.
#[derive(Debug)]
pub struct Messages {
    accept_retained: bool,
    topics: Vec<TopicPlan>,
    routes: FxHashMap<Box<[u8]>, Vec<Leg>>,
    overflow: Rejects,
}

/// What the topics of one filter have in common.
#[derive(Debug)]
struct TopicPlan {
    filter: Filter,
    plan: Plan,
    tags: Vec<(String, LevelText)>,
    stale_after: Option<std::time::Duration>,
    rejects: Rejects,
}

/// What one topic means under one filter.
#[derive(Debug)]
struct Leg {
    topic: usize,
    row: RowRef,
    tags: Vec<(String, String)>,
    /// Whether the last message was a retained one.
    is_retained: bool,
}

impl Messages {
    /// Of a broker's topics.
    #[must_use]
    pub fn new(broker: &Broker) -> Self {
        Self {
            accept_retained: broker.accept_retained,
            topics: broker.topic.iter().map(TopicPlan::new).collect(),
            routes: FxHashMap::default(),
            overflow: Rejects::default(),
        }
    }

    /// Writes the readings of a message as a batch of their own.
    pub fn take(&mut self, message: &Publish, out: &mut Readings) {
        if message.retain && !self.accept_retained {
            return;
        }
        if let Some(legs) = self.routes.get_mut(&message.topic[..]) {
            follow(&mut self.topics, legs, message, out);
            return;
        }
        let mut legs = self.route(&message.topic, out);
        follow(&mut self.topics, &mut legs, message, out);
        if message.topic.len() <= ROUTE_BYTES_MAX {
            if self.routes.len() >= ROUTES_MAX {
                self.routes.clear();
            }
            self.routes.insert(message.topic[..].into(), legs);
        }
    }

    /// What a topic means, from the filters it matches.
    fn route(&self, topic: &[u8], out: &mut Readings) -> Vec<Leg> {
        // A topic is UTF-8 (MQTT 3.1.1 section 4.7.3); another matches nothing.
        let Ok(topic) = std::str::from_utf8(topic) else { return Vec::new() };
        let matching = self.topics.iter().enumerate().filter(|(_, t)| t.filter.matches(topic));
        let leg = |(at, plan): (usize, &TopicPlan)| {
            let tags: Vec<_> =
                plan.tags.iter().map(|(name, text)| (name.clone(), text.fill(topic))).collect();
            let row = out.row(&plan.plan.measurement, &borrowed(&tags));
            Leg { topic: at, row, tags, is_retained: false }
        };
        matching.map(leg).collect()
    }

    /// Writes how much was rejected, where that has changed; `dropped` messages more came faster
    /// than they could be taken.
    pub(super) fn write_rejects(&mut self, dropped: u64, out: &mut Readings) {
        self.overflow.add(Reject::Overflow, dropped);
        self.overflow.write("mqtt", &[], out);
        for topic in &mut self.topics {
            topic.rejects.write("mqtt", &[("filter", topic.filter.as_str())], out);
        }
    }
}

fn follow(topics: &mut [TopicPlan], legs: &mut [Leg], message: &Publish, out: &mut Readings) {
    for leg in legs {
        let topic = &mut topics[leg.topic];
        out.stale_after(topic.stale_after);
        let outcome = if topic.plan.has_one_row() {
            topic.plan.write(&message.payload, leg.row, &[], out)
        } else {
            topic.plan.write(&message.payload, leg.row, &borrowed(&leg.tags), out)
        };
        match outcome {
            Ok(()) if message.retain != leg.is_retained => {
                leg.is_retained = message.retain;
                out.set(leg.row, "retained", f64::from(u8::from(message.retain)));
            }
            Ok(()) => {}
            Err(reason) => topic.rejects.add(reason, 1),
        }
        out.stale_after(None);
    }
    out.cut();
}

fn borrowed(tags: &[(String, String)]) -> Vec<(&str, &str)> {
    tags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

impl TopicPlan {
    fn new(topic: &Topic) -> Self {
        let tags = &topic.subscription.tags;
        let levels = tags.iter().filter_map(|(name, tag)| match &tag.value {
            Tag::Levels(text) => Some((name.clone(), text.clone())),
            Tag::Pointer(_) => None,
        });
        let pointers = tags.iter().filter_map(|(name, tag)| match &tag.value {
            Tag::Pointer(pointer) => Some((name.clone(), pointer.clone())),
            Tag::Levels(_) => None,
        });
        Self {
            filter: topic.subscription.filter.value.clone(),
            plan: Plan::new(&topic.payload, "mqtt", &pointers.collect::<Vec<_>>()),
            tags: levels.collect(),
            stale_after: topic.subscription.stale_after,
            rejects: Rejects::default(),
        }
    }
}
