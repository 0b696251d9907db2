//! What is known of a series or of another output, for who asks.

use std::time::Duration;

use crate::rules::Labels;
use crate::sample::Timestamp;

/// An output of a rule's front, and what was found of it last.
#[derive(Debug)]
pub(super) struct Known {
    /// As PromQL writes it.
    pub(super) series: String,
    /// Of its alert, whether there is one or not.
    pub(super) labels: Labels,
    /// When its data was heard of last.
    pub(super) last: Timestamp,
    /// The last value, or the stale mark.
    pub(super) value: f64,
    /// How long the value counts; `None`: until its front says otherwise.
    pub(super) lookback: Option<Duration>,
    /// Its alert, where there is one.
    pub(super) alert: Option<u32>,
}
