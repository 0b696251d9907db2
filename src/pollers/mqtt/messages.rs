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

    /// Writes the readings of messages, and returns how many they were.
    pub(super) fn take_all(&mut self, messages: &[Publish], out: &mut Readings) -> usize {
        messages.iter().for_each(|message| self.take(message, out));
        messages.len()
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use rumqttc::QoS;

    use super::*;
    use crate::config::Loader;
    use crate::pollers::KindConfig;
    use crate::sample::{Catalogue, Clock, TargetTags, Timestamp, Written};

    fn made(topic: &str) -> (Messages, Readings) {
        let text = format!("[mqtt.x]\nurl = 'mqtt://x'\n[[mqtt.x.topic]]\n{topic}");
        let loader = Loader { env: &|_| None };
        let config = loader.load_text(Path::new("test.toml"), &text).unwrap();
        let KindConfig::Mqtt(kind) = &config.targets[0].kind else { panic!("an mqtt target") };
        let clock = Arc::new(Clock::starting_at(Timestamp::from_secs(1)));
        let tags = TargetTags { target: "x".into(), tags: Arc::default() };
        let out = Readings::new(Arc::new(Catalogue::default()), clock, tags);
        (Messages::new(&kind.broker), out)
    }

    #[test]
    fn topics_that_never_end_cost_no_memory_without_end() {
        let (mut messages, mut out) = made("filter = '#'\nformat = 'number'");
        for n in 0..ROUTES_MAX + 10 {
            messages.take(&Publish::new(format!("t/{n}"), QoS::AtMostOnce, "1"), &mut out);
        }
        assert_eq!(messages.routes.len(), 10);
        let long = "x".repeat(ROUTE_BYTES_MAX + 1);
        messages.take(&Publish::new(long, QoS::AtMostOnce, "1"), &mut out);
        assert_eq!(messages.routes.len(), 10);
        assert_eq!(out.finish(Written::News).len(), ROUTES_MAX + 11);
    }

    #[test]
    fn labels_out_of_topics_and_payloads_are_bounded() {
        let (mut messages, mut out) = made(
            "filter = '+/#'\nformat = 'json'\nfields = { v = '/v' }\n\
             tags = { a = '{0}', b = { at = '/b' } }",
        );
        let long = "x".repeat(60_000);
        let fine = Publish::new(long.clone(), QoS::AtMostOnce, r#"{"v":1}"#);
        messages.take(&fine, &mut out);
        let payload = format!(r#"{{"v":1,"b":"{}"}}"#, "y".repeat(100_000));
        messages.take(&Publish::new("a", QoS::AtMostOnce, payload), &mut out);
        assert_eq!(out.rejected(), 2);
        assert_eq!(out.series_len(), 0);
        assert!(out.finish(Written::News).is_empty());
    }

    #[test]
    fn a_message_is_a_batch_and_overlapping_filters_share_it() {
        let (mut messages, mut out) = made(
            "filter = 'a/+'\nformat = 'number'\n\
             [[mqtt.x.topic]]\nfilter = '#'\nformat = 'number'\nfield = 'other'",
        );
        for payload in ["1", "2"] {
            messages.take(&Publish::new("a/b", QoS::AtMostOnce, payload), &mut out);
        }
        messages.take(&Publish::new("c", QoS::AtMostOnce, "3"), &mut out);
        let sizes: Vec<_> =
            out.finish(Written::News).iter().map(|batch| batch.samples.len()).collect();
        assert_eq!(sizes, [2, 2, 1]);
    }
}
