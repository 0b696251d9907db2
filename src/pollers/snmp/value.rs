//! What an agent's values are as numbers and as text, and what its error codes are called.

use snmp2::Value;

use crate::wire::oid;

/// Longest text of a tag in bytes; DisplayString and SnmpAdminString have at most 255 octets.
const TEXT_BYTES_MAX: usize = 255;

/// A value as a number. A string is one if it is written as one, as net-snmp has load averages;
/// an opaque value if it is a float or a double (the tags 9f78 and 9f79).
pub(super) fn number(value: &Value<'_>) -> Option<f64> {
    match value {
        // Beyond 2^53 the last digits are lost: samples are doubles.
        Value::Integer(n) => Some(*n as f64),
        Value::Counter64(n) => Some(*n as f64),
        Value::Counter32(n) | Value::Unsigned32(n) | Value::Timeticks(n) => Some(f64::from(*n)),
        Value::OctetString(bytes) => {
            std::str::from_utf8(bytes).ok()?.trim().parse().ok().filter(|n: &f64| n.is_finite())
        }
        Value::Opaque([0x9f, 0x78, 4, a, b, c, d]) => {
            Some(f64::from(f32::from_be_bytes([*a, *b, *c, *d])))
        }
        Value::Opaque([0x9f, 0x79, 8, rest @ ..]) => rest.try_into().ok().map(f64::from_be_bytes),
        _ => None,
    }
}

/// Appends a value as text: strings as they are if they are readable, otherwise in hexadecimal
/// (`00:1b:21:…`, as physical addresses are written). Nothing for what is no value.
pub(super) fn text(value: &Value<'_>, out: &mut String) {
    match value {
        Value::OctetString(bytes) => string(bytes, out),
        Value::Integer(n) => out.push_str(itoa::Buffer::new().format(*n)),
        Value::Counter64(n) => out.push_str(itoa::Buffer::new().format(*n)),
        Value::Counter32(n) | Value::Unsigned32(n) | Value::Timeticks(n) => {
            out.push_str(itoa::Buffer::new().format(*n));
        }
        Value::ObjectIdentifier(id) => out.push_str(&oid::show(id.as_bytes())),
        Value::IpAddress([a, b, c, d]) => *out += &format!("{a}.{b}.{c}.{d}"),
        _ => {}
    }
}

fn string(bytes: &[u8], out: &mut String) {
    // Some agents count the terminating zero.
    let bytes = bytes.trim_ascii_end();
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => {
            let mut end = text.len().min(TEXT_BYTES_MAX);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            out.push_str(&text[..end]);
        }
        _ => {
            for (i, byte) in bytes.iter().take(TEXT_BYTES_MAX / 3).enumerate() {
                *out += &format!("{}{byte:02x}", if i == 0 { "" } else { ":" });
            }
        }
    }
}

/// An error status by its name (RFC 3416 section 3).
pub(super) fn status_name(status: u32) -> &'static str {
    const NAMES: [&str; 19] = [
        "noError",
        "tooBig",
        "noSuchName",
        "badValue",
        "readOnly",
        "genErr",
        "noAccess",
        "wrongType",
        "wrongLength",
        "wrongEncoding",
        "wrongValue",
        "noCreation",
        "inconsistentValue",
        "resourceUnavailable",
        "commitFailed",
        "undoFailed",
        "authorizationError",
        "notWritable",
        "inconsistentName",
    ];
    NAMES.get(status as usize).copied().unwrap_or("an unknown error")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_may_be_written_as_strings_and_opaque_floats() {
        assert_eq!(number(&Value::OctetString(b" 0.25 ")), Some(0.25));
        assert_eq!(number(&Value::OctetString(b"up")), None);
        assert_eq!(number(&Value::OctetString(b"inf")), None);
        assert_eq!(number(&Value::Opaque(&[0x9f, 0x78, 4, 0x3f, 0x80, 0, 0])), Some(1.0));
        assert_eq!(
            number(&Value::Opaque(&[0x9f, 0x79, 8, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0])),
            Some(1.0)
        );
        assert_eq!(number(&Value::Opaque(&[0x9f, 0x78, 4])), None);
        assert_eq!(number(&Value::NoSuchInstance), None);
    }

    #[test]
    fn text_from_agents_is_readable_and_bounded() {
        let text = |bytes: &[u8]| {
            let mut out = String::new();
            text(&Value::OctetString(bytes), &mut out);
            out
        };
        assert_eq!(text(b"eth0"), "eth0");
        assert_eq!(text(b"eth0\0"), "eth0");
        assert_eq!(text(&[0, 0x1b, 0x21, 0xff]), "00:1b:21:ff");
        assert_eq!(text(b"a\nb"), "61:0a:62");
        assert_eq!(text(&b"x".repeat(100_000)).len(), TEXT_BYTES_MAX);
        assert!(text(&"ü".repeat(1_000).into_bytes()).len() <= TEXT_BYTES_MAX);
        assert!(text(&[0xff; 100_000]).len() <= TEXT_BYTES_MAX);
    }
}
