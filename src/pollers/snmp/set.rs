//! Setting one value of an agent, and reading it back: for the `snmp` action.

use std::net::Ipv4Addr;

use snmp2::{Value, snmp};

use super::access::Access;
use super::session::{Memory, Reply, Request, Session};
use super::value::{self, status_name};
use super::{Oid, borrowed};
use crate::choice;
use crate::pollers::{PollError, Reason, Shared};

choice! {
    /// The type a value is set as (RFC 2578 section 2); `hex` is a string of any bytes.
    pub enum ValueType {
        Integer = "integer", Unsigned = "unsigned", Timeticks = "timeticks", String = "string",
        Hex = "hex", Oid = "oid", Address = "address",
    }
}

/// A value to set: text made into what an agent takes.
#[derive(Debug, Clone, PartialEq)]
pub enum Setting {
    /// INTEGER.
    Integer(i32),
    /// Unsigned32 and Gauge32.
    Unsigned(u32),
    /// `TimeTicks`, in hundredths of a second.
    Timeticks(u32),
    /// OCTET STRING.
    Bytes(Vec<u8>),
    /// OBJECT IDENTIFIER.
    Oid(Oid),
    /// `IpAddress`.
    Address(Ipv4Addr),
}

impl Setting {
    /// Reads a text as a value of this type.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(kind: ValueType, text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no value of type {}", kind.as_str());
        let trimmed = text.trim();
        match kind {
            ValueType::Integer => trimmed.parse().map(Self::Integer).map_err(|_| wrong()),
            ValueType::Unsigned => trimmed.parse().map(Self::Unsigned).map_err(|_| wrong()),
            ValueType::Timeticks => trimmed.parse().map(Self::Timeticks).map_err(|_| wrong()),
            ValueType::String => Ok(Self::Bytes(text.as_bytes().to_vec())),
            ValueType::Hex => hex(trimmed).map(Self::Bytes).ok_or_else(wrong),
            ValueType::Oid => trimmed.parse().map(Self::Oid).map_err(|e| format!("{}: {e}", wrong())),
            ValueType::Address => trimmed.parse().map(Self::Address).map_err(|_| wrong()),
        }
    }

    fn value(&self) -> Value<'_> {
        match self {
            Self::Integer(n) => Value::Integer(i64::from(*n)),
            Self::Unsigned(n) => Value::Unsigned32(*n),
            Self::Timeticks(n) => Value::Timeticks(*n),
            Self::Bytes(bytes) => Value::OctetString(bytes),
            Self::Oid(oid) => Value::ObjectIdentifier(borrowed(oid)),
            Self::Address(address) => Value::IpAddress(address.octets()),
        }
    }

    fn is(&self, read: &Value<'_>) -> bool {
        match (self, read) {
            (Self::Integer(n), Value::Integer(read)) => i64::from(*n) == *read,
            (Self::Unsigned(n), Value::Unsigned32(read))
            | (Self::Timeticks(n), Value::Timeticks(read)) => n == read,
            (Self::Bytes(bytes), Value::OctetString(read)) => bytes == read,
            (Self::Oid(oid), Value::ObjectIdentifier(read)) => oid.as_bytes() == read.as_bytes(),
            (Self::Address(address), Value::IpAddress(read)) => address.octets() == *read,
            _ => false,
        }
    }
}

/// Bytes written as pairs of digits, with or without colons or spaces between them.
fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b": ".contains(b)).collect();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// A value that was not set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct SetError {
    /// Why not.
    pub error: PollError,
    /// Whether the agent will say the same of the same value again.
    pub is_final: bool,
}

impl From<PollError> for SetError {
    fn from(error: PollError) -> Self {
        Self { is_final: error.reason == Reason::Auth, error }
    }
}

/// Whether a status is about the value and its name, and not about what the agent can do now or
/// what its other values are (RFC 1157 section 4.1.5, RFC 3416 section 4.2.5).
fn is_final(status: u32) -> bool {
    matches!(
        status,
        snmp::ERRSTATUS_TOOBIG
            | snmp::ERRSTATUS_NOSUCHNAME
            | snmp::ERRSTATUS_BADVALUE
            | snmp::ERRSTATUS_READONLY
            | snmp::ERRSTATUS_NOACCESS
            | snmp::ERRSTATUS_WRONGTYPE
            | snmp::ERRSTATUS_WRONGLENGTH
            | snmp::ERRSTATUS_WRONGENCODING
            | snmp::ERRSTATUS_WRONGVALUE
            | snmp::ERRSTATUS_NOCREATION
            | snmp::ERRSTATUS_AUTHORIZATIONERROR
            | snmp::ERRSTATUS_NOTWRITABLE
    )
}

/// Sets a value and reads it back.
///
/// # Errors
/// The agent does not answer or refuses, or what is read back is not what was set.
pub async fn set(
    access: &Access,
    oid: &Oid,
    setting: &Setting,
    shared: &Shared,
) -> Result<(), SetError> {
    let mut memory = Memory::default();
    let mut session = Session::open(access, &mut memory, &shared.resolver).await?;
    let name = borrowed(oid);
    let refused = |reply: &Reply<'_>, what: &str| {
        let words = format!("{what} {oid}: the agent answers {}", status_name(reply.status));
        let error = PollError::new(Reason::Refused, words);
        SetError { error, is_final: is_final(reply.status) }
    };
    let request = Request::Set(&name, setting.value());
    session
        .exchange(request, |reply| match reply.status {
            snmp::ERRSTATUS_NOERROR => Ok(()),
            _ => Err(refused(&reply, "set")),
        })
        .await??;
    let read_back = |mut reply: Reply<'_>| {
        if reply.status != snmp::ERRSTATUS_NOERROR {
            return Err(refused(&reply, "read back"));
        }
        match reply.varbinds.next() {
            Some((found, value)) if found == name && setting.is(&value) => Ok(()),
            Some((found, value)) if found == name => {
                let mut text = String::new();
                value::text(&value, &mut text);
                let words = format!("set {oid}: the agent has `{text}` afterwards");
                Err(PollError::new(Reason::Malformed, words).into())
            }
            _ => {
                let words = format!("read back {oid}: no value of that name");
                Err(PollError::new(Reason::Malformed, words).into())
            }
        }
    };
    session.exchange(Request::Get(&[&name]), read_back).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_by_their_type() {
        let parse = Setting::parse;
        assert_eq!(parse(ValueType::Integer, " -5 "), Ok(Setting::Integer(-5)));
        assert_eq!(parse(ValueType::Unsigned, "4294967295"), Ok(Setting::Unsigned(u32::MAX)));
        assert_eq!(parse(ValueType::String, " a "), Ok(Setting::Bytes(b" a ".to_vec())));
        assert_eq!(parse(ValueType::Hex, "00:1B ff"), Ok(Setting::Bytes(vec![0, 0x1b, 0xff])));
        assert!(parse(ValueType::Oid, "1.3.6").is_ok());
        assert!(parse(ValueType::Address, "10.0.0.1").is_ok());
        for (kind, wrong) in [
            (ValueType::Integer, "on"),
            (ValueType::Integer, "2147483648"),
            (ValueType::Unsigned, "-1"),
            (ValueType::Hex, "123"),
            (ValueType::Hex, "zz"),
            (ValueType::Hex, "+1+2"),
            (ValueType::Oid, "1"),
            (ValueType::Address, "::1"),
        ] {
            assert!(parse(kind, wrong).is_err(), "{wrong}");
        }
    }
}
