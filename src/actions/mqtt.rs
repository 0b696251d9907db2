//! `mqtt = { broker = "home", topic = "fan/set", payload = "ON" }`: publishes through the
//! connection of `[mqtt.home]`.
//!
//! Done is what the broker has acknowledged, or with QoS 0 what was sent. While the broker is not
//! connected nothing is queued: the try has failed, and the dispatcher tries again.

use std::sync::Arc;
use std::time::Duration;

use super::{Action, Kind, Notice, Rejected};
use crate::config::Located;
use crate::pollers::Shared;
use crate::template::Template;
use crate::wire::topic::check_topic;

crate::config! {
    /// Publishes a message through a broker.
    pub struct Config {
        /// The broker: the name of its `[mqtt.NAME]`.
        pub broker: Located<String>,
        /// Where to; a template.
        pub topic: Template,
        /// What; a template.
        pub payload: Template,
        /// Quality of service, 0 to 2.
        pub qos: u8 = 1,
        /// Whether the broker keeps it for those who subscribe later.
        pub retain: bool = false,
    }
    check(config, table) {
        let source = config.topic.source();
        if !source.contains(['{', '}']) && let Err(message) = check_topic(source) {
            table.error("topic", message);
        }
        if config.qos > 2 {
            table.error("qos", "must be 0, 1 or 2");
        }
    }
}

impl Kind for Config {
    type Action = Publish;

    const TELLS_PEOPLE: bool = false;

    fn target_name(&self) -> Option<(&'static str, Located<String>)> {
        Some(("mqtt", self.broker.clone()))
    }

    fn action(&self, _: Duration, shared: &Arc<Shared>) -> Publish {
        Publish { config: self.clone(), shared: shared.clone() }
    }
}

/// Publishes messages.
#[derive(Debug)]
pub struct Publish {
    config: Config,
    shared: Arc<Shared>,
}

impl Action for Publish {
    async fn fire(&self, notice: &Notice) -> Result<String, Rejected> {
        let Config { broker, topic, payload, qos, retain } = &self.config;
        let render = |what: &str, template: &Template| {
            let rendered = template.render(notice);
            rendered.map_err(|why| Rejected::Permanent(format!("cannot render the {what}: {why}")))
        };
        let source = topic.source();
        let topic = render("topic", topic)?;
        check_topic(&topic).map_err(Rejected::Permanent)?;
        // A label comes from outside, and must not choose another topic than was meant.
        if topic.matches('/').count() > source.matches('/').count() {
            return Err(Rejected::Permanent(format!("a label adds levels to the topic `{topic}`")));
        }
        let payload = render("payload", payload)?;
        let broker = &broker.value;
        let link = self.shared.brokers.get(broker).ok_or_else(|| {
            Rejected::temporary(format!("the broker `{broker}` is not connected"))
        })?;
        link.publish(&topic, payload.into_bytes(), *qos, *retain).await?;
        Ok(format!("published to {topic}"))
    }
}
