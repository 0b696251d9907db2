//! The one SNMPv3 message the protocol's crate does not let out of its hands: the question for an
//! agent's engine (RFC 3414 section 4), unauthenticated and empty.

use snmp2::asn1::{AsnReader, TYPE_SEQUENCE};

/// Length of a discovery message in bytes.
pub const DISCOVERY_BYTES: usize = 64;

/// Message ids a discovery may have: four bytes each, none of them a sign or a leading zero.
pub const MESSAGE_IDS: std::ops::RangeInclusive<i32> = 0x0100_0000..=i32::MAX;

/// The question for an agent's engine. `id`, one of [`MESSAGE_IDS`], comes back in the answer.
#[must_use]
pub fn discovery(id: i32) -> [u8; DISCOVERY_BYTES] {
    let [a, b, c, d] = id.to_be_bytes();
    [
        0x30, 62, 0x02, 1, 3, // a message of version 3
        0x30, 17, 0x02, 4, a, b, c, d, // its id,
        0x02, 3, 0x00, 0xff, 0xe3, // the largest answer, 65,507 bytes,
        0x04, 1, 0x04, 0x02, 1, 3, // reportable, user-based security
        0x04, 16, 0x30, 14, 0x04, 0, 0x02, 1, 0, 0x02, 1, 0, 0x04, 0, 0x04, 0, 0x04, 0, 0x30, 20,
        0x04, 0, 0x04, 0, // no context
        0xa0, 14, 0x02, 4, a, b, c, d, 0x02, 1, 0, 0x02, 1, 0, 0x30, 0, // GET nothing
    ]
}

/// The id of an SNMPv3 message; `None` where it is none.
#[must_use]
pub fn message_id(message: &[u8]) -> Option<i64> {
    let mut message =
        AsnReader::from_bytes(AsnReader::from_bytes(message).read_raw(TYPE_SEQUENCE).ok()?);
    if message.read_asn_integer().ok()? != 3 {
        return None;
    }
    AsnReader::from_bytes(message.read_raw(TYPE_SEQUENCE).ok()?).read_asn_integer().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_id_comes_back(id in MESSAGE_IDS) {
            prop_assert_eq!(message_id(&discovery(id)), Some(i64::from(id)));
        }

        #[test]
        fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0_usize..64) {
            prop_assert!(message_id(&bytes).is_none() || bytes[0] == 0x30);
            let mut message = discovery(0x0100_0000);
            message[at] = bytes.first().copied().unwrap_or(0xff);
            prop_assert!(message_id(&message).is_none() || message[0] == 0x30);
        }
    }
}
