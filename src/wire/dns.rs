//! DNS messages (RFC 1035): one question out, an answer in.
//!
//! It asks and reads, and that is all: no zones, no updates, no DNSSEC, no EDNS. Records of types
//! it does not know are shown as RFC 3597 has it.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use crate::choice;

/// Longest label (RFC 1035 §2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// Longest name with its length bytes (RFC 1035 §2.3.4).
const NAME_BYTES_MAX: usize = 255;

/// Bytes of the header (RFC 1035 §4.1.1).
const HEADER_BYTES: usize = 12;

/// Most records of an answer that are read. A message has room for more, but compressed names
/// grow to some hundred times their size, and nobody watches an answer like that.
const RECORDS_MAX: u16 = 1_024;

/// The class of the internet (RFC 1035 §3.2.4).
const CLASS_IN: u16 = 1;

choice! {
    /// A type of record.
    pub enum RecordType {
        /// IPv4 address (RFC 1035 §3.4.1).
        A = "A",
        /// IPv6 address (RFC 3596).
        Aaaa = "AAAA",
        /// Who may issue certificates (RFC 8659).
        Caa = "CAA",
        /// Another name (RFC 1035 §3.3.1).
        Cname = "CNAME",
        /// Mail exchange (RFC 1035 §3.3.9).
        Mx = "MX",
        /// Name server (RFC 1035 §3.3.11).
        Ns = "NS",
        /// The name of an address (RFC 1035 §3.3.12).
        Ptr = "PTR",
        /// Start of authority (RFC 1035 §3.3.13).
        Soa = "SOA",
        /// Where a service is (RFC 2782).
        Srv = "SRV",
        /// Text (RFC 1035 §3.3.14).
        Txt = "TXT",
    }
}

impl RecordType {
    const fn code(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Ns => 2,
            Self::Cname => 5,
            Self::Soa => 6,
            Self::Ptr => 12,
            Self::Mx => 15,
            Self::Txt => 16,
            Self::Aaaa => 28,
            Self::Srv => 33,
            Self::Caa => 257,
        }
    }
}

choice! {
    /// What a server says of a query (RFC 1035 §4.1.1, RFC 2136 §2.2).
    pub enum ResponseCode {
        /// All is well.
        NoError = "NOERROR",
        /// The server did not understand.
        FormErr = "FORMERR",
        /// The server failed.
        ServFail = "SERVFAIL",
        /// There is no such name.
        NxDomain = "NXDOMAIN",
        /// The server does not do this.
        NotImp = "NOTIMP",
        /// The server does not do this for us.
        Refused = "REFUSED",
    }
}

impl ResponseCode {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

/// How a response code is called, `RCODE9` for those without a name here.
#[must_use]
pub fn response_code_name(code: u8) -> String {
    let word = ResponseCode::WORDS.get(usize::from(code));
    word.map_or_else(|| format!("RCODE{code}"), |word| (*word).to_owned())
}

/// Why bytes are not a DNS message, or a name not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DnsError {
    /// The message is shorter than it says.
    #[error("the message ends in the middle")]
    Truncated,
    /// A name is too long, or a pointer in it does not lead backwards.
    #[error("a name in the message makes no sense")]
    BadName,
    /// More records than anybody would watch.
    #[error("the answer has more than {RECORDS_MAX} records")]
    TooMany,
    /// The name to ask for is not one.
    #[error("labels of a name are 1 to 63 ASCII characters, together at most 253")]
    NotAName,
}

/// A name, as its labels on the wire without the root's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(Vec<u8>);

impl std::str::FromStr for Name {
    type Err = DnsError;

    /// From the form with dots; a dot at the end, or nothing else, is the root.
    fn from_str(text: &str) -> Result<Self, DnsError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let mut wire = Vec::with_capacity(text.len() + 1);
        for label in text.split('.').filter(|_| !text.is_empty()) {
            if label.is_empty() || label.len() > LABEL_BYTES_MAX || !label.is_ascii() {
                return Err(DnsError::NotAName);
            }
            wire.push(label.len() as u8);
            wire.extend_from_slice(label.as_bytes());
        }
        if wire.len() + 1 > NAME_BYTES_MAX { Err(DnsError::NotAName) } else { Ok(Self(wire)) }
    }
}

impl From<IpAddr> for Name {
    /// The name to ask for the name of an address (RFC 1035 §3.5, RFC 3596 §2.5).
    fn from(address: IpAddr) -> Self {
        let text = match address {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                format!("{d}.{c}.{b}.{a}.in-addr.arpa")
            }
            IpAddr::V6(address) => {
                let mut text = String::new();
                for byte in address.octets().iter().rev() {
                    write!(text, "{:x}.{:x}.", byte & 15, byte >> 4).expect("strings take all");
                }
                text + "ip6.arpa"
            }
        };
        text.parse().expect("digits and dots make a name")
    }
}

/// The form with dots and escapes (RFC 1035 §5.1), a dot at the end.
impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut rest = &self.0[..];
        if rest.is_empty() {
            return f.write_str(".");
        }
        while let Some((&length, after)) = rest.split_first() {
            let (label, next) = after.split_at(usize::from(length).min(after.len()));
            for &byte in label {
                match byte {
                    b'.' | b'\\' => write!(f, "\\{}", char::from(byte))?,
                    b'!'..=b'~' => write!(f, "{}", char::from(byte))?,
                    _ => write!(f, "\\{byte:03}")?,
                }
            }
            f.write_str(".")?;
            rest = next;
        }
        Ok(())
    }
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The name asked for.
    pub name: Name,
    /// The type asked for.
    pub kind: RecordType,
}

impl Question {
    /// The message that asks, with recursion desired (RFC 1035 §4.1.1, §4.1.2).
    #[must_use]
    pub fn encode(&self, id: u16) -> Vec<u8> {
        const RECURSION_DESIRED: u16 = 0x0100;
        const QUESTIONS: u16 = 1;
        let mut wire = Vec::with_capacity(HEADER_BYTES + self.name.0.len() + 5);
        for number in [id, RECURSION_DESIRED, QUESTIONS, 0, 0, 0] {
            wire.extend_from_slice(&number.to_be_bytes());
        }
        wire.extend_from_slice(&self.name.0);
        wire.push(0);
        wire.extend_from_slice(&self.kind.code().to_be_bytes());
        wire.extend_from_slice(&CLASS_IN.to_be_bytes());
        wire
    }

    /// Whether a message answers this question under this id. Names are compared without case
    /// (RFC 1035 §2.3.3). A server that understood nothing may leave the question out.
    #[must_use]
    pub fn is_answered_by(&self, id: u16, answer: &Answer) -> bool {
        let echoed = match &answer.question {
            Some((name, kind, class)) => {
                name.0.eq_ignore_ascii_case(&self.name.0)
                    && (*kind, *class) == (self.kind.code(), CLASS_IN)
            }
            None => answer.code != ResponseCode::NoError.code(),
        };
        answer.is_response && answer.id == id && echoed
    }
}

/// An answer, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The id of the question.
    pub id: u16,
    /// Whether it is a response at all.
    pub is_response: bool,
    /// Whether it was cut to fit a datagram: the records are not all there.
    pub is_truncated: bool,
    /// The response code.
    pub code: u8,
    /// The first question: its name, type and class.
    question: Option<(Name, u16, u16)>,
    /// The data of the records of the answer section, as zone files write it.
    pub records: Vec<String>,
}

impl Answer {
    /// Reads a message (RFC 1035 §4.1). Of a truncated one only header and question are read.
    ///
    /// # Errors
    /// Where it is not one.
    pub fn decode(message: &[u8]) -> Result<Self, DnsError> {
        let mut reader = Reader { message, at: 0 };
        let (id, flags) = (reader.u16()?, reader.u16()?);
        let (questions, answers) = (reader.u16()?, reader.u16()?);
        reader.take(4)?;
        let mut question = None;
        for _ in 0..questions {
            let read = (reader.name()?, reader.u16()?, reader.u16()?);
            question.get_or_insert(read);
        }
        let mut answer = Self {
            id,
            is_response: flags & 0x8000 != 0,
            is_truncated: flags & 0x0200 != 0,
            code: (flags & 0x000f) as u8,
            question,
            records: Vec::new(),
        };
        if answer.is_truncated {
            return Ok(answer);
        }
        if answers > RECORDS_MAX {
            return Err(DnsError::TooMany);
        }
        for _ in 0..answers {
            answer.records.push(reader.record()?);
        }
        Ok(answer)
    }
}

/// Reads a message from the front.
struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], DnsError> {
        let taken = self.message.get(self.at..).and_then(|rest| rest.get(..count));
        self.at += count;
        taken.ok_or(DnsError::Truncated)
    }

    fn u8(&mut self) -> Result<u8, DnsError> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, DnsError> {
        Ok(u16::from_be_bytes(self.take(2)?.try_into().expect("two bytes were taken")))
    }

    fn u32(&mut self) -> Result<u32, DnsError> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into().expect("four bytes were taken")))
    }

    /// A name, perhaps compressed (RFC 1035 §4.1.4). A pointer must lead to before the piece it
    /// stands in, so that following them comes to an end.
    fn name(&mut self) -> Result<Name, DnsError> {
        let mut wire = Vec::new();
        let mut after = None;
        let mut piece = self.at;
        loop {
            let length = self.u8()?;
            match length >> 6 {
                0 if length == 0 => break,
                0 => {
                    wire.push(length);
                    wire.extend_from_slice(self.take(usize::from(length))?);
                    if wire.len() + 1 > NAME_BYTES_MAX {
                        return Err(DnsError::BadName);
                    }
                }
                3 => {
                    let target = usize::from(length & 0x3f) << 8 | usize::from(self.u8()?);
                    after.get_or_insert(self.at);
                    if target >= piece {
                        return Err(DnsError::BadName);
                    }
                    (self.at, piece) = (target, target);
                }
                _ => return Err(DnsError::BadName),
            }
        }
        self.at = after.unwrap_or(self.at);
        Ok(Name(wire))
    }

    /// A record (RFC 1035 §4.1.3): its data, as text.
    fn record(&mut self) -> Result<String, DnsError> {
        self.name()?;
        let (kind, _class, _ttl, length) = (self.u16()?, self.u16()?, self.u32()?, self.u16()?);
        let start = self.at;
        let data = self.take(usize::from(length))?;
        // Names in the data may point to anywhere before, so the data is read within the message,
        // and what it takes must be what it said.
        let mut reader = Reader { message: &self.message[..self.at], at: start };
        let text = reader.data(kind, data)?;
        if reader.at == self.at { Ok(text) } else { Err(DnsError::Truncated) }
    }

    fn data(&mut self, kind: u16, all: &[u8]) -> Result<String, DnsError> {
        let known = RecordType::ALL.iter().find(|known| known.code() == kind);
        Ok(match known {
            Some(RecordType::A) => Ipv4Addr::from(self.u32()?).to_string(),
            Some(RecordType::Aaaa) => {
                let octets: [u8; 16] = self.take(16)?.try_into().expect("16 bytes were taken");
                Ipv6Addr::from(octets).to_string()
            }
            Some(RecordType::Cname | RecordType::Ns | RecordType::Ptr) => self.name()?.to_string(),
            Some(RecordType::Mx) => format!("{} {}", self.u16()?, self.name()?),
            Some(RecordType::Srv) => {
                let (priority, weight, port) = (self.u16()?, self.u16()?, self.u16()?);
                format!("{priority} {weight} {port} {}", self.name()?)
            }
            Some(RecordType::Soa) => {
                let mut text = format!("{} {}", self.name()?, self.name()?);
                for _ in 0..5 {
                    write!(text, " {}", self.u32()?).expect("strings take all");
                }
                text
            }
            Some(RecordType::Txt) => {
                let mut text = Vec::new();
                let end = self.message.len();
                while self.at < end {
                    let length = self.u8()?;
                    text.extend_from_slice(self.take(usize::from(length))?);
                }
                String::from_utf8_lossy(&text).into_owned()
            }
            Some(RecordType::Caa) => {
                let (flags, length) = (self.u8()?, self.u8()?);
                let tag = String::from_utf8_lossy(self.take(usize::from(length))?).into_owned();
                let value = self.take(self.message.len().saturating_sub(self.at))?;
                format!("{flags} {tag} \"{}\"", String::from_utf8_lossy(value))
            }
            None => {
                self.take(all.len())?;
                let mut text = format!("\\# {} ", all.len());
                for byte in all {
                    write!(text, "{byte:02x}").expect("strings take all");
                }
                text
            }
        })
    }
}

#[cfg(test)]
mod tests;
