//! How much of the journal is kept, and how safely: its keys in `[store]`.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::config::parse_duration;
use crate::config::read::{Context, FromToml, Node, parsed};

/// When what is written is put on disk, where a power cut does not reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// This long after it was written, at most.
    Every(Duration),
    /// Before it counts as written.
    Always,
}

/// `"always"`, or how often at most.
impl FromToml for Fsync {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        parsed(node, "\"always\" or a duration such as \"1s\"", cx, |text| match text {
            "always" => Ok(Self::Always),
            _ => match parse_duration(text)? {
                Duration::ZERO => Err("must be \"always\", or longer than nothing".into()),
                interval => Ok(Self::Every(interval)),
            },
        })
    }
    fn schema() -> Json {
        json!({ "anyOf": [{ "const": "always" }, Duration::schema()] })
    }
}

/// How much is kept, and how safely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// When it is put on disk.
    pub fsync: Fsync,
    /// The most it takes on disk; beyond, the oldest goes. One segment may be over it.
    pub bytes_max: u64,
    /// How long it is kept for readers that have not read it.
    pub age_max: Duration,
    /// The most memory samples take while they cannot be written.
    pub memory_bytes_max: usize,
    /// A segment is closed at this length.
    pub segment_bytes: u64,
}

impl Limits {
    /// Memory for samples that cannot be written where no sink asks for more: about four million.
    pub const MEMORY_BYTES: usize = 64 << 20;

    /// What is read and deleted at once, and what one damaged definition can spoil.
    pub const SEGMENT_BYTES: u64 = 16 << 20;
}

/// What holds where nothing else is said.
impl Default for Limits {
    fn default() -> Self {
        crate::config::Store::default().journal_limits()
    }
}
