//! What messages mean: from a topic, by a cache, to rows made ready, and from there to readings.
//!
//! This is the path of every message; in the steady state it copies and allocates nothing.

use rumqttc::Publish;
use rustc_hash::{FxHashMap, FxHashSet};

use super::{Broker, Topic};
use crate::pollers::format::{Plan, Reject, Rejects, TagText};
use crate::sample::{Readings, RowRef};
use crate::wire::topic::Filter;

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
    tags: Vec<(String, TagText)>,
    stale_after: Option<std::time::Duration>,
    rejects: Rejects,
}

/// What one topic means under one filter.
#[derive(Debug)]
struct Leg {
    topic: usize,
    /// Where its readings go if they all go into one row.
    row: RowRef,
    /// Its tags with the topic's levels in them; none where the row is all there is to know.
    tags: Vec<(String, TagText)>,
    /// The rows whose last message was a retained one.
    retained: FxHashSet<RowRef>,
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
    fn route(&mut self, topic: &[u8], out: &mut Readings) -> Vec<Leg> {
        // A topic is UTF-8 (MQTT 3.1.1 section 4.7.3); another matches nothing.
        let Ok(topic) = std::str::from_utf8(topic) else { return Vec::new() };
        let matching = self.topics.iter_mut().enumerate().filter(|(_, t)| t.filter.matches(topic));
        let leg = |(at, plan): (usize, &mut TopicPlan)| {
            let tags = plan.tags.iter().map(|(name, text)| (name.clone(), text.at_topic(topic)));
            let mut tags: Vec<_> = tags.collect();
            let row = plan.plan.row(&tags, out);
            if plan.plan.has_one_row() {
                tags = Vec::new();
            }
            Leg { topic: at, row, tags, retained: FxHashSet::default() }
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
        match topic.plan.write(&message.payload, leg.row, &leg.tags, out) {
            Ok(taken) => {
                if taken.lacks_tag {
                    topic.rejects.add(Reject::Tag, 1);
                }
                if message.retain || !leg.retained.is_empty() {
                    leg.mark(taken.row, message.retain, out);
                }
            }
            Err(reason) => topic.rejects.add(reason, 1),
        }
        out.stale_after(None);
    }
    out.cut();
}

impl Leg {
    /// Writes whether a row's last message was a retained one, where that has changed.
    fn mark(&mut self, row: RowRef, is_retained: bool, out: &mut Readings) {
        let has_changed = match is_retained {
            true => self.retained.insert(row),
            false => self.retained.remove(&row),
        };
        if has_changed {
            out.set(row, "retained", f64::from(u8::from(is_retained)));
        }
    }
}

impl TopicPlan {
    fn new(topic: &Topic) -> Self {
        let tags = &topic.subscription.tags;
        Self {
            filter: topic.subscription.filter.value.clone(),
            plan: Plan::new(&topic.payload, "mqtt", tags.values().map(|tag| &tag.value)),
            tags: tags.iter().map(|(name, tag)| (name.clone(), tag.value.clone())).collect(),
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
             tags = { a = '{0}', b = '{/b}' }",
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
    fn ids_out_of_payloads_end_at_the_bound_and_without_readings_make_nothing() {
        let (mut messages, mut out) =
            made("filter = '#'\nformat = 'json'\nfields = { v = '/v' }\ntags = { id = '{/id}' }");
        let mut take = |payload: String| {
            messages.take(&Publish::new("t", QoS::AtMostOnce, payload), &mut out);
        };
        (0..10).for_each(|n| take(format!(r#"{{"v":"x","id":{n}}}"#)));
        (0..10).for_each(|n| take(format!(r#"{{"id":{n}}}"#)));
        (0..100_010).for_each(|n| take(format!(r#"{{"v":1,"id":{n}}}"#)));
        assert_eq!(messages.routes.len(), 1);
        assert!((99_990..=100_000).contains(&out.series_len()), "{}", out.series_len());
        assert_eq!(out.rejected(), 100_010 - out.series_len() as u64);
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
