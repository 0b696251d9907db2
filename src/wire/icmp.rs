//! ICMP echo (RFC 792, and RFC 4443 for IPv6): a request out, a reply in, and what an error
//! message quotes of the request it is about.
//!
//! It knows no other message: what is not a whole one of these is nothing.

/// Bytes before the payload of an echo: type, code, checksum, identifier, sequence number.
pub const HEADER_BYTES: usize = 8;

/// Which ICMP: the messages look alike, and have other numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// RFC 792.
    V4,
    /// RFC 4443.
    V6,
}

/// What tells one echo from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Echo {
    /// Whose it is. Of an unprivileged socket the kernel chooses it.
    pub identifier: u16,
    /// Which of those.
    pub sequence: u16,
}

impl Version {
    const fn request(self) -> u8 {
        match self {
            Self::V4 => 8,
            Self::V6 => 128,
        }
    }

    /// The type of an echo reply.
    #[must_use]
    pub const fn reply(self) -> u8 {
        match self {
            Self::V4 => 0,
            Self::V6 => 129,
        }
    }
}

/// The head of an echo request; the payload follows it on the wire.
///
/// The checksum is that of ICMP for IPv4. That for IPv6 covers both addresses, so that the kernel
/// makes it (RFC 3542 §3.1).
#[must_use]
pub fn request(version: Version, echo: Echo, payload: &[u8]) -> [u8; HEADER_BYTES] {
    let [i, d] = echo.identifier.to_be_bytes();
    let [n, o] = echo.sequence.to_be_bytes();
    let mut head = [version.request(), 0, 0, 0, i, d, n, o];
    if version == Version::V4 {
        let sum = checksum(&head, payload).to_be_bytes();
        head[2..4].copy_from_slice(&sum);
    }
    head
}

/// The echo a message is the reply to.
#[must_use]
pub fn reply(version: Version, message: &[u8]) -> Option<Echo> {
    echo(version.reply(), message)
}

/// The echo an error message is about, from what it quotes of the request, which is at least this
/// much (RFC 792; RFC 4443 §2.4).
#[must_use]
pub fn quoted(version: Version, message: &[u8]) -> Option<Echo> {
    echo(version.request(), message)
}

fn echo(kind: u8, message: &[u8]) -> Option<Echo> {
    match *message.first_chunk::<HEADER_BYTES>()? {
        [of, 0, _, _, i, d, n, o] if of == kind => Some(Echo {
            identifier: u16::from_be_bytes([i, d]),
            sequence: u16::from_be_bytes([n, o]),
        }),
        _ => None,
    }
}

/// What follows the header of an IPv4 packet (RFC 791 §3.1), which a raw socket gives too.
#[must_use]
pub fn without_ipv4_header(packet: &[u8]) -> Option<&[u8]> {
    let first = packet.first()?;
    let words = usize::from(first & 0xf);
    if first >> 4 != 4 || words < 5 {
        return None;
    }
    packet.get(words * 4..)
}

/// The checksum of a message in two parts, the first of them of even length (RFC 1071).
fn checksum(head: &[u8], payload: &[u8]) -> u16 {
    let words = head.chunks(2).chain(payload.chunks(2)).map(|pair| match pair {
        [high, low] => u64::from(u16::from_be_bytes([*high, *low])),
        [high] => u64::from(*high) << 8,
        _ => 0,
    });
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ECHO: Echo = Echo { identifier: 0x1234, sequence: 7 };

    #[test]
    fn a_request_is_what_ping_sends() {
        // 0x0800 + 0x1234 + 7 + 2 * 0x6161 = 0xdcfd, whose complement is the checksum.
        let head = request(Version::V4, ECHO, b"aaaa");
        assert_eq!(head, [8, 0, 0x23, 0x02, 0x12, 0x34, 0, 7]);
        assert_eq!(request(Version::V6, ECHO, b"aaaa"), [128, 0, 0, 0, 0x12, 0x34, 0, 7]);
    }

    #[test]
    fn a_reply_and_a_quoted_request_are_told_apart() {
        for version in [Version::V4, Version::V6] {
            let mut message = request(version, ECHO, b"");
            assert_eq!(quoted(version, &message), Some(ECHO));
            assert_eq!(reply(version, &message), None);
            message[0] = version.reply();
            assert_eq!(reply(version, &message), Some(ECHO));
            assert_eq!(reply(version, &message[..7]), None);
            message[1] = 1;
            assert_eq!(reply(version, &message), None);
        }
    }

    #[test]
    fn a_header_has_the_length_it_says() {
        let mut packet = [0; 28];
        packet[0] = 0x45;
        assert_eq!(without_ipv4_header(&packet).map(<[u8]>::len), Some(8));
        packet[0] = 0x46;
        assert_eq!(without_ipv4_header(&packet).map(<[u8]>::len), Some(4));
        for (first, length) in [(0x4f, 28), (0x44, 28), (0x65, 28), (0x45, 19), (0x45, 0)] {
            packet[0] = first;
            assert_eq!(without_ipv4_header(&packet[..length]), None, "{first:x} {length}");
        }
    }

    proptest! {
        #[test]
        fn the_checksum_of_a_message_with_its_checksum_is_nothing(
            identifier: u16, sequence: u16, payload: Vec<u8>,
        ) {
            let head = request(Version::V4, Echo { identifier, sequence }, &payload);
            prop_assert_eq!(checksum(&head, &payload), 0);
        }

        #[test]
        fn no_bytes_are_too_strange(bytes: Vec<u8>) {
            let message = without_ipv4_header(&bytes).unwrap_or(&bytes);
            for version in [Version::V4, Version::V6] {
                let found = (reply(version, message), quoted(version, message));
                prop_assert!(!matches!(found, (Some(_), Some(_))));
            }
        }
    }
}
