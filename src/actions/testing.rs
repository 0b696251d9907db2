//! Notices for the tests of actions.

use std::sync::Arc;

use super::Notice;
use crate::rules::{Severity, State};

/// An alert of this fingerprint fires.
pub(crate) fn firing(fingerprint: &str) -> Arc<Notice> {
    Arc::new(notice(fingerprint, State::Firing))
}

/// An alert of this fingerprint clears.
pub(crate) fn clearing(fingerprint: &str) -> Arc<Notice> {
    Arc::new(notice(fingerprint, State::Inactive))
}

/// A notice to make others of.
pub(crate) fn notice(fingerprint: &str, state: State) -> Notice {
    let labels = [("target".to_owned(), "gateway".to_owned())];
    Notice {
        flapping: false,
        affected: Vec::new(),
        rule: "gateway-down".into(),
        state,
        severity: Severity::Critical,
        labels: Arc::new(labels.into_iter().collect()),
        value: Some(31.5),
        reason: "31.5 > 30".into(),
        summary: "gateway does not answer".into(),
        description: String::new(),
        since: "2026-01-01T00:00:00.000Z".into(),
        at: "2026-01-01T00:00:05.000Z".into(),
        fingerprint: fingerprint.into(),
    }
}
