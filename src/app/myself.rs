//! The daemon's own counters as series, so that they can be judged, kept and looked at like those
//! of any target, with nothing else that scrapes `/metrics`.

use std::future::Future;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::pipeline::Handle;
use crate::sample::{Readings, TargetTags, Written};
use crate::supervisor::Env;

/// How often: as often as targets are polled by default.
const INTERVAL: Duration = Duration::from_secs(10);

/// The tag `target` of its series.
const NAME: &str = "watchpost";

/// Puts the counters into the pipeline until it is stopped.
pub(super) fn observe(
    env: &Env,
    site: Option<String>,
    pipeline: Handle,
    stop: CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let site = site.map(|site| ("site".into(), site.into()));
    let tags: Vec<_> = site.into_iter().chain([("target".into(), NAME.into())]).collect();
    let tags = TargetTags { target: NAME.into(), tags: tags.into() };
    let metrics = env.metrics.clone();
    let mut readings = Readings::new(env.catalogue.clone(), env.shared.clock.clone(), tags);
    let mut due = interval(INTERVAL);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = due.tick() => {}
            }
            metrics.each(|name, labels, value| {
                let Some((measurement, field)) = name.split_once('_') else { return };
                readings.push_tagged(measurement, field, labels, value);
            });
            if pipeline.push(readings.finish(Written::Everything)).await.is_none() {
                return;
            }
        }
    }
}
