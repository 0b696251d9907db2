//! Reads quoted strings as Go does: an escape may be a byte, and only all bytes must be UTF-8.
//!
//! The parser takes such a byte for a character.

/// What a quoted string says; `None` where that is not UTF-8.
pub(super) fn unquoted(written: &str) -> Option<String> {
    let quote = written.chars().next()?;
    let inner = written.strip_prefix(quote)?.strip_suffix(quote)?;
    if quote == '`' {
        return Some(inner.to_owned());
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = rest[at + 1..].chars().next()?;
        let after = &rest[at + 1 + escape.len_utf8()..];
        rest = match escape {
            'x' => byte(&mut bytes, after, 2, 16)?,
            'u' => character(&mut bytes, after, 4)?,
            'U' => character(&mut bytes, after, 8)?,
            '0'..='7' => byte(&mut bytes, &rest[at + 1..], 3, 8)?,
            other => {
                bytes.push(plain(other)?);
                after
            }
        };
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}

fn plain(escape: char) -> Option<u8> {
    Some(match escape {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' => b'\\',
        '\'' => b'\'',
        '"' => b'"',
        _ => return None,
    })
}

fn byte<'a>(bytes: &mut Vec<u8>, text: &'a str, digits: usize, radix: u32) -> Option<&'a str> {
    bytes.push(u8::from_str_radix(text.get(..digits)?, radix).ok()?);
    text.get(digits..)
}

fn character<'a>(bytes: &mut Vec<u8>, text: &'a str, digits: usize) -> Option<&'a str> {
    let c = char::from_u32(u32::from_str_radix(text.get(..digits)?, 16).ok()?)?;
    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    text.get(digits..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escape_may_be_a_byte() {
        for (written, text) in [
            (r#""a\tb\"""#, Some("a\tb\"")),
            (r#"'\xc3\xa9\303\251\u00e9\U0001F600'"#, Some("ééé😀")),
            (r"`a\n`", Some(r"a\n")),
            (r#""\xff""#, None),
            (r#""\q""#, None),
        ] {
            assert_eq!(unquoted(written).as_deref(), text, "{written}");
        }
    }
}
