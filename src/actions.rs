//! What answers alerts: the trait every action implements, the one closed list of kinds, and what
//! a notice is.
//!
//! An action does one thing once and says why it could not. It never queues, waits for its turn,
//! retries or logs: the [dispatcher](Actions) gives each its timeout, its retries and its place in
//! the queue, so that a failing or hanging action delays no other.

mod board;
mod dispatcher;
mod line;
mod outbox;
mod queue;
#[cfg(test)]
pub(crate) mod testing;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

pub use board::{ActionBoard, ActionStatus};
pub use dispatcher::Actions;
use futures_util::future::BoxFuture;
pub use line::LastTry;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::config::Located;
use crate::config::read::{Context, FromTable, Key, Node, Table, table_schema};
use crate::pollers::Shared;
use crate::rules::{Labels, Severity, State};
pub use crate::sinks::Rejected;

/// What an action is told: one alert fired or cleared. Its JSON form is what webhooks get by
/// default and what `exec` gets on standard input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// The rule's name.
    pub rule: Arc<str>,
    /// `firing`, or `inactive` when it cleared.
    pub state: State,
    /// How bad it is.
    pub severity: Severity,
    /// The alert's labels.
    pub labels: Arc<Labels>,
    /// The value that decided, if data did.
    pub value: Option<f64>,
    /// Why.
    pub reason: String,
    /// One line for people.
    pub summary: String,
    /// More for people.
    pub description: String,
    /// Whether it comes and goes too often to tell each time.
    #[serde(default)]
    pub flapping: bool,
    /// Alerts nobody is told of because of this one: what depends on it. At most some fifty.
    #[serde(default)]
    pub affected: Vec<String>,
    /// Since when the rule has held, RFC 3339.
    pub since: String,
    /// When this happened, RFC 3339.
    pub at: String,
    /// Names the alert (rule and labels): the same for its firing and its clearing, 16 hex digits.
    pub fingerprint: String,
}

/// Does something about a notice. Must be safe to repeat; classifies failures, never retries.
///
/// Several notices may be under way at once, of different alerts. Dropping the future ends the try:
/// whatever it started must end with it.
pub trait Action: Send + Sync + 'static {
    /// Does it; the text says what came of it, for the log.
    fn fire(&self, notice: &Notice) -> impl Future<Output = Result<String, Rejected>> + Send;
}

/// A kind of action: the value of its key in `[action.NAME]`, and how an action is made of it.
pub trait Kind: FromTable + Clone + PartialEq + fmt::Debug + Send + Sync + 'static {
    /// What does it.
    type Action: Action;

    /// Whether it tells people something, or else changes the world. People also want to hear of
    /// the end, and rather late than never; a valve must not be closed twice, nor an hour late.
    const TELLS_PEOPLE: bool;

    /// How much longer than its timeout a try may take, for kinds that end it themselves.
    const GRACE: Duration = Duration::ZERO;

    /// The timeout of a try, for kinds that have a key for it among their own.
    fn timeout(&self) -> Option<Duration> {
        None
    }

    /// The target it goes through, if it does: kind and name, such as `mqtt` and a broker's.
    fn target_name(&self) -> Option<(&'static str, Located<String>)> {
        None
    }

    /// Makes an action, without touching the world. It need not heed the timeout of a try unless
    /// it has a [grace](Kind::GRACE): the dispatcher ends one that takes longer.
    fn action(&self, timeout: Duration, shared: &Arc<Shared>) -> Self::Action;
}

crate::config::kinds! {
    /// What an action does: the one key of its table that names a kind.
    pub enum KindConfig {
        webhook Webhook,
        exec Exec,
        snmp Snmp,
        desktop Desktop,
        mqtt Mqtt,
        serial Serial,
        log Log,
    }
}

/// An [`Action`] of any kind.
pub trait AnyAction: Send + Sync {
    /// See [`Action::fire`].
    fn fire<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<String, Rejected>>;
}

impl<A: Action> AnyAction for A {
    fn fire<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<String, Rejected>> {
        Box::pin(Action::fire(self, notice))
    }
}

/// A [`Kind`] without its types: what serves all actions is written, and compiled, once.
pub trait AnyKind {
    /// See [`Kind::TELLS_PEOPLE`].
    fn tells_people(&self) -> bool;
    /// See [`Kind::GRACE`].
    fn grace(&self) -> Duration;
    /// See [`Kind::timeout`].
    fn timeout(&self) -> Option<Duration>;
    /// See [`Kind::target_name`].
    fn target_name(&self) -> Option<(&'static str, Located<String>)>;
    /// See [`Kind::action`].
    fn action(&self, timeout: Duration, shared: &Arc<Shared>) -> Arc<dyn AnyAction>;
}

impl<K: Kind> AnyKind for K {
    fn tells_people(&self) -> bool {
        K::TELLS_PEOPLE
    }

    fn grace(&self) -> Duration {
        K::GRACE
    }

    fn timeout(&self) -> Option<Duration> {
        Kind::timeout(self)
    }

    fn target_name(&self) -> Option<(&'static str, Located<String>)> {
        Kind::target_name(self)
    }

    fn action(&self, timeout: Duration, shared: &Arc<Shared>) -> Arc<dyn AnyAction> {
        Arc::new(Kind::action(self, timeout, shared))
    }
}

impl KindConfig {
    /// The kinds as keys of an action's table, for the JSON Schema.
    fn as_keys() -> impl Iterator<Item = Key> {
        Self::NAMES.iter().map(|&name| Key {
            name,
            description: format!("An action of the kind `{name}`."),
            required: false,
            schema: table_schema(&Self::keys(name)),
        })
    }
}

crate::config! {
    /// The keys every action may have, whatever its kind.
    struct Common {
        /// The longest a try may take; default 10s.
        timeout: Option<Located<Duration>>,
        /// How often a try that failed is repeated before the notice is given up on; default 12
        /// (at most seven minutes) for kinds that tell people, 3 (some seconds) for the others.
        retries: Option<u32>,
        /// How many notices may be under way at once, each of another alert.
        concurrency: u32 = 4,
        /// Whether it also gets the end of alerts whose rule names it in `actions` and has no
        /// `on_clear`; default true for kinds that tell people, false for the others.
        recoveries: Option<bool>,
    }
    check(common, table) {
        if !(1..=CONCURRENCY_MAX).contains(&common.concurrency) {
            table.error("concurrency", format!("must be from 1 to {CONCURRENCY_MAX}"));
        }
        if common.retries.is_some_and(|retries| retries > RETRIES_MAX) {
            table.error("retries", format!("must be at most {RETRIES_MAX}"));
        }
    }
}

/// Where no timeout is written: longer than a healthy receiver needs, short enough to try again.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Retries to tell people: with the jittered backoff some four minutes and at most seven, so that a
/// restart or a short outage of the receiver loses nothing.
const RETRIES_TELLING: u32 = 12;

/// Retries to change the world: some seconds, after which the reason for it may be gone.
const RETRIES_CHANGING: u32 = 3;

/// More retries than this, a minute apart, are days: nobody waits for that notice any more.
const RETRIES_MAX: u32 = 10_000;

/// More at once than this is an attack on the receiver.
const CONCURRENCY_MAX: u32 = 256;

/// The configuration of an action of any kind, and how it is run.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionConfig {
    /// What it does.
    pub kind: KindConfig,
    /// The longest a try may take.
    pub timeout: Duration,
    /// How often a try that failed is repeated.
    pub retries: u32,
    /// How many notices may be under way at once.
    pub concurrency: usize,
    /// Whether it gets the end of alerts that only name it for their beginning.
    pub recoveries: bool,
}

impl ActionConfig {
    /// An action of a kind, with everything else as it is by default.
    #[must_use]
    pub fn new(kind: KindConfig) -> Self {
        let tells = kind.any().tells_people();
        Self {
            timeout: kind.any().timeout().unwrap_or(TIMEOUT),
            retries: if tells { RETRIES_TELLING } else { RETRIES_CHANGING },
            concurrency: 4,
            recoveries: tells,
            kind,
        }
    }

    /// Reads `[action.NAME]`.
    pub(crate) fn read(node: &Node<'_>, shown: &str, cx: &mut Context<'_>) -> Option<Self> {
        let mut table = Table::new(node, shown, cx)?;
        let common = Common::from_table(&mut table);
        let mut kinds = Vec::new();
        for name in KindConfig::NAMES {
            kinds.extend(table.node(name).map(|node| (*name, node)));
        }
        let listed = KindConfig::NAMES.join(", ");
        let kind = match kinds.as_slice() {
            [(name, node)] => {
                let own = Table::new(node, format!("{shown}.{name}"), table.cx);
                own.and_then(|mut own| {
                    let read = KindConfig::read(name, &mut own);
                    own.finish();
                    read
                })
            }
            [] => {
                let span = table.span();
                let message = format!("[{shown}] lacks the key that says what it does");
                table.cx.error_with_help(span, message, format!("one of {listed}"));
                None
            }
            [(first, _), (second, node), ..] => {
                let message = format!("`{first}` and `{second}` are two actions: one a table");
                table.cx.error_with_help(node.span(), message, format!("one of {listed}"));
                None
            }
        };
        if let (Some(kind), Some(common)) = (&kind, &common)
            && let (Some(_), Some(timeout)) = (kind.any().timeout(), &common.timeout)
        {
            let message = format!("the timeout is also given in `{}`", kind.name());
            table.cx.error(timeout.place.span.clone(), message);
        }
        table.finish();
        let (common, config) = (common?, Self::new(kind?));
        Some(Self {
            timeout: common.timeout.map_or(config.timeout, |timeout| timeout.value),
            retries: common.retries.unwrap_or(config.retries),
            concurrency: common.concurrency as usize,
            recoveries: common.recoveries.unwrap_or(config.recoveries),
            kind: config.kind,
        })
    }

    /// The JSON Schema of an action's table.
    pub(crate) fn schema() -> Json {
        let mut keys = Common::keys();
        keys.extend(KindConfig::as_keys());
        let mut schema = table_schema(&keys);
        let one = |name: &&str| serde_json::json!({ "required": [name] });
        schema["oneOf"] = KindConfig::NAMES.iter().map(one).collect();
        schema
    }
}
