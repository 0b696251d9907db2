//! The configuration: TOML as written in, every mistake at once out, or a [`Config`] past doubting.
//!
//! Each component declares its own table (see [`config!`](crate::config!)); this module puts them
//! together, follows `include` and `rules`, and checks what one table says about another.

mod built_in;
mod changes;
pub mod diagnostic;
mod kinds;
mod load;
pub mod read;
mod schema;
mod types;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use changes::Changes;
pub use diagnostic::{Diagnostics, FileId, Place};
pub(crate) use kinds::kinds;
pub use load::Loader;
pub use read::Located;
pub use schema::schema;
pub use types::{ByteSize, Glob, HostPort, Regex, Secret, parse_duration, show_duration};
pub(crate) use types::{no_url, read_bounded};

use crate::actions::ActionConfig;
use crate::journal::{Fsync, Limits};
use crate::pollers::KindConfig;
use crate::rules::RuleConfig;
use crate::sample::Tags;
use crate::sinks::SinkConfig;

/// Everything watchpost was told, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where this is, as a tag of every series.
    pub site: Option<String>,
    /// Where state is kept.
    pub state_dir: PathBuf,
    /// The HTTP listener.
    pub api: Api,
    /// The embedded store.
    pub store: Store,
    /// What is polled.
    pub targets: Vec<Arc<Target>>,
    /// Where samples go.
    pub sinks: Vec<Named<SinkConfig>>,
    /// What answers alerts.
    pub actions: Vec<Named<ActionConfig>>,
    /// What is judged.
    pub rules: Vec<Arc<Named<RuleConfig>>>,
    /// Which file each rule is in, by the rule's name.
    pub rule_files: BTreeMap<Arc<str>, Arc<str>>,
}

impl Config {
    /// Where the store is kept.
    #[must_use]
    pub fn store_dir(&self) -> PathBuf {
        self.state_dir.join("store")
    }

    /// Where the journal is kept.
    #[must_use]
    pub fn journal_dir(&self) -> PathBuf {
        self.state_dir.join("journal")
    }
}

/// A table with its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Named<T> {
    /// The last part of the table's name.
    pub name: Arc<str>,
    /// What the table says.
    pub value: T,
}

/// One thing that is polled.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The last part of its table's name; the value of the tag `target`.
    pub name: Arc<str>,
    /// From the start of one poll to the start of the next.
    pub interval: Duration,
    /// The deadline of a poll, below the interval.
    pub timeout: Duration,
    /// The tags every series of it carries: `target`, `kind`, `site` and its own.
    pub tags: Tags,
    /// What it is.
    pub kind: KindConfig,
}

impl Target {
    /// Its table's name, unique among targets: `icmp.gateway`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}.{}", self.kind.name(), self.name)
    }
}

crate::config! {
    /// The keys every target may have, whatever its kind.
    pub struct Common {
        /// From the start of one poll to the start of the next; default from `[defaults]`.
        pub interval: Option<Located<Duration>>,
        /// The deadline of a poll; must be below the interval.
        pub timeout: Option<Located<Duration>>,
        /// Tags of every series of this target. Those of a serial port may have places in its lines:
        /// `{/id}`, `{name}` or `{#2}`.
        pub tags: BTreeMap<String, String>,
    }
    check(common, table) {
        for own in ["target", "kind", "site"] {
            if common.tags.contains_key(own) {
                table.error("tags", format!("the tag `{own}` is set by watchpost; choose another name"));
            }
        }
        if common.tags.keys().any(String::is_empty) {
            table.error("tags", "a tag needs a name");
        }
    }
}

crate::config! {
    /// What targets have that do not say otherwise.
    pub struct Defaults {
        /// From the start of one poll to the start of the next.
        pub interval: Duration = Duration::from_secs(10),
        /// The deadline of a poll; must be below the interval.
        pub timeout: Option<Duration>,
    }
    check(defaults, table) {
        if defaults.timeout.is_some_and(|timeout| timeout >= defaults.interval) {
            table.error("timeout", "must be below the interval");
        }
    }
}

crate::config! {
    /// The HTTP listener: health, metrics, the API and the page.
    pub struct Api {
        /// Address and port to listen on.
        pub listen: SocketAddr = Self::DEFAULT_LISTEN,
        /// What a client must present as `Authorization: Bearer …`.
        pub token: Option<Secret>,
        /// Listen to the world without a token all the same.
        pub insecure: bool = false,
    }
    check(api, table) {
        if api.token.as_ref().is_some_and(|token| token.reveal().is_empty()) {
            table.error("token", "the token is empty");
        }
        if !api.listen.ip().is_loopback() && api.token.is_none() && !api.insecure {
            table.error("listen", format!(
                "{} is open to the network: set a token, or say `insecure = true`", api.listen
            ));
        }
    }
}

impl Api {
    /// The default address.
    pub const DEFAULT_LISTEN: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9465);
}

impl Default for Api {
    fn default() -> Self {
        Self { listen: Self::DEFAULT_LISTEN, token: None, insecure: false }
    }
}

crate::config! {
    /// The embedded store.
    pub struct Store {
        /// Whether samples are remembered; otherwise only sinks keep them.
        pub enabled: bool = true,
        /// How long samples are kept as they came.
        pub retention: Duration = Self::DEFAULT_RETENTION,
        /// How long minimum, maximum, mean and count of every five minutes; not kept at all where
        /// that is no longer than the samples themselves.
        pub retention_5m: Duration = Self::DEFAULT_RETENTION_5M,
        /// How long those of every hour.
        pub retention_1h: Duration = Self::DEFAULT_RETENTION_1H,
        /// The most the store may take on disk; then the oldest files go.
        pub max_size: ByteSize = Self::DEFAULT_SIZE,
        /// How much older than the newest of its series a sample may be and still be kept.
        pub late_window: Duration = Self::DEFAULT_LATE_WINDOW,
        /// When the journal before the store and the sinks is put on disk, out of reach of power
        /// cuts: a duration at most after it was written, or `always` before it counts as written.
        pub fsync: Fsync = Self::DEFAULT_FSYNC,
        /// The most the journal may take on disk while a sink cannot be written to; then the oldest
        /// samples go.
        pub journal_max_size: ByteSize = Self::DEFAULT_JOURNAL_SIZE,
        /// How long the journal keeps samples for a sink that cannot be written to.
        pub journal_max_age: Duration = Self::DEFAULT_JOURNAL_AGE,
    }
    check(store, table) {
        if store.journal_max_size < Self::JOURNAL_SIZE_MIN {
            table.error("journal_max_size", "must be at least 32MiB, which is two of its files");
        }
    }
}

impl Store {
    /// A month.
    pub const DEFAULT_RETENTION: Duration = Duration::from_secs(30 * 86_400);
    /// A season.
    pub const DEFAULT_RETENTION_5M: Duration = Duration::from_secs(120 * 86_400);
    /// This year and the one before.
    pub const DEFAULT_RETENTION_1H: Duration = Duration::from_secs(730 * 86_400);
    /// All of the above for some 1,500 series read every ten seconds.
    pub const DEFAULT_SIZE: ByteSize = ByteSize(2 << 30);
    /// A device that was out of reach for so long may tell what it missed.
    pub const DEFAULT_LATE_WINDOW: Duration = Duration::from_secs(3_600);
    /// What a power cut may take by default.
    pub const DEFAULT_FSYNC: Fsync = Fsync::Every(Duration::from_secs(1));
    /// A day of a thousand samples a second.
    pub const DEFAULT_JOURNAL_SIZE: ByteSize = ByteSize(1 << 30);
    /// A database that is away for longer has been forgotten.
    pub const DEFAULT_JOURNAL_AGE: Duration = Duration::from_secs(7 * 86_400);
    /// With less, what is being written would push out what is being read.
    const JOURNAL_SIZE_MIN: ByteSize = ByteSize(32 << 20);

    /// What the store may keep.
    #[must_use]
    pub fn limits(&self) -> crate::store::Limits {
        crate::store::Limits {
            raw: self.retention,
            five_minutes: self.retention_5m,
            hour: self.retention_1h,
            bytes: self.max_size.0,
            late: self.late_window,
        }
    }

    /// Whether what else it says is the same: that changes only at a restart.
    #[must_use]
    pub fn starts_like(&self, other: &Self) -> bool {
        self.enabled == other.enabled
            && self.fsync == other.fsync
            && self.journal_max_size == other.journal_max_size
            && self.journal_max_age == other.journal_max_age
    }

    /// What the journal may take.
    #[must_use]
    pub fn journal_limits(&self) -> Limits {
        Limits {
            fsync: self.fsync,
            bytes_max: self.journal_max_size.0,
            age_max: self.journal_max_age,
            memory_bytes_max: Limits::MEMORY_BYTES,
            segment_bytes: Limits::SEGMENT_BYTES,
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self {
            enabled: true,
            retention: Self::DEFAULT_RETENTION,
            retention_5m: Self::DEFAULT_RETENTION_5M,
            retention_1h: Self::DEFAULT_RETENTION_1H,
            max_size: Self::DEFAULT_SIZE,
            late_window: Self::DEFAULT_LATE_WINDOW,
            fsync: Self::DEFAULT_FSYNC,
            journal_max_size: Self::DEFAULT_JOURNAL_SIZE,
            journal_max_age: Self::DEFAULT_JOURNAL_AGE,
        }
    }
}
