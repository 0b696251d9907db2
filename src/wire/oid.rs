//! Object identifiers as SNMP writes them: dotted text and BER bytes (X.690 8.19, RFC 2578 3.5).
//!
//! Only the contents are handled, without tag and length. Comparing and cutting work on the
//! encoded bytes, since a walk does both for every value it is given. It looks up no names: an OID
//! is numbers here.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// Most sub-identifiers of an OID (RFC 2578 section 3.5).
const SUB_IDENTIFIERS_MAX: usize = 128;

/// An object identifier, encoded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Oid(Box<[u8]>);

/// Why a text is not an OID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OidError {
    /// Not numbers with dots between them.
    #[error("an OID is whole numbers with dots between them, like 1.3.6.1.2.1.1.3.0")]
    NotDotted,
    /// One number alone says nothing.
    #[error("an OID has at least two numbers")]
    TooShort,
    /// More numbers than RFC 2578 allows.
    #[error("an OID has at most {SUB_IDENTIFIERS_MAX} numbers")]
    TooLong,
    /// The first two numbers are bounded by their encoding.
    #[error("an OID starts with 0, 1 or 2; after 0 and 1 comes a number below 40")]
    Start,
}

impl Oid {
    /// The encoded contents.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What follows this OID in an encoded one that lies below it: a table's index. `None` for
    /// everything else, itself too.
    #[must_use]
    pub fn index_of<'a>(&self, below: &'a [u8]) -> Option<&'a [u8]> {
        below.strip_prefix(&*self.0).filter(|rest| !rest.is_empty())
    }
}

impl FromStr for Oid {
    type Err = OidError;

    /// Reads dotted numbers; a dot before the first is allowed, as net-snmp prints one.
    fn from_str(text: &str) -> Result<Self, OidError> {
        let text = text.strip_prefix('.').unwrap_or(text);
        let numbers = text
            .split('.')
            .map(|part| {
                let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
                part.parse::<u32>().ok().filter(|_| digits).ok_or(OidError::NotDotted)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let [first, second, rest @ ..] = &*numbers else { return Err(OidError::TooShort) };
        if numbers.len() > SUB_IDENTIFIERS_MAX {
            return Err(OidError::TooLong);
        }
        if *first > 2 || (*first < 2 && *second > 39) {
            return Err(OidError::Start);
        }
        let mut bytes = Vec::with_capacity(numbers.len() + 4);
        push(&mut bytes, u64::from(*first) * 40 + u64::from(*second));
        rest.iter().for_each(|number| push(&mut bytes, u64::from(*number)));
        Ok(Self(bytes.into()))
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show(&self.0))
    }
}

/// Appends a number in base 128, all bytes but the last marked.
fn push(bytes: &mut Vec<u8>, number: u64) {
    let groups = (64 - number.leading_zeros()).div_ceil(7).max(1);
    for group in (0..groups).rev() {
        let low = (number >> (7 * group)) & 0x7f;
        let mark = if group == 0 { 0 } else { 0x80 };
        bytes.push(u8::try_from(low).expect("seven bits") | mark);
    }
}

/// The numbers of an encoded OID or index; one that is too large for 64 bits comes out as the
/// largest, bytes that end within a number as what is there of it.
fn numbers(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    bytes.chunk_by(|byte, _| byte & 0x80 != 0).map(|number| {
        number
            .iter()
            .try_fold(0_u64, |sum, byte| {
                sum.checked_mul(128).map(|sum| sum | u64::from(byte & 0x7f))
            })
            .unwrap_or(u64::MAX)
    })
}

/// An encoded OID as dotted text.
#[must_use]
pub fn show(bytes: &[u8]) -> String {
    let mut numbers = numbers(bytes);
    let Some(start) = numbers.next() else { return String::new() };
    let first = (start / 40).min(2);
    let mut text = format!("{first}.{}", start - first * 40);
    append(&mut text, numbers);
    text
}

/// An encoded index, the end of an OID, as dotted text appended to `text`.
pub fn show_index(bytes: &[u8], text: &mut String) {
    let mut numbers = numbers(bytes);
    if let Some(first) = numbers.next() {
        text.push_str(itoa::Buffer::new().format(first));
        append(text, numbers);
    }
}

fn append(text: &mut String, numbers: impl Iterator<Item = u64>) {
    for number in numbers {
        text.push('.');
        text.push_str(itoa::Buffer::new().format(number));
    }
}

/// The order of two encoded OIDs, or of two indexes: number by number, as a walk meets them.
///
/// The order of their bytes is another one: 16384 is `81 80 00`, 256 is `82 00`.
#[must_use]
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    if same == a.len() || same == b.len() {
        return a.len().cmp(&b.len());
    }
    // Back to where the number that differs begins.
    let start = a[..same].iter().rposition(|byte| byte & 0x80 == 0).map_or(0, |last| last + 1);
    let number = |bytes: &[u8]| numbers(&bytes[start..]).next();
    number(a).cmp(&number(b)).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_and_bytes_agree() {
        let oid: Oid = ".1.3.6.1.2.1.31.1.1.1.6.16384".parse().unwrap();
        assert_eq!(oid.as_bytes(), [0x2b, 6, 1, 2, 1, 31, 1, 1, 1, 6, 0x81, 0x80, 0]);
        assert_eq!(oid.to_string(), "1.3.6.1.2.1.31.1.1.1.6.16384");
        let largest: Oid = "2.4294967295.4294967295".parse().unwrap();
        assert_eq!(largest.to_string(), "2.4294967295.4294967295");
    }

    #[test]
    fn what_is_no_oid_is_refused() {
        let long = vec!["1"; 129].join(".");
        for (text, error) in [
            ("", OidError::NotDotted),
            ("ifName", OidError::NotDotted),
            ("1..3", OidError::NotDotted),
            ("1.3.", OidError::NotDotted),
            ("1.+3", OidError::NotDotted),
            ("1.3.4294967296", OidError::NotDotted),
            ("1", OidError::TooShort),
            ("3.1", OidError::Start),
            ("1.40", OidError::Start),
            (&long, OidError::TooLong),
        ] {
            assert_eq!(text.parse::<Oid>(), Err(error), "{text}");
        }
    }

    #[test]
    fn an_index_is_what_follows_a_column() {
        let column: Oid = "1.3.6.1.2.1.2.2.1.10".parse().unwrap();
        let cell: Oid = "1.3.6.1.2.1.2.2.1.10.300.4".parse().unwrap();
        let mut text = String::new();
        show_index(column.index_of(cell.as_bytes()).unwrap(), &mut text);
        assert_eq!(text, "300.4");
        let next: Oid = "1.3.6.1.2.1.2.2.1.11.1".parse().unwrap();
        assert_eq!(column.index_of(next.as_bytes()), None);
        assert_eq!(column.index_of(column.as_bytes()), None);
    }

    fn any_numbers() -> impl Strategy<Value = Vec<u32>> {
        (0_u32..3, 0_u32..40, prop::collection::vec(any::<u32>(), 0..20))
            .prop_map(|(a, b, rest)| [vec![a, b], rest].concat())
    }

    fn oid(numbers: &[u32]) -> Oid {
        let text: Vec<_> = numbers.iter().map(u32::to_string).collect();
        text.join(".").parse().unwrap()
    }

    proptest! {
        #[test]
        fn an_oid_survives_the_round_trip(numbers in any_numbers()) {
            let oid = oid(&numbers);
            prop_assert_eq!(oid.to_string().parse::<Oid>().unwrap(), oid);
        }

        #[test]
        fn encoded_oids_compare_like_their_numbers(a in any_numbers(), b in any_numbers(), n in 0_usize..20) {
            let b = [&a[..n.min(a.len())], &b[n.min(b.len())..]].concat();
            prop_assume!(b.len() >= 2 && b[0] < 3 && b[1] < 40);
            prop_assert_eq!(compare(oid(&a).as_bytes(), oid(&b).as_bytes()), a.cmp(&b));
        }

        #[test]
        fn no_bytes_are_too_strange(a in prop::collection::vec(any::<u8>(), 0..40),
                                    b in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut text = String::new();
            show_index(&a, &mut text);
            prop_assert!(text.len() <= 21 * a.len());
            prop_assert!(show(&b).len() <= 21 * b.len() + 2);
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            prop_assert_eq!(compare(&a, &a), Ordering::Equal);
        }
    }
}
