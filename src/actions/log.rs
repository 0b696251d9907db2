//! `log = {}`: writes the notice to watchpost's own log, at a level that fits its severity.

use std::sync::Arc;
use std::time::Duration;

use super::{Action, Kind, Notice, Rejected};
use crate::pollers::Shared;
use crate::rules::{Severity, State};

crate::config! {
    /// Writes notices to the log.
    pub struct Config {}
}

impl Kind for Config {
    type Action = Log;

    const TELLS_PEOPLE: bool = true;

    fn action(&self, _: Duration, _: &Arc<Shared>) -> Log {
        Log
    }
}

/// Writes notices to the log.
#[derive(Debug)]
pub struct Log;

impl Action for Log {
    async fn fire(&self, notice: &Notice) -> Result<String, Rejected> {
        // The level of an event is part of its call site, hence three of them.
        macro_rules! write {
            ($level:ident) => {
                tracing::$level!(
                    target: "watchpost::alert",
                    rule = %notice.rule,
                    state = %notice.state,
                    severity = notice.severity.as_str(),
                    value = notice.value,
                    reason = %notice.reason,
                    labels = ?notice.labels,
                    since = %notice.since,
                    "{}",
                    notice.summary
                )
            };
        }
        match notice.severity {
            _ if notice.state != State::Firing => write!(info),
            Severity::Info => write!(info),
            Severity::Warning => write!(warn),
            Severity::Critical => write!(error),
        }
        Ok("written".into())
    }
}
