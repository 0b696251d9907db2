//! What a target can be: the trait every poller implements, and the one closed list of kinds.
//!
//! A poller reads its target once and says why it could not. It never sleeps, loops, retries, logs
//! or looks at a clock to decide anything: the [supervisor](crate::supervisor) owns time.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::config::Target;
use crate::config::read::FromTable;
use crate::sample::Readings;

pub mod format;
mod resolve;
mod shared;
#[cfg(test)]
pub(crate) mod testing;

pub use resolve::{Family, Resolver};
pub use shared::Shared;

/// Reads one target.
///
/// Dropping the future of `poll` must leave the poller fit for another poll: that is how a
/// deadline ends it. It connects lazily, inside `poll`, so that building one cannot fail.
pub trait Poller: Send + 'static {
    /// Reads the target once. What was written before an error is kept: a target may fail and
    /// still have something to say, like a status or a loss.
    fn poll(&mut self, out: &mut Readings) -> impl Future<Output = Result<(), PollError>> + Send;
}

/// When a target is polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cadence {
    /// Every interval of the target; a poll not done within its timeout, which is shorter, has failed
    /// with [`Reason::Timeout`].
    OnBeat,
    /// The target speaks when it likes: `poll` waits for it, and is called again at once. What a
    /// poll writes is news: other series keep their value.
    OnArrival {
        /// Silence longer than this is a failed poll.
        quiet: Option<Duration>,
    },
}

/// Why a poll failed, as a closed set: it labels `target_failures_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No answer in time.
    Timeout,
    /// No way there: no route, no name, no device, an unreachable message.
    Unreachable,
    /// The other side said no: connection refused, an error status, an SNMP error.
    Refused,
    /// An answer that makes no sense, or not the one that was expected.
    Malformed,
    /// Wrong or missing credentials, or not allowed by this system.
    Auth,
    /// A defect of watchpost: the poller panicked.
    Bug,
}

impl Reason {
    /// All there are, in the order of their declaration.
    pub const ALL: [Self; 6] =
        [Self::Timeout, Self::Unreachable, Self::Refused, Self::Malformed, Self::Auth, Self::Bug];

    /// The value of the label `reason`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::Malformed => "malformed",
            Self::Auth => "auth",
            Self::Bug => "bug",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failed poll.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {context}")]
pub struct PollError {
    /// Why, as a label.
    pub reason: Reason,
    /// Why, for a person: the operation and the object.
    pub context: String,
}

impl PollError {
    /// A failure with its reason and what was being done.
    pub fn new(reason: Reason, context: impl Into<String>) -> Self {
        Self { reason, context: context.into() }
    }

    /// A failure of the operating system's, its reason taken from the error's kind.
    pub fn io(operation: impl fmt::Display, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Kind;
        let reason = match error.kind() {
            Kind::TimedOut => Reason::Timeout,
            Kind::ConnectionRefused | Kind::ConnectionReset | Kind::ConnectionAborted => {
                Reason::Refused
            }
            Kind::PermissionDenied => Reason::Auth,
            Kind::InvalidData | Kind::UnexpectedEof => Reason::Malformed,
            _ => Reason::Unreachable,
        };
        Self::new(reason, format!("{operation}: {error}"))
    }
}

/// A kind of target: its table in the configuration, and how a poller is made of it.
pub trait Kind: FromTable + Clone + PartialEq + fmt::Debug + Send + Sync + 'static {
    /// What reads it.
    type Poller: Poller;

    /// The deadline of a poll where none is written and the interval allows it.
    const TIMEOUT: Duration = Duration::from_secs(2);

    /// When it is polled.
    fn cadence(&self) -> Cadence {
        Cadence::OnBeat
    }

    /// Checks what the kind's own keys say against the interval and the timeout, which are known
    /// only once everything is read; the message is shown at the target's table.
    ///
    /// # Errors
    /// What is wrong and what to do about it.
    fn check(&self, _interval: Duration, _timeout: Duration) -> Result<(), String> {
        Ok(())
    }

    /// Whether a tag of the target's is not for all its series, because the poller makes it of what
    /// it reads.
    fn sets_tag(&self, _name: &str) -> bool {
        false
    }

    /// Makes a poller, without touching the world: at start, and again after a panic.
    fn poller(&self, target: &Target, shared: &Arc<Shared>) -> Self::Poller;
}

crate::config::kinds! {
    /// The configuration of a target of any kind, each apart, so that it takes what it needs, and
    /// shared with the poller that wants to keep it.
    pub enum KindConfig {
        icmp Icmp,
        tcp Tcp,
        http Http,
        dns Dns,
        snmp Snmp,
        serial Serial,
        mqtt Mqtt,
        exec Exec,
        host Host,
    }
}

/// A [`Poller`] of any kind.
pub trait AnyPoller: Send {
    /// See [`Poller::poll`]. On the heap only while it lasts: of ten thousand targets few are polled
    /// at a time.
    fn poll<'a>(&'a mut self, out: &'a mut Readings) -> BoxFuture<'a, Result<(), PollError>>;
}

impl<P: Poller> AnyPoller for P {
    fn poll<'a>(&'a mut self, out: &'a mut Readings) -> BoxFuture<'a, Result<(), PollError>> {
        Box::pin(Poller::poll(self, out))
    }
}

/// A [`Kind`] without its types: what serves all targets is written, and compiled, once.
pub trait AnyKind {
    /// See [`Kind::TIMEOUT`].
    fn default_timeout(&self) -> Duration;
    /// See [`Kind::cadence`].
    fn cadence(&self) -> Cadence;
    /// See [`Kind::check`].
    ///
    /// # Errors
    /// What is wrong and what to do about it.
    fn check(&self, interval: Duration, timeout: Duration) -> Result<(), String>;
    /// See [`Kind::sets_tag`].
    fn sets_tag(&self, name: &str) -> bool;
    /// See [`Kind::poller`].
    fn poller(&self, target: &Target, shared: &Arc<Shared>) -> Box<dyn AnyPoller>;
}

impl<K: Kind> AnyKind for K {
    fn default_timeout(&self) -> Duration {
        K::TIMEOUT
    }

    fn cadence(&self) -> Cadence {
        Kind::cadence(self)
    }

    fn check(&self, interval: Duration, timeout: Duration) -> Result<(), String> {
        Kind::check(self, interval, timeout)
    }

    fn sets_tag(&self, name: &str) -> bool {
        Kind::sets_tag(self, name)
    }

    fn poller(&self, target: &Target, shared: &Arc<Shared>) -> Box<dyn AnyPoller> {
        Box::new(Kind::poller(self, target, shared))
    }
}
