//! SNMP: single values and tables of an agent, in versions 1, 2c and 3.
//!
//! What to read is written in the target's table or in profiles, as OIDs: no MIB is compiled, no
//! name looked up. A poll is a conversation of its own: new socket, new session. Traps are not
//! received, and nothing is written but by the `snmp` action.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use snmp2::snmp;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::config::Target;
use crate::config::read::{FromTable, FromToml, Key, Table};
use crate::pollers::{Kind, PollError, Poller, Reason, Shared};
use crate::sample::Readings;
use crate::wire::oid::Oid;

mod access;
mod profile;
mod session;
mod set;
mod table;
mod value;
mod walk;

pub use access::{Access, Authentication, KeyExtension, Privacy, Version};
pub use profile::{Field, Named, Profile, Scalar, Table as TableConfig, Tag};
pub use set::{SetError, Setting, ValueType, set};

use session::{Memory, Reply, Request, Session};

/// `[snmp.NAME]`: an agent, and what to read of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// How to get at it.
    pub access: Arc<Access>,
    /// What to read: profiles, and last what the target's own table says.
    pub profiles: Arc<[Named]>,
}

impl FromTable for Config {
    fn from_table(table: &mut Table<'_, '_, '_>) -> Option<Self> {
        let access = Access::from_table(table);
        let profiles = table.get::<Vec<Named>>("profiles");
        let own = Profile::from_table(table);
        if !["profiles", "get", "table"].iter().any(|key| table.has(key)) {
            let name = table.name();
            let message = format!("[{name}] reads nothing: give it `profiles`, `get` or `table`");
            table.error("host", message);
        }
        let (mut profiles, own) = (profiles?, own?);
        profiles.push(Named { name: String::new(), profile: Arc::new(own) });
        Some(Self { access: Arc::new(access?), profiles: profiles.into() })
    }

    fn keys() -> Vec<Key> {
        let mut keys = Access::keys();
        keys.push(Key {
            name: "profiles",
            description: "What to read, from files: `system`, `interfaces`, or the path of a file \
                          of your own, which has a slash in it or ends in `.toml`."
                .to_owned(),
            required: false,
            schema: Vec::<Named>::schema(),
        });
        keys.extend(Profile::keys());
        keys
    }
}

impl Kind for Config {
    type Poller = Snmp;

    /// A large table of a slow agent takes its time; bounded by the interval.
    const TIMEOUT: Duration = Duration::from_secs(30);

    fn poller(&self, target: &Target, shared: &Arc<Shared>) -> Snmp {
        shared.snmp_links.insert(&target.name, &self.access);
        Snmp {
            access: self.access.clone(),
            profiles: self.profiles.clone(),
            shared: shared.clone(),
            memory: Memory::default(),
            rows: Vec::new(),
            failed: false,
            missing: 0,
        }
    }
}

/// How many polls may be under way at once. More do not make it faster, and the answers of many
/// agents at once overflow a socket's buffer.
const POLLS_MAX: usize = 64;

/// How many of those whose last poll failed, which have a lane of their own: a dead agent takes
/// seconds, and must not keep others waiting.
const FAILED_POLLS_MAX: usize = 128;

/// Whose turn it is to poll.
#[derive(Debug)]
pub struct Turns {
    polls: Semaphore,
    failed_polls: Semaphore,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            polls: Semaphore::new(POLLS_MAX),
            failed_polls: Semaphore::new(FAILED_POLLS_MAX),
        }
    }
}

impl Turns {
    async fn turn(&self, failed: bool) -> SemaphorePermit<'_> {
        let lane = if failed { &self.failed_polls } else { &self.polls };
        lane.acquire().await.expect("lanes are never closed")
    }
}

/// Polls one agent.
pub struct Snmp {
    access: Arc<Access>,
    profiles: Arc<[Named]>,
    shared: Arc<Shared>,
    memory: Memory,
    /// How many rows each table had the last time.
    rows: Vec<u32>,
    /// Whether the last poll failed, or was given up.
    failed: bool,
    /// What was missing the last time.
    missing: u64,
}

/// How many rows a table is thought to have before it was read.
const ROWS_GUESS: u32 = 24;

/// Most single values asked for in one request: an answer with strings still fits a datagram.
const SCALARS_PER_REQUEST_MAX: usize = 24;

/// The measurement of single values that have none of their own.
const MEASUREMENT: &str = "snmp";

impl Poller for Snmp {
    async fn poll(&mut self, out: &mut Readings) -> Result<(), PollError> {
        let shared = self.shared.clone();
        let _turn = shared.snmp_turns.turn(self.failed).await;
        // Stays so where the poll is dropped at its deadline.
        self.failed = true;
        let missing = self.read(out).await?;
        self.failed = false;
        self.memory.went_well();
        out.push(MEASUREMENT, "missing", missing.count as f64);
        self.note(&missing, out);
        Ok(())
    }
}

/// What was asked for and not answered.
#[derive(Debug, Default)]
struct Missing {
    count: u64,
    /// One of it.
    example: Option<String>,
}

impl Snmp {
    async fn read(&mut self, out: &mut Readings) -> Result<Missing, PollError> {
        let profiles = self.profiles.clone();
        let mut session = Session::open(&self.access, &mut self.memory, &self.shared.resolver).await?;
        let mut missing = Missing::default();
        let scalars: Vec<_> = profiles.iter().flat_map(|part| &part.profile.get).collect();
        read_scalars(&mut session, &scalars, &mut missing, out).await?;
        let tables = profiles.iter().flat_map(|part| &part.profile.table);
        for (at, table) in tables.enumerate() {
            if self.rows.len() <= at {
                self.rows.push(ROWS_GUESS);
            }
            let outcome = table::read(&mut session, table, self.rows[at], out).await?;
            self.rows[at] = outcome.rows;
            missing.count += outcome.missing;
            missing.example = missing.example.or(outcome.absent);
        }
        Ok(missing)
    }

    /// Logs when something begins or ceases to be missing.
    fn note(&mut self, missing: &Missing, out: &Readings) {
        let target = &**out.target();
        let example = missing.example.as_deref();
        if missing.count > 0 && self.missing == 0 {
            tracing::warn!(target, missing = missing.count, example, "agent lacks values");
        } else if missing.count == 0 && self.missing > 0 {
            tracing::info!(target, "agent has all values again");
        }
        self.missing = missing.count;
    }
}

/// Reads single values. What the agent has not, or has as no number, is missing.
async fn read_scalars(
    session: &mut Session<'_>,
    scalars: &[(&String, &Scalar)],
    missing: &mut Missing,
    out: &mut Readings,
) -> Result<(), PollError> {
    let mut left = scalars.to_vec();
    while !left.is_empty() {
        let most = SCALARS_PER_REQUEST_MAX.min(session.memory.values_per_request() as usize);
        let ask = &left[..left.len().min(most)];
        let oids: Vec<_> = ask.iter().map(|(_, scalar)| borrowed(&scalar.oid)).collect();
        let oids: Vec<_> = oids.iter().collect();
        let read = |reply: Reply<'_>| read_values(reply, ask, missing, out);
        let mut done = session.exchange(Request::Get(&oids), read).await??.into_iter();
        left.retain(|_| !done.next().unwrap_or(false));
    }
    Ok(())
}

/// An OID as the protocol's crate has it.
fn borrowed(oid: &Oid) -> snmp2::Oid<'_> {
    snmp2::Oid::new(Cow::Borrowed(oid.as_bytes()))
}

/// Reads the answer to a GET; tells which of the values asked for are dealt with.
fn read_values(
    reply: Reply<'_>,
    asked: &[(&String, &Scalar)],
    missing: &mut Missing,
    out: &mut Readings,
) -> Result<Vec<bool>, PollError> {
    let mut done = vec![false; reply.asked];
    let mut lacks = |at: usize| {
        missing.count += 1;
        let shown = || format!("{} {}", asked[at].0, asked[at].1.oid);
        missing.example.get_or_insert_with(shown);
    };
    if reply.status != snmp::ERRSTATUS_NOERROR {
        // Version 1 answers nothing at all where one value is not there (RFC 1157 section 4.1.2).
        let guilty = (reply.index as usize).checked_sub(1).filter(|at| *at < done.len());
        let Some(at) = guilty else {
            let words = format!("get: the agent answers {}", value::status_name(reply.status));
            return Err(PollError::new(Reason::Refused, words));
        };
        lacks(at);
        done[at] = true;
        return Ok(done);
    }
    let mut got = 0;
    for (name, value) in reply.varbinds.take(reply.asked) {
        let (field, scalar) = asked[got];
        if name.as_bytes() != scalar.oid.as_bytes() {
            let words = format!("get of {}: the answer is about another OID", scalar.oid);
            return Err(PollError::new(Reason::Malformed, words));
        }
        match value::number(&value) {
            Some(number) => {
                let measurement = scalar.measurement.as_deref().unwrap_or(MEASUREMENT);
                out.push(measurement, field, number * scalar.scale);
            }
            None => lacks(got),
        }
        done[got] = true;
        got += 1;
    }
    // A value that cannot be decoded hides those after it: they are asked for again without it.
    if got < done.len() {
        lacks(got);
        done[got] = true;
    }
    Ok(done)
}
