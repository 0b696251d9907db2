//! A value as devices write it, and what number it is.

/// A value found in a payload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// A number, as the format itself has them.
    Number(f64),
    /// A whole number: as a name of something it must not be rounded.
    Unsigned(u64),
    /// A whole number below zero.
    Signed(i64),
    /// True or false.
    Bool(bool),
    /// Text, which may spell a number.
    Text(&'a str),
}

impl Value<'_> {
    /// The number it is or spells; true and false are 1 and 0.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        match *self {
            Self::Number(number) => Some(number).filter(|n| n.is_finite()),
            Self::Unsigned(number) => Some(number as f64),
            Self::Signed(number) => Some(number as f64),
            Self::Bool(bool) => Some(f64::from(u8::from(bool))),
            Self::Text(text) => number(text),
        }
    }
}

/// The finite number a text spells, with white space around it allowed: `21.5`, `-3e-2`, `+7`,
/// `true`. Units, thousands separators, `inf`, `nan` and hexadecimal are refused, not guessed.
#[must_use]
pub fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    match text.as_bytes().first()? {
        b'0'..=b'9' | b'+' | b'-' | b'.' => text.parse().ok().filter(|n: &f64| n.is_finite()),
        b't' | b'T' if text.eq_ignore_ascii_case("true") => Some(1.0),
        b'f' | b'F' if text.eq_ignore_ascii_case("false") => Some(0.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_read_and_nothing_is_guessed() {
        for (text, expected) in [
            ("21.5", 21.5),
            (" -3e-2\r", -0.03),
            ("+7", 7.0),
            (".5", 0.5),
            ("TRUE", 1.0),
            ("false", 0.0),
        ] {
            assert_eq!(number(text), Some(expected), "{text}");
        }
        for text in
            ["", " ", "21.5C", "1,5", "inf", "-inf", "nan", "-NaN", "0x10", "1e999", "on", "--1"]
        {
            assert_eq!(number(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_number_written_reads_back(value in proptest::num::f64::NORMAL) {
            prop_assert_eq!(number(&value.to_string()), Some(value));
            prop_assert_eq!(number(&format!("{value:e}")), Some(value));
        }

        #[test]
        fn no_text_makes_anything_but_a_finite_number(text in ".{0,40}") {
            prop_assert!(number(&text).is_none_or(f64::is_finite));
        }
    }
}
