//! Conversations with an agent: one request, one answer, with timeout, retries and credentials.
//!
//! The crate's session is distrusted: a late answer leaves it a request behind for ever, a forged
//! one can spoil its security state, and it never waits less than for ever. So one lives for a
//! poll at most, and any trouble throws it away with its socket; what is worth keeping, keys and
//! what the agent can bear, is kept here.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use snmp2::v3::{Auth, AuthProtocol, Cipher, KeyExtension as Extension, Security};
use snmp2::{AsyncSession, Error, Oid, Pdu, Value, Varbinds, snmp};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::access::{Access, Authentication, KeyExtension, Privacy, Version};
use crate::pollers::resolve::{Family, Resolver};
use crate::pollers::{PollError, Reason};
use crate::wire::usm;

/// Most values asked for in one request. Sixty of about 23 bytes are an answer of some 1,400
/// bytes, which travels in one piece on Ethernet.
pub(super) const VALUES_PER_REQUEST_MAX: u32 = 60;

/// After so many polls without loss, an agent that was asked for less is asked for more again.
const CLEAN_POLLS: u32 = 30;

/// What is known of an agent from one poll to the next.
pub(super) struct Memory {
    engine: Option<Engine>,
    /// How many values to ask for at once: halved where answers are lost or too large.
    values_per_request: u32,
    clean_polls: u32,
}

/// An agent's SNMPv3 engine, and the keys for it.
struct Engine {
    /// Keys made for this engine: milliseconds of work.
    keys: Security,
    boots: i64,
    time: i64,
    /// When `time` was right.
    learned: Instant,
}

impl Default for Memory {
    fn default() -> Self {
        Self { engine: None, values_per_request: VALUES_PER_REQUEST_MAX, clean_polls: 0 }
    }
}

impl Memory {
    /// How many values to ask for at once.
    pub(super) fn values_per_request(&self) -> u32 {
        self.values_per_request
    }

    fn bears_only(&mut self, values: u32) {
        self.values_per_request = values.max(1);
        self.clean_polls = 0;
    }

    /// A poll has ended well.
    pub(super) fn went_well(&mut self) {
        self.clean_polls += 1;
        if self.clean_polls >= CLEAN_POLLS {
            self.clean_polls = 0;
            let more = self.values_per_request.saturating_mul(2);
            self.values_per_request = more.min(VALUES_PER_REQUEST_MAX);
        }
    }
}

/// A request. The OIDs are asked for in one message.
pub(super) enum Request<'a> {
    Get(&'a [&'a Oid<'a>]),
    /// GETNEXT, of one OID: the crate has no other.
    Next(&'a Oid<'a>),
    Bulk { oids: &'a [&'a Oid<'a>], repetitions: u32 },
    Set(&'a Oid<'a>, Value<'a>),
}

impl Request<'_> {
    /// Asks for half as much; `false` where it is as little as can be.
    fn shrink(&mut self) -> bool {
        match self {
            Self::Bulk { repetitions, .. } if *repetitions > 1 => *repetitions /= 2,
            Self::Bulk { oids, .. } | Self::Get(oids) if oids.len() > 1 => {
                *oids = &oids[..oids.len() / 2];
            }
            _ => return false,
        }
        true
    }

    fn oids(&self) -> usize {
        match self {
            Self::Get(oids) | Self::Bulk { oids, .. } => oids.len(),
            Self::Next(_) | Self::Set(..) => 1,
        }
    }

    fn values(&self) -> u32 {
        let oids = u32::try_from(self.oids()).unwrap_or(u32::MAX);
        match self {
            Self::Bulk { repetitions, .. } => oids.saturating_mul(*repetitions),
            _ => oids,
        }
    }

    async fn send<'s>(&self, session: &'s mut AsyncSession) -> Result<Pdu<'s>, Error> {
        match self {
            Self::Get(oids) => session.get_many(oids).await,
            Self::Next(oid) => session.getnext(oid).await,
            Self::Bulk { oids, repetitions } => session.getbulk(oids, 0, *repetitions).await,
            Self::Set(oid, value) => session.set(&[(oid, copy(value))]).await,
        }
    }
}

/// The crate's values cannot be cloned; these are the ones that can be set.
fn copy<'a>(value: &Value<'a>) -> Value<'a> {
    match value {
        Value::Integer(n) => Value::Integer(*n),
        Value::OctetString(bytes) => Value::OctetString(bytes),
        Value::ObjectIdentifier(oid) => Value::ObjectIdentifier(oid.clone()),
        Value::IpAddress(address) => Value::IpAddress(*address),
        Value::Unsigned32(n) => Value::Unsigned32(*n),
        Value::Timeticks(n) => Value::Timeticks(*n),
        _ => Value::Null,
    }
}

/// An answer.
pub(super) struct Reply<'a> {
    /// How many OIDs were asked for: the first so many, where a request had to be made smaller.
    pub(super) asked: usize,
    /// What the agent says went wrong (RFC 3416 section 3), 0 for nothing.
    pub(super) status: u32,
    /// With which of the OIDs, from 1; 0 for none in particular.
    pub(super) index: u32,
    /// What it says. A value that cannot be decoded ends them, silently: count them.
    pub(super) varbinds: Varbinds<'a>,
}

/// A conversation with an agent: for one poll, or one setting.
pub(super) struct Session<'a> {
    access: &'a Access,
    /// What is known of the agent.
    pub(super) memory: &'a mut Memory,
    address: SocketAddr,
    live: Option<AsyncSession>,
}

/// What may go wrong with one try, and what to do about it.
enum Trouble {
    /// Nothing came: ask again.
    Silence,
    /// Something came that is no answer: ask again.
    Garbage(String),
    /// The credentials, or what is known of the engine, are wrong: ask again once.
    Denied(String),
    /// There is no use in asking again.
    Final(PollError),
}

impl<'a> Session<'a> {
    /// Finds the agent's address; nothing is sent yet.
    pub(super) async fn open(
        access: &'a Access,
        memory: &'a mut Memory,
        resolver: &Resolver,
    ) -> Result<Self, PollError> {
        let found = resolver.lookup(&access.host.host, access.port(), Family::Any).await?;
        Ok(Self { access, memory, address: found[0], live: None })
    }

    /// Whether the agent knows GETBULK and 64-bit counters.
    pub(super) fn has_bulk(&self) -> bool {
        self.access.version != Version::V1
    }

    /// How many rows to ask for at once at most.
    pub(super) fn repetitions_max(&self) -> u32 {
        self.access.max_repetitions.min(self.memory.values_per_request())
    }

    /// Sends a request until it is answered, and reads the answer.
    ///
    /// A request too large for the agent, or lost twice, is sent asking for half; the reader sees
    /// by [`Reply::asked`] what was asked for in the end.
    pub(super) async fn exchange<T>(
        &mut self,
        mut request: Request<'_>,
        mut read: impl FnMut(Reply<'_>) -> T + Send,
    ) -> Result<T, PollError> {
        let patience = self.access.request_timeout;
        let (mut lost, mut denied, mut shrunk) = (0, false, false);
        loop {
            let trouble = match self.ready(patience).await {
                Err(trouble) => trouble,
                Ok(live) => match timeout(patience, request.send(live)).await {
                    Ok(Ok(pdu)) => {
                        let too_big = pdu.error_status == snmp::ERRSTATUS_TOOBIG;
                        if too_big && request.shrink() {
                            shrunk = true;
                            continue;
                        }
                        let done = read(Reply {
                            asked: request.oids(),
                            status: pdu.error_status,
                            index: pdu.error_index,
                            varbinds: pdu.varbinds,
                        });
                        if shrunk {
                            self.memory.bears_only(request.values());
                        }
                        return Ok(done);
                    }
                    // The agent has told the time: the session has taken it over.
                    Ok(Err(Error::AuthUpdated)) if !denied => {
                        denied = true;
                        continue;
                    }
                    Ok(Err(error)) => self.trouble(error),
                    Err(_) => Trouble::Silence,
                },
            };
            self.live = None;
            match trouble {
                Trouble::Final(error) => return Err(error),
                Trouble::Denied(_) if !denied => {
                    denied = true;
                    if let Some(engine) = &mut self.memory.engine {
                        engine.boots = 0;
                    }
                }
                Trouble::Denied(words) => {
                    self.memory.engine = None;
                    return Err(PollError::new(Reason::Auth, words));
                }
                Trouble::Silence | Trouble::Garbage(_) if lost < self.access.retries => {
                    lost += 1;
                    if lost > 1 {
                        shrunk |= request.shrink();
                    }
                }
                Trouble::Garbage(words) => return Err(PollError::new(Reason::Malformed, words)),
                Trouble::Silence => {
                    let words = format!(
                        "no answer from {} to {} requests, {} each",
                        self.access.shown(),
                        lost + 1,
                        crate::config::show_duration(patience),
                    );
                    return Err(PollError::new(Reason::Timeout, words));
                }
            }
        }
    }

    /// A session with a socket of its own and a random first request id.
    async fn ready(&mut self, patience: Duration) -> Result<&mut AsyncSession, Trouble> {
        if self.live.is_none() {
            let first = fastrand::i32(1..i32::MAX / 2);
            let community = self.access.community.as_ref().map_or("", |c| c.reveal()).as_bytes();
            let made = match self.access.version {
                Version::V1 => AsyncSession::new_v1(self.address, community, first).await,
                Version::V2c => AsyncSession::new_v2c(self.address, community, first).await,
                Version::V3 => {
                    let security = self.security(patience).await?;
                    AsyncSession::new_v3(self.address, first, security).await
                }
            };
            let shown = self.access.shown();
            self.live = Some(made.map_err(|error| {
                Trouble::Final(PollError::io(format!("open a socket to {shown}"), &error))
            })?);
        }
        Ok(self.live.as_mut().expect("made above"))
    }

    /// The keys for the agent's engine, and its time by now.
    ///
    /// The crate does not advance the engine's time, so that after 150 s every first request of a
    /// poll would be refused (RFC 3414 section 2.2.3): it is advanced here.
    async fn security(&mut self, patience: Duration) -> Result<Security, Trouble> {
        if self.memory.engine.as_ref().is_none_or(|engine| engine.boots == 0) {
            let told = discover(self.address, patience, self.access).await?;
            let learned = Instant::now();
            let (boots, time) = (told.engine_boots(), told.engine_time());
            let same =
                self.memory.engine.take().filter(|known| known.keys.engine_id() == told.engine_id());
            let keys = match same {
                Some(engine) => engine.keys,
                None => make_keys(self.access, told.engine_id().to_vec()).await?,
            };
            self.memory.engine = Some(Engine { keys, boots, time, learned });
        }
        let engine = self.memory.engine.as_ref().expect("made above");
        let passed = i64::try_from(engine.learned.elapsed().as_secs()).unwrap_or(i64::MAX);
        let time = engine.time.saturating_add(passed).min(i64::from(i32::MAX));
        Ok(engine.keys.clone().with_engine_boots_and_time(engine.boots, time))
    }

    fn trouble(&self, error: Error) -> Trouble {
        let shown = self.access.shown();
        match error {
            // The crate keeps the system's word to itself; of a connected UDP socket it is that
            // the agent's port is closed, or that a router knows no way.
            Error::Receive | Error::Send => Trouble::Final(refused(&shown)),
            Error::AuthFailure(kind) => {
                Trouble::Denied(format!("credentials refused by {shown}: {kind}"))
            }
            Error::AuthUpdated => Trouble::Denied(format!("{shown} does not agree on its time")),
            // What is not a response is a report: what else an agent sends to an unknown user.
            Error::AsnWrongType if self.access.version == Version::V3 => {
                Trouble::Denied(format!("credentials refused by {shown}"))
            }
            other => Trouble::Garbage(format!("answer from {shown}: {other}")),
        }
    }
}

fn refused(shown: &str) -> PollError {
    PollError::new(Reason::Refused, format!("{shown}: connection refused, or no way there"))
}

/// Asks an agent for its engine's id, boots and time (RFC 3414 section 4).
async fn discover(
    address: SocketAddr,
    patience: Duration,
    access: &Access,
) -> Result<Security, Trouble> {
    let shown = access.shown();
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::ConnectionRefused => Trouble::Final(refused(&shown)),
        _ => Trouble::Final(PollError::io(format!("ask {shown} for its engine"), &error)),
    };
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await.map_err(failed)?;
    socket.connect(address).await.map_err(failed)?;
    let id = fastrand::i32(usm::MESSAGE_IDS);
    socket.send(&usm::discovery(id)).await.map_err(failed)?;
    let mut answer = [0; ENGINE_ANSWER_BYTES_MAX];
    let length = timeout(patience, socket.recv(&mut answer))
        .await
        .map_err(|_| Trouble::Silence)?
        .map_err(failed)?;
    let answer = &answer[..length];
    let garbage = |what: &str| Trouble::Garbage(format!("engine of {shown}: {what}"));
    if usm::message_id(answer) != Some(i64::from(id)) {
        return Err(garbage("not the answer to the question"));
    }
    let mut told = Security::new(b"", b"").with_auth(Auth::NoAuthNoPriv);
    match Pdu::from_bytes_with_security(answer, Some(&mut told)) {
        Ok(_) | Err(Error::AuthUpdated) => {}
        Err(error) => return Err(garbage(&error.to_string())),
    }
    let number = 0..=i64::from(i32::MAX);
    if !ENGINE_ID_BYTES.contains(&told.engine_id().len())
        || !number.contains(&told.engine_boots())
        || !number.contains(&told.engine_time())
    {
        return Err(garbage("id, boots or time out of range"));
    }
    Ok(told)
}

/// The answer with an engine's id has about 110 bytes.
const ENGINE_ANSWER_BYTES_MAX: usize = 1_500;

/// RFC 3411 section 5, SnmpEngineID; some agents have shorter ones.
const ENGINE_ID_BYTES: std::ops::RangeInclusive<usize> = 1..=32;

/// Makes the keys for an engine, off the runtime's threads: hashing a mebibyte or more takes
/// 1 to 7 ms (RFC 3414 appendix A.2).
async fn make_keys(access: &Access, engine_id: Vec<u8>) -> Result<Security, Trouble> {
    let security = credentials(access);
    let mut work = JoinSet::new();
    work.spawn_blocking(move || security.with_engine_id(&engine_id));
    let made = work.join_next().await.expect("one piece of work");
    let words = |error: &dyn std::fmt::Display| format!("make keys for {}: {error}", access.shown());
    made.map_err(|error| Trouble::Final(PollError::new(Reason::Bug, words(&error))))?
        .map_err(|error| Trouble::Denied(words(&error)))
}

fn credentials(access: &Access) -> Security {
    let password = |secret: &Option<crate::config::Secret>| {
        secret.as_ref().map_or_else(Vec::new, |secret| secret.reveal().as_bytes().to_vec())
    };
    let protocol = match access.auth {
        Authentication::None | Authentication::Md5 => AuthProtocol::Md5,
        Authentication::Sha1 => AuthProtocol::Sha1,
        Authentication::Sha224 => AuthProtocol::Sha224,
        Authentication::Sha256 => AuthProtocol::Sha256,
        Authentication::Sha384 => AuthProtocol::Sha384,
        Authentication::Sha512 => AuthProtocol::Sha512,
    };
    let cipher = match access.privacy {
        Privacy::None => None,
        Privacy::Des => Some(Cipher::Des),
        Privacy::Aes128 => Some(Cipher::Aes128),
        Privacy::Aes192 => Some(Cipher::Aes192),
        Privacy::Aes256 => Some(Cipher::Aes256),
    };
    let auth = match (access.auth, cipher) {
        (Authentication::None, _) => Auth::NoAuthNoPriv,
        (_, None) => Auth::AuthNoPriv,
        (_, Some(cipher)) => {
            Auth::AuthPriv { cipher, privacy_password: password(&access.privacy_password) }
        }
    };
    let extension = match access.key_extension {
        KeyExtension::Blumenthal => Extension::Blumenthal,
        KeyExtension::Reeder => Extension::Reeder,
    };
    let user = access.user.as_deref().unwrap_or_default();
    Security::new(user.as_bytes(), &password(&access.auth_password))
        .with_auth(auth)
        .with_auth_protocol(protocol)
        .with_key_extension_method(extension)
        .with_context_name(access.context.as_deref().unwrap_or_default())
}
