//! The bytes of a segment: its header, its frames, and the numbers in them. No I/O.
//!
//! ```text
//! segment   header frame*
//! header    "wpjournl" version:u32 first:u64 opened:i64 crc:u32          little-endian, 32 bytes
//! frame     length:u32 crc:u32 payload                                  crc over first, length, payload
//! payload   1 string row series (0 length bytes | 1 measurement n (name value)* | 2 row field)*
//!           2 offset samples time:i64 batch*
//! batch     target moved n (skipped run)* value:f64*
//! ```
//! Whatever has no type is a LEB128 number. `first` is the sequence number of the segment's first
//! sample, which its file is named by; the checksum begins with it, so that no frame of another
//! file is ever taken for one of this. Definitions say from which id on they define, so that a
//! damaged one makes what it defined unknown, and never something else.

use crate::sample::Timestamp;

/// The version of the format this is.
pub const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"wpjournl";

/// The length of a segment's header.
pub(super) const HEADER_BYTES: usize = 32;

/// The length and the checksum before a payload.
pub(super) const FRAME_HEAD_BYTES: usize = 8;

/// The longest payload: a reader takes memory for one. Writers stay far below: they begin a new
/// frame at [`FRAME_BYTES_FULL`].
pub(super) const FRAME_BYTES_MAX: usize = 4 << 20;

/// A frame this long is full. What is damaged is lost by the frame.
pub(super) const FRAME_BYTES_FULL: usize = 1 << 20;

/// The first byte of a payload of definitions.
pub(super) const DEFINITIONS: u8 = 1;

/// The first byte of a payload of batches.
pub(super) const BATCHES: u8 = 2;

/// A definition of a string.
pub(super) const STRING: u8 = 0;

/// A definition of a row.
pub(super) const ROW: u8 = 1;

/// A definition of a series.
pub(super) const SERIES: u8 = 2;

/// What a segment begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// The sequence number of its first sample.
    pub(super) first: u64,
    /// When it was opened.
    pub(super) opened: Timestamp,
}

/// Why a header cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeaderError {
    /// The checksum is wrong, or there is less than a header.
    #[error("the header is damaged")]
    Damaged,
    /// It is sound and of another time.
    #[error("format version {0}, this watchpost reads version {VERSION}")]
    Version(u32),
}

impl Header {
    pub(super) fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.first.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.opened.as_nanos().to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..28]);
        bytes[28..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let (Some(bytes), true) = (bytes.first_chunk::<HEADER_BYTES>(), bytes.starts_with(&MAGIC))
        else {
            return Err(HeaderError::Damaged);
        };
        let mut input = Input(&bytes[8..]);
        let (Some(version), Some(first), Some(opened), Some(crc)) =
            (input.u32(), input.u64(), input.u64(), input.u32())
        else {
            return Err(HeaderError::Damaged);
        };
        if crc != crc32c::crc32c(&bytes[..28]) {
            return Err(HeaderError::Damaged);
        }
        if version != VERSION {
            return Err(HeaderError::Version(version));
        }
        Ok(Self { first, opened: Timestamp::from_nanos(opened.cast_signed()) })
    }
}

/// What the checksums of a segment begin with.
pub(super) fn seed(first: u64) -> u32 {
    crc32c::crc32c(&first.to_le_bytes())
}

/// The checksum of a frame, from its length's four bytes and its payload.
pub(super) fn checksum(seed: u32, length: [u8; 4], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(seed, &length), payload)
}

/// Appends a frame whose payload `write` appends.
pub(super) fn put_frame(seed: u32, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEAD_BYTES]);
    write(out);
    let payload = start + FRAME_HEAD_BYTES;
    let length = u32::try_from(out.len() - payload).expect("a payload is far below 4 GiB");
    let crc = checksum(seed, length.to_le_bytes(), &out[payload..]);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..payload].copy_from_slice(&crc.to_le_bytes());
}

/// Appends a number, seven bits a byte, the lowest first.
pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a signed number, near zero short.
pub(super) fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_number(out, ((number << 1) ^ (number >> 63)).cast_unsigned());
}

/// Bytes being read; every read is `None` where they are not there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take(4)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take(8)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1).cast_signed() ^ -((number & 1).cast_signed()))
    }

    /// A number that counts or names something in memory.
    pub(super) fn index(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(number: u64, signed: i64) {
            let mut bytes = Vec::new();
            put_number(&mut bytes, number);
            put_signed(&mut bytes, signed);
            let mut input = Input(&bytes);
            prop_assert_eq!(input.number(), Some(number));
            prop_assert_eq!(input.signed(), Some(signed));
            prop_assert!(input.is_empty());
        }

        #[test]
        fn hostile_numbers_never_panic(bytes: Vec<u8>) {
            let mut input = Input(&bytes);
            while input.number().is_some() {}
        }
    }

    #[test]
    fn a_header_comes_back_unless_a_bit_is_another() {
        let header = Header { first: 77, opened: Timestamp::from_secs(-5) };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok(header));
        assert_eq!(Header::decode(&bytes[..31]), Err(HeaderError::Damaged));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&flipped), Err(HeaderError::Damaged));
        }
    }

    #[test]
    fn a_header_of_another_version_says_so() {
        let mut bytes = Header { first: 0, opened: Timestamp::default() }.encode();
        bytes[8] = 9;
        let crc = crc32c::crc32c(&bytes[..28]);
        bytes[28..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Header::decode(&bytes), Err(HeaderError::Version(9)));
    }
}
