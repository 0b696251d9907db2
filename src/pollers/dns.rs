//! A name that should resolve as expected, asked of one server directly.
//!
//! It asks once and does not retry: a lost datagram is a failed poll, as loss is what is watched.
//! An answer cut to fit a datagram is asked for again over TCP (RFC 7766 §5).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::Instant;

use crate::config::{HostPort, Regex, Target};
use crate::pollers::resolve::connect;
use crate::pollers::{Family, Kind, PollError, Poller, Reason, Shared};
use crate::sample::Readings;
use crate::wire::dns::{Answer, Name, Question, RecordType, ResponseCode, response_code_name};
use crate::{choice, config};

#[cfg(test)]
mod tests;

choice! {
    /// What a question travels by.
    pub enum Transport {
        /// A datagram; TCP where the answer does not fit one.
        Udp = "udp",
        /// A connection.
        Tcp = "tcp",
    }
}

/// Largest datagram read. Without EDNS no answer is above 512 bytes (RFC 1035 §4.2.1), but some
/// servers do not care.
const DATAGRAM_BYTES_MAX: usize = 4_096;

/// Most datagrams read while waiting for the answer: what answers another question is passed over,
/// and a flood of it is an attack.
const STRAY_DATAGRAMS_MAX: usize = 64;

config! {
    /// A name that should resolve as expected.
    pub struct Config {
        /// The name to ask for; an address with type PTR is turned into its name.
        pub name: String,
        /// The server, as host or host:port; default the first of /etc/resolv.conf.
        pub server: Option<HostPort>,
        /// The type of record to ask for: A, AAAA, CAA, CNAME, MX, NS, PTR, SOA, SRV or TXT.
        pub r#type: RecordType = RecordType::A,
        /// What the question travels by: udp or tcp.
        pub transport: Transport = Transport::Udp,
        /// The response code that is fine: NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED.
        pub rcode: ResponseCode = ResponseCode::NoError,
        /// Texts that must each be in some record of the answer, as zone files write it.
        pub expect: Vec<String>,
        /// What some record of the answer must match: a regular expression.
        pub expect_matches: Option<Regex>,
        /// Which addresses of the server to use: any, ipv4 or ipv6.
        pub family: Family = Family::Any,
    }
    check(config, table) {
        if let Err(message) = config.question_name() {
            table.error("name", message);
        }
    }
}

impl Config {
    fn question_name(&self) -> Result<Name, String> {
        match self.name.parse::<IpAddr>() {
            Ok(address) if self.r#type == RecordType::Ptr => Ok(Name::from(address)),
            _ => self.name.parse::<Name>().map_err(|error| format!("`{}`: {error}", self.name)),
        }
    }
}

impl Kind for Config {
    type Poller = Dns;

    fn poller(&self, _: &Target, shared: &Arc<Shared>) -> Dns {
        let name = self.question_name().expect("checked when the configuration was read");
        Dns {
            question: Question { name, kind: self.r#type },
            config: self.clone(),
            shared: shared.clone(),
        }
    }
}

/// Asks one question.
#[derive(Debug)]
pub struct Dns {
    config: Config,
    shared: Arc<Shared>,
    question: Question,
}

impl Poller for Dns {
    async fn poll(&mut self, out: &mut Readings) -> Result<(), PollError> {
        let servers = self.servers().await?;
        let server = servers[0];
        let started = Instant::now();
        let answer = match self.config.transport {
            Transport::Udp => match ask_by_datagram(&self.question, server).await? {
                cut if cut.is_truncated => ask_by_stream(&self.question, server).await?,
                whole => whole,
            },
            Transport::Tcp => ask_by_stream(&self.question, server).await?,
        };
        let row = out.row("dns", &[]);
        out.set(row, "query_seconds", started.elapsed().as_secs_f64());
        out.set(row, "rcode", f64::from(answer.code));
        out.set(row, "answers", answer.records.len() as f64);
        self.judge(&answer)
    }
}

impl Dns {
    async fn servers(&self) -> Result<Vec<SocketAddr>, PollError> {
        const PORT: u16 = 53;
        let (host, port) = match &self.config.server {
            Some(server) => (server.host.clone(), server.port.unwrap_or(PORT)),
            None => (system_server(Path::new("/etc/resolv.conf")).await?, PORT),
        };
        self.shared.resolver.lookup(&host, port, self.config.family).await
    }

    /// Whether an answer is the one that was expected.
    fn judge(&self, answer: &Answer) -> Result<(), PollError> {
        let config = &self.config;
        if answer.code != config.rcode.code() {
            let message = format!("{} for {}", response_code_name(answer.code), self.question.name);
            return Err(PollError::new(Reason::Refused, message));
        }
        let missing = config
            .expect
            .iter()
            .find(|text| !answer.records.iter().any(|record| record.contains(text.as_str())));
        let unmatched = config
            .expect_matches
            .as_ref()
            .filter(|regex| !answer.records.iter().any(|record| regex.0.is_match(record)));
        let wanted = match (missing, unmatched) {
            (Some(text), _) => format!("has `{text}`"),
            (None, Some(regex)) => format!("matches {}", regex.0),
            (None, None) => return Ok(()),
        };
        let count = answer.records.len();
        let message = format!("none of {count} records of {} {wanted}", self.question.name);
        Err(PollError::new(Reason::Malformed, message))
    }
}

/// The first server of resolv.conf(5), read at every poll since it changes under us; the local one
/// where none is named.
async fn system_server(path: &Path) -> Result<String, PollError> {
    let text = tokio::fs::read_to_string(path).await;
    let text = text.map_err(|error| PollError::io(format!("read {}", path.display()), &error))?;
    Ok(first_server(&text).map_or_else(|| Ipv4Addr::LOCALHOST.to_string(), str::to_owned))
}

fn first_server(resolv_conf: &str) -> Option<&str> {
    let mut words = resolv_conf.lines().map(str::split_whitespace);
    words.find_map(|mut words| words.next().filter(|word| *word == "nameserver").and(words.next()))
}

async fn ask_by_datagram(question: &Question, server: SocketAddr) -> Result<Answer, PollError> {
    let operation = |what: &str| format!("{what} {server} by UDP");
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // A port of its own for each question, and a random id: what an attacker has to guess
    // (RFC 5452 §9.2).
    let opened = UdpSocket::bind((any, 0)).await;
    let socket = opened.map_err(|error| PollError::io("open a UDP socket", &error))?;
    let id = fastrand::u16(..);
    let sent = async {
        socket.connect(server).await?;
        socket.send(&question.encode(id)).await
    };
    sent.await.map_err(|error| PollError::io(operation("ask"), &error))?;
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    let mut last = None;
    for _ in 0..STRAY_DATAGRAMS_MAX {
        let received = socket.recv(&mut datagram).await;
        let length = received.map_err(|error| PollError::io(operation("answer of"), &error))?;
        match Answer::decode(&datagram[..length]) {
            Ok(answer) if question.is_answered_by(id, &answer) => return Ok(answer),
            Ok(_) => {}
            // Only what bears our id is this server's failure, and not somebody's noise.
            Err(error) if datagram[..length].starts_with(&id.to_be_bytes()) => {
                return Err(PollError::new(
                    Reason::Malformed,
                    format!("{}: {error}", operation("answer of")),
                ));
            }
            Err(error) => last = Some(error),
        }
    }
    let detail = last.map(|error| format!("; the last: {error}")).unwrap_or_default();
    let message = format!(
        "{STRAY_DATAGRAMS_MAX} datagrams from {server} do not answer the question{detail}"
    );
    Err(PollError::new(Reason::Malformed, message))
}

/// The same with a length before each message (RFC 1035 §4.2.2).
async fn ask_by_stream(question: &Question, server: SocketAddr) -> Result<Answer, PollError> {
    let mut stream = connect(&[server]).await?;
    let id = fastrand::u16(..);
    let message = question.encode(id);
    let length = u16::try_from(message.len()).expect("a question has at most 271 bytes");
    let framed = [&length.to_be_bytes(), &message[..]].concat();
    let exchanged = async {
        stream.write_all(&framed).await?;
        let mut answer = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    };
    let operation = format!("ask {server} by TCP");
    let answer = exchanged.await.map_err(|error| PollError::io(&operation, &error))?;
    let malformed = |detail: String| PollError::new(Reason::Malformed, detail);
    let answer =
        Answer::decode(&answer).map_err(|error| malformed(format!("{operation}: {error}")))?;
    if question.is_answered_by(id, &answer) {
        Ok(answer)
    } else {
        Err(malformed(format!("{operation}: it answers another question")))
    }
}
